//! `shield`: a future that ends as another one does, and whose cancelling stops there.
//!
//! `Shield` is the outer future and the observer of both itself and the inner one. Not here: futures
//! and loops that are not ours, which go to asyncio's `shield`. Owner thread.
//!
//! | first done | a turn later |
//! |---|---|
//! | the inner one | the outer one ends likewise |
//! | the outer one | it no longer observes the inner one |
//!
//! Invariant: the outer one's end leaves the inner one as it is.

use std::cell::Cell;
use std::ffi::c_int;

use pyo3::ffi as c;

use crate::event_loop::run::running;
use crate::ffi::arguments::Args;
use crate::ffi::native::{Extends, Native, TypeCell, body_offset};
use crate::ffi::slot::Visit;
use crate::ffi::spec::TypeSpec;
use crate::ffi::trampoline::{getter, onearg};
use crate::ffi::{Obj, Raised, Ref, RefSlot, Res, Slot};
use crate::future::{Future, State};
use crate::imports;
use crate::loop_state::{Job, LoopState};
use crate::task::{self, Task, registry};

/// The body of `_rulip.ShieldingFuture`.
#[repr(C)]
pub(crate) struct Shield {
    future: Future,
    inner: RefSlot<Future>,
    /// The task that called `shield()`, for call graphs (from 3.14 on).
    awaiter: Slot,
    /// The next job is that of the outer one's end.
    outer_ended: Cell<bool>,
}

static TYPE: TypeCell = TypeCell::new();

// SAFETY: every reference held is visited.
#[allow(unsafe_code, reason = "a promise about the layout or the collector, no operation")]
unsafe impl Native for Shield {
    const RECYCLED: bool = true;
    const HAS_FINALIZER: bool = true;

    fn type_cell() -> &'static TypeCell {
        &TYPE
    }

    fn traverse(&self, visit: &Visit) -> Result<(), c_int> {
        self.future.traverse(visit)?;
        self.inner.visit(visit)?;
        self.awaiter.visit(visit)
    }

    fn clear(&self) {
        self.future.clear();
        drop(self.inner.take());
        drop(self.awaiter.take());
    }

    fn weakrefs(&self) -> *mut c::PyObject {
        self.future.weakrefs()
    }

    fn wants_finalizer(&self) -> bool {
        self.future.wants_finalizer()
    }

    fn finalize(this: &Ref<Self>) {
        this.outer().report_unretrieved();
    }

    fn unlink(&self, me: *mut c::PyObject) {
        self.future.unlink(me);
    }
}

// SAFETY: `repr(C)`, the future stands first.
#[allow(unsafe_code, reason = "a promise about the layout or the collector, no operation")]
unsafe impl Extends<Future> for Shield {}

/// `shield(arg)`.
pub(crate) fn shield(args: &Args<'_>) -> Res<Obj> {
    if let ([arg], false) = (args.positional(), args.has_keywords())
        && imports::get().shield_is_silent
    {
        if let Some(inner) = task::native_future(arg)
            && let Some(loop_) = inner.native_loop()
        {
            return shielded(&loop_, inner);
        }
        if task::is_plain_coroutine(arg)
            && let Some(loop_) = running()
            && loop_.makes_plain_tasks()
        {
            return shielded(&loop_, Task::spawn(&loop_, arg, None, None)?.parent());
        }
    }
    args.pass_to(&imports::get().shield)
}

fn shielded(loop_: &Ref<LoopState>, inner: &Ref<Future>) -> Res<Obj> {
    if inner.is_done() {
        return Ok(inner.to_obj());
    }
    let this = Ref::new(Shield {
        future: Future::pending(loop_),
        inner: RefSlot::new(Some(inner.clone())),
        awaiter: Slot::empty(),
        outer_ended: Cell::new(false),
    })?;
    if loop_.debug.get() {
        this.future.note_source()?;
    }
    if cfg!(Py_3_14)
        && let Some(task) = registry::current(loop_)?
    {
        this.awaiter.set(Some(task.into_obj()));
    }
    inner.add_observer(this.to_obj());
    this.future.add_observer(this.to_obj());
    Ok(this.into_obj())
}

impl Shield {
    /// The task that waits for the inner future by way of the outer one.
    #[cfg(Py_3_14)]
    pub(crate) fn awaiter(&self) -> Option<Obj> {
        if self.future.is_done() { None } else { self.awaiter.get() }
    }
}

impl Ref<Shield> {
    fn outer(&self) -> &Ref<Future> {
        self.parent()
    }

    /// One of the two is done.
    pub(crate) fn note_done(&self, loop_: &LoopState, future: &Ref<Future>) {
        if future.as_obj().is(self.as_obj()) {
            if self.inner.get().is_none_or(|inner| inner.is_done()) {
                return;
            }
            self.outer_ended.set(true);
        }
        loop_.push(Job::Shield(self.clone()));
    }

    /// The job of an end: of the outer one first, if that ended first.
    pub(crate) fn run(&self) -> Res<()> {
        let Some(inner) = self.inner.get() else { return Ok(()) };
        if self.outer_ended.take() {
            if !inner.is_done() {
                inner.remove_observer(self.as_obj());
                self.inner.set(None);
            }
            return Ok(());
        }
        let outer = self.outer();
        if outer.state() == State::Cancelled {
            if !cfg!(Py_3_14) && inner.state() == State::Failed {
                // Nobody is left to see it.
                inner.clear_log_traceback();
            }
            return Ok(());
        }
        let ended = match inner.state() {
            State::Cancelled => outer.cancel(None).map(drop),
            State::Failed => match inner.seen_exception() {
                Some(exc) => outer.set_exception(exc),
                None => Ok(()),
            },
            State::Finished => outer.set_result(inner.outcome()?),
            State::Pending => Ok(()),
        };
        ended.or_else(|raised| self.report(&inner, raised))
    }

    /// Somebody else has set the outer one's result: reported as asyncio reports its own callback.
    #[cold]
    fn report(&self, inner: &Ref<Future>, raised: Raised) -> Res<()> {
        let exc = raised.take();
        let Some(loop_) = self.future.native_loop() else { return Ok(()) };
        let message = format!(
            "Exception in callback shield.<locals>._inner_done_callback({})",
            inner.as_obj().repr()?
        );
        LoopState::report(&loop_, &message, Some(&exc), &[])
    }
}

pub(crate) fn build() -> Res<Obj> {
    let future_at = std::mem::offset_of!(Shield, future);
    TypeSpec::new::<Shield>(
        c"rulip._rulip.ShieldingFuture",
        c"What shield() returns: a future that ends as another one does.",
    )
    .base(Future::type_cell())
    .not_callable()
    .weakrefs_at(body_offset::<Shield>(future_at + Future::WEAKREFS_AT))
    .dict_at(body_offset::<Shield>(future_at + Future::DICT_AT))
    .methods([onearg(
        c"_done_callback",
        c"One of the two futures is done.",
        |this: &Ref<Shield>, _: &Obj| {
            this.run()?;
            Ok(Obj::none())
        },
    )])
    .attributes([getter(c"__class__", c"asyncio.Future", |_: &Ref<Shield>| {
        Ok(imports::get().future_class.clone())
    })])
    .build(Shield::type_cell())
}
