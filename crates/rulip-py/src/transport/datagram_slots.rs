//! The Python face of a datagram transport: `asyncio.DatagramTransport`'s methods, and the private
//! names that frameworks read.
//!
//! Owner thread changes, any attached thread may ask.

use pyo3::ffi as c;

use super::base_slots::{self, Writes};
use super::datagram::DatagramTransport;
use super::public_class::PublicClass;
use crate::ffi::arguments::Args;
use crate::ffi::native::Native;
use crate::ffi::trampoline::{fast, getter, noargs, unary};
use crate::ffi::{Obj, Raised, Ref, Res, value};
use crate::loop_state::LoopState;

type This = Ref<DatagramTransport>;

pub(super) static PUBLIC_CLASS: PublicClass = PublicClass::new();

/// `_set_datagram_transport_class(cls)`.
pub(crate) fn set_public_class(args: &Args<'_>) -> Res<Obj> {
    PUBLIC_CLASS.set(args)
}

fn done(result: Res<()>) -> Res<Obj> {
    result.map(|()| Obj::none())
}

impl Writes for DatagramTransport {
    fn buffered(&self) -> usize {
        self.state.borrow().buffered()
    }

    fn limits(&self) -> (usize, usize) {
        self.state.borrow().limits()
    }

    fn set_limits(this: &This, high: Option<i64>, low: Option<i64>) -> Res<()> {
        let set = this.state.borrow_mut().set_limits(high, low);
        set.map_err(|refused| Raised::value_error(&refused.to_string()))?;
        this.tell_flow()
    }
}

pub(crate) fn build() -> Res<Obj> {
    let spec = base_slots::spec::<DatagramTransport>(
        c"rulip._rulip.DatagramTransport",
        c"A UDP or Unix datagram transport (mirrors asyncio.DatagramTransport).",
    );
    base_slots::writing::<DatagramTransport>(spec)
        .slot(c::Py_tp_repr, unary(describe))
        .methods([
            fast(
                c"sendto",
                c"sendto($self, data, addr=None)\n--\n\nSend a datagram; never blocks, what the kernel refuses is queued.",
                |this: &This, args: &Args<'_>| {
                    let [data, addr] = args.bind("sendto", [c"data", c"addr"], 1)?;
                    let Some(data) = data else { return Ok(Obj::none()) };
                    match addr {
                        Some(addr) => done(this.send_to(data, addr)),
                        None => done(this.send_to(data, &Obj::none())),
                    }
                },
            ),
            noargs(c"close", c"Close after what is queued is sent.", |this: &This| {
                done(this.close())
            }),
            noargs(c"abort", c"Close at once; what is queued is lost.", |this: &This| {
                done(this.force_close(None))
            }),
            noargs(c"is_closing", c"Return True if closing or closed.", |this: &This| {
                Ok(Obj::bool(this.is_closing()))
            }),
            noargs(c"pause_reading", c"Stop calling datagram_received.", |this: &This| {
                done(this.pause_reading())
            }),
            noargs(c"resume_reading", c"Call datagram_received again.", |this: &This| {
                done(this.resume_reading())
            }),
            noargs(c"is_reading", c"Return True if neither paused nor closing.", |this: &This| {
                Ok(Obj::bool(this.state.borrow().is_reading()))
            }),
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
        ])
        .attributes([
            getter(c"__class__", c"A class derived from asyncio's.", |this: &This| {
                Ok(PUBLIC_CLASS.of(this.as_obj()))
            }),
            getter(c"_sock", c"The Python socket, None once closed.", |this: &This| {
                Ok(this.base.file.get_or_none())
            }),
            getter(c"_sock_fd", c"The descriptor's number.", |this: &This| {
                value::int(i64::from(this.base.number))
            }),
            getter(c"_address", c"Where all datagrams go, or None.", |this: &This| {
                Ok(this.address.get_or_none())
            }),
            getter(c"_closing", c"Whether it is closing.", |this: &This| {
                Ok(Obj::bool(this.is_closing()))
            }),
            getter(c"_paused", c"Whether reading is paused.", |this: &This| {
                let state = this.state.borrow();
                Ok(Obj::bool(!state.is_reading() && !state.is_closing()))
            }),
            getter(c"_conn_lost", c"Not 0 once the end is near.", |this: &This| {
                value::int(i64::from(this.state.borrow().is_losing()))
            }),
            getter(
                c"_header_size",
                c"What a queued datagram counts besides its bytes.",
                |_: &This| value::int(if cfg!(Py_3_13) { 8 } else { 0 }),
            ),
        ])
        .build(DatagramTransport::type_cell())
}

fn describe(this: &This) -> Res<Obj> {
    let mut parts = vec!["DatagramTransport".to_owned()];
    let state = this.state.borrow();
    if !this.base.is_open() {
        parts.push("closed".to_owned());
    } else if state.is_closing() {
        parts.push("closing".to_owned());
    }
    parts.push(format!("fd={}", this.base.number));
    if this.base.loop_.get().is_some_and(|loop_| !loop_.closed.get()) {
        parts.push(format!("read={}", if state.wants_receive() { "polling" } else { "idle" }));
        let polling = if state.may_send_now() { "idle" } else { "polling" };
        parts.push(format!("write=<{polling}, bufsize={}>", state.buffered()));
    }
    drop(state);
    value::str(&format!("<{}>", parts.join(" ")))
}

/// `loop._make_datagram_transport(sock, protocol, address=None, waiter=None, extra=None)`.
pub(crate) fn make(loop_: &Ref<LoopState>, args: &Args<'_>) -> Res<Obj> {
    let names = [c"sock", c"protocol", c"address", c"waiter", c"extra"];
    let [sock, protocol, address, waiter, extra] =
        args.bind("_make_datagram_transport", names, 2)?;
    let (Some(sock), Some(protocol)) = (sock, protocol) else { return Ok(Obj::none()) };
    loop_.as_obj().method1(&crate::names::get().ensure_fd_no_transport, sock)?;
    let given = |value: Option<&Obj>| value.filter(|value| !value.is_none()).cloned();
    // An empty address restricts nobody.
    let address = match given(address) {
        Some(address) if address.is_true()? => Some(address),
        _ => None,
    };
    let (waiter, extra) = (given(waiter), given(extra));
    DatagramTransport::make(loop_, sock, protocol, address, waiter, extra.as_ref())
        .map(Ref::into_obj)
}
