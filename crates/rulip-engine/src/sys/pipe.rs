//! Pipes, terminals, whatever is read and written but is no socket: thin calls on borrowed
//! descriptors.
//!
//! What lives here: what the one-way transports ask of the kernel. What does not: whether they may ask
//! now. Any thread. Invariants: EINTR is retried, every other errno reaches the caller. A write to
//! a pipe without a reader is EPIPE; the interpreter ignores SIGPIPE.

use std::io::{self, IoSlice};
use std::os::fd::BorrowedFd;

use rustix::fs::{FileType, fstat};
use rustix::io::retry_on_intr;

/// What stands behind a descriptor, as far as it can be waited for.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Kind {
    /// A pipe or a FIFO.
    Fifo,
    /// A socket.
    Socket,
    /// A terminal or another character device.
    CharacterDevice,
    /// A file, a directory: always ready, and no matter for an event loop.
    Other,
}

/// What `fd` is.
pub fn kind(fd: BorrowedFd<'_>) -> io::Result<Kind> {
    Ok(match FileType::from_raw_mode(fstat(fd)?.st_mode) {
        FileType::Fifo => Kind::Fifo,
        FileType::Socket => Kind::Socket,
        FileType::CharacterDevice => Kind::CharacterDevice,
        _ => Kind::Other,
    })
}

/// Makes reads and writes answer at once.
pub fn set_nonblocking(fd: BorrowedFd<'_>) -> io::Result<()> {
    rustix::io::ioctl_fionbio(fd, true)?;
    Ok(())
}

/// Reads into `buf`; 0 is the end of file (or an empty `buf`).
#[inline]
pub fn read(fd: BorrowedFd<'_>, buf: &mut [u8]) -> io::Result<usize> {
    Ok(retry_on_intr(|| rustix::io::read(fd, &mut *buf))?)
}

/// Writes from `buf`.
#[inline]
pub fn write(fd: BorrowedFd<'_>, buf: &[u8]) -> io::Result<usize> {
    Ok(retry_on_intr(|| rustix::io::write(fd, buf))?)
}

/// Writes from several buffers in turn.
pub fn write_vectored(fd: BorrowedFd<'_>, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
    Ok(retry_on_intr(|| rustix::io::writev(fd, bufs))?)
}
