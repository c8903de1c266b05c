//! Bytes objects as buffers: made from memory, filled in place, read without a copy.

use pyo3::ffi as c;

use super::error::Res;
use super::object::Obj;

/// A new bytes object with these contents.
#[inline]
pub(crate) fn from_slice(data: &[u8]) -> Res<Obj> {
    // SAFETY: a valid range; returns an owned reference or raises.
    unsafe {
        Obj::from_owned(c::PyBytes_FromStringAndSize(
            data.as_ptr().cast(),
            data.len().cast_signed(),
        ))
    }
}

/// The length of an exact bytes object.
#[inline]
pub(crate) fn len(obj: &Obj) -> usize {
    // SAFETY: only called on exact bytes objects.
    unsafe { c::Py_SIZE(obj.as_ptr()).unsigned_abs() }
}

/// Reads an exact bytes object, which is borrowed for the call and never changes.
#[inline]
pub(crate) fn with<R>(obj: &Obj, f: impl FnOnce(&[u8]) -> R) -> R {
    // SAFETY: only called on exact bytes objects, which own this range and never change it.
    let data = unsafe {
        std::slice::from_raw_parts(c::PyBytes_AS_STRING(obj.as_ptr()).cast::<u8>(), len(obj))
    };
    f(data)
}

/// Whether it is exactly a bytes object: immutable, and its deallocation runs nobody's code.
#[inline]
pub(crate) fn is_exact(obj: &Obj) -> bool {
    // SAFETY: a live object.
    unsafe { c::PyBytes_CheckExact(obj.as_ptr()) != 0 }
}

/// The contents of an exact bytes object.
#[inline]
pub(crate) fn exact_slice(obj: &Obj) -> Option<&[u8]> {
    if !is_exact(obj) {
        return None;
    }
    // SAFETY: an exact bytes object owns this range and never changes it.
    unsafe {
        let data = c::PyBytes_AS_STRING(obj.as_ptr()).cast::<u8>();
        Some(std::slice::from_raw_parts(data, c::Py_SIZE(obj.as_ptr()).unsigned_abs()))
    }
}

/// An owned, exact bytes object: the chunk type of write queues.
#[derive(Debug)]
pub(crate) struct Bytes(Obj);

impl Bytes {
    /// Takes over an exact bytes object.
    #[inline]
    pub(crate) fn new(obj: Obj) -> Result<Self, Obj> {
        if is_exact(&obj) { Ok(Self(obj)) } else { Err(obj) }
    }

    /// The bytes object itself.
    pub(crate) fn to_obj(&self) -> Obj {
        self.0.clone()
    }

    /// A copy of any memory.
    pub(crate) fn copy_of(data: &[u8]) -> Res<Self> {
        from_slice(data).map(Self)
    }
}

impl AsRef<[u8]> for Bytes {
    #[inline]
    fn as_ref(&self) -> &[u8] {
        let ptr = self.0.as_ptr();
        // SAFETY: an exact bytes object owns this range and never changes it.
        unsafe {
            let data = c::PyBytes_AS_STRING(ptr).cast::<u8>();
            std::slice::from_raw_parts(data, c::Py_SIZE(ptr).unsigned_abs())
        }
    }
}

/// A bytes object in the making, which nobody else sees: memory that grows, and is handed out without
/// a copy. What nobody has written to is not read either.
#[derive(Debug)]
pub(crate) struct Growing(Option<Obj>);

impl Growing {
    /// Memory of this size; its contents are arbitrary.
    pub(crate) fn new(size: usize) -> Res<Self> {
        // SAFETY: no contents given: an object of that size, or an exception.
        let made = unsafe {
            Obj::from_owned(c::PyBytes_FromStringAndSize(std::ptr::null(), size.cast_signed()))?
        };
        Ok(Self(Some(made)))
    }

    /// No memory at all.
    pub(crate) const fn nothing() -> Self {
        Self(None)
    }

    /// The memory, as large as was asked for.
    #[inline]
    pub(crate) fn memory(&self) -> &[u8] {
        self.0.as_ref().and_then(exact_slice).unwrap_or_default()
    }

    /// As [`Growing::memory`], to be written to.
    #[inline]
    pub(crate) fn memory_mut(&mut self) -> &mut [u8] {
        let Some(object) = &self.0 else { return &mut [] };
        // SAFETY: an exact bytes object that only we hold, and so may write to, until it is handed out.
        unsafe {
            let data = c::PyBytes_AS_STRING(object.as_ptr()).cast::<u8>().cast_mut();
            std::slice::from_raw_parts_mut(data, len(object))
        }
    }

    /// Another size; what it holds stays as far as there is room. After an error nothing is left.
    pub(crate) fn resize(&mut self, size: usize) -> Res<()> {
        let mut object = self.0.take().map_or(std::ptr::null_mut(), Obj::into_ptr);
        // SAFETY: an exact bytes object that only we hold; it is gone when this fails.
        unsafe {
            if _PyBytes_Resize(&mut object, size.cast_signed()) < 0 {
                return Err(super::error::Raised::assume_set());
            }
            self.0 = Some(Obj::from_owned_unchecked(object));
        }
        Ok(())
    }

    /// The object, cut to `len` bytes.
    pub(crate) fn finish(mut self, len: usize) -> Res<Obj> {
        if self.memory().len() != len {
            self.resize(len)?;
        }
        self.0.take().map_or_else(|| from_slice(&[]), Ok)
    }
}

/// A new bytes object of `capacity`, filled by `fill`, cut to what `fill` says it wrote.
pub(crate) fn filled<E>(
    capacity: usize,
    fill: impl FnOnce(&mut [u8]) -> Result<usize, E>,
) -> Res<Result<(Obj, usize), E>> {
    // SAFETY: uninitialised bytes of our own until returned; nobody else can see them. They are
    // zeroed only where `fill` could read, which it does not: it hands them to recv.
    unsafe {
        let mut ptr = Obj::from_owned(c::PyBytes_FromStringAndSize(
            std::ptr::null(),
            capacity.cast_signed(),
        ))?
        .into_ptr();
        let data = c::PyBytes_AS_STRING(ptr).cast::<u8>().cast_mut();
        let result = fill(std::slice::from_raw_parts_mut(data, capacity));
        match result {
            Ok(written) => {
                if written < capacity && _PyBytes_Resize(&mut ptr, written.cast_signed()) < 0 {
                    return Err(super::error::Raised::assume_set());
                }
                Ok(Ok((Obj::from_owned_unchecked(ptr), written)))
            }
            Err(err) => {
                drop(Obj::from_owned_unchecked(ptr));
                Ok(Err(err))
            }
        }
    }
}

unsafe extern "C" {
    fn _PyBytes_Resize(bytes: *mut *mut c::PyObject, newsize: c::Py_ssize_t) -> std::ffi::c_int;
}
