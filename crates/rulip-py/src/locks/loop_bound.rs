//! What every primitive has: the loop it is bound to, a `__dict__`, weak references, overrides.
//!
//! asyncio's `_LoopBoundMixin`: a primitive belongs to the loop that first waited for it. Owner thread.

use std::cell::Cell;
use std::ffi::c_int;

use pyo3::ffi as c;

use crate::ffi::native::{Native, TypeCell, body_offset};
use crate::ffi::object::take_raw;
use crate::ffi::overrides::{Overridable, Overrides};
use crate::ffi::slot::Visit;
use crate::ffi::spec::TypeSpec;
use crate::ffi::trampoline::{generic_dict, noargs, property};
use crate::ffi::{Obj, Raised, Ref, Res, Slot, value};
use crate::loop_state::LoopState;
use crate::names;
use crate::task::waiter::Running;

/// A field of every primitive.
pub(crate) struct LoopBound {
    loop_: Slot,
    dict: Cell<*mut c::PyObject>,
    weakrefs: Cell<*mut c::PyObject>,
    overrides: Overrides,
}

/// A primitive.
pub(crate) trait Bound: Native {
    /// Where the field stands in the body.
    const BOUND_AT: usize;

    fn bound(&self) -> &LoopBound;

    /// What Python classes may replace. `_get_loop` comes first.
    fn overridable() -> &'static Overridable;
}

/// The bit of `_get_loop` among the overrides.
pub(crate) const GET_LOOP: u32 = 1;

impl LoopBound {
    pub(crate) fn new() -> Self {
        Self {
            loop_: Slot::empty(),
            dict: Cell::new(std::ptr::null_mut()),
            weakrefs: Cell::new(std::ptr::null_mut()),
            overrides: Overrides::unknown(),
        }
    }

    pub(crate) fn visit(&self, visit: &Visit) -> Result<(), c_int> {
        self.loop_.visit(visit)?;
        visit.raw(self.dict.get())
    }

    pub(crate) fn clear(&self) {
        drop(self.loop_.take());
        self.drop_dict();
    }

    pub(crate) fn drop_dict(&self) {
        drop(take_raw(&self.dict));
    }

    pub(crate) fn weakrefs(&self) -> *mut c::PyObject {
        self.weakrefs.get()
    }
}

/// Which of the primitive's methods are somebody else's.
#[inline]
pub(crate) fn overrides<T: Bound>(this: &Ref<T>) -> Res<u32> {
    let bound = this.bound();
    bound.overrides.find(this.as_obj(), &bound.dict, T::overridable)
}

/// Whether all of its methods are ours, as far as is known.
#[inline(always)]
pub(crate) fn is_plain<T: Bound>(this: &Ref<T>) -> bool {
    let bound = this.bound();
    bound.overrides.are_none(this.as_obj(), &bound.dict)
}

/// `self._get_loop()`: the running loop, which is the primitive's from now on.
#[inline]
pub(crate) fn get_loop<T: Bound>(this: &Ref<T>) -> Res<Running> {
    if overrides(this)? & GET_LOOP != 0 {
        let loop_ = this.as_obj().method0(&names::get().get_loop_private)?;
        return Ok(match Ref::<LoopState>::downcast(&loop_) {
            Some(native) => Running::Native(native.clone()),
            None => Running::Foreign(loop_),
        });
    }
    bind(this)
}

#[inline]
fn bind<T: Bound>(this: &Ref<T>) -> Res<Running> {
    let running = Running::find()?;
    let bound = &this.bound().loop_;
    if bound.is(running.as_obj()) {
        return Ok(running);
    }
    if !bound.is_set() {
        if !running.as_obj().is_none() {
            bound.set(Some(running.as_obj().clone()));
        }
        return Ok(running);
    }
    let text = this.as_obj().repr()?;
    Err(Raised::runtime_error(&format!("{text} is bound to a different event loop")))
}

/// The type's description, with what every primitive has.
pub(crate) fn spec<T: Bound>(
    name: &'static std::ffi::CStr,
    doc: &'static std::ffi::CStr,
) -> TypeSpec {
    let dict = T::BOUND_AT + std::mem::offset_of!(LoopBound, dict);
    let weakrefs = T::BOUND_AT + std::mem::offset_of!(LoopBound, weakrefs);
    TypeSpec::new::<T>(name, doc)
        .subclassable()
        .dict_at(body_offset::<T>(dict))
        .weakrefs_at(body_offset::<T>(weakrefs))
        .methods([noargs(
            c"_get_loop",
            c"Return the running loop; the first one asked for is the only one.",
            |this: &Ref<T>| bind(this).map(|running| running.as_obj().clone()),
        )])
        .attributes([
            generic_dict(),
            property(
                c"_loop",
                c"The loop it is bound to, or None.",
                |this: &Ref<T>| Ok(this.bound().loop_.get_or_none()),
                |this: &Ref<T>, value: Option<&Obj>| {
                    let value = value.filter(|value| !value.is_none()).cloned();
                    this.bound().loop_.set(value);
                    Ok(())
                },
            ),
        ])
}

/// The beginning of its `repr()`: `asyncio.locks.Lock object at 0x...`.
pub(crate) fn described<T: Native>(
    this: &Ref<T>,
    public: &TypeCell,
    stands_for: &str,
) -> Res<String> {
    let address = this.as_obj().as_ptr();
    if public.is_type_of(this.as_obj()) {
        return Ok(format!("{stands_for} object at {address:p}"));
    }
    let class = this.as_obj().type_obj();
    let module = value::text(&class.attr(&value::interned(c"__module__")?)?)?;
    let name = value::text(&class.attr(&value::interned(c"__qualname__")?)?)?;
    Ok(format!("{module}.{name} object at {address:p}"))
}

/// `__getstate__()`: the `__dict__`, and the attributes that asyncio's class keeps in it.
pub(crate) fn state<T: Bound>(this: &Ref<T>, attributes: &[&str]) -> Res<Obj> {
    let found = value::dict()?;
    for name in attributes {
        let name = value::str(name)?;
        value::dict_set(&found, &name, &this.as_obj().attr(&name)?)?;
    }
    if let Some(loop_) = this.bound().loop_.get() {
        value::dict_set(&found, &names::get().loop_, &loop_)?;
    }
    let dict = this.bound().dict.get();
    let dict = crate::ffi::object::borrowed(dict).unwrap_or_else(Obj::none);
    value::tuple(&[&dict, &found])
}

/// The arguments of an `__init__`: at most one, by position or by this name.
pub(crate) fn only_argument(
    function: &str,
    name: &std::ffi::CStr,
    args: &Obj,
    kwargs: Option<&Obj>,
) -> Res<Option<Obj>> {
    let mut given = value::tuple_items(args);
    if given.len() > 1 {
        return Err(too_many(function, "from 1 to 2", given.len()));
    }
    let mut found = given.pop();
    for (key, item) in kwargs.map(value::dict_items).unwrap_or_default() {
        if !value::text_is(&key, name) {
            return Err(crate::ffi::arguments::unexpected(function, &key));
        }
        if found.is_some() {
            let name = name.to_string_lossy();
            let text = format!("{function}() got multiple values for argument '{name}'");
            return Err(Raised::type_error(&text));
        }
        found = Some(item);
    }
    Ok(found)
}

/// The arguments of an `__init__` that takes none.
pub(crate) fn no_arguments(function: &str, args: &Obj, kwargs: Option<&Obj>) -> Res<()> {
    let given = value::tuple_items(args).len();
    if given > 0 {
        return Err(too_many(function, "1", given));
    }
    match kwargs.map(value::dict_items).unwrap_or_default().first() {
        Some((key, _)) => Err(crate::ffi::arguments::unexpected(function, key)),
        None => Ok(()),
    }
}

fn too_many(function: &str, allowed: &str, given: usize) -> Raised {
    let plural = if allowed == "1" { "argument" } else { "arguments" };
    let given = given + 1;
    let text = format!("{function}() takes {allowed} positional {plural} but {given} were given");
    Raised::type_error(&text)
}

/// `AttributeError: cannot delete attribute`.
pub(crate) fn required(value: Option<&Obj>) -> Res<&Obj> {
    match value {
        Some(value) => Ok(value),
        None => {
            let class = crate::task::builtin("AttributeError")?;
            Err(Raised::new(&class, "cannot delete attribute"))
        }
    }
}
