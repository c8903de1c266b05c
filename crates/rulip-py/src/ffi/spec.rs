//! Describing a native type to CPython: slots, methods, attributes, `PyType_FromSpec`.
//!
//! Runs once per type, at module initialisation; the tables live as long as the process.

use std::ffi::{CStr, c_int, c_void};

use pyo3::ffi as c;

use super::error::{Raised, Res};
use super::native::{Native, TypeCell, clear, dealloc, finalize, traverse};
use super::object::Obj;
use super::value;

/// A type under construction.
pub(crate) struct TypeSpec {
    name: &'static CStr,
    size: usize,
    flags: u64,
    slots: Vec<c::PyType_Slot>,
    methods: Vec<c::PyMethodDef>,
    attributes: Vec<c::PyGetSetDef>,
    members: Vec<c::PyMemberDef>,
    base: *mut c::PyTypeObject,
    called: Option<c::vectorcallfunc>,
}

impl TypeSpec {
    /// A collected type whose instances have the body `T`.
    pub(crate) fn new<T: Native>(name: &'static CStr, doc: &'static CStr) -> Self {
        let mut spec = Self {
            name,
            size: size_of::<super::native::Instance<T>>(),
            flags: c::Py_TPFLAGS_DEFAULT | c::Py_TPFLAGS_HAVE_GC,
            slots: Vec::new(),
            methods: Vec::new(),
            attributes: Vec::new(),
            members: Vec::new(),
            base: std::ptr::null_mut(),
            called: None,
        };
        spec.slots
            .push(c::PyType_Slot { slot: c::Py_tp_doc, pfunc: doc.as_ptr().cast_mut().cast() });
        let traverse: unsafe extern "C" fn(*mut c::PyObject, c::visitproc, *mut c_void) -> c_int =
            traverse::<T>;
        let clear: unsafe extern "C" fn(*mut c::PyObject) -> c_int = clear::<T>;
        let dealloc: unsafe extern "C" fn(*mut c::PyObject) = dealloc::<T>;
        let mut spec = spec.slot(c::Py_tp_dealloc, dealloc as *mut c_void);
        spec = spec
            .slot(c::Py_tp_traverse, traverse as *mut c_void)
            .slot(c::Py_tp_clear, clear as *mut c_void);
        if T::HAS_FINALIZER {
            let finalize: unsafe extern "C" fn(*mut c::PyObject) = finalize::<T>;
            spec = spec.slot(c::Py_tp_finalize, finalize as *mut c_void);
        }
        spec
    }

    pub(crate) fn slot(mut self, slot: c_int, pfunc: *mut c_void) -> Self {
        self.slots.push(c::PyType_Slot { slot, pfunc });
        self
    }

    /// Python classes may derive from it.
    pub(crate) fn subclassable(mut self) -> Self {
        self.flags |= c::Py_TPFLAGS_BASETYPE;
        self
    }

    /// Calling the type is an error.
    pub(crate) fn not_callable(mut self) -> Self {
        self.flags |= c::Py_TPFLAGS_DISALLOW_INSTANTIATION;
        self
    }

    /// What calling the type itself does; subclasses go through `tp_new` and `tp_init`.
    pub(crate) fn called(mut self, called: c::vectorcallfunc) -> Self {
        self.called = Some(called);
        self
    }

    pub(crate) fn base(mut self, base: &TypeCell) -> Self {
        self.base = base.ptr();
        self
    }

    pub(crate) fn methods(mut self, methods: impl IntoIterator<Item = c::PyMethodDef>) -> Self {
        self.methods.extend(methods);
        self
    }

    pub(crate) fn attributes(
        mut self,
        attributes: impl IntoIterator<Item = c::PyGetSetDef>,
    ) -> Self {
        self.attributes.extend(attributes);
        self
    }

    /// Instances can be weakly referenced; the list's head is at this offset.
    pub(crate) fn weakrefs_at(self, offset: usize) -> Self {
        self.member(c"__weaklistoffset__", offset)
    }

    /// Instances have a `__dict__`; it is at this offset.
    pub(crate) fn dict_at(self, offset: usize) -> Self {
        self.member(c"__dictoffset__", offset)
    }

    /// Instances are called through the function at this offset.
    pub(super) fn vectorcall_at(mut self, offset: usize) -> Self {
        self.flags |= c::Py_TPFLAGS_HAVE_VECTORCALL;
        self.member(c"__vectorcalloffset__", offset)
    }

    /// CPython may call it with the object as first argument, without binding it.
    pub(super) fn method_descriptor(mut self) -> Self {
        self.flags |= c::Py_TPFLAGS_METHOD_DESCRIPTOR;
        self
    }

    /// Nobody changes it: CPython remembers what it is where it is used.
    pub(super) fn immutable(mut self) -> Self {
        self.flags |= c::Py_TPFLAGS_IMMUTABLETYPE;
        self
    }

    fn member(mut self, name: &'static CStr, offset: usize) -> Self {
        self.members.push(c::PyMemberDef {
            name: name.as_ptr(),
            type_code: c::structmember::T_PYSSIZET,
            offset: offset.cast_signed(),
            flags: c::structmember::READONLY,
            doc: std::ptr::null(),
        });
        self
    }

    /// Makes the type and keeps it in its cell.
    pub(crate) fn build(mut self, cell: &TypeCell) -> Res<Obj> {
        if !self.methods.is_empty() {
            self.methods.push(c::PyMethodDef::zeroed());
            let table = self.methods.leak();
            self.slots
                .push(c::PyType_Slot { slot: c::Py_tp_methods, pfunc: table.as_mut_ptr().cast() });
        }
        if !self.attributes.is_empty() {
            self.attributes.push(c::PyGetSetDef::default());
            let table = self.attributes.leak();
            self.slots
                .push(c::PyType_Slot { slot: c::Py_tp_getset, pfunc: table.as_mut_ptr().cast() });
        }
        if !self.members.is_empty() {
            self.members.push(c::PyMemberDef::default());
            let table = self.members.leak();
            self.slots
                .push(c::PyType_Slot { slot: c::Py_tp_members, pfunc: table.as_mut_ptr().cast() });
        }
        self.slots.push(c::PyType_Slot { slot: 0, pfunc: std::ptr::null_mut() });
        let slots = self.slots.leak();
        let spec = Box::leak(Box::new(c::PyType_Spec {
            name: self.name.as_ptr(),
            basicsize: c_int::try_from(self.size)
                .map_err(|_| Raised::value_error("type too large"))?,
            itemsize: 0,
            flags: u32::try_from(self.flags).map_err(|_| Raised::value_error("type flags"))?,
            slots: slots.as_mut_ptr(),
        }));
        // SAFETY: a complete spec in static memory; the base is null or a ready type.
        let made = unsafe {
            if self.base.is_null() {
                Obj::from_owned(c::PyType_FromSpec(spec))?
            } else {
                Obj::from_owned(c::PyType_FromSpecWithBases(spec, self.base.cast()))?
            }
        };
        // No slot sets it before 3.14. SAFETY: a type that nobody else has seen yet.
        unsafe { (*made.as_ptr().cast::<c::PyTypeObject>()).tp_vectorcall = self.called };
        #[cfg(not(Py_3_14))]
        super::special::replace(&made)?;
        // The cell owns one reference for ever.
        cell.set(made.clone().into_ptr().cast());
        Ok(made)
    }
}

/// A builtin function object; its definition lives as long as the process.
pub(crate) fn module_function(definition: c::PyMethodDef) -> Res<Obj> {
    let definition = Box::leak(Box::new(definition));
    let module = value::interned(c"rulip")?;
    // SAFETY: a static definition without `self`, and a name to be found by; an owned result or an
    // exception.
    unsafe {
        Obj::from_owned(c::PyCFunction_NewEx(definition, std::ptr::null_mut(), module.as_ptr()))
    }
}

/// Makes the methods of a native type, where nobody has replaced them, those of the very `class` that
/// derives from it: CPython calls a method without detours only where it belongs to the class of `self`.
pub(crate) fn own_methods(class: &Obj, native: &TypeCell) -> Res<()> {
    let inherited = native.obj();
    // SAFETY: a ready type of ours: its table of methods is static and ends with a null.
    unsafe {
        let mut method = (*native.ptr()).tp_methods;
        while !method.is_null() && !(*method).ml_name.is_null() {
            let name = value::interned(CStr::from_ptr((*method).ml_name))?;
            if (*method).ml_flags & c::METH_CLASS == 0
                && class.attr(&name)?.is(&inherited.attr(&name)?)
            {
                let descriptor =
                    Obj::from_owned(c::PyDescr_NewMethod(class.as_ptr().cast(), method))?;
                #[cfg(not(Py_3_14))]
                let descriptor = super::special::stand_in(class, descriptor, method)?;
                let descriptor = super::coroutine_function::stand_in(class, descriptor, method)?;
                class.set_attr(&name, &descriptor)?;
            }
            method = method.add(1);
        }
    }
    Ok(())
}

/// A Python class that is a native type and derives from the class it stands for, too:
/// `class name(*bases)`, with nothing of its own but the methods of the native type, if that is `own`.
pub(crate) fn public_class(
    name: &str,
    bases: &[&Obj],
    own: Option<&TypeCell>,
    public: &TypeCell,
) -> Res<Obj> {
    let namespace = value::dict()?;
    let doc = value::interned(c"__doc__")?;
    if let Some(first) = bases.first() {
        value::dict_set(&namespace, &doc, &first.attr(&doc)?)?;
    }
    let module = value::interned(c"rulip._rulip")?;
    value::dict_set(&namespace, &value::interned(c"__module__")?, &module)?;
    value::dict_set(&namespace, &value::interned(c"__slots__")?, &value::tuple(&[])?)?;
    // SAFETY: the type of types is alive.
    let metaclass = unsafe { Obj::from_borrowed((&raw mut c::PyType_Type).cast()) };
    let made = metaclass.call(&[&value::str(name)?, &value::tuple(bases)?, &namespace])?;
    if let Some(own) = own {
        own_methods(&made, own)?;
    }
    // The cell owns one reference for ever.
    public.set(made.clone().into_ptr().cast());
    Ok(made)
}
