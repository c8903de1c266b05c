//! From CPython's function pointers to safe Rust functions, with panics stopped at the border.
//!
//! A method is a plain `fn(&Ref<T>, ..) -> Res<Obj>`; [`noargs`] and its siblings wrap it in the C
//! signature that CPython wants. The wrapped function is a zero-sized type, so the wrapper calls
//! it directly: no table, no allocation.

use std::ffi::{CStr, CString, c_int, c_void};
use std::mem::ManuallyDrop;
use std::panic::{AssertUnwindSafe, catch_unwind};

use pyo3::ffi as c;

use super::arguments::Args;
use super::error::{Raised, Res};
use super::native::{Native, Ref};
use super::object::{Borrowed, Obj};

/// Runs `f`; a panic becomes a Python exception.
#[inline]
pub(crate) fn shielded<R>(f: impl FnOnce() -> Res<R>) -> Res<R> {
    shielded_or(f, Err)
}

/// The same, but `settle` says what becomes of a panic.
#[inline]
pub(crate) fn shielded_or<R>(
    f: impl FnOnce() -> Res<R>,
    settle: impl FnOnce(Raised) -> Res<R>,
) -> Res<R> {
    match catch_unwind(AssertUnwindSafe(f)) {
        Ok(result) => result,
        Err(payload) => settle(panicked(payload.as_ref())),
    }
}

#[cold]
fn panicked(payload: &(dyn std::any::Any + Send)) -> Raised {
    let text = payload
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| payload.downcast_ref::<&str>().copied())
        .unwrap_or("unknown");
    Raised::runtime_error(&format!("internal error in rulip (please report it): {text}"))
}

#[inline]
fn to_c(result: Res<Obj>) -> *mut c::PyObject {
    match result {
        Ok(obj) => obj.into_ptr(),
        Err(_raised) => std::ptr::null_mut(),
    }
}

/// A function that is nothing but its type.
#[inline]
fn conjure<F: Copy>() -> F {
    const { assert!(size_of::<F>() == 0, "only plain functions can be wrapped") };
    // SAFETY: a value of a zero-sized Copy type has no bits to get wrong.
    unsafe { std::ptr::NonNull::<F>::dangling().as_ptr().read() }
}

/// `self`, borrowed for the length of a call.
#[inline]
unsafe fn receiver<T: Native>(slf: *mut c::PyObject) -> ManuallyDrop<Ref<T>> {
    // SAFETY: CPython checked that `self` is an instance of the type that owns the method.
    unsafe { ManuallyDrop::new(Ref::from_obj_unchecked(Obj::from_owned_unchecked(slf))) }
}

fn def(
    name: &'static CStr,
    meth: c::PyMethodDefPointer,
    flags: c_int,
    doc: &'static CStr,
) -> c::PyMethodDef {
    c::PyMethodDef { ml_name: name.as_ptr(), ml_meth: meth, ml_flags: flags, ml_doc: doc.as_ptr() }
}

/// A method without arguments.
pub(crate) fn noargs<T: Native, F>(name: &'static CStr, doc: &'static CStr, _f: F) -> c::PyMethodDef
where
    F: Fn(&Ref<T>) -> Res<Obj> + Copy,
{
    unsafe extern "C" fn call<T: Native, F: Fn(&Ref<T>) -> Res<Obj> + Copy>(
        slf: *mut c::PyObject,
        _: *mut c::PyObject,
    ) -> *mut c::PyObject {
        // SAFETY: called as a method.
        let this = unsafe { receiver::<T>(slf) };
        to_c(shielded(|| conjure::<F>()(&this)))
    }
    let doc = with_signature(name, doc);
    def(name, c::PyMethodDefPointer { PyCFunction: call::<T, F> }, c::METH_NOARGS, doc)
}

/// `inspect.signature()` reads it from the first line; before 3.13 it can't guess.
fn with_signature(name: &'static CStr, doc: &'static CStr) -> &'static CStr {
    let (name, text) = (name.to_string_lossy(), doc.to_string_lossy());
    if text.contains("\n--\n\n") {
        return doc;
    }
    // Once per method and process.
    match CString::new(format!("{name}($self)\n--\n\n{text}")) {
        Ok(signed) => Box::leak(signed.into_boxed_c_str()),
        Err(_) => doc,
    }
}

/// A method with exactly one positional argument.
pub(crate) fn onearg<T: Native, F>(name: &'static CStr, doc: &'static CStr, _f: F) -> c::PyMethodDef
where
    F: Fn(&Ref<T>, &Obj) -> Res<Obj> + Copy,
{
    unsafe extern "C" fn call<T: Native, F: Fn(&Ref<T>, &Obj) -> Res<Obj> + Copy>(
        slf: *mut c::PyObject,
        arg: *mut c::PyObject,
    ) -> *mut c::PyObject {
        // SAFETY: called as a method with one live argument.
        let (this, arg) = unsafe { (receiver::<T>(slf), Borrowed::new(arg)) };
        to_c(shielded(|| conjure::<F>()(&this, &arg)))
    }
    def(name, c::PyMethodDefPointer { PyCFunction: call::<T, F> }, c::METH_O, doc)
}

/// What calling a class does, its arguments passed without a tuple.
pub(crate) fn class_call<F>(_f: F) -> c::vectorcallfunc
where
    F: Fn(&Args<'_>) -> Res<Obj> + Copy,
{
    unsafe extern "C" fn call<F: Fn(&Args<'_>) -> Res<Obj> + Copy>(
        _class: *mut c::PyObject,
        args: *const *mut c::PyObject,
        nargsf: usize,
        names: *mut c::PyObject,
    ) -> *mut c::PyObject {
        // SAFETY: the vectorcall contract.
        let args = unsafe { Args::new(args, c::PyVectorcall_NARGS(nargsf), names) };
        to_c(shielded(|| conjure::<F>()(&args)))
    }
    call::<F>
}

/// A class method with one argument.
pub(crate) fn class_onearg<F>(name: &'static CStr, doc: &'static CStr, _f: F) -> c::PyMethodDef
where
    F: Fn(&Obj, &Obj) -> Res<Obj> + Copy,
{
    unsafe extern "C" fn call<F: Fn(&Obj, &Obj) -> Res<Obj> + Copy>(
        class: *mut c::PyObject,
        arg: *mut c::PyObject,
    ) -> *mut c::PyObject {
        // SAFETY: called as a class method with one live argument.
        let (class, arg) = unsafe { (Borrowed::new(class), Borrowed::new(arg)) };
        to_c(shielded(|| conjure::<F>()(&class, &arg)))
    }
    def(name, c::PyMethodDefPointer { PyCFunction: call::<F> }, c::METH_O | c::METH_CLASS, doc)
}

/// `__dict__` of a type with a dict offset.
pub(crate) fn generic_dict() -> c::PyGetSetDef {
    c::PyGetSetDef {
        name: c"__dict__".as_ptr(),
        get: Some(c::PyObject_GenericGetDict),
        set: Some(c::PyObject_GenericSetDict),
        doc: std::ptr::null(),
        closure: std::ptr::null_mut(),
    }
}

/// A method with any arguments, passed without a tuple.
pub(crate) fn fast<T: Native, F>(name: &'static CStr, doc: &'static CStr, _f: F) -> c::PyMethodDef
where
    F: Fn(&Ref<T>, &Args<'_>) -> Res<Obj> + Copy,
{
    unsafe extern "C" fn call<T: Native, F: Fn(&Ref<T>, &Args<'_>) -> Res<Obj> + Copy>(
        slf: *mut c::PyObject,
        args: *const *mut c::PyObject,
        nargs: c::Py_ssize_t,
        names: *mut c::PyObject,
    ) -> *mut c::PyObject {
        // SAFETY: the fast call contract.
        let (this, args) = unsafe { (receiver::<T>(slf), Args::new(args, nargs, names)) };
        to_c(shielded(|| conjure::<F>()(&this, &args)))
    }
    let meth = c::PyMethodDefPointer { PyCFunctionFastWithKeywords: call::<T, F> };
    def(name, meth, c::METH_FASTCALL | c::METH_KEYWORDS, doc)
}

/// A module-level function with any arguments.
pub(crate) fn function<F>(name: &'static CStr, doc: &'static CStr, _f: F) -> c::PyMethodDef
where
    F: Fn(&Args<'_>) -> Res<Obj> + Copy,
{
    unsafe extern "C" fn call<F: Fn(&Args<'_>) -> Res<Obj> + Copy>(
        _slf: *mut c::PyObject,
        args: *const *mut c::PyObject,
        nargs: c::Py_ssize_t,
        names: *mut c::PyObject,
    ) -> *mut c::PyObject {
        // SAFETY: the fast call contract.
        let args = unsafe { Args::new(args, nargs, names) };
        to_c(shielded(|| conjure::<F>()(&args)))
    }
    let meth = c::PyMethodDefPointer { PyCFunctionFastWithKeywords: call::<F> };
    def(name, meth, c::METH_FASTCALL | c::METH_KEYWORDS, doc)
}

/// A read-only attribute.
pub(crate) fn getter<T: Native, G>(
    name: &'static CStr,
    doc: &'static CStr,
    _get: G,
) -> c::PyGetSetDef
where
    G: Fn(&Ref<T>) -> Res<Obj> + Copy,
{
    c::PyGetSetDef {
        name: name.as_ptr(),
        get: Some(get_attribute::<T, G>),
        set: None,
        doc: doc.as_ptr(),
        closure: std::ptr::null_mut(),
    }
}

/// An attribute that can be set; `None` is passed to the setter for a deletion.
pub(crate) fn property<T: Native, G, S>(
    name: &'static CStr,
    doc: &'static CStr,
    _get: G,
    _set: S,
) -> c::PyGetSetDef
where
    G: Fn(&Ref<T>) -> Res<Obj> + Copy,
    S: Fn(&Ref<T>, Option<&Obj>) -> Res<()> + Copy,
{
    unsafe extern "C" fn set<T: Native, S: Fn(&Ref<T>, Option<&Obj>) -> Res<()> + Copy>(
        slf: *mut c::PyObject,
        value: *mut c::PyObject,
        _: *mut c_void,
    ) -> c_int {
        // SAFETY: called on an instance, with a live value or null.
        let this = unsafe { receiver::<T>(slf) };
        // SAFETY: as above.
        let value = (!value.is_null()).then(|| unsafe { Borrowed::new(value) });
        match shielded(|| conjure::<S>()(&this, value.as_deref())) {
            Ok(()) => 0,
            Err(_raised) => -1,
        }
    }
    c::PyGetSetDef {
        name: name.as_ptr(),
        get: Some(get_attribute::<T, G>),
        set: Some(set::<T, S>),
        doc: doc.as_ptr(),
        closure: std::ptr::null_mut(),
    }
}

unsafe extern "C" fn get_attribute<T: Native, G: Fn(&Ref<T>) -> Res<Obj> + Copy>(
    slf: *mut c::PyObject,
    _: *mut c_void,
) -> *mut c::PyObject {
    // SAFETY: called on an instance.
    let this = unsafe { receiver::<T>(slf) };
    to_c(shielded(|| conjure::<G>()(&this)))
}

/// `tp_repr`, `tp_iter`, `am_await`: one operand in, an object out.
pub(crate) fn unary<T: Native, F: Fn(&Ref<T>) -> Res<Obj> + Copy>(_f: F) -> *mut c_void {
    unsafe extern "C" fn call<T: Native, F: Fn(&Ref<T>) -> Res<Obj> + Copy>(
        slf: *mut c::PyObject,
    ) -> *mut c::PyObject {
        // SAFETY: called on an instance.
        let this = unsafe { receiver::<T>(slf) };
        to_c(shielded(|| conjure::<F>()(&this)))
    }
    call::<T, F> as unsafe extern "C" fn(*mut c::PyObject) -> *mut c::PyObject as *mut c_void
}

/// `tp_hash`.
pub(crate) fn hash<T: Native, F: Fn(&Ref<T>) -> Res<isize> + Copy>(_f: F) -> *mut c_void {
    unsafe extern "C" fn call<T: Native, F: Fn(&Ref<T>) -> Res<isize> + Copy>(
        slf: *mut c::PyObject,
    ) -> c::Py_hash_t {
        // SAFETY: called on an instance.
        let this = unsafe { receiver::<T>(slf) };
        match shielded(|| conjure::<F>()(&this)) {
            Ok(-1) => -2,
            Ok(value) => value,
            Err(_raised) => -1,
        }
    }
    call::<T, F> as unsafe extern "C" fn(*mut c::PyObject) -> c::Py_hash_t as *mut c_void
}

/// `tp_richcompare`; `None` is `NotImplemented`.
pub(crate) fn compare<T: Native, F: Fn(&Ref<T>, &Obj, c_int) -> Res<Option<bool>> + Copy>(
    _f: F,
) -> *mut c_void {
    unsafe extern "C" fn call<
        T: Native,
        F: Fn(&Ref<T>, &Obj, c_int) -> Res<Option<bool>> + Copy,
    >(
        slf: *mut c::PyObject,
        other: *mut c::PyObject,
        op: c_int,
    ) -> *mut c::PyObject {
        // SAFETY: called on an instance with a live operand.
        let (this, other) = unsafe { (receiver::<T>(slf), Borrowed::new(other)) };
        to_c(shielded(|| {
            Ok(match conjure::<F>()(&this, &other, op)? {
                Some(value) => Obj::bool(value),
                // SAFETY: the singleton is alive.
                None => unsafe { Obj::from_borrowed(c::Py_NotImplemented()) },
            })
        }))
    }
    call::<T, F>
        as unsafe extern "C" fn(*mut c::PyObject, *mut c::PyObject, c_int) -> *mut c::PyObject
        as *mut c_void
}

/// `tp_new`: the function gets the exact type to make and the call's arguments.
pub(crate) fn new<F: Fn(*mut c::PyTypeObject, &Obj, Option<&Obj>) -> Res<Obj> + Copy>(
    _f: F,
) -> *mut c_void {
    unsafe extern "C" fn call<
        F: Fn(*mut c::PyTypeObject, &Obj, Option<&Obj>) -> Res<Obj> + Copy,
    >(
        kind: *mut c::PyTypeObject,
        args: *mut c::PyObject,
        kwargs: *mut c::PyObject,
    ) -> *mut c::PyObject {
        // SAFETY: a live tuple, and a live dict or null.
        let args = unsafe { Borrowed::new(args) };
        // SAFETY: as above.
        let kwargs = (!kwargs.is_null()).then(|| unsafe { Borrowed::new(kwargs) });
        to_c(shielded(|| conjure::<F>()(kind, &args, kwargs.as_deref())))
    }
    call::<F>
        as unsafe extern "C" fn(
            *mut c::PyTypeObject,
            *mut c::PyObject,
            *mut c::PyObject,
        ) -> *mut c::PyObject as *mut c_void
}

/// `tp_init`.
pub(crate) fn init<T: Native, F: Fn(&Ref<T>, &Obj, Option<&Obj>) -> Res<()> + Copy>(
    _f: F,
) -> *mut c_void {
    unsafe extern "C" fn call<T: Native, F: Fn(&Ref<T>, &Obj, Option<&Obj>) -> Res<()> + Copy>(
        slf: *mut c::PyObject,
        args: *mut c::PyObject,
        kwargs: *mut c::PyObject,
    ) -> c_int {
        // SAFETY: an instance, a live tuple, and a live dict or null.
        let (this, args) = unsafe { (receiver::<T>(slf), Borrowed::new(args)) };
        // SAFETY: as above.
        let kwargs = (!kwargs.is_null()).then(|| unsafe { Borrowed::new(kwargs) });
        match shielded(|| conjure::<F>()(&this, &args, kwargs.as_deref())) {
            Ok(()) => 0,
            Err(_raised) => -1,
        }
    }
    call::<T, F>
        as unsafe extern "C" fn(*mut c::PyObject, *mut c::PyObject, *mut c::PyObject) -> c_int
        as *mut c_void
}

/// `tp_setattro`: the generic store, of which the function is told.
pub(crate) fn setattr<T: Native, F: Fn(&Ref<T>, &Obj, Option<&Obj>) -> Res<()> + Copy>(
    _f: F,
) -> *mut c_void {
    unsafe extern "C" fn call<T: Native, F: Fn(&Ref<T>, &Obj, Option<&Obj>) -> Res<()> + Copy>(
        slf: *mut c::PyObject,
        name: *mut c::PyObject,
        value: *mut c::PyObject,
    ) -> c_int {
        // SAFETY: an instance, a live name, a live value or null.
        let code = unsafe { c::PyObject_GenericSetAttr(slf, name, value) };
        if code == 0 {
            // SAFETY: as above.
            let (this, name) = unsafe { (receiver::<T>(slf), Borrowed::new(name)) };
            // SAFETY: as above.
            let value = (!value.is_null()).then(|| unsafe { Borrowed::new(value) });
            let noted = shielded(|| conjure::<F>()(&this, &name, value.as_deref()));
            if noted.is_err() {
                return -1;
            }
        }
        code
    }
    call::<T, F>
        as unsafe extern "C" fn(*mut c::PyObject, *mut c::PyObject, *mut c::PyObject) -> c_int
        as *mut c_void
}
