//! Files that the kernel sends by itself: one thin call on borrowed descriptors.
//!
//! What lives here: `sendfile`, and a second number for whoever it goes to. What does not: how much to send and when (`transport::file`). Any thread.
//! Invariants: every errno reaches the caller, EINTR too: on a socket or a disk that blocks, signals
//! must be heard in between. A peer that has gone is EPIPE; the interpreter ignores SIGPIPE.

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::io::Errno;

/// Sends up to `len` bytes of `file` from `offset` on; 0 is the end of the file. The file's own
/// position stays where it is.
pub fn send(
    out: BorrowedFd<'_>,
    file: BorrowedFd<'_>,
    offset: u64,
    len: usize,
) -> io::Result<usize> {
    let mut offset = offset;
    Ok(rustix::fs::sendfile(out, file, Some(&mut offset), len)?)
}

/// Another number for the same open socket, which can be watched by itself.
pub fn duplicate(fd: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    Ok(rustix::io::fcntl_dupfd_cloexec(fd, 0)?)
}

/// The error of a descriptor that was closed.
pub fn closed() -> io::Error {
    Errno::BADF.into()
}

/// True if `error` says "not now", or "a signal came first".
pub fn put_off(error: &io::Error) -> bool {
    [Errno::AGAIN, Errno::INTR]
        .map(Errno::raw_os_error)
        .contains(&error.raw_os_error().unwrap_or(0))
}

#[cfg(all(test, not(loom)))]
mod tests;
