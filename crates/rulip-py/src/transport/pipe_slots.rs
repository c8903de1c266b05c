//! The Python faces of both ends of a pipe: `asyncio.ReadTransport`'s and `WriteTransport`'s
//! methods.
//!
//! Owner thread changes, any attached thread may ask.

use pyo3::ffi as c;

use super::base::HasBase;
use super::base_slots::{self, Writes};
use super::public_class::PublicClass;
use super::read_pipe::ReadPipeTransport;
use super::write_pipe::WritePipeTransport;
use crate::ffi::arguments::Args;
use crate::ffi::native::Native;
use crate::ffi::trampoline::{fast, getter, noargs, unary};
use crate::ffi::{Obj, Raised, Ref, Res, value};
use crate::loop_state::LoopState;

type Reader = Ref<ReadPipeTransport>;
type Writer = Ref<WritePipeTransport>;

pub(super) static READER_CLASS: PublicClass = PublicClass::new();
pub(super) static WRITER_CLASS: PublicClass = PublicClass::new();

/// `_set_read_pipe_transport_class(cls)`.
pub(crate) fn set_reader_class(args: &Args<'_>) -> Res<Obj> {
    READER_CLASS.set(args)
}

/// `_set_write_pipe_transport_class(cls)`.
pub(crate) fn set_writer_class(args: &Args<'_>) -> Res<Obj> {
    WRITER_CLASS.set(args)
}

fn done(result: Res<()>) -> Res<Obj> {
    result.map(|()| Obj::none())
}

impl Writes for WritePipeTransport {
    fn buffered(&self) -> usize {
        self.state.borrow().buffered()
    }

    fn limits(&self) -> (usize, usize) {
        self.state.borrow().limits()
    }

    fn set_limits(this: &Writer, high: Option<i64>, low: Option<i64>) -> Res<()> {
        let set = this.state.borrow_mut().set_limits(high, low);
        set.map_err(|refused| Raised::value_error(&refused.to_string()))?;
        this.tell_flow()
    }
}

/// `_fatal_error(exc, message)`.
fn failure(args: &Args<'_>) -> Res<Option<(Obj, String)>> {
    let [error, message] = args.bind("_fatal_error", [c"exc", c"message"], 1)?;
    let message = match message {
        Some(message) => value::text(message)?,
        None => "Fatal error on pipe transport".to_owned(),
    };
    Ok(error.map(|error| (error.clone(), message)))
}

pub(crate) fn build_reader() -> Res<Obj> {
    base_slots::spec::<ReadPipeTransport>(
        c"rulip._rulip.ReadPipeTransport",
        c"The reading end of a pipe (mirrors asyncio.ReadTransport).",
    )
    .slot(c::Py_tp_repr, unary(describe_reader))
    .methods([
        noargs(c"close", c"Stop reading and close the pipe.", |this: &Reader| {
            done(this.close(None))
        }),
        noargs(c"is_closing", c"Return True if closing or closed.", |this: &Reader| {
            Ok(Obj::bool(this.closing.get()))
        }),
        noargs(c"pause_reading", c"Stop calling data_received.", |this: &Reader| {
            done(this.pause_reading())
        }),
        noargs(c"resume_reading", c"Call data_received again.", |this: &Reader| {
            done(this.resume_reading())
        }),
        noargs(c"is_reading", c"Return True if neither paused nor closing.", |this: &Reader| {
            Ok(Obj::bool(this.is_reading()))
        }),
        fast(c"_fatal_error", c"Report an error and close.", |this: &Reader, args: &Args<'_>| {
            match failure(args)? {
                Some((error, message)) => done(this.fatal_exception(&message, error)),
                None => Ok(Obj::none()),
            }
        }),
    ])
    .attributes([
        getter(c"__class__", c"A class derived from asyncio's.", |this: &Reader| {
            Ok(READER_CLASS.of(this.as_obj()))
        }),
        getter(c"_pipe", c"The pipe, None once closed.", |this: &Reader| {
            Ok(this.base.file.get_or_none())
        }),
        getter(c"_fileno", c"The descriptor's number.", |this: &Reader| {
            value::int(i64::from(this.base.number))
        }),
        getter(c"_closing", c"Whether it is closing.", |this: &Reader| {
            Ok(Obj::bool(this.closing.get()))
        }),
        getter(c"_paused", c"Whether reading is paused.", |this: &Reader| {
            Ok(Obj::bool(this.paused.get()))
        }),
    ])
    .build(ReadPipeTransport::type_cell())
}

const NO_READER: &std::ffi::CStr = c"Raise NotImplementedError: nothing is read here.";

/// asyncio's writing ends are `asyncio.Transport`s, whose methods of reading they leave as they are.
fn cannot_read(_: &Writer) -> Res<Obj> {
    let class = crate::task::builtin("NotImplementedError")?;
    Err(Raised::from_exception(&class.call0()?))
}

pub(crate) fn build_writer() -> Res<Obj> {
    let spec = base_slots::spec::<WritePipeTransport>(
        c"rulip._rulip.WritePipeTransport",
        c"The writing end of a pipe (an asyncio.Transport that only writes).",
    );
    base_slots::writing::<WritePipeTransport>(spec)
        .slot(c::Py_tp_repr, unary(describe_writer))
        .methods([
            fast(
                c"write",
                c"write($self, data)\n--\n\nWrite bytes; never blocks, the rest is buffered.",
                |this: &Writer, args: &Args<'_>| {
                    let [data] = args.bind("write", [c"data"], 1)?;
                    done(data.map_or(Ok(()), |data| this.write(data)))
                },
            ),
            fast(
                c"writelines",
                c"writelines($self, list_of_data)\n--\n\nWrite several chunks.",
                |this: &Writer, args: &Args<'_>| {
                    let [chunks] = args.bind("writelines", [c"list_of_data"], 1)?;
                    let Some(chunks) = chunks else { return Ok(Obj::none()) };
                    let empty = crate::ffi::bytes::from_slice(&[])?;
                    let joined = empty.method1(&value::interned(c"join")?, chunks)?;
                    done(this.write(&joined))
                },
            ),
            noargs(c"write_eof", c"Close after what is buffered.", |this: &Writer| {
                done(this.write_eof())
            }),
            noargs(c"can_write_eof", c"Return True.", |_: &Writer| Ok(Obj::bool(true))),
            noargs(c"close", c"Close after what is buffered.", |this: &Writer| {
                done(this.write_eof())
            }),
            noargs(c"abort", c"Close at once; what is buffered is lost.", |this: &Writer| {
                done(this.force_close(None))
            }),
            noargs(c"is_closing", c"Return True if closing or closed.", |this: &Writer| {
                Ok(Obj::bool(this.is_closing()))
            }),
            noargs(c"pause_reading", NO_READER, cannot_read),
            noargs(c"resume_reading", NO_READER, cannot_read),
            noargs(c"is_reading", NO_READER, cannot_read),
            fast(
                c"_fatal_error",
                c"Report an error and close.",
                |this: &Writer, args: &Args<'_>| match failure(args)? {
                    Some((error, message)) => done(this.fatal_exception(&message, error)),
                    None => Ok(Obj::none()),
                },
            ),
        ])
        .attributes([
            getter(c"__class__", c"A class derived from asyncio's.", |this: &Writer| {
                Ok(WRITER_CLASS.of(this.as_obj()))
            }),
            getter(c"_pipe", c"The pipe, None once closed.", |this: &Writer| {
                Ok(this.base.file.get_or_none())
            }),
            getter(c"_fileno", c"The descriptor's number.", |this: &Writer| {
                value::int(i64::from(this.base.number))
            }),
            getter(c"_closing", c"Whether it is closing.", |this: &Writer| {
                Ok(Obj::bool(this.is_closing()))
            }),
        ])
        .build(WritePipeTransport::type_cell())
}

fn state_of<T: HasBase>(this: &Ref<T>, closing: bool) -> Vec<String> {
    let mut parts = vec![T::NAME.to_owned()];
    if !this.base().is_open() {
        parts.push("closed".to_owned());
    } else if closing {
        parts.push("closing".to_owned());
    }
    parts.push(format!("fd={}", this.base().number));
    parts
}

fn described(mut parts: Vec<String>, open: bool, looks: &[String]) -> Res<Obj> {
    if open {
        parts.extend_from_slice(looks);
    } else {
        parts.push("closed".to_owned());
    }
    value::str(&format!("<{}>", parts.join(" ")))
}

fn describe_reader(this: &Reader) -> Res<Obj> {
    let parts = state_of(this, this.closing.get());
    let polling = if this.is_reading() { "polling" } else { "idle" };
    described(parts, this.base.is_open(), &[polling.to_owned()])
}

fn describe_writer(this: &Writer) -> Res<Obj> {
    let parts = state_of(this, this.is_closing());
    let polling = if this.waits_for_room() { "polling" } else { "idle" };
    let size = format!("bufsize={}", this.buffered());
    described(parts, this.base.is_open(), &[polling.to_owned(), size])
}

/// The parameters of both makers.
const MAKER: [&std::ffi::CStr; 4] = [c"pipe", c"protocol", c"waiter", c"extra"];

fn given(value: Option<&Obj>) -> Option<&Obj> {
    value.filter(|value| !value.is_none())
}

/// `loop._make_read_pipe_transport(pipe, protocol, waiter=None, extra=None)`.
pub(crate) fn make_reader(loop_: &Ref<LoopState>, args: &Args<'_>) -> Res<Obj> {
    let [pipe, protocol, waiter, extra] = args.bind("_make_read_pipe_transport", MAKER, 2)?;
    let (Some(pipe), Some(protocol)) = (pipe, protocol) else { return Ok(Obj::none()) };
    ReadPipeTransport::make(loop_, pipe, protocol, given(waiter).cloned(), given(extra))
        .map(Ref::into_obj)
}

/// `loop._make_write_pipe_transport(pipe, protocol, waiter=None, extra=None)`.
pub(crate) fn make_writer(loop_: &Ref<LoopState>, args: &Args<'_>) -> Res<Obj> {
    let [pipe, protocol, waiter, extra] = args.bind("_make_write_pipe_transport", MAKER, 2)?;
    let (Some(pipe), Some(protocol)) = (pipe, protocol) else { return Ok(Obj::none()) };
    WritePipeTransport::make(loop_, pipe, protocol, given(waiter).cloned(), given(extra))
        .map(Ref::into_obj)
}
