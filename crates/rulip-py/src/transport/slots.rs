//! The Python face of a stream transport: `asyncio.Transport`'s methods, and the private names that
//! frameworks and `asyncio.sslproto` read.

use pyo3::ffi as c;
use rulip_engine::sys::address::Address;
use rulip_engine::sys::socket;

use super::extra_info::Addresses;
use super::public_class::PublicClass;
use super::stream::{Parts, Socket, StreamTransport};
use crate::ffi::arguments::Args;
use crate::ffi::native::{Native, body_offset};
use crate::ffi::spec::TypeSpec;
use crate::ffi::trampoline::{fast, generic_dict, getter, noargs, property, unary};
use crate::ffi::{Obj, Raised, Ref, Res, descriptor, value};
use crate::future::Future;
use crate::loop_state::LoopState;

/// The Python class that `__class__` answers: it derives from `asyncio.Transport`.
static PUBLIC_CLASS: PublicClass = PublicClass::new();

/// `_set_transport_class(cls)`: called once by the package.
pub(crate) fn set_public_class(args: &Args<'_>) -> Res<Obj> {
    PUBLIC_CLASS.set(args)
}

type This = Ref<StreamTransport>;

fn done(result: Res<()>) -> Res<Obj> {
    result.map(|()| Obj::none())
}

pub(crate) fn build() -> Res<Obj> {
    TypeSpec::new::<StreamTransport>(
        c"rulip._rulip.Transport",
        c"A TCP or Unix stream transport (mirrors asyncio.Transport).",
    )
    .not_callable()
    .weakrefs_at(body_offset::<StreamTransport>(StreamTransport::WEAKREFS_AT))
    .dict_at(body_offset::<StreamTransport>(StreamTransport::DICT_AT))
    .slot(c::Py_tp_repr, unary(describe))
    .methods([
        fast(
            c"write",
            c"write($self, data)\n--\n\nWrite bytes; never blocks, the rest is buffered.",
            |this: &This, args: &Args<'_>| {
                let [data] = args.bind("write", [c"data"], 1)?;
                done(data.map_or(Ok(()), |data| this.write(data)))
            },
        ),
        fast(c"writelines", c"writelines($self, list_of_data)\n--\n\nWrite several chunks of bytes.", |this: &This, args: &Args<'_>| {
            let [chunks] = args.bind("writelines", [c"list_of_data"], 1)?;
            done(chunks.map_or(Ok(()), |chunks| this.write_lines(value::iterate(chunks)?)))
        }),
        noargs(c"write_eof", c"Close the writing half after what is buffered.", |this: &This| {
            done(this.write_eof())
        }),
        noargs(c"can_write_eof", c"Return True.", |_: &This| Ok(Obj::bool(true))),
        noargs(c"close", c"Close after what is buffered is sent.", |this: &This| {
            done(this.close())
        }),
        noargs(c"abort", c"Close at once; what is buffered is lost.", |this: &This| {
            done(this.abort())
        }),
        noargs(c"is_closing", c"Return True if closing or closed.", |this: &This| {
            Ok(Obj::bool(this.is_closing()))
        }),
        noargs(c"pause_reading", c"Stop calling data_received.", |this: &This| {
            this.pause_reading();
            Ok(Obj::none())
        }),
        noargs(c"resume_reading", c"Call data_received again.", |this: &This| {
            this.resume_reading();
            Ok(Obj::none())
        }),
        noargs(c"is_reading", c"Return True if neither paused nor closing.", |this: &This| {
            Ok(Obj::bool(this.stream.borrow().is_reading()))
        }),
        fast(c"set_protocol", c"set_protocol($self, protocol)\n--\n\nSwitch to another protocol.", |this: &This, args: &Args<'_>| {
            let [protocol] = args.bind("set_protocol", [c"protocol"], 1)?;
            done(protocol.map_or(Ok(()), |protocol| this.set_protocol(protocol)))
        }),
        noargs(c"get_protocol", c"Return the protocol.", |this: &This| {
            Ok(this.protocol.get_or_none())
        }),
        fast(
            c"get_extra_info",
            c"get_extra_info($self, name, default=None)\n--\n\nReturn what is known about the connection.",
            |this: &This, args: &Args<'_>| {
                if let Some(other) = PUBLIC_CLASS.other_extra_info(this.as_obj())? {
                    return args.pass_to(&other);
                }
                let [name, default] = args.bind("get_extra_info", [c"name", c"default"], 1)?;
                let Some(name) = name else { return Ok(Obj::none()) };
                let none = Obj::none();
                this.extra_info(name, default.unwrap_or(&none))
            },
        ),
        noargs(
            c"get_write_buffer_size",
            c"Return how many bytes wait to be sent.",
            |this: &This| value::int(i64::try_from(this.buffered()?).unwrap_or(i64::MAX)),
        ),
        noargs(
            c"get_write_buffer_limits",
            c"Return the (low, high) water marks.",
            |this: &This| {
                let (low, high) = this.stream.borrow().limits();
                value::tuple(&[
                    &value::int(i64::try_from(low).unwrap_or(i64::MAX))?,
                    &value::int(i64::try_from(high).unwrap_or(i64::MAX))?,
                ])
            },
        ),
        fast(c"set_write_buffer_limits", c"set_write_buffer_limits($self, high=None, low=None)\n--\n\nSet the high and low water marks.", set_limits),
        fast(
            c"_force_close",
            c"Close at once, with an error for connection_lost.",
            |this: &This, args: &Args<'_>| {
                let [error] = args.bind("_force_close", [c"exc"], 1)?;
                done(this.force_close(error.filter(|error| !error.is_none()).cloned()))
            },
        ),
        fast(c"_fatal_error", c"Report an error and close.", |this: &This, args: &Args<'_>| {
            let [error, message] = args.bind("_fatal_error", [c"exc", c"message"], 1)?;
            let Some(error) = error else { return Ok(Obj::none()) };
            let message = match message {
                Some(message) => value::text(message)?,
                None => "Fatal error on transport".to_owned(),
            };
            done(this.fatal_exception(&message, error.clone()))
        }),
        noargs(
            c"_make_empty_waiter",
            c"A future that is done when nothing is left to write.",
            make_empty_waiter,
        ),
        noargs(c"_reset_empty_waiter", c"Allow writes again.", |this: &This| {
            this.empty_waiter.set(None);
            Ok(Obj::none())
        }),
    ])
    .attributes([
        getter(c"__class__", c"A class derived from asyncio.Transport.", |this: &This| {
            Ok(PUBLIC_CLASS.of(this.as_obj()))
        }),
        getter(c"_sock", c"The Python socket, None once closed.", |this: &This| {
            Ok(this.python_socket()?.unwrap_or_else(Obj::none))
        }),
        getter(c"_sock_fd", c"The descriptor's number.", |this: &This| {
            value::int(i64::from(this.fd.get()))
        }),
        getter(c"_protocol", c"The protocol.", |this: &This| Ok(this.protocol.get_or_none())),
        getter(c"_loop", c"The event loop, None once closed.", |this: &This| {
            Ok(this.loop_.get().map_or_else(Obj::none, Ref::into_obj))
        }),
        getter(c"_server", c"The server that accepted the connection, if any.", |this: &This| {
            Ok(this.server.get_or_none())
        }),
        getter(c"_extra", c"What get_extra_info knows.", |this: &This| this.extra_filled()),
        getter(c"_closing", c"Whether it is closing.", |this: &This| {
            Ok(Obj::bool(this.is_closing()))
        }),
        getter(c"_paused", c"Whether reading is paused.", |this: &This| {
            Ok(Obj::bool(!this.stream.borrow().is_reading() && !this.is_closing()))
        }),
        getter(
            c"_protocol_paused",
            c"Whether the protocol was told to pause writing.",
            |this: &This| Ok(Obj::bool(this.writing_paused.get())),
        ),
        getter(c"_eof", c"Whether write_eof() was called.", |this: &This| {
            Ok(Obj::bool(this.stream.borrow().is_eof_queued()))
        }),
        getter(c"_conn_lost", c"Not 0 once the connection is lost.", |this: &This| {
            let lost =
                this.fd.get() < 0 || (this.is_closing() && this.stream.borrow().buffered() == 0);
            value::int(i64::from(lost))
        }),
        getter(c"_empty_waiter", c"Set while sendfile owns the socket.", |this: &This| {
            Ok(this.empty_waiter.get_or_none())
        }),
        property(
            c"_start_tls_compatible",
            c"loop.start_tls accepts this transport.",
            |_: &This| Ok(Obj::bool(true)),
            |_: &This, _| Ok(()),
        ),
        getter(c"_sendfile_compatible", c"How sendfile may be done.", |_: &This| {
            crate::ffi::call::import(c"asyncio.constants")?
                .attr(&value::str("_SendfileMode")?)?
                .attr(&value::str("TRY_NATIVE")?)
        }),
        generic_dict(),
    ])
    .build(StreamTransport::type_cell())
}

fn describe(this: &This) -> Res<Obj> {
    let mut parts = vec!["SocketTransport".to_owned()];
    let fd = this.fd.get();
    let stream = this.stream.borrow();
    if fd < 0 {
        parts.push("closed".to_owned());
    } else if stream.is_closing() {
        parts.push("closing".to_owned());
    }
    if fd >= 0 {
        parts.push(format!("fd={fd}"));
        parts.push(format!("read={}", if stream.is_reading() { "polling" } else { "idle" }));
        let blocked = !stream.unsent().is_empty() && !stream.wants_flush();
        let state = if blocked { "polling" } else { "idle" };
        parts.push(format!(
            "write=<{state}, bufsize={}>",
            if blocked { stream.buffered() } else { 0 }
        ));
    }
    drop(stream);
    value::str(&format!("<{}>", parts.join(" ")))
}

fn set_limits(this: &This, args: &Args<'_>) -> Res<Obj> {
    let [high, low] = args.bind("set_write_buffer_limits", [c"high", c"low"], 0)?;
    let number = |limit: Option<&Obj>| {
        limit.filter(|limit| !limit.is_none()).map(value::water_mark).transpose()
    };
    let (high, low) = (number(high)?, number(low)?);
    if this.stream.borrow().wants_flush() {
        this.flush()?;
    }
    let set = this.stream.borrow_mut().set_limits(high, low);
    if let Err(refused) = set {
        return Err(Raised::value_error(&refused.to_string()));
    }
    done(this.tell_flow())
}

fn make_empty_waiter(this: &This) -> Res<Obj> {
    if this.empty_waiter.is_set() {
        return Err(Raised::runtime_error("Empty waiter is already set"));
    }
    let Some(loop_) = this.loop_.get() else {
        return Err(Raised::runtime_error("Transport is closed"));
    };
    let waiter = Ref::<Future>::create(&loop_)?;
    if this.buffered()? == 0 {
        waiter.set_result(Obj::none())?;
    }
    this.empty_waiter.set(Some(waiter.to_obj()));
    Ok(waiter.into_obj())
}

/// `loop._make_socket_transport(sock, protocol, waiter=None, *, extra=None, server=None)`.
pub(crate) fn make_socket_transport(loop_: &Ref<LoopState>, args: &Args<'_>) -> Res<Obj> {
    let [sock, protocol, rest @ ..] = args.positional() else {
        return Err(Raised::type_error("_make_socket_transport() needs a socket and a protocol"));
    };
    let mut waiter = rest.first().cloned();
    let (mut extra, mut server) = (None, None);
    for (key, item) in args.keywords() {
        if value::text_is(&key, c"waiter") {
            waiter = Some(item.clone());
        } else if value::text_is(&key, c"extra") {
            extra = Some(item.clone());
        } else if value::text_is(&key, c"server") {
            server = Some(item.clone());
        } else {
            return Err(crate::ffi::arguments::unexpected("_make_socket_transport", &key));
        }
    }
    let given = |value: Option<Obj>| value.filter(|value| !value.is_none());
    let fd = value::as_descriptor(sock)?;
    let lent = descriptor::lend(fd)?;
    let local = socket::local_addr(lent).ok().map(Address::from);
    let peer = socket::peer_addr(lent).ok().flatten().map(Address::from);
    let extra = match given(extra) {
        // asyncio keeps a copy.
        Some(extra) => {
            let copy = value::dict()?;
            value::dict_update(&copy, &extra)?;
            Some(copy)
        }
        None => None,
    };
    let parts = Parts {
        socket: Socket::Python(sock.clone()),
        fd,
        addresses: Addresses { local, peer },
        protocol: protocol.clone(),
        waiter: given(waiter),
        extra,
        server: given(server),
    };
    StreamTransport::make(loop_, parts).map(Ref::into_obj)
}
