//! `put()`, `get()` and `join()`: what waits.
//!
//! Who waits stands in the list, is taken out and woken when there may be a place or an item, and then
//! looks again: somebody else may have been quicker. Owner thread. Invariant: a waiter that was woken and
//! fails wakes the next one, if what it was woken for is still there.

use super::{
    Queue, This, add, get_now, is_empty, is_full, over, overrides, put_now, remove, wake_next,
};
use crate::ffi::send::Step;
use crate::ffi::{Obj, Raised, Ref, Res};
use crate::locks::event::Event;
use crate::locks::loop_bound::{get_loop, is_plain};
use crate::locks::waiters::Waiters;
use crate::names;
use crate::task::waiter::slots::{coroutine, owner};
use crate::task::waiter::{Operation, Owner, Resumed, Waiter, never};

static PUTTING: Operation =
    Operation { owner: &super::TYPE, name: c"Queue.put", resume: putting, at_once: put_at_once };
static GETTING: Operation =
    Operation { owner: &super::TYPE, name: c"Queue.get", resume: getting, at_once: get_at_once };
static JOINING: Operation =
    Operation { owner: &super::TYPE, name: c"Queue.join", resume: joining, at_once: never };

/// `queue.put(item)`.
#[inline]
pub(super) fn put(this: &This, item: Obj) -> Res<Obj> {
    coroutine(&PUTTING, this, Some(item))
}

/// `queue.get()`.
#[inline]
pub(super) fn get(this: &This) -> Res<Obj> {
    coroutine(&GETTING, this, None)
}

/// `queue.join()`.
pub(super) fn join(this: &This) -> Res<Obj> {
    coroutine(&JOINING, this, None)
}

#[inline]
fn wait(this: &This, waiters: &Waiters, waiter: &Ref<Waiter>) -> Res<Step> {
    let step = waiter.suspend(&get_loop(this)?)?;
    waiters.push(waiter)?;
    Ok(step)
}

fn putting(waiter: &Ref<Waiter>, resumed: Resumed) -> Res<Step> {
    let this: This = owner(waiter)?;
    let replaced = overrides(&this)?;
    if let Resumed::Failed(error) = resumed {
        return put_failed(&this, replaced, waiter, error);
    }
    if is_full(&this, replaced)? {
        if this.is_shut_down.get() {
            return Err(super::raise_shut_down());
        }
        return wait(&this, &this.putters, waiter);
    }
    let Some(item) = waiter.take_value() else { return Ok(Step::Return(Obj::none())) };
    if replaced & over::PUT_NOWAIT != 0 {
        return this.as_obj().method1(&names::get().put_nowait, &item).map(Step::Return);
    }
    if replaced != 0 {
        // It asks `full()` again.
        put_now(&this, replaced, item)?;
    } else if this.is_shut_down.get() {
        return Err(super::raise_shut_down());
    } else {
        add(&this, replaced, item)?;
    }
    Ok(Step::Return(Obj::none()))
}

#[cold]
fn put_failed(this: &This, replaced: u32, waiter: &Ref<Waiter>, error: Obj) -> Res<Step> {
    this.putters.remove(waiter)?;
    if waiter.was_notified() && !is_full(this, replaced)? {
        wake_next(this, replaced, &this.putters)?;
    }
    Err(Raised::restore(error))
}

#[cold]
fn get_failed(this: &This, replaced: u32, waiter: &Ref<Waiter>, error: Obj) -> Res<Step> {
    this.getters.remove(waiter)?;
    if waiter.was_notified() && !is_empty(this, replaced)? {
        wake_next(this, replaced, &this.getters)?;
    }
    Err(Raised::restore(error))
}

/// There is a place, and nobody waits for the item.
fn put_at_once(waiter: &Waiter, owner: &Owner) -> Option<Obj> {
    let this: &This = owner.get()?;
    let free = is_plain(this)
        && this.storage.is_ours()
        && this.getters.is_empty()
        && !this.is_shut_down.get()
        && this.limit.leaves_place(this.storage.own_len());
    if !free {
        return None;
    }
    this.storage.put_own(waiter.take_value()?);
    this.note_unfinished();
    Some(Obj::none())
}

/// There is an item, and nobody waits for its place.
fn get_at_once(_waiter: &Waiter, owner: &Owner) -> Option<Obj> {
    let this: &This = owner.get()?;
    if is_plain(this) && this.storage.is_ours() && this.putters.is_empty() {
        this.storage.take_own()
    } else {
        None
    }
}

fn getting(waiter: &Ref<Waiter>, resumed: Resumed) -> Res<Step> {
    let this: This = owner(waiter)?;
    let replaced = overrides(&this)?;
    if let Resumed::Failed(error) = resumed {
        return get_failed(&this, replaced, waiter, error);
    }
    if is_empty(&this, replaced)? {
        if this.is_shut_down.get() {
            return Err(super::raise_shut_down());
        }
        return wait(&this, &this.getters, waiter);
    }
    if replaced & over::GET_NOWAIT != 0 {
        return this.as_obj().method0(&names::get().get_nowait).map(Step::Return);
    }
    let item = if replaced != 0 { get_now(&this, replaced) } else { remove(&this, replaced) };
    item.map(Step::Return)
}

fn joining(waiter: &Ref<Waiter>, resumed: Resumed) -> Res<Step> {
    let this: Ref<Queue> = owner(waiter)?;
    if matches!(resumed, Resumed::Started) && this.unfinished.get() <= 0 {
        return Ok(Step::Return(Obj::none()));
    }
    let step = Event::wait(&this.finished()?, waiter, resumed)?;
    Ok(step.unwrap_or_else(|| Step::Return(Obj::none())))
}
