//! [`Obj`]: one owned reference to a Python object.
//!
//! PyO3's `Py<T>` asks a thread-local at each drop whether the thread is attached; here that is
//! an invariant, so that a drop is a bare decrement. Not here: typed references (`native.rs`).
//!
//! Dropping an `Obj` may run `__del__`: never drop one while a borrow of our own state is held.

use std::marker::PhantomData;
use std::mem::ManuallyDrop;
use std::ops::Deref;
use std::ptr::NonNull;

use pyo3::ffi as c;

use super::error::{Raised, Res};

/// An owned reference to any Python object.
#[repr(transparent)]
pub(crate) struct Obj(NonNull<c::PyObject>);

impl Obj {
    /// Takes over a reference returned by CPython; null means that an exception is set.
    ///
    /// # Safety
    /// `ptr` is null with an exception set, or a reference that the caller owns.
    #[inline]
    pub(crate) unsafe fn from_owned(ptr: *mut c::PyObject) -> Res<Self> {
        match NonNull::new(ptr) {
            Some(ptr) => Ok(Self(ptr)),
            None => Err(Raised::assume_set()),
        }
    }

    /// As [`Obj::from_owned`] for a pointer known not to be null.
    ///
    /// # Safety
    /// `ptr` is a reference that the caller owns.
    #[inline]
    pub(crate) unsafe fn from_owned_unchecked(ptr: *mut c::PyObject) -> Self {
        // SAFETY: promised by the caller.
        Self(unsafe { NonNull::new_unchecked(ptr) })
    }

    /// A new reference to a borrowed object.
    ///
    /// # Safety
    /// `ptr` points to a live object.
    #[inline]
    pub(crate) unsafe fn from_borrowed(ptr: *mut c::PyObject) -> Self {
        // SAFETY: live, by the caller's promise.
        unsafe {
            c::Py_INCREF(ptr);
            Self::from_owned_unchecked(ptr)
        }
    }

    /// The pointer, still owned by `self`.
    #[inline]
    pub(crate) fn as_ptr(&self) -> *mut c::PyObject {
        self.0.as_ptr()
    }

    /// Gives the reference away.
    #[inline]
    pub(crate) fn into_ptr(self) -> *mut c::PyObject {
        ManuallyDrop::new(self).0.as_ptr()
    }

    /// `self is other`.
    #[inline]
    pub(crate) fn is(&self, other: &Self) -> bool {
        self.0 == other.0
    }

    #[inline]
    pub(crate) fn is_none(&self) -> bool {
        // SAFETY: None is immortal or at least always alive.
        self.as_ptr() == unsafe { c::Py_None() }
    }

    #[inline]
    pub(crate) fn type_ptr(&self) -> *mut c::PyTypeObject {
        // SAFETY: a live object has a type.
        unsafe { c::Py_TYPE(self.as_ptr()) }
    }

    /// Its real type, as an object.
    pub(crate) fn type_obj(&self) -> Self {
        // SAFETY: the type of a live object is alive.
        unsafe { Self::from_borrowed(self.type_ptr().cast()) }
    }

    #[inline]
    pub(crate) fn refcount(&self) -> isize {
        // SAFETY: a live object.
        unsafe { c::Py_REFCNT(self.as_ptr()) }
    }

    /// `None`.
    #[inline]
    pub(crate) fn none() -> Self {
        // SAFETY: None is alive.
        unsafe { Self::from_borrowed(c::Py_None()) }
    }

    /// `True` or `False`.
    #[inline]
    pub(crate) fn bool(value: bool) -> Self {
        // SAFETY: both singletons are alive.
        unsafe { Self::from_borrowed(if value { c::Py_True() } else { c::Py_False() }) }
    }
}

/// Takes the reference out of a raw field that CPython knows by its offset (`__dict__`).
pub(crate) fn take_raw(field: &std::cell::Cell<*mut c::PyObject>) -> Option<Obj> {
    let ptr = field.replace(std::ptr::null_mut());
    // SAFETY: such a field owns its reference, which moves out.
    (!ptr.is_null()).then(|| unsafe { Obj::from_owned_unchecked(ptr) })
}

/// A new reference to what stands in such a field.
pub(crate) fn borrowed(field: *mut c::PyObject) -> Option<Obj> {
    // SAFETY: such a field is null or owns a reference to a live object.
    (!field.is_null()).then(|| unsafe { Obj::from_borrowed(field) })
}

impl Clone for Obj {
    #[inline]
    fn clone(&self) -> Self {
        // SAFETY: alive, since we own a reference.
        unsafe { c::Py_INCREF(self.as_ptr()) };
        Self(self.0)
    }
}

impl Drop for Obj {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: we own this reference and give it up here, attached.
        unsafe { c::Py_DECREF(self.as_ptr()) }
    }
}

impl std::fmt::Debug for Obj {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Obj({:p})", self.0)
    }
}

/// A reference borrowed from somebody who outlives `'a`: derefs to [`Obj`], drops nothing.
pub(crate) struct Borrowed<'a>(ManuallyDrop<Obj>, PhantomData<&'a Obj>);

impl Borrowed<'_> {
    /// # Safety
    /// `ptr` points to an object that stays alive for `'a`.
    #[inline]
    pub(crate) unsafe fn new(ptr: *mut c::PyObject) -> Self {
        // SAFETY: promised by the caller; ManuallyDrop keeps the reference count as it is.
        Self(ManuallyDrop::new(unsafe { Obj::from_owned_unchecked(ptr) }), PhantomData)
    }
}

impl Deref for Borrowed<'_> {
    type Target = Obj;

    #[inline]
    fn deref(&self) -> &Obj {
        &self.0
    }
}

/// A value that only attached threads touch, in a static.
///
/// Holds interned names and imported objects, set once at module initialisation.
pub(crate) struct Attached<T>(std::sync::OnceLock<T>);

// SAFETY: the values are only reached through `get`, attached, and never dropped.
unsafe impl<T> Sync for Attached<T> {}
// SAFETY: as above.
unsafe impl<T> Send for Attached<T> {}

impl<T> Attached<T> {
    pub(crate) const fn new() -> Self {
        Self(std::sync::OnceLock::new())
    }

    /// Sets the value; a second call keeps the first value.
    pub(crate) fn set(&self, value: T) {
        if let Err(again) = self.0.set(value) {
            std::mem::forget(again);
        }
    }

    /// The value: the module's initialisation set it before any of our code could run.
    #[inline]
    pub(crate) fn get(&self) -> &T {
        self.0.get().expect("invariant: set at module initialisation")
    }

    pub(crate) fn is_set(&self) -> bool {
        self.0.get().is_some()
    }
}
