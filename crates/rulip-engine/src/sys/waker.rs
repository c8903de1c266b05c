//! The waker: an eventfd that ends a blocked wait.
//!
//! What lives here: the descriptor, signalling and draining. What does not: when a wake-up is due
//! (`sync::inbox`). Any thread. Invariant: after [`Waker::wake`] returned, a poller that watches
//! this waker has, or will find, an event for it.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::event::{EventfdFlags, eventfd};
use rustix::io::{DupFlags, Errno, dup3};

use crate::error::{Error, Result};

/// Ends the wait of the poller that watches it.
#[derive(Debug)]
pub struct Waker {
    /// Gone once closed. Locked for one system call: a number must not be reused under a write.
    fd: Mutex<Option<OwnedFd>>,
}

impl Waker {
    /// A waker that nobody watches yet.
    pub fn new() -> Result<Self> {
        Ok(Self { fd: Mutex::new(Some(make()?)) })
    }

    /// A descriptor of our own under the same number: a forked child shares its parent's.
    pub fn renew(&self) -> Result<()> {
        let mut fd = self.lock();
        let Some(shared) = fd.as_mut() else { return Ok(()) };
        dup3(make()?, shared, DupFlags::CLOEXEC).map_err(Error::from_op("dup3"))
    }

    fn lock(&self) -> MutexGuard<'_, Option<OwnedFd>> {
        self.fd.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Closes the descriptor: later signals reach nobody.
    pub fn close(&self) {
        drop(self.lock().take());
    }

    /// Lends the descriptor, for registering; EBADF once closed.
    pub fn with_fd<R>(&self, call: impl FnOnce(BorrowedFd<'_>) -> R) -> Result<R> {
        let fd = self.lock();
        fd.as_ref().map(|fd| call(fd.as_fd())).ok_or_else(|| Error::new("eventfd", Errno::BADF))
    }

    /// Signals. A poller watches edges, and every write is one: the counter need not be read.
    pub fn wake(&self) -> Result<()> {
        let fd = self.lock();
        let Some(fd) = fd.as_ref() else { return Ok(()) };
        loop {
            match rustix::io::write(fd, &1u64.to_ne_bytes()) {
                Ok(_) => return Ok(()),
                Err(Errno::INTR) => {}
                // The counter is full, after 2^64 wake-ups: a refused write makes no edge.
                Err(Errno::AGAIN) => drain(fd),
                Err(errno) => return Err(Error::new("write", errno)),
            }
        }
    }

    /// Resets the counter.
    pub fn drain(&self) {
        if let Some(fd) = self.lock().as_ref() {
            drain(fd);
        }
    }
}

fn make() -> Result<OwnedFd> {
    eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).map_err(Error::from_op("eventfd"))
}

fn drain(fd: &OwnedFd) {
    // EAGAIN says it was zero; nothing else can be wrong with an eventfd we own.
    let _ = rustix::io::read(fd, &mut [0u8; 8]);
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_full_counter_is_emptied_and_written() {
        let waker = Waker::new().unwrap();
        let fill = (u64::MAX - 1).to_ne_bytes();
        waker.with_fd(|fd| rustix::io::write(fd, &fill)).unwrap().unwrap();
        waker.wake().unwrap();
        let mut counter = [0u8; 8];
        waker.with_fd(|fd| rustix::io::read(fd, &mut counter)).unwrap().unwrap();
        assert_eq!(u64::from_ne_bytes(counter), 1);
        waker.drain();
    }

    #[test]
    fn a_closed_waker_is_silent() {
        let waker = Waker::new().unwrap();
        waker.close();
        waker.wake().unwrap();
        assert_eq!(waker.with_fd(|_| ()).unwrap_err().raw_os_error(), Some(libc::EBADF));
    }
}
