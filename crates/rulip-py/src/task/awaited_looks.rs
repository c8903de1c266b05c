//! How a native wait looks in `task._fut_waiter`, where asyncio has a future.
//!
//! Frameworks look there: whether a task's wait is over, or was cancelled, decides who gets what was sent to
//! it. Any attached thread. Invariant: only while a task waits in it does it pass for a future; before
//! that it is a coroutine and nothing else, and `asyncio.isfuture()` is never true of it.

use pyo3::ffi as c;

use crate::ffi::native::Native;
use crate::ffi::trampoline::getter;
use crate::ffi::{Obj, Ref};
use crate::future::Future;

/// The attributes of a type whose instances wait as `waits` says.
pub(crate) fn as_a_future<T: Native, W>(waits: W) -> [c::PyGetSetDef; 2]
where
    W: Fn(&Ref<T>) -> bool + Copy,
{
    [
        getter(
            c"__class__",
            c"The class of futures, while a task waits in it.",
            move |this: &Ref<T>| {
                Ok(if waits(this) { Future::type_cell().obj() } else { this.as_obj().type_obj() })
            },
        ),
        getter(
            c"_asyncio_future_blocking",
            c"None: it cannot be awaited as a future.",
            |_: &Ref<T>| Ok(Obj::none()),
        ),
    ]
}
