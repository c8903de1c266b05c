//! The Python faces: `asyncio.sslproto._SSLProtocolTransport`'s methods and those of its `SSLProtocol`, and
//! the private names that frameworks read. Cold but for `write`.

use pyo3::ffi as c;

use super::protocol::{Marks, Parts, State, TlsProtocol};
use super::reading::size;
use super::session::Choice;
use super::transport::TlsTransport;
use crate::ffi::arguments::Args;
use crate::ffi::native::{Native, body_offset};
use crate::ffi::object::Attached;
use crate::ffi::spec::TypeSpec;
use crate::ffi::trampoline::{fast, generic_dict, getter, noargs, onearg, property, unary};
use crate::ffi::{Obj, Raised, Ref, Res, call, value};
use crate::loop_state::LoopState;

/// The Python classes that `__class__` answers: they derive from asyncio's.
static PUBLIC_CLASSES: Attached<(Obj, Obj)> = Attached::new();

/// `_set_tls_classes(transport_class, protocol_class)`: called once by the package.
pub(crate) fn set_public_classes(args: &Args<'_>) -> Res<Obj> {
    if let [transport, protocol] = args.positional() {
        PUBLIC_CLASSES.set((transport.clone(), protocol.clone()));
    }
    Ok(Obj::none())
}

fn public_class(this: &Obj, pick: impl FnOnce(&(Obj, Obj)) -> &Obj) -> Res<Obj> {
    Ok(if PUBLIC_CLASSES.is_set() { pick(PUBLIC_CLASSES.get()).clone() } else { this.type_obj() })
}

type Transport = Ref<TlsTransport>;
type Protocol = Ref<TlsProtocol>;

fn done(result: Res<()>) -> Res<Obj> {
    result.map(|()| Obj::none())
}

/// What the protocol answers; one that was closed twice has let go of it.
fn ask(this: &Transport, f: impl FnOnce(&Protocol) -> Res<Obj>) -> Res<Obj> {
    this.protocol.get().map_or_else(|| Ok(Obj::none()), |protocol| f(&protocol))
}

fn tell(this: &Transport, f: impl FnOnce(&Protocol) -> Res<()>) -> Res<Obj> {
    ask(this, |protocol| f(protocol).map(|()| Obj::none()))
}

fn limits(marks: Marks) -> Res<Obj> {
    value::tuple(&[&size(marks.low)?, &size(marks.high)?])
}

pub(crate) fn build_transport() -> Res<Obj> {
    TypeSpec::new::<TlsTransport>(
        c"rulip._rulip.TLSTransport",
        c"A TLS stream transport (mirrors asyncio.Transport).",
    )
    .not_callable()
    .weakrefs_at(body_offset::<TlsTransport>(TlsTransport::WEAKREFS_AT))
    .dict_at(body_offset::<TlsTransport>(TlsTransport::DICT_AT))
    .slot(c::Py_tp_repr, unary(|this: &Transport| describe(this.as_obj(), "_SSLProtocolTransport")))
    .methods([
        fast(
            c"write",
            c"write($self, data)\n--\n\nWrite bytes; never blocks, the rest is buffered.",
            |this: &Transport, args: &Args<'_>| {
                let [data] = args.bind("write", [c"data"], 1)?;
                data.map_or_else(|| Ok(Obj::none()), |data| tell(this, |tls| tls.write(data)))
            },
        ),
        fast(
            c"writelines",
            c"writelines($self, list_of_data)\n--\n\nWrite several chunks of bytes.",
            |this: &Transport, args: &Args<'_>| {
                let [chunks] = args.bind("writelines", [c"list_of_data"], 1)?;
                let Some(chunks) = chunks else { return Ok(Obj::none()) };
                let chunks = value::iterate(chunks)?;
                tell(this, |tls| tls.write_lines(&chunks))
            },
        ),
        noargs(
            c"write_eof",
            c"Raise NotImplementedError: TLS has no such thing.",
            |_: &Transport| {
                let class = crate::task::builtin("NotImplementedError")?;
                Err(Raised::from_exception(&class.call0()?))
            },
        ),
        noargs(c"can_write_eof", c"Return False.", |_: &Transport| Ok(Obj::bool(false))),
        noargs(c"close", c"Close after what is buffered is sent.", |this: &Transport| {
            if this.is_closed() {
                return done(this.let_go());
            }
            this.set_closed();
            tell(this, |tls| tls.start_shutdown())
        }),
        noargs(c"abort", c"Close at once; what is buffered is lost.", |this: &Transport| {
            force_close(this, &Obj::none())
        }),
        onearg(c"_force_close", c"Close at once, with an error.", force_close),
        noargs(c"is_closing", c"Return True if closing or closed.", |this: &Transport| {
            if this.is_closed() {
                return Ok(Obj::bool(true));
            }
            ask(this, |tls| Ok(Obj::bool(tls.is_lower_closing()?)))
        }),
        noargs(c"pause_reading", c"Stop calling data_received.", |this: &Transport| {
            tell(this, |tls| {
                tls.pause_reading();
                Ok(())
            })
        }),
        noargs(c"resume_reading", c"Call data_received again.", |this: &Transport| {
            tell(this, |tls| tls.resume_reading())
        }),
        noargs(c"is_reading", c"Return True unless reading is paused.", |this: &Transport| {
            let paused = this.protocol.get().is_some_and(|tls| tls.reading_paused.get());
            Ok(Obj::bool(!paused))
        }),
        fast(
            c"set_protocol",
            c"set_protocol($self, protocol)\n--\n\nSwitch to another protocol.",
            |this: &Transport, args: &Args<'_>| {
                let [protocol] = args.bind("set_protocol", [c"protocol"], 1)?;
                let Some(protocol) = protocol else { return Ok(Obj::none()) };
                tell(this, |tls| tls.set_app_protocol(protocol))
            },
        ),
        noargs(c"get_protocol", c"Return the protocol.", |this: &Transport| {
            ask(this, |tls| Ok(tls.app_protocol.get_or_none()))
        }),
        fast(
            c"get_extra_info",
            c"get_extra_info($self, name, default=None)\n--\n\nReturn what is known about the connection.",
            |this: &Transport, args: &Args<'_>| {
                let [name, default] = args.bind("get_extra_info", [c"name", c"default"], 1)?;
                let Some(name) = name else { return Ok(Obj::none()) };
                let none = Obj::none();
                this.extra_info(name, default.unwrap_or(&none))
            },
        ),
        noargs(
            c"get_write_buffer_size",
            c"Return how much waits to be sent.",
            |this: &Transport| size(this.protocol.get().map_or(Ok(0), |tls| tls.buffered())?),
        ),
        noargs(
            c"get_write_buffer_limits",
            c"Return the (low, high) water marks.",
            |this: &Transport| ask(this, |tls| limits(tls.write_marks.get())),
        ),
        fast(
            c"set_write_buffer_limits",
            c"set_write_buffer_limits($self, high=None, low=None)\n--\n\nSet the high and low water marks of writing.",
            |this: &Transport, args: &Args<'_>| {
                let [high, low] = args.bind("set_write_buffer_limits", [c"high", c"low"], 0)?;
                tell(this, |tls| tls.set_write_marks(high, low))
            },
        ),
        noargs(
            c"get_read_buffer_size",
            c"Return how much waits to be decrypted.",
            |this: &Transport| {
                size(this.protocol.get().map_or(Ok(0), |tls| tls.session.incoming())?)
            },
        ),
        noargs(
            c"get_read_buffer_limits",
            c"Return the (low, high) water marks of reading.",
            |this: &Transport| ask(this, |tls| limits(tls.read_marks.get())),
        ),
        fast(
            c"set_read_buffer_limits",
            c"set_read_buffer_limits($self, high=None, low=None)\n--\n\nSet the high and low water marks of reading.",
            |this: &Transport, args: &Args<'_>| {
                let [high, low] = args.bind("set_read_buffer_limits", [c"high", c"low"], 0)?;
                tell(this, |tls| tls.set_read_marks(high, low))
            },
        ),
        onearg(
            c"_test__append_write_backlog",
            c"Let bytes wait as if they could not be encrypted.",
            |this: &Transport, data: &Obj| tell(this, |tls| tls.push_backlog(data)),
        ),
    ])
    .attributes([
        getter(c"__class__", c"A class derived from asyncio's own.", |this: &Transport| {
            public_class(this.as_obj(), |(transport, _)| transport)
        }),
        getter(c"_ssl_protocol", c"The protocol of the transport below.", |this: &Transport| {
            ask(this, |tls| Ok(tls.to_obj()))
        }),
        getter(c"_sslcontext", c"The SSLContext.", |this: &Transport| {
            ask(this, |tls| Ok(tls.context.get_or_none()))
        }),
        getter(c"_loop", c"The event loop.", |this: &Transport| {
            Ok(this.loop_.get().map_or_else(Obj::none, Ref::into_obj))
        }),
        getter(
            c"_closed",
            c"Whether close() was called, or the connection is lost.",
            |this: &Transport| Ok(Obj::bool(this.is_closed())),
        ),
        getter(
            c"_protocol_paused",
            c"Whether the protocol was told to pause writing.",
            |this: &Transport| {
                let paused = this.protocol.get().is_some_and(|tls| tls.writing_paused.get());
                Ok(Obj::bool(paused))
            },
        ),
        property(
            c"_start_tls_compatible",
            c"loop.start_tls accepts this transport.",
            |_: &Transport| Ok(Obj::bool(true)),
            |_: &Transport, _| Ok(()),
        ),
        getter(c"_sendfile_compatible", c"How sendfile may be done.", |_: &Transport| {
            call::import(c"asyncio.constants")?
                .attr(&value::str("_SendfileMode")?)?
                .attr(&value::str("FALLBACK")?)
        }),
        generic_dict(),
    ])
    .build(TlsTransport::type_cell())
}

fn force_close(this: &Transport, error: &Obj) -> Res<Obj> {
    this.set_closed();
    tell(this, |tls| tls.abort(error))
}

pub(crate) fn build_protocol() -> Res<Obj> {
    TypeSpec::new::<TlsProtocol>(
        c"rulip._rulip.TLSProtocol",
        c"The protocol that a TLS transport is to the transport below it.",
    )
    .not_callable()
    .weakrefs_at(body_offset::<TlsProtocol>(TlsProtocol::WEAKREFS_AT))
    .dict_at(body_offset::<TlsProtocol>(TlsProtocol::DICT_AT))
    .slot(c::Py_tp_repr, unary(|this: &Protocol| describe(this.as_obj(), "SSLProtocol")))
    .methods([
        onearg(
            c"connection_made",
            c"The transport below is connected.",
            |this: &Protocol, lower: &Obj| done(this.connection_made(lower.clone())),
        ),
        onearg(
            c"connection_lost",
            c"The transport below is lost.",
            |this: &Protocol, error: &Obj| done(this.connection_lost(error)),
        ),
        onearg(c"data_received", c"Records have come.", |this: &Protocol, data: &Obj| {
            done(value::with_buffer(data, |records| this.receive(records))?)
        }),
        onearg(c"get_buffer", c"Memory for records.", |this: &Protocol, _: &Obj| {
            this.offer_buffer()
        }),
        onearg(
            c"buffer_updated",
            c"Records have come into that memory.",
            |this: &Protocol, count: &Obj| {
                done(this.buffer_updated(usize::try_from(value::as_i64(count)?).unwrap_or(0)))
            },
        ),
        noargs(c"eof_received", c"TCP has ended.", |this: &Protocol| {
            Ok(if this.handle_eof()? { Obj::bool(true) } else { Obj::none() })
        }),
        noargs(c"pause_writing", c"The transport below has enough.", |this: &Protocol| {
            this.handle_pause_writing();
            Ok(Obj::none())
        }),
        noargs(c"resume_writing", c"The transport below has room.", |this: &Protocol| {
            done(this.handle_resume_writing())
        }),
        noargs(c"_check_handshake_timeout", c"The handshake's deadline.", |this: &Protocol| {
            done(this.check_handshake_timeout())
        }),
        noargs(c"_check_shutdown_timeout", c"The shutdown's deadline.", |this: &Protocol| {
            done(this.check_shutdown_timeout())
        }),
        noargs(c"_do_read", c"Read on.", |this: &Protocol| done(this.do_read(&[]))),
        noargs(c"_resume", c"The program reads again.", |this: &Protocol| done(this.resume())),
        onearg(
            c"_store",
            c"Keep records that came before the handshake.",
            |this: &Protocol, data: &Obj| {
                done(value::with_buffer(data, |records| this.session.store(records))?)
            },
        ),
    ])
    .attributes([
        getter(c"__class__", c"A class derived from asyncio's own.", |this: &Protocol| {
            public_class(this.as_obj(), |(_, protocol)| protocol)
        }),
        getter(c"_app_transport", c"What the program holds; None once lost.", |this: &Protocol| {
            Ok(this.app_transport.get().map_or_else(Obj::none, Ref::into_obj))
        }),
        getter(c"_app_protocol", c"The program's protocol; None once lost.", |this: &Protocol| {
            Ok(this.app_protocol.get_or_none())
        }),
        getter(c"_transport", c"The transport below; None once lost.", |this: &Protocol| {
            Ok(this.lower.get_or_none())
        }),
        getter(c"_loop", c"The event loop.", |this: &Protocol| {
            Ok(this.loop_.get().map_or_else(Obj::none, Ref::into_obj))
        }),
        getter(c"_sslobj", c"The ssl.SSLObject.", |this: &Protocol| {
            Ok(this.session.sslobj().clone())
        }),
        getter(c"_sslcontext", c"The SSLContext.", |this: &Protocol| {
            Ok(this.context.get_or_none())
        }),
        getter(c"_extra", c"What get_extra_info knows.", |this: &Protocol| {
            Ok(this.extra.get_or_none())
        }),
        getter(c"_waiter", c"Who waits for the handshake.", |this: &Protocol| {
            Ok(this.waiter.get_or_none())
        }),
        getter(
            c"_app_reading_paused",
            c"Whether the program paused reading.",
            |this: &Protocol| Ok(Obj::bool(this.reading_paused.get())),
        ),
        getter(c"_server_side", c"Whether it is a server's.", |this: &Protocol| {
            this.session.sslobj().attr(&value::str("server_side")?)
        }),
        getter(c"_server_hostname", c"The host name asked for.", |this: &Protocol| {
            this.session.sslobj().attr(&value::str("server_hostname")?)
        }),
        getter(c"_state", c"asyncio.sslproto.SSLProtocolState.", |this: &Protocol| {
            let name = match this.state.get() {
                State::Unwrapped => "UNWRAPPED",
                State::Handshake => "DO_HANDSHAKE",
                State::Wrapped => "WRAPPED",
                State::Flushing => "FLUSHING",
                State::Shutdown => "SHUTDOWN",
            };
            call::import(c"asyncio.sslproto")?
                .attr(&value::str("SSLProtocolState")?)?
                .attr(&value::str(name)?)
        }),
        getter(c"_way", c"\"openssl\" or \"memory_bio\".", |this: &Protocol| {
            value::str(this.session.way())
        }),
        generic_dict(),
    ])
    .build(TlsProtocol::type_cell())
}

/// As `object.__repr__` of asyncio's own class.
fn describe(this: &Obj, class: &str) -> Res<Obj> {
    value::str(&format!("<asyncio.sslproto.{class} object at {:p}>", this.as_ptr()))
}

/// `loop._make_tls_protocol(protocol, sslcontext, sslobj, incoming, outgoing, waiter,
/// call_connection_made, handshake_timeout, shutdown_timeout, choice)`.
pub(crate) fn make_tls_protocol(loop_: &Ref<LoopState>, args: &Args<'_>) -> Res<Obj> {
    let [
        app_protocol,
        context,
        sslobj,
        incoming,
        outgoing,
        waiter,
        call_connection_made,
        handshake_timeout,
        shutdown_timeout,
        choice,
    ] = args.positional()
    else {
        return Err(Raised::type_error("_make_tls_protocol() takes ten arguments"));
    };
    let choice = match value::text(choice)?.as_str() {
        "" => Choice::Automatic,
        "openssl" => Choice::OpenSsl,
        "memory_bio" => Choice::MemoryBio,
        other => {
            return Err(Raised::value_error(&format!(
                "RULIP_TLS must be openssl or memory_bio, not {other}"
            )));
        }
    };
    let parts = Parts {
        app_protocol: app_protocol.clone(),
        context: context.clone(),
        sslobj: sslobj.clone(),
        incoming: incoming.clone(),
        outgoing: outgoing.clone(),
        waiter: Some(waiter.clone()).filter(|waiter| !waiter.is_none()),
        call_connection_made: call_connection_made.is_true()?,
        handshake_timeout: handshake_timeout.clone(),
        shutdown_timeout: shutdown_timeout.clone(),
        choice,
    };
    TlsProtocol::make(loop_, parts).map(Ref::into_obj)
}
