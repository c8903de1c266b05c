//! Sockets: thin calls on borrowed descriptors.
//!
//! What lives here: what streams, datagram sockets and listeners ask of the kernel. What does not: whether they may
//! ask now (`transport`). Any thread. Invariants: EINTR is retried, every other errno reaches the
//! caller; a broken pipe is an errno and never a signal.

use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::io::{Errno, retry_on_intr};
use rustix::net::{
    RecvAncillaryBuffer, RecvFlags, SendAncillaryBuffer, SendFlags, Shutdown, SocketAddrAny,
    SocketAddrUnix, SocketFlags, sockopt,
};

use super::address::Address;

/// The most that Linux sends or receives in one call (`MAX_RW_COUNT`): so much says nothing about room.
pub const MOST_PER_CALL: usize = 0x7fff_f000;

/// Receives into `buf`; 0 is the end of file (or an empty `buf`).
#[inline]
pub fn recv(fd: BorrowedFd<'_>, buf: &mut [u8]) -> io::Result<usize> {
    Ok(retry_on_intr(|| rustix::net::recv(fd, &mut *buf, RecvFlags::empty()))?.0)
}

/// Receives into several buffers in turn.
pub fn recv_vectored(fd: BorrowedFd<'_>, bufs: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
    let mut control = RecvAncillaryBuffer::new(&mut []);
    let message =
        retry_on_intr(|| rustix::net::recvmsg(fd, bufs, &mut control, RecvFlags::CMSG_CLOEXEC))?;
    Ok(message.bytes)
}

/// Sends from `buf`.
#[inline]
pub fn send(fd: BorrowedFd<'_>, buf: &[u8]) -> io::Result<usize> {
    Ok(retry_on_intr(|| rustix::net::send(fd, buf, SendFlags::NOSIGNAL))?)
}

/// Sends from several buffers in turn.
#[inline]
pub fn send_vectored(fd: BorrowedFd<'_>, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
    let mut control = SendAncillaryBuffer::default();
    Ok(retry_on_intr(|| rustix::net::sendmsg(fd, bufs, &mut control, SendFlags::NOSIGNAL))?)
}

/// Receives one datagram into `buf`, and tells who sent it; an unnamed sender is none.
#[inline]
pub fn recv_from(fd: BorrowedFd<'_>, buf: &mut [u8]) -> io::Result<(usize, Option<SocketAddrAny>)> {
    let (received, _, from) =
        retry_on_intr(|| rustix::net::recvfrom(fd, &mut *buf, RecvFlags::empty()))?;
    Ok((received, from))
}

/// Sends one datagram to `to`; EAFNOSUPPORT for an address of a family that we do not know.
#[inline]
pub fn send_to(fd: BorrowedFd<'_>, buf: &[u8], to: &Address) -> io::Result<usize> {
    let flags = SendFlags::NOSIGNAL;
    let sent = match to {
        Address::V4(to) => retry_on_intr(|| rustix::net::sendto(fd, buf, flags, to)),
        Address::V6(to) => retry_on_intr(|| rustix::net::sendto(fd, buf, flags, to)),
        Address::Unix(name) => {
            let to = match name.split_first() {
                Some((0, abstract_name)) => SocketAddrUnix::new_abstract_name(abstract_name),
                _ => SocketAddrUnix::new(name.as_slice()),
            }?;
            retry_on_intr(|| rustix::net::sendto(fd, buf, flags, &to))
        }
        Address::Other => Err(Errno::AFNOSUPPORT),
    };
    Ok(sent?)
}

/// How many bytes a read would find.
pub fn available(fd: BorrowedFd<'_>) -> io::Result<usize> {
    Ok(usize::try_from(rustix::io::ioctl_fionread(fd)?).unwrap_or(usize::MAX))
}

/// Accepts a connection, non-blocking and not inherited by programs started later.
pub fn accept(fd: BorrowedFd<'_>) -> io::Result<(OwnedFd, Option<SocketAddrAny>)> {
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    Ok(retry_on_intr(|| rustix::net::acceptfrom_with(fd, flags))?)
}

/// Ends our direction: the peer reads an end of file.
pub fn shutdown_write(fd: BorrowedFd<'_>) -> io::Result<()> {
    Ok(rustix::net::shutdown(fd, Shutdown::Write)?)
}

/// Ends both directions.
pub fn shutdown_both(fd: BorrowedFd<'_>) -> io::Result<()> {
    Ok(rustix::net::shutdown(fd, Shutdown::Both)?)
}

/// Takes the pending error (SO_ERROR), such as a connection's refusal.
pub fn take_error(fd: BorrowedFd<'_>) -> io::Result<Option<io::Error>> {
    Ok(sockopt::socket_error(fd)?.err().map(io::Error::from))
}

/// Sends small segments at once (TCP_NODELAY).
pub fn set_nodelay(fd: BorrowedFd<'_>, on: bool) -> io::Result<()> {
    Ok(sockopt::set_tcp_nodelay(fd, on)?)
}

/// The address we are bound to.
pub fn local_addr(fd: BorrowedFd<'_>) -> io::Result<SocketAddrAny> {
    Ok(rustix::net::getsockname(fd)?)
}

/// The address we are connected to. An unnamed peer is none.
pub fn peer_addr(fd: BorrowedFd<'_>) -> io::Result<Option<SocketAddrAny>> {
    Ok(rustix::net::getpeername(fd)?)
}

/// True if `error` says "not now".
#[inline]
pub fn would_block(error: &io::Error) -> bool {
    error.raw_os_error() == Some(Errno::AGAIN.raw_os_error())
}

#[cfg(all(test, not(loom)))]
mod tests;
