//! Datagrams in and out: from the socket to `datagram_received`, from `sendto` to the socket.
//!
//! One receive per wake-up as long as datagrams come one by one; in a burst, up to the engine's budget.
//! `recvmmsg` and `sendmmsg` are not used: on loopback they cost as much per datagram as one call
//! each, and a datagram that was received but not delivered would have to be kept.
//! Owner thread; nothing is borrowed while the protocol runs.

use std::io;

use rulip_engine::sys::address::Address;
use rulip_engine::sys::socket;
use rulip_engine::transport::ReceiveDuty;

use super::datagram::{DatagramTransport, Destination};
use super::peers::Family;
use crate::ffi::bytes::Bytes;
use crate::ffi::error::FirstError;
use crate::ffi::{Obj, Raised, Ref, Res, value};
use crate::{imports, names};

/// The most that one datagram may hold: asyncio's own limit.
const READ_SIZE: usize = 256 * 1024;
/// After this many datagrams for a closed transport, say so.
const IGNORED_BEFORE_WARNING: u32 = 4;

/// What a receive brought.
enum Received {
    Datagram(Obj, Obj),
    Error(Obj),
    Nothing,
}

/// What became of a datagram.
enum Sent {
    Done,
    /// The kernel has no room.
    Blocked,
}

/// A failed attempt: the network's, or a mistake.
enum Failed {
    Os(Obj),
    Other(Raised),
}

impl From<Raised> for Failed {
    fn from(raised: Raised) -> Self {
        if raised.matches(&imports::get().os_error) {
            Self::Os(raised.take())
        } else {
            Self::Other(raised)
        }
    }
}

/// Whether Python's socket module said "not now".
fn would_block(raised: &Raised) -> bool {
    let imports = imports::get();
    raised.matches(&imports.blocking_io_error) || raised.matches(&imports.interrupted_error)
}

impl Ref<DatagramTransport> {
    /// The kernel reported readiness.
    pub(crate) fn handle_readiness(&self, readiness: rulip_engine::Readiness) -> Res<()> {
        if readiness.wakes_reader() {
            self.handle_readable()?;
        }
        if readiness.wakes_writer() && !self.state.borrow().may_send_now() {
            self.handle_writable()?;
        }
        Ok(())
    }

    /// The kernel has a datagram, or an error to tell.
    fn handle_readable(&self) -> Res<()> {
        let Some(loop_) = self.base.loop_.get() else { return Ok(()) };
        let turn = loop_.turn.get();
        let last = self.last_turn.replace(turn);
        {
            let mut state = self.state.borrow_mut();
            if last.wrapping_add(1) == turn {
                state.expect_burst();
            }
            state.handle_readable();
        }
        while self.base.is_open() && self.state.borrow().wants_receive() {
            let duty = match self.receive() {
                Ok(Received::Nothing) => {
                    self.state.borrow_mut().handle_receive_blocked();
                    break;
                }
                Ok(Received::Datagram(data, from)) => {
                    let duty = self.state.borrow_mut().handle_received();
                    let told = self.base.call_protocol(|protocol| {
                        protocol.method2(&names::get().datagram_received, &data, &from)
                    });
                    self.base.report_callback(self.as_obj(), "datagram_received", told)?;
                    duty
                }
                Ok(Received::Error(exc)) => {
                    let duty = self.state.borrow_mut().handle_received();
                    let told = self.tell_error(&exc);
                    self.base.report_callback(self.as_obj(), "error_received", told)?;
                    duty
                }
                Err(raised) => {
                    return self.fatal("Fatal read error on datagram transport", raised);
                }
            };
            if duty == ReceiveDuty::Stop {
                break;
            }
        }
        Ok(())
    }

    fn tell_error(&self, exc: &Obj) -> Res<Obj> {
        self.base.call_protocol(|protocol| protocol.method1(&names::get().error_received, exc))
    }

    #[inline]
    fn receive(&self) -> Res<Received> {
        if self.family == Family::Foreign {
            return self.receive_by_python();
        }
        let Some(loop_) = self.base.loop_.get() else { return Ok(Received::Nothing) };
        let mut scratch = loop_.scratch.take();
        if scratch.is_empty() {
            scratch = vec![0; READ_SIZE];
        }
        let result = match socket::recv_from(self.base.lent()?, &mut scratch) {
            Ok((n, from)) => loop_.received.make(&scratch[..n]).and_then(|data| {
                let from = match from {
                    Some(from) => self.peers.python(Address::from(from))?,
                    None => Obj::none(),
                };
                Ok(Received::Datagram(data, from))
            }),
            Err(error) if socket::would_block(&error) => Ok(Received::Nothing),
            Err(error) => crate::error::os_error(&error).map(Received::Error),
        };
        loop_.scratch.set(scratch);
        result
    }

    fn receive_by_python(&self) -> Res<Received> {
        let Some(sock) = self.base.file.get() else { return Ok(Received::Nothing) };
        let size = value::int(i64::try_from(READ_SIZE).unwrap_or(i64::MAX))?;
        match sock.method1(&value::interned(c"recvfrom")?, &size) {
            Ok(pair) => match <[Obj; 2]>::try_from(value::iterate(&pair)?) {
                Ok([data, from]) => Ok(Received::Datagram(data, from)),
                Err(_) => Err(Raised::value_error("recvfrom() must return two values")),
            },
            Err(raised) if would_block(&raised) => {
                raised.clear();
                Ok(Received::Nothing)
            }
            Err(raised) => match Failed::from(raised) {
                Failed::Os(exc) => Ok(Received::Error(exc)),
                Failed::Other(raised) => Err(raised),
            },
        }
    }

    /// `sendto(data, addr=None)`.
    #[inline]
    pub(super) fn send_to(&self, data: &Obj, addr: &Obj) -> Res<()> {
        if !value::is_bytes_like(data) {
            return Err(Raised::type_error(&format!(
                "data argument must be a bytes-like object, not '{}'",
                data.type_name()
            )));
        }
        if cfg!(not(Py_3_13)) && value::len(data)? == 0 {
            return Ok(());
        }
        let mut addr = addr.clone();
        if let Some(only) = self.address.get() {
            if !addr.is_none() && !addr.equals(&only)? {
                let only = value::text(&value::str_of(&only)?)?;
                return Err(Raised::value_error(&format!(
                    "Invalid address: must be None or {only}"
                )));
            }
            addr = only;
        }
        let late = {
            let state = self.state.borrow();
            state.is_lost() || (state.is_losing() && self.address.is_set())
        };
        if late || !self.base.is_open() {
            return self.ignore();
        }
        let to = self.destination(addr);
        let at_once = self.state.borrow().may_send_now();
        if at_once {
            match self.send_now(data, &to) {
                Ok(Sent::Done) => return Ok(()),
                Ok(Sent::Blocked) => {}
                Err(Failed::Os(exc)) => return self.tell_error(&exc).map(drop),
                Err(Failed::Other(raised)) => {
                    return self.fatal("Fatal write error on datagram transport", raised);
                }
            }
        }
        let message = match Bytes::new(data.clone()) {
            Ok(message) => message,
            Err(data) => value::with_buffer(&data, Bytes::copy_of)??,
        };
        self.state.borrow_mut().queue(message, to);
        self.follow_interest()?;
        self.tell_flow()
    }

    fn ignore(&self) -> Res<()> {
        let before = self.state.borrow_mut().handle_ignored();
        if before >= IGNORED_BEFORE_WARNING {
            let warning = imports::get().logger.attr(&names::get().warning)?;
            warning.call1(&value::str("socket.send() raised exception.")?)?;
        }
        Ok(())
    }

    #[inline]
    fn destination(&self, addr: Obj) -> Destination {
        if self.connected {
            return Destination::Peer;
        }
        match self.peers.native(&addr, self.family) {
            Some(address) => Destination::Native(address),
            None => Destination::Python(addr),
        }
    }

    #[inline]
    fn send_now(&self, data: &Obj, to: &Destination) -> Result<Sent, Failed> {
        if self.family == Family::Foreign || matches!(to, Destination::Python(_)) {
            return self.send_by_python(data, to);
        }
        let fd = self.base.lent()?;
        let outcome = match Bytes::new(data.clone()) {
            Ok(data) => send(fd, data.as_ref(), to),
            Err(data) => value::with_buffer(&data, |data| send(fd, data, to))?,
        };
        match outcome {
            Ok(_) => Ok(Sent::Done),
            Err(error) if socket::would_block(&error) => Ok(Sent::Blocked),
            Err(error) => Err(Failed::Os(crate::error::os_error(&error)?)),
        }
    }

    /// Names to look up, families that we do not know, and every mistake: with Python's own errors.
    fn send_by_python(&self, data: &Obj, to: &Destination) -> Result<Sent, Failed> {
        let Some(sock) = self.base.file.get() else { return Ok(Sent::Done) };
        let (send, sendto) = (value::interned(c"send")?, value::interned(c"sendto")?);
        let sent = match to {
            Destination::Python(addr) => sock.method2(&sendto, data, addr),
            Destination::Native(addr) => {
                sock.method2(&sendto, data, &super::extra_info::address(addr)?)
            }
            Destination::Peer => sock.method1(&send, data),
        };
        match sent {
            Ok(_) => Ok(Sent::Done),
            Err(raised) if would_block(&raised) => {
                raised.clear();
                Ok(Sent::Blocked)
            }
            Err(raised) => Err(raised.into()),
        }
    }

    /// The kernel has room: what is queued goes out, in order.
    pub(super) fn handle_writable(&self) -> Res<()> {
        let mut first = FirstError::default();
        while let Some((message, to)) = self.first_queued() {
            let outcome = self.send_now(&message, &to);
            drop((message, to));
            match outcome {
                Ok(Sent::Blocked) => break,
                Ok(Sent::Done) => self.drop_first(),
                Err(Failed::Os(exc)) => {
                    self.drop_first();
                    let told = self.tell_error(&exc);
                    let told = self.base.report_callback(self.as_obj(), "error_received", told);
                    first.note(told, self.as_obj());
                    // The rest in the next turn, as asyncio: who hears of it may want to close.
                    break;
                }
                Err(Failed::Other(raised)) => {
                    self.drop_first();
                    let told = self.fatal("Fatal write error on datagram transport", raised);
                    first.note(told, self.as_obj());
                    break;
                }
            }
        }
        first.note(self.tell_flow(), self.as_obj());
        first.note(self.follow_interest(), self.as_obj());
        let drained = self.state.borrow_mut().poll_drained();
        if drained {
            first.note(self.end(), self.as_obj());
        }
        first.finish()
    }

    fn first_queued(&self) -> Option<(Obj, Destination)> {
        let state = self.state.borrow();
        let (message, to) = state.first()?;
        let to = match to {
            Destination::Peer => Destination::Peer,
            Destination::Native(address) => Destination::Native(address.clone()),
            Destination::Python(address) => Destination::Python(address.clone()),
        };
        Some((message.to_obj(), to))
    }

    fn drop_first(&self) {
        let sent = self.state.borrow_mut().handle_sent();
        drop(sent);
    }

    pub(super) fn tell_flow(&self) -> Res<()> {
        let event = self.state.borrow_mut().poll_flow();
        event.map_or(Ok(()), |event| self.base.tell_flow(self.as_obj(), event))
    }
}

#[inline]
fn send(fd: std::os::fd::BorrowedFd<'_>, data: &[u8], to: &Destination) -> io::Result<usize> {
    match to {
        Destination::Native(address) => socket::send_to(fd, data, address),
        Destination::Peer | Destination::Python(_) => socket::send(fd, data),
    }
}
