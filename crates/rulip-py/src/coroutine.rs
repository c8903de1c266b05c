//! The face of native coroutines: what `async def` gives a function of Python's, for ours.
//!
//! Here: `send`, `throw`, `close`, the `cr_*` attributes, the slots that `await` uses, and the warning
//! about one that is never awaited. Not here: what a coroutine does. Owner thread.

use std::ffi::CStr;

use pyo3::ffi as c;

use crate::ffi::arguments::Args;
use crate::ffi::send::{self, Awaitable, Step};
use crate::ffi::spec::TypeSpec;
use crate::ffi::trampoline::{fast, getter, noargs, onearg, unary};
use crate::ffi::{Obj, Raised, Ref, Res, value};
use crate::future::iter::thrown;
use crate::imports;

/// A native coroutine.
pub(crate) trait Coroutine: Awaitable {
    /// Its qualified name.
    fn name(&self) -> &'static CStr;

    /// At its end, whichever that was.
    fn is_spent(&self) -> bool;

    /// `close()`: it lets go of what it waits for, and is at its end.
    fn close(this: &Ref<Self>) -> Res<()>;

    /// `throw(exc)` before its end.
    fn throw(this: &Ref<Self>, exc: &Obj) -> Res<Step> {
        Self::close(this)?;
        Err(Raised::restore(exc.clone()))
    }

    /// What it awaits.
    fn awaited(&self) -> Option<Obj> {
        None
    }

    fn is_running(&self) -> bool {
        false
    }
}

/// Adds the face to a type.
pub(crate) fn faced<T: Coroutine>(spec: TypeSpec) -> TypeSpec {
    spec.not_callable()
        .slot(c::Py_am_await, unary(|this: &Ref<T>| Ok(this.to_obj())))
        .slot(c::Py_tp_iter, unary(|this: &Ref<T>| Ok(this.to_obj())))
        .slot(c::Py_tp_iternext, send::iternext_slot::<T>())
        .slot(c::Py_am_send, send::send_slot::<T>())
        .methods([
            onearg(c"send", c"Advance; the value is ignored.", |this: &Ref<T>, _: &Obj| {
                handed_on(T::poll(this))
            }),
            fast(
                c"throw",
                c"Raise the exception at the await.",
                |this: &Ref<T>, args: &Args<'_>| {
                    let exc = thrown(args).take();
                    if this.is_spent() {
                        return Err(reused());
                    }
                    handed_on(T::throw(this, &exc))
                },
            ),
            noargs(c"close", c"End it.", |this: &Ref<T>| {
                T::close(this)?;
                Ok(Obj::none())
            }),
        ])
        .attributes([
            getter(c"__name__", c"The coroutine's name.", |this: &Ref<T>| {
                let name = this.name().to_string_lossy();
                value::str(name.rsplit('.').next().unwrap_or_default())
            }),
            getter(c"__qualname__", c"The coroutine's full name.", |this: &Ref<T>| {
                value::str(&this.name().to_string_lossy())
            }),
            getter(c"cr_await", c"What it waits for.", |this: &Ref<T>| {
                Ok(this.awaited().unwrap_or_else(Obj::none))
            }),
            getter(c"cr_frame", c"None: it has no Python frame.", |_: &Ref<T>| Ok(Obj::none())),
            getter(c"cr_running", c"Whether it runs.", |this: &Ref<T>| {
                Ok(Obj::bool(this.is_running()))
            }),
        ])
}

fn handed_on(step: Res<Step>) -> Res<Obj> {
    match step? {
        Step::Yield(obj) => Ok(obj),
        Step::Return(value) => Err(send::stop_iteration(value)),
    }
}

/// Awaited once more.
#[cold]
pub(crate) fn reused() -> Raised {
    Raised::runtime_error("cannot reuse already awaited coroutine")
}

/// Advanced by itself.
#[cold]
pub(crate) fn busy() -> Raised {
    Raised::value_error("coroutine already executing")
}

/// Warns about a coroutine that was dropped without being awaited.
#[cold]
pub(crate) fn never_awaited<T: Coroutine>(this: &Ref<T>) {
    let text = format!("coroutine '{}' was never awaited", this.name().to_string_lossy());
    let warned = value::str(&text).and_then(|text| {
        let category = crate::task::builtin("RuntimeWarning")?;
        imports::get().warn.call(&[&text, &category])
    });
    if let Err(raised) = warned {
        raised.write_unraisable(this.as_obj());
    }
}
