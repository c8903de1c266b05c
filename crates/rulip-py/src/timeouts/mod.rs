//! `timeout`, `timeout_at` and `Timeout`: a limit on the time a block takes.
//!
//! What lives here: the body of `Timeout`, entering, rescheduling, leaving. The Python face is in
//! `slots.rs`, the deadline in `limit.rs`, `wait_for` in `wait_for.rs`. Under a native task the
//! deadline is a bare entry of the loop's timers; elsewhere, and for classes derived from `Timeout`,
//! a handle of `call_at()`, as asyncio's.
//! Owner thread.
//!
//! | state | from |
//! |---|---|
//! | created | made |
//! | active | entered |
//! | expiring | time is up: the task was asked to cancel |
//! | expired, finished | left |
//!
//! Invariant: the task is asked to cancel at most once, and that request is taken back on leaving.

pub(crate) mod limit;
pub(crate) mod slots;
pub(crate) mod wait_for;

use std::cell::Cell;
use std::ffi::c_int;

use pyo3::ffi as c;

use self::limit::Limit;
use crate::event_loop::run::running;
use crate::ffi::native::{Native, TypeCell};
use crate::ffi::slot::Visit;
use crate::ffi::{Obj, Raised, Ref, RefSlot, Res, Slot, value};
use crate::loop_state::{Job, LoopState};
use crate::task::{self, Task, registry};
use crate::{imports, names};

#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(crate) enum State {
    Created,
    Active,
    Expiring,
    Expired,
    Finished,
}

impl State {
    fn name(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Active => "active",
            Self::Expiring => "expiring",
            Self::Expired => "expired",
            Self::Finished => "finished",
        }
    }
}

/// The body of `_rulip.Timeout`.
pub(crate) struct Timeout {
    /// The deadline as it was given, or as somebody asked for it.
    when: Slot,
    /// The deadline in seconds where `when` was not given as an object.
    seconds: Cell<Option<f64>>,
    /// The task that entered.
    task: Slot,
    /// What asyncio has in `_timeout_handler`, where the deadline is a handle.
    handler: Slot,
    loop_: RefSlot<LoopState>,
    limit: Limit,
    /// The task's count of cancel requests on entering.
    cancelling: Cell<i64>,
    dict: Cell<*mut c::PyObject>,
    weakrefs: Cell<*mut c::PyObject>,
    state: Cell<State>,
}

static TYPE: TypeCell = TypeCell::new();

// SAFETY: every reference held is visited.
#[allow(unsafe_code, reason = "a promise about the layout or the collector, no operation")]
unsafe impl Native for Timeout {
    const RECYCLED: bool = true;

    fn type_cell() -> &'static TypeCell {
        &TYPE
    }

    fn traverse(&self, visit: &Visit) -> Result<(), c_int> {
        self.when.visit(visit)?;
        self.task.visit(visit)?;
        self.handler.visit(visit)?;
        self.loop_.visit(visit)?;
        visit.raw(self.dict.get())
    }

    fn clear(&self) {
        drop(self.when.take());
        drop(self.task.take());
        drop(self.handler.take());
        drop(self.take_dict());
    }

    fn weakrefs(&self) -> *mut c::PyObject {
        self.weakrefs.get()
    }

    fn unlink(&self, _me: *mut c::PyObject) {
        drop(self.take_dict());
    }
}

impl Timeout {
    fn take_dict(&self) -> Option<Obj> {
        crate::ffi::object::take_raw(&self.dict)
    }

    fn blank(when: Option<Obj>, seconds: Option<f64>) -> Self {
        Self {
            when: Slot::new(when.filter(|when| !when.is_none())),
            seconds: Cell::new(seconds),
            task: Slot::empty(),
            handler: Slot::empty(),
            loop_: RefSlot::empty(),
            limit: Limit::new(),
            cancelling: Cell::new(0),
            dict: Cell::new(std::ptr::null_mut()),
            weakrefs: Cell::new(std::ptr::null_mut()),
            state: Cell::new(State::Created),
        }
    }

    fn set_when(&self, when: Option<&Obj>) {
        self.seconds.set(None);
        self.when.set(when.filter(|when| !when.is_none()).cloned());
    }

    /// `when()`.
    fn when(&self) -> Res<Obj> {
        if !self.when.is_set()
            && let Some(seconds) = self.seconds.get()
        {
            self.when.set(Some(value::float(seconds)?));
        }
        Ok(self.when.get_or_none())
    }

    fn has_deadline(&self) -> bool {
        self.when.is_set() || self.seconds.get().is_some()
    }
}

/// The task that runs now, native or not; `None` outside any, an error outside a loop.
pub(crate) fn current_task() -> Res<Option<Obj>> {
    if let Some(loop_) = running()
        && let Some(task) = registry::current(&loop_)?
    {
        return Ok(Some(task.into_obj()));
    }
    let task = imports::get().current_task.call0()?;
    Ok(Some(task).filter(|task| !task.is_none()))
}

impl Ref<Timeout> {
    /// `__aenter__`'s work.
    fn enter(&self) -> Res<Obj> {
        if self.state.get() != State::Created {
            return Err(Raised::runtime_error("Timeout has already been entered"));
        }
        let Some(task) = current_task()? else {
            return Err(Raised::runtime_error("Timeout should be used inside a task"));
        };
        self.state.set(State::Active);
        self.cancelling.set(task::cancelling(&task)?);
        self.task.set(Some(task));
        self.arm()?;
        Ok(self.to_obj())
    }

    /// `reschedule(when)`.
    fn reschedule(&self, when: &Obj) -> Res<()> {
        match self.state.get() {
            State::Active => {}
            State::Created => return Err(Raised::runtime_error("Timeout has not been entered")),
            other => {
                let text = format!("Cannot change state of {} Timeout", other.name());
                return Err(Raised::runtime_error(&text));
            }
        }
        self.set_when(Some(when));
        self.disarm()?;
        self.arm()
    }

    fn arm(&self) -> Res<()> {
        if !self.has_deadline() {
            return Ok(());
        }
        if let Some(loop_) = running()
            && self.as_obj().type_ptr() == Timeout::type_cell().ptr()
            && self.task.get().is_some_and(|task| Ref::<Task>::exact(&task).is_some())
        {
            let when = match self.seconds.get() {
                Some(seconds) => seconds,
                None => value::as_f64(&self.when.get_or_none())?,
            };
            let now = loop_.time()?;
            self.loop_.set(Some(loop_.clone()));
            self.limit.arm(&loop_, when, now, Job::Timeout(self.clone()));
            return Ok(());
        }
        self.arm_by_handle()
    }

    /// As asyncio does it: through the running loop, whichever that is.
    fn arm_by_handle(&self) -> Res<()> {
        let names = names::get();
        let loop_ = imports::get().get_running_loop.call0()?;
        let when = self.when()?;
        let callback = self.as_obj().attr(&names.on_timeout)?;
        let handler = if when.at_most(&loop_.method0(&names.time)?)? {
            loop_.method1(&names.call_soon, &callback)?
        } else {
            loop_.attr(&names.call_at)?.call(&[&when, &callback])?
        };
        self.handler.set(Some(handler));
        Ok(())
    }

    fn disarm(&self) -> Res<()> {
        if let Some(loop_) = self.loop_.get() {
            drop(self.limit.disarm(&loop_));
        }
        if let Some(handler) = self.handler.take() {
            handler.method0(&names::get().cancel)?;
        }
        Ok(())
    }

    /// `_timeout_handler`: a handle, made when somebody asks.
    fn handler(&self) -> Res<Obj> {
        if self.limit.is_armed()
            && let Some(loop_) = self.loop_.get()
        {
            drop(self.limit.disarm(&loop_));
            self.arm_by_handle()?;
        }
        Ok(self.handler.get_or_none())
    }

    /// The job of a native deadline.
    pub(crate) fn run(&self) -> Res<()> {
        if self.limit.fires() { self.expire() } else { Ok(()) }
    }

    /// `_on_timeout()`.
    fn expire(&self) -> Res<()> {
        if self.state.get() != State::Active {
            return Err(Raised::bare(&task::builtin("AssertionError")?));
        }
        if let Some(task) = self.task.get() {
            task::cancel(&task, None)?;
        }
        self.state.set(State::Expiring);
        self.handler.set(None);
        Ok(())
    }

    /// `__aexit__`'s work.
    fn leave(&self, exc_type: Option<&Obj>, exc: Option<&Obj>) -> Res<Obj> {
        let state = self.state.get();
        if state != State::Active && state != State::Expiring {
            return Err(Raised::bare(&task::builtin("AssertionError")?));
        }
        self.disarm()?;
        if state == State::Active {
            self.state.set(State::Finished);
            return Ok(Obj::none());
        }
        self.state.set(State::Expired);
        let left = match self.task.get() {
            Some(task) => task::uncancel(&task)?,
            None => 0,
        };
        if left <= self.cancelling.get()
            && let Some(exc_type) = exc_type
        {
            convert(exc_type, exc)?;
        }
        Ok(Obj::none())
    }
}

/// The cancellation was only ours: raises `TimeoutError` from it, or puts one where it lies deeper.
fn convert(exc_type: &Obj, exc: Option<&Obj>) -> Res<()> {
    let imports = imports::get();
    let cancelled = if imports.inserts_timeout_error {
        exc_type.is_subclass(&imports.cancelled_error)?
    } else {
        exc_type.is(&imports.cancelled_error)
    };
    if cancelled {
        let error = timeout_error()?;
        error.set_context(exc.cloned());
        error.set_cause(exc.cloned());
        return Err(Raised::restore(error));
    }
    let Some(exc) = exc.filter(|_| imports.inserts_timeout_error) else { return Ok(()) };
    insert_timeout_error(exc)?;
    if exc.is_instance(&imports.exception_group)? {
        for inner in value::iterate(&exc.attr(&names::get().exceptions)?)? {
            insert_timeout_error(&inner)?;
        }
    }
    Ok(())
}

fn timeout_error() -> Res<Obj> {
    imports::get().timeout_error.call0()
}

/// Somebody caught our cancellation and raised something else: between the two comes a `TimeoutError`.
fn insert_timeout_error(exc: &Obj) -> Res<()> {
    let mut exc = exc.clone();
    while let Some(context) = exc.context() {
        if context.is_instance(&imports::get().cancelled_error)? {
            let error = timeout_error()?;
            error.set_context(Some(context.clone()));
            error.set_cause(Some(context));
            exc.set_context(Some(error));
            break;
        }
        exc = context;
    }
    Ok(())
}
