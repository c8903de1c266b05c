//! `sleep(delay, result=None)`: one object that is the coroutine, the future and the timer entry.
//!
//! asyncio's is a coroutine, a future, a timer handle and a bound method. Awaited by a native task
//! this one registers itself with the loop's timers and holds the task to wake; under a foreign
//! task it falls back on a future and `call_later`, as asyncio's does. Turn for turn the order is
//! asyncio's: the timer marks it done in one turn, the task runs in the next.
//!
//! | state | meaning |
//! |---|---|
//! | new | never awaited: dropping it warns, as an unawaited coroutine would |
//! | yielded | `delay <= 0`: gave up its turn |
//! | waiting | in the timer heap, holds the task |
//! | delegated | waits for a future of a foreign task's loop |
//! | elapsed / cancelled | the task is queued, and reads the outcome |
//! | spent | awaited to its end, thrown into, or closed |

use std::cell::Cell;
use std::ffi::{CStr, c_int};

use rulip_engine::{Deadline, TimerKey};

use super::{PassesForFuture, Task, as_a_future, registry};
use crate::coroutine::{self, Coroutine};
use crate::ffi::arguments::Args;
use crate::ffi::native::{Native, TypeCell};
use crate::ffi::send::{Awaitable, Step};
use crate::ffi::slot::Visit;
use crate::ffi::spec::TypeSpec;
use crate::ffi::{Obj, Raised, Ref, RefSlot, Res, Slot, value};
use crate::imports;
use crate::loop_state::{Job, LoopState};
use crate::names;
use crate::rare::Rare;

#[derive(Copy, Clone, PartialEq, Eq, Debug)]
enum State {
    New,
    Yielded,
    Waiting,
    Delegated,
    Elapsed,
    Cancelled,
    Spent,
}

/// The body of `_rulip.Sleep`.
pub(crate) struct Sleep {
    task: RefSlot<Task>,
    /// The value to return; once cancelled, the message of the cancellation.
    result: Slot,
    delay: Cell<f64>,
    timer: Cell<Option<TimerKey>>,
    delegated: Rare<Option<Delegated>>,
    state: Cell<State>,
}

/// What stands in for the native wait under a foreign task.
struct Delegated {
    future: Obj,
    timer: Obj,
}

static TYPE: TypeCell = TypeCell::new();

// SAFETY: every reference held is visited.
#[allow(unsafe_code, reason = "a promise about the layout or the collector, no operation")]
unsafe impl Native for Sleep {
    const RECYCLED: bool = true;
    /// One that holds nothing is in no cycle: tracked once it holds a task, a result or a future.
    const TRACKED: bool = false;
    const HAS_FINALIZER: bool = true;

    fn type_cell() -> &'static TypeCell {
        &TYPE
    }

    fn traverse(&self, visit: &Visit) -> Result<(), c_int> {
        self.task.visit(visit)?;
        self.result.visit(visit)?;
        let seen = self.delegated.read(|parts| {
            parts.iter().try_for_each(|parts| {
                visit.obj(&parts.future).and_then(|()| visit.obj(&parts.timer))
            })
        });
        seen.unwrap_or(Ok(()))
    }

    fn clear(&self) {
        drop(self.task.take());
        drop(self.result.take());
        drop(self.delegated.take());
    }

    fn wants_finalizer(&self) -> bool {
        self.state.get() == State::New
    }

    fn finalize(this: &Ref<Self>) {
        if this.state.replace(State::Spent) == State::New {
            coroutine::never_awaited(this);
        }
    }
}

impl Sleep {
    /// In the timer heap, wanted by its task.
    #[inline]
    pub(crate) fn is_waiting(&self) -> bool {
        self.state.get() == State::Waiting
    }

    /// Whether it will wake this task.
    #[inline]
    pub(crate) fn holds(&self, task: &Ref<Task>) -> bool {
        self.is_waiting() && self.task.is(task.as_obj())
    }

    /// The timer is due: queue the task.
    #[inline]
    pub(crate) fn elapse(&self) {
        if self.state.get() == State::Waiting {
            self.state.set(State::Elapsed);
            self.wake();
        }
    }

    fn wake(&self) {
        if let Some(task) = self.task.take()
            && let Some(loop_) = task.future().native_loop()
        {
            loop_.push(Job::Task(task));
        }
    }

    /// `cancel(msg)`, asked by the task that waits.
    pub(crate) fn cancel(&self, message: Option<Obj>) -> bool {
        if self.state.get() != State::Waiting {
            return false;
        }
        self.result.set(message);
        self.state.set(State::Cancelled);
        let job = self.leave_timers();
        self.wake();
        drop(job);
        true
    }

    /// What a task that was cancelled throws in at the await.
    pub(super) fn cancelled_error(&self) -> Res<Option<Obj>> {
        if self.state.get() != State::Cancelled {
            return Ok(None);
        }
        let class = &imports::get().cancelled_error;
        match self.result.take() {
            Some(message) => class.call1(&message).map(Some),
            None => class.call0().map(Some),
        }
    }

    /// Takes it out of the loop's timers; the job holds a reference to drop.
    fn leave_timers(&self) -> Option<Job> {
        let loop_ = self.task.get().and_then(|task| task.future().native_loop())?;
        loop_.engine.cancel_timer(self.timer.take()?)
    }

    fn begin(this: &Ref<Self>) -> Res<Step> {
        let delay = this.delay.get();
        if delay <= 0.0 {
            this.state.set(State::Yielded);
            return Ok(Step::Yield(Obj::none()));
        }
        if delay.is_nan() && imports::get().version >= (3, 13, 0) {
            this.state.set(State::Spent);
            return Err(Raised::value_error("Invalid delay: NaN (not a number)"));
        }
        if let Some(native) = crate::event_loop::run::running()
            && !native.waiting_replaced.get()
            && let Some(task) = registry::current(&native)?
        {
            return Self::wait_natively(this, &native, task, delay);
        }
        let loop_ = imports::get().get_running_loop.call0()?;
        Self::delegate(this, &loop_)
    }

    #[inline]
    fn wait_natively(
        this: &Ref<Self>,
        loop_: &Ref<LoopState>,
        task: Ref<Task>,
        delay: f64,
    ) -> Res<Step> {
        let when = after(loop_, delay)?;
        this.state.set(State::Waiting);
        this.track();
        this.task.set(Some(task));
        this.timer.set(Some(loop_.engine.insert_timer(when, Job::Sleep(this.clone()))));
        Ok(Step::Yield(this.to_obj()))
    }

    /// As asyncio's coroutine does it, for a task that is not ours.
    fn delegate(this: &Ref<Self>, loop_: &Obj) -> Res<Step> {
        let names = names::get();
        let future = loop_.method0(&names.create_future)?;
        let set = &imports::get().set_result_unless_cancelled;
        let delay = value::float(this.delay.get())?;
        let timer = loop_.attr(&names.call_later)?.call(&[
            &delay,
            set,
            &future,
            &this.result.get_or_none(),
        ])?;
        future.set_attr(&names.asyncio_future_blocking, &Obj::bool(true))?;
        let parts = Delegated { future: future.clone(), timer };
        drop(this.delegated.change(|place| place.replace(parts)));
        this.track();
        this.state.set(State::Delegated);
        Ok(Step::Yield(future))
    }

    fn finish_delegated(this: &Ref<Self>) -> Res<Step> {
        let parts = this.delegated.read(|parts| parts.as_ref().map(|parts| parts.future.clone()));
        let Some(future) = parts.flatten() else {
            return Ok(Step::Return(Obj::none()));
        };
        if !future.method0(&names::get().done)?.is_true()? {
            return Err(Raised::runtime_error("await wasn't used with future"));
        }
        let outcome = future.method0(&names::get().result);
        this.abandon();
        outcome.map(Step::Return)
    }

    /// Thrown into or closed: nobody waits any more.
    fn abandon(&self) {
        let waited = self.is_waiting();
        let job = if waited { self.leave_timers() } else { None };
        self.state.set(State::Spent);
        drop(self.task.take());
        drop(job);
        let parts = self.delegated.take();
        if let Some(parts) = parts.and_then(|parts| *parts)
            && let Err(raised) = parts.timer.method0(&names::get().cancel)
        {
            raised.write_unraisable(&parts.timer);
        }
    }
}

/// The deadline `delay` seconds from now; on a clock of Python's making, in its seconds.
#[inline]
pub(crate) fn after(loop_: &Ref<LoopState>, delay: f64) -> Res<Deadline> {
    Ok(Deadline::from_secs(loop_.time()? + delay))
}

impl Awaitable for Sleep {
    #[inline]
    fn poll(this: &Ref<Self>) -> Res<Step> {
        match this.state.get() {
            State::New => Self::begin(this),
            State::Yielded | State::Elapsed => {
                this.state.set(State::Spent);
                let result = this.result.take().unwrap_or_else(Obj::none);
                // Neither task nor timer nor future are left.
                this.clone().rest();
                Ok(Step::Return(result))
            }
            State::Cancelled => {
                let error = this.cancelled_error()?;
                this.state.set(State::Spent);
                match error {
                    Some(error) => Err(Raised::from_exception(&error)),
                    None => Ok(Step::Return(Obj::none())),
                }
            }
            State::Delegated => Self::finish_delegated(this),
            State::Waiting => Err(Raised::runtime_error("coroutine is being awaited already")),
            State::Spent => Err(coroutine::reused()),
        }
    }
}

/// `sleep(delay, result=None)`.
pub(crate) fn sleep(args: &Args<'_>) -> Res<Obj> {
    let [delay, result] = args.bind("sleep", [c"delay", c"result"], 1)?;
    let Some(delay) = delay else { return Ok(Obj::none()) };
    let body = Sleep {
        task: RefSlot::empty(),
        result: Slot::new(result.filter(|result| !result.is_none()).cloned()),
        delay: Cell::new(value::as_f64(delay)?),
        state: Cell::new(State::New),
        timer: Cell::new(None),
        delegated: Rare::new(),
    };
    let this = Ref::renew(body)?;
    if this.result.is_set() {
        this.track();
    }
    Ok(this.into_obj())
}

impl Coroutine for Sleep {
    fn close(this: &Ref<Self>) -> Res<()> {
        this.abandon();
        Ok(())
    }

    fn name(&self) -> &'static CStr {
        c"sleep"
    }

    fn is_spent(&self) -> bool {
        self.state.get() == State::Spent
    }
}

impl PassesForFuture for Sleep {
    fn cancel_wait(this: &Ref<Self>, message: Option<Obj>) -> Res<bool> {
        Ok(this.cancel(message))
    }

    fn is_over(this: &Ref<Self>) -> Res<bool> {
        Ok(!this.is_waiting())
    }

    fn was_cancelled(this: &Ref<Self>) -> Res<bool> {
        Ok(this.state.get() == State::Cancelled)
    }

    fn has_task(this: &Ref<Self>) -> bool {
        matches!(this.state.get(), State::Waiting | State::Elapsed | State::Cancelled)
    }
}

pub(crate) fn build() -> Res<Obj> {
    as_a_future::<Sleep>(coroutine::faced::<Sleep>(TypeSpec::new::<Sleep>(
        c"rulip._rulip.Sleep",
        c"What sleep() returns: a coroutine.",
    )))
    .build(Sleep::type_cell())
}
