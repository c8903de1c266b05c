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
//! | delegated | waits for a future: of a foreign task's loop, or because somebody wanted one |
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
use crate::future::Future;
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
    /// None where the loop's timers still hold the sleep itself.
    timer: Option<Obj>,
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
                visit.obj(&parts.future)?;
                parts.timer.iter().try_for_each(|timer| visit.obj(timer))
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

    /// Whether it will wake this task, or would have.
    #[inline]
    pub(crate) fn holds(&self, task: &Ref<Task>) -> bool {
        matches!(self.state.get(), State::Waiting | State::Elapsed | State::Cancelled)
            && self.task.is(task.as_obj())
    }

    /// The timer is due: queue the task.
    #[inline]
    pub(crate) fn elapse(this: &Ref<Self>) -> Res<()> {
        match this.state.get() {
            State::Waiting => {
                this.state.set(State::Elapsed);
                Self::wake(this);
                Ok(())
            }
            State::Delegated => this.end_stand_in(),
            _ => Ok(()),
        }
    }

    /// Queues the task, if this is what it waits for.
    #[inline]
    fn wake(this: &Ref<Self>) {
        let Some(task) = this.task.take() else { return };
        if !task.waits_for(this.as_obj()) {
            this.task.set(Some(task));
        } else if let Some(loop_) = task.future().native_loop() {
            loop_.push(Job::Task(task));
        }
    }

    /// `cancel(msg)`, asked by the task that waits, or by who sent into it.
    pub(crate) fn cancel(this: &Ref<Self>, message: Option<Obj>) -> Res<bool> {
        match this.state.get() {
            State::Waiting => {}
            State::Delegated => {
                return this.future().map_or(Ok(false), |future| super::cancel(&future, message));
            }
            _ => return Ok(false),
        }
        this.result.set(message);
        this.state.set(State::Cancelled);
        let job = this.leave_timers();
        Self::wake(this);
        drop(job);
        Ok(true)
    }

    /// What it is delegated to.
    fn future(&self) -> Option<Obj> {
        self.delegated.read(|parts| parts.as_ref().map(|parts| parts.future.clone())).flatten()
    }

    /// The timer is due, and a future stands in its place.
    #[cold]
    fn end_stand_in(&self) -> Res<()> {
        self.timer.set(None);
        match self.future().as_ref().and_then(Ref::<Future>::exact) {
            Some(future) if !future.is_done() => future.set_result(self.result.get_or_none()),
            _ => Ok(()),
        }
    }

    /// The future that stands for its wait from now on; none while it does not wait.
    #[cold]
    fn make_stand_in(this: &Ref<Self>) -> Res<Option<Ref<Future>>> {
        let state = this.state.get();
        if state == State::Delegated {
            let future = this.future();
            return Ok(future.and_then(|future| Ref::<Future>::try_from_exact(future).ok()));
        }
        let Some(task) = this.task.get() else { return Ok(None) };
        let Some(loop_) = task.future().native_loop() else { return Ok(None) };
        let future = Ref::<Future>::create(&loop_)?;
        match state {
            State::Waiting if task.waits_for(this.as_obj()) => future.add_waiter(task.clone()),
            State::Waiting => {}
            State::Elapsed => future.set_result(this.result.get_or_none())?,
            State::Cancelled => drop(future.cancel(this.result.take())?),
            _ => return Ok(None),
        }
        if state != State::Waiting {
            this.timer.set(None);
        }
        let parts = Delegated { future: future.to_obj(), timer: None };
        drop(this.delegated.change(|place| place.replace(parts)));
        this.state.set(State::Delegated);
        if !task.waits_for_instead(this.as_obj(), future.as_obj()) {
            // Whoever yields it is still to come.
            future.set_blocking(true);
        }
        Ok(Some(future))
    }

    /// Sent into while it waits.
    #[cold]
    fn sent_too_early(this: &Ref<Self>) -> Raised {
        match this.task.get() {
            Some(task) if task.waits_for(this.as_obj()) => {
                Raised::runtime_error("coroutine is being awaited already")
            }
            _ => {
                this.abandon();
                Raised::runtime_error("await wasn't used with future")
            }
        }
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
        let parts = Delegated { future: future.clone(), timer: Some(timer) };
        drop(this.delegated.change(|place| place.replace(parts)));
        this.track();
        this.state.set(State::Delegated);
        Ok(Step::Yield(future))
    }

    fn finish_delegated(this: &Ref<Self>) -> Res<Step> {
        let Some(future) = this.future() else {
            return Ok(Step::Return(Obj::none()));
        };
        let done = future.method0(&names::get().done)?.is_true()?;
        let outcome = if done {
            future.method0(&names::get().result).map_err(Raised::take)
        } else {
            Err(Raised::runtime_error("await wasn't used with future").take())
        };
        this.abandon();
        outcome.map(Step::Return).map_err(Raised::restore)
    }

    fn ask_future(&self, name: &Obj) -> Res<bool> {
        self.future().map_or(Ok(true), |future| future.method0(name)?.is_true())
    }

    /// Thrown into or closed: nobody waits any more.
    fn abandon(&self) {
        let waited = matches!(self.state.get(), State::Waiting | State::Delegated);
        let job = if waited { self.leave_timers() } else { None };
        self.state.set(State::Spent);
        drop(self.task.take());
        drop(job);
        let parts = self.delegated.take();
        if let Some(timer) = parts.and_then(|parts| *parts).and_then(|parts| parts.timer)
            && let Err(raised) = timer.method0(&names::get().cancel)
        {
            raised.write_unraisable(&timer);
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
                if this.task.is_set() {
                    drop(this.task.take());
                }
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
            State::Waiting => Err(Self::sent_too_early(this)),
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
        Self::cancel(this, message)
    }

    fn is_over(this: &Ref<Self>) -> Res<bool> {
        match this.state.get() {
            State::Waiting => Ok(false),
            State::Delegated => this.ask_future(&names::get().done),
            _ => Ok(true),
        }
    }

    fn was_cancelled(this: &Ref<Self>) -> Res<bool> {
        match this.state.get() {
            State::Delegated => this.ask_future(&names::get().cancelled),
            state => Ok(state == State::Cancelled),
        }
    }

    fn has_task(this: &Ref<Self>) -> bool {
        match this.state.get() {
            State::Waiting | State::Elapsed | State::Cancelled => true,
            State::Delegated => this.task.is_set(),
            _ => false,
        }
    }

    fn is_held_by_hand(this: &Ref<Self>) -> bool {
        Self::has_task(this) && this.task.get().is_some_and(|task| !task.waits_for(this.as_obj()))
    }

    fn stand_in(this: &Ref<Self>) -> Option<Obj> {
        if this.state.get() == State::Delegated { this.future() } else { None }
    }

    fn into_future(this: &Ref<Self>) -> Res<Option<Ref<Future>>> {
        Self::make_stand_in(this)
    }
}

pub(crate) fn build() -> Res<Obj> {
    as_a_future::<Sleep>(coroutine::faced::<Sleep>(TypeSpec::new::<Sleep>(
        c"rulip._rulip.Sleep",
        c"What sleep() returns: a coroutine.",
    )))
    .build(Sleep::type_cell())
}
