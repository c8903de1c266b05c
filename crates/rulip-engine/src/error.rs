//! The engine's error: an [`io::Error`] that remembers which operation failed.
//!
//! What lives here: the error type and its conversions. The mapping to Python exceptions is the
//! border's. Any thread. Invariant: the errno is never lost.

use std::{fmt, io};

/// What the engine's fallible operations return.
pub type Result<T> = std::result::Result<T, Error>;

/// A failed kernel operation.
#[derive(Debug)]
pub struct Error {
    /// The name of the system call, as its manual page spells it.
    pub op: &'static str,
    /// What the kernel answered, errno included.
    pub source: io::Error,
}

impl Error {
    /// Wraps what `op` answered.
    pub fn new(op: &'static str, source: impl Into<io::Error>) -> Self {
        Self { op, source: source.into() }
    }

    /// The errno, where there is one.
    pub fn raw_os_error(&self) -> Option<i32> {
        self.source.raw_os_error()
    }

    /// An adapter for `map_err`: names the operation.
    pub fn from_op<E: Into<io::Error>>(op: &'static str) -> impl FnOnce(E) -> Self {
        move |source| Self::new(op, source)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.op, self.source)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.source)
    }
}

impl From<io::Error> for Error {
    fn from(source: io::Error) -> Self {
        Self { op: "io", source }
    }
}

impl From<Error> for io::Error {
    /// Keeps the errno at the price of the operation's name.
    fn from(error: Error) -> Self {
        error.source
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn names_the_operation_and_keeps_the_errno() {
        let error = Error::new("epoll_ctl", io::Error::from_raw_os_error(libc::EBADF));
        assert_eq!(error.raw_os_error(), Some(libc::EBADF));
        assert!(error.to_string().starts_with("epoll_ctl: "));
        assert_eq!(io::Error::from(error).raw_os_error(), Some(libc::EBADF));
    }
}
