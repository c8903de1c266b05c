//! `Waiter`: a native coroutine that waits to be woken; what `lock.acquire()`, `queue.get()` and their
//! like return.
//!
//! asyncio's are coroutines, each with a future to wait for. Here both are one object: it stands in the
//! primitive's list of waiters, holds the task that awaits it, and goes on where it left off. What it
//! does when it goes on is its [`Operation`], which belongs to the primitive (`locks`, `queues`). Under
//! a task that is not ours it falls back on a real future. Owner thread.
//!
//! | state | meaning |
//! |---|---|
//! | new | never awaited: dropping it warns, as an unawaited coroutine would |
//! | waiting | holds the task; pending, as a future |
//! | woken / cancelled | the task is queued, and goes on with that; done, as a future |
//! | delegated | waits for a future: under a foreign task, or because somebody wanted one |
//! | nested | awaits another awaitable |
//! | running | its operation runs |
//! | spent | at its end |
//!
//! One that is spent and owns nothing any more rests, to be the next.
//!
//! Invariant: leaving `waiting` queues the task once; an operation that fails has been told so, and has
//! handed on what it had been given.

pub(crate) mod slots;

use std::cell::Cell;
use std::ffi::{CStr, c_int};

use super::{Task, builtin, registry};
use crate::coroutine;
use crate::ffi::native::{Native, TypeCell};
use crate::ffi::send::{self, Awaitable, Step};
use crate::ffi::slot::Visit;
use crate::ffi::{Obj, Raised, Ref, RefSlot, Res, Slot};
use crate::future::Future;
use crate::loop_state::LoopState;
use crate::{event_loop, imports, names};

/// What a waiter does: named as the coroutine it stands for.
pub(crate) struct Operation {
    /// The type of the primitive.
    pub(crate) owner: &'static TypeCell,
    /// Qualified.
    pub(crate) name: &'static CStr,
    pub(crate) resume: fn(&Ref<Waiter>, Resumed) -> Res<Step>,
    /// The short way: all of it, with its result, where it neither waits nor calls anything of Python's;
    /// nothing, and nothing done, where it might.
    pub(crate) at_once: fn(&Waiter, &Owner) -> Option<Obj>,
}

/// Whose operation it is: taken out of the waiter while that begins.
pub(crate) struct Owner {
    operation: &'static Operation,
    obj: Obj,
}

/// An operation without a short way.
pub(crate) fn never(_waiter: &Waiter, _owner: &Owner) -> Option<Obj> {
    None
}

/// With what an operation goes on.
pub(crate) enum Resumed {
    /// It begins.
    Started,
    /// Somebody woke it.
    Woken,
    /// What it awaited returned this.
    Returned(Obj),
    /// An exception at the await: it ends with it once all is tidy.
    Failed(Obj),
}

/// How awaiting something went so far.
pub(crate) enum Awaited {
    /// It waits; this is to be yielded.
    Pending(Obj),
    /// It is over already.
    Done(Resumed),
}

#[derive(Copy, Clone, PartialEq, Eq, Debug)]
enum State {
    New,
    Waiting,
    Woken,
    Cancelled,
    Delegated,
    Nested,
    Running,
    Spent,
}

/// The body of `_rulip.Waiter`.
pub(crate) struct Waiter {
    operation: Cell<&'static Operation>,
    owner: Slot,
    task: RefSlot<Task>,
    /// The operation's own: an item to put, an exception to raise in the end.
    value: Slot,
    /// Once cancelled, the message of the cancellation.
    message: Slot,
    /// The future it is delegated to, or what it awaits.
    inner: Slot,
    /// The operation's own: where it is, or a number to return.
    phase: Cell<u32>,
    state: Cell<State>,
    /// It was woken, whatever became of it afterwards.
    notified: Cell<bool>,
}

static TYPE: TypeCell = TypeCell::new();

// SAFETY: every reference held is visited.
#[allow(unsafe_code, reason = "a promise about the layout or the collector, no operation")]
unsafe impl Native for Waiter {
    const RECYCLED: bool = true;
    const HAS_FINALIZER: bool = true;

    fn type_cell() -> &'static TypeCell {
        &TYPE
    }

    fn traverse(&self, visit: &Visit) -> Result<(), c_int> {
        self.owner.visit(visit)?;
        self.task.visit(visit)?;
        self.value.visit(visit)?;
        self.message.visit(visit)?;
        self.inner.visit(visit)
    }

    fn clear(&self) {
        drop(self.task.take());
        drop(self.value.take());
        drop(self.message.take());
        drop(self.inner.take());
        drop(self.owner.take());
    }

    fn wants_finalizer(&self) -> bool {
        self.state.get() != State::Spent
    }

    fn finalize(this: &Ref<Self>) {
        match this.state.get() {
            State::New => {
                this.state.set(State::Spent);
                coroutine::never_awaited(this);
            }
            State::Spent | State::Running => {}
            // Nobody is left to go on with it: it hands on what it has been given.
            _ => {
                // Nobody else may hold the task: its coroutine would close this one half-way.
                let task = this.awaiting_task();
                if let Err(raised) = this.close() {
                    raised.write_unraisable(this.as_obj());
                }
                drop(task);
            }
        }
    }
}

impl Waiter {
    #[inline]
    pub(crate) fn is(&self, operation: &'static Operation) -> bool {
        std::ptr::eq(self.operation.get(), operation)
    }

    #[inline]
    pub(crate) fn phase(&self) -> u32 {
        self.phase.get()
    }

    pub(crate) fn set_phase(&self, phase: u32) {
        self.phase.set(phase);
    }

    pub(crate) fn take_value(&self) -> Option<Obj> {
        self.value.take()
    }

    pub(crate) fn value(&self) -> Option<Obj> {
        self.value.get()
    }

    pub(crate) fn set_value(&self, value: Option<Obj>) {
        self.value.set(value);
    }

    /// For a failed operation: it had been woken before.
    pub(crate) fn was_notified(&self) -> bool {
        self.notified.get()
    }

    /// Whether it will wake this task, or has done so.
    #[inline]
    pub(crate) fn holds(&self, task: &Ref<Task>) -> bool {
        matches!(self.state.get(), State::Waiting | State::Woken | State::Cancelled)
            && self.task.is(task.as_obj())
    }

    /// The task that waits, for this one or for what this one awaits.
    fn awaiting_task(&self) -> Option<Ref<Task>> {
        self.task.get().or_else(|| {
            let inner = self.inner.get()?;
            Ref::<Self>::exact(&inner)?.awaiting_task()
        })
    }

    /// What a task that was cancelled throws in at the await.
    pub(super) fn cancelled_error(&self) -> Res<Option<Obj>> {
        if self.state.get() != State::Cancelled {
            return Ok(None);
        }
        let class = &imports::get().cancelled_error;
        match self.message.take() {
            Some(message) => class.call1(&message).map(Some),
            None => class.call0().map(Some),
        }
    }

    fn ask_future(&self, name: &Obj) -> Res<bool> {
        match self.inner.get() {
            Some(future) => future.method0(name)?.is_true(),
            None => Ok(true),
        }
    }

    /// As a future: whether it is done.
    #[inline]
    pub(crate) fn is_done(&self) -> Res<bool> {
        match self.state.get() {
            State::Waiting => Ok(false),
            State::Delegated => self.ask_future(&names::get().done),
            _ => Ok(true),
        }
    }

    /// As a future: whether it was cancelled.
    #[inline]
    pub(crate) fn is_cancelled(&self) -> Res<bool> {
        match self.state.get() {
            State::Delegated => self.ask_future(&names::get().cancelled),
            state => Ok(state == State::Cancelled),
        }
    }
}

impl Ref<Waiter> {
    /// `cancel(msg)`, asked by the task that waits, or by who sent into it.
    pub(crate) fn cancel(&self, message: Option<Obj>) -> Res<bool> {
        match self.state.get() {
            State::Waiting => {}
            State::Delegated => {
                let Some(future) = self.inner.get() else { return Ok(false) };
                return super::cancel(&future, message);
            }
            _ => return Ok(false),
        }
        self.message.set(message);
        self.state.set(State::Cancelled);
        self.queue_task()?;
        Ok(true)
    }

    /// The task goes on, if this is what it waits for.
    #[inline]
    fn queue_task(&self) -> Res<()> {
        match self.task.get() {
            Some(task) => task.woken_by(self.as_obj()),
            None => Ok(()),
        }
    }

    /// Nothing has come yet.
    #[inline]
    pub(crate) fn is_waiting(&self) -> bool {
        self.state.get() == State::Waiting
    }

    /// The future that stands for its wait from now on; none while it does not wait.
    #[cold]
    pub(crate) fn make_stand_in(&self) -> Res<Option<Ref<Future>>> {
        let state = self.state.get();
        if state == State::Delegated {
            let future = self.inner.get();
            return Ok(future.and_then(|future| Ref::<Future>::try_from_exact(future).ok()));
        }
        let Some(task) = self.task.get() else { return Ok(None) };
        let Some(loop_) = task.future().native_loop() else { return Ok(None) };
        let future = Ref::<Future>::create(&loop_)?;
        match state {
            State::Waiting if task.waits_for(self.as_obj()) => future.add_waiter(task.clone()),
            State::Waiting => {}
            State::Woken => future.set_result(Obj::none())?,
            State::Cancelled => drop(future.cancel(self.message.take())?),
            _ => return Ok(None),
        }
        self.inner.set(Some(future.to_obj()));
        self.state.set(State::Delegated);
        if !task.waits_for_instead(self.as_obj(), future.as_obj()) {
            // Whoever yields it is still to come.
            future.set_blocking(true);
        }
        Ok(Some(future))
    }

    /// Wakes it; only while it is not done. A future in its place gets the result.
    #[inline]
    pub(crate) fn wake(&self, result: fn() -> Obj) -> Res<()> {
        match self.state.get() {
            State::Waiting => {
                self.state.set(State::Woken);
                self.queue_task()
            }
            State::Delegated => match self.inner.get() {
                Some(future) => future.method1(&names::get().set_result, &result()).map(drop),
                None => Ok(()),
            },
            _ => Err(Raised::new(&imports::get().invalid_state_error, "invalid state")),
        }
    }

    /// From now on it waits, for the task that runs; `loop_` is the running loop, or None.
    #[inline]
    pub(crate) fn suspend(&self, loop_: &Running) -> Res<Step> {
        self.notified.set(false);
        if let Running::Native(native) = loop_
            && let Some(task) = registry::current(native)?
        {
            self.task.set(Some(task));
            self.state.set(State::Waiting);
            return Ok(Step::Yield(self.to_obj()));
        }
        let future = loop_.as_obj().method0(&names::get().create_future)?;
        future.set_attr(&names::get().asyncio_future_blocking, &Obj::bool(true))?;
        self.inner.set(Some(future.clone()));
        self.state.set(State::Delegated);
        Ok(Step::Yield(future))
    }

    /// It does not wait after all.
    pub(crate) fn stay(&self) {
        self.state.set(State::Running);
        drop(self.task.take());
        drop(self.inner.take());
    }

    /// Awaits something, as `await` would.
    pub(crate) fn await_on(&self, awaitable: &Obj) -> Res<Awaited> {
        self.inner.set(Some(send::awaitable_iterator(awaitable)?));
        Ok(self.drive())
    }

    /// Sends into what it awaits.
    fn drive(&self) -> Awaited {
        let Some(inner) = self.inner.get() else {
            return Awaited::Done(Resumed::Returned(Obj::none()));
        };
        self.state.set(State::Running);
        self.driven(send::send_none(&inner))
    }

    fn driven(&self, result: Res<Step>) -> Awaited {
        let resumed = match result {
            Ok(Step::Yield(yielded)) => {
                self.state.set(State::Nested);
                return Awaited::Pending(yielded);
            }
            Ok(Step::Return(value)) => Resumed::Returned(value),
            Err(raised) => Resumed::Failed(raised.take()),
        };
        drop(self.inner.take());
        Awaited::Done(resumed)
    }

    #[inline]
    fn advance(&self, resumed: Resumed) -> Res<Step> {
        self.state.set(State::Running);
        let result = (self.operation.get().resume)(self, resumed);
        match result {
            Ok(Step::Yield(_)) => {}
            Ok(Step::Return(_)) => {
                self.state.set(State::Spent);
                self.retire();
            }
            Err(_) => self.state.set(State::Spent),
        }
        result
    }

    /// It begins, and ends: the short way, if that is open.
    #[inline(always)]
    fn at_once(&self) -> Option<Obj> {
        let owner = Owner { operation: self.operation.get(), obj: self.owner.take()? };
        let Some(result) = (owner.operation.at_once)(self, &owner) else {
            self.owner.set(Some(owner.obj));
            return None;
        };
        self.state.set(State::Spent);
        self.clone().rest();
        Some(result)
    }

    /// It is spent: it holds nothing any more, and may be used again once nobody holds it.
    #[inline]
    fn retire(&self) {
        let owner = self.owner.take();
        if self.task.is_set() || self.value.is_set() || self.message.is_set() || self.inner.is_set()
        {
            return drop(owner);
        }
        self.clone().rest();
        drop(owner);
    }

    fn go_on(&self, awaited: Awaited) -> Res<Step> {
        match awaited {
            Awaited::Pending(yielded) => Ok(Step::Yield(yielded)),
            Awaited::Done(resumed) => self.advance(resumed),
        }
    }

    /// The future is done, or somebody sends without cause.
    fn resume_delegated(&self) -> Res<Step> {
        drop(self.task.take());
        let Some(future) = self.inner.take() else { return self.advance(Resumed::Woken) };
        let names = names::get();
        if !future.method0(&names.done)?.is_true()? {
            let error = Raised::runtime_error("await wasn't used with future").take();
            return self.advance(Resumed::Failed(error));
        }
        match future.method0(&names.result) {
            Ok(_) => self.advance(Resumed::Woken),
            Err(raised) => {
                let error = raised.take();
                self.advance(Resumed::Failed(error))
            }
        }
    }

    /// `throw(error)`.
    fn throw(&self, error: Obj) -> Res<Step> {
        match self.state.get() {
            State::New => {
                self.state.set(State::Spent);
                Err(Raised::restore(error))
            }
            state @ (State::Waiting | State::Woken | State::Cancelled) => {
                self.notified.set(state == State::Woken);
                drop(self.task.take());
                self.advance(Resumed::Failed(error))
            }
            State::Delegated => {
                drop(self.task.take());
                if let Some(future) = self.inner.take() {
                    let names = names::get();
                    let cancelled = future.method0(&names.cancelled)?.is_true()?;
                    self.notified.set(!cancelled && future.method0(&names.done)?.is_true()?);
                }
                self.advance(Resumed::Failed(error))
            }
            State::Nested => self.throw_into(error),
            State::Running => Err(coroutine::busy()),
            State::Spent => Err(coroutine::reused()),
        }
    }

    /// Throws into what it awaits; `GeneratorExit` closes that, and is then our own.
    fn throw_into(&self, error: Obj) -> Res<Step> {
        let Some(inner) = self.inner.get() else { return self.advance(Resumed::Failed(error)) };
        let names = names::get();
        self.state.set(State::Running);
        let exit = error.is_instance(&builtin("GeneratorExit")?)?;
        let method = inner.attr_opt(if exit { &names.close } else { &names.throw })?;
        let result = match (method, exit) {
            (Some(close), true) => close.call0().and_then(|_| Err(Raised::restore(error))),
            (Some(throw), false) => match throw.call1(&error) {
                Ok(yielded) => Ok(Step::Yield(yielded)),
                Err(raised) => send::stop_value(raised).map(Step::Return),
            },
            (None, _) => Err(Raised::restore(error)),
        };
        let awaited = self.driven(result);
        self.go_on(awaited)
    }

    /// `close()`.
    fn close(&self) -> Res<()> {
        match self.state.get() {
            State::New => {
                self.state.set(State::Spent);
                return Ok(());
            }
            State::Spent => return Ok(()),
            _ => {}
        }
        let class = builtin("GeneratorExit")?;
        match self.throw(class.call0()?) {
            Ok(Step::Yield(_)) => Err(Raised::runtime_error("coroutine ignored GeneratorExit")),
            Ok(Step::Return(_)) => Ok(()),
            Err(raised) if raised.matches(&class) => {
                raised.clear();
                Ok(())
            }
            Err(raised) => Err(raised),
        }
    }
}

/// The loop that runs in this thread.
pub(crate) enum Running {
    Native(Ref<LoopState>),
    /// Another kind of loop, or None.
    Foreign(Obj),
}

impl Running {
    #[inline]
    pub(crate) fn find() -> Res<Self> {
        match event_loop::run::running() {
            Some(native) => Ok(Self::Native(native)),
            None => imports::get().get_running_loop_or_none.call0().map(Self::Foreign),
        }
    }

    #[inline]
    pub(crate) fn as_obj(&self) -> &Obj {
        match self {
            Self::Native(native) => native.as_obj(),
            Self::Foreign(loop_) => loop_,
        }
    }
}

impl Ref<Waiter> {
    /// Sent into while it waits.
    #[cold]
    fn sent_too_early(&self) -> Res<Step> {
        match self.task.get() {
            Some(task) if task.waits_for(self.as_obj()) => {
                Err(Raised::runtime_error("coroutine is being awaited already"))
            }
            _ => self.throw(Raised::runtime_error("await wasn't used with future").take()),
        }
    }
}

impl Awaitable for Waiter {
    #[inline(always)]
    fn poll(this: &Ref<Self>) -> Res<Step> {
        if this.state.get() == State::New
            && let Some(result) = this.at_once()
        {
            return Ok(Step::Return(result));
        }
        this.go()
    }
}

impl Ref<Waiter> {
    /// The long way.
    #[inline(never)]
    fn go(&self) -> Res<Step> {
        match self.state.get() {
            State::New => self.advance(Resumed::Started),
            State::Woken => {
                drop(self.task.take());
                self.advance(Resumed::Woken)
            }
            State::Cancelled => match self.cancelled_error()? {
                Some(error) => self.throw(error),
                None => Ok(Step::Return(Obj::none())),
            },
            State::Delegated => self.resume_delegated(),
            State::Nested => {
                let awaited = self.drive();
                self.go_on(awaited)
            }
            State::Waiting => self.sent_too_early(),
            State::Running => Err(coroutine::busy()),
            State::Spent => Err(coroutine::reused()),
        }
    }
}
