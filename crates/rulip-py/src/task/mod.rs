//! `Task`: a coroutine that the loop drives, and the future of its result.
//!
//! What lives here: the body, its making, cancelling. Stepping is in `step.rs`, who is current and
//! who exists in `registry.rs`, `sleep` in `sleep.rs`, other
//! waits in `waiter.rs`, the Python face in `slots.rs`.
//! Owner thread.
//!
//! | the task | `waiter` | in the ready queue |
//! |---|---|---|
//! | is ready | none | once |
//! | waits | what it awaits, which holds the task as a callback | no |
//! | runs | none | no |
//! | is done | none | no |
//!
//! Invariant: exactly one of "queued", "held by its waiter", "running", "done" holds, so a task is
//! stepped once per wake-up.

mod awaited_looks;
pub(crate) mod registry;
pub(crate) mod sleep;
pub(crate) mod slots;
pub(crate) mod step;
pub(crate) mod waiter;

pub(crate) use awaited_looks::{PassesForFuture, as_a_future};

use std::cell::Cell;
use std::ffi::c_int;
use std::sync::atomic::{AtomicUsize, Ordering};

use pyo3::ffi as c;

use crate::ffi::native::{Extends, Native, TypeCell};
use crate::ffi::slot::Visit;
use crate::ffi::{NumberOrObj, Obj, Raised, Ref, Res, Slot, call, context, send, value};
use crate::future::Future;
use crate::gather::Gathering;
use crate::imports;
use crate::loop_state::{self, LoopState};
use crate::names;
use crate::shield::Shield;
use crate::streams::drain::Drain;
use crate::streams::read::Read;
use crate::task::sleep::Sleep;
use crate::task::waiter::Waiter;
use crate::timeouts::wait_for::WaitFor;
use crate::waiting::Wait;

/// From this length on a chain of tasks that await each other is looked through.
const LONG_CHAIN: usize = 500;

/// `slot` of a task that is in no registry.
const UNREGISTERED: u32 = u32::MAX;

/// The body of `_rulip.Task`.
#[repr(C)]
pub(crate) struct Task {
    future: Future,
    coro: Slot,
    context: Slot,
    /// What it awaits.
    waiter: Slot,
    must_cancel: Cell<bool>,
    log_destroy_pending: Cell<bool>,
    initialised: Cell<bool>,
    /// The name, or the number of which one is made when asked for.
    name: NumberOrObj,
    cancel_requests: Cell<u32>,
    /// Where it stands in its loop's registry.
    slot: Cell<u32>,
    /// Where it stands in its task group, if it is in one.
    member: Cell<u32>,
}

static TYPE: TypeCell = TypeCell::new();
static NUMBERS: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every reference held is visited.
#[allow(unsafe_code, reason = "a promise about the layout or the collector, no operation")]
unsafe impl Native for Task {
    const RECYCLED: bool = true;
    const HAS_FINALIZER: bool = true;

    fn type_cell() -> &'static TypeCell {
        &TYPE
    }

    fn traverse(&self, visit: &Visit) -> Result<(), c_int> {
        self.future.traverse(visit)?;
        self.coro.visit(visit)?;
        self.context.visit(visit)?;
        self.waiter.visit(visit)?;
        self.name.visit(visit)
    }

    fn clear(&self) {
        self.unregister();
        self.future.clear();
        drop(self.coro.take());
        drop(self.context.take());
        drop(self.waiter.take());
    }

    fn weakrefs(&self) -> *mut c::PyObject {
        self.future.weakrefs()
    }

    fn wants_finalizer(&self) -> bool {
        self.future.wants_finalizer() || self.is_abandoned()
    }

    fn finalize(this: &Ref<Self>) {
        if this.is_abandoned() {
            // Whoever keeps the report keeps the task: it is not one of the loop's any more.
            this.unregister();
            Self::report_abandoned(this);
        }
        this.future_ref().report_unretrieved();
    }

    fn unlink(&self, me: *mut c::PyObject) {
        self.unregister();
        self.future.unlink(me);
    }
}

// SAFETY: `repr(C)`, the future stands first.
#[allow(unsafe_code, reason = "a promise about the layout or the collector, no operation")]
unsafe impl Extends<Future> for Task {}

impl Task {
    pub(crate) fn blank() -> Self {
        Self::of(Future::blank())
    }

    #[inline(always)]
    fn of(future: Future) -> Self {
        Self {
            future,
            coro: Slot::empty(),
            context: Slot::empty(),
            waiter: Slot::empty(),
            name: NumberOrObj::number(0),
            cancel_requests: Cell::new(0),
            slot: Cell::new(UNREGISTERED),
            member: Cell::new(UNREGISTERED),
            must_cancel: Cell::new(false),
            log_destroy_pending: Cell::new(false),
            initialised: Cell::new(false),
        }
    }

    /// `loop.create_task(coro)` without a factory: a task on a native loop, queued.
    pub(crate) fn spawn(
        loop_: &Ref<LoopState>,
        coro: &Obj,
        name: Option<&Obj>,
        context: Option<Obj>,
    ) -> Res<Ref<Self>> {
        let this = Self::unstarted(loop_, coro, name, context)?;
        registry::register(loop_, &this);
        step::again(&this, Some(loop_))?;
        Ok(this)
    }

    /// `loop.create_task(coro, eager_start=...)` without a factory (3.13.3 on).
    pub(crate) fn spawn_perhaps_eagerly(
        loop_: &Ref<LoopState>,
        coro: &Obj,
        name: Option<&Obj>,
        context: Option<Obj>,
        eagerly: bool,
    ) -> Res<Ref<Self>> {
        if !eagerly || !loop_.running.get() {
            return Self::spawn(loop_, coro, name, context);
        }
        let this = Self::unstarted(loop_, coro, name, context)?;
        step::start_eagerly(&this)?;
        Ok(this)
    }

    #[inline(always)]
    fn unstarted(
        loop_: &Ref<LoopState>,
        coro: &Obj,
        name: Option<&Obj>,
        context: Option<Obj>,
    ) -> Res<Ref<Self>> {
        check_coroutine(coro)?;
        if loop_.debug.get() {
            loop_.check_thread()?;
        }
        let this = Ref::new(Self::of(Future::pending(loop_)))?;
        this.prepare(coro, name, context)?;
        if loop_.debug.get() {
            this.future.note_source()?;
        }
        Ok(this)
    }

    /// What every way of making a task sets.
    fn prepare(&self, coro: &Obj, name: Option<&Obj>, context: Option<Obj>) -> Res<()> {
        match name {
            Some(name) => self.set_name(name)?,
            None => {
                // Attached threads take turns: a load and a store are enough.
                let number = NUMBERS.load(Ordering::Relaxed) + 1;
                NUMBERS.store(number, Ordering::Relaxed);
                self.name.set_number(number);
            }
        }
        let context = match context {
            Some(context) if context::is_context(&context) => context,
            Some(other) => {
                return Err(Raised::type_error(&format!(
                    "a contextvars.Context was expected, got {}",
                    other.type_name()
                )));
            }
            None => context::copy_current()?,
        };
        self.context.set(Some(context));
        self.coro.set(Some(coro.clone()));
        self.must_cancel.set(false);
        self.cancel_requests.set(0);
        self.log_destroy_pending.set(true);
        self.initialised.set(true);
        Ok(())
    }

    pub(crate) fn set_name(&self, name: &Obj) -> Res<()> {
        let name = if value::is_exact_str(name) { name.clone() } else { value::str_of(name)? };
        self.name.set_obj(name);
        Ok(())
    }

    pub(crate) fn name(&self) -> Res<Obj> {
        if let Some(name) = self.name.get_obj() {
            return Ok(name);
        }
        let Some(number) = self.name.as_number().filter(|number| *number > 0) else {
            return Ok(Obj::none()); // what skipped `__init__`
        };
        let name = value::str(&format!("Task-{number}"))?;
        self.name.set_obj(name.clone());
        Ok(name)
    }

    pub(crate) fn context(&self) -> Obj {
        self.context.get_or_none()
    }

    pub(crate) fn future(&self) -> &Future {
        &self.future
    }

    #[inline]
    pub(crate) fn set_member_number(&self, number: usize) {
        self.member.set(u32::try_from(number).unwrap_or(UNREGISTERED));
    }

    #[inline]
    pub(crate) fn member_number(&self) -> Option<usize> {
        Some(self.member.get() as usize).filter(|_| self.member.get() != UNREGISTERED)
    }

    /// `cancelling()`.
    #[inline]
    pub(crate) fn cancel_requests(&self) -> u32 {
        self.cancel_requests.get()
    }

    /// `uncancel()`: how many requests remain.
    pub(crate) fn uncancel(&self) -> u32 {
        let requests = self.cancel_requests.get();
        if requests > 0 {
            self.cancel_requests.set(requests - 1);
            if requests == 1 && cfg!(Py_3_13) {
                self.must_cancel.set(false);
            }
        }
        self.cancel_requests.get()
    }

    /// Still pending, and nobody is left to finish it.
    fn is_abandoned(&self) -> bool {
        self.initialised.get() && !self.future.is_done() && self.log_destroy_pending.get()
    }

    #[cold]
    fn report_abandoned(this: &Ref<Self>) {
        let names = names::get();
        let traceback = this.future.source_traceback();
        let Ok(loop_) = this.future.loop_obj() else { return };
        let mut more = vec![(&names.task, this.as_obj())];
        if let Some(traceback) = &traceback {
            more.push((&names.source_traceback, traceback));
        }
        let message = "Task was destroyed but it is pending!";
        if let Err(raised) = loop_state::report_to(&loop_, message, None, &more) {
            raised.write_unraisable(this.as_obj());
        }
    }

    /// `_fut_waiter`: what it awaits, and a future where that is a read.
    fn awaited(&self) -> Res<Option<Obj>> {
        let Some(waiter) = self.waiter.get() else { return Ok(None) };
        if let Some(read) = Ref::<Read>::exact(&waiter) {
            Read::into_future(read)?;
            return Ok(self.waiter.get());
        }
        Ok(Some(waiter))
    }

    #[inline]
    pub(crate) fn waits_for(&self, wait: &Obj) -> bool {
        self.waiter.is(wait)
    }

    /// Waits for something else that stands for the same from now on; false where it does not wait for it.
    pub(crate) fn waits_for_instead(&self, wait: &Obj, other: &Obj) -> bool {
        let waits = self.waiter.is(wait);
        if waits {
            self.waiter.set(Some(other.clone()));
        }
        waits
    }

    pub(crate) fn set_log_destroy_pending(&self, log: bool) {
        self.log_destroy_pending.set(log);
    }

    fn unregister(&self) {
        if self.slot.get() != UNREGISTERED
            && let Some(loop_) = self.future.native_loop()
        {
            registry::unregister(&loop_, self);
        }
    }

    /// `cancel(msg)`: asks what it awaits, down the chain of native tasks, to be cancelled; what
    /// awaits nothing that can be cancelled gets the `CancelledError` at its next step.
    pub(crate) fn request_cancel(this: &Ref<Self>, message: Option<Obj>) -> Res<bool> {
        // A group that is awaited comes back to us for each of its members.
        let _depth = call::Depth::enter(c" while cancelling a task")?;
        let mut chain: Vec<Ref<Self>> = Vec::new();
        let mut task = this.clone();
        let accepted = loop {
            // A chain so long may be a ring: tasks that await each other.
            if chain.len() > LONG_CHAIN && chain.iter().any(|seen| seen.as_obj().is(task.as_obj()))
            {
                let class = builtin("RecursionError")?;
                return Err(Raised::new(&class, "maximum recursion depth exceeded"));
            }
            task.future.clear_log_traceback();
            if task.future.is_done() {
                break false;
            }
            task.cancel_requests.set(task.cancel_requests.get().saturating_add(1));
            let waiter = task.waiter.get();
            chain.push(task);
            let Some(waiter) = waiter else { break false };
            if let Some(inner) = Ref::<Self>::exact(&waiter) {
                task = inner.clone();
                continue;
            }
            break cancel_waiter(&waiter, message.clone())?;
        };
        // Whoever was refused below is the one that must cancel by itself.
        if !accepted {
            let Some(last) = chain.last() else { return Ok(false) };
            last.must_cancel.set(true);
            last.future.set_cancel_message(message);
        }
        Ok(true)
    }
}

/// `future.cancel(msg)` for a future of any kind.
pub(crate) fn cancel(future: &Obj, message: Option<Obj>) -> Res<bool> {
    match Ref::<Task>::exact(future) {
        Some(task) => Task::request_cancel(task, message),
        None => cancel_waiter(future, message),
    }
}

/// `task.cancelling()` for a task of any kind.
pub(crate) fn cancelling(task: &Obj) -> Res<i64> {
    match Ref::<Task>::exact(task) {
        Some(task) => Ok(i64::from(task.cancel_requests())),
        None => value::as_i64(&task.method0(&names::get().cancelling)?),
    }
}

/// `task.uncancel()` for a task of any kind.
pub(crate) fn uncancel(task: &Obj) -> Res<i64> {
    match Ref::<Task>::exact(task) {
        Some(task) => Ok(i64::from(task.uncancel())),
        None => value::as_i64(&task.method0(&names::get().uncancel)?),
    }
}

fn cancel_waiter(waiter: &Obj, message: Option<Obj>) -> Res<bool> {
    if let Some(future) = Ref::<Future>::exact(waiter) {
        return future.cancel(message);
    }
    if let Some(gathering) = Ref::<Gathering>::exact(waiter) {
        return gathering.cancel(message.as_ref());
    }
    if let Some(shield) = Ref::<Shield>::exact(waiter) {
        return shield.parent().cancel(message);
    }
    if let Some(sleep) = Ref::<Sleep>::exact(waiter) {
        return Sleep::cancel(sleep, message);
    }
    if let Some(waiter) = Ref::<Waiter>::exact(waiter) {
        return waiter.cancel(message);
    }
    if let Some(read) = Ref::<Read>::exact(waiter) {
        return Read::cancel(read, message);
    }
    let names = names::get();
    waiter.method_kw(&names.cancel, &[], &names.msg, &message.unwrap_or_else(Obj::none))?.is_true()
}

impl Ref<Task> {
    /// What it may wait for is over: it goes on, if that is what it waits for.
    #[inline]
    pub(crate) fn woken_by(&self, wait: &Obj) -> Res<()> {
        if self.waits_for(wait) {
            step::again(self, self.future.native_loop().as_ref())
        } else {
            Ok(())
        }
    }

    pub(crate) fn future_ref(&self) -> &Ref<Future> {
        self.parent()
    }
}

/// A native future of any kind, but not of a class made in Python.
#[inline]
pub(crate) fn native_future(obj: &Obj) -> Option<&Ref<Future>> {
    if let Some(future) = Ref::<Future>::exact(obj) {
        return Some(future);
    }
    if let Some(task) = Ref::<Task>::exact(obj) {
        return Some(task.parent());
    }
    if let Some(gathering) = Ref::<Gathering>::exact(obj) {
        return Some(gathering.parent());
    }
    Ref::<Shield>::exact(obj).map(Ref::parent)
}

/// Known to be a coroutine without asking Python.
#[inline]
pub(crate) fn is_plain_coroutine(obj: &Obj) -> bool {
    send::is_coroutine(obj)
        || Ref::<Sleep>::exact(obj).is_some()
        || Ref::<WaitFor>::exact(obj).is_some()
        || Ref::<Waiter>::exact(obj).is_some()
        || Ref::<Wait>::exact(obj).is_some()
        || Ref::<Read>::exact(obj).is_some()
        || Ref::<Drain>::exact(obj).is_some()
}

/// `a coroutine was expected, got ...`
fn check_coroutine(coro: &Obj) -> Res<()> {
    if is_plain_coroutine(coro) {
        return Ok(());
    }
    if imports::get().iscoroutine.call1(coro)?.is_true()? {
        return Ok(());
    }
    Err(Raised::type_error(&format!("a coroutine was expected, got {}", coro.repr()?)))
}

/// `builtins.TypeError` and its like by name, for the cold paths of this module.
pub(crate) fn builtin(name: &str) -> Res<Obj> {
    call::import(c"builtins")?.attr(&value::str(name)?)
}
