//! How a read waits: for its task to be woken, or for a future.
//!
//! Under a native task of the running loop a read is what asyncio's future would be: the reader knows
//! it, it knows the task. Under any other task, and as soon as somebody looks at `reader._waiter` or
//! `task._fut_waiter`, a future takes its place. Not here: what is read (`read.rs`). Owner thread.
//!
//! Invariant: the reader's `waiting` is a read that holds this reader, until it is woken or leaves. That it is
//! held in turn is what keeps a task alive that waits and that nobody else has, as asyncio's future does.

use super::read::{Call, Read, State};
use super::reader::{Reader, Want};
use crate::event_loop::run::is_running_here;
use crate::ffi::send::Step;
use crate::ffi::{Obj, Raised, Ref, Res, value};
use crate::future::Future;
use crate::loop_state::LoopState;
use crate::task::{Task, registry};
use crate::{imports, names};

impl Read {
    /// As asyncio's `_wait_for_data`.
    pub(super) fn wait(this: &Ref<Self>, reader: Ref<Reader>, want: Want) -> Res<Step> {
        if reader.has_waiter() {
            return Err(this.somebody_else_waits());
        }
        if reader.eof.get() {
            let error = crate::task::builtin("AssertionError")?;
            return Err(Raised::new(&error, "_wait_for_data after EOF"));
        }
        if reader.paused.get() {
            reader.resume()?;
        }
        reader.want.set(want);
        reader.buffer.borrow_mut().want_whole(match want {
            Want::End => usize::MAX,
            Want::Exactly(count) => count,
            Want::News | Want::Line | Want::Separator | Want::AtMost(_) => 0,
        });
        reader.wait.set(reader.wait.get().wrapping_add(1));
        this.wait.set(reader.wait.get());
        this.track();
        if let Some(loop_) = reader.loop_.get_native()
            && !loop_.waiting_replaced.get()
        {
            if let Some(task) = native_task(&loop_)? {
                this.waits_with.set_native(task);
                this.state.set(State::Waiting);
                reader.waiting.set(Some(this.clone()));
                this.reader.set(Some(reader));
                return Ok(Step::Yield(this.to_obj()));
            }
            let future = Ref::<Future>::create(&loop_)?;
            future.set_blocking(true);
            return Ok(Self::delegate(this, reader, future.into_obj()));
        }
        let names = names::get();
        let future = reader.loop_.get_or_none().method0(&names.create_future)?;
        future.set_attr(&names.asyncio_future_blocking, &Obj::bool(true))?;
        Ok(Self::delegate(this, reader, future))
    }

    fn delegate(this: &Ref<Self>, reader: Ref<Reader>, future: Obj) -> Step {
        reader.waiter.set(Some(future.clone()));
        this.waits_with.set(future.clone());
        this.state.set(State::Delegated);
        this.reader.set(Some(reader));
        Step::Yield(future)
    }

    #[cold]
    fn somebody_else_waits(&self) -> Raised {
        let name = match (self.call, self.argument.get()) {
            (Call::Data, Some(name)) => value::str_of(&name).and_then(|name| value::text(&name)),
            _ => Ok(self.call.waits_as().to_owned()),
        };
        match name {
            Ok(name) => Raised::runtime_error(&format!(
                "{name}() called while another coroutine is already waiting for incoming data"
            )),
            Err(raised) => raised,
        }
    }

    /// Sent into while it waits, in `state`: it does not wait any more.
    #[inline]
    pub(super) fn waited(this: &Ref<Self>, state: State) -> Res<Step> {
        let reader = this.leave();
        let waited_with = this.waits_with.take();
        let Some(reader) = reader else { return Ok(Step::Return(Obj::none())) };
        match (state, waited_with) {
            (State::Woken, task) => drop(task),
            (State::Cancelled, _) => {
                return Err(Raised::from_exception(&this.new_cancelled_error()?));
            }
            (State::Delegated, Some(future)) => outcome(&future)?,
            _ => return Err(too_early()),
        }
        Self::resume(this, reader)
    }

    /// Waits no more: takes the reader, where another's wait is none of our business.
    #[inline]
    pub(super) fn leave(&self) -> Option<Ref<Reader>> {
        let reader = self.reader.take()?;
        if reader.waiting.get().is_some_and(|read| std::ptr::eq::<Self>(&*read, self)) {
            drop(reader.waiting.take());
        }
        if let Some(waiter) = reader.waiter.get()
            && self.waits_with.is(&waiter)
        {
            drop(reader.waiter.take());
        }
        Some(reader)
    }

    /// Thrown into or closed.
    pub(super) fn abandon(&self) {
        self.state.set(State::Spent);
        let reader = self.leave();
        let waited_with = self.waits_with.take();
        drop((reader, waited_with));
    }

    /// A task waits in it, and nothing has come yet.
    #[inline]
    pub(crate) fn is_waiting(&self) -> bool {
        self.state.get() == State::Waiting
    }

    /// Whether it will wake this task, or has done so.
    #[inline]
    pub(crate) fn holds(&self, task: &Ref<Task>) -> bool {
        matches!(self.state.get(), State::Waiting | State::Woken | State::Cancelled)
            && self.waits_with.is(task.as_obj())
    }

    /// The reader has what it waits for.
    #[inline]
    pub(super) fn wake(this: &Ref<Self>) -> Res<()> {
        if this.is_waiting() { Self::end_wait(this, State::Woken) } else { Ok(()) }
    }

    /// `cancel(msg)`, asked by the task that waits.
    pub(crate) fn cancel(this: &Ref<Self>, message: Option<Obj>) -> Res<bool> {
        if !this.is_waiting() {
            return Ok(false);
        }
        this.argument.set(message);
        Self::end_wait(this, State::Cancelled).map(|()| true)
    }

    #[inline]
    fn end_wait(this: &Ref<Self>, state: State) -> Res<()> {
        this.state.set(state);
        match this.waits_with.get_native() {
            Some(task) => task.woken_by(this.as_obj()),
            None => Ok(()),
        }
    }

    /// What a task that was cancelled throws in at the await.
    #[inline]
    pub(crate) fn cancelled_error(&self) -> Res<Option<Obj>> {
        if self.state.get() == State::Cancelled {
            self.new_cancelled_error().map(Some)
        } else {
            Ok(None)
        }
    }

    #[cold]
    fn new_cancelled_error(&self) -> Res<Obj> {
        let class = &imports::get().cancelled_error;
        match self.argument.take() {
            Some(message) => class.call1(&message),
            None => class.call0(),
        }
    }

    /// The future that stands for its wait from now on; none while no task waits in it.
    #[cold]
    pub(crate) fn into_future(this: &Ref<Self>) -> Res<Option<Ref<Future>>> {
        let state = this.state.get();
        if state == State::Delegated {
            let future = this.waits_with.get();
            return Ok(future.and_then(|future| Ref::<Future>::try_from_exact(future).ok()));
        }
        let Some(task) = this.waits_with.get_native() else { return Ok(None) };
        let (Some(reader), Some(loop_)) = (this.reader.get(), task.future().native_loop()) else {
            return Ok(None);
        };
        let future = Ref::<Future>::create(&loop_)?;
        match state {
            State::Waiting if task.waits_for(this.as_obj()) => future.add_waiter(task.clone()),
            State::Woken => future.set_result(Obj::none())?,
            State::Cancelled => drop(future.cancel(this.argument.take())?),
            _ => {}
        }
        if reader.waiting.is(this.as_obj()) {
            drop(reader.waiting.take());
            reader.waiter.set(Some(future.to_obj()));
        }
        this.waits_with.set(future.to_obj());
        this.state.set(State::Delegated);
        if !task.waits_for_instead(this.as_obj(), future.as_obj()) {
            // Whoever yields it is still to come.
            future.set_blocking(true);
        }
        Ok(Some(future))
    }
}

/// The native task that runs now, if the reader's loop does.
#[inline]
fn native_task(loop_: &Ref<LoopState>) -> Res<Option<Ref<Task>>> {
    if is_running_here(loop_) && !loop_.call_soon_replaced.get() {
        registry::current(loop_)
    } else {
        Ok(None)
    }
}

/// Raises what the future ended with.
fn outcome(future: &Obj) -> Res<()> {
    if let Some(future) = Ref::<Future>::exact(future) {
        return if future.is_done() { future.outcome().map(drop) } else { Err(too_early()) };
    }
    if !future.method0(&names::get().done)?.is_true()? {
        return Err(too_early());
    }
    future.method0(&names::get().result).map(drop)
}

#[cold]
fn too_early() -> Raised {
    Raised::runtime_error("await wasn't used with future")
}
