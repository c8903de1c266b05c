//! `Condition`: waiting, with a lock that is released meanwhile.
//!
//! A wait has two parts: in our list until notified, then in the lock's until the lock is ours again, no
//! matter what happened. Owner thread. Invariant: a wait ends with the lock held, as it began.

use std::ffi::c_int;

use pyo3::ffi as c;

use super::lock::{Lock, count};
use super::loop_bound::{self, Bound, LoopBound, described, get_loop, overrides};
use super::waiters::Waiters;
use crate::ffi::arguments::Args;
use crate::ffi::native::{Native, TypeCell, allocate};
use crate::ffi::object::Attached;
use crate::ffi::overrides::Overridable;
use crate::ffi::send::Step;
use crate::ffi::slot::Visit;
use crate::ffi::spec::public_class;
use crate::ffi::trampoline::{fast, init, new, noargs, property, unary};
use crate::ffi::value::{Comparison, compare};
use crate::ffi::{Obj, Raised, Ref, Res, Slot, value};
use crate::task::waiter::slots::{coroutine, owner};
use crate::task::waiter::{Awaited, Operation, Resumed, Waiter, never};
use crate::{imports, names};

/// The body of `_rulip.Condition`.
pub(crate) struct Condition {
    bound: LoopBound,
    waiters: Waiters,
    lock: Slot,
}

static TYPE: TypeCell = TypeCell::new();
static PUBLIC: TypeCell = TypeCell::new();
static OVERRIDABLE: Attached<Overridable> = Attached::new();

/// Bits of the overrides, after `_get_loop`'s.
const ACQUIRE: u32 = 1 << 1;
const RELEASE: u32 = 1 << 2;
const LOCKED: u32 = 1 << 3;
const WAIT: u32 = 1 << 4;
const NOTIFY: u32 = 1 << 5;

/// Phase of a wait: notified or not, it wants the lock again.
const REACQUIRING: u32 = 1;
/// The same, and was cancelled meanwhile.
const CANCELLED: u32 = 2;

static WAITING: Operation =
    Operation { owner: &TYPE, name: c"Condition.wait", resume: Condition::waiting, at_once: never };
static WAITING_FOR: Operation = Operation {
    owner: &TYPE,
    name: c"Condition.wait_for",
    resume: Condition::waiting_for,
    at_once: never,
};
static ENTERING: Operation = Operation {
    owner: &TYPE,
    name: c"_ContextManagerMixin.__aenter__",
    resume: Condition::entering,
    at_once: never,
};
static LEAVING: Operation = Operation {
    owner: &TYPE,
    name: c"_ContextManagerMixin.__aexit__",
    resume: Condition::leaving,
    at_once: never,
};

// SAFETY: every reference held is visited.
#[allow(unsafe_code, reason = "a promise about the layout or the collector, no operation")]
unsafe impl Native for Condition {
    fn type_cell() -> &'static TypeCell {
        &TYPE
    }

    fn traverse(&self, visit: &Visit) -> Result<(), c_int> {
        self.bound.visit(visit)?;
        self.waiters.visit(visit)?;
        self.lock.visit(visit)
    }

    fn clear(&self) {
        self.bound.clear();
        self.waiters.reset(false);
        drop(self.lock.take());
    }

    fn weakrefs(&self) -> *mut c::PyObject {
        self.bound.weakrefs()
    }

    fn unlink(&self, _me: *mut c::PyObject) {
        self.bound.drop_dict();
    }
}

impl Bound for Condition {
    const BOUND_AT: usize = std::mem::offset_of!(Self, bound);

    #[inline]
    fn bound(&self) -> &LoopBound {
        &self.bound
    }

    fn overridable() -> &'static Overridable {
        OVERRIDABLE.get()
    }
}

type This = Ref<Condition>;

impl Condition {
    fn blank() -> Self {
        Self {
            bound: LoopBound::new(),
            waiters: Waiters::new(|| Obj::bool(false)),
            lock: Slot::empty(),
        }
    }

    /// A new `rulip.Condition`.
    pub(super) fn make() -> Res<This> {
        match This::try_from_obj(PUBLIC.obj().call0()?) {
            Some(this) => Ok(this),
            None => Err(Raised::type_error("Condition() made no condition")),
        }
    }

    fn initialise(this: &This, args: &Obj, kwargs: Option<&Obj>) -> Res<()> {
        let given = loop_bound::only_argument("Condition.__init__", c"lock", args, kwargs)?;
        let lock = match given {
            Some(lock) if !lock.is_none() => lock,
            _ => Lock::make()?,
        };
        if Lock::plain(&lock)?.is_none() {
            // Somebody else's: its methods become ours, for good.
            let names = names::get();
            for name in [&names.locked, &names.acquire, &names.release] {
                this.as_obj().set_attr(name, &lock.attr(name)?)?;
            }
        }
        this.lock.set(Some(lock));
        this.waiters.reset(false);
        Ok(())
    }

    pub(super) fn the_lock(&self) -> Obj {
        self.lock.get_or_none()
    }

    /// The lock, if calling it needs no look-up; `name` is the bit of the method.
    #[inline]
    fn plain_lock(this: &This, method: u32) -> Res<Option<Ref<Lock>>> {
        if overrides(this)? & method != 0 {
            return Ok(None);
        }
        let Some(lock) = this.lock.get() else { return Ok(None) };
        Ok(Lock::plain(&lock)?.cloned())
    }

    #[inline]
    fn is_locked(this: &This) -> Res<bool> {
        match Self::plain_lock(this, LOCKED)? {
            Some(lock) => Ok(lock.is_locked()),
            None => this.as_obj().method0(&names::get().locked)?.is_true(),
        }
    }

    #[inline]
    fn release(this: &This) -> Res<()> {
        match Self::plain_lock(this, RELEASE)? {
            Some(lock) => Lock::release(&lock),
            None => this.as_obj().method0(&names::get().release).map(drop),
        }
    }

    /// One attempt at the lock: ours now, or what the waiter awaits meanwhile.
    #[inline]
    fn acquire(this: &This, waiter: &Ref<Waiter>) -> Res<Awaited> {
        let acquiring = match Self::plain_lock(this, ACQUIRE)? {
            Some(lock) if lock.try_take()? => {
                return Ok(Awaited::Done(Resumed::Returned(Obj::none())));
            }
            Some(lock) => Lock::acquire(&lock)?,
            None => this.as_obj().method0(&names::get().acquire)?,
        };
        waiter.await_on(&acquiring)
    }

    fn entering(waiter: &Ref<Waiter>, resumed: Resumed) -> Res<Step> {
        let this: This = owner(waiter)?;
        let resumed = match resumed {
            Resumed::Started => match Self::acquire(&this, waiter)? {
                Awaited::Pending(yielded) => return Ok(Step::Yield(yielded)),
                Awaited::Done(resumed) => resumed,
            },
            resumed => resumed,
        };
        super::lock::entered(resumed)
    }

    fn leaving(waiter: &Ref<Waiter>, _resumed: Resumed) -> Res<Step> {
        let this: This = owner(waiter)?;
        Self::release(&this)?;
        Ok(Step::Return(Obj::none()))
    }

    /// A new wait.
    pub(super) fn wait(this: &This) -> Res<Obj> {
        coroutine(&WAITING, this, None)
    }

    fn waiting(waiter: &Ref<Waiter>, resumed: Resumed) -> Res<Step> {
        let this: This = owner(waiter)?;
        if waiter.phase() != 0 {
            return Self::reacquired(&this, waiter, resumed);
        }
        match resumed {
            Resumed::Started => {
                if !Self::is_locked(&this)? {
                    return Err(Raised::runtime_error("cannot wait on un-acquired lock"));
                }
                Self::begin(&this, waiter)
            }
            Resumed::Failed(error) => {
                this.waiters.remove(waiter)?;
                waiter.set_value(Some(error));
                Self::reacquire(&this, waiter)
            }
            Resumed::Woken | Resumed::Returned(_) => {
                this.waiters.remove(waiter)?;
                Self::reacquire(&this, waiter)
            }
        }
    }

    fn begin(this: &This, waiter: &Ref<Waiter>) -> Res<Step> {
        if imports::get().condition_hands_on {
            // Without a loop the lock stays ours.
            let step = waiter.suspend(&get_loop(this)?)?;
            if let Err(raised) = Self::release(this) {
                let error = raised.take();
                waiter.stay();
                return Err(Raised::restore(error));
            }
            this.waiters.push(waiter)?;
            return Ok(step);
        }
        Self::release(this)?;
        match get_loop(this).and_then(|running| waiter.suspend(&running)) {
            Ok(step) => {
                this.waiters.push(waiter)?;
                Ok(step)
            }
            Err(raised) => {
                let error = raised.take();
                waiter.set_value(Some(error));
                Self::reacquire(this, waiter)
            }
        }
    }

    fn reacquire(this: &This, waiter: &Ref<Waiter>) -> Res<Step> {
        waiter.set_phase(REACQUIRING);
        match Self::acquire(this, waiter) {
            Ok(Awaited::Pending(yielded)) => Ok(Step::Yield(yielded)),
            Ok(Awaited::Done(resumed)) => Self::reacquired(this, waiter, resumed),
            Err(raised) => {
                let error = raised.take();
                Self::fail(this, error)
            }
        }
    }

    /// Until the lock is ours: a cancellation is remembered, and raised then.
    fn reacquired(this: &This, waiter: &Ref<Waiter>, mut resumed: Resumed) -> Res<Step> {
        let imports = imports::get();
        while let Resumed::Failed(error) = resumed {
            if !error.is_instance(&imports.cancelled_error)? {
                return Self::fail(this, error);
            }
            let error =
                if imports.condition_reraises { error } else { imports.cancelled_error.call0()? };
            // It comes after what ended the wait, not after an earlier cancellation.
            let before = waiter.take_value();
            let ended = match before {
                Some(before) if waiter.phase() == CANCELLED => before.context(),
                ended => ended,
            };
            if !ended.as_ref().is_some_and(|ended| ended.is(&error)) {
                error.set_context(ended);
            }
            waiter.set_phase(CANCELLED);
            waiter.set_value(Some(error));
            match Self::acquire(this, waiter) {
                Ok(Awaited::Pending(yielded)) => return Ok(Step::Yield(yielded)),
                Ok(Awaited::Done(next)) => resumed = next,
                Err(raised) => {
                    let error = raised.take();
                    return Self::fail(this, error);
                }
            }
        }
        match waiter.take_value() {
            Some(error) => Self::fail(this, error),
            None => Ok(Step::Return(Obj::bool(true))),
        }
    }

    /// We may have been notified: another one shall have that.
    fn fail(this: &This, error: Obj) -> Res<Step> {
        if imports::get().condition_hands_on {
            this.waiters.wake_first_pending()?;
        }
        Err(Raised::restore(error))
    }

    fn waiting_for(waiter: &Ref<Waiter>, resumed: Resumed) -> Res<Step> {
        let this: This = owner(waiter)?;
        let mut resumed = resumed;
        loop {
            if let Resumed::Failed(error) = resumed {
                return Err(Raised::restore(error));
            }
            let Some(predicate) = waiter.value() else { return Ok(Step::Return(Obj::none())) };
            let result = predicate.call0()?;
            if result.is_true()? {
                return Ok(Step::Return(result));
            }
            let wait = if overrides(&this)? & WAIT == 0 {
                Self::wait(&this)?
            } else {
                this.as_obj().method0(&names::get().wait)?
            };
            match waiter.await_on(&wait)? {
                Awaited::Pending(yielded) => return Ok(Step::Yield(yielded)),
                Awaited::Done(next) => resumed = next,
            }
        }
    }

    fn check_notify(this: &This) -> Res<()> {
        if Self::is_locked(this)? {
            return Ok(());
        }
        Err(Raised::runtime_error("cannot notify on un-acquired lock"))
    }

    fn notify(this: &This, number: Option<&Obj>) -> Res<()> {
        Self::check_notify(this)?;
        match number {
            None => this.waiters.wake_first_pending().map(drop),
            Some(number) => this.wake(number),
        }
    }

    fn wake(&self, number: &Obj) -> Res<()> {
        let (mut place, mut woken) = (0, 0);
        while let Some(waiter) = self.waiters.get(place)? {
            let enough = match value::exact_i64(number) {
                Some(number) => woken >= number,
                None => compare(&value::int(woken)?, number, Comparison::GreaterOrEqual)?,
            };
            if enough {
                break;
            }
            if !super::waiters::is_done(&waiter)? {
                woken += 1;
                self.waiters.wake(&waiter)?;
            }
            place += 1;
        }
        Ok(())
    }

    /// `notify_all()`.
    pub(super) fn notify_all(this: &This) -> Res<()> {
        let number = value::int(i64::try_from(this.waiters.len()?).unwrap_or(i64::MAX))?;
        if overrides(this)? & NOTIFY != 0 {
            return this.as_obj().method1(&names::get().notify, &number).map(drop);
        }
        Self::notify(this, Some(&number))
    }

    fn repr(this: &This) -> Res<Obj> {
        let base = described(this, &PUBLIC, "asyncio.locks.Condition")?;
        let state = if Self::is_locked(this)? { "locked" } else { "unlocked" };
        value::str(&format!("<{base} [{state}{}]>", count(&this.waiters)?))
    }
}

/// Calls a method of the lock, where the condition has none of its own.
fn ask_lock(this: &This, name: &Obj) -> Res<Obj> {
    this.the_lock().method0(name)
}

pub(super) fn build() -> Res<Obj> {
    let native = loop_bound::spec::<Condition>(
        c"rulip._rulip.Condition",
        c"Condition(lock=None)\n--\n\nWaiting for a notification, with a lock (mirrors asyncio.Condition).",
    )
    .slot(c::Py_tp_new, new(|kind, _args, _kwargs| allocate(kind, Condition::blank())))
    .slot(c::Py_tp_init, init(Condition::initialise))
    .slot(c::Py_tp_repr, unary(Condition::repr))
    .methods([
        noargs(c"locked", c"Return True if the lock is held.", |this: &This| {
            ask_lock(this, &names::get().locked)
        }),
        noargs(c"acquire", c"Acquire the lock.", |this: &This| {
            ask_lock(this, &names::get().acquire)
        }),
        noargs(c"release", c"Release the lock.", |this: &This| {
            ask_lock(this, &names::get().release)
        }),
        noargs(c"wait", c"Release the lock until notified; return True.", Condition::wait),
        fast(
            c"wait_for",
            c"wait_for($self, predicate)\n--\n\nWait until the predicate is true; return what it returned.",
            |this: &This, args: &Args<'_>| {
                let [predicate] = args.bind("Condition.wait_for", [c"predicate"], 1)?;
                coroutine(&WAITING_FOR, this, predicate.cloned())
            },
        ),
        fast(c"notify", c"notify($self, n=1)\n--\n\nWake n that wait (one).", |this: &This, args: &Args<'_>| {
            let [number] = args.bind("Condition.notify", [c"n"], 0)?;
            Condition::notify(this, number)?;
            Ok(Obj::none())
        }),
        noargs(c"notify_all", c"Wake all that wait.", |this: &This| {
            Condition::notify_all(this)?;
            Ok(Obj::none())
        }),
        noargs(c"__aenter__", c"Acquire the lock.", |this: &This| {
            coroutine(&ENTERING, this, None)
        }),
        fast(c"__aexit__", c"__aexit__($self, exc_type, exc, tb)\n--\n\nRelease the lock.", |this: &This, _: &Args<'_>| {
            coroutine(&LEAVING, this, None)
        }),
        noargs(c"__getstate__", c"For copying.", |this: &This| {
            loop_bound::state(this, &["_lock", "_waiters"])
        }),
    ])
    .attributes([
        property(
            c"_lock",
            c"The lock.",
            |this: &This| Ok(this.the_lock()),
            |this: &This, value: Option<&Obj>| {
                this.lock.set(Some(loop_bound::required(value)?.clone()));
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
    let n = names::get();
    let names = vec![&n.get_loop_private, &n.acquire, &n.release, &n.locked, &n.wait, &n.notify];
    let public = public_class(
        "Condition",
        &[&native, &imports::get().condition_class],
        Some(&TYPE),
        &PUBLIC,
    )?;
    OVERRIDABLE.set(Overridable::of(&PUBLIC, &names)?);
    Ok(public)
}
