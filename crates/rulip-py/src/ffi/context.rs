//! Contexts (`contextvars`): copy, enter, leave.

use pyo3::ffi as c;

use super::error::{Res, status};
use super::object::Obj;

/// `contextvars.copy_context()`.
#[inline]
pub(crate) fn copy_current() -> Res<Obj> {
    // SAFETY: returns an owned reference or raises.
    unsafe { Obj::from_owned(c::PyContext_CopyCurrent()) }
}

/// Whether it is a `contextvars.Context`.
pub(crate) fn is_context(obj: &Obj) -> bool {
    // SAFETY: a live object.
    unsafe { c::PyContext_CheckExact(obj.as_ptr()) != 0 }
}

/// A context that is current until this is dropped; an exception in flight survives the leaving.
pub(crate) struct Entered<'a>(&'a Obj);

impl<'a> Entered<'a> {
    /// Enters the context; it is an error if it is entered already.
    #[inline]
    pub(crate) fn new(context: &'a Obj) -> Res<Self> {
        // SAFETY: the callers hold real Context objects only.
        status(unsafe { c::PyContext_Enter(context.as_ptr()) })?;
        Ok(Self(context))
    }

    /// Enters it unless it is current or entered already: within a callback of its connection.
    #[inline]
    pub(crate) fn unless_inside(context: Option<&'a Obj>) -> Option<Self> {
        match Self::new(context?) {
            Ok(entered) => Some(entered),
            Err(raised) => {
                raised.clear();
                None
            }
        }
    }
}

impl Drop for Entered<'_> {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: entered by `new`. It only fails when somebody else left it for us.
        if unsafe { c::PyContext_Exit(self.0.as_ptr()) } < 0 {
            super::error::Raised::assume_set().write_unraisable(self.0);
        }
    }
}

/// `context.copy()`.
pub(crate) fn copy_of(context: &Obj) -> Res<Obj> {
    // SAFETY: a Context; an owned result or an exception.
    unsafe { Obj::from_owned(c::PyContext_Copy(context.as_ptr())) }
}
