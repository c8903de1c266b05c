//! Which methods of a native type a Python subclass, or an instance's `__dict__`, replaces.
//!
//! asyncio's classes call their own methods by name, and user code replaces them. Ours look once per
//! class: CPython gives a class another version tag whenever it, or a base of it, changes.
//!
//! Invariant: an answer is used only while the tag and the size of the `__dict__` are those it was
//! found with.

use std::cell::Cell;

use pyo3::ffi as c;

use super::error::Res;
use super::native::TypeCell;
use super::object::Obj;
use super::value;

/// The names that a native type calls, and what they are in the public class. At most 32.
pub(crate) struct Overridable(Vec<(&'static Obj, Obj)>);

impl Overridable {
    /// Looks at the class as it was made, before anybody could change it.
    pub(crate) fn of(class: &TypeCell, names: &[&'static Obj]) -> Res<Self> {
        let class = class.obj();
        let look = |name: &&'static Obj| class.attr(name).map(|ours| (*name, ours));
        names.iter().map(look).collect::<Res<Vec<_>>>().map(Self)
    }
}

/// The answer for one instance.
pub(crate) struct Overrides {
    /// Of the class; 0 where nothing is known.
    tag: Cell<u32>,
    dict_len: Cell<isize>,
    found: Cell<u32>,
}

impl Overrides {
    #[inline]
    pub(crate) fn unknown() -> Self {
        Self { tag: Cell::new(0), dict_len: Cell::new(0), found: Cell::new(0) }
    }

    /// A bit for each name that is replaced. `dict` is the instance's, or null.
    #[inline]
    pub(crate) fn find(
        &self,
        this: &Obj,
        dict: &Cell<*mut c::PyObject>,
        overridable: impl FnOnce() -> &'static Overridable,
    ) -> Res<u32> {
        // SAFETY: the type of a live object, and a dict or null.
        let (tag, dict_len) = unsafe {
            let dict = dict.get();
            let len = if dict.is_null() { 0 } else { c::PyDict_Size(dict) };
            ((*this.type_ptr()).tp_version_tag, len)
        };
        if tag != 0 && tag == self.tag.get() && dict_len == self.dict_len.get() {
            return Ok(self.found.get());
        }
        self.look(this, dict, overridable())
    }

    /// Whether nothing is replaced, as far as is known without looking.
    #[inline(always)]
    pub(crate) fn are_none(&self, this: &Obj, dict: &Cell<*mut c::PyObject>) -> bool {
        // SAFETY: the type of a live object.
        let tag = unsafe { (*this.type_ptr()).tp_version_tag };
        tag != 0
            && tag == self.tag.get()
            && self.found.get() == 0
            && dict.get().is_null()
            && self.dict_len.get() == 0
    }

    #[cold]
    fn look(&self, this: &Obj, dict: &Cell<*mut c::PyObject>, table: &Overridable) -> Res<u32> {
        let class = this.type_obj();
        let dict = dict.get();
        // SAFETY: a live dict or null.
        let dict = (!dict.is_null()).then(|| unsafe { Obj::from_borrowed(dict) });
        let mut found = 0;
        for (i, (name, ours)) in table.0.iter().enumerate() {
            let replaced = class.attr_opt(name)?.is_none_or(|theirs| !theirs.is(ours));
            let own = match &dict {
                Some(dict) => value::dict_get(dict, name)?.is_some(),
                None => false,
            };
            if replaced || own {
                found |= 1 << i;
            }
        }
        // SAFETY: as in `find`; looking names up gave the class its tag.
        unsafe {
            self.tag.set((*this.type_ptr()).tp_version_tag);
            self.dict_len.set(dict.map_or(0, |dict| c::PyDict_Size(dict.as_ptr())));
        }
        self.found.set(found);
        Ok(found)
    }
}
