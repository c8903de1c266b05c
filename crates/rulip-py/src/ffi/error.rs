//! Errors at the border: [`Raised`] says that CPython's error indicator is set.
//!
//! Not here: which exception an engine error becomes (`crate::error`).

use std::ffi::CString;
use std::marker::PhantomData;

use pyo3::ffi as c;

use super::object::Obj;

/// CPython's error indicator is set. The exception itself stays there until taken.
#[derive(Debug)]
#[must_use]
pub(crate) struct Raised(PhantomData<*mut ()>);

pub(crate) type Res<T> = Result<T, Raised>;

impl Raised {
    /// For a call that reported failure.
    #[inline]
    pub(crate) fn assume_set() -> Self {
        Self(PhantomData)
    }

    /// Sets `kind(message)`.
    #[cold]
    pub(crate) fn new(kind: &Obj, message: &str) -> Self {
        match CString::new(message) {
            // SAFETY: `kind` is an exception class, the text ends in NUL.
            Ok(text) => unsafe { c::PyErr_SetString(kind.as_ptr(), text.as_ptr()) },
            // SAFETY: as above.
            Err(_) => unsafe { c::PyErr_SetNone(kind.as_ptr()) },
        }
        Self(PhantomData)
    }

    #[cold]
    pub(crate) fn type_error(message: &str) -> Self {
        // SAFETY: a builtin exception class.
        Self::new(&unsafe { Obj::from_borrowed(c::PyExc_TypeError) }, message)
    }

    /// Without arguments.
    #[cold]
    pub(crate) fn bare(kind: &Obj) -> Self {
        // SAFETY: `kind` is an exception class.
        unsafe { c::PyErr_SetNone(kind.as_ptr()) };
        Self(PhantomData)
    }

    #[cold]
    pub(crate) fn value_error(message: &str) -> Self {
        // SAFETY: a builtin exception class.
        Self::new(&unsafe { Obj::from_borrowed(c::PyExc_ValueError) }, message)
    }

    /// A `RuntimeError` to be thrown later: what is handled now is not its context.
    #[cold]
    pub(crate) fn runtime_error_to_throw(message: &str) -> Res<Obj> {
        // SAFETY: a builtin exception class.
        unsafe { Obj::from_borrowed(c::PyExc_RuntimeError) }.call1(&super::value::str(message)?)
    }

    #[cold]
    pub(crate) fn runtime_error(message: &str) -> Self {
        // SAFETY: a builtin exception class.
        Self::new(&unsafe { Obj::from_borrowed(c::PyExc_RuntimeError) }, message)
    }

    /// Raises an exception instance (or class).
    #[cold]
    pub(crate) fn from_exception(exc: &Obj) -> Self {
        // SAFETY: two live objects; CPython sets `__context__` from the exception being handled.
        unsafe { c::PyErr_SetObject(exc.type_ptr().cast(), exc.as_ptr()) };
        Self(PhantomData)
    }

    /// Puts a taken exception back exactly as it was.
    pub(crate) fn restore(exc: Obj) -> Self {
        #[cfg(Py_3_12)]
        // SAFETY: gives our reference of an exception instance away.
        unsafe {
            c::PyErr_SetRaisedException(exc.into_ptr());
        }
        #[cfg(not(Py_3_12))]
        // SAFETY: type, value and traceback are owned references or null, as PyErr_Restore wants.
        unsafe {
            let kind = exc.type_ptr().cast::<c::PyObject>();
            c::Py_INCREF(kind);
            let traceback = c::PyException_GetTraceback(exc.as_ptr());
            c::PyErr_Restore(kind, exc.into_ptr(), traceback);
        }
        Self(PhantomData)
    }

    /// Clears the indicator and returns the exception, normalised, its traceback attached.
    pub(crate) fn take(self) -> Obj {
        #[cfg(Py_3_12)]
        // SAFETY: the indicator is set, so this returns an owned exception.
        let exc = unsafe { c::PyErr_GetRaisedException() };
        #[cfg(not(Py_3_12))]
        // SAFETY: the documented dance of fetch, normalise, attach; each reference is owned.
        let exc = unsafe {
            let (mut kind, mut value, mut traceback) =
                (std::ptr::null_mut(), std::ptr::null_mut(), std::ptr::null_mut());
            c::PyErr_Fetch(&mut kind, &mut value, &mut traceback);
            c::PyErr_NormalizeException(&mut kind, &mut value, &mut traceback);
            if !value.is_null() && !traceback.is_null() {
                c::PyException_SetTraceback(value, traceback);
            }
            c::Py_XDECREF(kind);
            c::Py_XDECREF(traceback);
            value
        };
        if exc.is_null() {
            // An indicator that was claimed set and was not: report that instead of crashing.
            return Self::runtime_error("a native call failed without an exception").take();
        }
        // SAFETY: owned and not null.
        unsafe { Obj::from_owned_unchecked(exc) }
    }

    /// Whether the exception set is an instance of `kind`.
    #[inline]
    pub(crate) fn matches(&self, kind: &Obj) -> bool {
        // SAFETY: the indicator is set, `kind` is an exception class.
        unsafe { c::PyErr_ExceptionMatches(kind.as_ptr()) != 0 }
    }

    /// Whether it is one that must leave the loop: `SystemExit` or `KeyboardInterrupt`.
    pub(crate) fn leaves_the_loop(&self) -> bool {
        // SAFETY: builtin exception classes.
        unsafe {
            c::PyErr_ExceptionMatches(c::PyExc_SystemExit) != 0
                || c::PyErr_ExceptionMatches(c::PyExc_KeyboardInterrupt) != 0
        }
    }

    /// Whether it is an `Exception`, and no `BaseException` of another kind.
    pub(crate) fn is_exception(&self) -> bool {
        // SAFETY: a builtin exception class.
        unsafe { c::PyErr_ExceptionMatches(c::PyExc_Exception) != 0 }
    }

    /// Forgets the exception.
    pub(crate) fn clear(self) {
        // SAFETY: no precondition.
        unsafe { c::PyErr_Clear() }
    }

    /// Reports it through `sys.unraisablehook`: for places where nobody can be told.
    pub(crate) fn write_unraisable(self, about: &Obj) {
        // SAFETY: the indicator is set, `about` is alive.
        unsafe { c::PyErr_WriteUnraisable(about.as_ptr()) }
    }
}

/// Whether an exception instance is a `StopIteration`.
pub(crate) fn is_stop_iteration(exc: &Obj) -> Res<bool> {
    // SAFETY: a builtin exception class.
    exc.is_instance(&unsafe { Obj::from_borrowed(c::PyExc_StopIteration) })
}

/// Turns a C status (negative means raised) into a result.
#[inline]
pub(crate) fn status(code: std::ffi::c_int) -> Res<()> {
    if code < 0 { Err(Raised::assume_set()) } else { Ok(()) }
}

impl From<pyo3::PyErr> for Raised {
    fn from(err: pyo3::PyErr) -> Self {
        pyo3::Python::attach(|py| err.restore(py));
        Self(PhantomData)
    }
}

/// An error set aside while more must be done: Python is never called with the indicator set.
/// The first error is kept, a later one is reported as unraisable.
#[derive(Default)]
#[must_use]
pub(crate) struct FirstError(Option<Obj>);

impl FirstError {
    /// Takes the error of a result, if it is one.
    pub(crate) fn note<T>(&mut self, result: Res<T>, about: &Obj) {
        match result {
            Ok(_) => {}
            Err(raised) if self.0.is_none() => self.0 = Some(raised.take()),
            Err(raised) => raised.write_unraisable(about),
        }
    }

    /// Raises what was noted.
    pub(crate) fn finish(mut self) -> Res<()> {
        match self.0.take() {
            None => Ok(()),
            Some(exc) => Err(Raised::restore(exc)),
        }
    }
}

/// The exception set, in PyO3's form.
pub(crate) fn to_pyo3(_raised: Raised) -> pyo3::PyErr {
    pyo3::Python::attach(pyo3::PyErr::fetch)
}

/// An object, in PyO3's form.
pub(crate) fn into_pyo3(py: pyo3::Python<'_>, object: Obj) -> pyo3::Bound<'_, pyo3::PyAny> {
    // SAFETY: gives our reference away.
    unsafe { pyo3::Bound::from_owned_ptr(py, object.into_ptr()) }
}

/// The indicator is set aside and put back at the end of a scope: finalizers and deallocators
/// must not disturb an exception in flight.
pub(crate) struct SavedError(Option<Obj>);

impl SavedError {
    pub(crate) fn save() -> Self {
        // SAFETY: no precondition.
        let set = unsafe { !c::PyErr_Occurred().is_null() };
        Self(set.then(|| Raised::assume_set().take()))
    }
}

impl Drop for SavedError {
    fn drop(&mut self) {
        if let Some(exc) = self.0.take() {
            let _set = Raised::restore(exc);
        }
    }
}
