//! Who waits, in order: a primitive's `_waiters`.
//!
//! A list of our own, until Python code asks for it: then it becomes the `collections.deque` that
//! asyncio has, which that code may change, and which may hold futures of its making. Owner thread.
//! Invariant: nothing is borrowed when a function returns, and nothing is dropped while borrowed.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::ffi::c_int;

use crate::ffi::slot::Visit;
use crate::ffi::{Obj, Ref, Res, Slot, value};
use crate::task::waiter::Waiter;
use crate::{imports, names};

/// `_waiters`, `_getters`, `_putters`.
pub(crate) struct Waiters {
    own: RefCell<VecDeque<Ref<Waiter>>>,
    /// The deque that Python code has seen.
    shown: Slot,
    /// What a future in it is told.
    result: fn() -> Obj,
    /// Nobody has waited yet, and asyncio's would be None.
    absent: Cell<bool>,
}

impl Waiters {
    /// None until somebody waits, as in `Lock` and `Semaphore`.
    pub(crate) fn absent(result: fn() -> Obj) -> Self {
        let made = Self::new(result);
        made.absent.set(true);
        made
    }

    pub(crate) fn new(result: fn() -> Obj) -> Self {
        Self {
            result,
            own: RefCell::new(VecDeque::new()),
            shown: Slot::empty(),
            absent: Cell::new(false),
        }
    }

    /// As made by `__init__`.
    pub(crate) fn reset(&self, absent: bool) {
        let own = self.own.take();
        self.absent.set(absent);
        drop((own, self.shown.take()));
    }

    /// Whether nobody waits; false where only Python code knows.
    #[inline(always)]
    pub(crate) fn is_empty(&self) -> bool {
        !self.shown.is_set() && self.own.borrow().is_empty()
    }

    #[inline]
    pub(crate) fn len(&self) -> Res<usize> {
        match self.shown.get() {
            None => Ok(self.own.borrow().len()),
            Some(shown) => value::len(&shown),
        }
    }

    #[inline]
    pub(crate) fn push(&self, waiter: &Ref<Waiter>) -> Res<()> {
        match self.shown.get() {
            None => {
                self.absent.set(false);
                self.own.borrow_mut().push_back(waiter.clone());
                Ok(())
            }
            Some(shown) => shown.method1(&names::get().append, waiter.as_obj()).map(drop),
        }
    }

    /// Takes it out; false where it is not in.
    #[inline]
    pub(crate) fn remove(&self, waiter: &Ref<Waiter>) -> Res<bool> {
        if let Some(shown) = self.shown.get() {
            return self.remove_shown(&shown, waiter);
        }
        let mut own = self.own.borrow_mut();
        let place = own.iter().position(|candidate| candidate.as_obj().is(waiter.as_obj()));
        let removed = place.and_then(|place| own.remove(place));
        drop(own);
        Ok(removed.is_some())
    }

    fn remove_shown(&self, shown: &Obj, waiter: &Ref<Waiter>) -> Res<bool> {
        match shown.method1(&names::get().remove, waiter.as_obj()) {
            Ok(_) => Ok(true),
            Err(raised) if raised.matches(&imports::get().value_error) => {
                raised.clear();
                Ok(false)
            }
            Err(raised) => Err(raised),
        }
    }

    /// Wakes one that is not done.
    #[inline]
    pub(crate) fn wake(&self, waiter: &Obj) -> Res<()> {
        wake(waiter, self.result)
    }

    /// Takes the first one out.
    #[inline]
    pub(crate) fn pop(&self) -> Res<Option<Obj>> {
        match self.shown.get() {
            None => Ok(self.own.borrow_mut().pop_front().map(Ref::into_obj)),
            Some(shown) if shown.is_true()? => shown.method0(&names::get().popleft).map(Some),
            Some(_) => Ok(None),
        }
    }

    #[inline]
    pub(crate) fn get(&self, place: usize) -> Res<Option<Obj>> {
        match self.shown.get() {
            None => Ok(self.own.borrow().get(place).map(Ref::to_obj)),
            Some(shown) if place < value::len(&shown)? => value::item(&shown, place).map(Some),
            Some(_) => Ok(None),
        }
    }

    /// Whether each of them was cancelled.
    #[inline]
    pub(crate) fn all_cancelled(&self) -> Res<bool> {
        if self.is_empty() {
            return Ok(true);
        }
        let mut place = 0;
        while let Some(waiter) = self.get(place)? {
            if !is_cancelled(&waiter)? {
                return Ok(false);
            }
            place += 1;
        }
        Ok(true)
    }

    /// Wakes the first that is not done; whether there is one.
    pub(crate) fn wake_first_pending(&self) -> Res<bool> {
        let mut place = 0;
        while let Some(waiter) = self.get(place)? {
            if !is_done(&waiter)? {
                return self.wake(&waiter).map(|()| true);
            }
            place += 1;
        }
        Ok(false)
    }

    /// Takes out those that are done, and wakes the first that is not (and takes it out).
    #[inline]
    pub(crate) fn pop_and_wake(&self) -> Res<()> {
        if self.is_empty() {
            return Ok(());
        }
        while let Some(waiter) = self.pop()? {
            if !is_done(&waiter)? {
                return self.wake(&waiter);
            }
        }
        Ok(())
    }

    /// Takes all out, and wakes those that are not done.
    pub(crate) fn pop_and_wake_all(&self) -> Res<()> {
        while let Some(waiter) = self.pop()? {
            if !is_done(&waiter)? {
                self.wake(&waiter)?;
            }
        }
        Ok(())
    }

    /// The deque, or None: from now on it is Python's.
    pub(crate) fn show(&self) -> Res<Obj> {
        if let Some(shown) = self.shown.get() {
            return Ok(shown);
        }
        if self.absent.get() {
            return Ok(Obj::none());
        }
        let deque = imports::get().deque.call0()?;
        let own = self.own.take();
        for waiter in own {
            deque.method1(&names::get().append, waiter.as_obj())?;
        }
        self.shown.set(Some(deque.clone()));
        Ok(deque)
    }

    /// Python code sets the attribute.
    pub(crate) fn replace(&self, waiters: &Obj) {
        if waiters.is_none() {
            self.reset(true);
        } else {
            self.reset(false);
            self.shown.set(Some(waiters.clone()));
        }
    }

    pub(crate) fn visit(&self, visit: &Visit) -> Result<(), c_int> {
        self.shown.visit(visit)?;
        match self.own.try_borrow() {
            Ok(own) => own.iter().try_for_each(|waiter| visit.obj(waiter.as_obj())),
            Err(_) => Ok(()),
        }
    }
}

/// `future.done()`.
#[inline]
pub(crate) fn is_done(waiter: &Obj) -> Res<bool> {
    match Ref::<Waiter>::exact(waiter) {
        Some(waiter) => waiter.is_done(),
        None => waiter.method0(&names::get().done)?.is_true(),
    }
}

/// `future.cancelled()`.
#[inline]
fn is_cancelled(waiter: &Obj) -> Res<bool> {
    match Ref::<Waiter>::exact(waiter) {
        Some(waiter) => waiter.is_cancelled(),
        None => waiter.method0(&names::get().cancelled)?.is_true(),
    }
}

/// `future.set_result(result)`.
#[inline]
pub(crate) fn wake(waiter: &Obj, result: fn() -> Obj) -> Res<()> {
    match Ref::<Waiter>::exact(waiter) {
        Some(waiter) => waiter.wake(result),
        None => waiter.method1(&names::get().set_result, &result()).map(drop),
    }
}
