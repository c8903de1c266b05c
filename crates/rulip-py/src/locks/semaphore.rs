//! `Semaphore` and `BoundedSemaphore`: permits, handed out in the order they were asked for.
//!
//! A released permit goes to the first waiter at once: it is taken off the value when that one is woken,
//! not when it runs. Owner thread. Invariant: a waiter that was woken and fails gives its permit back.

use std::ffi::c_int;

use pyo3::ffi as c;

use super::count::Count;
use super::lock::{count, entered};
use super::loop_bound::{self, Bound, LoopBound, described, get_loop, is_plain, overrides};
use super::waiters::Waiters;
use crate::ffi::arguments::Args;
use crate::ffi::native::{Native, TypeCell, allocate};
use crate::ffi::object::Attached;
use crate::ffi::overrides::Overridable;
use crate::ffi::send::Step;
use crate::ffi::slot::Visit;
use crate::ffi::spec::public_class;
use crate::ffi::trampoline::{fast, init, new, noargs, property, unary};
use crate::ffi::value::{Comparison, compare, derives_from};
use crate::ffi::{Obj, Raised, Ref, Res, value};
use crate::task::waiter::slots::{coroutine, owner};
use crate::task::waiter::{Awaited, Operation, Owner, Resumed, Waiter};
use crate::{imports, names};

/// The body of `_rulip.Semaphore`.
pub(crate) struct Semaphore {
    bound: LoopBound,
    waiters: Waiters,
    value: Count,
    /// What a bounded one must not exceed.
    limit: Count,
    is_bounded: bool,
}

static TYPE: TypeCell = TypeCell::new();
static PUBLIC: TypeCell = TypeCell::new();
static PUBLIC_BOUNDED: TypeCell = TypeCell::new();
static OVERRIDABLE: Attached<Overridable> = Attached::new();

/// Bits of the overrides, after `_get_loop`'s.
const ACQUIRE: u32 = 1 << 1;
const RELEASE: u32 = 1 << 2;
const LOCKED: u32 = 1 << 3;
const WAKE_UP_NEXT: u32 = 1 << 4;

/// Phase of a waiter: it awaits somebody else's `acquire()`.
const ELSEWHERE: u32 = 1;

static ACQUIRING: Operation = Operation {
    owner: &TYPE,
    name: c"Semaphore.acquire",
    resume: Semaphore::acquiring,
    at_once: Semaphore::acquire_at_once,
};
static ENTERING: Operation = Operation {
    owner: &TYPE,
    name: c"_ContextManagerMixin.__aenter__",
    resume: Semaphore::acquiring,
    at_once: Semaphore::acquire_at_once,
};
static LEAVING: Operation = Operation {
    owner: &TYPE,
    name: c"_ContextManagerMixin.__aexit__",
    resume: Semaphore::leaving,
    at_once: Semaphore::leave_at_once,
};

// SAFETY: every reference held is visited.
#[allow(unsafe_code, reason = "a promise about the layout or the collector, no operation")]
unsafe impl Native for Semaphore {
    fn type_cell() -> &'static TypeCell {
        &TYPE
    }

    fn traverse(&self, visit: &Visit) -> Result<(), c_int> {
        self.bound.visit(visit)?;
        self.waiters.visit(visit)?;
        self.value.visit(visit)?;
        self.limit.visit(visit)
    }

    fn clear(&self) {
        self.bound.clear();
        self.waiters.reset(true);
        self.value.clear();
        self.limit.clear();
    }

    fn weakrefs(&self) -> *mut c::PyObject {
        self.bound.weakrefs()
    }

    fn unlink(&self, _me: *mut c::PyObject) {
        self.bound.drop_dict();
    }
}

impl Bound for Semaphore {
    const BOUND_AT: usize = std::mem::offset_of!(Self, bound);

    #[inline]
    fn bound(&self) -> &LoopBound {
        &self.bound
    }

    fn overridable() -> &'static Overridable {
        OVERRIDABLE.get()
    }
}

type This = Ref<Semaphore>;

impl Semaphore {
    fn blank(kind: *mut c::PyTypeObject) -> Self {
        Self {
            bound: LoopBound::new(),
            waiters: Waiters::absent(|| Obj::bool(true)),
            value: Count::new(1),
            limit: Count::new(1),
            is_bounded: derives_from(kind, &imports::get().bounded_semaphore_class),
        }
    }

    fn initialise(this: &This, args: &Obj, kwargs: Option<&Obj>) -> Res<()> {
        let bounded = this.is_bounded;
        let function = if bounded { "BoundedSemaphore.__init__" } else { "Semaphore.__init__" };
        let value = match loop_bound::only_argument(function, c"value", args, kwargs)? {
            Some(value) => value,
            None => value::int(1)?,
        };
        this.limit.set(&value);
        if compare(&value, &value::int(0)?, Comparison::Less)? {
            return Err(Raised::value_error("Semaphore initial value must be >= 0"));
        }
        this.waiters.reset(true);
        this.value.set(&value);
        Ok(())
    }

    /// Whether who asks now must wait: no permit, or others wait.
    #[inline]
    fn is_locked(&self) -> Res<bool> {
        Ok(self.value.is_zero()? || !self.waiters.all_cancelled()?)
    }

    #[inline]
    fn must_wait(this: &This) -> Res<bool> {
        if overrides(this)? & LOCKED != 0 {
            return this.as_obj().method0(&names::get().locked)?.is_true();
        }
        this.is_locked()
    }

    fn acquiring(waiter: &Ref<Waiter>, resumed: Resumed) -> Res<Step> {
        let this: This = owner(waiter)?;
        match resumed {
            Resumed::Started => {
                if waiter.is(&ENTERING) && overrides(&this)? & ACQUIRE != 0 {
                    waiter.set_phase(ELSEWHERE);
                    let acquiring = this.as_obj().method0(&names::get().acquire)?;
                    return match waiter.await_on(&acquiring)? {
                        Awaited::Pending(yielded) => Ok(Step::Yield(yielded)),
                        Awaited::Done(resumed) => entered(resumed),
                    };
                }
                if !Self::must_wait(&this)? {
                    this.value.add(-1)?;
                    return Ok(Step::Return(taken(waiter)));
                }
                let step = waiter.suspend(&get_loop(&this)?)?;
                this.waiters.push(waiter)?;
                Ok(step)
            }
            Resumed::Woken => {
                this.waiters.remove(waiter)?;
                Self::wake_allowed(&this)?;
                Ok(Step::Return(taken(waiter)))
            }
            Resumed::Failed(error) if waiter.phase() != ELSEWHERE => {
                this.waiters.remove(waiter)?;
                if waiter.was_notified() {
                    // The permit was ours already.
                    this.value.add(1)?;
                    if !imports::get().semaphore_wakes_all_allowed {
                        Self::wake_up_next(&this)?;
                    }
                }
                if imports::get().semaphore_wakes_all_allowed {
                    Self::wake_allowed(&this)?;
                }
                Err(Raised::restore(error))
            }
            resumed => entered(resumed),
        }
    }

    /// Those who came meanwhile stood behind us, even if there were permits for them.
    #[inline]
    fn wake_allowed(this: &This) -> Res<()> {
        if !imports::get().semaphore_wakes_all_allowed {
            if this.value.is_positive()? {
                Self::wake_up_next(this)?;
            }
            return Ok(());
        }
        while this.value.is_positive()? {
            if !Self::wake_up_next(this)? {
                break;
            }
        }
        Ok(())
    }

    #[inline]
    fn wake_up_next(this: &This) -> Res<bool> {
        if overrides(this)? & WAKE_UP_NEXT != 0 {
            return this.as_obj().method0(&names::get().wake_up_next)?.is_true();
        }
        this.wake_next()
    }

    /// Gives a permit to the first that waits.
    #[inline]
    fn wake_next(&self) -> Res<bool> {
        if self.waiters.is_empty() {
            return Ok(false);
        }
        let mut place = 0;
        while let Some(waiter) = self.waiters.get(place)? {
            if !super::waiters::is_done(&waiter)? {
                self.value.add(-1)?;
                return self.waiters.wake(&waiter).map(|()| true);
            }
            place += 1;
        }
        Ok(false)
    }

    /// There is a permit, and nobody waits.
    fn acquire_at_once(waiter: &Waiter, owner: &Owner) -> Option<Obj> {
        let this: &This = owner.get()?;
        let free = is_plain(this)
            && this.waiters.is_empty()
            && this.value.small().is_some_and(|value| value != 0);
        (free && this.value.add(-1).is_ok()).then(|| taken(waiter))
    }

    /// Nobody waits.
    fn leave_at_once(_waiter: &Waiter, owner: &Owner) -> Option<Obj> {
        let this: &This = owner.get()?;
        let value = this.value.small()?;
        let fits = !this.is_bounded || this.limit.small().is_some_and(|limit| value < limit);
        let free = is_plain(this) && this.waiters.is_empty() && fits;
        (free && this.value.add(1).is_ok()).then(Obj::none)
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

    #[inline]
    fn release(this: &This) -> Res<()> {
        if this.is_bounded && this.value.reaches(&this.limit)? {
            return Err(Raised::value_error("BoundedSemaphore released too many times"));
        }
        this.value.add(1)?;
        Self::wake_up_next(this).map(drop)
    }

    fn repr(this: &This) -> Res<Obj> {
        let base = if PUBLIC_BOUNDED.is_type_of(this.as_obj()) {
            described(this, &PUBLIC_BOUNDED, "asyncio.locks.BoundedSemaphore")?
        } else {
            described(this, &PUBLIC, "asyncio.locks.Semaphore")?
        };
        let state = if Self::must_wait(this)? {
            "locked".to_owned()
        } else {
            format!("unlocked, value:{}", value::text(&value::str_of(&this.value.get()?)?)?)
        };
        value::str(&format!("<{base} [{state}{}]>", count(&this.waiters)?))
    }

    fn state(this: &This) -> Res<Obj> {
        let attributes: &[&str] = if this.is_bounded {
            &["_waiters", "_value", "_bound_value"]
        } else {
            &["_waiters", "_value"]
        };
        loop_bound::state(this, attributes)
    }
}

/// `acquire()` returns True; `__aenter__()` returns None.
#[inline]
fn taken(waiter: &Waiter) -> Obj {
    if waiter.is(&ENTERING) { Obj::none() } else { Obj::bool(true) }
}

fn native() -> Res<Obj> {
    loop_bound::spec::<Semaphore>(
        c"rulip._rulip.Semaphore",
        c"Semaphore(value=1)\n--\n\nA counter of permits that tasks wait for (mirrors asyncio.Semaphore).",
    )
    .slot(c::Py_tp_new, new(|kind, _args, _kwargs| allocate(kind, Semaphore::blank(kind))))
    .slot(c::Py_tp_init, init(Semaphore::initialise))
    .slot(c::Py_tp_repr, unary(Semaphore::repr))
    .methods([
        noargs(c"locked", c"Return True if acquire() would wait.", |this: &This| {
            Ok(Obj::bool(this.is_locked()?))
        }),
        noargs(c"acquire", c"Wait for a permit, and take it; return True.", |this: &This| {
            coroutine(&ACQUIRING, this, None)
        }),
        noargs(
            c"release",
            c"Give a permit back, to the first that waits for one.",
            |this: &This| {
                Semaphore::release(this)?;
                Ok(Obj::none())
            },
        ),
        noargs(c"_wake_up_next", c"Give a permit to the first that waits.", |this: &This| {
            let woken = this.wake_next()?;
            Ok(if imports::get().semaphore_wakes_all_allowed { Obj::bool(woken) } else { Obj::none() })
        }),
        noargs(c"__aenter__", c"Acquire a permit.", |this: &This| {
            coroutine(&ENTERING, this, None)
        }),
        fast(c"__aexit__", c"__aexit__($self, exc_type, exc, tb)\n--\n\nGive the permit back.", |this: &This, _: &Args<'_>| {
            coroutine(&LEAVING, this, None)
        }),
        noargs(c"__getstate__", c"For copying.", Semaphore::state),
    ])
    .attributes([
        property(
            c"_value",
            c"How many permits there are.",
            |this: &This| this.value.get(),
            |this: &This, value: Option<&Obj>| {
                this.value.set(loop_bound::required(value)?);
                Ok(())
            },
        ),
        property(
            c"_bound_value",
            c"How many permits there may be, if it is bounded.",
            |this: &This| {
                if this.is_bounded {
                    return this.limit.get();
                }
                let class = crate::task::builtin("AttributeError")?;
                let name = this.as_obj().type_name();
                let text = format!("'{name}' object has no attribute '_bound_value'");
                Err(Raised::new(&class, &text))
            },
            |this: &This, value: Option<&Obj>| {
                this.limit.set(loop_bound::required(value)?);
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
    .build(&TYPE)
}

pub(super) fn build() -> Res<[(&'static str, Obj); 2]> {
    let native = native()?;
    let n = names::get();
    let names = vec![&n.get_loop_private, &n.acquire, &n.release, &n.locked, &n.wake_up_next];
    let imports = imports::get();
    let semaphore =
        public_class("Semaphore", &[&native, &imports.semaphore_class], Some(&TYPE), &PUBLIC)?;
    OVERRIDABLE.set(Overridable::of(&PUBLIC, &names)?);
    let bases = [&semaphore, &imports.bounded_semaphore_class];
    let bounded = public_class("BoundedSemaphore", &bases, None, &PUBLIC_BOUNDED)?;
    Ok([("Semaphore", semaphore), ("BoundedSemaphore", bounded)])
}
