//! `Barrier`: tasks wait until there are enough of them, then all go on.
//!
//! Everything happens with the lock of a `Condition` held. Owner thread.
//!
//! | state | meaning | who arrives |
//! |---|---|---|
//! | filling | waiting for the parties | joins, or completes the barrier |
//! | draining | complete: those within leave | waits until they have left |
//! | resetting | was reset: those within leave with an error | the same |
//! | broken | was aborted | gets an error |
//!
//! Invariant: a task counts from its arrival to its departure, however it departs.

use std::cell::Cell;
use std::ffi::c_int;

use pyo3::ffi as c;

use super::condition::Condition;
use super::loop_bound::{self, Bound, LoopBound, described, overrides};
use crate::ffi::arguments::Args;
use crate::ffi::native::{Native, TypeCell, allocate};
use crate::ffi::object::Attached;
use crate::ffi::overrides::Overridable;
use crate::ffi::send::Step;
use crate::ffi::slot::Visit;
use crate::ffi::spec::public_class;
use crate::ffi::trampoline::{fast, getter, init, new, noargs, property, unary};
use crate::ffi::value::{Comparison, compare};
use crate::ffi::{Obj, Raised, Ref, RefSlot, Res, Slot, value};
use crate::task::waiter::slots::{coroutine, owner};
use crate::task::waiter::{Awaited, Operation, Resumed, Waiter, never};
use crate::{imports, names};

#[derive(Copy, Clone, PartialEq, Eq, Debug)]
enum State {
    Filling,
    Draining,
    Resetting,
    Broken,
}

impl State {
    const ALL: [Self; 4] = [Self::Filling, Self::Draining, Self::Resetting, Self::Broken];

    fn text(self) -> &'static str {
        match self {
            Self::Filling => "filling",
            Self::Draining => "draining",
            Self::Resetting => "resetting",
            Self::Broken => "broken",
        }
    }
}

/// The body of `_rulip.Barrier`.
pub(crate) struct Barrier {
    bound: LoopBound,
    condition: RefSlot<Condition>,
    parties: Slot,
    count: Cell<i64>,
    state: Cell<State>,
}

static TYPE: TypeCell = TypeCell::new();
static PUBLIC: TypeCell = TypeCell::new();
static OVERRIDABLE: Attached<Overridable> = Attached::new();

/// Bits of the overrides, after `_get_loop`'s.
const WAIT: u32 = 1 << 1;

/// Phases of a wait.
const LOCKING: u32 = 0;
const BLOCKED: u32 = 1;
const INSIDE: u32 = 2;
/// Within `__aenter__`, an overridden `wait()`.
const ELSEWHERE: u32 = 3;

static WAITING: Operation =
    Operation { owner: &TYPE, name: c"Barrier.wait", resume: Barrier::waiting, at_once: never };
static ENTERING: Operation = Operation {
    owner: &TYPE,
    name: c"Barrier.__aenter__",
    resume: Barrier::waiting,
    at_once: never,
};
static LEAVING: Operation = Operation {
    owner: &TYPE,
    name: c"Barrier.__aexit__",
    resume: Barrier::leaving,
    at_once: never,
};
static RESETTING: Operation =
    Operation { owner: &TYPE, name: c"Barrier.reset", resume: Barrier::changing, at_once: never };
static ABORTING: Operation =
    Operation { owner: &TYPE, name: c"Barrier.abort", resume: Barrier::changing, at_once: never };

// SAFETY: every reference held is visited.
#[allow(unsafe_code, reason = "a promise about the layout or the collector, no operation")]
unsafe impl Native for Barrier {
    fn type_cell() -> &'static TypeCell {
        &TYPE
    }

    fn traverse(&self, visit: &Visit) -> Result<(), c_int> {
        self.bound.visit(visit)?;
        self.condition.visit(visit)?;
        self.parties.visit(visit)
    }

    fn clear(&self) {
        self.bound.clear();
        drop(self.condition.take());
        drop(self.parties.take());
    }

    fn weakrefs(&self) -> *mut c::PyObject {
        self.bound.weakrefs()
    }

    fn unlink(&self, _me: *mut c::PyObject) {
        self.bound.drop_dict();
    }
}

impl Bound for Barrier {
    const BOUND_AT: usize = std::mem::offset_of!(Self, bound);

    fn bound(&self) -> &LoopBound {
        &self.bound
    }

    fn overridable() -> &'static Overridable {
        OVERRIDABLE.get()
    }
}

type This = Ref<Barrier>;

impl Barrier {
    fn blank() -> Self {
        Self {
            bound: LoopBound::new(),
            condition: RefSlot::empty(),
            parties: Slot::empty(),
            count: Cell::new(0),
            state: Cell::new(State::Filling),
        }
    }

    fn initialise(this: &This, args: &Obj, kwargs: Option<&Obj>) -> Res<()> {
        let given = loop_bound::only_argument("Barrier.__init__", c"parties", args, kwargs)?;
        let Some(parties) = given else {
            let text = "Barrier.__init__() missing 1 required positional argument: 'parties'";
            return Err(Raised::type_error(text));
        };
        if compare(&parties, &value::int(1)?, Comparison::Less)? {
            // asyncio's own knows this version's words.
            imports::get().barrier_class.call1(&parties)?;
        }
        this.condition.set(Some(Condition::make()?));
        this.parties.set(Some(parties));
        this.state.set(State::Filling);
        this.count.set(0);
        Ok(())
    }

    fn condition(&self) -> Res<Ref<Condition>> {
        self.condition.get().ok_or_else(|| Raised::runtime_error("Barrier is not initialized."))
    }

    /// `async with self._cond`: one attempt.
    fn lock(&self, waiter: &Ref<Waiter>) -> Res<Awaited> {
        let entering = self.condition()?.as_obj().method0(&names::get().acquire)?;
        waiter.await_on(&entering)
    }

    fn unlock(&self) -> Res<()> {
        self.condition()?.as_obj().method0(&names::get().release).map(drop)
    }

    /// The end of a wait: the lock is released, whatever else.
    fn conclude(&self, result: Res<Step>) -> Res<Step> {
        match result {
            Ok(step) => self.unlock().map(|()| step),
            Err(raised) => {
                let error = raised.take();
                self.unlock()?;
                Err(Raised::restore(error))
            }
        }
    }

    fn waiting(waiter: &Ref<Waiter>, resumed: Resumed) -> Res<Step> {
        let this: This = owner(waiter)?;
        match (waiter.phase(), resumed) {
            (LOCKING, Resumed::Started) => {
                if waiter.is(&ENTERING) && overrides(&this)? & WAIT != 0 {
                    waiter.set_phase(ELSEWHERE);
                    let wait = this.as_obj().method0(&names::get().wait)?;
                    let awaited = waiter.await_on(&wait)?;
                    return ended(awaited);
                }
                match this.lock(waiter)? {
                    Awaited::Pending(yielded) => Ok(Step::Yield(yielded)),
                    Awaited::Done(Resumed::Failed(error)) => Err(Raised::restore(error)),
                    Awaited::Done(_) => Self::block(&this, waiter),
                }
            }
            (LOCKING, Resumed::Failed(error)) => Err(Raised::restore(error)),
            (LOCKING, _) => Self::block(&this, waiter),
            (BLOCKED, Resumed::Failed(error)) => this.conclude(Err(Raised::restore(error))),
            (BLOCKED, _) => Self::block(&this, waiter),
            (INSIDE, Resumed::Failed(error)) => Self::depart(&this, Err(Raised::restore(error))),
            (INSIDE, _) => Self::stay(&this, waiter),
            (_, resumed) => ended(Awaited::Done(resumed)),
        }
    }

    /// Until those of the last round have left.
    fn block(this: &This, waiter: &Ref<Waiter>) -> Res<Step> {
        waiter.set_phase(BLOCKED);
        while matches!(this.state.get(), State::Draining | State::Resetting) {
            match this.wait_once(waiter) {
                Ok(Awaited::Pending(yielded)) => return Ok(Step::Yield(yielded)),
                Ok(Awaited::Done(Resumed::Failed(error))) => {
                    return this.conclude(Err(Raised::restore(error)));
                }
                Ok(Awaited::Done(_)) => {}
                Err(raised) => return this.conclude(Err(raised)),
            }
        }
        if this.state.get() == State::Broken {
            return this.conclude(Err(broken("Barrier aborted")));
        }
        Self::arrive(this, waiter)
    }

    fn wait_once(&self, waiter: &Ref<Waiter>) -> Res<Awaited> {
        let wait = Condition::wait(&self.condition()?)?;
        waiter.await_on(&wait)
    }

    fn arrive(this: &This, waiter: &Ref<Waiter>) -> Res<Step> {
        let index = this.count.get();
        this.count.set(index + 1);
        waiter.set_phase(INSIDE);
        waiter.set_value(Some(value::int(index)?));
        let complete = match this.parties.get() {
            Some(parties) => value::int(index + 1)?.equals(&parties),
            None => Ok(true),
        };
        match complete {
            Ok(false) => Self::stay(this, waiter),
            Ok(true) => {
                this.state.set(State::Draining);
                let told = this.condition().and_then(|condition| Condition::notify_all(&condition));
                Self::depart(this, told.map(|()| returned(waiter)))
            }
            Err(raised) => Self::depart(this, Err(raised)),
        }
    }

    /// Until the barrier is complete.
    fn stay(this: &This, waiter: &Ref<Waiter>) -> Res<Step> {
        while this.state.get() == State::Filling {
            match this.wait_once(waiter) {
                Ok(Awaited::Pending(yielded)) => return Ok(Step::Yield(yielded)),
                Ok(Awaited::Done(Resumed::Failed(error))) => {
                    return Self::depart(this, Err(Raised::restore(error)));
                }
                Ok(Awaited::Done(_)) => {}
                Err(raised) => return Self::depart(this, Err(raised)),
            }
        }
        if matches!(this.state.get(), State::Broken | State::Resetting) {
            return Self::depart(this, Err(broken("Abort or reset of barrier")));
        }
        Self::depart(this, Ok(returned(waiter)))
    }

    /// The last to leave lets the next round begin.
    fn depart(this: &This, result: Res<Step>) -> Res<Step> {
        let (step, error) = match result {
            Ok(step) => (Some(step), None),
            Err(raised) => (None, Some(raised.take())),
        };
        this.count.set(this.count.get() - 1);
        let mut told = Ok(());
        if this.count.get() == 0 {
            if matches!(this.state.get(), State::Resetting | State::Draining) {
                this.state.set(State::Filling);
            }
            told = this.condition().and_then(|condition| Condition::notify_all(&condition));
        }
        let result = match (told, error, step) {
            (Err(raised), _, _) => Err(raised),
            (Ok(()), Some(error), _) => Err(Raised::restore(error)),
            (Ok(()), None, step) => Ok(step.unwrap_or_else(|| Step::Return(Obj::none()))),
        };
        this.conclude(result)
    }

    /// `reset()` and `abort()`.
    fn changing(waiter: &Ref<Waiter>, resumed: Resumed) -> Res<Step> {
        let this: This = owner(waiter)?;
        let resumed = match resumed {
            Resumed::Started => match this.lock(waiter)? {
                Awaited::Pending(yielded) => return Ok(Step::Yield(yielded)),
                Awaited::Done(resumed) => resumed,
            },
            resumed => resumed,
        };
        if let Resumed::Failed(error) = resumed {
            return Err(Raised::restore(error));
        }
        this.state.set(match (waiter.is(&ABORTING), this.count.get() > 0) {
            (true, _) => State::Broken,
            (false, true) => State::Resetting,
            (false, false) => State::Filling,
        });
        let told = this.condition().and_then(|condition| Condition::notify_all(&condition));
        this.conclude(told.map(|()| Step::Return(Obj::none())))
    }

    fn leaving(_waiter: &Ref<Waiter>, _resumed: Resumed) -> Res<Step> {
        Ok(Step::Return(Obj::none()))
    }

    fn n_waiting(&self) -> i64 {
        if self.state.get() == State::Filling { self.count.get() } else { 0 }
    }

    fn repr(this: &This) -> Res<Obj> {
        let base = described(this, &PUBLIC, "asyncio.locks.Barrier")?;
        let state = this.state.get().text();
        let waiters = if this.state.get() == State::Broken {
            String::new()
        } else {
            let parties = value::text(&value::str_of(&this.parties.get_or_none())?)?;
            format!(", waiters:{}/{parties}", this.n_waiting())
        };
        value::str(&format!("<{base} [{state}{waiters}]>"))
    }

    /// asyncio's enum member.
    fn state_obj(&self) -> Res<Obj> {
        imports::get().barrier_state_class.call1(&value::str(self.state.get().text())?)
    }

    fn set_state(&self, state: &Obj) -> Res<()> {
        let text = value::text(&state.attr(&names::get().value)?)?;
        if let Some(state) = State::ALL.into_iter().find(|state| state.text() == text) {
            self.state.set(state);
        }
        Ok(())
    }
}

/// An overridden `wait()`.
fn ended(awaited: Awaited) -> Res<Step> {
    match awaited {
        Awaited::Pending(yielded) => Ok(Step::Yield(yielded)),
        Awaited::Done(Resumed::Failed(error)) => Err(Raised::restore(error)),
        Awaited::Done(Resumed::Returned(index)) => Ok(Step::Return(index)),
        Awaited::Done(_) => Ok(Step::Return(Obj::none())),
    }
}

/// The task's index.
fn returned(waiter: &Waiter) -> Step {
    Step::Return(waiter.take_value().unwrap_or_else(Obj::none))
}

fn broken(text: &str) -> Raised {
    Raised::new(&imports::get().broken_barrier_error, text)
}

pub(super) fn build() -> Res<Obj> {
    let native = loop_bound::spec::<Barrier>(
        c"rulip._rulip.Barrier",
        c"Barrier(parties)\n--\n\nTasks wait for each other (mirrors asyncio.Barrier).",
    )
    .slot(c::Py_tp_new, new(|kind, _args, _kwargs| allocate(kind, Barrier::blank())))
    .slot(c::Py_tp_init, init(Barrier::initialise))
    .slot(c::Py_tp_repr, unary(Barrier::repr))
    .methods([
        noargs(c"wait", c"Wait for the others; return the order of arrival.", |this: &This| {
            coroutine(&WAITING, this, None)
        }),
        noargs(c"reset", c"Send those that wait away with an error.", |this: &This| {
            coroutine(&RESETTING, this, None)
        }),
        noargs(c"abort", c"Break the barrier, for good.", |this: &This| {
            coroutine(&ABORTING, this, None)
        }),
        noargs(c"__aenter__", c"Wait for the others.", |this: &This| {
            coroutine(&ENTERING, this, None)
        }),
        fast(
            c"__aexit__",
            c"__aexit__($self, *args)\n--\n\nDo nothing.",
            |this: &This, _: &Args<'_>| coroutine(&LEAVING, this, None),
        ),
        noargs(c"__getstate__", c"For copying.", |this: &This| {
            loop_bound::state(this, &["_cond", "_parties", "_state", "_count"])
        }),
    ])
    .attributes([
        getter(c"parties", c"How many tasks complete the barrier.", |this: &This| {
            Ok(this.parties.get_or_none())
        }),
        getter(c"n_waiting", c"How many tasks wait.", |this: &This| value::int(this.n_waiting())),
        getter(c"broken", c"Whether it was aborted.", |this: &This| {
            Ok(Obj::bool(this.state.get() == State::Broken))
        }),
        property(
            c"_cond",
            c"The condition.",
            |this: &This| Ok(this.condition()?.to_obj()),
            |this: &This, value: Option<&Obj>| {
                this.condition.set(Ref::try_from_obj(loop_bound::required(value)?.clone()));
                Ok(())
            },
        ),
        property(
            c"_parties",
            c"How many tasks complete the barrier.",
            |this: &This| Ok(this.parties.get_or_none()),
            |this: &This, value: Option<&Obj>| {
                this.parties.set(Some(loop_bound::required(value)?.clone()));
                Ok(())
            },
        ),
        property(
            c"_state",
            c"filling, draining, resetting or broken.",
            |this: &This| this.state_obj(),
            |this: &This, value: Option<&Obj>| this.set_state(loop_bound::required(value)?),
        ),
        property(
            c"_count",
            c"How many tasks are within.",
            |this: &This| value::int(this.count.get()),
            |this: &This, value: Option<&Obj>| {
                this.count.set(value::as_i64(loop_bound::required(value)?)?);
                Ok(())
            },
        ),
    ])
    .build(&TYPE)?;
    let names = vec![&names::get().get_loop_private, &names::get().wait];
    let public =
        public_class("Barrier", &[&native, &imports::get().barrier_class], Some(&TYPE), &PUBLIC)?;
    OVERRIDABLE.set(Overridable::of(&PUBLIC, &names)?);
    Ok(public)
}
