//! `wait(fs, timeout=None, return_when=ALL_COMPLETED)`: until some or all of many futures are done.
//!
//! `Wait` is the coroutine, and the observer of the futures. It waits for a future of its own, which
//! a job sets: that of the future that made the difference, or that of the limit. Not here: futures
//! that are not plainly ours, odd arguments, tasks and loops that are not ours; these go to asyncio's
//! coroutine, which is driven instead. Owner thread.
//!
//! | state | meaning |
//! |---|---|
//! | new | never awaited: dropping it warns |
//! | waiting | observes the futures |
//! | delegated | drives asyncio's coroutine |
//! | busy | runs |
//! | spent | over; nothing is observed any more |
//!
//! Invariant: the futures are observed, and the limit is armed, while waiting and at no other time.

use std::cell::{Cell, RefCell};
use std::ffi::{CStr, c_int};

use crate::coroutine::{self, Coroutine};
use crate::event_loop::run::running;
use crate::ffi::arguments::Args;
use crate::ffi::native::{Native, TypeCell};
use crate::ffi::send::{self, Awaitable, Step};
use crate::ffi::slot::Visit;
use crate::ffi::spec::TypeSpec;
use crate::ffi::{Obj, Raised, Ref, RefSlot, Res, Slot, value};
use crate::future::{Future, State as FutureState};
use crate::imports;
use crate::loop_state::{Job, LoopState};
use crate::names;
use crate::task::{self, Task, registry};
use crate::timeouts::limit::Limit;

#[derive(Copy, Clone, PartialEq, Eq, Debug)]
enum State {
    New,
    Waiting,
    Delegated,
    Busy,
    Spent,
}

/// When to stop waiting.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
enum Until {
    First,
    FirstException,
    All,
}

/// The body of `_rulip.Wait`.
pub(crate) struct Wait {
    /// The arguments, until awaited.
    futures: Slot,
    timeout: Slot,
    return_when: Slot,
    /// The distinct futures.
    observed: RefCell<Vec<Ref<Future>>>,
    /// What is awaited: our own future, or asyncio's coroutine.
    awaited: Slot,
    task: RefSlot<Task>,
    limit: Limit,
    /// The future whose exception decided.
    failed: RefSlot<Future>,
    left: Cell<usize>,
    until: Cell<Until>,
    /// Its job is queued: nothing more to learn.
    decided: Cell<bool>,
    state: Cell<State>,
}

static TYPE: TypeCell = TypeCell::new();

// SAFETY: every reference held is visited.
#[allow(unsafe_code, reason = "a promise about the layout or the collector, no operation")]
unsafe impl Native for Wait {
    const HAS_FINALIZER: bool = true;

    fn type_cell() -> &'static TypeCell {
        &TYPE
    }

    fn traverse(&self, visit: &Visit) -> Result<(), c_int> {
        [&self.futures, &self.timeout, &self.return_when, &self.awaited]
            .into_iter()
            .try_for_each(|slot| slot.visit(visit))?;
        self.task.visit(visit)?;
        self.failed.visit(visit)?;
        match self.observed.try_borrow() {
            Ok(observed) => observed.iter().try_for_each(|future| visit.obj(future.as_obj())),
            Err(_) => Ok(()),
        }
    }

    fn clear(&self) {
        for slot in [&self.futures, &self.timeout, &self.return_when, &self.awaited] {
            drop(slot.take());
        }
        drop(self.task.take());
        drop(self.failed.take());
        drop(self.observed.take());
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

/// `wait()`.
pub(crate) fn wait(args: &Args<'_>) -> Res<Obj> {
    let [futures, timeout, return_when] =
        args.bind_after("wait", [c"fs", c"timeout", c"return_when"], 1, 1)?;
    let body = Wait {
        futures: Slot::new(futures.cloned()),
        timeout: Slot::new(timeout.filter(|timeout| !timeout.is_none()).cloned()),
        return_when: Slot::new(return_when.cloned()),
        observed: RefCell::new(Vec::new()),
        awaited: Slot::empty(),
        task: RefSlot::empty(),
        limit: Limit::new(),
        failed: RefSlot::empty(),
        left: Cell::new(0),
        until: Cell::new(Until::All),
        decided: Cell::new(false),
        state: Cell::new(State::New),
    };
    Ref::new(body).map(Ref::into_obj)
}

/// The condition, if it is one that asyncio knows.
fn until(return_when: Option<&Obj>) -> Option<Until> {
    let Some(text) = return_when else { return Some(Until::All) };
    if !value::is_exact_str(text) {
        return None;
    }
    [
        (c"ALL_COMPLETED", Until::All),
        (c"FIRST_COMPLETED", Until::First),
        (c"FIRST_EXCEPTION", Until::FirstException),
    ]
    .into_iter()
    .find(|(name, _)| value::text_is(text, name))
    .map(|(_, until)| until)
}

/// The distinct futures, if there are any and all are the loop's own.
fn plain_futures(loop_: &Ref<LoopState>, futures: &Obj) -> Res<Option<Vec<Ref<Future>>>> {
    // Collections of the kinds that run no code of anybody's.
    let Some(distinct) = value::distinct(futures)? else { return Ok(None) };
    let mut found = Vec::with_capacity(distinct.len());
    for future in &distinct {
        match task::native_future(future) {
            Some(future) if future.has_loop(loop_.as_obj()) => found.push(future.clone()),
            _ => return Ok(None),
        }
    }
    Ok(Some(found).filter(|found| !found.is_empty()))
}

impl Ref<Wait> {
    fn begin(&self) -> Res<Step> {
        self.state.set(State::Busy);
        let Some(futures) = self.futures.take() else { return Err(coroutine::reused()) };
        let (timeout, return_when) = (self.timeout.take(), self.return_when.take());
        let waiter = match self.observe(&futures, timeout.as_ref(), return_when.as_ref()) {
            Ok(Some(waiter)) => waiter,
            Ok(None) => return self.delegate(&futures, timeout, return_when),
            Err(raised) => return self.conclude(Err(raised)),
        };
        self.awaited.set(Some(waiter.to_obj()));
        self.conclude(Future::poll(&waiter))
    }

    /// Observes the futures and arms the limit; `None` where asyncio's coroutine must do it.
    fn observe(
        &self,
        futures: &Obj,
        timeout: Option<&Obj>,
        return_when: Option<&Obj>,
    ) -> Res<Option<Ref<Future>>> {
        let Some(until) = until(return_when) else { return Ok(None) };
        let seconds = match timeout {
            Some(timeout) => match value::exact_number(timeout)? {
                Some(seconds) => Some(seconds),
                None => return Ok(None),
            },
            None => None,
        };
        let Some(loop_) = running() else { return Ok(None) };
        let Some(task) = registry::current(&loop_)? else { return Ok(None) };
        let Some(observed) = plain_futures(&loop_, futures)? else { return Ok(None) };
        let waiter = Ref::<Future>::create(&loop_)?;
        self.task.set(Some(task));
        if let Some(seconds) = seconds {
            // A limit that is past already is a timer all the same, as asyncio's.
            let when = loop_.time()? + seconds;
            self.limit.arm_timer(&loop_, when, Job::WaitLimit(self.clone()));
        }
        self.until.set(until);
        self.left.set(observed.len());
        drop(self.observed.replace(observed.clone()));
        self.awaited.set(Some(waiter.to_obj()));
        for future in &observed {
            future.watch(self.as_obj())?;
        }
        Ok(Some(waiter))
    }

    fn delegate(&self, futures: &Obj, timeout: Option<Obj>, return_when: Option<Obj>) -> Res<Step> {
        let keywords = value::dict()?;
        if let Some(timeout) = timeout {
            value::dict_set(&keywords, &names::get().timeout, &timeout)?;
        }
        if let Some(return_when) = return_when {
            value::dict_set(&keywords, &names::get().return_when, &return_when)?;
        }
        let stock = imports::get().wait.call_tuple(&value::tuple(&[futures])?, Some(&keywords))?;
        self.awaited.set(Some(stock.clone()));
        self.conclude_delegated(send::send_none(&stock))
    }

    fn conclude_delegated(&self, result: Res<Step>) -> Res<Step> {
        let goes_on = matches!(result, Ok(Step::Yield(_)));
        self.state.set(if goes_on { State::Delegated } else { State::Spent });
        if !goes_on {
            let raised = result.map_err(Raised::take);
            drop(self.awaited.take());
            return raised.map_err(Raised::restore);
        }
        result
    }

    /// What our own future said.
    fn conclude(&self, result: Res<Step>) -> Res<Step> {
        match result {
            Ok(Step::Yield(yielded)) => {
                self.state.set(State::Waiting);
                Ok(Step::Yield(yielded))
            }
            Ok(Step::Return(_)) => sorted(&self.leave()).map(Step::Return),
            Err(raised) => {
                let exc = raised.take();
                drop(self.leave());
                Err(Raised::restore(exc))
            }
        }
    }

    /// Over: nothing is observed any more. The futures come back.
    fn leave(&self) -> Vec<Ref<Future>> {
        self.state.set(State::Spent);
        self.disarm();
        let observed = self.observed.take();
        for future in observed.iter().filter(|future| !future.is_done()) {
            future.remove_observer(self.as_obj());
        }
        drop((self.awaited.take(), self.task.take()));
        observed
    }

    fn disarm(&self) {
        if self.limit.is_armed()
            && let Some(loop_) = self.task.get().and_then(|task| task.future().native_loop())
        {
            drop(self.limit.disarm(&loop_));
        }
    }

    /// A future is done: queue a job if that decides it.
    #[inline]
    pub(crate) fn note_done(&self, loop_: &LoopState, future: &Ref<Future>) {
        let left = self.left.get().saturating_sub(1);
        self.left.set(left);
        let failed = future.state() == FutureState::Failed;
        let decides = match self.until.get() {
            Until::All => false,
            Until::First => true,
            Until::FirstException => failed,
        };
        if (decides || left == 0) && !self.decided.replace(true) {
            if left > 0 && failed && self.until.get() == Until::FirstException {
                self.failed.set(Some(future.clone()));
            }
            loop_.push(Job::Wait(self.clone()));
        }
    }

    /// The job of the future that decided.
    pub(crate) fn run(&self) -> Res<()> {
        if let Some(failed) = self.failed.take() {
            // Looked at for its exception, as asyncio looks.
            failed.clear_log_traceback();
        }
        self.disarm();
        self.release()
    }

    /// The job of the limit.
    pub(crate) fn run_limit(&self) -> Res<()> {
        if self.limit.fires() { self.release() } else { Ok(()) }
    }

    fn release(&self) -> Res<()> {
        let Some(awaited) = self.awaited.get().filter(|_| self.state.get() == State::Waiting)
        else {
            return Ok(());
        };
        match Ref::<Future>::exact(&awaited) {
            Some(waiter) if !waiter.is_done() => waiter.set_result(Obj::none()),
            _ => Ok(()),
        }
    }
}

/// `(done, pending)`.
fn sorted(futures: &[Ref<Future>]) -> Res<Obj> {
    let (done, pending): (Vec<_>, Vec<_>) =
        futures.iter().map(Ref::to_obj).zip(futures).partition(|(_, future)| future.is_done());
    let objects = |pairs: Vec<(Obj, _)>| pairs.into_iter().map(|(obj, _)| obj).collect::<Vec<_>>();
    value::tuple(&[&value::set(&objects(done))?, &value::set(&objects(pending))?])
}

impl Awaitable for Wait {
    fn poll(this: &Ref<Self>) -> Res<Step> {
        let state = this.state.get();
        match (state, this.awaited.get()) {
            (State::New, _) => this.begin(),
            (State::Busy, _) => Err(coroutine::busy()),
            (State::Delegated, Some(stock)) => {
                this.state.set(State::Busy);
                this.conclude_delegated(send::send_none(&stock))
            }
            (State::Waiting, Some(waiter)) => {
                this.state.set(State::Busy);
                this.conclude(send::send_none(&waiter))
            }
            _ => Err(coroutine::reused()),
        }
    }
}

impl Coroutine for Wait {
    fn throw(this: &Ref<Self>, exc: &Obj) -> Res<Step> {
        match (this.state.get(), this.awaited.get()) {
            (State::Busy, _) => Err(coroutine::busy()),
            (State::Delegated, Some(stock)) => {
                this.state.set(State::Busy);
                this.conclude_delegated(send::throw_into(&stock, exc))
            }
            (State::Waiting, Some(waiter)) => {
                this.state.set(State::Busy);
                this.conclude(send::throw_into(&waiter, exc))
            }
            _ => {
                drop(this.leave());
                this.futures.set(None);
                Err(Raised::restore(exc.clone()))
            }
        }
    }

    fn close(this: &Ref<Self>) -> Res<()> {
        match (this.state.get(), this.awaited.get()) {
            (State::Busy, _) => Err(coroutine::busy()),
            (State::Delegated, Some(stock)) => {
                this.state.set(State::Spent);
                this.awaited.set(None);
                send::close(&stock)
            }
            _ => {
                drop(this.leave());
                this.futures.set(None);
                Ok(())
            }
        }
    }

    fn name(&self) -> &'static CStr {
        c"wait"
    }

    fn is_spent(&self) -> bool {
        self.state.get() == State::Spent
    }

    fn awaited(&self) -> Option<Obj> {
        self.awaited.get()
    }

    fn is_running(&self) -> bool {
        self.state.get() == State::Busy
    }
}

#[cfg(Py_3_14)]
impl Wait {
    /// The task that waits.
    pub(crate) fn awaiter(&self) -> Option<Obj> {
        self.task.get().map(Ref::into_obj)
    }
}

pub(crate) fn build() -> Res<Obj> {
    coroutine::faced::<Wait>(TypeSpec::new::<Wait>(
        c"rulip._rulip.Wait",
        c"What wait() returns: a coroutine.",
    ))
    .build(Wait::type_cell())
}
