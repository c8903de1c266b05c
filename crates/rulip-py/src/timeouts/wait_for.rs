//! `wait_for(fut, timeout)`, as it is from 3.12 on: a limit around an await.
//!
//! `WaitFor` is the coroutine: it drives what it was given within the caller's task, so there is no
//! other task, and its deadline is a bare entry of the loop's timers. Not here: a limit of zero or less,
//! one that is no plain number, tasks and loops that are not ours; these go to asyncio's coroutine,
//! which is driven in the same way. Owner thread.
//!
//! | state | meaning |
//! |---|---|
//! | new | never awaited: dropping it warns, as an unawaited coroutine would |
//! | suspended | what it drives has yielded |
//! | busy | what it drives runs |
//! | spent | over |
//!
//! Invariant: the deadline is armed while suspended or busy, and at no other time.

use std::cell::Cell;
use std::ffi::{CStr, c_int};

use super::limit::Limit;
use crate::coroutine::{self, Coroutine};
use crate::event_loop::run::running;
use crate::ffi::arguments::Args;
use crate::ffi::native::{Native, TypeCell};
use crate::ffi::send::{self, Awaitable, Step};
use crate::ffi::slot::Visit;
use crate::ffi::spec::TypeSpec;
use crate::ffi::{Obj, Raised, Ref, RefSlot, Res, Slot, gc, value};
use crate::imports;
use crate::loop_state::{Job, LoopState};
use crate::task::{Task, registry};

#[derive(Copy, Clone, PartialEq, Eq, Debug)]
enum State {
    New,
    Suspended,
    Busy,
    Spent,
}

/// The body of `_rulip.WaitFor`.
pub(crate) struct WaitFor {
    /// What to wait for; once begun, the iterator that does it.
    awaited: Slot,
    timeout: Slot,
    /// The task that waits, while a native deadline is armed.
    task: RefSlot<Task>,
    limit: Limit,
    cancelling: Cell<u32>,
    expired: Cell<bool>,
    state: Cell<State>,
}

static TYPE: TypeCell = TypeCell::new();

// SAFETY: every reference held is visited.
#[allow(unsafe_code, reason = "a promise about the layout or the collector, no operation")]
unsafe impl Native for WaitFor {
    const RECYCLED: bool = true;
    const HAS_FINALIZER: bool = true;

    fn type_cell() -> &'static TypeCell {
        &TYPE
    }

    fn traverse(&self, visit: &Visit) -> Result<(), c_int> {
        self.awaited.visit(visit)?;
        self.timeout.visit(visit)?;
        self.task.visit(visit)
    }

    fn clear(&self) {
        drop(self.awaited.take());
        drop(self.timeout.take());
        drop(self.task.take());
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

/// `wait_for(fut, timeout)`.
pub(crate) fn wait_for(args: &Args<'_>) -> Res<Obj> {
    let [awaited, timeout] = args.bind("wait_for", [c"fut", c"timeout"], 2)?;
    let body = WaitFor {
        awaited: Slot::new(awaited.cloned()),
        timeout: Slot::new(timeout.cloned()),
        task: RefSlot::empty(),
        limit: Limit::new(),
        cancelling: Cell::new(0),
        expired: Cell::new(false),
        state: Cell::new(State::New),
    };
    Ref::new(body).map(Ref::into_obj)
}

/// The limit in seconds, `None` for none; not at all where asyncio's own must do it.
fn plain_limit(timeout: &Obj) -> Res<Option<Option<f64>>> {
    if timeout.is_none() {
        return Ok(Some(None));
    }
    let seconds = value::exact_number(timeout)?;
    // NaN is no reason to end at once.
    Ok(seconds.filter(|seconds| *seconds > 0.0 || seconds.is_nan()).map(Some))
}

impl Ref<WaitFor> {
    #[inline]
    fn begin(&self) -> Res<Step> {
        let (Some(awaited), Some(timeout)) = (self.awaited.take(), self.timeout.take()) else {
            return Err(coroutine::reused());
        };
        self.state.set(State::Busy);
        let iterator = match self.prepare(&awaited, &timeout) {
            Ok(iterator) => iterator,
            Err(raised) => return self.conclude(Err(raised)),
        };
        self.awaited.set(Some(iterator.clone()));
        self.conclude(gc::recursing(|| send::send_none(&iterator)))
    }

    /// Arms the limit and finds the iterator; or asyncio's coroutine, where that must do it.
    fn prepare(&self, awaited: &Obj, timeout: &Obj) -> Res<Obj> {
        if let Some(seconds) = plain_limit(timeout)?
            && let Some(loop_) = running()
            && let Some(task) = registry::current(&loop_)?
        {
            if let Some(seconds) = seconds {
                self.cancelling.set(task.cancel_requests());
                let now = loop_.time()?;
                self.task.set(Some(task));
                self.limit.arm(&loop_, now + seconds, now, Job::WaitFor(self.clone()));
            }
            return send::awaitable_iterator(awaited);
        }
        imports::get().wait_for.call(&[awaited, timeout])
    }

    fn resume(&self) -> Res<Step> {
        let Some(iterator) = self.awaited.get() else {
            return Err(coroutine::reused());
        };
        self.state.set(State::Busy);
        self.conclude(gc::recursing(|| send::send_none(&iterator)))
    }

    fn throw(&self, exc: &Obj) -> Res<Step> {
        let state = self.state.get();
        if state == State::Busy {
            return Err(coroutine::busy());
        }
        let iterator = self.awaited.get().filter(|_| state == State::Suspended);
        let Some(iterator) = iterator else {
            self.close()?;
            return Err(Raised::from_exception(exc));
        };
        self.state.set(State::Busy);
        self.conclude(gc::recursing(|| send::throw_into(&iterator, exc)))
    }

    #[inline]
    fn conclude(&self, result: Res<Step>) -> Res<Step> {
        match result {
            Ok(Step::Yield(yielded)) => {
                self.state.set(State::Suspended);
                Ok(Step::Yield(yielded))
            }
            Ok(Step::Return(value)) => {
                let task = self.leave();
                if self.expired.get()
                    && let Some(task) = task
                {
                    task.uncancel();
                }
                Ok(Step::Return(value))
            }
            Err(raised) => Err(self.fail(raised)),
        }
    }

    #[cold]
    fn fail(&self, raised: Raised) -> Raised {
        let exc = raised.take();
        let task = self.leave();
        if self.expired.get()
            && let Some(task) = task
            && task.uncancel() <= self.cancelling.get()
            && let Err(converted) = super::convert(&exc.type_obj(), Some(&exc))
        {
            return converted;
        }
        Raised::restore(exc)
    }

    /// Over: takes the deadline out, and lets go of everything. The task that waited comes back.
    #[inline]
    fn leave(&self) -> Option<Ref<Task>> {
        self.state.set(State::Spent);
        let task = self.task.take();
        let job = task.as_ref().and_then(|task| task.future().native_loop()).and_then(
            |loop_: Ref<LoopState>| {
                if self.expired.get() { None } else { self.limit.disarm(&loop_) }
            },
        );
        let awaited = self.awaited.take();
        drop((job, awaited));
        task
    }

    fn close(&self) -> Res<()> {
        let state = self.state.get();
        if state == State::Busy {
            return Err(coroutine::busy());
        }
        let iterator = self.awaited.get().filter(|_| state == State::Suspended);
        self.state.set(State::Busy);
        let closed = match &iterator {
            Some(iterator) => send::close(iterator),
            None => Ok(()),
        };
        match closed {
            Ok(()) => {
                self.leave();
                Ok(())
            }
            Err(raised) => {
                let exc = raised.take();
                self.leave();
                Err(Raised::restore(exc))
            }
        }
    }

    /// The job of the deadline.
    pub(crate) fn run(&self) -> Res<()> {
        if self.limit.fires()
            && let Some(task) = self.task.get()
        {
            Task::request_cancel(&task, None)?;
            self.expired.set(true);
        }
        Ok(())
    }
}

impl Awaitable for WaitFor {
    #[inline]
    fn poll(this: &Ref<Self>) -> Res<Step> {
        match this.state.get() {
            State::New => this.begin(),
            State::Suspended => this.resume(),
            State::Busy => Err(coroutine::busy()),
            State::Spent => Err(coroutine::reused()),
        }
    }
}

impl Coroutine for WaitFor {
    fn throw(this: &Ref<Self>, exc: &Obj) -> Res<Step> {
        this.throw(exc)
    }

    fn close(this: &Ref<Self>) -> Res<()> {
        this.close()
    }

    fn name(&self) -> &'static CStr {
        c"wait_for"
    }

    fn is_spent(&self) -> bool {
        self.state.get() == State::Spent
    }

    fn awaited(&self) -> Option<Obj> {
        let began = matches!(self.state.get(), State::Suspended | State::Busy);
        self.awaited.get().filter(|_| began)
    }

    fn is_running(&self) -> bool {
        self.state.get() == State::Busy
    }
}

pub(crate) fn build() -> Res<Obj> {
    coroutine::faced::<WaitFor>(TypeSpec::new::<WaitFor>(
        c"rulip._rulip.WaitFor",
        c"What wait_for() returns: a coroutine.",
    ))
    .build(WaitFor::type_cell())
}
