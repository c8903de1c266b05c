//! Who awaits a future, for `asyncio.capture_call_graph()` and its like (3.14 on).
//!
//! asyncio writes that into every future that is awaited. Here the native tasks and observers that
//! await a future stand in its callback list anyway (`observers.rs`); what is kept is what others
//! declare (`future_add_to_awaited_by`). Owner thread.
//!
//! Invariant: whoever awaits a future is kept alive by it only as long as it awaits it.

use crate::ffi::arguments::Args;
use crate::ffi::{Obj, Raised, Ref, Res, value};
use crate::future::Future;
use crate::{imports, observers};

/// `_asyncio_awaited_by`: a frozen set, or None where nobody is known.
pub(super) fn awaited_by(this: &Ref<Future>) -> Res<Obj> {
    let mut waiters = observers::awaiters(this);
    if let Some(declared) = this.declared_waiters() {
        waiters.extend(value::iterate(&declared)?);
    }
    if waiters.is_empty() {
        return Ok(Obj::none());
    }
    value::frozenset(&waiters)
}

/// `future_add_to_awaited_by(fut, waiter, /)`; asyncio's own futures are asyncio's business.
pub(crate) fn add(args: &Args<'_>) -> Res<Obj> {
    let (fut, waiter) = pair("future_add_to_awaited_by", args)?;
    let Some(future) = Ref::<Future>::downcast(fut) else {
        return imports::get().add_to_awaited_by.call(&[fut, waiter]);
    };
    if is_future(waiter)? {
        let declared = match future.declared_waiters() {
            Some(declared) => declared,
            None => {
                let declared = imports::get().set.call0()?;
                future.declare_waiters(Some(declared.clone()));
                declared
            }
        };
        declared.method1(&crate::names::get().add, waiter)?;
    }
    Ok(Obj::none())
}

/// `future_discard_from_awaited_by(fut, waiter, /)`.
pub(crate) fn discard(args: &Args<'_>) -> Res<Obj> {
    let (fut, waiter) = pair("future_discard_from_awaited_by", args)?;
    let Some(future) = Ref::<Future>::downcast(fut) else {
        return imports::get().discard_from_awaited_by.call(&[fut, waiter]);
    };
    if let Some(declared) = future.declared_waiters() {
        declared.method1(&crate::names::get().discard, waiter)?;
        if value::iterate(&declared)?.is_empty() {
            future.declare_waiters(None);
        }
    }
    Ok(Obj::none())
}

fn pair<'a>(function: &str, args: &Args<'a>) -> Res<(&'a Obj, &'a Obj)> {
    match args.positional() {
        [fut, waiter] if !args.has_keywords() => Ok((fut, waiter)),
        others => Err(Raised::type_error(&format!(
            "{function}() takes exactly 2 positional arguments ({} given)",
            others.len()
        ))),
    }
}

/// As asyncio: others than futures and tasks are not kept.
fn is_future(waiter: &Obj) -> Res<bool> {
    if Ref::<Future>::downcast(waiter).is_some() {
        return Ok(true);
    }
    waiter.is_instance(&imports::get().future_class)
}
