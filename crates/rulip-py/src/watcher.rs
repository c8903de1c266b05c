//! Who is told when a descriptor becomes ready: the targets of registrations.
//!
//! What lives here: the two sides of a descriptor, and changing who stands on one of them. Not here:
//! `add_reader()` and its kin, whose callbacks are one kind of watcher (`event_loop::watch_fd`).
//! Level-triggered, as asyncio's. The registration is written anew each time a side changes, so that a
//! number that was closed and reused gives its new owner the events. Owner thread.
//!
//! Invariant: nothing is dropped within a borrow of the engine.

use std::ffi::c_int;
use std::os::fd::RawFd;

use rulip_engine::{Error, Interest, Token};

use crate::ffi::slot::Visit;
use crate::ffi::{Obj, Ref};
use crate::handle::Handle;
use crate::loop_state::LoopState;
use crate::transport::datagram::DatagramTransport;
use crate::transport::file_sending::FileSending;
use crate::transport::listener::Listener;
use crate::transport::read_pipe::ReadPipeTransport;
use crate::transport::stream::StreamTransport;
use crate::transport::write_pipe::WritePipeTransport;

/// Who a registration belongs to.
pub(crate) enum Target {
    /// Whoever watches the sides of a descriptor that is not ours.
    Watch { reader: Option<Watcher>, writer: Option<Watcher> },
    /// A stream transport.
    Stream(Ref<StreamTransport>),
    /// A datagram transport.
    Datagram(Ref<DatagramTransport>),
    /// A listening socket.
    Listener(Ref<Listener>),
}

impl Target {
    pub(crate) fn visit(&self, visit: &Visit) -> Result<(), c_int> {
        match self {
            Self::Watch { reader, writer } => {
                reader.iter().chain(writer).try_for_each(|watcher| watcher.visit(visit))
            }
            Self::Stream(transport) => visit.obj(transport.as_obj()),
            Self::Datagram(transport) => visit.obj(transport.as_obj()),
            Self::Listener(listener) => visit.obj(listener.as_obj()),
        }
    }
}

/// Who is told of one side.
#[derive(Clone)]
pub(crate) enum Watcher {
    /// A callback of `add_reader()` or `add_writer()`.
    Handle(Ref<Handle>),
    ReadPipe(Ref<ReadPipeTransport>),
    WritePipe(Ref<WritePipeTransport>),
    /// A file on its way, until its socket has room again.
    File(Ref<FileSending>),
}

impl Watcher {
    fn visit(&self, visit: &Visit) -> Result<(), c_int> {
        match self {
            Self::Handle(handle) => crate::loop_state::visit_handle(handle, visit),
            Self::ReadPipe(transport) => visit.obj(transport.as_obj()),
            Self::WritePipe(transport) => visit.obj(transport.as_obj()),
            Self::File(sending) => visit.obj(sending.as_obj()),
        }
    }

    pub(crate) fn as_obj(&self) -> &Obj {
        match self {
            Self::Handle(handle) => handle.as_obj(),
            Self::ReadPipe(transport) => transport.as_obj(),
            Self::WritePipe(transport) => transport.as_obj(),
            Self::File(sending) => sending.as_obj(),
        }
    }

    pub(crate) fn to_obj(&self) -> Obj {
        self.as_obj().clone()
    }
}

/// Which of the two.
#[derive(Copy, Clone, PartialEq, Eq)]
pub(crate) enum Side {
    Reader,
    Writer,
}

impl Side {
    fn interest(self) -> Interest {
        match self {
            Self::Reader => Interest::READABLE,
            Self::Writer => Interest::WRITABLE,
        }
    }
}

/// Puts `watcher` on one side of a descriptor; who stood there comes back.
pub(crate) fn watch(
    loop_: &LoopState,
    side: Side,
    fd: RawFd,
    watcher: Watcher,
) -> Result<Option<Watcher>, Error> {
    let found = loop_.engine.find_fd(fd);
    let swapped = found.and_then(|token| {
        let swapped = loop_.engine.with_target_mut(token, |target| match target {
            Target::Watch { reader, writer } => {
                let place = if side == Side::Reader { reader } else { writer };
                Some(place.replace(watcher.clone()))
            }
            _ => None,
        });
        swapped.flatten().map(|old| (token, old))
    });
    // Nobody has the number, or a transport or a listener: it was closed behind their back, or shared.
    let Some((token, old)) = swapped else {
        register(loop_, side, fd, watcher)?;
        return Ok(None);
    };
    let interest = loop_.engine.interest(token).unwrap_or_default() | side.interest();
    match loop_.engine.set_interest(token, interest) {
        Ok(()) => Ok(old),
        Err(error) => {
            drop(loop_.engine.forget(token));
            Err(error)
        }
    }
}

fn register(loop_: &LoopState, side: Side, fd: RawFd, watcher: Watcher) -> Result<(), Error> {
    let (reader, writer) = match side {
        Side::Reader => (Some(watcher), None),
        Side::Writer => (None, Some(watcher)),
    };
    match loop_.engine.register_level(fd, side.interest(), Target::Watch { reader, writer }) {
        Ok(_token) => Ok(()),
        Err((error, target)) => {
            drop(target);
            Err(error)
        }
    }
}

/// Who watches one side of a registration.
pub(crate) fn watcher(loop_: &LoopState, token: Token, side: Side) -> Option<Watcher> {
    let found = loop_.engine.with_target(token, |target| match target {
        Target::Watch { reader, writer } => {
            if side == Side::Reader {
                reader.clone()
            } else {
                writer.clone()
            }
        }
        _ => None,
    });
    found.flatten()
}

/// Clears one side of a registration; who stood there comes back.
pub(crate) fn unwatch(loop_: &LoopState, token: Token, side: Side) -> Option<Watcher> {
    let taken = loop_.engine.with_target_mut(token, |target| match target {
        Target::Watch { reader, writer } => {
            let place = if side == Side::Reader { &mut *reader } else { &mut *writer };
            let taken = place.take();
            Some((taken, reader.is_none() && writer.is_none()))
        }
        _ => None,
    });
    let (taken, empty) = taken.flatten()?;
    if empty {
        drop(loop_.engine.deregister(token));
    } else if taken.is_some() {
        let interest = loop_.engine.interest(token).unwrap_or_default() - side.interest();
        if let Err(error) = loop_.engine.set_interest(token, interest) {
            // The number was closed: nothing watches it any more.
            drop(error);
        }
    }
    taken
}

/// Clears one side of a descriptor, if `me` stands there.
pub(crate) fn step_aside(loop_: &LoopState, side: Side, fd: RawFd, me: &Obj) {
    let Some(token) = loop_.engine.find_fd(fd) else { return };
    if watcher(loop_, token, side).is_some_and(|watcher| watcher.as_obj().is(me)) {
        drop(unwatch(loop_, token, side));
    }
}
