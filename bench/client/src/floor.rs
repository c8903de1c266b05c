//! The floor: an echo server of bare system calls (epoll_wait, read, write) without any loop,
//! buffer object or callback above.
//!
//! Not here: the client. Thread: main. Invariant: what was read is written in order; a peer that
//! does not read is not read either.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};

use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::fd::OwnedFd;

use crate::arguments::Arguments;
use crate::load::raise_descriptor_limit;

const LISTENER: u64 = u64::MAX;
const READ_SIZE: usize = 256 * 1024;

/// One accepted connection and what its socket did not take yet.
struct Connection {
    stream: TcpStream,
    unsent: Vec<u8>,
}

/// Serves until killed.
pub(crate) fn run(arguments: &Arguments) -> io::Result<()> {
    raise_descriptor_limit()?;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, arguments.port()?))?;
    listener.set_nonblocking(true)?;
    let poller = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    epoll::add(&poller, &listener, EventData::new_u64(LISTENER), EventFlags::IN)?;
    writeln!(io::stdout(), "{{\"ready\": true, \"versions\": {{}}}}")?;

    let mut connections: Vec<Option<Connection>> = Vec::new();
    let mut events = Vec::with_capacity(1024);
    let mut buffer = vec![0; READ_SIZE];
    loop {
        match epoll::wait(&poller, spare_capacity(&mut events), None) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        for event in events.drain(..) {
            let token = event.data.u64();
            if token == LISTENER {
                accept_all(&listener, &poller, &mut connections)?;
                continue;
            }
            let index = token as usize;
            let Some(slot) = connections.get_mut(index) else { continue };
            let open = match slot.as_mut() {
                Some(connection) => echo(connection, &poller, token, &mut buffer).unwrap_or(false),
                None => continue,
            };
            if !open {
                *slot = None;
            }
        }
    }
}

fn accept_all(
    listener: &TcpListener,
    poller: &OwnedFd,
    connections: &mut Vec<Option<Connection>>,
) -> io::Result<()> {
    loop {
        match listener.accept() {
            Ok((stream, _)) => {
                stream.set_nonblocking(true)?;
                stream.set_nodelay(true)?;
                let index =
                    connections.iter().position(Option::is_none).unwrap_or(connections.len());
                epoll::add(poller, &stream, EventData::new_u64(index as u64), EventFlags::IN)?;
                let connection = Some(Connection { stream, unsent: Vec::new() });
                match connections.get_mut(index) {
                    Some(slot) => *slot = connection,
                    None => connections.push(connection),
                }
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            // The peer went away before it was accepted.
            Err(error) if error.kind() == ErrorKind::ConnectionAborted => {}
            Err(error) => return Err(error),
        }
    }
}

/// One readiness event: at most one read. `Ok(false)` at the peer's end of stream.
fn echo(
    connection: &mut Connection,
    poller: &OwnedFd,
    token: u64,
    buffer: &mut [u8],
) -> io::Result<bool> {
    if !connection.unsent.is_empty() {
        let sent = write_some(&mut connection.stream, &connection.unsent)?;
        connection.unsent.drain(..sent);
        if connection.unsent.is_empty() {
            epoll::modify(poller, &connection.stream, EventData::new_u64(token), EventFlags::IN)?;
        }
        return Ok(true);
    }
    let received = match connection.stream.read(buffer) {
        Ok(0) => return Ok(false),
        Ok(received) => received,
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {
            return Ok(true);
        }
        Err(error) => return Err(error),
    };
    let Some(message) = buffer.get(..received) else { return Ok(false) };
    let sent = write_some(&mut connection.stream, message)?;
    if let Some(rest) = message.get(sent..).filter(|rest| !rest.is_empty()) {
        connection.unsent.extend_from_slice(rest);
        epoll::modify(poller, &connection.stream, EventData::new_u64(token), EventFlags::OUT)?;
    }
    Ok(true)
}

fn write_some(stream: &mut TcpStream, bytes: &[u8]) -> io::Result<usize> {
    match stream.write(bytes) {
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {
            Ok(0)
        }
        outcome => outcome,
    }
}
