//! Native functions and methods that are coroutine functions to whoever asks.
//!
//! What asyncio writes with `async def` is a coroutine function: `inspect.iscoroutinefunction()` says so,
//! `mock.patch("asyncio.sleep")` makes an `AsyncMock` of it, and libraries sort callbacks by it. They look at
//! a function's code. So these are called as what they are, native, and show the code, the defaults and the
//! annotations of the function that they stand for. In a class they bind as functions do.
//!
//! Attached threads; made at module initialisation, and never freed.

use std::cell::Cell;
use std::ffi::{CStr, c_int};
use std::mem::ManuallyDrop;
use std::ptr;

use pyo3::ffi as c;

use super::error::Res;
use super::native::{Native, Ref, TypeCell, body_offset};
use super::object::{Borrowed, Obj};
use super::slot::Visit;
use super::spec::TypeSpec;
use super::trampoline::{noargs, shielded, unary};
use super::{call, value};

const KEYWORDS: c_int = c::METH_FASTCALL | c::METH_KEYWORDS;
/// A code's flag: of `async def`.
const CO_COROUTINE: i64 = 0x80;
/// What it has as an object of its own kind.
const OWN: [&CStr; 5] = [c"__class__", c"__get__", c"__call__", c"__reduce__", c"__reduce_ex__"];
/// What the native function knows best.
const NATIVE: [&CStr; 4] = [c"__name__", c"__qualname__", c"__module__", c"__doc__"];

/// What it is about: lives as long as the process.
struct Meant {
    /// CPython's own object of it, a builtin function or a method descriptor.
    genuine: Obj,
    /// asyncio's function.
    likeness: Obj,
}

/// What a call needs comes first.
#[repr(C)]
struct CoroutineFunction {
    vectorcall: Cell<c::vectorcallfunc>,
    /// Whose method it is; null for a function.
    class: *mut c::PyTypeObject,
    function: c::PyMethodDefPointer,
    meant: &'static Meant,
    weakrefs: Cell<*mut c::PyObject>,
}

static TYPE: TypeCell = TypeCell::new();

// SAFETY: it holds no reference but to what lives as long as the process.
unsafe impl Native for CoroutineFunction {
    fn type_cell() -> &'static TypeCell {
        &TYPE
    }

    fn traverse(&self, _visit: &Visit) -> Result<(), c_int> {
        Ok(())
    }

    fn clear(&self) {}

    fn weakrefs(&self) -> *mut c::PyObject {
        self.weakrefs.get()
    }
}

/// # Safety
/// A live instance, for as long as the answer is used.
#[inline(always)]
unsafe fn at(this: *mut c::PyObject) -> ManuallyDrop<Ref<CoroutineFunction>> {
    // SAFETY: promised by the caller.
    ManuallyDrop::new(unsafe { Ref::from_obj_unchecked(Obj::from_owned_unchecked(this)) })
}

/// Calls a function.
unsafe extern "C" fn call_function(
    this: *mut c::PyObject,
    args: *const *mut c::PyObject,
    nargsf: usize,
    names: *mut c::PyObject,
) -> *mut c::PyObject {
    // SAFETY: the vectorcall contract; functions here take keywords and no `self`.
    unsafe {
        let function = at(this).function.PyCFunctionFastWithKeywords;
        function(ptr::null_mut(), args, c::PyVectorcall_NARGS(nargsf), names)
    }
}

/// Calls a method that takes arguments; its object comes first.
unsafe extern "C" fn call_with(
    this: *mut c::PyObject,
    args: *const *mut c::PyObject,
    nargsf: usize,
    names: *mut c::PyObject,
) -> *mut c::PyObject {
    // SAFETY: the vectorcall contract; the method is called on an instance of its class.
    unsafe {
        let nargs = c::PyVectorcall_NARGS(nargsf);
        let method = at(this);
        if nargs == 0 || !is_of(*args, method.class) {
            return call_genuine(this, args, nargsf, names);
        }
        (method.function.PyCFunctionFastWithKeywords)(*args, args.add(1), nargs - 1, names)
    }
}

/// Calls a method that takes none.
unsafe extern "C" fn call_without(
    this: *mut c::PyObject,
    args: *const *mut c::PyObject,
    nargsf: usize,
    names: *mut c::PyObject,
) -> *mut c::PyObject {
    // SAFETY: as in `call_with`.
    unsafe {
        let method = at(this);
        let alone = c::PyVectorcall_NARGS(nargsf) == 1 && names.is_null();
        if !alone || !is_of(*args, method.class) {
            return call_genuine(this, args, nargsf, names);
        }
        (method.function.PyCFunction)(*args, ptr::null_mut())
    }
}

/// # Safety
/// A live object and a live class.
#[inline(always)]
unsafe fn is_of(object: *mut c::PyObject, class: *mut c::PyTypeObject) -> bool {
    // SAFETY: promised by the caller.
    unsafe {
        let kind = c::Py_TYPE(object);
        kind == class || c::PyType_IsSubtype(kind, class) != 0
    }
}

/// Whatever is wrong with the call, CPython says it.
#[cold]
unsafe extern "C" fn call_genuine(
    this: *mut c::PyObject,
    args: *const *mut c::PyObject,
    nargsf: usize,
    names: *mut c::PyObject,
) -> *mut c::PyObject {
    // SAFETY: the vectorcall contract, handed on.
    unsafe { c::PyObject_Vectorcall(at(this).meant.genuine.as_ptr(), args, nargsf, names) }
}

/// `__get__`.
unsafe extern "C" fn bind(
    this: *mut c::PyObject,
    object: *mut c::PyObject,
    _class: *mut c::PyObject,
) -> *mut c::PyObject {
    // SAFETY: a live descriptor, with a live object or null; an owned result.
    unsafe {
        if object.is_null() {
            return at(this).to_obj().into_ptr();
        }
        PyMethod_New(this, object)
    }
}

unsafe extern "C" {
    fn PyMethod_New(function: *mut c::PyObject, object: *mut c::PyObject) -> *mut c::PyObject;
}

/// `tp_getattro`.
unsafe extern "C" fn attribute(this: *mut c::PyObject, name: *mut c::PyObject) -> *mut c::PyObject {
    // SAFETY: called on an instance with a live name.
    let (function, name) = unsafe { (at(this), Borrowed::new(name)) };
    let is_one_of = |names: &[&CStr]| names.iter().any(|known| value::text_is(&name, known));
    if is_one_of(&OWN) {
        // SAFETY: as above.
        return unsafe { c::PyObject_GenericGetAttr(this, name.as_ptr()) };
    }
    let meant = function.meant;
    let found = shielded(|| {
        if is_one_of(&NATIVE)
            && let Some(found) = meant.genuine.attr_opt(&name)?
            && !found.is_none()
        {
            return Ok(found);
        }
        meant.likeness.attr(&name)
    });
    found.map_or(ptr::null_mut(), Obj::into_ptr)
}

fn qualname(this: &Ref<CoroutineFunction>) -> Res<Obj> {
    this.meant.genuine.attr(&value::interned(c"__qualname__")?)
}

/// Makes the type; before any class that has such methods.
pub(crate) fn build() -> Res<()> {
    let get: c::descrgetfunc = bind;
    let attribute: c::getattrofunc = attribute;
    TypeSpec::new::<CoroutineFunction>(
        c"rulip._rulip.coroutine_function",
        c"A native function that returns a coroutine.",
    )
    .not_callable()
    .immutable()
    .method_descriptor()
    .vectorcall_at(body_offset::<CoroutineFunction>(std::mem::offset_of!(
        CoroutineFunction,
        vectorcall
    )))
    .weakrefs_at(body_offset::<CoroutineFunction>(std::mem::offset_of!(
        CoroutineFunction,
        weakrefs
    )))
    .slot(c::Py_tp_call, c::PyVectorcall_Call as *mut _)
    .slot(c::Py_tp_descr_get, get as *mut _)
    .slot(c::Py_tp_getattro, attribute as *mut _)
    .slot(
        c::Py_tp_repr,
        unary(|this: &Ref<CoroutineFunction>| {
            let name = value::text(&qualname(this)?)?;
            value::str(&format!("<function {name} at {:p}>", this.as_obj().as_ptr()))
        }),
    )
    .methods([noargs(c"__reduce__", c"For pickle: its name.", qualname)])
    .build(&TYPE)
    .map(drop)
}

fn make(
    vectorcall: c::vectorcallfunc,
    class: *mut c::PyTypeObject,
    function: c::PyMethodDefPointer,
    meant: Meant,
) -> Res<Obj> {
    Ref::new(CoroutineFunction {
        vectorcall: Cell::new(vectorcall),
        class,
        function,
        meant: Box::leak(Box::new(meant)),
        weakrefs: Cell::new(ptr::null_mut()),
    })
    .map(Ref::into_obj)
}

/// A function of the module, which stands for the one of that name in `asyncio.tasks`.
pub(crate) fn function(definition: c::PyMethodDef) -> Res<Obj> {
    debug_assert!(definition.ml_flags == KEYWORDS);
    // SAFETY: a definition of ours, whose name is static.
    let name = unsafe { CStr::from_ptr(definition.ml_name) };
    let likeness = call::import(c"asyncio.tasks")?.attr(&value::interned(name)?)?;
    let function = definition.ml_meth;
    let genuine = super::spec::module_function(definition)?;
    make(call_function, ptr::null_mut(), function, Meant { genuine, likeness })
}

/// What stands for the method `genuine` of the native `class`: itself, unless the class derives from one of
/// asyncio's that has a coroutine function of that name.
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
    let special = name.to_bytes().starts_with(b"__");
    if special || !(flags == KEYWORDS || flags == c::METH_NOARGS) {
        return Ok(genuine);
    }
    match coroutine_function_of(class, name)? {
        Some(likeness) => {
            let called = if flags == KEYWORDS { call_with } else { call_without };
            make(called, class.as_ptr().cast(), function, Meant { genuine, likeness })
        }
        None => Ok(genuine),
    }
}

/// The first `async def` of that name among the classes that a class derives from.
fn coroutine_function_of(class: &Obj, name: &CStr) -> Res<Option<Obj>> {
    let name = value::interned(name)?;
    for base in value::iterate(&class.attr(&value::interned(c"__mro__")?)?)? {
        let namespace = base.attr(&value::interned(c"__dict__")?)?;
        let found = namespace.method1(&value::interned(c"get")?, &name)?;
        if let Some(code) = found.attr_opt(&value::interned(c"__code__")?)? {
            let flags = value::as_i64(&code.attr(&value::interned(c"co_flags")?)?)?;
            return Ok((flags & CO_COROUTINE != 0).then_some(found));
        }
    }
    Ok(None)
}
