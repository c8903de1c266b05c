//! The Python classes that transports answer for `__class__`: they derive from asyncio's.
//!
//! Here too: `get_extra_info` where somebody replaced it on one of asyncio's classes, as tests do. It is the
//! one method that asyncio's own transports inherit from there. Any attached thread. Invariant: a class is
//! looked at as it was made, before anybody could change it.

use crate::ffi::arguments::Args;
use crate::ffi::object::Attached;
use crate::ffi::{Obj, Res, value};
use crate::names;

pub(crate) struct PublicClass(Attached<Known>);

struct Known {
    class: Obj,
    extra_info: Obj,
}

impl PublicClass {
    pub(super) const fn new() -> Self {
        Self(Attached::new())
    }

    /// Called once by the package.
    pub(super) fn set(&self, args: &Args<'_>) -> Res<Obj> {
        if let Some(class) = args.positional().first() {
            let extra_info = class.attr(&names::get().get_extra_info)?;
            self.0.set(Known { class: class.clone(), extra_info });
        }
        Ok(Obj::none())
    }

    pub(super) fn of(&self, me: &Obj) -> Obj {
        if self.0.is_set() { self.0.get().class.clone() } else { me.type_obj() }
    }

    /// What to call instead of our own `get_extra_info`.
    pub(super) fn other_extra_info(&self, me: &Obj) -> Res<Option<Obj>> {
        if !self.0.is_set() {
            return Ok(None);
        }
        let Known { class, extra_info } = self.0.get();
        let found = class.attr(&names::get().get_extra_info)?;
        if found.is(extra_info) { Ok(None) } else { bound(found, class, me).map(Some) }
    }
}

/// As the attribute of an instance.
#[cold]
fn bound(found: Obj, class: &Obj, me: &Obj) -> Res<Obj> {
    match found.type_obj().attr_opt(&value::interned(c"__get__")?)? {
        Some(get) => get.call(&[&found, me, class]),
        None => Ok(found),
    }
}
