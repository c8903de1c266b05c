//! One attempt to connect a non-blocking socket.
//!
//! What lives here: what connect's errno and the later SO_ERROR mean. What does not: the socket.
//! The owner thread runs it.
//!
//! | state | leaves by |
//! |---|---|
//! | pending | writable, SO_ERROR clear -> connected; set -> failed |
//! | over | - |
//!
//! Invariant: an attempt has one outcome; later readiness changes nothing.

use std::io;

use libc::{EALREADY, EINPROGRESS, EINTR, EISCONN};

/// What is known about an attempt.
#[must_use]
#[derive(Debug)]
pub enum Progress {
    /// The socket is connected.
    Connected,
    /// Not yet: wait until it is writable, then give [`Attempt::handle_writable`] its SO_ERROR.
    Pending,
    /// It failed, with this errno.
    Failed(io::Error),
}

/// An attempt under way, or over.
#[derive(Debug)]
pub struct Attempt {
    pending: bool,
}

impl Attempt {
    /// Begins with what connect answered.
    pub fn begin(answer: io::Result<()>) -> (Self, Progress) {
        let Err(error) = answer else {
            return (Self { pending: false }, Progress::Connected);
        };
        let (pending, progress) = match error.raw_os_error() {
            // Interrupted, a connection goes on in the background like any other.
            Some(EINPROGRESS | EALREADY | EINTR) => (true, Progress::Pending),
            Some(EISCONN) => (false, Progress::Connected),
            // EAGAIN too: a Unix listener's backlog is full, and no readiness will tell of room.
            _ => (false, Progress::Failed(error)),
        };
        (Self { pending }, progress)
    }

    /// The socket became writable, or failed; `so_error` is the error it held.
    pub fn handle_writable(&mut self, so_error: Option<io::Error>) -> Progress {
        if !self.pending {
            return Progress::Pending;
        }
        match so_error {
            None => {
                self.pending = false;
                Progress::Connected
            }
            Some(error) if matches!(error.raw_os_error(), Some(EINPROGRESS | EALREADY)) => {
                Progress::Pending
            }
            Some(error) => {
                self.pending = false;
                Progress::Failed(error)
            }
        }
    }

    /// True while the outcome is open.
    pub fn is_pending(&self) -> bool {
        self.pending
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    fn errno(errno: i32) -> io::Error {
        io::Error::from_raw_os_error(errno)
    }

    #[test]
    fn connect_may_answer_at_once() {
        let (attempt, progress) = Attempt::begin(Ok(()));
        assert!(matches!(progress, Progress::Connected) && !attempt.is_pending());
        for refused in [libc::ECONNREFUSED, libc::EAGAIN, libc::ENOENT] {
            let (attempt, progress) = Attempt::begin(Err(errno(refused)));
            let Progress::Failed(error) = progress else { panic!("{progress:?}") };
            assert_eq!((error.raw_os_error(), attempt.is_pending()), (Some(refused), false));
        }
    }

    #[test]
    fn a_pending_attempt_has_one_outcome() {
        for pending in [EINPROGRESS, EALREADY, EINTR] {
            let (mut attempt, progress) = Attempt::begin(Err(errno(pending)));
            assert!(matches!(progress, Progress::Pending) && attempt.is_pending());
            let progress = attempt.handle_writable(Some(errno(libc::ECONNREFUSED)));
            assert!(matches!(progress, Progress::Failed(_)) && !attempt.is_pending());
            assert!(matches!(attempt.handle_writable(None), Progress::Pending));

            let (mut attempt, progress) = Attempt::begin(Err(errno(pending)));
            assert!(matches!(progress, Progress::Pending));
            assert!(matches!(attempt.handle_writable(None), Progress::Connected));
            assert!(!attempt.is_pending());
        }
    }
}
