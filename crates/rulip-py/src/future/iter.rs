//! `iter(future)` and `future.__await__()`: an iterator with `send`, `throw` and `close`.
//!
//! `await` itself does without: a future is its own iterator there (`Awaitable`). This object is
//! for code that asks for an iterator by name and drives it by hand.

use std::ffi::c_int;

use pyo3::ffi as c;

use super::Future;
use crate::ffi::arguments::Args;
use crate::ffi::native::{Native, TypeCell};
use crate::ffi::send::{self, Awaitable, Step};
use crate::ffi::slot::Visit;
use crate::ffi::spec::TypeSpec;
use crate::ffi::trampoline::{fast, noargs, onearg, unary};
use crate::ffi::{Obj, Raised, Ref, RefSlot, Res, value};
use crate::imports;

/// The body of `_rulip.FutureIter`.
pub(crate) struct FutureIter {
    future: RefSlot<Future>,
}

static TYPE: TypeCell = TypeCell::new();

// SAFETY: the one reference held is visited.
#[allow(unsafe_code, reason = "a promise about the layout or the collector, no operation")]
unsafe impl Native for FutureIter {
    fn type_cell() -> &'static TypeCell {
        &TYPE
    }

    fn traverse(&self, visit: &Visit) -> Result<(), c_int> {
        self.future.visit(visit)
    }

    fn clear(&self) {
        self.future.set(None);
    }
}

impl Awaitable for FutureIter {
    fn poll(this: &Ref<Self>) -> Res<Step> {
        match this.future.get() {
            None => Ok(Step::Return(Obj::none())),
            Some(future) => {
                let step = Future::poll(&future);
                if !matches!(step, Ok(Step::Yield(_))) {
                    this.future.set(None);
                }
                step
            }
        }
    }
}

/// An iterator over a future.
pub(super) fn over(future: &Ref<Future>) -> Res<Obj> {
    future.ensure_initialised()?;
    Ref::new(FutureIter { future: RefSlot::new(Some(future.clone())) }).map(Ref::into_obj)
}

pub(crate) fn build() -> Res<Obj> {
    TypeSpec::new::<FutureIter>(
        c"rulip._rulip.FutureIter",
        c"Iterates over a future, as await does.",
    )
    .not_callable()
    .slot(c::Py_tp_iter, unary(|this: &Ref<FutureIter>| Ok(this.to_obj())))
    .slot(c::Py_tp_iternext, send::iternext_slot::<FutureIter>())
    .slot(c::Py_am_send, send::send_slot::<FutureIter>())
    .methods([
        onearg(c"send", c"Advance; the value is ignored.", |this: &Ref<FutureIter>, _: &Obj| {
            match FutureIter::poll(this)? {
                Step::Yield(obj) => Ok(obj),
                Step::Return(value) => Err(send::stop_iteration(value)),
            }
        }),
        fast(c"throw", c"Raise the exception here.", throw),
        noargs(c"close", c"Let go of the future.", |this: &Ref<FutureIter>| {
            this.future.set(None);
            Ok(Obj::none())
        }),
    ])
    .build(FutureIter::type_cell())
}

fn throw(this: &Ref<FutureIter>, args: &Args<'_>) -> Res<Obj> {
    let raised = thrown(args);
    this.future.set(None);
    Err(raised)
}

/// The exception of a `throw(type[, value[, traceback]])` call, raised.
pub(crate) fn thrown(args: &Args<'_>) -> Raised {
    let Some(kind) = args.positional().first() else {
        return Raised::type_error("throw() takes at least 1 argument");
    };
    if cfg!(Py_3_12) && args.positional().len() > 1 {
        let warned = value::str(
            "the (type, exc, tb) signature of throw() is deprecated, use the single-arg signature instead.",
        )
        .and_then(|text| {
            imports::get().warn.call(&[
                &text,
                &imports::get().deprecation_warning,
                &value::int(1)?,
            ])
        });
        if let Err(raised) = warned {
            return raised;
        }
    }
    let value = args.positional().get(1).filter(|value| !value.is_none());
    let traceback = args.positional().get(2).filter(|traceback| !traceback.is_none());
    if traceback.is_some_and(|traceback| !traceback.is_traceback()) {
        return Raised::type_error("throw() third argument must be a traceback object");
    }
    let exc = if kind.is_exception_class() {
        let made = match value {
            Some(value) if value.is_exception_instance() => Ok(value.clone()),
            Some(value) => kind.call1(value),
            None => kind.call0(),
        };
        match made {
            Ok(exc) => exc,
            Err(raised) => return raised,
        }
    } else if kind.is_exception_instance() {
        if value.is_some() {
            return Raised::type_error("instance exception may not have a separate value");
        }
        kind.clone()
    } else {
        return Raised::type_error(
            "exceptions must be classes deriving BaseException or instances of such a class",
        );
    };
    if traceback.is_some() {
        exc.set_traceback(traceback);
    }
    Raised::from_exception(&exc)
}
