//! The Python face of a reader: `asyncio.StreamReader`'s methods and the private names that people use.

use std::ffi::CStr;

use pyo3::ffi as c;

use super::read::{Call, Read};
use super::reader::{DEFAULT_LIMIT, Reader};
use super::stock;
use super::writer::Writer;
use crate::ffi::arguments::{Args, bind_init};
use crate::ffi::native::{Native, allocate};
use crate::ffi::object::Attached;
use crate::ffi::spec::{TypeSpec, own_methods};
use crate::ffi::trampoline::{fast, init, new, noargs, onearg, property, setattr, unary};
use crate::ffi::{EitherSlot, Obj, Raised, Ref, Res, Slot, bytes, value};
use crate::loop_state::LoopState;
use crate::{imports, names};

type This = Ref<Reader>;

/// `rulip.StreamReader` and `rulip.StreamReaderProtocol`: the classes that are known to replace no method.
static PUBLIC: Attached<(Obj, Obj)> = Attached::new();

/// `_set_stream_classes(reader, protocol, writer)`: called once by the package.
pub(crate) fn set_public_classes(args: &Args<'_>) -> Res<Obj> {
    if let [reader, protocol, writer] = args.positional() {
        own_methods(reader, Reader::type_cell())?;
        own_methods(writer, Writer::type_cell())?;
        PUBLIC.set((reader.clone(), protocol.clone()));
    }
    Ok(Obj::none())
}

pub(super) fn public_reader() -> Option<&'static Obj> {
    PUBLIC.is_set().then(|| &PUBLIC.get().0)
}

pub(super) fn public_protocol() -> Option<&'static Obj> {
    PUBLIC.is_set().then(|| &PUBLIC.get().1)
}

/// A type as an object, for a `tp_new`.
#[allow(unsafe_code, reason = "the type that CPython passes to tp_new")]
pub(super) fn class_of(kind: *mut c::PyTypeObject) -> Obj {
    // SAFETY: CPython passes the live type that is being instantiated.
    unsafe { Obj::from_borrowed(kind.cast()) }
}

fn read(reader: &This, call: Call, name: &CStr, argument: Option<&Obj>) -> Res<Obj> {
    if reader.by_name.get() {
        return by_name(reader, name, argument);
    }
    Read::start(reader, call, argument)
}

/// asyncio's own method, which calls whatever a subclass made of the others.
#[cold]
fn by_name(reader: &This, name: &CStr, argument: Option<&Obj>) -> Res<Obj> {
    let method = stock().reader.attr(&value::interned(name)?)?;
    match argument {
        Some(argument) => method.call(&[reader.as_obj(), argument]),
        None => method.call1(reader.as_obj()),
    }
}

pub(crate) fn build() -> Res<Obj> {
    TypeSpec::new::<Reader>(
        c"rulip._rulip.StreamReader",
        c"StreamReader(limit=65536, loop=None)\n--\n\nThe native half of rulip.StreamReader (mirrors asyncio.StreamReader).",
    )
    .subclassable()
    .slot(c::Py_tp_new, new(|kind, _args, _kwargs| allocate(kind, Reader::blank(&class_of(kind))?)))
    .slot(c::Py_tp_init, init(initialise))
    .slot(
        c::Py_tp_setattro,
        setattr(|this: &This, name: &Obj, _| {
            this.note_patch(name);
            Ok(())
        }),
    )
    .slot(c::Py_am_aiter, unary(|this: &This| Ok(this.to_obj())))
    .slot(c::Py_am_anext, unary(|this: &This| read(this, Call::Next, c"__anext__", None)))
    .methods([
        noargs(c"readline", c"Read until a line feed, or the end.", |this: &This| {
            read(this, Call::Line, c"readline", None)
        }),
        fast(c"readuntil", c"readuntil($self, separator=b'\\n')\n--\n\nRead until a separator is found.", |this: &This, args: &Args<'_>| {
            let [separator] = args.bind("readuntil", [c"separator"], 0)?;
            read(this, Call::Until, c"readuntil", separator)
        }),
        fast(c"readexactly", c"readexactly($self, n)\n--\n\nRead exactly `n` bytes.", |this: &This, args: &Args<'_>| {
            let [n] = args.bind("readexactly", [c"n"], 1)?;
            read(this, Call::Exactly, c"readexactly", n)
        }),
        fast(c"read", c"read($self, n=-1)\n--\n\nRead up to `n` bytes, or to the end.", |this: &This, args: &Args<'_>| {
            let [n] = args.bind("read", [c"n"], 0)?;
            read(this, Call::Read, c"read", n)
        }),
        onearg(c"_wait_for_data", c"Wait until something is fed.", |this: &This, name: &Obj| {
            Read::start(this, Call::Data, Some(name))
        }),
        fast(c"feed_data", c"feed_data($self, data)\n--\n\nTake bytes in.", |this: &This, args: &Args<'_>| {
            let [data] = args.bind("feed_data", [c"data"], 1)?;
            data.map_or_else(|| Ok(Obj::none()), |data| feed_data(this, data))
        }),
        noargs(c"feed_eof", c"Nothing follows.", |this: &This| {
            if this.by_name.get() {
                return by_name(this, c"feed_eof", None);
            }
            this.feed_eof().map(|()| Obj::none())
        }),
        noargs(c"at_eof", c"Return True if all was read and nothing follows.", |this: &This| {
            this.load()?;
            Ok(Obj::bool(this.eof.get() && this.len() == 0))
        }),
        noargs(c"exception", c"Return the exception, or None.", |this: &This| {
            Ok(this.exception.get_or_none())
        }),
        fast(c"set_exception", c"set_exception($self, exc)\n--\n\nFail whoever reads.", |this: &This, args: &Args<'_>| {
            let [exc] = args.bind("set_exception", [c"exc"], 1)?;
            exc.map_or(Ok(()), |exc| this.set_exception(exc)).map(|()| Obj::none())
        }),
        fast(
            c"set_transport",
            c"set_transport($self, transport)\n--\n\nSet what is paused and resumed.",
            |this: &This, args: &Args<'_>| {
                let [transport] = args.bind("set_transport", [c"transport"], 1)?;
                if this.transport.is_set() {
                    let error = crate::task::builtin("AssertionError")?;
                    return Err(Raised::new(&error, "Transport already set"));
                }
                if let Some(transport) = transport {
                    this.transport.set(transport.clone());
                }
                Ok(Obj::none())
            },
        ),
        noargs(c"_wakeup_waiter", c"Wake whoever waits.", |this: &This| {
            this.wake().map(|()| Obj::none())
        }),
        noargs(
            c"_maybe_resume_transport",
            c"Resume the transport if little is left.",
            |this: &This| {
                this.load()?;
                this.resume_if_low().map(|()| Obj::none())
            },
        ),
    ])
    .attributes([
        property(
            c"_loop",
            c"The event loop.",
            |this: &This| Ok(this.loop_.get_or_none()),
            |this: &This, value| store(&this.loop_, value),
        ),
        property(
            c"_transport",
            c"The transport, or None.",
            |this: &This| Ok(this.transport.get_or_none()),
            |this: &This, value| store(&this.transport, value),
        ),
        property(
            c"_waiter",
            c"The future of whoever waits, or None.",
            |this: &This| this.waiter_obj(),
            |this: &This, value| {
                this.set_waiter(value);
                Ok(())
            },
        ),
        property(
            c"_buffer",
            c"What was received and not read: a bytearray.",
            |this: &This| this.share(),
            |this: &This, value| this.replace_buffer(present(value)?),
        ),
        property(
            c"_limit",
            c"Half of what is buffered before the transport is paused.",
            limit,
            |this: &This, value| this.set_limit(present(value)?),
        ),
        property(
            c"_exception",
            c"The exception, or None.",
            |this: &This| Ok(this.exception.get_or_none()),
            |this: &This, value| keep(&this.exception, value),
        ),
        property(
            c"_source_traceback",
            c"Where it was made (debug mode).",
            |this: &This| Ok(this.source_traceback.get_or_none()),
            |this: &This, value| keep(&this.source_traceback, value),
        ),
        property(
            c"_eof",
            c"Whether the end was fed.",
            |this: &This| Ok(Obj::bool(this.eof.get())),
            |this: &This, value| {
                this.eof.set(present(value)?.is_true()?);
                Ok(())
            },
        ),
        property(
            c"_paused",
            c"Whether the transport was paused.",
            |this: &This| Ok(Obj::bool(this.paused.get())),
            |this: &This, value| {
                this.paused.set(present(value)?.is_true()?);
                Ok(())
            },
        ),
    ])
    .build(Reader::type_cell())
}

/// What an attribute is set to; deleting one is an error.
pub(super) fn present(value: Option<&Obj>) -> Res<&Obj> {
    match value {
        Some(value) => Ok(value),
        None => {
            let error = crate::task::builtin("AttributeError")?;
            Err(Raised::new(&error, "cannot delete attribute"))
        }
    }
}

pub(super) fn store<T: Native>(place: &EitherSlot<T>, value: Option<&Obj>) -> Res<()> {
    match value.filter(|value| !value.is_none()) {
        Some(value) => place.set(value.clone()),
        None => drop(place.take()),
    }
    Ok(())
}

pub(super) fn keep(place: &Slot, value: Option<&Obj>) -> Res<()> {
    place.set(value.filter(|value| !value.is_none()).cloned());
    Ok(())
}

/// `StreamReader(limit=65536, loop=None)`.
fn initialise(this: &This, args: &Obj, kwargs: Option<&Obj>) -> Res<()> {
    let [limit, loop_] = bind_init("StreamReader", [c"limit", c"loop"], 0, args, kwargs)?;
    if let Some(limit) = limit {
        let zero = value::int(0)?;
        if value::less_or_equal(&limit, &zero)? {
            return Err(Raised::value_error("Limit cannot be <= 0"));
        }
        this.set_limit(&limit)?;
    }
    this.source_traceback.set(adopt(&this.loop_, loop_)?);
    Ok(())
}

/// Keeps the loop given, or the current one; in debug mode returns where this was asked for.
pub(super) fn adopt(place: &EitherSlot<LoopState>, loop_: Option<Obj>) -> Res<Option<Obj>> {
    let loop_ = match loop_.filter(|loop_| !loop_.is_none()) {
        Some(loop_) => loop_,
        None => imports::get().get_event_loop.call0()?,
    };
    place.set(loop_.clone());
    let debug = match place.get_native() {
        Some(native) => native.debug.get(),
        None => loop_.method0(&names::get().get_debug)?.is_true()?,
    };
    if debug { crate::handle::current_stack() } else { Ok(None) }
}

fn limit(this: &This) -> Res<Obj> {
    match this.limit_given.get() {
        Some(limit) => Ok(limit),
        None => value::int(i64::try_from(DEFAULT_LIMIT).unwrap_or(i64::MAX)),
    }
}

/// `feed_data(data)`, called by Python.
fn feed_data(this: &This, data: &Obj) -> Res<Obj> {
    if this.by_name.get() {
        return by_name(this, c"feed_data", Some(data));
    }
    this.feed_object(data).map(|()| Obj::none())
}

impl Ref<Reader> {
    /// `feed_data(data)` for bytes, or for anything that a bytearray can be extended by.
    pub(crate) fn feed_object(&self, data: &Obj) -> Res<()> {
        if self.eof.get() {
            let error = crate::task::builtin("AssertionError")?;
            return Err(Raised::new(&error, "feed_data after feed_eof"));
        }
        if bytes::is_exact(data) {
            return self.feed_bytes(data).map(drop);
        }
        if !data.is_true()? {
            return Ok(());
        }
        let copy = crate::task::builtin("bytearray")?.call0()?;
        copy.method1(&value::interned(c"extend")?, data)?;
        value::with_buffer(&copy, |data| self.feed(data))?
    }
}
