//! The waker: an eventfd that ends a blocked wait.
//!
//! What lives here: the descriptor, signalling and draining, and signalling that of another process.
//! What does not: when a wake-up is due (`sync::inbox`). Any thread. Invariant: after [`Waker::wake`] returned, a poller that watches
//! this waker has, or will find, an event for it.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::event::{EventfdFlags, eventfd};
use rustix::io::{DupFlags, Errno, dup3};
use rustix::process::{Pid, PidfdFlags, PidfdGetfdFlags, pidfd_getfd, pidfd_open};

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

/// Signals the waker that process `pid` has at number `fd`. What else stands there by now is left
/// alone, with EBADF. The kernel allows it to whoever may debug that process.
pub fn ring(pid: i32, fd: i32) -> Result<()> {
    if fd < 0 {
        return Err(Error::new("pidfd_getfd", Errno::BADF));
    }
    let pid = Pid::from_raw(pid.max(0)).ok_or_else(|| Error::new("pidfd_open", Errno::SRCH))?;
    let process = pidfd_open(pid, PidfdFlags::empty()).map_err(Error::from_op("pidfd_open"))?;
    let fd = pidfd_getfd(process, fd, PidfdGetfdFlags::empty())
        .map_err(Error::from_op("pidfd_getfd"))?;
    let target = rustix::fs::readlink(format!("/proc/self/fd/{}", fd.as_raw_fd()), Vec::new())
        .map_err(Error::from_op("readlink"))?;
    if target.as_bytes() != b"anon_inode:[eventfd]" {
        return Err(Error::new("pidfd_getfd", Errno::BADF));
    }
    match rustix::io::write(fd, &1u64.to_ne_bytes()) {
        // Full: it has been rung already.
        Ok(_) | Err(Errno::AGAIN) => Ok(()),
        Err(errno) => Err(Error::new("write", errno)),
    }
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
    fn a_waker_can_be_rung_by_its_number_and_nothing_else_can() {
        let me = rustix::process::getpid().as_raw_nonzero().get();
        let waker = Waker::new().unwrap();
        ring(me, waker.with_fd(|fd| fd.as_raw_fd()).unwrap()).unwrap();
        let mut counter = [0u8; 8];
        waker.with_fd(|fd| rustix::io::read(fd, &mut counter)).unwrap().unwrap();
        assert_eq!(u64::from_ne_bytes(counter), 1);

        let (reader, writer) = rustix::pipe::pipe().unwrap();
        let refused = ring(me, writer.as_raw_fd()).unwrap_err();
        assert_eq!(refused.raw_os_error(), Some(libc::EBADF));
        drop(writer);
        assert_eq!(rustix::io::read(reader, &mut counter).unwrap(), 0);
        assert_eq!(ring(me, -1).unwrap_err().raw_os_error(), Some(libc::EBADF));
        assert_eq!(ring(0, 0).unwrap_err().raw_os_error(), Some(libc::ESRCH));
    }

    #[test]
    fn a_closed_waker_is_silent() {
        let waker = Waker::new().unwrap();
        waker.close();
        waker.wake().unwrap();
        assert_eq!(waker.with_fd(|_| ()).unwrap_err().raw_os_error(), Some(libc::EBADF));
    }
}
