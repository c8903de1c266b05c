//! A listener: accept in batches, back off when descriptors run out.
//!
//! What lives here: how many connections one readiness event may bring, and what each errno of
//! accept means. What does not: the descriptor and the timer, which are the caller's. The owner
//! thread runs it; `now` is an argument.
//!
//! | state | leaves by |
//! |---|---|
//! | accepting | descriptors or memory run out -> backing off |
//! | backing off | `handle_retry` at its deadline -> accepting |
//!
//! Invariants: no batch is longer than the backlog; exhaustion is reported at most once a second.

use std::time::Duration;

use crate::time::Deadline;

/// How long to leave the backlog alone once there is no room for its connections, and how often
/// at most to say so.
pub const RETRY_DELAY: Duration = Duration::from_secs(1);

/// What a failed accept asks for.
#[must_use]
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum AcceptDuty {
    /// The backlog is empty: wait for the next readiness.
    Stop,
    /// This connection failed before it was accepted: go on with the next.
    Again,
    /// No room for more: stop watching until `until`, and report it if `report`.
    BackOff {
        /// When to call [`Listener::handle_retry`] and watch again.
        until: Deadline,
        /// False if it was reported less than a second ago.
        report: bool,
    },
    /// The listener is broken, or was never one: report the error and stop.
    Fail,
}

/// What the errno of accept says.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
enum Failure {
    /// Nobody waits.
    Empty,
    /// The one who waited is gone.
    Peer,
    /// We have no room.
    Exhausted,
    /// We asked wrongly.
    Broken,
}

/// The state of one listening socket.
#[derive(Debug)]
pub struct Listener {
    backlog: usize,
    /// Connections this batch may still bring.
    left_in_batch: usize,
    backing_off: bool,
    last_report: Option<Deadline>,
}

impl Listener {
    /// An accepting listener. A backlog below 1 counts as 1.
    pub fn new(backlog: usize) -> Self {
        Self { backlog: backlog.max(1), left_in_batch: 0, backing_off: false, last_report: None }
    }

    /// The socket became readable: begins a batch.
    pub fn handle_readable(&mut self) {
        self.left_in_batch = if self.backing_off { 0 } else { self.backlog };
    }

    /// True if the batch may go on.
    pub fn wants_accept(&self) -> bool {
        self.left_in_batch > 0
    }

    /// A connection was accepted.
    pub fn handle_accepted(&mut self) {
        self.left_in_batch = self.left_in_batch.saturating_sub(1);
    }

    /// An accept failed with `errno`.
    pub fn handle_accept_error(&mut self, errno: i32, now: Deadline) -> AcceptDuty {
        match classify(errno) {
            Failure::Empty => {
                self.left_in_batch = 0;
                AcceptDuty::Stop
            }
            // It counts: a peer that keeps breaking off must not hold the thread.
            Failure::Peer => {
                self.handle_accepted();
                AcceptDuty::Again
            }
            Failure::Exhausted => {
                self.left_in_batch = 0;
                self.backing_off = true;
                let report = self.last_report.is_none_or(|last| now >= last.after(RETRY_DELAY));
                if report {
                    self.last_report = Some(now);
                }
                AcceptDuty::BackOff { until: now.after(RETRY_DELAY), report }
            }
            Failure::Broken => {
                self.left_in_batch = 0;
                AcceptDuty::Fail
            }
        }
    }

    /// The back-off is over: watch the socket again.
    pub fn handle_retry(&mut self) {
        self.backing_off = false;
    }

    /// True while the socket must not be watched.
    pub fn is_backing_off(&self) -> bool {
        self.backing_off
    }
}

fn classify(errno: i32) -> Failure {
    match errno {
        errno::EAGAIN => Failure::Empty,
        errno::EMFILE | errno::ENFILE | errno::ENOBUFS | errno::ENOMEM => Failure::Exhausted,
        // Linux passes on errors already pending on the new connection.
        errno::EINTR
        | errno::ECONNABORTED
        | errno::EPERM
        | errno::EPROTO
        | errno::ENETDOWN
        | errno::ENOPROTOOPT
        | errno::EHOSTDOWN
        | errno::ENONET
        | errno::EHOSTUNREACH
        | errno::ENETUNREACH => Failure::Peer,
        _ => Failure::Broken,
    }
}

/// The errno values an accept may answer; the state machines do not depend on `sys`.
mod errno {
    pub(super) use libc::{
        EAGAIN, ECONNABORTED, EHOSTDOWN, EHOSTUNREACH, EINTR, EMFILE, ENETDOWN, ENETUNREACH,
        ENFILE, ENOBUFS, ENOMEM, ENONET, ENOPROTOOPT, EPERM, EPROTO,
    };
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    const NOW: Deadline = Deadline(5_000_000_000);

    #[test]
    fn a_batch_is_as_long_as_the_backlog() {
        let mut listener = Listener::new(2);
        assert!(!listener.wants_accept());
        listener.handle_readable();
        listener.handle_accepted();
        assert!(listener.wants_accept());
        assert_eq!(listener.handle_accept_error(libc::ECONNABORTED, NOW), AcceptDuty::Again);
        assert!(!listener.wants_accept());
        assert!({
            let mut least = Listener::new(0);
            least.handle_readable();
            least.wants_accept()
        });
    }

    #[test]
    fn an_empty_backlog_ends_the_batch() {
        let mut listener = Listener::new(100);
        listener.handle_readable();
        assert_eq!(listener.handle_accept_error(libc::EAGAIN, NOW), AcceptDuty::Stop);
        assert!(!listener.wants_accept() && !listener.is_backing_off());
    }

    #[test]
    fn exhaustion_backs_off_and_is_reported_once_a_second() {
        for errno in [libc::EMFILE, libc::ENFILE, libc::ENOBUFS, libc::ENOMEM] {
            let mut listener = Listener::new(100);
            listener.handle_readable();
            let until = NOW.after(RETRY_DELAY);
            let duty = listener.handle_accept_error(errno, NOW);
            assert_eq!(duty, AcceptDuty::BackOff { until, report: true });
            listener.handle_readable();
            assert!(listener.is_backing_off() && !listener.wants_accept());

            listener.handle_retry();
            listener.handle_readable();
            assert!(listener.wants_accept());
            let soon = Deadline(until.0 - 1);
            let duty = listener.handle_accept_error(errno, soon);
            assert_eq!(duty, AcceptDuty::BackOff { until: soon.after(RETRY_DELAY), report: false });
            listener.handle_retry();
            let duty = listener.handle_accept_error(errno, until);
            assert!(matches!(duty, AcceptDuty::BackOff { report: true, .. }));
        }
    }

    #[test]
    fn a_broken_listener_fails() {
        let mut listener = Listener::new(100);
        for errno in [libc::EBADF, libc::EINVAL, libc::ENOTSOCK, libc::EOPNOTSUPP, 0] {
            listener.handle_readable();
            assert_eq!(listener.handle_accept_error(errno, NOW), AcceptDuty::Fail);
            assert!(!listener.wants_accept());
        }
    }
}
