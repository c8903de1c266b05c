//! The Python face of `Waiter`, and whose it is.

use std::cell::Cell;
use std::ffi::CStr;

use super::{Operation, Owner, State, Waiter};
use crate::coroutine::{self, Coroutine};
use crate::ffi::native::Native;
use crate::ffi::send::Step;
use crate::ffi::spec::TypeSpec;
use crate::ffi::trampoline::{onearg, unary};
use crate::ffi::{Obj, Raised, Ref, RefSlot, Res, Slot, value};
use crate::future::Future;
use crate::task::{PassesForFuture, as_a_future};

/// A coroutine of an operation that has not begun.
#[inline(always)]
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
    Ref::renew(body).map(Ref::into_obj)
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
        _ => Err(coroutine::reused()),
    }
}

impl Owner {
    /// The primitive, for an operation's short way.
    #[inline(always)]
    #[allow(unsafe_code, reason = "the operation says what its owner is")]
    pub(crate) fn get<T: Native>(&self) -> Option<&Ref<T>> {
        // SAFETY: as in `owner`; a Ref is a transparent Obj.
        std::ptr::eq(self.operation.owner, T::type_cell())
            .then(|| unsafe { &*std::ptr::from_ref(&self.obj).cast::<Ref<T>>() })
    }
}

impl Coroutine for Waiter {
    fn name(&self) -> &'static CStr {
        self.operation.get().name
    }

    fn is_spent(&self) -> bool {
        self.state.get() == State::Spent
    }

    fn close(this: &Ref<Self>) -> Res<()> {
        this.close()
    }

    fn throw(this: &Ref<Self>, exc: &Obj) -> Res<Step> {
        this.throw(exc.clone())
    }

    fn awaited(&self) -> Option<Obj> {
        self.inner.get()
    }

    fn is_running(&self) -> bool {
        self.state.get() == State::Running
    }
}

impl PassesForFuture for Waiter {
    fn cancel_wait(this: &Ref<Self>, message: Option<Obj>) -> Res<bool> {
        this.cancel(message)
    }

    fn is_over(this: &Ref<Self>) -> Res<bool> {
        this.is_done()
    }

    fn was_cancelled(this: &Ref<Self>) -> Res<bool> {
        this.is_cancelled()
    }

    fn has_task(this: &Ref<Self>) -> bool {
        match this.state.get() {
            State::Waiting | State::Woken | State::Cancelled => true,
            State::Delegated => this.task.is_set(),
            _ => false,
        }
    }

    fn is_held_by_hand(this: &Ref<Self>) -> bool {
        Self::has_task(this) && this.task.get().is_some_and(|task| !task.waits_for(this.as_obj()))
    }

    fn stand_in(this: &Ref<Self>) -> Option<Obj> {
        if this.state.get() == State::Delegated { this.inner.get() } else { None }
    }

    fn into_future(this: &Ref<Self>) -> Res<Option<Ref<Future>>> {
        this.make_stand_in()
    }
}

pub(crate) fn build() -> Res<Obj> {
    as_a_future::<Waiter>(coroutine::faced::<Waiter>(TypeSpec::new::<Waiter>(
        c"rulip._rulip.Waiter",
        c"What the methods of locks and queues return: a coroutine.",
    )))
    .slot(
        pyo3::ffi::Py_tp_repr,
        unary(|this: &Ref<Waiter>| {
            if this.state.get() == State::Waiting {
                // In its task's repr() it stands where asyncio's has a future.
                return value::str("<Future pending cb=[Task.task_wakeup()]>");
            }
            let name = this.name().to_string_lossy();
            value::str(&format!("<coroutine object {name} at {:p}>", this.as_obj().as_ptr()))
        }),
    )
    .methods([onearg(
        c"set_result",
        c"Wake it; the value is ignored.",
        |this: &Ref<Waiter>, _: &Obj| {
            this.wake(Obj::none)?;
            Ok(Obj::none())
        },
    )])
    .build(Waiter::type_cell())
}
