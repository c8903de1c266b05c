//! Weak references: made, and followed.

use pyo3::ffi as c;

use super::error::{Raised, Res};
use super::object::Obj;

/// `weakref.ref(obj)`; raises `TypeError` for what cannot be weakly referenced.
pub(crate) fn to(obj: &Obj) -> Res<Obj> {
    // SAFETY: a live object; an owned result or an exception.
    unsafe { Obj::from_owned(c::PyWeakref_NewRef(obj.as_ptr(), std::ptr::null_mut())) }
}

/// What it refers to, while that lives. Anything callable may stand in its place.
#[inline]
pub(crate) fn target(weakref: &Obj) -> Res<Option<Obj>> {
    // SAFETY: a live object.
    if unsafe { c::PyWeakref_CheckRefExact(weakref.as_ptr()) } == 0 {
        return weakref.call0().map(|obj| Some(obj).filter(|obj| !obj.is_none()));
    }
    #[cfg(Py_3_13)]
    // SAFETY: exactly a weak reference; the place receives an owned reference or null.
    unsafe {
        let mut found = std::ptr::null_mut();
        match c::PyWeakref_GetRef(weakref.as_ptr(), &mut found) {
            1 => Ok(Some(Obj::from_owned_unchecked(found))),
            0 => Ok(None),
            _ => Err(Raised::assume_set()),
        }
    }
    #[cfg(not(Py_3_13))]
    // SAFETY: exactly a weak reference; what it lends is alive now, and gets a reference of ours.
    unsafe {
        let found = c::PyWeakref_GetObject(weakref.as_ptr());
        if found.is_null() {
            return Err(Raised::assume_set());
        }
        Ok((found != c::Py_None()).then(|| Obj::from_borrowed(found)))
    }
}
