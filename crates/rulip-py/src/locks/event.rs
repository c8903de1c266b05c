//! `Event`: a flag to wait for. Owner thread.

use std::cell::Cell;
use std::ffi::c_int;

use pyo3::ffi as c;

use super::lock::count;
use super::loop_bound::{self, Bound, LoopBound, described, get_loop};
use super::waiters::{self, Waiters};
use crate::ffi::native::{Native, TypeCell, allocate};
use crate::ffi::object::Attached;
use crate::ffi::overrides::Overridable;
use crate::ffi::send::Step;
use crate::ffi::slot::Visit;
use crate::ffi::spec::public_class;
use crate::ffi::trampoline::{init, new, noargs, property, unary};
use crate::ffi::{Obj, Raised, Ref, Res, value};
use crate::task::waiter::slots::{coroutine, owner};
use crate::task::waiter::{Operation, Owner, Resumed, Waiter};
use crate::{imports, names};

/// The body of `_rulip.Event`.
pub(crate) struct Event {
    bound: LoopBound,
    waiters: Waiters,
    value: Cell<bool>,
}

static TYPE: TypeCell = TypeCell::new();
static PUBLIC: TypeCell = TypeCell::new();
static OVERRIDABLE: Attached<Overridable> = Attached::new();

static WAITING: Operation = Operation {
    owner: &TYPE,
    name: c"Event.wait",
    resume: Event::waiting,
    at_once: Event::wait_at_once,
};

// SAFETY: every reference held is visited.
#[allow(unsafe_code, reason = "a promise about the layout or the collector, no operation")]
unsafe impl Native for Event {
    fn type_cell() -> &'static TypeCell {
        &TYPE
    }

    fn traverse(&self, visit: &Visit) -> Result<(), c_int> {
        self.bound.visit(visit)?;
        self.waiters.visit(visit)
    }

    fn clear(&self) {
        self.bound.clear();
        self.waiters.reset(false);
    }

    fn weakrefs(&self) -> *mut c::PyObject {
        self.bound.weakrefs()
    }

    fn unlink(&self, _me: *mut c::PyObject) {
        self.bound.drop_dict();
    }
}

impl Bound for Event {
    const BOUND_AT: usize = std::mem::offset_of!(Self, bound);

    #[inline]
    fn bound(&self) -> &LoopBound {
        &self.bound
    }

    fn overridable() -> &'static Overridable {
        OVERRIDABLE.get()
    }
}

type This = Ref<Event>;

impl Event {
    fn blank() -> Self {
        Self {
            bound: LoopBound::new(),
            waiters: Waiters::new(|| Obj::bool(true)),
            value: Cell::new(false),
        }
    }

    /// A new `rulip.Event`, set or not.
    pub(crate) fn make(set: bool) -> Res<This> {
        let made = PUBLIC.obj().call0()?;
        let Some(this) = This::try_from_obj(made) else {
            return Err(Raised::type_error("Event() made no event"));
        };
        this.value.set(set);
        Ok(this)
    }

    /// `event.set()`.
    pub(crate) fn set(this: &This) -> Res<()> {
        if this.value.replace(true) {
            return Ok(());
        }
        let mut place = 0;
        while let Some(waiter) = this.waiters.get(place)? {
            if !waiters::is_done(&waiter)? {
                this.waiters.wake(&waiter)?;
            }
            place += 1;
        }
        Ok(())
    }

    /// `event.clear()`.
    pub(crate) fn unset(&self) {
        self.value.set(false);
    }

    /// One step of a wait, for whichever operation: nothing, where there is nothing to wait for any more.
    pub(crate) fn wait(this: &This, waiter: &Ref<Waiter>, resumed: Resumed) -> Res<Option<Step>> {
        match resumed {
            Resumed::Started => {
                if this.value.get() {
                    return Ok(None);
                }
                let step = waiter.suspend(&get_loop(this)?)?;
                this.waiters.push(waiter)?;
                Ok(Some(step))
            }
            Resumed::Woken | Resumed::Returned(_) => {
                this.waiters.remove(waiter)?;
                Ok(None)
            }
            Resumed::Failed(error) => {
                this.waiters.remove(waiter)?;
                Err(Raised::restore(error))
            }
        }
    }

    /// It is set.
    fn wait_at_once(_waiter: &Waiter, owner: &Owner) -> Option<Obj> {
        let this: &This = owner.get()?;
        this.value.get().then(|| Obj::bool(true))
    }

    fn waiting(waiter: &Ref<Waiter>, resumed: Resumed) -> Res<Step> {
        let this: This = owner(waiter)?;
        let step = Self::wait(&this, waiter, resumed)?;
        Ok(step.unwrap_or_else(|| Step::Return(Obj::bool(true))))
    }

    fn repr(this: &This) -> Res<Obj> {
        let base = described(this, &PUBLIC, "asyncio.locks.Event")?;
        let state = if this.value.get() { "set" } else { "unset" };
        value::str(&format!("<{base} [{state}{}]>", count(&this.waiters)?))
    }
}

pub(super) fn build() -> Res<Obj> {
    let native = loop_bound::spec::<Event>(
        c"rulip._rulip.Event",
        c"Event()\n--\n\nA flag that tasks wait for (mirrors asyncio.Event).",
    )
    .slot(c::Py_tp_new, new(|kind, _args, _kwargs| allocate(kind, Event::blank())))
    .slot(
        c::Py_tp_init,
        init(|this: &This, args: &Obj, kwargs: Option<&Obj>| {
            loop_bound::no_arguments("Event.__init__", args, kwargs)?;
            this.waiters.reset(false);
            this.value.set(false);
            Ok(())
        }),
    )
    .slot(c::Py_tp_repr, unary(Event::repr))
    .methods([
        noargs(c"is_set", c"Return True if the flag is set.", |this: &This| {
            Ok(Obj::bool(this.value.get()))
        }),
        noargs(c"set", c"Set the flag, and wake all that wait for it.", |this: &This| {
            Event::set(this)?;
            Ok(Obj::none())
        }),
        noargs(c"clear", c"Reset the flag.", |this: &This| {
            this.unset();
            Ok(Obj::none())
        }),
        noargs(c"wait", c"Wait until the flag is set; return True.", |this: &This| {
            coroutine(&WAITING, this, None)
        }),
        noargs(c"__getstate__", c"For copying.", |this: &This| {
            loop_bound::state(this, &["_waiters", "_value"])
        }),
    ])
    .attributes([
        property(
            c"_value",
            c"Whether the flag is set.",
            |this: &This| Ok(Obj::bool(this.value.get())),
            |this: &This, value: Option<&Obj>| {
                this.value.set(loop_bound::required(value)?.is_true()?);
                Ok(())
            },
        ),
        property(
            c"_waiters",
            c"Who waits.",
            |this: &This| this.waiters.show(),
            |this: &This, value: Option<&Obj>| {
                this.waiters.replace(loop_bound::required(value)?);
                Ok(())
            },
        ),
    ])
    .build(&TYPE)?;
    let public =
        public_class("Event", &[&native, &imports::get().event_class], Some(&TYPE), &PUBLIC)?;
    OVERRIDABLE.set(Overridable::of(&PUBLIC, &[&names::get().get_loop_private])?);
    Ok(public)
}
