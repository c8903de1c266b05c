//! `bytearray`: made from memory, read out, and written over.

use pyo3::ffi as c;

use super::error::{Res, status};
use super::object::Obj;

/// A new bytearray with these contents.
pub(crate) fn from_slice(data: &[u8]) -> Res<Obj> {
    // SAFETY: a valid range; an owned result or an exception.
    unsafe {
        Obj::from_owned(c::PyByteArray_FromStringAndSize(
            data.as_ptr().cast(),
            data.len().cast_signed(),
        ))
    }
}

/// Whether it is a bytearray.
pub(crate) fn is(obj: &Obj) -> bool {
    // SAFETY: a live object.
    unsafe { c::PyByteArray_Check(obj.as_ptr()) != 0 }
}

/// Puts these contents in place of those it has; `BufferError` while somebody looks at its memory.
pub(crate) fn overwrite(bytearray: &Obj, data: &[u8]) -> Res<()> {
    // SAFETY: only called on bytearrays; after the resize its memory holds `data.len()` bytes, and
    // nobody else runs before they are written.
    unsafe {
        status(c::PyByteArray_Resize(bytearray.as_ptr(), data.len().cast_signed()))?;
        let place = c::PyByteArray_AsString(bytearray.as_ptr()).cast::<u8>();
        std::ptr::copy_nonoverlapping(data.as_ptr(), place, data.len());
    }
    Ok(())
}
