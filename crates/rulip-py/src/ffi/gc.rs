//! Small questions to the collector and the interpreter's state.

use pyo3::ffi as c;

use super::error::{Raised, Res, status};

/// Runs the Python handlers of signals that came in; raises what they raise.
#[inline]
pub(crate) fn check_signals() -> Res<()> {
    // SAFETY: attached.
    status(unsafe { c::PyErr_CheckSignals() })
}

/// A reference carried into [`detached`]: the same thread goes on using it there.
pub(crate) struct Unlocked<'a, T>(&'a T);

// SAFETY: `detached` runs its function on the calling thread.
unsafe impl<T> Send for Unlocked<'_, T> {}

impl<'a, T> Unlocked<'a, T> {
    pub(crate) fn new(value: &'a T) -> Self {
        Self(value)
    }

    pub(crate) fn get(&self) -> &'a T {
        self.0
    }
}

/// Runs `f` with the GIL released. `f` touches nothing of Python's.
pub(crate) fn detached<R: Send>(f: impl FnOnce() -> R + Send) -> R {
    struct Reattach(*mut c::PyThreadState);
    impl Drop for Reattach {
        fn drop(&mut self) {
            // SAFETY: the state saved by this very thread.
            unsafe { c::PyEval_RestoreThread(self.0) }
        }
    }
    // SAFETY: attached; `Reattach` restores the state even if `f` unwinds.
    let _reattach = Reattach(unsafe { c::PyEval_SaveThread() });
    f()
}

/// Runs `f` one level deeper in Python's count of nested calls; `RecursionError` where that ends.
pub(crate) fn recursing<R>(f: impl FnOnce() -> Res<R>) -> Res<R> {
    struct Level;
    impl Drop for Level {
        fn drop(&mut self) {
            // SAFETY: entered below, attached.
            unsafe { c::Py_LeaveRecursiveCall() }
        }
    }
    // SAFETY: attached; a static text.
    if unsafe { c::Py_EnterRecursiveCall(c"".as_ptr()) } != 0 {
        return Err(Raised::assume_set());
    }
    let _level = Level;
    f()
}

/// `threading.get_ident()`.
#[inline]
pub(crate) fn thread_ident() -> u64 {
    // SAFETY: no precondition.
    unsafe { PyThread_get_thread_ident() }
}

unsafe extern "C" {
    fn PyThread_get_thread_ident() -> std::ffi::c_ulong;
}

/// The number of the interpreter that we are attached to.
pub(crate) fn interpreter_id() -> i64 {
    // SAFETY: attached, so there is one.
    unsafe { c::PyInterpreterState_GetID(c::PyInterpreterState_Get()) }
}
