//! `Future`: a result that is not there yet, and who waits for it.
//!
//! What lives here: the state and its transitions, cancelling. Who is told is in `callbacks.rs`, who
//! awaits in `awaited_by.rs`, the Python face in `slots.rs`, `iter(future)` in `iter.rs`. Not here: what a task does with it (`task`).
//! Owner thread, as asyncio's: nothing is locked.
//!
//! | state | `result` holds | from |
//! |---|---|---|
//! | pending | nothing | made |
//! | finished | the value, or the exception (`failed`) | `set_result`, `set_exception` |
//! | cancelled | nothing | `cancel` |
//!
//! A native task that awaits a native future stands in the callback list as itself: no handle, no
//! bound method, no context is made for it. Invariant: leaving `pending` empties the list once.

#[cfg(Py_3_14)]
pub(crate) mod awaited_by;
mod callbacks;
pub(crate) mod iter;
pub(crate) mod slots;

use std::cell::Cell;
use std::ffi::c_int;

use pyo3::ffi as c;

use self::callbacks::{Callback, Others};
use crate::ffi::native::{Extends, Native, TypeCell};
use crate::ffi::send::{Awaitable, Step};
use crate::ffi::slot::Visit;
use crate::ffi::{EitherSlot, Obj, Raised, Ref, Res, Slot};
use crate::loop_state::{self, LoopState};
use crate::rare::Rare;
use crate::{imports, names};

#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(crate) enum State {
    Pending,
    Finished,
    Failed,
    Cancelled,
}

/// What few futures need.
#[derive(Default)]
struct Details {
    /// The traceback the exception came with, put back each time it is raised.
    exception_traceback: Option<Obj>,
    cancel_message: Option<Obj>,
    /// The `CancelledError` that ended a task, raised once by whoever asks first.
    cancelled_error: Option<Obj>,
    source_traceback: Option<Obj>,
    /// What a task's next step throws: it yielded the wrong thing.
    thrown: Option<Obj>,
    /// The set of those that said they await it.
    #[cfg(Py_3_14)]
    declared_waiters: Option<Obj>,
}

/// The body of `_rulip.Future`; what a task's step asks stands at the front.
#[repr(C)]
pub(crate) struct Future {
    loop_: EitherSlot<LoopState>,
    state: Cell<State>,
    /// `_asyncio_future_blocking`: it was yielded by an `await`, not by a stray `yield`.
    blocking: Cell<bool>,
    /// It holds an exception that nobody has looked at.
    log_traceback: Cell<bool>,
    details: Rare<Details>,
    result: Slot,
    /// The first callback, and only then the others: most futures have one.
    first: Cell<Option<Callback>>,
    rest: Cell<Option<Others>>,
    dict: Cell<*mut c::PyObject>,
    weakrefs: Cell<*mut c::PyObject>,
}

static TYPE: TypeCell = TypeCell::new();

const UNINITIALISED: &str = "Future object is not initialized.";

// SAFETY: every reference held is visited.
#[allow(unsafe_code, reason = "a promise about the layout or the collector, no operation")]
unsafe impl Native for Future {
    const RECYCLED: bool = true;
    const HAS_FINALIZER: bool = true;

    fn type_cell() -> &'static TypeCell {
        &TYPE
    }

    fn traverse(&self, visit: &Visit) -> Result<(), c_int> {
        self.loop_.visit(visit)?;
        self.result.visit(visit)?;
        visit.raw(self.dict.get())?;
        let first = self.first.take();
        let seen = first.as_ref().map_or(Ok(()), |callback| callback.visit(visit));
        self.first.set(first);
        seen?;
        let rest = self.rest.take();
        let seen =
            rest.iter().flat_map(|list| list.iter()).try_for_each(|callback| callback.visit(visit));
        self.rest.set(rest);
        seen?;
        let seen = self.details.read(|details| {
            [
                &details.exception_traceback,
                &details.cancel_message,
                &details.cancelled_error,
                &details.source_traceback,
                &details.thrown,
                #[cfg(Py_3_14)]
                &details.declared_waiters,
            ]
            .into_iter()
            .flatten()
            .try_for_each(|obj| visit.obj(obj))
        });
        seen.unwrap_or(Ok(()))
    }

    fn clear(&self) {
        drop(self.first.take());
        drop(self.rest.take());
        drop(self.result.take());
        drop(self.details.take());
        drop(self.take_dict());
        drop(self.loop_.take());
    }

    fn weakrefs(&self) -> *mut c::PyObject {
        self.weakrefs.get()
    }

    fn wants_finalizer(&self) -> bool {
        self.log_traceback.get()
    }

    fn finalize(this: &Ref<Self>) {
        this.report_unretrieved();
    }

    fn unlink(&self, _me: *mut c::PyObject) {
        drop(self.take_dict());
    }
}

// SAFETY: the same type.
#[allow(unsafe_code, reason = "a promise about the layout or the collector, no operation")]
unsafe impl Extends<Self> for Future {}

impl Future {
    pub(crate) const WEAKREFS_AT: usize = std::mem::offset_of!(Self, weakrefs);
    pub(crate) const DICT_AT: usize = std::mem::offset_of!(Self, dict);

    /// A pending future on a native loop.
    #[inline(always)]
    pub(crate) fn pending(loop_: &Ref<LoopState>) -> Self {
        Self::on(EitherSlot::native(loop_))
    }

    /// Without a loop yet: between `__new__` and `__init__`.
    #[inline]
    pub(crate) fn blank() -> Self {
        Self::on(EitherSlot::empty())
    }

    #[inline(always)]
    fn on(loop_: EitherSlot<LoopState>) -> Self {
        Self {
            loop_,
            result: Slot::empty(),
            first: Cell::new(None),
            rest: Cell::new(None),
            details: Rare::new(),
            dict: Cell::new(std::ptr::null_mut()),
            weakrefs: Cell::new(std::ptr::null_mut()),
            state: Cell::new(State::Pending),
            blocking: Cell::new(false),
            log_traceback: Cell::new(false),
        }
    }

    /// `__init__`'s part: the loop given, or the current one.
    pub(crate) fn initialise(&self, me: &Obj, loop_: Option<&Obj>) -> Res<()> {
        if self.loop_.is_set() && imports::get().version >= (3, 15, 0) {
            let text = format!("{} object is already initialized", me.type_name());
            return Err(Raised::runtime_error(&text));
        }
        let loop_ = match loop_ {
            Some(loop_) if !loop_.is_none() => loop_.clone(),
            _ => imports::get().get_event_loop.call0()?,
        };
        drop((self.first.take(), self.rest.take(), self.result.take(), self.details.take()));
        self.state.set(State::Pending);
        self.blocking.set(false);
        self.log_traceback.set(false);
        let debug = match Ref::<LoopState>::downcast(&loop_) {
            Some(native) => native.debug.get(),
            None => loop_.method0(&names::get().get_debug)?.is_true()?,
        };
        self.loop_.set(loop_);
        if debug {
            self.note_source()?;
        }
        Ok(())
    }

    #[cold]
    pub(crate) fn note_source(&self) -> Res<()> {
        let stack = crate::handle::current_stack()?;
        drop(
            self.details.change(|details| std::mem::replace(&mut details.source_traceback, stack)),
        );
        Ok(())
    }

    fn take_dict(&self) -> Option<Obj> {
        crate::ffi::object::take_raw(&self.dict)
    }

    #[inline]
    pub(crate) fn state(&self) -> State {
        self.state.get()
    }

    #[inline]
    pub(crate) fn is_done(&self) -> bool {
        self.state.get() != State::Pending
    }

    #[inline]
    pub(crate) fn is_blocking(&self) -> bool {
        self.blocking.get()
    }

    #[inline]
    pub(crate) fn set_blocking(&self, blocking: bool) {
        self.blocking.set(blocking);
    }

    #[inline]
    pub(crate) fn loop_obj(&self) -> Res<Obj> {
        self.loop_.get().ok_or_else(|| Raised::runtime_error(UNINITIALISED))
    }

    #[inline]
    pub(crate) fn has_loop(&self, loop_: &Obj) -> bool {
        self.loop_.is(loop_)
    }

    /// The loop, if it is ours.
    #[inline]
    pub(crate) fn native_loop(&self) -> Option<Ref<LoopState>> {
        self.loop_.get_native()
    }

    pub(crate) fn clear_log_traceback(&self) {
        self.log_traceback.set(false);
    }

    pub(crate) fn source_traceback(&self) -> Option<Obj> {
        self.details.read(|details| details.source_traceback.clone()).flatten()
    }

    pub(crate) fn set_cancel_message(&self, message: Option<Obj>) {
        if message.is_none() && !self.details.is_used() {
            return;
        }
        drop(
            self.details.change(|details| std::mem::replace(&mut details.cancel_message, message)),
        );
    }

    pub(crate) fn cancel_message(&self) -> Option<Obj> {
        self.details.read(|details| details.cancel_message.clone()).flatten()
    }

    /// The `CancelledError` to raise: the one that ended the task, once, or a new one.
    pub(crate) fn make_cancelled_error(&self) -> Res<Obj> {
        let kept = self.details.change_used(|details| details.cancelled_error.take()).flatten();
        if let Some(error) = kept {
            return Ok(error);
        }
        match self.cancel_message() {
            Some(message) => imports::get().cancelled_error.call1(&message),
            None => imports::get().cancelled_error.call0(),
        }
    }

    pub(crate) fn keep_cancelled_error(&self, error: Obj) {
        drop(self.details.change(|details| details.cancelled_error.replace(error)));
    }

    /// A task's next step throws this.
    pub(crate) fn set_thrown(&self, error: Obj) {
        drop(self.details.change(|details| details.thrown.replace(error)));
    }

    #[inline]
    pub(crate) fn take_thrown(&self) -> Option<Obj> {
        self.details.change_used(|details| details.thrown.take()).flatten()
    }

    /// The exception, just as it is.
    pub(crate) fn exception_held(&self) -> Option<Obj> {
        if self.state() == State::Failed { self.result.get() } else { None }
    }

    #[cfg(Py_3_14)]
    fn declared_waiters(&self) -> Option<Obj> {
        self.details.read(|details| details.declared_waiters.clone()).flatten()
    }

    #[cfg(Py_3_14)]
    fn declare_waiters(&self, waiters: Option<Obj>) {
        drop(
            self.details
                .change(|details| std::mem::replace(&mut details.declared_waiters, waiters)),
        );
    }

    /// The exception, marked as seen, with the traceback it came with.
    pub(crate) fn seen_exception(&self) -> Option<Obj> {
        let exc = self.result.get()?;
        self.log_traceback.set(false);
        let traceback =
            self.details.change_used(|details| details.exception_traceback.take()).flatten();
        // Also where it came with none: raising it again must not let the traceback grow.
        exc.set_traceback(traceback.as_ref());
        Some(exc)
    }
}

impl Ref<Future> {
    /// `loop.create_future()`.
    #[inline]
    pub(crate) fn create(loop_: &Ref<LoopState>) -> Res<Self> {
        let this = Self::new(Future::pending(loop_))?;
        if loop_.debug.get() {
            this.note_source()?;
        }
        Ok(this)
    }

    /// Only what skipped `__init__` has no loop.
    #[inline]
    pub(crate) fn ensure_initialised(&self) -> Res<()> {
        if self.loop_.is_set() {
            return Ok(());
        }
        Err(Raised::runtime_error(UNINITIALISED))
    }

    #[cold]
    fn not_yet(&self, text: &str) -> Res<Obj> {
        let text = if self.loop_.is_set() { text } else { UNINITIALISED };
        Err(Raised::new(&imports::get().invalid_state_error, text))
    }

    fn ensure_pending(&self) -> Res<()> {
        self.ensure_initialised()?;
        if self.is_done() {
            return Err(Raised::new(&imports::get().invalid_state_error, "invalid state"));
        }
        Ok(())
    }

    /// `set_result(value)`.
    #[inline]
    pub(crate) fn set_result(&self, value: Obj) -> Res<()> {
        self.ensure_pending()?;
        self.result.set(Some(value));
        self.state.set(State::Finished);
        self.schedule_callbacks()
    }

    /// `set_exception(exc)`, for an exception instance that may be stored.
    pub(crate) fn set_exception(&self, exc: Obj) -> Res<()> {
        self.ensure_pending()?;
        let traceback = exc.traceback();
        if traceback.is_some() {
            drop(
                self.details.change(|details| {
                    std::mem::replace(&mut details.exception_traceback, traceback)
                }),
            );
        }
        self.result.set(Some(exc));
        self.state.set(State::Failed);
        self.schedule_callbacks()?;
        self.log_traceback.set(true);
        Ok(())
    }

    /// The future's own cancel: a task's asks its coroutine first (`Task::request_cancel`).
    pub(crate) fn cancel(&self, message: Option<Obj>) -> Res<bool> {
        self.log_traceback.set(false);
        if self.is_done() {
            return Ok(false);
        }
        self.ensure_initialised()?;
        self.state.set(State::Cancelled);
        self.set_cancel_message(message);
        self.schedule_callbacks()?;
        Ok(true)
    }

    /// `result()`.
    pub(crate) fn outcome(&self) -> Res<Obj> {
        match self.state.get() {
            State::Finished => Ok(self.result.get_or_none()),
            State::Failed => match self.seen_exception() {
                Some(exc) => Err(Raised::from_exception(&exc)),
                None => Ok(Obj::none()),
            },
            State::Cancelled => Err(Raised::from_exception(&self.make_cancelled_error()?)),
            State::Pending => self.not_yet("Result is not set."),
        }
    }

    /// "... exception was never retrieved".
    pub(crate) fn report_unretrieved(&self) {
        if !self.log_traceback.get() {
            return;
        }
        let Some(exc) = self.result.get() else { return };
        self.log_traceback.set(false);
        let names = names::get();
        let message = format!("{} exception was never retrieved", self.as_obj().type_name());
        let traceback = self.source_traceback();
        let mut more = vec![(&names.future, self.as_obj())];
        if let Some(traceback) = &traceback {
            more.push((&names.source_traceback, traceback));
        }
        let Some(loop_) = self.loop_.get() else { return };
        if let Err(raised) = loop_state::report_to(&loop_, &message, Some(&exc), &more) {
            raised.write_unraisable(self.as_obj());
        }
    }
}

impl Awaitable for Future {
    #[inline]
    fn poll(this: &Ref<Self>) -> Res<Step> {
        match this.state.get() {
            State::Pending => {
                if this.blocking.get() {
                    return Err(Raised::runtime_error("await wasn't used with future"));
                }
                this.blocking.set(true);
                Ok(Step::Yield(this.to_obj()))
            }
            State::Finished => Ok(Step::Return(this.result.get_or_none())),
            _ => this.outcome().map(Step::Return),
        }
    }
}
