//! Our own heap types: layout, allocation with freelists, typed references.
//!
//! A native type `T` is the body of `Instance<T>`: a CPython object head followed by `T`. Its
//! fields are cells, so `&T` is all that anybody ever gets. Not here: how a type is described to
//! CPython (`spec.rs`).
//!
//! Invariant: a body is fully written before anybody else can see the object, and dropped exactly
//! once, in `dealloc`, after the object was taken from the garbage collector.

use std::cell::{Cell, UnsafeCell};
use std::ffi::{c_int, c_void};
use std::marker::PhantomData;
use std::ops::Deref;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicPtr, Ordering};

use pyo3::ffi as c;

use super::error::{Raised, Res};
use super::object::Obj;
use super::slot::Visit;

unsafe extern "C" {
    fn _Py_NewReference(op: *mut c::PyObject);
}

/// How many dead objects of one type wait for reuse: a burst of a thousand tasks or callbacks fits.
const FREELIST_LENGTH: usize = 2048;

/// A Python object of ours.
#[repr(C)]
pub(crate) struct Instance<T> {
    head: c::PyObject,
    body: T,
}

/// The type object of a native type, its dead instances, and a live one that rests.
pub(crate) struct TypeCell {
    ptr: AtomicPtr<c::PyTypeObject>,
    free: UnsafeCell<Vec<*mut c::PyObject>>,
    /// With a reference of ours, or null.
    resting: Cell<*mut c::PyObject>,
}

// SAFETY: the freelist and the place are only touched attached (GIL held); the pointer is atomic.
unsafe impl Sync for TypeCell {}

impl TypeCell {
    pub(crate) const fn new() -> Self {
        Self {
            ptr: AtomicPtr::new(std::ptr::null_mut()),
            free: UnsafeCell::new(Vec::new()),
            resting: Cell::new(std::ptr::null_mut()),
        }
    }

    #[inline]
    pub(crate) fn ptr(&self) -> *mut c::PyTypeObject {
        self.ptr.load(Ordering::Relaxed)
    }

    pub(crate) fn set(&self, ptr: *mut c::PyTypeObject) {
        self.ptr.store(ptr, Ordering::Relaxed);
    }

    /// Whether an object is of exactly this type.
    #[inline]
    pub(crate) fn is_type_of(&self, obj: &Obj) -> bool {
        obj.type_ptr() == self.ptr()
    }

    /// The type as an object.
    pub(crate) fn obj(&self) -> Obj {
        // SAFETY: set at module initialisation and never freed.
        unsafe { Obj::from_borrowed(self.ptr().cast()) }
    }

    #[inline]
    fn pop(&self) -> Option<*mut c::PyObject> {
        // SAFETY: attached, and nothing in here calls out, so the access is exclusive.
        unsafe { (*self.free.get()).pop() }
    }

    #[inline]
    fn push(&self, ptr: *mut c::PyObject) -> bool {
        // SAFETY: as in `pop`.
        let free = unsafe { &mut *self.free.get() };
        if free.len() >= FREELIST_LENGTH {
            return false;
        }
        free.push(ptr);
        true
    }
}

/// The body of a native type.
///
/// # Safety
/// `type_cell` is this type's own; `traverse` visits every reference held; `Extends` parents
/// stand first in a `#[repr(C)]` body and
pub(crate) unsafe trait Native: Sized + 'static {
    /// Whether dead instances are kept for reuse (small types that come and go).
    const RECYCLED: bool = false;
    /// Whether the garbage collector tracks instances from the start. Others are seen through by
    /// their only owner, and tracked when that is not enough ([`Ref::track`]).
    const TRACKED: bool = true;
    /// Whether the one that dies while none rests does rest ([`Ref::renew`]), after `let_go`.
    const RESTS: bool = false;
    /// Whether `finalize` must be asked about.
    const HAS_FINALIZER: bool = false;

    fn type_cell() -> &'static TypeCell;

    /// Shows every owned reference to the collector.
    fn traverse(&self, visit: &Visit) -> Result<(), c_int>;

    /// Drops references that may be part of a cycle.
    fn clear(&self);

    /// Takes out the one reference that an instance of a type that rests holds.
    fn let_go(&self) -> Option<Obj> {
        None
    }

    /// The head of the weak reference list, if the type has one and there are any.
    fn weakrefs(&self) -> *mut c::PyObject {
        std::ptr::null_mut()
    }

    /// Whether dropping it now has something to report.
    fn wants_finalizer(&self) -> bool {
        false
    }

    /// What `__del__` would do.
    fn finalize(_this: &Ref<Self>) {}

    /// Last words before the body is dropped: take it out of borrowed registries.
    fn unlink(&self, _me: *mut c::PyObject) {}
}

/// `Self`'s body starts with a `P`.
///
/// # Safety
/// `Self` is `#[repr(C)]` and its first field is `P`.
pub(crate) unsafe trait Extends<P: Native>: Native {}

/// An owned, typed reference to a native object.
#[repr(transparent)]
pub(crate) struct Ref<T: Native>(Obj, PhantomData<T>);

impl<T: Native> Ref<T> {
    /// Allocates an instance of exactly `T`.
    #[inline]
    pub(crate) fn new(body: T) -> Res<Self> {
        let cell = T::type_cell();
        if T::RECYCLED
            && let Some(ptr) = cell.pop()
        {
            // SAFETY: a dead instance of this very type, its memory intact and untracked.
            unsafe {
                _Py_NewReference(ptr);
                (&raw mut (*ptr.cast::<Instance<T>>()).body).write(body);
                if T::TRACKED {
                    c::PyObject_GC_Track(ptr.cast());
                }
                return Ok(Self(Obj::from_owned_unchecked(ptr), PhantomData));
            }
        }
        // SAFETY: a ready heap type; the body, which is all of the object but its head, is written
        // before anybody sees it.
        unsafe {
            let ptr: *mut c::PyObject = c::PyObject_GC_New(cell.ptr());
            if ptr.is_null() {
                return Err(Raised::assume_set());
            }
            (&raw mut (*ptr.cast::<Instance<T>>()).body).write(body);
            if T::TRACKED {
                c::PyObject_GC_Track(ptr.cast());
            }
            Ok(Self(Obj::from_owned_unchecked(ptr), PhantomData))
        }
    }

    /// As [`Ref::new`], from the one that rests, if nobody holds that any more: nothing is allocated or
    /// freed, and the garbage collector isn't told of anything.
    #[inline]
    pub(crate) fn renew(body: T) -> Res<Self> {
        let ptr = T::type_cell().resting.replace(std::ptr::null_mut());
        if !ptr.is_null() {
            // SAFETY: the place's reference to an instance of exactly T moves here.
            let this = Self(unsafe { Obj::from_owned_unchecked(ptr) }, PhantomData);
            if this.0.refcount() == 1 {
                // SAFETY: nobody else has it; what is overwritten owns nothing (`rest`).
                unsafe { (&raw mut (*ptr.cast::<Instance<T>>()).body).write(body) };
                return Ok(this);
            }
        }
        Self::make(body)
    }

    /// [`Ref::new`], out of line.
    #[inline(never)]
    fn make(body: T) -> Res<Self> {
        Self::new(body)
    }

    /// It has done what it was made for: kept alive for [`Ref::renew`]. Its body owns nothing any more
    /// and has nothing to finalize, and whoever still holds it can't change that.
    #[inline]
    pub(crate) fn rest(self) {
        let cell = T::type_cell();
        if cell.resting.get().is_null() && cell.is_type_of(&self.0) {
            cell.resting.set(self.0.into_ptr());
        }
    }

    /// Allocates an instance of `T` or a Python subclass of it.
    ///
    /// # Safety
    /// `kind` is `T`'s type or derives from it.
    pub(crate) unsafe fn in_type(kind: *mut c::PyTypeObject, body: T) -> Res<Self> {
        // SAFETY: a ready type; tp_alloc returns an owned, zeroed instance or raises.
        unsafe {
            let alloc = (*kind).tp_alloc.unwrap_or(c::PyType_GenericAlloc);
            let ptr = alloc(kind, 0);
            if ptr.is_null() {
                return Err(Raised::assume_set());
            }
            (&raw mut (*ptr.cast::<Instance<T>>()).body).write(body);
            if !T::TRACKED {
                c::PyObject_GC_UnTrack(ptr.cast());
            }
            Ok(Self(Obj::from_owned_unchecked(ptr), PhantomData))
        }
    }

    /// From now on the garbage collector sees it by itself. Not while it collects.
    pub(crate) fn track(&self) {
        let ptr = self.0.as_ptr();
        // SAFETY: a live object of a collected type; tracking twice is what is checked for.
        unsafe {
            if c::PyObject_GC_IsTracked(ptr) == 0 {
                c::PyObject_GC_Track(ptr.cast());
            }
        }
    }

    /// Whether the garbage collector sees it by itself.
    pub(crate) fn is_tracked(&self) -> bool {
        // SAFETY: a live object.
        unsafe { c::PyObject_GC_IsTracked(self.0.as_ptr()) != 0 }
    }

    /// # Safety
    /// `obj` is an instance of `T` or a type extending it.
    #[inline]
    pub(crate) unsafe fn from_obj_unchecked(obj: Obj) -> Self {
        Self(obj, PhantomData)
    }

    /// `obj` as a `T`, if it is one or derives from one.
    #[inline]
    pub(crate) fn downcast(obj: &Obj) -> Option<&Self> {
        let kind = T::type_cell().ptr();
        // SAFETY: both are live types.
        let fits =
            obj.type_ptr() == kind || unsafe { c::PyType_IsSubtype(obj.type_ptr(), kind) } != 0;
        // SAFETY: checked; Ref is a transparent Obj.
        fits.then(|| unsafe { &*std::ptr::from_ref(obj).cast::<Self>() })
    }

    /// `obj` as a `T`, if its type is exactly that: one comparison.
    #[inline]
    pub(crate) fn exact(obj: &Obj) -> Option<&Self> {
        if obj.type_ptr() == T::type_cell().ptr() {
            // SAFETY: checked; Ref is a transparent Obj.
            Some(unsafe { &*std::ptr::from_ref(obj).cast::<Self>() })
        } else {
            None
        }
    }

    /// As [`Ref::downcast`], taking the reference over.
    #[inline]
    pub(crate) fn try_from_obj(obj: Obj) -> Option<Self> {
        if Self::downcast(&obj).is_some() { Some(Self(obj, PhantomData)) } else { None }
    }

    /// As [`Ref::exact`], taking the reference over; another object comes back.
    #[inline]
    pub(crate) fn try_from_exact(obj: Obj) -> Result<Self, Obj> {
        if Self::exact(&obj).is_some() { Ok(Self(obj, PhantomData)) } else { Err(obj) }
    }

    #[inline]
    pub(crate) fn as_obj(&self) -> &Obj {
        &self.0
    }

    #[inline]
    pub(crate) fn to_obj(&self) -> Obj {
        self.0.clone()
    }

    #[inline]
    pub(crate) fn into_obj(self) -> Obj {
        self.0
    }

    /// The same object seen as its parent.
    #[inline]
    pub(crate) fn parent<P: Native>(&self) -> &Ref<P>
    where
        T: Extends<P>,
    {
        // SAFETY: `Extends` promises that P's body stands first.
        unsafe { &*std::ptr::from_ref(self).cast::<Ref<P>>() }
    }
}

/// Allocates an instance of `kind`, which CPython passed to `T`'s own `tp_new`.
pub(crate) fn allocate<T: Native>(kind: *mut c::PyTypeObject, body: T) -> Res<Obj> {
    let ours = T::type_cell().ptr();
    // SAFETY: both are live types.
    if kind != ours && unsafe { c::PyType_IsSubtype(kind, ours) } == 0 {
        return Err(Raised::type_error("not a subtype"));
    }
    // SAFETY: checked.
    unsafe { Ref::<T>::in_type(kind, body) }.map(Ref::into_obj)
}

impl<T: Native> Deref for Ref<T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: an instance of T, kept alive by our reference.
        unsafe { body_of(self.0.as_ptr()) }
    }
}

impl<T: Native> Clone for Ref<T> {
    #[inline]
    fn clone(&self) -> Self {
        Self(self.0.clone(), PhantomData)
    }
}

impl<T: Native> std::fmt::Debug for Ref<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// What `__class__` answers: `stands_for` for our own type, the real class for a Python subclass.
pub(crate) fn class_of<T: Native>(this: &Ref<T>, stands_for: &Obj) -> Res<Obj> {
    if this.as_obj().type_ptr() == T::type_cell().ptr() {
        Ok(stands_for.clone())
    } else {
        Ok(this.as_obj().type_obj())
    }
}

/// A pointer to a live native object that does not own it: the owner removes it (`unlink`) before
/// the object dies.
pub(crate) struct Unowned<T: Native>(NonNull<c::PyObject>, PhantomData<T>);

impl<T: Native> Unowned<T> {
    #[inline]
    pub(crate) fn of(obj: &Ref<T>) -> Self {
        // SAFETY: the address of a live object.
        Self(unsafe { NonNull::new_unchecked(obj.0.as_ptr()) }, PhantomData)
    }

    /// A new reference, unless the object is being torn down.
    #[inline]
    pub(crate) fn upgrade(&self) -> Option<Ref<T>> {
        // SAFETY: `unlink` runs before the memory goes, so the head can be read; a count of
        // zero means that the deallocation has begun.
        unsafe {
            if c::Py_REFCNT(self.0.as_ptr()) <= 0 {
                return None;
            }
            Some(Ref(Obj::from_borrowed(self.0.as_ptr()), PhantomData))
        }
    }
}

impl<T: Native> Clone for Unowned<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T: Native> Copy for Unowned<T> {}

#[inline]
unsafe fn body_of<'a, T>(ptr: *mut c::PyObject) -> &'a T {
    // SAFETY: the caller passes a live instance of T.
    unsafe { &(*ptr.cast::<Instance<T>>()).body }
}

/// The offset of a field of the body from the start of the object.
pub(crate) const fn body_offset<T>(field: usize) -> usize {
    std::mem::offset_of!(Instance<T>, body) + field
}

/// Deallocations inside deallocations, and those that wait for the outermost to end: a long chain
/// of objects must not use up the stack.
struct Nesting {
    depth: Cell<u32>,
    waiting: UnsafeCell<Vec<(*mut c::PyObject, c::destructor)>>,
}

// SAFETY: only touched attached, and no access lasts while anything else runs.
unsafe impl Sync for Nesting {}

static NESTING: Nesting = Nesting { depth: Cell::new(0), waiting: UnsafeCell::new(Vec::new()) };

impl Nesting {
    const LIMIT: u32 = 64;

    #[cold]
    fn defer(&self, ptr: *mut c::PyObject, destructor: c::destructor) {
        // SAFETY: the object is dead but intact; nobody looks at the list meanwhile.
        unsafe {
            c::PyObject_GC_UnTrack(ptr.cast());
            (*self.waiting.get()).push((ptr, destructor));
        }
    }

    #[inline]
    fn next(&self) -> Option<(*mut c::PyObject, c::destructor)> {
        // SAFETY: the access ends here.
        unsafe { (*self.waiting.get()).pop() }
    }
}

/// `tp_dealloc`.
pub(crate) unsafe extern "C" fn dealloc<T: Native>(ptr: *mut c::PyObject) {
    // SAFETY: as below.
    if T::RESTS && unsafe { rests_instead::<T>(ptr) } {
        return;
    }
    let depth = NESTING.depth.get();
    if depth >= Nesting::LIMIT {
        return NESTING.defer(ptr, destroy::<T>);
    }
    NESTING.depth.set(depth + 1);
    // SAFETY: called once per object, by CPython.
    unsafe { destroy::<T>(ptr) };
    // Counted down, not set back: a finalizer may have let another thread in.
    if NESTING.depth.get() == 1 {
        while let Some((ptr, destructor)) = NESTING.next() {
            // SAFETY: deferred instead of destroyed, once.
            unsafe { destructor(ptr) };
        }
    }
    NESTING.depth.set(NESTING.depth.get() - 1);
}

/// Keeps it in the one place of its type, if that is free. Then it is alive, and ours alone.
#[inline(always)]
unsafe fn rests_instead<T: Native>(ptr: *mut c::PyObject) -> bool {
    let cell = T::type_cell();
    // SAFETY: called once, when the last reference is gone; whatever runs when it lets go of what it
    // holds finds it alive, and the place taken.
    unsafe {
        let body = body_of::<T>(ptr);
        if !cell.resting.get().is_null()
            || c::Py_TYPE(ptr) != cell.ptr()
            || !body.weakrefs().is_null()
        {
            return false;
        }
        _Py_NewReference(ptr);
        cell.resting.set(ptr);
        drop(body.let_go());
    }
    true
}

unsafe extern "C" fn destroy<T: Native>(ptr: *mut c::PyObject) {
    // SAFETY: CPython calls this once, when the last reference is gone; the order is that of
    // every collected type: finalizer, untrack, weak references, body, memory, type.
    unsafe {
        let exact = c::Py_TYPE(ptr) == T::type_cell().ptr();
        if T::HAS_FINALIZER
            && exact
            && body_of::<T>(ptr).wants_finalizer()
            && c::PyObject_CallFinalizerFromDealloc(ptr) < 0
        {
            return; // resurrected
        }
        // Harmless where it was not tracked.
        c::PyObject_GC_UnTrack(ptr.cast());
        let body = body_of::<T>(ptr);
        if !body.weakrefs().is_null() {
            c::PyObject_ClearWeakRefs(ptr);
        }
        body.unlink(ptr);
        std::ptr::drop_in_place(&raw mut (*ptr.cast::<Instance<T>>()).body);
        if T::RECYCLED
            && exact
            && (!T::HAS_FINALIZER || c::PyObject_GC_IsFinalized(ptr) == 0)
            && T::type_cell().push(ptr)
        {
            return; // keeps its reference to the type
        }
        let kind = c::Py_TYPE(ptr);
        let free =
            (*kind).tp_free.unwrap_or(if true { c::PyObject_GC_Del } else { c::PyObject_Free });
        free(ptr.cast());
        c::Py_DECREF(kind.cast());
    }
}

/// `tp_traverse`.
pub(crate) unsafe extern "C" fn traverse<T: Native>(
    ptr: *mut c::PyObject,
    proc: c::visitproc,
    arg: *mut c_void,
) -> c_int {
    let visit = Visit::new(proc, arg);
    // SAFETY: the collector passes live, tracked instances.
    let body = unsafe { body_of::<T>(ptr) };
    match visit.type_of(ptr).and_then(|()| body.traverse(&visit)) {
        Ok(()) => 0,
        Err(code) => code,
    }
}

/// `tp_clear`.
pub(crate) unsafe extern "C" fn clear<T: Native>(ptr: *mut c::PyObject) -> c_int {
    // SAFETY: the collector passes live instances.
    unsafe { body_of::<T>(ptr) }.clear();
    0
}

/// `tp_finalize`.
pub(crate) unsafe extern "C" fn finalize<T: Native>(ptr: *mut c::PyObject) {
    let _saved = super::error::SavedError::save();
    // SAFETY: a live instance; the reference taken here is given back before returning.
    let this = Ref::<T>(unsafe { Obj::from_borrowed(ptr) }, PhantomData);
    let reported = super::trampoline::shielded(|| {
        T::finalize(&this);
        Ok(())
    });
    if let Err(raised) = reported {
        raised.write_unraisable(this.as_obj());
    }
}
