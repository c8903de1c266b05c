//! `call_soon`, `call_soon_threadsafe`, `call_later`, `call_at`.
//!
//! The hot part of every program: a handle from the freelist, its arguments inside, one push.

use std::time::Duration;

use rulip_engine::Deadline;
use rulip_engine::sys::clock;

use crate::ffi::arguments::{Args, Leading};
use crate::ffi::gc;
use crate::ffi::inline_args::InlineArgs;
use crate::ffi::thread_end::StaysToTheEnd;
use crate::ffi::{Obj, Raised, Ref, Res, send, value};
use crate::handle::{Handle, TimerHandle};
use crate::imports;
use crate::loop_state::{Job, LoopState};

type This = Ref<LoopState>;

/// `call_soon(callback, *args, context=None)`.
#[inline]
pub(crate) fn call_soon(this: &This, args: &Args<'_>) -> Res<Obj> {
    let Leading { leading: [callback], rest, context } =
        args.bind_leading("call_soon", [c"callback"])?;
    this.check_closed()?;
    if this.debug.get() {
        this.check_thread()?;
        check_callback(callback, "call_soon")?;
    }
    let handle = Handle::new(this, callback.clone(), InlineArgs::new(rest)?, context)?;
    if !this.running.get() {
        handle.track();
    }
    this.push(Job::Handle(handle.clone()));
    Ok(handle.into_obj())
}

/// `call_soon_threadsafe(callback, *args, context=None)`.
pub(crate) fn call_soon_threadsafe(this: &This, args: &Args<'_>) -> Res<Obj> {
    let Leading { leading: [callback], rest, context } =
        args.bind_leading("call_soon_threadsafe", [c"callback"])?;
    this.check_closed()?;
    if this.debug.get() {
        check_callback(callback, "call_soon_threadsafe")?;
    }
    #[cfg(not(Py_3_14))]
    let handle = Handle::new(this, callback.clone(), InlineArgs::new(rest)?, context)?;
    #[cfg(Py_3_14)]
    let handle = {
        use crate::handle::threadsafe::ThreadSafeHandle;
        let shared =
            ThreadSafeHandle::new(this, callback.clone(), InlineArgs::new(rest)?, context)?;
        shared.parent::<Handle>().clone()
    };
    if !this.running.get() || this.thread_ident.get() == gc::thread_ident() {
        // Nobody is asleep, and order with call_soon is kept.
        handle.track();
        this.push(Job::Handle(handle.clone()));
    } else {
        match this.engine.push_foreign(Job::Handle(handle.clone())) {
            Ok(waiting) if waiting.is_multiple_of(BACKLOG) => step_aside(),
            Ok(_) => {}
            Err(refused) => {
                drop(refused);
                return Err(Raised::runtime_error("Event loop is closed"));
            }
        }
    }
    Ok(handle.into_obj())
}

/// So many calls of other threads may wait before one of those lets the loop have the GIL. Left alone
/// they would keep it for five milliseconds, and fill more memory than the caches hold.
const BACKLOG: usize = 2048;

/// About what the loop needs for them.
const ASIDE: Duration = Duration::from_micros(100);

/// Lets the loop's thread run. Where it does not (a callback blocks it), little is lost.
#[cold]
fn step_aside() {
    let _stays = StaysToTheEnd::new();
    gc::detached(|| clock::pause(ASIDE));
}

/// `call_later(delay, callback, *args, context=None)`.
pub(crate) fn call_later(this: &This, args: &Args<'_>) -> Res<Obj> {
    let Leading { leading: [delay, callback], rest, context } =
        args.bind_leading("call_later", [c"delay", c"callback"])?;
    if delay.is_none() {
        return Err(Raised::type_error("delay must not be None"));
    }
    let when = this.time()? + value::as_f64(delay)?;
    if this.call_at_replaced.get() {
        return through_call_at(this, when, callback, rest, context);
    }
    at(this, when, callback, rest, context).map(Ref::into_obj)
}

/// Somebody replaced `call_at`, which asyncio's `call_later` calls.
#[cold]
fn through_call_at(
    this: &This,
    when: f64,
    callback: &Obj,
    rest: &[Obj],
    context: Option<Obj>,
) -> Res<Obj> {
    let names = crate::names::get();
    let when = value::float(when)?;
    let mut arguments = vec![&when, callback];
    arguments.extend(rest);
    let context = context.unwrap_or_else(Obj::none);
    this.as_obj().method_kw(&names.call_at, &arguments, &names.context, &context)
}

/// `call_at(when, callback, *args, context=None)`.
pub(crate) fn call_at(this: &This, args: &Args<'_>) -> Res<Obj> {
    let Leading { leading: [when, callback], rest, context } =
        args.bind_leading("call_at", [c"when", c"callback"])?;
    if when.is_none() {
        return Err(Raised::type_error("when cannot be None"));
    }
    let timer = at(this, value::as_f64(when)?, callback, rest, context)?;
    if !value::is_exact_float(when) {
        timer.set_when(when)?;
    }
    Ok(timer.into_obj())
}

#[inline]
fn at(
    this: &This,
    when: f64,
    callback: &Obj,
    rest: &[Obj],
    context: Option<Obj>,
) -> Res<Ref<TimerHandle>> {
    this.check_closed()?;
    if this.debug.get() {
        this.check_thread()?;
        // asyncio's call_later goes through call_at, and so its texts say that.
        check_callback(callback, "call_at")?;
    }
    let timer = TimerHandle::new(this, when, callback.clone(), InlineArgs::new(rest)?, context)?;
    let handle: &Ref<Handle> = timer.parent();
    let key = this.engine.insert_timer(Deadline::from_secs(when), Job::Handle(handle.clone()));
    handle.set_timer(Some(key));
    Ok(timer)
}

/// `_add_callback(handle)`: an existing handle, once more.
pub(crate) fn add_callback(this: &This, handle: &Obj) -> Res<Obj> {
    let Some(handle) = Ref::<Handle>::downcast(handle) else {
        return Err(Raised::type_error("a Handle is expected"));
    };
    if !handle.is_cancelled() {
        handle.set_lasting();
        this.push(Job::Handle(handle.clone()));
    }
    Ok(Obj::none())
}

fn check_callback(callback: &Obj, function: &str) -> Res<()> {
    let imports = imports::get();
    if send::is_coroutine(callback)
        || imports.iscoroutine.call1(callback)?.is_true()?
        || imports.iscoroutinefunction.call1(callback)?.is_true()?
    {
        return Err(Raised::type_error(&format!("coroutines cannot be used with {function}()")));
    }
    if !callback.is_callable() {
        return Err(Raised::type_error(&format!(
            "a callable object was expected by {function}(), got {}",
            callback.repr()?
        )));
    }
    Ok(())
}
