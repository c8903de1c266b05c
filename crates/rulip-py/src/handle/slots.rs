//! The Python face of `Handle` and `TimerHandle`: methods, attributes, `repr`, comparison.
//!
//! `__class__` answers asyncio's classes, so `isinstance(h, asyncio.Handle)` holds without their
//! layout. The private names are those that other people's code reads.

use std::ffi::c_int;

use pyo3::ffi as c;

use super::{Handle, TimerHandle, format_source};
use crate::ffi::arguments::bind_call;
use crate::ffi::inline_args::InlineArgs;
use crate::ffi::native::{Native, allocate, body_offset, class_of};
use crate::ffi::spec::TypeSpec;
use crate::ffi::trampoline::{compare, getter, hash, init, new, noargs, property, unary};
use crate::ffi::{Obj, Ref, Res, value};
use crate::{imports, names};

/// Makes both types.
pub(crate) fn build() -> Res<(Obj, Obj)> {
    let handle = TypeSpec::new::<Handle>(
        c"rulip._rulip.Handle",
        c"Handle(callback, args, loop, context=None)\n--\n\nA scheduled callback (mirrors asyncio.Handle).",
    )
    .subclassable()
    .weakrefs_at(body_offset::<Handle>(std::mem::offset_of!(Handle, weakrefs)))
    .slot(c::Py_tp_new, new(|kind, _args, _kwargs| allocate(kind, Handle::blank())))
    .slot(c::Py_tp_init, init(initialise))
    .slot(c::Py_tp_repr, unary(describe))
    .methods([
        noargs(c"cancel", c"cancel($self)\n--\n\nCancel the callback; it will not run.", |this: &Ref<Handle>| {
            Handle::cancel(this)?;
            Ok(Obj::none())
        }),
        noargs(c"cancelled", c"cancelled($self)\n--\n\nReturn True if the callback was cancelled.", |this: &Ref<Handle>| {
            Ok(Obj::bool(this.is_cancelled()))
        }),
        noargs(c"get_context", c"get_context($self)\n--\n\nReturn the context the callback runs in.", |this: &Ref<Handle>| {
            Ok(this.context.get_or_none())
        }),
        noargs(c"_run", c"_run($self)\n--\n\nRun the callback now.", |this: &Ref<Handle>| {
            Handle::run_held(this)?;
            Ok(Obj::none())
        }),
    ])
    .attributes([
        getter(c"__class__", c"asyncio.Handle", |this: &Ref<Handle>| {
            class_of(this, &imports::get().handle_class)
        }),
        property(c"_callback", c"The callback, None once cancelled.", |this: &Ref<Handle>| {
            Ok(this.callback.get_or_none())
        }, |this: &Ref<Handle>, value: Option<&Obj>| {
            this.callback.set(given(value));
            Ok(())
        }),
        property(c"_args", c"Its positional arguments, None once cancelled.", args, set_args),
        getter(c"_context", c"The context it runs in.", |this: &Ref<Handle>| {
            Ok(this.context.get_or_none())
        }),
        getter(c"_loop", c"The loop.", |this: &Ref<Handle>| Ok(this.loop_.get_or_none())),
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
        c"TimerHandle(when, callback, args, loop, context=None)\n--\n\nA callback scheduled for a later time (mirrors asyncio.TimerHandle).",
    )
    .base(Handle::type_cell())
    .subclassable()
    .slot(c::Py_tp_new, new(|kind, _args, _kwargs| allocate(kind, TimerHandle::blank())))
    .slot(c::Py_tp_init, init(initialise_timer))
    .slot(c::Py_tp_hash, hash(|this: &Ref<TimerHandle>| value::hash(&this.when()?)))
    .slot(c::Py_tp_richcompare, compare(compare_timers))
    .slot(c::Py_tp_repr, unary(|this: &Ref<TimerHandle>| describe(this.parent())))
    .methods([
        noargs(c"cancel", c"cancel($self)\n--\n\nCancel the callback; it will not run.", cancel_timer),
        noargs(c"when", c"when($self)\n--\n\nReturn the loop time, in seconds, at which it is due.", |this: &Ref<TimerHandle>| this.when()),
    ])
    .attributes([
        getter(c"__class__", c"asyncio.TimerHandle", |this: &Ref<TimerHandle>| {
            class_of(this, &imports::get().timer_handle_class)
        }),
        property(c"_when", c"When it is due.", |this: &Ref<TimerHandle>| this.when(), |this: &Ref<TimerHandle>, value: Option<&Obj>| {
            value.map_or(Ok(()), |when| this.set_when(when))
        }),
        property(
            c"_scheduled",
            c"Whether it is in the loop's schedule.",
            |this: &Ref<TimerHandle>| {
                Ok(Obj::bool(this.handle.timer.get().is_some() || this.handle.scheduled.get()))
            },
            |this: &Ref<TimerHandle>, value: Option<&Obj>| {
                this.handle.scheduled.set(value.map_or(Ok(false), Obj::is_true)?);
                Ok(())
            },
        ),
    ])
    .build(TimerHandle::type_cell())?;
    Ok((handle, timer))
}

/// `Handle(callback, args, loop, context=None)`.
pub(super) fn initialise(this: &Ref<Handle>, args: &Obj, kwargs: Option<&Obj>) -> Res<()> {
    let names = [c"callback", c"args", c"loop", c"context"];
    let found = bind_call("Handle", names, 3, args, kwargs)?;
    let [Some(callback), Some(args), Some(loop_), context] = found else { return Ok(()) };
    Handle::initialise(this, callback, &args, loop_, context.filter(|context| !context.is_none()))
}

fn initialise_timer(this: &Ref<TimerHandle>, args: &Obj, kwargs: Option<&Obj>) -> Res<()> {
    let names = [c"when", c"callback", c"args", c"loop", c"context"];
    let found = bind_call("TimerHandle", names, 4, args, kwargs)?;
    let [Some(when), Some(callback), Some(args), Some(loop_), context] = found else {
        return Ok(());
    };
    let context = context.filter(|context| !context.is_none());
    Handle::initialise(this.parent(), callback, &args, loop_, context)?;
    this.handle.scheduled.set(false);
    this.set_when(&when)
}

/// A loop of another kind counts the timers cancelled in its heap.
fn cancel_timer(this: &Ref<TimerHandle>) -> Res<Obj> {
    if !this.handle.is_cancelled()
        && this.handle.loop_.get_native().is_none()
        && let Some(loop_) = this.handle.loop_.get()
    {
        loop_.method1(&names::get().timer_handle_cancelled, this.as_obj())?;
    }
    Handle::cancel(this.parent())?;
    Ok(Obj::none())
}

fn given(value: Option<&Obj>) -> Option<Obj> {
    value.filter(|value| !value.is_none()).cloned()
}

fn args(this: &Ref<Handle>) -> Res<Obj> {
    if this.is_cancelled() { Ok(Obj::none()) } else { this.args.to_tuple() }
}

fn set_args(this: &Ref<Handle>, value: Option<&Obj>) -> Res<()> {
    let args = match given(value) {
        Some(value) => InlineArgs::of(&value)?,
        None => InlineArgs::none(),
    };
    drop(this.args.replace(args));
    Ok(())
}

fn source_traceback(this: &Ref<Handle>) -> Res<Obj> {
    Ok(this.source_traceback().unwrap_or_else(Obj::none))
}

fn set_source_traceback(this: &Ref<Handle>, value: Option<&Obj>) -> Res<()> {
    let value = given(value);
    drop(this.details.change(|details| std::mem::replace(&mut details.source_traceback, value)));
    Ok(())
}

/// `repr()`.
pub(super) fn describe(this: &Ref<Handle>) -> Res<Obj> {
    if let Some(kept) = this.kept_repr() {
        return Ok(kept);
    }
    let timer = Ref::<TimerHandle>::downcast(this.as_obj());
    let mut parts = vec![this.as_obj().type_name()];
    if this.is_cancelled() {
        parts.push("cancelled".to_owned());
    }
    if let Some(timer) = timer {
        parts.push(format!("when={}", value::text(&value::str_of(&timer.when()?)?)?));
    }
    if let Some(callback) = this.callback.get().filter(|callback| !callback.is_none()) {
        let debug = Obj::bool(this.in_debug_mode()?);
        let source = format_source(&callback, &this.args.to_tuple()?, &debug)?;
        parts.push(value::text(&source)?);
    }
    if let Some(place) = created_at(this)? {
        parts.push(place);
    }
    value::str(&format!("<{}>", parts.join(" ")))
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
        #[allow(clippy::float_cmp, reason = "the very same deadline is meant")]
        Ok(a == b
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
