//! How a native wait looks in `task._fut_waiter`, where asyncio has a future.
//!
//! Frameworks look there: whether a task's wait is over, or was cancelled, decides who gets what was sent to
//! it. Any attached thread. Invariant: only while a task waits in it does it pass for a future; before
//! that it is a coroutine and nothing else, and `asyncio.isfuture()` is never true of it.

use crate::ffi::arguments::Args;
use crate::ffi::native::Native;
use crate::ffi::spec::TypeSpec;
use crate::ffi::trampoline::{fast, getter, noargs};
use crate::ffi::{Obj, Ref, Res};
use crate::future::Future;
use crate::future::slots::cancel_message;

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
        getter(
            c"_asyncio_future_blocking",
            c"None: it cannot be awaited as a future.",
            |_: &Ref<T>| Ok(Obj::none()),
        ),
    ])
}
