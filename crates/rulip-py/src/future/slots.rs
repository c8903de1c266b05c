//! The Python face of `Future`: methods, attributes, slots.
//!
//! `__class__` answers asyncio's class, so `isinstance(f, asyncio.Future)` and `asyncio.isfuture`
//! hold without its layout.

use pyo3::ffi as c;

use super::{Future, State, iter};
use crate::ffi::arguments::Args;
use crate::ffi::native::{Native, body_offset, class_of};
use crate::ffi::spec::TypeSpec;
use crate::ffi::trampoline::{fast, getter, init, new, noargs, onearg, property, unary};
use crate::ffi::{Obj, Raised, Ref, Res, send, value};
use crate::imports;

/// Makes the type.
pub(crate) fn build() -> Res<Obj> {
    let mut awaiting = noargs(c"__await__", c"Return an iterator for this future.", iter::over);
    // Calls by name get the iterator; the interpreter's own `await` uses the slot.
    awaiting.ml_flags |= c::METH_COEXIST;
    let mut iterating = noargs(c"__iter__", c"Return an iterator for this future.", iter::over);
    iterating.ml_flags |= c::METH_COEXIST;
    TypeSpec::new::<Future>(
        c"rulip._rulip.Future",
        c"Future(*, loop=None)\n--\n\nA result that is not there yet (mirrors asyncio.Future).",
    )
    .subclassable()
    .weakrefs_at(body_offset::<Future>(std::mem::offset_of!(Future, weakrefs)))
    .dict_at(body_offset::<Future>(std::mem::offset_of!(Future, dict)))
    .slot(c::Py_tp_new, new(|kind, _args, _kwargs| made_in(kind)))
    .slot(c::Py_tp_init, init(initialise))
    .slot(
        c::Py_tp_repr,
        unary(|this: &Ref<Future>| {
            this.ensure_initialised()?;
            imports::get().future_repr.call1(this.as_obj())
        }),
    )
    .slot(
        c::Py_am_await,
        unary(|this: &Ref<Future>| {
            this.ensure_initialised()?;
            Ok(this.to_obj())
        }),
    )
    .slot(c::Py_am_send, send::send_slot::<Future>())
    .slot(c::Py_tp_iter, unary(iter::over))
    .slot(c::Py_tp_iternext, send::iternext_slot::<Future>())
    .methods([
        awaiting,
        iterating,
        noargs(c"result", c"Return the result, or raise the exception.", |this: &Ref<Future>| {
            this.outcome()
        }),
        noargs(c"exception", c"Return the exception, or None.", exception),
        onearg(
            c"set_result",
            c"set_result($self, result, /)\n--\n\nMark the future done with a result.",
            |this: &Ref<Future>, value: &Obj| {
                this.set_result(value.clone())?;
                Ok(Obj::none())
            },
        ),
        onearg(c"set_exception", c"set_exception($self, exception, /)\n--\n\nMark the future done with an exception.", set_exception),
        fast(
            c"add_done_callback",
            c"add_done_callback($self, fn, /, *, context=None)\n--\n\nCall the callback when the future is done.",
            add_done_callback,
        ),
        onearg(
            c"remove_done_callback",
            c"remove_done_callback($self, fn, /)\n--\n\nRemove every entry of the callback; return how many.",
            |this: &Ref<Future>, callback: &Obj| value::int(this.remove_done_callback(callback)?),
        ),
        fast(
            c"cancel",
            c"cancel($self, msg=None)\n--\n\nCancel the future, and schedule its callbacks.",
            |this: &Ref<Future>, args: &Args<'_>| {
                Ok(Obj::bool(this.cancel(cancel_message(args)?)?))
            },
        ),
        noargs(c"cancelled", c"Return True if the future was cancelled.", |this: &Ref<Future>| {
            Ok(Obj::bool(this.state() == State::Cancelled))
        }),
        noargs(c"done", c"Return True if the future is done.", |this: &Ref<Future>| {
            Ok(Obj::bool(this.is_done()))
        }),
        noargs(
            c"get_loop",
            c"Return the event loop the future is bound to.",
            |this: &Ref<Future>| this.loop_obj(),
        ),
        noargs(
            c"_make_cancelled_error",
            c"Create the CancelledError to raise.",
            |this: &Ref<Future>| this.make_cancelled_error(),
        ),
        class_getitem(),
    ])
    .attributes([
        getter(c"__class__", c"asyncio.Future", |this: &Ref<Future>| {
            class_of(this, &imports::get().future_class)
        }),
        property(
            c"_asyncio_future_blocking",
            c"Set by an await that yields this future.",
            |this: &Ref<Future>| Ok(Obj::bool(this.is_blocking())),
            |this: &Ref<Future>, value: Option<&Obj>| {
                let Some(value) = value else {
                    return Err(Raised::new(&attribute_error()?, "cannot delete attribute"));
                };
                this.set_blocking(value.is_true()?);
                Ok(())
            },
        ),
        property(
            c"_log_traceback",
            c"Whether an exception is held that nobody saw.",
            |this: &Ref<Future>| {
                this.ensure_initialised()?;
                Ok(Obj::bool(this.log_traceback.get()))
            },
            |this: &Ref<Future>, value: Option<&Obj>| {
                let Some(value) = value else {
                    return Err(Raised::new(&attribute_error()?, "cannot delete attribute"));
                };
                if value.is_true()? {
                    return Err(Raised::value_error("_log_traceback can only be set to False"));
                }
                this.log_traceback.set(false);
                Ok(())
            },
        ),
        property(
            c"_cancel_message",
            c"The message given to cancel().",
            |this: &Ref<Future>| Ok(this.cancel_message().unwrap_or_else(Obj::none)),
            |this: &Ref<Future>, value: Option<&Obj>| {
                if cfg!(Py_3_14) && value.is_none() {
                    return Err(Raised::new(&attribute_error()?, "cannot delete attribute"));
                }
                this.set_cancel_message(value.filter(|value| !value.is_none()).cloned());
                Ok(())
            },
        ),
        getter(c"_state", c"PENDING, FINISHED or CANCELLED.", state_name),
        getter(c"_result", c"The result, if any.", |this: &Ref<Future>| {
            this.ensure_initialised()?;
            Ok(if this.state() == State::Finished {
                this.result.get_or_none()
            } else {
                Obj::none()
            })
        }),
        getter(c"_exception", c"The exception, if any.", |this: &Ref<Future>| {
            this.ensure_initialised()?;
            Ok(if this.state() == State::Failed { this.result.get_or_none() } else { Obj::none() })
        }),
        getter(c"_loop", c"The event loop.", |this: &Ref<Future>| Ok(this.loop_.get_or_none())),
        getter(
            c"_callbacks",
            c"Who is told when it is done: (callback, context) pairs, or None.",
            callbacks,
        ),
        #[cfg(Py_3_14)]
        getter(
            c"_asyncio_awaited_by",
            c"Who awaits it, if anybody.",
            super::awaited_by::awaited_by,
        ),
        getter(c"_source_traceback", c"Where it was made (debug mode).", |this: &Ref<Future>| {
            Ok(this.source_traceback().unwrap_or_else(Obj::none))
        }),
        dict_attribute(),
    ])
    .build(Future::type_cell())
}

/// `Future.__class_getitem__`.
pub(crate) fn class_getitem() -> c::PyMethodDef {
    crate::ffi::trampoline::class_onearg(
        c"__class_getitem__",
        c"Generic alias, for annotations.",
        |class: &Obj, item: &Obj| imports::get().generic_alias.call(&[class, item]),
    )
}

/// `__dict__`, which a type made from a spec must ask for.
fn dict_attribute() -> c::PyGetSetDef {
    crate::ffi::trampoline::generic_dict()
}

fn attribute_error() -> Res<Obj> {
    crate::ffi::call::import(c"builtins")?.attr(&value::str("AttributeError")?)
}

fn made_in(kind: *mut c::PyTypeObject) -> Res<Obj> {
    crate::ffi::native::allocate(kind, Future::blank())
}

fn initialise(this: &Ref<Future>, args: &Obj, kwargs: Option<&Obj>) -> Res<()> {
    if !value::tuple_items(args).is_empty() {
        return Err(Raised::type_error("Future() takes no positional arguments"));
    }
    let mut loop_ = None;
    for (name, item) in kwargs.map(value::dict_items).unwrap_or_default() {
        if value::text_is(&name, c"loop") {
            loop_ = Some(item);
        } else {
            return Err(crate::ffi::arguments::unexpected("Future", &name));
        }
    }
    this.initialise(this.as_obj(), loop_.as_ref())
}

/// The `msg` of a `cancel()` call.
pub(crate) fn cancel_message(args: &Args<'_>) -> Res<Option<Obj>> {
    let [message] = args.bind("cancel", [c"msg"], 0)?;
    Ok(message.filter(|message| !message.is_none()).cloned())
}

fn exception(this: &Ref<Future>) -> Res<Obj> {
    match this.state() {
        State::Finished => Ok(Obj::none()),
        State::Failed => {
            this.log_traceback.set(false);
            Ok(this.result.get_or_none())
        }
        State::Cancelled => Err(Raised::from_exception(&this.make_cancelled_error()?)),
        State::Pending => this.not_yet("Exception is not set."),
    }
}

fn set_exception(this: &Ref<Future>, value: &Obj) -> Res<Obj> {
    this.ensure_pending()?;
    let exc = if value.is_exception_class() { value.call0()? } else { value.clone() };
    if !exc.is_exception_instance() {
        return Err(Raised::type_error("invalid exception object"));
    }
    this.set_exception(storable(exc)?)?;
    Ok(Obj::none())
}

/// `StopIteration` would end the generator that awaits: refused, or wrapped, as this Python does.
pub(crate) fn storable(exc: Obj) -> Res<Obj> {
    const TEXT: &str =
        "StopIteration interacts badly with generators and cannot be raised into a Future";
    if !crate::ffi::error::is_stop_iteration(&exc)? {
        return Ok(exc);
    }
    if imports::wraps_stop_iteration()? {
        let wrapped = Raised::runtime_error(TEXT).take();
        wrapped.set_cause(Some(exc.clone()));
        wrapped.set_context(Some(exc));
        return Ok(wrapped);
    }
    Err(Raised::type_error(TEXT))
}

fn add_done_callback(this: &Ref<Future>, args: &Args<'_>) -> Res<Obj> {
    let [callback, context] = args.bind_after("add_done_callback", [c"fn", c"context"], 1, 1)?;
    let Some(callback) = callback else { return Ok(Obj::none()) };
    this.add_done_callback(
        callback.clone(),
        context.filter(|context| !context.is_none()).cloned(),
    )?;
    Ok(Obj::none())
}

fn state_name(this: &Ref<Future>) -> Res<Obj> {
    this.ensure_initialised()?;
    value::interned(match this.state() {
        State::Pending => c"PENDING",
        State::Finished | State::Failed => c"FINISHED",
        State::Cancelled => c"CANCELLED",
    })
}

fn callbacks(this: &Ref<Future>) -> Res<Obj> {
    this.ensure_initialised()?;
    let list = this.callbacks()?;
    if list.is_empty() {
        return Ok(Obj::none());
    }
    let pairs: Res<Vec<Obj>> =
        list.iter().map(|(callback, context)| value::tuple(&[callback, context])).collect();
    value::list(pairs?)
}
