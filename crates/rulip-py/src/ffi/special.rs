//! `__aenter__` and `__aexit__` of our classes, before Python 3.14.
//!
//! Up to 3.13 `async with` binds both to the object, which for methods written in C makes and frees two
//! objects that the collector tracks: more work than taking a free lock. What is bound here rests when
//! it dies, and is the next one. In all else it passes for the method that it stands for, and asks that
//! one whatever it does not know. From 3.14 on `async with` binds nothing, and methods are CPython's.
//!
//! Any attached thread. Invariant: what is bound holds its object for as long as anybody holds it.

use std::cell::Cell;
use std::ffi::{CStr, c_int};
use std::mem::ManuallyDrop;
use std::ptr;

use pyo3::ffi as c;

use super::error::Res;
use super::native::{Native, Ref, TypeCell, body_offset};
use super::object::{Borrowed, Obj};
use super::slot::{Slot, Visit};
use super::spec::TypeSpec;
use super::trampoline::{hash, noargs, shielded, unary};
use super::value;

/// What is looked up on the class, and bound at every use.
const NAMES: [&CStr; 2] = [c"__aenter__", c"__aexit__"];

/// What both kinds know; made once per class and method, and never freed.
struct Meant {
    /// CPython's own method descriptor.
    genuine: Obj,
    class: *mut c::PyTypeObject,
    function: c::PyMethodDefPointer,
    with_arguments: bool,
}

/// A method, as the class has it.
struct Special {
    vectorcall: Cell<c::vectorcallfunc>,
    meant: &'static Meant,
}

/// A method of one object. Those with arguments and those without are of two types, so that one of each
/// can rest: `async with` holds both at once.
struct Bound<const WITH_ARGUMENTS: bool> {
    vectorcall: Cell<c::vectorcallfunc>,
    meant: &'static Meant,
    object: Slot,
    weakrefs: Cell<*mut c::PyObject>,
}

static SPECIAL: TypeCell = TypeCell::new();
static BOUND_WITHOUT: TypeCell = TypeCell::new();
static BOUND_WITH: TypeCell = TypeCell::new();

// SAFETY: it holds no reference but to what lives as long as the process.
unsafe impl Native for Special {
    fn type_cell() -> &'static TypeCell {
        &SPECIAL
    }

    fn traverse(&self, _visit: &Visit) -> Result<(), c_int> {
        Ok(())
    }

    fn clear(&self) {}
}

// SAFETY: every reference held is visited.
unsafe impl<const WITH_ARGUMENTS: bool> Native for Bound<WITH_ARGUMENTS> {
    const RECYCLED: bool = true;
    const RESTS: bool = true;

    fn type_cell() -> &'static TypeCell {
        if WITH_ARGUMENTS { &BOUND_WITH } else { &BOUND_WITHOUT }
    }

    fn traverse(&self, visit: &Visit) -> Result<(), c_int> {
        self.object.visit(visit)
    }

    fn clear(&self) {
        drop(self.object.take());
    }

    fn let_go(&self) -> Option<Obj> {
        self.object.take()
    }

    fn weakrefs(&self) -> *mut c::PyObject {
        self.weakrefs.get()
    }
}

/// A native type that passes for one of CPython's.
trait StandsFor: Native {
    fn genuine(&self) -> Res<Obj>;
}

impl StandsFor for Special {
    fn genuine(&self) -> Res<Obj> {
        Ok(self.meant.genuine.clone())
    }
}

impl<const WITH_ARGUMENTS: bool> StandsFor for Bound<WITH_ARGUMENTS> {
    fn genuine(&self) -> Res<Obj> {
        match self.object.get() {
            Some(object) => self.meant.bind_genuine(&object),
            // At rest the collector still shows it: `isinstance()` asks everything that is there.
            None => Ok(self.meant.genuine.clone()),
        }
    }
}

impl Meant {
    #[inline(never)]
    fn bind_genuine(&self, object: &Obj) -> Res<Obj> {
        let get = value::interned(c"__get__")?;
        self.genuine.method1(&get, object)
    }
}

/// `__get__`.
unsafe extern "C" fn bind(
    descriptor: *mut c::PyObject,
    object: *mut c::PyObject,
    _class: *mut c::PyObject,
) -> *mut c::PyObject {
    // SAFETY: called on a live descriptor, with a live object or null.
    let (special, object) = unsafe {
        let special = ManuallyDrop::new(Ref::<Special>::from_obj_unchecked(
            Obj::from_owned_unchecked(descriptor),
        ));
        if object.is_null() {
            return special.to_obj().into_ptr();
        }
        (special, Borrowed::new(object))
    };
    let meant = special.meant;
    // SAFETY: both are live types.
    let fits = object.type_ptr() == meant.class
        || unsafe { c::PyType_IsSubtype(object.type_ptr(), meant.class) } != 0;
    if !fits {
        return given(meant.bind_genuine(&object));
    }
    if meant.with_arguments {
        given(bound::<true>(meant, &object))
    } else {
        given(bound::<false>(meant, &object))
    }
}

#[inline(always)]
fn bound<const WITH_ARGUMENTS: bool>(meant: &'static Meant, object: &Obj) -> Res<Obj> {
    let body = Bound::<WITH_ARGUMENTS> {
        vectorcall: Cell::new(call::<WITH_ARGUMENTS>),
        meant,
        object: Slot::new(Some(object.clone())),
        weakrefs: Cell::new(ptr::null_mut()),
    };
    Ref::renew(body).map(Ref::into_obj)
}

#[inline(always)]
fn given(made: Res<Obj>) -> *mut c::PyObject {
    made.map_or(ptr::null_mut(), Obj::into_ptr)
}

/// Calls a bound one.
unsafe extern "C" fn call<const WITH_ARGUMENTS: bool>(
    bound: *mut c::PyObject,
    args: *const *mut c::PyObject,
    nargsf: usize,
    names: *mut c::PyObject,
) -> *mut c::PyObject {
    // SAFETY: the vectorcall contract; the caller's reference to what is bound keeps its object alive.
    unsafe {
        let this = bound_at::<WITH_ARGUMENTS>(bound);
        let object = this.object.as_ptr();
        let nargs = c::PyVectorcall_NARGS(nargsf);
        let unfit = !WITH_ARGUMENTS && (nargs != 0 || !names.is_null());
        if unfit || object.is_null() {
            return call_genuine::<Bound<WITH_ARGUMENTS>>(bound, args, nargsf, names);
        }
        let function = this.meant.function;
        if WITH_ARGUMENTS {
            (function.PyCFunctionFastWithKeywords)(object, args, nargs, names)
        } else {
            (function.PyCFunction)(object, ptr::null_mut())
        }
    }
}

/// # Safety
/// A live instance of this `Bound`, for as long as the answer is used.
#[inline(always)]
unsafe fn bound_at<const WITH_ARGUMENTS: bool>(
    bound: *mut c::PyObject,
) -> ManuallyDrop<Ref<Bound<WITH_ARGUMENTS>>> {
    // SAFETY: promised by the caller.
    ManuallyDrop::new(unsafe { Ref::from_obj_unchecked(Obj::from_owned_unchecked(bound)) })
}

/// Calls the method that it stands for.
#[inline(never)]
unsafe extern "C" fn call_genuine<T: StandsFor>(
    this: *mut c::PyObject,
    args: *const *mut c::PyObject,
    nargsf: usize,
    names: *mut c::PyObject,
) -> *mut c::PyObject {
    // SAFETY: the vectorcall contract, handed on; called on an instance of T.
    let (this, call) = unsafe {
        let this = ManuallyDrop::new(Ref::<T>::from_obj_unchecked(Obj::from_owned_unchecked(this)));
        let call = |genuine: Obj| {
            Obj::from_owned(c::PyObject_Vectorcall(genuine.as_ptr(), args, nargsf, names))
        };
        (this, call)
    };
    given(shielded(|| this.genuine().and_then(call)))
}

/// `tp_getattro`: `__class__`, `__name__`, `__signature__`, ... are those of what it stands for.
unsafe extern "C" fn attribute<T: StandsFor>(
    this: *mut c::PyObject,
    name: *mut c::PyObject,
) -> *mut c::PyObject {
    // SAFETY: called on an instance of T with a live name.
    let (this, name) = unsafe {
        let this = ManuallyDrop::new(Ref::<T>::from_obj_unchecked(Obj::from_owned_unchecked(this)));
        (this, Borrowed::new(name))
    };
    given(shielded(|| this.genuine()?.attr(&name)))
}

/// `tp_richcompare`.
unsafe extern "C" fn compare<T: StandsFor>(
    this: *mut c::PyObject,
    other: *mut c::PyObject,
    op: c_int,
) -> *mut c::PyObject {
    // SAFETY: called on an instance of T with a live operand.
    let (this, other) = unsafe {
        let this = ManuallyDrop::new(Ref::<T>::from_obj_unchecked(Obj::from_owned_unchecked(this)));
        (this, Borrowed::new(other))
    };
    given(shielded(|| {
        let ours = this.genuine()?;
        let theirs = match Ref::<T>::exact(&other) {
            Some(other) => other.genuine()?,
            None => other.clone(),
        };
        // SAFETY: live objects; an owned result or an exception.
        unsafe { Obj::from_owned(c::PyObject_RichCompare(ours.as_ptr(), theirs.as_ptr(), op)) }
    }))
}

fn spec<T: StandsFor>(name: &'static CStr, doc: &'static CStr, vectorcall: usize) -> TypeSpec {
    let attribute: c::getattrofunc = attribute::<T>;
    let compare: c::richcmpfunc = compare::<T>;
    TypeSpec::new::<T>(name, doc)
        .not_callable()
        .vectorcall_at(body_offset::<T>(vectorcall))
        .slot(c::Py_tp_call, c::PyVectorcall_Call as *mut _)
        .slot(c::Py_tp_getattro, attribute as *mut _)
        .slot(c::Py_tp_richcompare, compare as *mut _)
        .slot(c::Py_tp_hash, hash(|this: &Ref<T>| value::hash(&this.genuine()?)))
        .slot(c::Py_tp_repr, unary(|this: &Ref<T>| value::str(&this.genuine()?.repr()?)))
        .methods([noargs(c"__reduce__", c"For copying.", |this: &Ref<T>| {
            this.genuine()?.method0(&value::interned(c"__reduce__")?)
        })])
}

/// Makes both types; before any class that has such methods.
pub(crate) fn build() -> Res<()> {
    let get: c::descrgetfunc = bind;
    spec::<Special>(
        c"rulip._rulip.special_method",
        c"A method that the interpreter looks up on the class.",
        std::mem::offset_of!(Special, vectorcall),
    )
    .method_descriptor()
    .slot(c::Py_tp_descr_get, get as *mut _)
    .build(&SPECIAL)?;
    build_bound::<false>()?;
    build_bound::<true>()
}

fn build_bound<const WITH_ARGUMENTS: bool>() -> Res<()> {
    spec::<Bound<WITH_ARGUMENTS>>(
        c"rulip._rulip.bound_special_method",
        c"Such a method, of one object.",
        std::mem::offset_of!(Bound<WITH_ARGUMENTS>, vectorcall),
    )
    .weakrefs_at(body_offset::<Bound<WITH_ARGUMENTS>>(std::mem::offset_of!(
        Bound<WITH_ARGUMENTS>,
        weakrefs
    )))
    .build(Bound::<WITH_ARGUMENTS>::type_cell())?;
    Ok(())
}

/// Puts stand-ins in place of the special methods among a new type's own.
pub(super) fn replace(made: &Obj) -> Res<()> {
    // SAFETY: a ready type of ours: its table of methods, if it has one, is static and ends with a null.
    unsafe {
        let class = made.as_ptr().cast::<c::PyTypeObject>();
        let mut method = (*class).tp_methods;
        while !method.is_null() && !(*method).ml_name.is_null() {
            let name = CStr::from_ptr((*method).ml_name);
            if NAMES.contains(&name) {
                let genuine = Obj::from_owned(c::PyDescr_NewMethod(class, method))?;
                made.set_attr(&value::interned(name)?, &stand_in(made, genuine, method)?)?;
            }
            method = method.add(1);
        }
    }
    Ok(())
}

/// `genuine`, or what stands for it where it is one of the special methods.
///
/// # Safety
/// `class` is a type that is never freed, `genuine` its descriptor of `definition`, which is static.
pub(super) unsafe fn stand_in(
    class: &Obj,
    genuine: Obj,
    definition: *const c::PyMethodDef,
) -> Res<Obj> {
    // SAFETY: a static definition.
    let (name, flags, function) = unsafe {
        let definition = &*definition;
        (CStr::from_ptr(definition.ml_name), definition.ml_flags, definition.ml_meth)
    };
    let with_arguments = flags == c::METH_FASTCALL | c::METH_KEYWORDS;
    if !NAMES.contains(&name) || !(with_arguments || flags == c::METH_NOARGS) {
        return Ok(genuine);
    }
    let meant = Meant { genuine, class: class.as_ptr().cast(), function, with_arguments };
    let vectorcall = Cell::new(call_genuine::<Special> as c::vectorcallfunc);
    Ref::new(Special { vectorcall, meant: Box::leak(Box::new(meant)) }).map(Ref::into_obj)
}
