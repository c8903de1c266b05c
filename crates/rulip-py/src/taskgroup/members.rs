//! The tasks of a group: asyncio's set `_tasks`.
//!
//! Native tasks stand in a slab under a number that each carries, others in a list. Owner thread.
//! Invariant: no borrow lasts while a reference is dropped: what is taken out comes back to be dropped.

use std::cell::{Cell, RefCell};
use std::ffi::c_int;

use slab::Slab;

use crate::ffi::slot::Visit;
use crate::ffi::{Obj, Ref, Res, value};
use crate::task::Task;

/// The members, each with its place in the order they came.
pub(crate) struct Members {
    native: RefCell<Slab<(u64, Ref<Task>)>>,
    foreign: RefCell<Vec<(u64, Obj)>>,
    count: Cell<u64>,
}

impl Members {
    pub(crate) fn new() -> Self {
        Self {
            native: RefCell::new(Slab::new()),
            foreign: RefCell::new(Vec::new()),
            count: Cell::new(0),
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.native.borrow().len() + self.foreign.borrow().len()
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether native members are left that are not done when one goes, and nobody else is: then only
    /// the end of the last of them matters. `ended` are done, and still members.
    #[inline]
    pub(crate) fn others_go_on(&self, ended: usize) -> bool {
        self.native.borrow().len() > 1 + ended && self.foreign.borrow().is_empty()
    }

    #[inline]
    fn next_place(&self) -> u64 {
        self.count.replace(self.count.get() + 1)
    }

    #[inline]
    pub(crate) fn add(&self, task: &Ref<Task>) {
        let number = self.native.borrow_mut().insert((self.next_place(), task.clone()));
        task.set_member_number(number);
    }

    pub(crate) fn add_foreign(&self, task: Obj) {
        self.foreign.borrow_mut().push((self.next_place(), task));
    }

    /// Takes a native member out; comes back to be dropped.
    #[inline]
    pub(crate) fn discard(&self, task: &Ref<Task>) -> Option<Ref<Task>> {
        let number = task.member_number()?;
        let mut native = self.native.borrow_mut();
        // A task may carry the number it has in another group.
        if native.get(number).is_some_and(|(_, member)| member.as_obj().is(task.as_obj())) {
            native.try_remove(number).map(|(_, member)| member)
        } else {
            None
        }
    }

    pub(crate) fn discard_any(&self, task: &Obj) -> Option<Obj> {
        if let Some(native) = Ref::<Task>::exact(task)
            && let Some(member) = self.discard(native)
        {
            return Some(member.into_obj());
        }
        let mut foreign = self.foreign.borrow_mut();
        let place = foreign.iter().position(|(_, member)| member.is(task))?;
        Some(foreign.swap_remove(place).1)
    }

    /// Every member, as new references, in the order they came.
    pub(crate) fn all(&self) -> Vec<Obj> {
        let native = self.native.borrow();
        let foreign = self.foreign.borrow();
        let native = native.iter().map(|(_, (place, task))| (*place, task.to_obj()));
        let mut all: Vec<_> = native.chain(foreign.iter().cloned()).collect();
        all.sort_unstable_by_key(|(place, _)| *place);
        all.into_iter().map(|(_, task)| task).collect()
    }

    /// A new set of them.
    pub(crate) fn to_set(&self) -> Res<Obj> {
        value::set(&self.all())
    }

    /// Lets go of all.
    pub(crate) fn clear(&self) {
        drop((self.native.take(), self.foreign.take()));
    }

    pub(crate) fn visit(&self, visit: &Visit) -> Result<(), c_int> {
        if let Ok(native) = self.native.try_borrow() {
            native.iter().try_for_each(|(_, (_, task))| visit.obj(task.as_obj()))?;
        }
        if let Ok(foreign) = self.foreign.try_borrow() {
            foreign.iter().try_for_each(|(_, task)| visit.obj(task))?;
        }
        Ok(())
    }
}
