//! `gather`: one future of many results.
//!
//! What lives here: `Gathering`, asyncio's `_GatheringFuture`, and what it does as its children
//! end. Making one from arguments is in `making.rs`, the Python face in `slots.rs`. Not here:
//! arguments or loops that are not ours, which go to asyncio's own `gather`.
//! Owner thread.
//!
//! | a child ends | what happens |
//! |---|---|
//! | well, and others go on | it is counted, at once |
//! | well, as the last one | a job, where asyncio's callback would stand: the result is set |
//! | badly | a job: the exception is passed on, or only marked as seen |
//!
//! Invariant: the order of turns is asyncio's; a child is counted once.

mod making;
pub(crate) mod slots;

use std::cell::Cell;
use std::collections::VecDeque;
use std::ffi::c_int;

use pyo3::ffi as c;

use crate::ffi::native::{Extends, Native, TypeCell};
use crate::ffi::slot::Visit;
use crate::ffi::{Obj, Ref, Res, Slot, gc, value};
use crate::future::{Future, State};
use crate::imports;
use crate::loop_state::{Job, LoopState};
use crate::task;

pub(crate) use making::gather;

/// The body of `_rulip._GatheringFuture`.
#[repr(C)]
pub(crate) struct Gathering {
    future: Future,
    /// One per argument; one that was given twice stands here twice.
    children: Cell<Vec<Ref<Future>>>,
    /// Children whose jobs are queued, oldest first.
    ended: Cell<VecDeque<Ref<Future>>>,
    /// The task that called `gather()`, for call graphs (from 3.14 on).
    awaiter: Slot,
    /// Distinct children that are not counted yet.
    unfinished: Cell<usize>,
    return_exceptions: Cell<bool>,
    cancel_requested: Cell<bool>,
    /// All arguments were taken; until then nobody can wait for it.
    complete: Cell<bool>,
}

static TYPE: TypeCell = TypeCell::new();

// SAFETY: every reference held is visited.
#[allow(unsafe_code, reason = "a promise about the layout or the collector, no operation")]
unsafe impl Native for Gathering {
    const RECYCLED: bool = true;
    const HAS_FINALIZER: bool = true;

    fn type_cell() -> &'static TypeCell {
        &TYPE
    }

    fn traverse(&self, visit: &Visit) -> Result<(), c_int> {
        self.future.traverse(visit)?;
        self.awaiter.visit(visit)?;
        let children = self.children.take();
        let seen = children.iter().try_for_each(|child| visit.obj(child.as_obj()));
        self.children.set(children);
        seen?;
        let ended = self.ended.take();
        let seen = ended.iter().try_for_each(|child| visit.obj(child.as_obj()));
        self.ended.set(ended);
        seen
    }

    fn clear(&self) {
        self.future.clear();
        drop(self.awaiter.take());
        drop(self.children.take());
        drop(self.ended.take());
    }

    fn weakrefs(&self) -> *mut c::PyObject {
        self.future.weakrefs()
    }

    fn wants_finalizer(&self) -> bool {
        self.future.wants_finalizer()
    }

    fn finalize(this: &Ref<Self>) {
        this.future_ref().report_unretrieved();
    }

    fn unlink(&self, me: *mut c::PyObject) {
        self.future.unlink(me);
    }
}

// SAFETY: `repr(C)`, the future stands first.
#[allow(unsafe_code, reason = "a promise about the layout or the collector, no operation")]
unsafe impl Extends<Future> for Gathering {}

impl Gathering {
    fn new(loop_: &Ref<LoopState>, return_exceptions: bool, children: usize) -> Self {
        Self {
            future: Future::pending(loop_),
            children: Cell::new(Vec::with_capacity(children)),
            ended: Cell::new(VecDeque::new()),
            awaiter: Slot::empty(),
            unfinished: Cell::new(0),
            return_exceptions: Cell::new(return_exceptions),
            cancel_requested: Cell::new(false),
            complete: Cell::new(false),
        }
    }

    /// A copy of the children, so that nothing is borrowed while they are dealt with.
    fn children(&self) -> Vec<Ref<Future>> {
        let children = self.children.take();
        let copy = children.clone();
        self.children.set(children);
        copy
    }

    /// The task that waits for the children, until the outcome is known.
    #[cfg(Py_3_14)]
    pub(crate) fn awaiter(&self) -> Option<Obj> {
        if self.future.is_done() { None } else { self.awaiter.get() }
    }

    fn is_over(&self) -> bool {
        !self.complete.get() || self.future.is_done()
    }
}

impl Ref<Gathering> {
    pub(crate) fn future_ref(&self) -> &Ref<Future> {
        self.parent()
    }

    /// A child is done: queue what asyncio's callback would do, if it would do anything.
    #[inline]
    pub(crate) fn note_done(&self, loop_: &LoopState, child: &Ref<Future>) {
        let well = child.state() == State::Finished || self.return_exceptions.get();
        let mut ended = self.ended.take();
        let left = self.unfinished.get();
        if well && self.complete.get() && left > ended.len() + 1 {
            self.unfinished.set(left - 1);
            self.ended.set(ended);
            return;
        }
        ended.push_back(child.clone());
        self.ended.set(ended);
        loop_.push(Job::Gathering(self.clone()));
    }

    /// The job of a child's end.
    pub(crate) fn run(&self) -> Res<()> {
        let mut ended = self.ended.take();
        let child = ended.pop_front();
        self.ended.set(ended);
        match child {
            Some(child) => self.count(&child),
            None => Ok(()),
        }
    }

    /// What asyncio does in a child's callback.
    fn count(&self, child: &Ref<Future>) -> Res<()> {
        if self.is_over() {
            child.clear_log_traceback();
            self.unfinished.set(self.unfinished.get().saturating_sub(1));
            return Ok(());
        }
        if !self.return_exceptions.get() {
            let error = match child.state() {
                State::Cancelled => Some(child.make_cancelled_error()?),
                State::Failed => child.seen_exception(),
                State::Finished | State::Pending => None,
            };
            if let Some(error) = error {
                self.unfinished.set(self.unfinished.get().saturating_sub(1));
                return self.future_ref().set_exception(error);
            }
        }
        self.count_well()
    }

    fn count_well(&self) -> Res<()> {
        let left = self.unfinished.get().saturating_sub(1);
        self.unfinished.set(left);
        if left > 0 || self.is_over() {
            return Ok(());
        }
        let children = self.children();
        let outcomes: Res<Vec<Obj>> = children.iter().map(outcome).collect();
        let outcomes = outcomes?;
        if self.cancel_requested.get()
            && let Some(last) = children.last()
        {
            return self.future_ref().set_exception(last.make_cancelled_error()?);
        }
        self.future_ref().set_result(value::list(outcomes)?)
    }

    /// `cancel(msg)`: asks every child; this future ends when they do.
    pub(crate) fn cancel(&self, message: Option<&Obj>) -> Res<bool> {
        if self.future.is_done() {
            return Ok(false);
        }
        // Gatherings of gatherings: as deep as Python's own recursion may go.
        let any = gc::recursing(|| {
            let mut any = false;
            for child in self.children() {
                any |= task::cancel(child.as_obj(), message.cloned())?;
            }
            Ok(any)
        })?;
        if any {
            self.cancel_requested.set(true);
        }
        Ok(any)
    }
}

/// A child's place in the list of results.
fn outcome(child: &Ref<Future>) -> Res<Obj> {
    match child.state() {
        State::Finished => child.outcome(),
        State::Cancelled => {
            let message = match child.cancel_message() {
                Some(message) => message,
                None => value::str("")?,
            };
            imports::get().cancelled_error.call1(&message)
        }
        State::Failed => Ok(child.seen_exception().unwrap_or_else(Obj::none)),
        State::Pending => child.outcome(),
    }
}
