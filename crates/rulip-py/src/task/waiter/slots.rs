//! The Python face of `Waiter`, and whose it is.

use std::cell::Cell;

use super::{Operation, State, Waiter};
use crate::ffi::arguments::Args;
use crate::ffi::native::Native;
use crate::ffi::send::{self, Awaitable, Step};
use crate::ffi::spec::TypeSpec;
use crate::ffi::trampoline::{fast, getter, noargs, onearg, unary};
use crate::ffi::{Obj, Raised, Ref, RefSlot, Res, Slot, value};
use crate::future::iter::thrown;
use crate::future::slots::cancel_message;

/// A coroutine of an operation that has not begun.
#[inline]
pub(crate) fn coroutine<T: Native>(
    operation: &'static Operation,
    owner: &Ref<T>,
    value: Option<Obj>,
) -> Res<Obj> {
    if !std::ptr::eq(operation.owner, T::type_cell()) {
        return Err(Raised::type_error("an operation of another type"));
    }
    let body = Waiter {
        operation: Cell::new(operation),
        owner: Slot::new(Some(owner.to_obj())),
        task: RefSlot::empty(),
        value: Slot::new(value),
        message: Slot::empty(),
        inner: Slot::empty(),
        phase: Cell::new(0),
        state: Cell::new(State::New),
        notified: Cell::new(false),
    };
    Ref::new(body).map(Ref::into_obj)
}

/// The primitive.
#[inline]
#[allow(unsafe_code, reason = "the operation says what its owner is")]
pub(crate) fn owner<T: Native>(waiter: &Waiter) -> Res<Ref<T>> {
    match waiter.owner.get() {
        Some(owner) if std::ptr::eq(waiter.operation.get().owner, T::type_cell()) => {
            // SAFETY: `coroutine` found the operation's type to be the owner's, and neither is
            // ever replaced.
            Ok(unsafe { Ref::from_obj_unchecked(owner) })
        }
        _ => Err(Raised::runtime_error("cannot reuse already awaited coroutine")),
    }
}

fn sent(step: Step) -> Res<Obj> {
    match step {
        Step::Yield(obj) => Ok(obj),
        Step::Return(value) => Err(send::stop_iteration(value)),
    }
}

pub(crate) fn build() -> Res<Obj> {
    TypeSpec::new::<Waiter>(
        c"rulip._rulip.Waiter",
        c"What the methods of locks and queues return: a coroutine.",
    )
    .not_callable()
    .slot(pyo3::ffi::Py_am_await, unary(|this: &Ref<Waiter>| Ok(this.to_obj())))
    .slot(pyo3::ffi::Py_tp_iter, unary(|this: &Ref<Waiter>| Ok(this.to_obj())))
    .slot(pyo3::ffi::Py_tp_iternext, send::iternext_slot::<Waiter>())
    .slot(pyo3::ffi::Py_am_send, send::send_slot::<Waiter>())
    .slot(
        pyo3::ffi::Py_tp_repr,
        unary(|this: &Ref<Waiter>| {
            if this.state.get() == State::Waiting {
                // In its task's repr() it stands where asyncio's has a future.
                return value::str("<Future pending cb=[Task.task_wakeup()]>");
            }
            let name = this.operation.get().qualname.to_string_lossy();
            value::str(&format!("<coroutine object {name} at {:p}>", this.as_obj().as_ptr()))
        }),
    )
    .methods([
        onearg(c"send", c"Advance; the value is ignored.", |this: &Ref<Waiter>, _: &Obj| {
            sent(Waiter::poll(this)?)
        }),
        fast(
            c"throw",
            c"Raise the exception at the await.",
            |this: &Ref<Waiter>, args: &Args<'_>| {
                let error = thrown(args).take();
                sent(this.throw(error)?)
            },
        ),
        noargs(c"close", c"End it.", |this: &Ref<Waiter>| this.close()),
        fast(c"cancel", c"Cancel the wait.", |this: &Ref<Waiter>, args: &Args<'_>| {
            Ok(Obj::bool(this.cancel(cancel_message(args)?)?))
        }),
        noargs(c"done", c"Return True if the wait is over.", |this: &Ref<Waiter>| {
            Ok(Obj::bool(this.is_done()?))
        }),
        noargs(c"cancelled", c"Return True if the wait was cancelled.", |this: &Ref<Waiter>| {
            Ok(Obj::bool(this.is_cancelled()?))
        }),
        onearg(c"set_result", c"Wake it; the value is ignored.", |this: &Ref<Waiter>, _: &Obj| {
            this.wake(Obj::none)?;
            Ok(Obj::none())
        }),
    ])
    .attributes([
        getter(c"__name__", c"The method's name.", |this: &Ref<Waiter>| {
            value::interned(this.operation.get().name)
        }),
        getter(c"__qualname__", c"The method's qualified name.", |this: &Ref<Waiter>| {
            value::interned(this.operation.get().qualname)
        }),
        getter(c"cr_await", c"What it awaits.", |this: &Ref<Waiter>| Ok(this.inner.get_or_none())),
        getter(c"cr_frame", c"None: it has no Python frame.", |_: &Ref<Waiter>| Ok(Obj::none())),
        getter(c"cr_running", c"Whether it runs.", |this: &Ref<Waiter>| {
            Ok(Obj::bool(this.state.get() == State::Running))
        }),
    ])
    .build(Waiter::type_cell())
}
