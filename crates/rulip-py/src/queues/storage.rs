//! The items of a queue, and their order: `_queue`, `_put` and `_get` as asyncio has them.
//!
//! First in, first out: a deque of our own, until Python code asks for `_queue`; then it becomes the
//! `collections.deque` that asyncio has. The other orders are lists, as asyncio's, in the heap's order or
//! the stack's. What Python code puts in place of `_queue` counts. Owner thread. Invariant: nothing is
//! borrowed while Python runs: comparing items runs anything.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::ffi::c_int;

use super::Queue;
use crate::ffi::slot::Visit;
use crate::ffi::{Obj, Raised, Ref, Res, Slot, list, value};
use crate::{imports, names, task};

/// Which item comes next.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(super) enum Order {
    FirstIn,
    LastIn,
    Priority,
}

/// The items.
pub(super) struct Storage {
    order: Order,
    own: RefCell<VecDeque<Obj>>,
    /// `_queue`, where it is an object of Python's.
    shown: Slot,
    /// An overridden `_init` has not set `_queue`.
    absent: Cell<bool>,
}

impl Storage {
    pub(super) fn new(order: Order) -> Self {
        Self {
            order,
            own: RefCell::new(VecDeque::new()),
            shown: Slot::empty(),
            absent: Cell::new(order != Order::FirstIn),
        }
    }

    /// `_init()`: no items. What was here is dropped once that stands.
    pub(super) fn begin(&self) -> Res<()> {
        let list = match self.order {
            Order::FirstIn => None,
            Order::LastIn | Order::Priority => Some(value::list(Vec::new())?),
        };
        let old = (self.own.take(), self.shown.replace(list));
        self.absent.set(false);
        drop(old);
        Ok(())
    }

    /// Before an `_init()` that is not ours: there is no `_queue` unless it makes one.
    pub(super) fn expect(&self) {
        if !self.shown.is_set() && self.own.borrow().is_empty() {
            self.absent.set(true);
        }
    }

    pub(super) fn clear(&self) {
        let own = self.own.take();
        drop((own, self.shown.take()));
    }

    pub(super) fn visit(&self, visit: &Visit) -> Result<(), c_int> {
        self.shown.visit(visit)?;
        match self.own.try_borrow() {
            Ok(own) => own.iter().try_for_each(|item| visit.obj(item)),
            Err(_) => Ok(()),
        }
    }

    /// They are in our own deque.
    #[inline(always)]
    pub(super) fn is_ours(&self) -> bool {
        !self.shown.is_set() && !self.absent.get()
    }

    /// The object that holds the items, where it is not ours.
    #[inline]
    fn shown(&self, queue: &Ref<Queue>) -> Res<Option<Obj>> {
        let shown = self.shown.get();
        if shown.is_none() && self.absent.get() {
            return Err(no_attribute(queue));
        }
        Ok(shown)
    }

    #[inline(always)]
    pub(super) fn len(&self, queue: &Ref<Queue>) -> Res<usize> {
        match self.shown(queue)? {
            None => Ok(self.own.borrow().len()),
            Some(shown) if list::is_list(&shown) => Ok(list::len(&shown)),
            Some(shown) => value::len(&shown),
        }
    }

    #[inline(always)]
    pub(super) fn is_empty(&self, queue: &Ref<Queue>) -> Res<bool> {
        if self.is_ours() {
            return Ok(self.own.borrow().is_empty());
        }
        match self.shown(queue)? {
            None => Ok(self.own.borrow().is_empty()),
            Some(shown) => Ok(!shown.is_true()?),
        }
    }

    /// How many are in our own deque.
    #[inline(always)]
    pub(super) fn own_len(&self) -> usize {
        self.own.borrow().len()
    }

    /// `_put(item)` into our own deque.
    #[inline(always)]
    pub(super) fn put_own(&self, item: Obj) {
        self.own.borrow_mut().push_back(item);
    }

    /// `_get()` from our own deque.
    #[inline(always)]
    pub(super) fn take_own(&self) -> Option<Obj> {
        self.own.borrow_mut().pop_front()
    }

    /// `_put(item)`.
    #[inline(always)]
    pub(super) fn put(&self, queue: &Ref<Queue>, item: Obj) -> Res<()> {
        if self.is_ours() {
            self.put_own(item);
            return Ok(());
        }
        match self.shown(queue)? {
            None => {
                self.own.borrow_mut().push_back(item);
                Ok(())
            }
            Some(shown) => self.put_into(&shown, &item),
        }
    }

    pub(super) fn put_into(&self, items: &Obj, item: &Obj) -> Res<()> {
        match self.order {
            Order::Priority => imports::get().heappush.call(&[items, item]).map(drop),
            _ if list::is_list(items) => list::append(items, item),
            _ => items.method1(&names::get().append, item).map(drop),
        }
    }

    /// `_get()`.
    #[inline(always)]
    pub(super) fn get(&self, queue: &Ref<Queue>) -> Res<Obj> {
        if self.is_ours()
            && let Some(first) = self.take_own()
        {
            return Ok(first);
        }
        let Some(shown) = self.shown(queue)? else {
            return self.take_own().ok_or_else(|| nothing("pop from an empty deque"));
        };
        self.get_from(&shown)
    }

    pub(super) fn get_from(&self, items: &Obj) -> Res<Obj> {
        match self.order {
            Order::Priority => imports::get().heappop.call1(items),
            Order::FirstIn => items.method0(&names::get().popleft),
            Order::LastIn if list::is_list(items) => {
                list::pop(items)?.ok_or_else(|| nothing("pop from empty list"))
            }
            Order::LastIn => items.method0(&names::get().pop),
        }
    }

    /// `_queue`: from now on it is Python's.
    pub(super) fn show(&self, queue: &Ref<Queue>) -> Res<Obj> {
        if let Some(shown) = self.shown(queue)? {
            return Ok(shown);
        }
        let deque = imports::get().deque.call0()?;
        let own = self.own.take();
        for item in own {
            deque.method1(&names::get().append, &item)?;
        }
        self.shown.set(Some(deque.clone()));
        Ok(deque)
    }

    /// Python code sets `_queue`, or deletes it.
    pub(super) fn replace(&self, items: Option<&Obj>) {
        let own = self.own.take();
        self.absent.set(items.is_none());
        self.shown.set(items.cloned());
        drop(own);
    }

    /// The items as a list, for `repr()`; none where there is no `_queue`.
    pub(super) fn listed(&self) -> Res<Vec<Obj>> {
        match self.shown.get() {
            Some(shown) if shown.is_true()? => value::iterate(&shown),
            Some(_) => Ok(Vec::new()),
            None => Ok(self.own.borrow().iter().cloned().collect()),
        }
    }
}

#[cold]
fn nothing(text: &str) -> Raised {
    match task::builtin("IndexError") {
        Ok(class) => Raised::new(&class, text),
        Err(raised) => raised,
    }
}

#[cold]
fn no_attribute(queue: &Ref<Queue>) -> Raised {
    match task::builtin("AttributeError") {
        Ok(class) => {
            let name = queue.as_obj().type_name();
            Raised::new(&class, &format!("'{name}' object has no attribute '_queue'"))
        }
        Err(raised) => raised,
    }
}
