//! `Lock`: one holder at a time, the others in the order they came.
//!
//! Released, it is free: the first waiter is woken and takes it when it runs. Who comes meanwhile stands
//! behind. Owner thread. Invariant: free and waited for, the first waiter is awake or cancelled.

use std::cell::Cell;
use std::ffi::c_int;

use pyo3::ffi as c;

use super::loop_bound::{self, Bound, LoopBound, described, get_loop, is_plain, overrides};
use super::waiters::{self, Waiters};
use crate::ffi::arguments::Args;
use crate::ffi::native::{Native, TypeCell, allocate};
use crate::ffi::object::Attached;
use crate::ffi::overrides::Overridable;
use crate::ffi::send::Step;
use crate::ffi::slot::Visit;
use crate::ffi::spec::public_class;
use crate::ffi::trampoline::{fast, init, new, noargs, property, unary};
use crate::ffi::{Obj, Raised, Ref, Res, value};
use crate::task::waiter::slots::{coroutine, owner};
use crate::task::waiter::{Awaited, Operation, Owner, Resumed, Waiter};
use crate::{imports, names};

/// The body of `_rulip.Lock`.
pub(crate) struct Lock {
    bound: LoopBound,
    waiters: Waiters,
    locked: Cell<bool>,
}

static TYPE: TypeCell = TypeCell::new();
static PUBLIC: TypeCell = TypeCell::new();
static OVERRIDABLE: Attached<Overridable> = Attached::new();

/// Bits of the overrides, after `_get_loop`'s.
const ACQUIRE: u32 = 1 << 1;
const RELEASE: u32 = 1 << 2;
const WAKE_UP_FIRST: u32 = 1 << 3;

/// Phase of a waiter: it awaits somebody else's `acquire()`.
const ELSEWHERE: u32 = 1;

static ACQUIRING: Operation = Operation {
    owner: &TYPE,
    name: c"Lock.acquire",
    resume: Lock::acquiring,
    at_once: Lock::acquire_at_once,
};
static ENTERING: Operation = Operation {
    owner: &TYPE,
    name: c"_ContextManagerMixin.__aenter__",
    resume: Lock::acquiring,
    at_once: Lock::acquire_at_once,
};
static LEAVING: Operation = Operation {
    owner: &TYPE,
    name: c"_ContextManagerMixin.__aexit__",
    resume: Lock::leaving,
    at_once: Lock::leave_at_once,
};

// SAFETY: every reference held is visited.
#[allow(unsafe_code, reason = "a promise about the layout or the collector, no operation")]
unsafe impl Native for Lock {
    fn type_cell() -> &'static TypeCell {
        &TYPE
    }

    fn traverse(&self, visit: &Visit) -> Result<(), c_int> {
        self.bound.visit(visit)?;
        self.waiters.visit(visit)
    }

    fn clear(&self) {
        self.bound.clear();
        self.waiters.reset(true);
    }

    fn weakrefs(&self) -> *mut c::PyObject {
        self.bound.weakrefs()
    }

    fn unlink(&self, _me: *mut c::PyObject) {
        self.bound.drop_dict();
    }
}

impl Bound for Lock {
    const BOUND_AT: usize = std::mem::offset_of!(Self, bound);

    #[inline]
    fn bound(&self) -> &LoopBound {
        &self.bound
    }

    fn overridable() -> &'static Overridable {
        OVERRIDABLE.get()
    }
}

type This = Ref<Lock>;

impl Lock {
    fn blank() -> Self {
        Self {
            bound: LoopBound::new(),
            waiters: Waiters::absent(|| Obj::bool(true)),
            locked: Cell::new(false),
        }
    }

    /// A new `rulip.Lock`.
    pub(crate) fn make() -> Res<Obj> {
        PUBLIC.obj().call0()
    }

    /// `obj` as a lock whose methods are all ours.
    #[inline]
    pub(crate) fn plain(obj: &Obj) -> Res<Option<&This>> {
        match Ref::<Self>::downcast(obj) {
            Some(this) if overrides(this)? == 0 => Ok(Some(this)),
            _ => Ok(None),
        }
    }

    #[inline]
    pub(crate) fn is_locked(&self) -> bool {
        self.locked.get()
    }

    /// Takes it, if nobody has it and nobody stands before us.
    #[inline]
    pub(crate) fn try_take(&self) -> Res<bool> {
        if self.locked.get() || !self.waiters.all_cancelled()? {
            return Ok(false);
        }
        self.locked.set(true);
        Ok(true)
    }

    /// `lock.acquire()`.
    #[inline]
    pub(crate) fn acquire(this: &This) -> Res<Obj> {
        coroutine(&ACQUIRING, this, None)
    }

    /// `lock.__aenter__()`.
    #[inline]
    pub(crate) fn enter(this: &This) -> Res<Obj> {
        coroutine(&ENTERING, this, None)
    }

    /// `lock.__aexit__(...)`.
    #[inline]
    pub(crate) fn leave(this: &This) -> Res<Obj> {
        coroutine(&LEAVING, this, None)
    }

    fn acquiring(waiter: &Ref<Waiter>, resumed: Resumed) -> Res<Step> {
        let this: This = owner(waiter)?;
        match resumed {
            Resumed::Started => {
                if waiter.is(&ENTERING) && overrides(&this)? & ACQUIRE != 0 {
                    let acquiring = this.as_obj().method0(&names::get().acquire)?;
                    waiter.set_phase(ELSEWHERE);
                    return match waiter.await_on(&acquiring)? {
                        Awaited::Pending(yielded) => Ok(Step::Yield(yielded)),
                        Awaited::Done(resumed) => entered(resumed),
                    };
                }
                if this.try_take()? {
                    return Ok(Step::Return(taken(waiter)));
                }
                let step = waiter.suspend(&get_loop(&this)?)?;
                this.waiters.push(waiter)?;
                Ok(step)
            }
            Resumed::Woken => {
                this.waiters.remove(waiter)?;
                this.locked.set(true);
                Ok(Step::Return(taken(waiter)))
            }
            Resumed::Failed(error) if waiter.phase() != ELSEWHERE => {
                this.waiters.remove(waiter)?;
                // Free, and not taken by us: the next one shall run.
                if !this.locked.get() {
                    Self::wake_up_first(&this)?;
                }
                Err(Raised::restore(error))
            }
            // What an overridden acquire() said.
            resumed => entered(resumed),
        }
    }

    /// Nobody has it, and nobody waits.
    fn acquire_at_once(waiter: &Waiter, owner: &Owner) -> Option<Obj> {
        let this: &This = owner.get()?;
        let free = is_plain(this) && !this.locked.get() && this.waiters.is_empty();
        free.then(|| {
            this.locked.set(true);
            taken(waiter)
        })
    }

    /// Nobody waits.
    fn leave_at_once(_waiter: &Waiter, owner: &Owner) -> Option<Obj> {
        let this: &This = owner.get()?;
        let held = is_plain(this) && this.locked.get() && this.waiters.is_empty();
        held.then(|| {
            this.locked.set(false);
            Obj::none()
        })
    }

    fn leaving(waiter: &Ref<Waiter>, _resumed: Resumed) -> Res<Step> {
        let this: This = owner(waiter)?;
        if overrides(&this)? & RELEASE != 0 {
            this.as_obj().method0(&names::get().release)?;
        } else {
            Self::release(&this)?;
        }
        Ok(Step::Return(Obj::none()))
    }

    /// `lock.release()`.
    #[inline]
    pub(crate) fn release(this: &This) -> Res<()> {
        if !this.locked.replace(false) {
            return Err(Raised::runtime_error("Lock is not acquired."));
        }
        Self::wake_up_first(this)
    }

    #[inline]
    fn wake_up_first(this: &This) -> Res<()> {
        if overrides(this)? & WAKE_UP_FIRST != 0 {
            return this.as_obj().method0(&names::get().wake_up_first).map(drop);
        }
        Self::wake_first(this)
    }

    #[inline]
    fn wake_first(this: &This) -> Res<()> {
        if this.waiters.is_empty() {
            return Ok(());
        }
        match this.waiters.get(0)? {
            Some(first) if !waiters::is_done(&first)? => this.waiters.wake(&first),
            _ => Ok(()),
        }
    }

    fn repr(this: &This) -> Res<Obj> {
        let base = described(this, &PUBLIC, "asyncio.locks.Lock")?;
        let state = if this.locked.get() { "locked" } else { "unlocked" };
        value::str(&format!("<{base} [{state}{}]>", count(&this.waiters)?))
    }
}

/// `, waiters:N`, where somebody waits.
pub(super) fn count(waiters: &Waiters) -> Res<String> {
    Ok(match waiters.len()? {
        0 => String::new(),
        n => format!(", waiters:{n}"),
    })
}

/// `acquire()` returns True; `__aenter__()` returns None.
#[inline]
fn taken(waiter: &Waiter) -> Obj {
    if waiter.is(&ENTERING) { Obj::none() } else { Obj::bool(true) }
}

/// After an overridden `acquire()`, in `__aenter__()`.
pub(super) fn entered(resumed: Resumed) -> Res<Step> {
    match resumed {
        Resumed::Failed(error) => Err(Raised::restore(error)),
        _ => Ok(Step::Return(Obj::none())),
    }
}

pub(super) fn build() -> Res<Obj> {
    let native = loop_bound::spec::<Lock>(
        c"rulip._rulip.Lock",
        c"Lock()\n--\n\nA lock for tasks (mirrors asyncio.Lock).",
    )
    .slot(c::Py_tp_new, new(|kind, _args, _kwargs| allocate(kind, Lock::blank())))
    .slot(
        c::Py_tp_init,
        init(|this: &This, args: &Obj, kwargs: Option<&Obj>| {
            loop_bound::no_arguments("Lock.__init__", args, kwargs)?;
            this.waiters.reset(true);
            this.locked.set(false);
            Ok(())
        }),
    )
    .slot(c::Py_tp_repr, unary(Lock::repr))
    .methods([
        noargs(c"locked", c"Return True if the lock is held.", |this: &This| {
            Ok(Obj::bool(this.is_locked()))
        }),
        noargs(
            c"acquire",
            c"Wait until the lock is free, and take it; return True.",
            Lock::acquire,
        ),
        noargs(
            c"release",
            c"Free the lock, and wake the first that waits for it.",
            |this: &This| {
                Lock::release(this)?;
                Ok(Obj::none())
            },
        ),
        noargs(c"_wake_up_first", c"Wake the first that waits.", |this: &This| {
            Lock::wake_first(this)?;
            Ok(Obj::none())
        }),
        noargs(c"__aenter__", c"Acquire the lock.", Lock::enter),
        fast(
            c"__aexit__",
            c"__aexit__($self, exc_type, exc, tb)\n--\n\nRelease the lock.",
            |this: &This, _: &Args<'_>| Lock::leave(this),
        ),
        noargs(c"__getstate__", c"For copying.", |this: &This| {
            loop_bound::state(this, &["_waiters", "_locked"])
        }),
    ])
    .attributes([
        property(
            c"_locked",
            c"Whether the lock is held.",
            |this: &This| Ok(Obj::bool(this.is_locked())),
            |this: &This, value: Option<&Obj>| {
                this.locked.set(loop_bound::required(value)?.is_true()?);
                Ok(())
            },
        ),
        property(
            c"_waiters",
            c"Who waits, or None.",
            |this: &This| this.waiters.show(),
            |this: &This, value: Option<&Obj>| {
                this.waiters.replace(loop_bound::required(value)?);
                Ok(())
            },
        ),
    ])
    .build(&TYPE)?;
    let n = names::get();
    let names = vec![&n.get_loop_private, &n.acquire, &n.release, &n.wake_up_first, &n.locked];
    let public =
        public_class("Lock", &[&native, &imports::get().lock_class], Some(&TYPE), &PUBLIC)?;
    OVERRIDABLE.set(Overridable::of(&PUBLIC, &names)?);
    Ok(public)
}
