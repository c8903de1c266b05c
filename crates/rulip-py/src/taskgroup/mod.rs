//! `TaskGroup`: tasks that end together.
//!
//! What lives here: the body, making tasks in the group, what the end of one does, aborting. Leaving
//! the block is in `exit.rs`, how this Python's groups behave in `dialect.rs`, the Python face in
//! `slots.rs`. Owner thread.
//!
//! | a task of ours ends | what happens |
//! |---|---|
//! | well or cancelled, and others go on | it is a member no more, at once |
//! | with an exception, or as the last one | a job, where asyncio's callback would stand |
//!
//! Tasks that are not plainly ours (a factory's, another loop's), and those of a class that has its
//! own `_on_task_done`, are watched by a bound method, as asyncio's are.
//!
//! Invariant: a native member stands in the slab under the number it carries, until it is discarded.

pub(crate) mod dialect;
mod exit;
mod members;
pub(crate) mod slots;

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::ffi::c_int;

use pyo3::ffi as c;

use self::members::Members;
use crate::event_loop::run::running;
use crate::ffi::native::{Native, TypeCell};
use crate::ffi::slot::Visit;
use crate::ffi::{EitherSlot, Obj, Raised, Ref, Res, Slot, value};
use crate::future::{Future, State};
use crate::loop_state::{Job, LoopState};
use crate::task::{self, Task, registry};
use crate::{imports, names};

/// The body of `_rulip.TaskGroup`.
pub(crate) struct TaskGroup {
    loop_: EitherSlot<LoopState>,
    parent: Slot,
    members: Members,
    /// Native members whose jobs are queued, oldest first.
    ended: RefCell<VecDeque<Ref<Task>>>,
    /// asyncio's list `_errors`: made when needed.
    errors: Slot,
    base_error: Slot,
    /// What the parent waits for in `__aexit__`.
    on_completed: Slot,
    dict: Cell<*mut c::PyObject>,
    weakrefs: Cell<*mut c::PyObject>,
    entered: Cell<bool>,
    exiting: Cell<bool>,
    aborting: Cell<bool>,
    parent_cancel_requested: Cell<bool>,
    /// Left: `_errors` is None.
    errors_gone: Cell<bool>,
    /// `cancel()` came before the block (3.15 on).
    cancel_on_enter: Cell<bool>,
}

static TYPE: TypeCell = TypeCell::new();

// SAFETY: every reference held is visited.
#[allow(unsafe_code, reason = "a promise about the layout or the collector, no operation")]
unsafe impl Native for TaskGroup {
    fn type_cell() -> &'static TypeCell {
        &TYPE
    }

    fn traverse(&self, visit: &Visit) -> Result<(), c_int> {
        self.loop_.visit(visit)?;
        self.parent.visit(visit)?;
        self.members.visit(visit)?;
        self.errors.visit(visit)?;
        self.base_error.visit(visit)?;
        self.on_completed.visit(visit)?;
        visit.raw(self.dict.get())?;
        match self.ended.try_borrow() {
            Ok(ended) => ended.iter().try_for_each(|task| visit.obj(task.as_obj())),
            Err(_) => Ok(()),
        }
    }

    fn clear(&self) {
        drop(self.parent.take());
        self.members.clear();
        drop(self.ended.take());
        drop(self.errors.take());
        drop(self.base_error.take());
        drop(self.on_completed.take());
        drop(self.take_dict());
        drop(self.loop_.take());
    }

    fn weakrefs(&self) -> *mut c::PyObject {
        self.weakrefs.get()
    }

    fn unlink(&self, _me: *mut c::PyObject) {
        drop(self.take_dict());
    }
}

impl TaskGroup {
    fn blank() -> Self {
        Self {
            loop_: EitherSlot::empty(),
            parent: Slot::empty(),
            members: Members::new(),
            ended: RefCell::new(VecDeque::new()),
            errors: Slot::empty(),
            base_error: Slot::empty(),
            on_completed: Slot::empty(),
            dict: Cell::new(std::ptr::null_mut()),
            weakrefs: Cell::new(std::ptr::null_mut()),
            entered: Cell::new(false),
            exiting: Cell::new(false),
            aborting: Cell::new(false),
            parent_cancel_requested: Cell::new(false),
            errors_gone: Cell::new(false),
            cancel_on_enter: Cell::new(false),
        }
    }

    fn take_dict(&self) -> Option<Obj> {
        crate::ffi::object::take_raw(&self.dict)
    }

    /// `_errors`, as a list.
    fn errors(&self) -> Res<Obj> {
        if !self.errors.is_set() {
            self.errors.set(Some(value::list(Vec::new())?));
        }
        Ok(self.errors.get_or_none())
    }

    fn has_errors(&self) -> Res<bool> {
        match self.errors.get() {
            Some(errors) => Ok(value::len(&errors)? > 0),
            None => Ok(false),
        }
    }

    /// The parent, while it waits for this group's tasks.
    #[cfg(Py_3_14)]
    pub(crate) fn awaiter(&self) -> Option<Obj> {
        self.parent.get()
    }
}

/// `SystemExit` and `KeyboardInterrupt` are raised as they are.
fn is_base_error(exc: &Obj) -> Res<bool> {
    let imports = imports::get();
    Ok(exc.is_instance(&imports.system_exit)? || exc.is_instance(&imports.keyboard_interrupt)?)
}

impl Ref<TaskGroup> {
    /// Whether a class made in Python has its own `_on_task_done`.
    fn watches_natively(&self) -> Res<bool> {
        let ours = TaskGroup::type_cell();
        if self.as_obj().type_ptr() == ours.ptr() {
            return Ok(true);
        }
        let name = &names::get().on_task_done;
        Ok(self.as_obj().type_obj().attr(name)?.is(&ours.obj().attr(name)?))
    }

    /// `__aenter__`'s work.
    fn enter(&self) -> Res<Obj> {
        if self.entered.get() {
            return self.refuse("has already been entered");
        }
        if !self.loop_.is_set() {
            let loop_ = match running() {
                Some(loop_) => loop_.to_obj(),
                None => imports::get().get_running_loop.call0()?,
            };
            self.loop_.set(loop_);
        }
        let native = match self.loop_.get_native() {
            Some(loop_) => registry::current(&loop_)?.map(Ref::into_obj),
            None => None,
        };
        let parent = match native {
            Some(task) => task,
            None => imports::get().current_task.call1(&self.loop_.get_or_none())?,
        };
        if parent.is_none() {
            return self.refuse("cannot determine the parent task");
        }
        self.parent.set(Some(parent));
        self.entered.set(true);
        if self.cancel_on_enter.get() {
            self.cancel()?;
        }
        Ok(self.to_obj())
    }

    fn refuse<R>(&self, why: &str) -> Res<R> {
        Err(Raised::runtime_error(&format!("TaskGroup {} {why}", self.as_obj().repr()?)))
    }

    /// Raises if no task can join; the coroutine is closed then, as this Python does.
    fn check_open(&self, coro: &Obj) -> Res<()> {
        let why = if !self.entered.get() {
            "has not been entered"
        } else if self.exiting.get() && self.members.is_empty() {
            "is finished"
        } else if self.aborting.get() {
            "is shutting down"
        } else {
            return Ok(());
        };
        if dialect::get().closes_refused {
            coro.method0(&names::get().close)?;
        }
        self.refuse(why)
    }

    /// A plain native task joins.
    fn adopt(&self, task: &Ref<Task>) {
        self.members.add(task);
        task.future().add_observer(self.to_obj());
    }

    /// A task that is watched from Python joins, perhaps done already.
    fn adopt_foreign(&self, task: &Obj) -> Res<()> {
        let (names, dialect) = (names::get(), dialect::get());
        let on_task_done = self.as_obj().attr(&names.on_task_done)?;
        if dialect.counts_done_at_once && task.method0(&names.done)?.is_true()? {
            return on_task_done.call1(task).map(drop);
        }
        self.members.add_foreign(task.clone());
        task.method1(&names.add_done_callback, &on_task_done)?;
        if dialect.cancels_late_comers
            && self.aborting.get()
            && !task.method0(&names.done)?.is_true()?
        {
            task::cancel(task, None)?;
        }
        Ok(())
    }

    /// A native member is done: queue what asyncio's callback would do, if it would do anything.
    #[inline]
    pub(crate) fn note_done(&self, loop_: &LoopState, future: &Ref<Future>) {
        let Some(task) = Ref::<Task>::exact(future.as_obj()) else { return };
        if future.state() != State::Failed && self.members.others_go_on(self.ended.borrow().len()) {
            let member = self.members.discard(task);
            drop(member);
            return;
        }
        self.ended.borrow_mut().push_back(task.clone());
        loop_.push(Job::Group(self.clone()));
    }

    /// The job of a native member's end.
    pub(crate) fn run(&self) -> Res<()> {
        let task = self.ended.borrow_mut().pop_front();
        match task {
            Some(task) => self.finish_task(task.as_obj()),
            None => Ok(()),
        }
    }

    /// `_on_task_done(task)`.
    fn finish_task(&self, task: &Obj) -> Res<()> {
        drop(self.members.discard_any(task));
        if self.members.is_empty()
            && let Some(waiter) = self.on_completed.get()
            && !is_done(&waiter)?
        {
            set_true(&waiter)?;
        }
        let Some(exc) = exception_of(task)? else { return Ok(()) };
        value::append(&self.errors()?, &exc)?;
        if is_base_error(&exc)? && !self.base_error.is_set() {
            self.base_error.set(Some(exc.clone()));
        }
        let Some(parent) = self.parent.get() else { return Ok(()) };
        if is_done(&parent)? {
            return self.report_orphan(task, &parent, &exc);
        }
        if !self.aborting.get() && !self.parent_cancel_requested.get() {
            self.call_abort()?;
            self.parent_cancel_requested.set(true);
            task::cancel(&parent, None)?;
        }
        Ok(())
    }

    #[cold]
    fn report_orphan(&self, task: &Obj, parent: &Obj, exc: &Obj) -> Res<()> {
        let names = names::get();
        let message = format!(
            "Task {} has errored out but its parent task {} is already completed",
            task.repr()?,
            value::text(&value::str_of(parent)?)?
        );
        let context = value::dict()?;
        value::dict_set(&context, &names.message, &value::str(&message)?)?;
        value::dict_set(&context, &names.exception, exc)?;
        value::dict_set(&context, &names.task, task)?;
        let loop_ = self.loop_.get_or_none();
        loop_.method1(&names.call_exception_handler, &context).map(drop)
    }

    /// `self._abort()`, which a class made in Python may have replaced.
    fn call_abort(&self) -> Res<()> {
        if self.as_obj().type_ptr() == TaskGroup::type_cell().ptr() {
            return self.abort();
        }
        self.as_obj().method0(&names::get().abort).map(drop)
    }

    /// `_abort()`: asks every member that is not done to cancel.
    fn abort(&self) -> Res<()> {
        self.aborting.set(true);
        for task in self.members.all() {
            if !is_done(&task)? {
                task::cancel(&task, None)?;
            }
        }
        Ok(())
    }

    /// `cancel()` (3.15 on).
    fn cancel(&self) -> Res<()> {
        if !self.entered.get() {
            self.cancel_on_enter.set(true);
            return Ok(());
        }
        if self.exiting.get() && self.members.is_empty() || self.aborting.get() {
            return Ok(());
        }
        self.call_abort()?;
        if let Some(parent) = self.parent.get()
            && !self.parent_cancel_requested.get()
        {
            self.parent_cancel_requested.set(true);
            task::cancel(&parent, None)?;
        }
        Ok(())
    }
}

/// `future.done()`.
fn is_done(future: &Obj) -> Res<bool> {
    match task::native_future(future) {
        Some(future) => Ok(future.is_done()),
        None => future.method0(&names::get().done)?.is_true(),
    }
}

fn set_true(waiter: &Obj) -> Res<()> {
    match Ref::<Future>::exact(waiter) {
        Some(waiter) => waiter.set_result(Obj::bool(true)),
        None => waiter.method1(&names::get().set_result, &Obj::bool(true)).map(drop),
    }
}

/// What a finished task failed with, marked as seen; nothing if it was cancelled.
fn exception_of(task: &Obj) -> Res<Option<Obj>> {
    if let Some(future) = task::native_future(task) {
        return Ok(if future.state() == State::Failed {
            future.clear_log_traceback();
            future.exception_held()
        } else {
            None
        });
    }
    let names = names::get();
    if task.method0(&names.cancelled)?.is_true()? {
        return Ok(None);
    }
    Ok(Some(task.method0(&names.exception)?).filter(|exc| !exc.is_none()))
}
