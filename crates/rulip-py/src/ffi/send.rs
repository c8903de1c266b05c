//! The generator protocol in both directions: driving coroutines, and being awaited.
//!
//! CPython asks an awaitable through `am_send` (3.11) or `tp_iternext` (3.12 on, which reads the
//! result from a `StopIteration`). Raising that exception anew costs more than the rest of a step,
//! so one instance is kept and reused whenever nobody else holds it.

use std::ffi::c_void;
use std::ptr;

use pyo3::ffi as c;

use super::error::{Raised, Res};
use super::native::{Native, Ref};
use super::object::Obj;
use super::trampoline::shielded;

/// One step of a coroutine, or of an awaitable.
pub(crate) enum Step {
    /// It waits for this object.
    Yield(Obj),
    /// It is done, with this value.
    Return(Obj),
}

/// `coro.send(None)`.
#[inline]
pub(crate) fn send_none(coro: &Obj) -> Res<Step> {
    let mut out = ptr::null_mut();
    // SAFETY: a live object; `out` receives an owned reference unless it raises.
    unsafe {
        match c::PyIter_Send(coro.as_ptr(), c::Py_None(), &mut out) {
            c::PySendResult::PYGEN_NEXT => Ok(Step::Yield(Obj::from_owned_unchecked(out))),
            c::PySendResult::PYGEN_RETURN => Ok(Step::Return(Obj::from_owned_unchecked(out))),
            c::PySendResult::PYGEN_ERROR => Err(Raised::assume_set()),
        }
    }
}

/// Turns a raised `StopIteration` into the value it carries; another exception stays raised.
pub(crate) fn stop_value(raised: Raised) -> Res<Obj> {
    // SAFETY: a builtin exception class.
    let stop = unsafe { c::PyErr_ExceptionMatches(c::PyExc_StopIteration) != 0 };
    if !stop {
        return Err(raised);
    }
    let exc = raised.take();
    exc.attr(&crate::names::get().value)
}

/// Raises `StopIteration(value)`.
fn raise_stop(value: Obj) -> Raised {
    // SAFETY: the classes and objects are alive; a tuple or exception as value is wrapped in an
    // explicit instance, since PyErr_SetObject would unpack it.
    unsafe {
        let raw = value.as_ptr();
        if c::PyTuple_Check(raw) != 0 || c::PyExceptionInstance_Check(raw) != 0 {
            let exc = c::PyObject_CallOneArg(c::PyExc_StopIteration, raw);
            if !exc.is_null() {
                c::PyErr_SetObject(c::PyExc_StopIteration, exc);
                c::Py_DECREF(exc);
            }
        } else {
            c::PyErr_SetObject(c::PyExc_StopIteration, raw);
        }
    }
    Raised::assume_set()
}

#[cfg(Py_3_12)]
mod reused {
    //! The one `StopIteration` that is raised again and again.

    use std::cell::Cell;
    use std::ptr;

    use pyo3::ffi as c;

    use super::{Obj, Raised};

    struct Kept(Cell<*mut c::PyObject>);

    // SAFETY: only touched attached.
    unsafe impl Sync for Kept {}

    static KEPT: Kept = Kept(Cell::new(ptr::null_mut()));

    thread_local! {
        /// Whether a loop of ours runs in this thread, which calls `release` after each job.
        pub(super) static RELEASED: Cell<bool> = const { Cell::new(false) };
    }

    pub(super) fn raise(value: Obj) -> Raised {
        if !RELEASED.get() {
            return super::raise_stop(value);
        }
        // SAFETY: the kept instance is a StopIteration that only we own (its count is one), so
        // writing its value slot cannot be seen by anybody; then it is raised as CPython would.
        unsafe {
            let mut kept = KEPT.0.get();
            if kept.is_null() {
                kept = c::PyObject_CallNoArgs(c::PyExc_StopIteration);
                if kept.is_null() {
                    return Raised::assume_set();
                }
                KEPT.0.set(kept);
            }
            let stop = kept.cast::<c::PyStopIterationObject>();
            if c::Py_REFCNT(kept) != 1 || !is_pristine(stop) {
                return super::raise_stop(value);
            }
            let old = (*stop).value;
            (*stop).value = value.into_ptr();
            HOLDS_VALUE.0.set(true);
            c::Py_XDECREF(old);
            c::Py_INCREF(kept);
            c::PyErr_SetRaisedException(kept);
        }
        Raised::assume_set()
    }

    /// Python code that caught it left nothing on it.
    unsafe fn is_pristine(stop: *mut c::PyStopIterationObject) -> bool {
        // SAFETY: a live StopIteration.
        unsafe {
            (*stop).traceback.is_null()
                && (*stop).context.is_null()
                && (*stop).cause.is_null()
                && (*stop).notes.is_null()
                && (*stop).dict.is_null()
        }
    }

    struct Flag(Cell<bool>);

    // SAFETY: only touched attached.
    unsafe impl Sync for Flag {}

    /// The kept instance still refers to the last value.
    static HOLDS_VALUE: Flag = Flag(Cell::new(false));

    /// Lets go of the last value: who awaited it has it by now.
    #[inline]
    pub(super) fn release() {
        if HOLDS_VALUE.0.get() {
            release_held();
        }
    }

    fn release_held() {
        HOLDS_VALUE.0.set(false);
        let kept = KEPT.0.get();
        // SAFETY: the kept instance is alive; if somebody else holds it too, the value is theirs
        // to see and stays.
        unsafe {
            if kept.is_null() || c::Py_REFCNT(kept) != 1 {
                return;
            }
            let stop = kept.cast::<c::PyStopIterationObject>();
            let old = std::mem::replace(&mut (*stop).value, ptr::null_mut());
            c::Py_XDECREF(old);
        }
    }
}

/// Nothing that was awaited is kept alive by the machinery of awaiting. Called after each job.
#[inline]
pub(crate) fn release_awaited() {
    #[cfg(Py_3_12)]
    reused::release();
}

/// Tells whether `release_awaited` is called after each job of this thread; comes back with what was
/// told before.
pub(crate) fn set_released(_released: bool) -> bool {
    #[cfg(Py_3_12)]
    return reused::RELEASED.replace(_released);
    #[cfg(not(Py_3_12))]
    false
}

/// A native awaitable: what `await` does with it.
pub(crate) trait Awaitable: Native {
    /// Called with `None` sent in; an error is what the awaiting coroutine sees.
    fn poll(this: &Ref<Self>) -> Res<Step>;
}

unsafe extern "C" fn iternext<T: Awaitable>(slf: *mut c::PyObject) -> *mut c::PyObject {
    // SAFETY: called on an instance of T; borrowed for the call.
    let this = std::mem::ManuallyDrop::new(unsafe {
        Ref::<T>::from_obj_unchecked(Obj::from_owned_unchecked(slf))
    });
    match shielded(|| T::poll(&this)) {
        Ok(Step::Yield(obj)) => obj.into_ptr(),
        Ok(Step::Return(value)) => {
            if !value.is_none() {
                #[cfg(Py_3_12)]
                let _raised = reused::raise(value);
                #[cfg(not(Py_3_12))]
                let _raised = raise_stop(value);
            }
            ptr::null_mut()
        }
        Err(_raised) => ptr::null_mut(),
    }
}

unsafe extern "C" fn send<T: Awaitable>(
    slf: *mut c::PyObject,
    _value: *mut c::PyObject,
    out: *mut *mut c::PyObject,
) -> c::PySendResult {
    // SAFETY: called on an instance of T; borrowed for the call.
    let this = std::mem::ManuallyDrop::new(unsafe {
        Ref::<T>::from_obj_unchecked(Obj::from_owned_unchecked(slf))
    });
    let (obj, result) = match shielded(|| T::poll(&this)) {
        Ok(Step::Yield(obj)) => (obj.into_ptr(), c::PySendResult::PYGEN_NEXT),
        Ok(Step::Return(obj)) => (obj.into_ptr(), c::PySendResult::PYGEN_RETURN),
        Err(_raised) => (ptr::null_mut(), c::PySendResult::PYGEN_ERROR),
    };
    // SAFETY: CPython passes a place for one pointer.
    unsafe { *out = obj };
    result
}

/// `tp_iternext` for an awaitable.
pub(crate) fn iternext_slot<T: Awaitable>() -> *mut c_void {
    iternext::<T> as unsafe extern "C" fn(*mut c::PyObject) -> *mut c::PyObject as *mut c_void
}

/// `am_send` for an awaitable.
pub(crate) fn send_slot<T: Awaitable>() -> *mut c_void {
    send::<T>
        as unsafe extern "C" fn(
            *mut c::PyObject,
            *mut c::PyObject,
            *mut *mut c::PyObject,
        ) -> c::PySendResult as *mut c_void
}

/// Raises `StopIteration(value)` for a Python-visible `send()`.
pub(crate) fn stop_iteration(value: Obj) -> Raised {
    if value.is_none() {
        // SAFETY: a builtin exception class.
        unsafe { c::PyErr_SetNone(c::PyExc_StopIteration) };
        return Raised::assume_set();
    }
    raise_stop(value)
}

/// What `await obj` drives.
pub(crate) fn awaitable_iterator(obj: &Obj) -> Res<Obj> {
    if is_coroutine(obj) {
        // Somebody else must hold it to await it already.
        if obj.refcount() > 1 && !obj.attr(&crate::names::get().cr_await)?.is_none() {
            return Err(Raised::runtime_error("coroutine is being awaited already"));
        }
        return Ok(obj.clone());
    }
    if is_generator(obj) && is_iterable_coroutine(obj)? {
        return Ok(obj.clone());
    }
    // SAFETY: a live object; the slot is called as `await` would, its result is owned.
    let iterator = unsafe {
        let slots = (*obj.type_ptr()).tp_as_async;
        match if slots.is_null() { None } else { (*slots).am_await } {
            Some(am_await) => Obj::from_owned(am_await(obj.as_ptr()))?,
            None => return Err(cannot_await(obj)),
        }
    };
    if is_coroutine(&iterator) {
        return Err(Raised::type_error("__await__() returned a coroutine"));
    }
    // SAFETY: a live object.
    if unsafe { c::PyIter_Check(iterator.as_ptr()) } == 0 {
        let kind = iterator.type_name();
        let text = format!("__await__() returned non-iterator of type '{kind}'");
        return Err(Raised::type_error(&text));
    }
    Ok(iterator)
}

#[cold]
fn cannot_await(obj: &Obj) -> Raised {
    let kind = obj.type_name();
    if cfg!(Py_3_14) {
        return Raised::type_error(&format!("'{kind}' object can't be awaited"));
    }
    Raised::type_error(&format!("object {kind} can't be used in 'await' expression"))
}

/// A generator marked by `types.coroutine`.
#[cold]
fn is_iterable_coroutine(generator: &Obj) -> Res<bool> {
    const CO_ITERABLE_COROUTINE: i64 = 0x100;
    let code = generator.attr(&super::value::str("gi_code")?)?;
    let flags = super::value::as_i64(&code.attr(&super::value::str("co_flags")?)?)?;
    Ok(flags & CO_ITERABLE_COROUTINE != 0)
}

/// Throws an exception into what is awaited; what cannot be thrown into raises it as it is.
pub(crate) fn throw_into(iterator: &Obj, exc: &Obj) -> Res<Step> {
    let Some(throw) = iterator.attr_opt(&crate::names::get().throw)? else {
        return Err(Raised::restore(exc.clone()));
    };
    match throw.call1(exc) {
        Ok(yielded) => Ok(Step::Yield(yielded)),
        Err(raised) => stop_value(raised).map(Step::Return),
    }
}

/// Closes what is awaited, if it can be.
pub(crate) fn close(iterator: &Obj) -> Res<()> {
    match iterator.attr_opt(&crate::names::get().close)? {
        Some(close) => close.call0().map(drop),
        None => Ok(()),
    }
}

/// Whether it is exactly a generator: `yield from` was meant where `yield` was written.
pub(crate) fn is_generator(obj: &Obj) -> bool {
    // SAFETY: a live object.
    unsafe { c::PyGen_CheckExact(obj.as_ptr()) != 0 }
}

/// Whether it is exactly a coroutine of `async def`.
pub(crate) fn is_coroutine(obj: &Obj) -> bool {
    // SAFETY: a live object.
    unsafe { c::PyCoro_CheckExact(obj.as_ptr()) != 0 }
}
