//! [`Slot`] and [`RefSlot`]: fields of native types that hold an optional reference.
//!
//! They are cells: reading clones, writing swaps, so no borrow of a field can be alive while
//! Python code runs or an object is dropped. That is how the house's rule is kept by types.

use std::cell::Cell;
use std::ffi::{c_int, c_void};
use std::marker::PhantomData;

use pyo3::ffi as c;

use super::native::{Native, Ref};
use super::object::Obj;

/// An optional reference to any object.
#[repr(transparent)]
pub(crate) struct Slot(Cell<*mut c::PyObject>);

impl Slot {
    #[inline]
    pub(crate) fn empty() -> Self {
        Self(Cell::new(std::ptr::null_mut()))
    }

    #[inline]
    pub(crate) fn new(value: Option<Obj>) -> Self {
        Self(Cell::new(value.map_or(std::ptr::null_mut(), Obj::into_ptr)))
    }

    #[inline]
    pub(crate) fn is_set(&self) -> bool {
        !self.0.get().is_null()
    }

    /// The pointer, still owned by the slot, or null.
    #[inline]
    pub(super) fn as_ptr(&self) -> *mut c::PyObject {
        self.0.get()
    }

    /// A new reference to what is here.
    #[inline]
    pub(crate) fn get(&self) -> Option<Obj> {
        let ptr = self.0.get();
        if ptr.is_null() {
            return None;
        }
        // SAFETY: the slot owns a reference, so the object is alive.
        Some(unsafe { Obj::from_borrowed(ptr) })
    }

    /// A new reference, or `None` the Python object.
    #[inline]
    pub(crate) fn get_or_none(&self) -> Obj {
        self.get().unwrap_or_else(Obj::none)
    }

    #[inline]
    pub(crate) fn take(&self) -> Option<Obj> {
        let ptr = self.0.replace(std::ptr::null_mut());
        if ptr.is_null() {
            return None;
        }
        // SAFETY: the slot's reference moves to the caller.
        Some(unsafe { Obj::from_owned_unchecked(ptr) })
    }

    /// Stores a value; what was here is dropped after the new value stands.
    #[inline]
    pub(crate) fn set(&self, value: Option<Obj>) {
        drop(self.replace(value));
    }

    #[inline]
    pub(crate) fn replace(&self, value: Option<Obj>) -> Option<Obj> {
        let ptr = self.0.replace(value.map_or(std::ptr::null_mut(), Obj::into_ptr));
        if ptr.is_null() {
            return None;
        }
        // SAFETY: the slot's old reference moves to the caller.
        Some(unsafe { Obj::from_owned_unchecked(ptr) })
    }

    #[inline]
    pub(crate) fn is(&self, other: &Obj) -> bool {
        self.0.get() == other.as_ptr()
    }

    /// Shows the reference to the garbage collector.
    #[inline]
    pub(crate) fn visit(&self, visit: &Visit) -> Result<(), c_int> {
        visit.raw(self.0.get())
    }
}

impl Drop for Slot {
    #[inline]
    fn drop(&mut self) {
        drop(self.take());
    }
}

/// An optional reference to a native object of type `T`.
#[repr(transparent)]
pub(crate) struct RefSlot<T: Native>(Slot, PhantomData<T>);

impl<T: Native> RefSlot<T> {
    #[inline]
    pub(crate) fn empty() -> Self {
        Self(Slot::empty(), PhantomData)
    }

    #[inline]
    pub(crate) fn new(value: Option<Ref<T>>) -> Self {
        Self(Slot::new(value.map(Ref::into_obj)), PhantomData)
    }

    #[inline]
    pub(crate) fn get(&self) -> Option<Ref<T>> {
        // SAFETY: only a Ref<T> is ever stored here.
        self.0.get().map(|obj| unsafe { Ref::from_obj_unchecked(obj) })
    }

    #[inline]
    pub(crate) fn take(&self) -> Option<Ref<T>> {
        // SAFETY: only a Ref<T> is ever stored here.
        self.0.take().map(|obj| unsafe { Ref::from_obj_unchecked(obj) })
    }

    #[inline]
    pub(crate) fn set(&self, value: Option<Ref<T>>) {
        self.0.set(value.map(Ref::into_obj));
    }

    #[inline]
    pub(crate) fn is_set(&self) -> bool {
        self.0.is_set()
    }

    #[inline]
    pub(crate) fn is(&self, other: &Obj) -> bool {
        self.0.is(other)
    }

    #[inline]
    pub(crate) fn visit(&self, visit: &Visit) -> Result<(), c_int> {
        self.0.visit(visit)
    }
}

/// The garbage collector's visitor, in a form that `?` understands.
pub(crate) struct Visit {
    proc: c::visitproc,
    arg: *mut c_void,
}

impl Visit {
    pub(crate) fn new(proc: c::visitproc, arg: *mut c_void) -> Self {
        Self { proc, arg }
    }

    #[inline]
    pub(crate) fn raw(&self, ptr: *mut c::PyObject) -> Result<(), c_int> {
        if ptr.is_null() {
            return Ok(());
        }
        // SAFETY: a live object and the collector's own argument.
        let code = unsafe { (self.proc)(ptr, self.arg) };
        if code == 0 { Ok(()) } else { Err(code) }
    }

    #[inline]
    pub(crate) fn obj(&self, obj: &Obj) -> Result<(), c_int> {
        self.raw(obj.as_ptr())
    }

    pub(crate) fn type_of(&self, obj: *mut c::PyObject) -> Result<(), c_int> {
        // SAFETY: a live object; heap types are visited by their instances.
        self.raw(unsafe { c::Py_TYPE(obj) }.cast())
    }
}

/// An optional reference to any object, which knows whether that is a native `T`: asking costs a
/// bit, not a walk through the class's bases.
pub(crate) struct EitherSlot<T: Native> {
    /// A pointer, with the lowest bit set where it is a `T` or derives from it.
    word: Cell<usize>,
    kind: PhantomData<T>,
}

impl<T: Native> EitherSlot<T> {
    /// Objects are aligned: the lowest bit is free.
    const NATIVE: usize = 1;

    #[inline]
    pub(crate) fn empty() -> Self {
        Self { word: Cell::new(0), kind: PhantomData }
    }

    #[inline]
    pub(crate) fn native(value: &Ref<T>) -> Self {
        let word = value.to_obj().into_ptr() as usize | Self::NATIVE;
        Self { word: Cell::new(word), kind: PhantomData }
    }

    pub(crate) fn set(&self, value: Obj) {
        let mark = if Ref::<T>::downcast(&value).is_some() { Self::NATIVE } else { 0 };
        let old = self.take();
        self.word.set(value.into_ptr() as usize | mark);
        drop(old);
    }

    /// Stores a native object, without asking what it is.
    #[inline]
    pub(crate) fn set_native(&self, value: Ref<T>) {
        let old = self.take();
        self.word.set(value.into_obj().into_ptr() as usize | Self::NATIVE);
        drop(old);
    }

    #[inline]
    fn ptr(&self) -> *mut c::PyObject {
        (self.word.get() & !Self::NATIVE) as *mut c::PyObject
    }

    /// A new reference, if it is a native `T`.
    #[inline]
    pub(crate) fn get_native(&self) -> Option<Ref<T>> {
        if self.word.get() & Self::NATIVE == 0 {
            return None;
        }
        // SAFETY: the mark stands only beside a pointer to a T, whose reference we own.
        Some(unsafe { Ref::from_obj_unchecked(Obj::from_borrowed(self.ptr())) })
    }

    #[inline]
    pub(crate) fn get(&self) -> Option<Obj> {
        let ptr = self.ptr();
        // SAFETY: a pointer that is not null is one whose reference we own.
        (!ptr.is_null()).then(|| unsafe { Obj::from_borrowed(ptr) })
    }

    pub(crate) fn get_or_none(&self) -> Obj {
        self.get().unwrap_or_else(Obj::none)
    }

    #[inline]
    pub(crate) fn is_set(&self) -> bool {
        self.word.get() != 0
    }

    #[inline]
    pub(crate) fn is(&self, other: &Obj) -> bool {
        self.ptr() == other.as_ptr()
    }

    #[inline]
    pub(crate) fn take(&self) -> Option<Obj> {
        let ptr = self.ptr();
        self.word.set(0);
        // SAFETY: our reference moves out.
        (!ptr.is_null()).then(|| unsafe { Obj::from_owned_unchecked(ptr) })
    }

    pub(crate) fn visit(&self, visit: &Visit) -> Result<(), c_int> {
        visit.raw(self.ptr())
    }
}

impl<T: Native> Drop for EitherSlot<T> {
    #[inline]
    fn drop(&mut self) {
        drop(self.take());
    }
}

/// One word that holds a number until it holds an object.
pub(crate) struct NumberOrObj(Cell<usize>);

impl NumberOrObj {
    /// Objects are aligned: a set lowest bit marks a number.
    const NUMBER: usize = 1;

    #[inline]
    pub(crate) fn number(number: usize) -> Self {
        Self(Cell::new(number << 1 | Self::NUMBER))
    }

    /// The number, while no object is held.
    #[inline]
    pub(crate) fn as_number(&self) -> Option<usize> {
        let word = self.0.get();
        (word & Self::NUMBER != 0).then_some(word >> 1)
    }

    pub(crate) fn set_number(&self, number: usize) {
        drop(self.take());
        self.0.set(number << 1 | Self::NUMBER);
    }

    pub(crate) fn set_obj(&self, obj: Obj) {
        let old = self.take();
        self.0.set(obj.into_ptr() as usize);
        drop(old);
    }

    /// A new reference to the object, if one is held.
    pub(crate) fn get_obj(&self) -> Option<Obj> {
        match self.as_number() {
            Some(_) => None,
            // SAFETY: without the mark the word is a pointer whose reference we own.
            None => Some(unsafe { Obj::from_borrowed(self.0.get() as *mut c::PyObject) }),
        }
    }

    fn take(&self) -> Option<Obj> {
        match self.as_number() {
            Some(_) => None,
            None => {
                let word = self.0.replace(Self::NUMBER);
                // SAFETY: without the mark the word is a pointer whose reference moves out.
                Some(unsafe { Obj::from_owned_unchecked(word as *mut c::PyObject) })
            }
        }
    }

    pub(crate) fn visit(&self, visit: &Visit) -> Result<(), c_int> {
        match self.as_number() {
            Some(_) => Ok(()),
            None => visit.raw(self.0.get() as *mut c::PyObject),
        }
    }
}

impl Drop for NumberOrObj {
    #[inline]
    fn drop(&mut self) {
        drop(self.take());
    }
}
