//! How a native wait looks in `task._fut_waiter`, or to who sent into it by hand, where asyncio has a future.
//!
//! Frameworks look there: whether a task's wait is over, or was cancelled, decides who gets what was sent to
//! it. Any attached thread. Invariant: only while it waits does it pass for a future; before that it is
//! a coroutine and nothing else. `asyncio.isfuture()` is true of it only while nobody but who sent into it
//! knows of it; who asks for more than how it stands gets a future's own answers, from then on.

use std::ffi::CStr;

use super::builtin;
use crate::ffi::arguments::Args;
use crate::ffi::native::Native;
use crate::ffi::spec::TypeSpec;
use crate::ffi::trampoline::{fast, getter, noargs, property};
use crate::ffi::{Obj, Raised, Ref, Res, value};
use crate::future::Future;
use crate::future::slots::cancel_message;
use crate::names;

/// What a native task can wait in.
pub(crate) trait PassesForFuture: Native {
    /// `cancel(msg)`: whether somebody waited.
    fn cancel_wait(this: &Ref<Self>, message: Option<Obj>) -> Res<bool>;
    /// `done()`
    fn is_over(this: &Ref<Self>) -> Res<bool>;
    /// `cancelled()`
    fn was_cancelled(this: &Ref<Self>) -> Res<bool>;
    /// Whether a task is in it, woken or not.
    fn has_task(this: &Ref<Self>) -> bool;
    /// Whether that task, which sent into it, waits for something else, or for nothing yet.
    fn is_held_by_hand(this: &Ref<Self>) -> bool;
    /// The future that has taken its place.
    fn stand_in(this: &Ref<Self>) -> Option<Obj>;
    /// The future that takes its place from now on; none while it does not wait.
    fn into_future(this: &Ref<Self>) -> Res<Option<Ref<Future>>>;
}

/// A future's method of that name.
fn of_future<T: PassesForFuture>(this: &Ref<T>, name: &'static CStr) -> Res<Obj> {
    let future = match T::stand_in(this) {
        Some(future) => Some(future),
        None => T::into_future(this)?.map(Ref::into_obj),
    };
    match future {
        Some(future) => future.attr(&value::interned(name)?),
        None => Err(no_future(name)),
    }
}

#[cold]
fn no_future(name: &CStr) -> Raised {
    match builtin("AttributeError") {
        Ok(error) => Raised::new(&error, &name.to_string_lossy()),
        Err(raised) => raised,
    }
}

fn set_blocking<T: PassesForFuture>(this: &Ref<T>, value: Option<&Obj>) -> Res<()> {
    let future = match T::stand_in(this) {
        Some(future) => Some(future),
        None => T::into_future(this)?.map(Ref::into_obj),
    };
    match (future, value) {
        (Some(future), Some(value)) => {
            future.set_attr(&names::get().asyncio_future_blocking, value)
        }
        _ => Err(no_future(c"_asyncio_future_blocking")),
    }
}

/// Adds what frameworks ask of a future.
pub(crate) fn as_a_future<T: PassesForFuture>(spec: TypeSpec) -> TypeSpec {
    spec.methods([
        fast(c"cancel", c"Cancel the wait.", |this: &Ref<T>, args: &Args<'_>| {
            T::cancel_wait(this, cancel_message(args)?).map(Obj::bool)
        }),
        noargs(c"done", c"Return True if the wait is over.", |this: &Ref<T>| {
            T::is_over(this).map(Obj::bool)
        }),
        noargs(c"cancelled", c"Return True if the wait was cancelled.", |this: &Ref<T>| {
            T::was_cancelled(this).map(Obj::bool)
        }),
    ])
    .attributes([
        getter(
            c"__class__",
            c"The class of futures, while a task waits in it.",
            |this: &Ref<T>| {
                let future = T::has_task(this);
                Ok(if future { Future::type_cell().obj() } else { this.as_obj().type_obj() })
            },
        ),
        property(
            c"_asyncio_future_blocking",
            c"A future's, for who sent into it by hand; else None: it cannot be awaited as one.",
            |this: &Ref<T>| match T::stand_in(this) {
                Some(future) => future.attr(&names::get().asyncio_future_blocking),
                None if T::is_held_by_hand(this) => Ok(Obj::bool(true)),
                None => Ok(Obj::none()),
            },
            set_blocking,
        ),
        getter(c"add_done_callback", c"A future's, while it waits.", |this: &Ref<T>| {
            of_future(this, c"add_done_callback")
        }),
        getter(c"remove_done_callback", c"A future's, while it waits.", |this: &Ref<T>| {
            of_future(this, c"remove_done_callback")
        }),
        getter(c"get_loop", c"A future's, while it waits.", |this: &Ref<T>| {
            of_future(this, c"get_loop")
        }),
        getter(c"result", c"A future's, while it waits.", |this: &Ref<T>| {
            of_future(this, c"result")
        }),
        getter(c"exception", c"A future's, while it waits.", |this: &Ref<T>| {
            of_future(this, c"exception")
        }),
    ])
}
