//! The waker: an eventfd that ends a blocked wait.
//!
//! What lives here: the descriptor, signalling and draining. What does not: when a wake-up is due
//! (`sync::inbox`). Any thread. Invariant: after [`Waker::wake`] returned, a poller that watches
//! this waker has, or will find, an event for it.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::{EventfdFlags, eventfd};
use rustix::io::Errno;

use crate::error::{Error, Result};

/// Ends the wait of the poller that watches it.
#[derive(Debug)]
pub struct Waker {
    fd: OwnedFd,
}

impl Waker {
    /// A waker that nobody watches yet.
    pub fn new() -> Result<Self> {
        let fd = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)
            .map_err(Error::from_op("eventfd"))?;
        Ok(Self { fd })
    }

    /// Signals. A poller watches edges, and every write is one: the counter need not be read.
    pub fn wake(&self) -> Result<()> {
        loop {
            match rustix::io::write(&self.fd, &1u64.to_ne_bytes()) {
                Ok(_) => return Ok(()),
                Err(Errno::INTR) => {}
                // The counter is full, after 2^64 wake-ups: a refused write makes no edge.
                Err(Errno::AGAIN) => self.drain(),
                Err(errno) => return Err(Error::new("write", errno)),
            }
        }
    }

    /// Resets the counter.
    pub fn drain(&self) {
        // EAGAIN says it was zero; nothing else can be wrong with an eventfd we own.
        let _ = rustix::io::read(&self.fd, &mut [0u8; 8]);
    }
}

impl AsFd for Waker {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_full_counter_is_emptied_and_written() {
        let waker = Waker::new().unwrap();
        rustix::io::write(&waker, &(u64::MAX - 1).to_ne_bytes()).unwrap();
        waker.wake().unwrap();
        let mut counter = [0u8; 8];
        rustix::io::read(&waker, &mut counter).unwrap();
        assert_eq!(u64::from_ne_bytes(counter), 1);
        waker.drain();
    }
}
