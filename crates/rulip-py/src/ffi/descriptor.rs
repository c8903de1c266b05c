//! Descriptor numbers that Python owns, lent to the engine.

use std::os::fd::{BorrowedFd, RawFd};

use super::error::{Raised, Res};

/// Lends the engine a descriptor that a Python socket object owns.
///
/// A socket that was closed behind our back fails in the kernel with `EBADF`, as it does for any
/// Python program that keeps a number.
pub(crate) fn lend<'a>(fd: RawFd) -> Res<BorrowedFd<'a>> {
    if fd < 0 {
        return Err(Raised::value_error(&format!("Invalid file descriptor: {fd}")));
    }
    // SAFETY: not -1; the caller keeps the owner (a Python socket or an OwnedFd) for the call.
    Ok(unsafe { BorrowedFd::borrow_raw(fd) })
}
