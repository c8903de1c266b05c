//! One step of a task: send into the coroutine, then do what it asks.
//!
//! Mirrors asyncio's `Task.__step` case by case. The coroutine is resumed with `send(None)`; what
//! it awaited raises by itself when the coroutine reads it. Exceptions are thrown in only where
//! asyncio does: a failed or cancelled future that was yielded, a requested cancellation, a
//! yield of the wrong thing.
//!
//! Owner thread. Invariant: nothing of ours is borrowed while the coroutine runs.

use super::registry::{self, Current};
use super::sleep::Sleep;
use super::waiter::Waiter;
use super::{PassesForFuture, Task};
use crate::ffi::context::Entered;
use crate::ffi::send::{self, Step};
use crate::ffi::thread_end::StaysToTheEnd;
use crate::ffi::{Obj, Raised, Ref, Res};
use crate::future::{Future, State, slots::storable};
use crate::loop_state::{Job, LoopState};
use crate::streams::read::Read;
use crate::{failpoints, imports, names};

/// How a step finds the task's context.
#[derive(Copy, Clone, PartialEq, Eq)]
pub(crate) enum Inside {
    /// It must be entered.
    Nothing,
    /// A foreign loop's handle, or `_wakeup` run by a handle, has entered it already.
    Context,
    /// It is entered already, inside whatever task runs now.
    Another,
}

/// Steps the task. Comes back with an error only for what must leave the loop.
#[inline]
pub(crate) fn step(task: &Ref<Task>, loop_: Option<&Ref<LoopState>>, inside: Inside) -> Res<()> {
    if task.future.is_done() {
        return Err(Raised::new(
            &imports::get().invalid_state_error,
            &format!("__step(): already done: {}", task.as_obj().repr()?),
        ));
    }
    let error = error_to_throw(task)?;
    let Some(coro) = task.coro.get() else {
        return Err(Raised::runtime_error("uninitialized Task object"));
    };
    let result = run(task, loop_, &coro, error, inside);
    conclude(task, loop_, result)
}

/// What must be thrown in instead of sending: decided by what the task waited for.
#[inline]
fn error_to_throw(task: &Ref<Task>) -> Res<Option<Obj>> {
    let mut error = task.future.take_thrown();
    if let Some(waiter) = task.waiter.take()
        && error.is_none()
    {
        error = error_of(&waiter)?;
    }
    if task.must_cancel.get() {
        let cancelled = &imports::get().cancelled_error;
        let is_cancelled = match &error {
            Some(error) => error.is_instance(cancelled)?,
            None => false,
        };
        if !is_cancelled {
            error = Some(task.future.make_cancelled_error()?);
        }
        task.must_cancel.set(false);
    }
    Ok(error)
}

#[inline]
fn error_of(waiter: &Obj) -> Res<Option<Obj>> {
    if let Some(waiter) = Ref::<Waiter>::exact(waiter) {
        return waiter.cancelled_error();
    }
    if let Some(sleep) = Ref::<Sleep>::exact(waiter) {
        return sleep.cancelled_error();
    }
    if let Some(read) = Ref::<Read>::exact(waiter) {
        return read.cancelled_error();
    }
    let Some(future) = super::native_future(waiter) else { return Ok(None) };
    match future.state() {
        State::Failed => Ok(future.seen_exception()),
        State::Cancelled => future.make_cancelled_error().map(Some),
        State::Pending | State::Finished => Ok(None),
    }
}

#[inline]
fn run(
    task: &Ref<Task>,
    loop_: Option<&Ref<LoopState>>,
    coro: &Obj,
    error: Option<Obj>,
    inside: Inside,
) -> Res<Step> {
    let Some(loop_) = loop_ else { return run_foreign(task, coro, error, inside) };
    let _current = Current::enter(loop_, task)?;
    resume(task, coro, error, inside)
}

#[cold]
fn run_foreign(task: &Ref<Task>, coro: &Obj, error: Option<Obj>, inside: Inside) -> Res<Step> {
    // Nobody else has seen to it in this thread.
    let _stays = StaysToTheEnd::new();
    let _current = ForeignCurrent::enter(task, inside)?;
    resume(task, coro, error, inside)
}

#[inline]
fn resume(task: &Ref<Task>, coro: &Obj, error: Option<Obj>, inside: Inside) -> Res<Step> {
    let context = task.context();
    let _entered = match inside {
        Inside::Nothing => Some(Entered::new(&context)?),
        Inside::Context | Inside::Another => None,
    };
    failpoints::reached(failpoints::STEP);
    match error {
        None => send::send_none(coro),
        Some(error) => throw(coro, &error),
    }
}

fn throw(coro: &Obj, error: &Obj) -> Res<Step> {
    match coro.method1(&names::get().throw, error) {
        Ok(yielded) => Ok(Step::Yield(yielded)),
        Err(raised) => send::stop_value(raised).map(Step::Return),
    }
}

/// A native task on a foreign loop: asyncio's own register is told at each step.
struct ForeignCurrent {
    loop_: Obj,
    task: Obj,
    /// What an eager task runs inside of, and comes back afterwards.
    outer: Option<Obj>,
}

impl ForeignCurrent {
    fn enter(task: &Ref<Task>, inside: Inside) -> Res<Self> {
        let loop_ = task.future.loop_obj()?;
        let outer = match (&imports::get().swap_current_task, inside) {
            (Some(swap), Inside::Another) => Some(swap.call(&[&loop_, task.as_obj()])?),
            _ => {
                imports::get().enter_task.call(&[&loop_, task.as_obj()])?;
                None
            }
        };
        Ok(Self { loop_, task: task.to_obj(), outer })
    }
}

impl Drop for ForeignCurrent {
    fn drop(&mut self) {
        let _saved = crate::ffi::error::SavedError::save();
        let left = match (&imports::get().swap_current_task, &self.outer) {
            (Some(swap), Some(outer)) => swap.call(&[&self.loop_, outer]),
            _ => imports::get().leave_task.call(&[&self.loop_, &self.task]),
        };
        if let Err(raised) = left {
            raised.write_unraisable(&self.task);
        }
    }
}

#[inline]
fn conclude(task: &Ref<Task>, loop_: Option<&Ref<LoopState>>, result: Res<Step>) -> Res<()> {
    match result {
        Ok(Step::Yield(yielded)) => wait_for(task, loop_, yielded),
        Ok(Step::Return(value)) => {
            done(task, loop_);
            if task.must_cancel.get() {
                // Cancelled right before it ended.
                task.must_cancel.set(false);
                let message = task.future.cancel_message();
                return task.future_ref().cancel(message).map(drop);
            }
            task.future_ref().set_result(value)
        }
        Err(raised) => fail(task, loop_, raised),
    }
}

/// Takes a finished task out of the registry.
#[inline]
fn done(task: &Ref<Task>, loop_: Option<&Ref<LoopState>>) {
    if let Some(loop_) = loop_ {
        registry::unregister(loop_, task);
    }
}

/// The task ends with what its coroutine raised, or with what a panic of its step became.
pub(crate) fn fail(task: &Ref<Task>, loop_: Option<&Ref<LoopState>>, raised: Raised) -> Res<()> {
    done(task, loop_);
    if raised.matches(&imports::get().cancelled_error) {
        let error = raised.take();
        task.future.keep_cancelled_error(error);
        // The error says it all; whoever asks again gets one without a message, as from asyncio.
        return task.future_ref().cancel(None).map(drop);
    }
    let leaves = raised.leaves_the_loop();
    let error = raised.take();
    match storable(error.clone()) {
        Ok(error) => task.future_ref().set_exception(error)?,
        Err(refused) => task.future_ref().set_exception(refused.take())?,
    }
    if leaves { Err(Raised::restore(error)) } else { Ok(()) }
}

/// The coroutine yielded: it waits for that, or it yielded the wrong thing.
#[inline]
fn wait_for(task: &Ref<Task>, loop_: Option<&Ref<LoopState>>, yielded: Obj) -> Res<()> {
    if let Some(future) = Ref::<Future>::exact(&yielded) {
        return wait_for_native(task, loop_, future);
    }
    if yielded.is_none() {
        return again(task, loop_);
    }
    if let Some(sleep) = Ref::<Sleep>::exact(&yielded) {
        let (holds, is_over) = (sleep.holds(task), !sleep.is_waiting());
        return wait_natively(task, loop_, sleep, holds, is_over);
    }
    if let Some(waiter) = Ref::<Waiter>::exact(&yielded) {
        let (holds, is_over) = (waiter.holds(task), !waiter.is_waiting());
        return wait_natively(task, loop_, waiter, holds, is_over);
    }
    if let Some(read) = Ref::<Read>::exact(&yielded) {
        let (holds, is_over) = (read.holds(task), !read.is_waiting());
        return wait_natively(task, loop_, read, holds, is_over);
    }
    if let Some(other) = Ref::<Task>::exact(&yielded) {
        if other.as_obj().is(task.as_obj()) {
            return awaits_itself(task);
        }
        return wait_for_native(task, loop_, other.future_ref());
    }
    match super::native_future(&yielded) {
        Some(future) => wait_for_native(task, loop_, future),
        None => wait_for_foreign(task, &yielded),
    }
}

/// `wait` holds this task, or is another's: then a future takes its place.
#[inline]
fn wait_natively<T: PassesForFuture>(
    task: &Ref<Task>,
    loop_: Option<&Ref<LoopState>>,
    wait: &Ref<T>,
    holds: bool,
    is_over: bool,
) -> Res<()> {
    if holds {
        task.waiter.set(Some(wait.to_obj()));
        if is_over {
            // Between the yield and now.
            again(task, loop_)?;
        }
        return cancel_if_asked(task);
    }
    match T::into_future(wait)? {
        Some(future) => wait_for_native(task, loop_, &future),
        None => wait_for_foreign(task, wait.as_obj()),
    }
}

/// Another turn, please.
#[inline]
pub(super) fn again(task: &Ref<Task>, loop_: Option<&Ref<LoopState>>) -> Res<()> {
    match loop_ {
        Some(loop_) if !loop_.call_soon_replaced.get() => {
            loop_.check_closed()?;
            loop_.push(Job::Task(task.clone()));
            Ok(())
        }
        _ => call_soon_by_name(task),
    }
}

#[inline]
fn wait_for_native(
    task: &Ref<Task>,
    loop_: Option<&Ref<LoopState>>,
    future: &Ref<Future>,
) -> Res<()> {
    if !future.is_blocking() {
        return yield_instead_of_yield_from(task, future.as_obj());
    }
    let same = match loop_ {
        Some(loop_) => future.has_loop(loop_.as_obj()),
        None => future.has_loop(&task.future.loop_obj()?),
    };
    if !same {
        return attached_elsewhere(task, future.as_obj());
    }
    future.set_blocking(false);
    task.waiter.set(Some(future.to_obj()));
    if future.is_done() {
        // Done between the yield and now: as add_done_callback on a done future.
        again(task, loop_)?;
    } else {
        future.add_waiter(task.clone());
    }
    cancel_if_asked(task)
}

#[inline]
fn cancel_if_asked(task: &Ref<Task>) -> Res<()> {
    if !task.must_cancel.get() {
        return Ok(());
    }
    let Some(waiter) = task.waiter.get() else { return Ok(()) };
    let accepted = super::cancel(&waiter, task.future.cancel_message())?;
    if accepted {
        task.must_cancel.set(false);
    }
    Ok(())
}

/// Anything that is not exactly ours: a future by its attributes, or an error.
#[cold]
fn wait_for_foreign(task: &Ref<Task>, yielded: &Obj) -> Res<()> {
    let names = names::get();
    if yielded.is(task.as_obj()) {
        return awaits_itself(task);
    }
    let blocking =
        yielded.attr_opt(&names.asyncio_future_blocking)?.filter(|blocking| !blocking.is_none());
    let Some(blocking) = blocking else {
        let (task_text, yielded_text) = (task.as_obj().repr()?, yielded.repr()?);
        if send::is_generator(yielded) {
            return throw_next(
                task,
                &format!(
                    "yield was used instead of yield from for generator in task {task_text} with {yielded_text}"
                ),
            );
        }
        return throw_next(task, &format!("Task got bad yield: {yielded_text}"));
    };
    let loop_ = match yielded.attr_opt(&names.get_loop)? {
        Some(get_loop) => get_loop.call0()?,
        None => yielded.attr(&names.loop_)?,
    };
    if !loop_.is(&task.future.loop_obj()?) {
        return attached_elsewhere(task, yielded);
    }
    if !blocking.is_true()? {
        return yield_instead_of_yield_from(task, yielded);
    }
    yielded.set_attr(&names.asyncio_future_blocking, &Obj::bool(false))?;
    let wakeup = task.as_obj().attr(&names.wakeup)?;
    yielded.method_kw(&names.add_done_callback, &[&wakeup], &names.context, &task.context())?;
    task.waiter.set(Some(yielded.clone()));
    cancel_if_asked(task)
}

fn awaits_itself(task: &Ref<Task>) -> Res<()> {
    throw_next(task, &format!("Task cannot await on itself: {}", task.as_obj().repr()?))
}

fn yield_instead_of_yield_from(task: &Ref<Task>, yielded: &Obj) -> Res<()> {
    let text = format!(
        "yield was used instead of yield from in task {} with {}",
        task.as_obj().repr()?,
        yielded.repr()?
    );
    throw_next(task, &text)
}

fn attached_elsewhere(task: &Ref<Task>, yielded: &Obj) -> Res<()> {
    let text = format!(
        "Task {} got Future {} attached to a different loop",
        task.as_obj().repr()?,
        yielded.repr()?
    );
    throw_next(task, &text)
}

/// Throws `RuntimeError(text)` into the coroutine at its next step, as asyncio does.
#[cold]
fn throw_next(task: &Ref<Task>, text: &str) -> Res<()> {
    task.future.set_thrown(Raised::runtime_error_to_throw(text)?);
    again(task, task.future.native_loop().as_ref())
}

/// On a loop of another kind, or one whose `call_soon` was replaced.
fn call_soon_by_name(task: &Ref<Task>) -> Res<()> {
    let names = names::get();
    let wakeup = task.as_obj().attr(&names.wakeup)?;
    let loop_ = task.future.loop_obj()?;
    loop_.method_kw(&names.call_soon, &[&wakeup], &names.context, &task.context()).map(drop)
}

/// `_wakeup(future)`: a foreign future is done, or a foreign loop steps us. The context is entered.
pub(super) fn wakeup(task: &Ref<Task>, future: Option<&Obj>) -> Res<()> {
    if let Some(future) = future {
        // As asyncio: read the result here, so that an exception is thrown at the await.
        if super::native_future(future).is_none() {
            task.waiter.set(None);
            if let Err(raised) = future.method0(&names::get().result) {
                let error = raised.take();
                task.future.set_thrown(error);
            }
        }
    }
    step(task, task.future.native_loop().as_ref(), Inside::Context)
}

/// Starts the task at once, inside whatever runs now (`eager_start=True`).
pub(super) fn start_eagerly(task: &Ref<Task>) -> Res<()> {
    let Some(coro) = task.coro.get() else {
        return Err(Raised::runtime_error("uninitialized Task object"));
    };
    let loop_ = task.future.native_loop();
    // Listed while it runs, as asyncio's eager tasks are.
    match &loop_ {
        Some(loop_) => registry::register(loop_, task),
        None => drop(imports::get().register_task.call1(task.as_obj())?),
    }
    let context = task.context();
    let result = {
        // A context that cannot be entered is the caller's mistake, and is told at once.
        let _entered = match Entered::new(&context) {
            Ok(entered) => entered,
            Err(raised) => {
                task.unregister();
                return Err(raised);
            }
        };
        run(task, loop_.as_ref(), &coro, None, Inside::Another)
    };
    conclude(task, loop_.as_ref(), result)?;
    if task.future.is_done() {
        task.coro.set(None);
    }
    Ok(())
}

/// Queues the first step.
pub(super) fn start(task: &Ref<Task>, loop_: Option<&Ref<LoopState>>) -> Res<()> {
    match loop_ {
        Some(loop_) => {
            loop_.check_closed()?;
            if loop_.debug.get() {
                loop_.check_thread()?;
            }
            registry::register(loop_, task);
            again(task, Some(loop_))
        }
        None => {
            call_soon_by_name(task)?;
            imports::get().register_task.call1(task.as_obj()).map(drop)
        }
    }
}
