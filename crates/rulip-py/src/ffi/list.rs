//! What a list does that is asked for often, without looking methods up.
//!
//! Only for exact lists, which callers check with [`is_list`]. User code may hold the list too: nothing
//! here keeps a borrowed item.

use pyo3::ffi as c;

use super::error::{Res, status};
use super::object::Obj;

/// Whether it is exactly a list.
#[inline]
pub(crate) fn is_list(obj: &Obj) -> bool {
    // SAFETY: a live object.
    unsafe { c::PyList_CheckExact(obj.as_ptr()) != 0 }
}

/// `list.append(item)`.
#[inline]
pub(crate) fn append(list: &Obj, item: &Obj) -> Res<()> {
    // SAFETY: a list and a live object; raises for what is no list.
    status(unsafe { c::PyList_Append(list.as_ptr(), item.as_ptr()) })
}

/// `list.pop()`, or nothing where the list is empty.
#[inline]
pub(crate) fn pop(list: &Obj) -> Res<Option<Obj>> {
    // SAFETY: a list; the borrowed last item gets a reference of its own before it is cut off.
    unsafe {
        let len = c::PyList_Size(list.as_ptr());
        if len <= 0 {
            return if len < 0 { Err(super::Raised::assume_set()) } else { Ok(None) };
        }
        let last = Obj::from_borrowed(c::PyList_GET_ITEM(list.as_ptr(), len - 1));
        status(c::PyList_SetSlice(list.as_ptr(), len - 1, len, std::ptr::null_mut()))?;
        Ok(Some(last))
    }
}

/// `len(list)`.
#[inline]
pub(crate) fn len(list: &Obj) -> usize {
    // SAFETY: an exact list.
    unsafe { c::PyList_GET_SIZE(list.as_ptr()) }.unsigned_abs()
}
