//! Leaving a task group: `__aexit__` waits for the tasks, then says what became of them.
//!
//! Here: the coroutine, a state machine that mirrors asyncio's line by line, in the dialect of this
//! Python. Not here: what a task's end does (`mod.rs`). Owner thread.
//!
//! | state | meaning |
//! |---|---|
//! | new | never awaited: dropping it warns |
//! | waiting | for the future that the last task's end sets |
//! | busy | runs |
//! | spent | over |
//!
//! Invariant: the parent's count of cancel requests is what it was before the group cancelled it.

use std::cell::Cell;
use std::ffi::{CStr, c_int};

use super::{TaskGroup, dialect, is_base_error};
use crate::coroutine::{self, Coroutine};
use crate::ffi::native::{Native, TypeCell};
use crate::ffi::send::{self, Awaitable, Step};
use crate::ffi::slot::Visit;
use crate::ffi::spec::TypeSpec;
use crate::ffi::{Obj, Raised, Ref, RefSlot, Res, Slot, value};
use crate::future::Future;
use crate::{imports, names, task};

#[derive(Copy, Clone, PartialEq, Eq, Debug)]
enum State {
    New,
    Waiting,
    Busy,
    Spent,
}

/// The body of `_rulip.TaskGroupExit`.
pub(crate) struct Exit {
    group: RefSlot<TaskGroup>,
    /// What the block raised.
    exc_type: Slot,
    exc: Slot,
    /// The cancellation to pass on.
    propagated: Slot,
    /// The last cancellation that came while waiting.
    pending: Slot,
    /// What is awaited: the iterator of the group's future.
    awaited: Slot,
    state: Cell<State>,
}

static TYPE: TypeCell = TypeCell::new();

// SAFETY: every reference held is visited.
#[allow(unsafe_code, reason = "a promise about the layout or the collector, no operation")]
unsafe impl Native for Exit {
    const HAS_FINALIZER: bool = true;

    fn type_cell() -> &'static TypeCell {
        &TYPE
    }

    fn traverse(&self, visit: &Visit) -> Result<(), c_int> {
        self.group.visit(visit)?;
        [&self.exc_type, &self.exc, &self.propagated, &self.pending, &self.awaited]
            .into_iter()
            .try_for_each(|slot| slot.visit(visit))
    }

    fn clear(&self) {
        drop(self.group.take());
        self.forget();
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

impl Exit {
    /// `__aexit__(et, exc, tb)`.
    pub(crate) fn make(
        group: &Ref<TaskGroup>,
        exc_type: Option<Obj>,
        exc: Option<Obj>,
    ) -> Res<Obj> {
        let body = Self {
            group: RefSlot::new(Some(group.clone())),
            exc_type: Slot::new(exc_type),
            exc: Slot::new(exc),
            propagated: Slot::empty(),
            pending: Slot::empty(),
            awaited: Slot::empty(),
            state: Cell::new(State::New),
        };
        Ref::new(body).map(Ref::into_obj)
    }

    fn forget(&self) {
        for slot in [&self.exc_type, &self.exc, &self.propagated, &self.pending, &self.awaited] {
            drop(slot.take());
        }
    }

    fn raised_in_block(&self) -> bool {
        self.exc_type.is_set()
    }

    /// Whether the block ended by a cancellation.
    fn was_cancelled(&self) -> Res<bool> {
        let Some(exc_type) = self.exc_type.get() else { return Ok(false) };
        exc_type.is_subclass(&imports::get().cancelled_error)
    }

    fn begin(&self, group: &Ref<TaskGroup>) -> Res<Step> {
        group.exiting.set(true);
        if let Some(exc) = self.exc.get()
            && is_base_error(&exc)?
            && !group.base_error.is_set()
        {
            group.base_error.set(Some(exc));
        }
        if self.was_cancelled()? {
            self.propagated.set(self.exc.get());
        }
        if dialect::get().uncancels_early {
            self.uncancel(group)?;
        }
        if self.raised_in_block() && !group.aborting.get() {
            group.call_abort()?;
        }
        self.wait(group)
    }

    /// Takes the group's own request to cancel the parent back.
    fn uncancel(&self, group: &Ref<TaskGroup>) -> Res<()> {
        if !group.parent_cancel_requested.get() {
            return Ok(());
        }
        let Some(parent) = group.parent.get() else { return Ok(()) };
        if task::uncancel(&parent)? == 0 {
            self.propagated.set(None);
        } else if dialect::get().keeps_cancellation && !self.propagated.is_set() {
            self.propagated.set(self.pending.get());
        }
        Ok(())
    }

    /// While there are tasks: waits for the last one's end.
    fn wait(&self, group: &Ref<TaskGroup>) -> Res<Step> {
        while !group.members.is_empty() {
            let future = match group.on_completed.get() {
                Some(future) => future,
                None => {
                    let future = match group.loop_.get_native() {
                        Some(loop_) => Ref::<Future>::create(&loop_)?.into_obj(),
                        None => group.loop_.get_or_none().method0(&names::get().create_future)?,
                    };
                    group.on_completed.set(Some(future.clone()));
                    future
                }
            };
            let iterator = send::awaitable_iterator(&future)?;
            self.awaited.set(Some(iterator.clone()));
            if let Some(yielded) = self.waited(group, send::send_none(&iterator))? {
                return Ok(Step::Yield(yielded));
            }
        }
        self.finish(group).map(Step::Return)
    }

    /// What the future said: what to yield, or that it is over.
    fn waited(&self, group: &Ref<TaskGroup>, step: Res<Step>) -> Res<Option<Obj>> {
        match step {
            Ok(Step::Yield(yielded)) => return Ok(Some(yielded)),
            Ok(Step::Return(_)) => {}
            Err(raised) => {
                if !raised.matches(&imports::get().cancelled_error) {
                    return Err(raised);
                }
                let exc = raised.take();
                self.pending.set(Some(exc.clone()));
                if !group.aborting.get() {
                    // The parent is being cancelled, not by us.
                    self.propagated.set(Some(exc));
                    group.call_abort()?;
                }
            }
        }
        self.awaited.set(None);
        group.on_completed.set(None);
        Ok(None)
    }

    fn finish(&self, group: &Ref<TaskGroup>) -> Res<Obj> {
        let dialect = dialect::get();
        if let Some(error) = group.base_error.get() {
            return Err(Raised::from_exception(&error));
        }
        if !dialect.uncancels_early {
            self.uncancel(group)?;
        }
        if let Some(error) = self.propagated.get()
            && !group.has_errors()?
        {
            return Err(Raised::from_exception(&error));
        }
        if self.raised_in_block() && !self.was_cancelled()? {
            value::append(&group.errors()?, &self.exc.get_or_none())?;
        }
        if !group.has_errors()? {
            return Ok(if dialect.suppresses { Obj::bool(true) } else { Obj::none() });
        }
        if dialect.cancels_again
            && let Some(parent) = group.parent.get()
            && task::cancelling(&parent)? > 0
        {
            task::uncancel(&parent)?;
            task::cancel(&parent, None)?;
        }
        self.raise_errors(group)
    }

    fn raise_errors(&self, group: &Ref<TaskGroup>) -> Res<Obj> {
        let errors = group.errors()?;
        if dialect::get().knows_generator_exit
            && value::len(&errors)? == 1
            && let (Some(exc_type), Some(exc)) = (self.exc_type.get(), self.exc.get())
            && exc_type.is_subclass(&task::builtin("GeneratorExit")?)?
        {
            return Err(Raised::from_exception(&exc));
        }
        let text = value::str("unhandled errors in a TaskGroup")?;
        let made = imports::get().base_exception_group.call(&[&text, &errors]);
        // Exceptions are part of cycles: not kept.
        group.errors.set(None);
        group.errors_gone.set(true);
        let raised = Raised::from_exception(&made?);
        let raised_group = raised.take();
        raised_group.set_cause(None);
        raised_group.set_attr(&value::interned(c"__suppress_context__")?, &Obj::bool(true))?;
        Err(Raised::restore(raised_group))
    }

    /// Comes back with the step; what ends the coroutine lets go of everything.
    fn conclude(&self, group: &Ref<TaskGroup>, result: Res<Step>) -> Res<Step> {
        match result {
            Ok(Step::Yield(yielded)) => {
                self.state.set(State::Waiting);
                Ok(Step::Yield(yielded))
            }
            Ok(done) => {
                self.leave(group);
                Ok(done)
            }
            Err(raised) => {
                let exc = raised.take();
                self.leave(group);
                Err(Raised::restore(exc))
            }
        }
    }

    fn leave(&self, group: &Ref<TaskGroup>) {
        self.state.set(State::Spent);
        if dialect::get().forgets {
            group.parent.set(None);
            group.errors.set(None);
            group.errors_gone.set(true);
            group.base_error.set(None);
        }
        drop(self.group.take());
        self.forget();
    }
}

impl Ref<Exit> {
    fn group(&self) -> Res<Ref<TaskGroup>> {
        match self.state.get() {
            State::Busy => Err(coroutine::busy()),
            State::New | State::Waiting => self.group.get().ok_or_else(coroutine::reused),
            State::Spent => Err(coroutine::reused()),
        }
    }

    fn throw(&self, exc: &Obj) -> Res<Step> {
        let group = self.group()?;
        if self.state.replace(State::Busy) == State::New {
            // Thrown in before it began: nothing is left to do.
            self.state.set(State::Spent);
            self.forget();
            return Err(Raised::from_exception(exc));
        }
        let step = match self.awaited.get() {
            Some(iterator) => send::throw_into(&iterator, exc),
            None => Err(Raised::restore(exc.clone())),
        };
        let result = match self.waited(&group, step) {
            Ok(Some(yielded)) => Ok(Step::Yield(yielded)),
            Ok(None) => self.wait(&group),
            Err(raised) => Err(raised),
        };
        self.conclude(&group, result)
    }

    fn close(&self) -> Res<()> {
        let state = self.state.replace(State::Spent);
        if state == State::Busy {
            self.state.set(state);
            return Err(coroutine::busy());
        }
        match self.group.get() {
            Some(group) if state == State::Waiting => self.leave(&group),
            _ => self.forget(),
        }
        Ok(())
    }
}

impl Awaitable for Exit {
    fn poll(this: &Ref<Self>) -> Res<Step> {
        let group = this.group()?;
        let result = match (this.state.replace(State::Busy), this.awaited.get()) {
            (State::Waiting, Some(iterator)) => {
                match this.waited(&group, send::send_none(&iterator)) {
                    Ok(Some(yielded)) => Ok(Step::Yield(yielded)),
                    Ok(None) => this.wait(&group),
                    Err(raised) => Err(raised),
                }
            }
            _ => this.begin(&group),
        };
        this.conclude(&group, result)
    }
}

impl Coroutine for Exit {
    fn throw(this: &Ref<Self>, exc: &Obj) -> Res<Step> {
        this.throw(exc)
    }

    fn close(this: &Ref<Self>) -> Res<()> {
        this.close()
    }

    fn name(&self) -> &'static CStr {
        c"TaskGroup.__aexit__"
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

pub(crate) fn build() -> Res<Obj> {
    coroutine::faced::<Exit>(TypeSpec::new::<Exit>(
        c"rulip._rulip.TaskGroupExit",
        c"What TaskGroup.__aexit__() returns: a coroutine.",
    ))
    .build(Exit::type_cell())
}
