//! `call_soon`, `call_soon_threadsafe`, `call_later`, `call_at`.
//!
//! The hot part of every program: a handle from the freelist, its arguments inside, one push.

use rulip_engine::Deadline;

use crate::ffi::inline_args::InlineArgs;
use crate::ffi::trampoline::Args;
use crate::ffi::{Obj, Raised, Ref, Res, send, value};
use crate::future::slots::unexpected_keyword;
use crate::handle::{Handle, TimerHandle};
use crate::imports;
use crate::loop_state::{Job, LoopState};

type This = Ref<LoopState>;

/// Splits off the `context` keyword, the only one.
#[inline]
fn context_of(args: &Args<'_>, function: &str) -> Res<Option<Obj>> {
    if !args.has_keywords() {
        return Ok(None);
    }
    let mut context = None;
    for (name, item) in args.keywords() {
        if value::text_is(&name, c"context") {
            context = Some(item).filter(|item| !item.is_none()).cloned();
        } else {
            return Err(unexpected_keyword(function, &name));
        }
    }
    Ok(context)
}

#[cold]
fn missing(function: &str, name: &str) -> Raised {
    Raised::type_error(&format!("{function}() missing 1 required positional argument: '{name}'"))
}

/// `call_soon(callback, *args, context=None)`.
#[inline]
pub(crate) fn call_soon(this: &This, args: &Args<'_>) -> Res<Obj> {
    let Some((callback, rest)) = args.positional().split_first() else {
        return Err(missing("call_soon", "callback"));
    };
    this.check_closed()?;
    if this.debug.get() {
        check_thread(this)?;
        check_callback(callback, "call_soon")?;
    }
    let context = context_of(args, "call_soon")?;
    let handle = Handle::new(this, callback.clone(), InlineArgs::new(rest)?, context)?;
    this.push(Job::Handle(handle.clone()));
    Ok(handle.into_obj())
}

/// `call_soon_threadsafe(callback, *args, context=None)`.
pub(crate) fn call_soon_threadsafe(this: &This, args: &Args<'_>) -> Res<Obj> {
    let Some((callback, rest)) = args.positional().split_first() else {
        return Err(missing("call_soon_threadsafe", "callback"));
    };
    this.check_closed()?;
    if this.debug.get() {
        check_callback(callback, "call_soon_threadsafe")?;
    }
    let context = context_of(args, "call_soon_threadsafe")?;
    let handle = Handle::new(this, callback.clone(), InlineArgs::new(rest)?, context)?;
    if this.thread_ident.get() == crate::ffi::gc::thread_ident() {
        // Our own thread is not asleep, and order with call_soon is kept.
        this.push(Job::Handle(handle.clone()));
    } else if let Err(refused) = this.engine.handle().push(Job::Handle(handle.clone())) {
        drop(refused);
        return Err(Raised::runtime_error("Event loop is closed"));
    }
    Ok(handle.into_obj())
}

/// `call_later(delay, callback, *args, context=None)`.
pub(crate) fn call_later(this: &This, args: &Args<'_>) -> Res<Obj> {
    let [delay, callback, rest @ ..] = args.positional() else {
        return Err(missing(
            "call_later",
            if args.positional().is_empty() { "delay" } else { "callback" },
        ));
    };
    if delay.is_none() {
        return Err(Raised::type_error("delay must not be None"));
    }
    let when = this.now()?.as_secs() + value::as_f64(delay)?;
    // asyncio's call_later goes through call_at, and so its debug texts say that.
    at(this, when, callback, rest, args, "call_at")
}

/// `call_at(when, callback, *args, context=None)`.
pub(crate) fn call_at(this: &This, args: &Args<'_>) -> Res<Obj> {
    let [when, callback, rest @ ..] = args.positional() else {
        return Err(missing(
            "call_at",
            if args.positional().is_empty() { "when" } else { "callback" },
        ));
    };
    if when.is_none() {
        return Err(Raised::type_error("when cannot be None"));
    }
    at(this, value::as_f64(when)?, callback, rest, args, "call_at")
}

#[inline]
fn at(
    this: &This,
    when: f64,
    callback: &Obj,
    rest: &[Obj],
    args: &Args<'_>,
    function: &str,
) -> Res<Obj> {
    this.check_closed()?;
    if this.debug.get() {
        check_thread(this)?;
        check_callback(callback, function)?;
    }
    let context = context_of(args, function)?;
    let handle = TimerHandle::new(this, when, callback.clone(), InlineArgs::new(rest)?, context)?;
    let handle: Ref<Handle> = handle.into_parent();
    let key = this.engine.insert_timer(Deadline::from_secs(when), Job::Handle(handle.clone()));
    handle.set_timer(Some(key));
    Ok(handle.into_obj())
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

fn check_thread(this: &This) -> Res<()> {
    let owner = this.thread_ident.get();
    if owner == 0 || owner == crate::ffi::gc::thread_ident() {
        return Ok(());
    }
    Err(Raised::runtime_error(
        "Non-thread-safe operation invoked on an event loop other than the current one",
    ))
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
