//! Attributes and calls, by vectorcall wherever the arguments are few.

use std::ptr;

use pyo3::ffi as c;

use super::error::{Raised, Res, status};
use super::object::Obj;

/// One writable place before the arguments lets CPython prepend `self` without a copy.
const OFFSET: usize = c::PY_VECTORCALL_ARGUMENTS_OFFSET;

impl Obj {
    #[inline]
    pub(crate) fn attr(&self, name: &Self) -> Res<Self> {
        // SAFETY: live objects; an owned result or an exception.
        unsafe { Self::from_owned(c::PyObject_GetAttr(self.as_ptr(), name.as_ptr())) }
    }

    /// The attribute, or `None` where it is missing; other exceptions are raised.
    pub(crate) fn attr_opt(&self, name: &Self) -> Res<Option<Self>> {
        match self.attr(name) {
            Ok(value) => Ok(Some(value)),
            Err(raised) => {
                // SAFETY: a builtin exception class.
                if unsafe { c::PyErr_ExceptionMatches(c::PyExc_AttributeError) } != 0 {
                    raised.clear();
                    Ok(None)
                } else {
                    Err(raised)
                }
            }
        }
    }

    pub(crate) fn set_attr(&self, name: &Self, value: &Self) -> Res<()> {
        // SAFETY: live objects.
        status(unsafe { c::PyObject_SetAttr(self.as_ptr(), name.as_ptr(), value.as_ptr()) })
    }

    #[inline]
    pub(crate) fn call0(&self) -> Res<Self> {
        // SAFETY: a live object; an owned result or an exception.
        unsafe { Self::from_owned(c::PyObject_CallNoArgs(self.as_ptr())) }
    }

    #[inline]
    pub(crate) fn call1(&self, arg: &Self) -> Res<Self> {
        let mut args = [ptr::null_mut(), arg.as_ptr()];
        // SAFETY: one argument behind the scratch place.
        unsafe {
            Self::from_owned(c::PyObject_Vectorcall(
                self.as_ptr(),
                args.as_mut_ptr().add(1),
                1 | OFFSET,
                ptr::null_mut(),
            ))
        }
    }

    /// Calls with positional arguments, at most six of them.
    pub(crate) fn call(&self, arguments: &[&Self]) -> Res<Self> {
        let mut args = [ptr::null_mut(); 7];
        debug_assert!(arguments.len() < args.len());
        for (place, arg) in args[1..].iter_mut().zip(arguments) {
            *place = arg.as_ptr();
        }
        // SAFETY: the arguments stand behind the scratch place.
        unsafe {
            Self::from_owned(c::PyObject_Vectorcall(
                self.as_ptr(),
                args.as_mut_ptr().add(1),
                arguments.len() | OFFSET,
                ptr::null_mut(),
            ))
        }
    }

    /// Calls with a tuple of arguments and perhaps a dict of keywords.
    pub(crate) fn call_tuple(&self, args: &Self, kwargs: Option<&Self>) -> Res<Self> {
        // SAFETY: a tuple, and a dict or null.
        unsafe {
            Self::from_owned(c::PyObject_Call(
                self.as_ptr(),
                args.as_ptr(),
                kwargs.map_or(ptr::null_mut(), Self::as_ptr),
            ))
        }
    }

    /// Calls with a run of raw arguments that has one writable place before it.
    ///
    /// # Safety
    /// `args[0]` is scratch; `args[1..=n]` are live objects for the whole call.
    #[inline]
    pub(crate) unsafe fn call_raw(&self, args: *mut *mut c::PyObject, n: usize) -> Res<Self> {
        // SAFETY: promised by the caller. Where the type has a vectorcall, its slot is called as
        // PyObject_Vectorcall would, less its bookkeeping for debug builds.
        unsafe {
            let kind = self.type_ptr();
            if (*kind).tp_flags & c::Py_TPFLAGS_HAVE_VECTORCALL != 0 {
                let slot = self.as_ptr().cast::<u8>().offset((*kind).tp_vectorcall_offset);
                if let Some(function) = *slot.cast::<Option<c::vectorcallfunc>>() {
                    return Self::from_owned(function(
                        self.as_ptr(),
                        args.add(1),
                        n | OFFSET,
                        ptr::null_mut(),
                    ));
                }
            }
            Self::from_owned(c::PyObject_Vectorcall(
                self.as_ptr(),
                args.add(1),
                n | OFFSET,
                ptr::null_mut(),
            ))
        }
    }

    #[inline]
    pub(crate) fn method0(&self, name: &Self) -> Res<Self> {
        let args = [self.as_ptr()];
        // SAFETY: the receiver is the one argument.
        unsafe {
            Self::from_owned(c::PyObject_VectorcallMethod(
                name.as_ptr(),
                args.as_ptr(),
                1,
                ptr::null_mut(),
            ))
        }
    }

    #[inline]
    pub(crate) fn method1(&self, name: &Self, arg: &Self) -> Res<Self> {
        let args = [self.as_ptr(), arg.as_ptr()];
        // SAFETY: receiver and argument.
        unsafe {
            Self::from_owned(c::PyObject_VectorcallMethod(
                name.as_ptr(),
                args.as_ptr(),
                2,
                ptr::null_mut(),
            ))
        }
    }

    #[inline]
    pub(crate) fn method2(&self, name: &Self, first: &Self, second: &Self) -> Res<Self> {
        let args = [self.as_ptr(), first.as_ptr(), second.as_ptr()];
        // SAFETY: receiver and arguments.
        unsafe {
            Self::from_owned(c::PyObject_VectorcallMethod(
                name.as_ptr(),
                args.as_ptr(),
                3,
                ptr::null_mut(),
            ))
        }
    }

    /// `self.name(*arguments, keyword=value)`; at most five positional arguments.
    pub(crate) fn method_kw(
        &self,
        name: &Self,
        arguments: &[&Self],
        keyword: &Self,
        value: &Self,
    ) -> Res<Self> {
        let mut args = [ptr::null_mut(); 7];
        args[0] = self.as_ptr();
        for (place, arg) in args[1..].iter_mut().zip(arguments.iter().chain([&value])) {
            *place = arg.as_ptr();
        }
        let names = super::value::tuple(&[keyword])?;
        // SAFETY: receiver, positional arguments, one keyword value named by `names`.
        unsafe {
            Self::from_owned(c::PyObject_VectorcallMethod(
                name.as_ptr(),
                args.as_ptr(),
                arguments.len() + 1,
                names.as_ptr(),
            ))
        }
    }

    pub(crate) fn is_callable(&self) -> bool {
        // SAFETY: a live object.
        unsafe { c::PyCallable_Check(self.as_ptr()) != 0 }
    }

    pub(crate) fn is_true(&self) -> Res<bool> {
        // SAFETY: a live object.
        let code = unsafe { c::PyObject_IsTrue(self.as_ptr()) };
        status(code).map(|()| code != 0)
    }

    /// `self == other`.
    pub(crate) fn equals(&self, other: &Self) -> Res<bool> {
        if self.is(other) {
            return Ok(true);
        }
        // SAFETY: live objects.
        let code = unsafe { c::PyObject_RichCompareBool(self.as_ptr(), other.as_ptr(), c::Py_EQ) };
        status(code).map(|()| code != 0)
    }

    /// `self <= other`.
    pub(crate) fn at_most(&self, other: &Self) -> Res<bool> {
        // SAFETY: live objects.
        let code = unsafe { c::PyObject_RichCompareBool(self.as_ptr(), other.as_ptr(), c::Py_LE) };
        status(code).map(|()| code != 0)
    }

    /// `self + other`.
    pub(crate) fn plus(&self, other: &Self) -> Res<Self> {
        // SAFETY: live objects; an owned result or an exception.
        unsafe { Self::from_owned(c::PyNumber_Add(self.as_ptr(), other.as_ptr())) }
    }

    /// `issubclass(self, kind)`.
    pub(crate) fn is_subclass(&self, kind: &Self) -> Res<bool> {
        // SAFETY: live objects.
        let code = unsafe { c::PyObject_IsSubclass(self.as_ptr(), kind.as_ptr()) };
        status(code).map(|()| code != 0)
    }

    /// `isinstance(self, kind)`.
    pub(crate) fn is_instance(&self, kind: &Self) -> Res<bool> {
        // SAFETY: live objects.
        let code = unsafe { c::PyObject_IsInstance(self.as_ptr(), kind.as_ptr()) };
        status(code).map(|()| code != 0)
    }

    /// `repr(self)` as Rust text.
    pub(crate) fn repr(&self) -> Res<String> {
        // SAFETY: a live object; an owned result or an exception.
        let text = unsafe { Self::from_owned(c::PyObject_Repr(self.as_ptr()))? };
        super::value::text(&text)
    }

    /// The name of its class.
    pub(crate) fn type_name(&self) -> String {
        // SAFETY: the type of a live object has a C name.
        unsafe {
            let name = std::ffi::CStr::from_ptr((*self.type_ptr()).tp_name).to_string_lossy();
            name.rsplit('.').next().unwrap_or_default().to_owned()
        }
    }

    pub(crate) fn is_exception_instance(&self) -> bool {
        // SAFETY: a live object.
        unsafe { c::PyExceptionInstance_Check(self.as_ptr()) != 0 }
    }

    pub(crate) fn is_exception_class(&self) -> bool {
        // SAFETY: a live object.
        unsafe { c::PyExceptionClass_Check(self.as_ptr()) != 0 }
    }

    pub(crate) fn is_traceback(&self) -> bool {
        // SAFETY: a live object.
        unsafe { c::PyTraceBack_Check(self.as_ptr()) != 0 }
    }

    /// An exception's traceback.
    pub(crate) fn traceback(&self) -> Option<Self> {
        // SAFETY: an exception instance; an owned result or null without an exception.
        let ptr = unsafe { c::PyException_GetTraceback(self.as_ptr()) };
        // SAFETY: owned.
        (!ptr.is_null()).then(|| unsafe { Self::from_owned_unchecked(ptr) })
    }

    pub(crate) fn set_traceback(&self, traceback: Option<&Self>) {
        // SAFETY: an exception instance, a traceback or None.
        let code = unsafe {
            c::PyException_SetTraceback(
                self.as_ptr(),
                traceback.map_or_else(|| c::Py_None(), Self::as_ptr),
            )
        };
        if code < 0 {
            Raised::assume_set().clear();
        }
    }

    /// An exception's `__context__`.
    pub(crate) fn context(&self) -> Option<Self> {
        // SAFETY: an exception instance; an owned result or null without an exception.
        let ptr = unsafe { c::PyException_GetContext(self.as_ptr()) };
        // SAFETY: owned.
        (!ptr.is_null()).then(|| unsafe { Self::from_owned_unchecked(ptr) })
    }

    /// Sets `__context__`.
    pub(crate) fn set_context(&self, context: Option<Self>) {
        // SAFETY: exception instances; the context's reference is given away.
        unsafe {
            c::PyException_SetContext(
                self.as_ptr(),
                context.map_or(ptr::null_mut(), Self::into_ptr),
            )
        }
    }

    /// Sets `__cause__`.
    pub(crate) fn set_cause(&self, cause: Option<Self>) {
        // SAFETY: exception instances; the cause's reference is given away.
        unsafe {
            c::PyException_SetCause(self.as_ptr(), cause.map_or(ptr::null_mut(), Self::into_ptr))
        }
    }
}

/// `importlib.import_module(name)`.
pub(crate) fn import(name: &std::ffi::CStr) -> Res<Obj> {
    // SAFETY: a NUL-terminated name; an owned module or an exception.
    unsafe { Obj::from_owned(c::PyImport_ImportModule(name.as_ptr())) }
}

/// One level of recursion, counted by the interpreter, which raises `RecursionError` at its limit.
pub(crate) struct Depth(());

impl Depth {
    pub(crate) fn enter(what: &std::ffi::CStr) -> Res<Self> {
        // SAFETY: attached; a NUL-terminated text.
        status(unsafe { c::Py_EnterRecursiveCall(what.as_ptr()) }).map(|()| Self(()))
    }
}

impl Drop for Depth {
    fn drop(&mut self) {
        // SAFETY: entered once, left once.
        unsafe { c::Py_LeaveRecursiveCall() }
    }
}
