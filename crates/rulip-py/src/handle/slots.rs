//! The Python face of `Handle` and `TimerHandle`: methods, attributes, `repr`, comparison.
//!
//! `__class__` answers asyncio's classes, so `isinstance(h, asyncio.Handle)` holds without their
//! layout. The private names are those that other people's code reads.

use std::ffi::c_int;

use pyo3::ffi as c;

use super::{Handle, TimerHandle, format_source};
use crate::ffi::native::{Native, body_offset};
use crate::ffi::spec::TypeSpec;
use crate::ffi::trampoline::{compare, getter, hash, noargs, property, unary};
use crate::ffi::{Obj, Ref, Res, value};
use crate::imports;
use crate::loop_state::LoopState;

/// Makes both types.
pub(crate) fn build() -> Res<(Obj, Obj)> {
    let handle = TypeSpec::new::<Handle>(
        c"rulip._rulip.Handle",
        c"A scheduled callback (mirrors asyncio.Handle).",
    )
    .not_callable()
    .subclassable()
    .weakrefs_at(body_offset::<Handle>(std::mem::offset_of!(Handle, weakrefs)))
    .slot(c::Py_tp_repr, unary(describe))
    .methods([
        noargs(c"cancel", c"Cancel the callback; it will not run.", |this: &Ref<Handle>| {
            Handle::cancel(this)?;
            Ok(Obj::none())
        }),
        noargs(
            c"cancelled",
            c"Return True if the callback was cancelled.",
            |this: &Ref<Handle>| Ok(Obj::bool(this.is_cancelled())),
        ),
        noargs(
            c"get_context",
            c"Return the context the callback runs in.",
            |this: &Ref<Handle>| Ok(this.context.get_or_none()),
        ),
        noargs(c"_run", c"Run the callback now.", |this: &Ref<Handle>| {
            Handle::run(this)?;
            Ok(Obj::none())
        }),
    ])
    .attributes([
        getter(c"__class__", c"asyncio.Handle", |_: &Ref<Handle>| {
            Ok(imports::get().handle_class.clone())
        }),
        getter(c"_callback", c"The callback, None once cancelled.", |this: &Ref<Handle>| {
            Ok(this.callback.get_or_none())
        }),
        getter(c"_args", c"Its positional arguments, None once cancelled.", args),
        getter(c"_context", c"The context it runs in.", |this: &Ref<Handle>| {
            Ok(this.context.get_or_none())
        }),
        getter(c"_loop", c"The loop.", |this: &Ref<Handle>| {
            Ok(this.loop_.get().map_or_else(Obj::none, Ref::into_obj))
        }),
        getter(c"_cancelled", c"Whether it was cancelled.", |this: &Ref<Handle>| {
            Ok(Obj::bool(this.is_cancelled()))
        }),
        property(
            c"_source_traceback",
            c"Where it was made (debug mode).",
            source_traceback,
            set_source_traceback,
        ),
        getter(
            c"_repr",
            c"Its text from before it was cancelled (debug mode).",
            |this: &Ref<Handle>| Ok(this.kept_repr().unwrap_or_else(Obj::none)),
        ),
    ])
    .build(Handle::type_cell())?;

    let timer = TypeSpec::new::<TimerHandle>(
        c"rulip._rulip.TimerHandle",
        c"A callback scheduled for a later time (mirrors asyncio.TimerHandle).",
    )
    .base(Handle::type_cell())
    .not_callable()
    .slot(c::Py_tp_hash, hash(|this: &Ref<TimerHandle>| hash_of(this)))
    .slot(c::Py_tp_richcompare, compare(compare_timers))
    .slot(c::Py_tp_repr, unary(|this: &Ref<TimerHandle>| describe_timer(this)))
    .methods([noargs(c"when", c"Return the loop time, in seconds, at which it is due.", when)])
    .attributes([
        getter(c"__class__", c"asyncio.TimerHandle", |_: &Ref<TimerHandle>| {
            Ok(imports::get().timer_handle_class.clone())
        }),
        getter(c"_when", c"When it is due.", when),
        getter(
            c"_scheduled",
            c"Whether it is in the loop's schedule.",
            |this: &Ref<TimerHandle>| Ok(Obj::bool(this.handle.timer.get().is_some())),
        ),
    ])
    .build(TimerHandle::type_cell())?;
    Ok((handle, timer))
}

fn args(this: &Ref<Handle>) -> Res<Obj> {
    if this.is_cancelled() { Ok(Obj::none()) } else { this.args.to_tuple() }
}

fn source_traceback(this: &Ref<Handle>) -> Res<Obj> {
    Ok(this.source_traceback().unwrap_or_else(Obj::none))
}

fn set_source_traceback(this: &Ref<Handle>, value: Option<&Obj>) -> Res<()> {
    let value = value.filter(|value| !value.is_none()).cloned();
    drop(this.details.change(|details| std::mem::replace(&mut details.source_traceback, value)));
    Ok(())
}

fn when(this: &Ref<TimerHandle>) -> Res<Obj> {
    value::float(this.when.get())
}

/// `repr()`.
pub(super) fn describe(this: &Ref<Handle>) -> Res<Obj> {
    if let Some(kept) = this.kept_repr() {
        return Ok(kept);
    }
    let timer = Ref::<TimerHandle>::downcast(this.as_obj());
    let mut parts =
        vec![if timer.is_some() { "TimerHandle".to_owned() } else { "Handle".to_owned() }];
    if this.is_cancelled() {
        parts.push("cancelled".to_owned());
    }
    if let Some(timer) = timer {
        parts.push(format!("when={}", value::float(timer.when.get())?.repr()?));
    }
    if let Some(callback) = this.callback.get() {
        let debug = this.loop_.get().is_some_and(|loop_: Ref<LoopState>| loop_.debug.get());
        let source = format_source(&callback, &this.args.to_tuple()?, &Obj::bool(debug))?;
        parts.push(value::text(&source)?);
    }
    if let Some(place) = created_at(this)? {
        parts.push(place);
    }
    value::str(&format!("<{}>", parts.join(" ")))
}

fn describe_timer(this: &Ref<TimerHandle>) -> Res<Obj> {
    describe(this.parent())
}

/// "created at FILE:LINE", from the innermost frame recorded.
fn created_at(this: &Ref<Handle>) -> Res<Option<String>> {
    let Some(traceback) = this.source_traceback() else { return Ok(None) };
    let getitem = traceback.attr(&value::interned(c"__getitem__")?)?;
    match getitem.call1(&value::int(-1)?) {
        Ok(frame) => {
            let file = frame.attr(&value::interned(c"filename")?)?;
            let line = frame.attr(&value::interned(c"lineno")?)?;
            Ok(Some(format!("created at {}:{}", value::text(&file)?, line.repr()?)))
        }
        Err(empty) => {
            empty.clear();
            Ok(None)
        }
    }
}

/// As asyncio: the hash of the time it is due.
fn hash_of(this: &Ref<TimerHandle>) -> Res<isize> {
    value::hash(&value::float(this.when.get())?)
}

fn compare_timers(this: &Ref<TimerHandle>, other: &Obj, op: c_int) -> Res<Option<bool>> {
    let Some(other) = Ref::<TimerHandle>::downcast(other) else { return Ok(None) };
    let (a, b) = (this.when.get(), other.when.get());
    let equal = || -> Res<bool> {
        let same = |x: Option<Obj>, y: Option<Obj>| -> Res<bool> {
            match (x, y) {
                (Some(x), Some(y)) => x.equals(&y),
                (None, None) => Ok(true),
                _ => Ok(false),
            }
        };
        Ok(a.total_cmp(&b).is_eq()
            && this.handle.is_cancelled() == other.handle.is_cancelled()
            && same(this.handle.callback.get(), other.handle.callback.get())?
            && this.handle.args.to_tuple()?.equals(&other.handle.args.to_tuple()?)?)
    };
    Ok(Some(match op {
        c::Py_LT => a < b,
        c::Py_LE => a < b || equal()?,
        c::Py_GT => a > b,
        c::Py_GE => a > b || equal()?,
        c::Py_EQ => equal()?,
        c::Py_NE => !equal()?,
        _ => return Ok(None),
    }))
}
