//! Linux's epoll.
//!
//! What lives here: the epoll descriptor, its four operations and the translation of its bits.
//! What does not: tokens' meaning and retries of policy (`reactor`). Every method takes `&self`,
//! because another thread may register while one waits; the kernel does the locking.
//! Invariant: an interrupted wait is an empty one; a wait never ends before its timeout for want
//! of clock resolution.

use std::cell::RefCell;
use std::fmt;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::event::{Timespec, epoll};
use rustix::io::{DupFlags, Errno, dup3};

use crate::error::{Error, Result};
use crate::readiness::{Interest, Readiness, Token};
use crate::sys::waker::Waker;

/// An epoll instance.
#[derive(Debug)]
pub struct Poller {
    /// Gone once closed. Borrowed for one system call, a wait included.
    fd: RefCell<Option<OwnedFd>>,
    /// epoll_pwait2 is missing or forbidden here, so timeouts are whole milliseconds.
    coarse: AtomicBool,
}

impl Poller {
    /// A poller that watches nothing.
    pub fn new() -> Result<Self> {
        let fd =
            epoll::create(epoll::CreateFlags::CLOEXEC).map_err(Error::from_op("epoll_create1"))?;
        Ok(Self { fd: RefCell::new(Some(fd)), coarse: AtomicBool::new(false) })
    }

    /// Watches nothing any more, in an instance of its own, under the same number: a forked child shares
    /// its parent's. EBUSY while a wait uses the old one.
    pub fn renew(&self) -> Result<()> {
        let Ok(mut shared) = self.fd.try_borrow_mut() else {
            return Err(Error::new("dup3", Errno::BUSY));
        };
        let Some(shared) = shared.as_mut() else { return Err(Error::new("dup3", Errno::BADF)) };
        let own =
            epoll::create(epoll::CreateFlags::CLOEXEC).map_err(Error::from_op("epoll_create1"))?;
        dup3(own, shared, DupFlags::CLOEXEC).map_err(Error::from_op("dup3"))
    }

    /// Closes the descriptor: every later call fails with EBADF. Left open while a wait uses it.
    pub fn close(&self) {
        if let Ok(mut fd) = self.fd.try_borrow_mut() {
            drop(fd.take());
        }
    }

    fn with_fd<R>(
        &self,
        call: impl FnOnce(&OwnedFd) -> std::result::Result<R, Errno>,
    ) -> std::result::Result<R, Errno> {
        self.fd.borrow().as_ref().ok_or(Errno::BADF).and_then(call)
    }

    /// Watches `waker` under [`Token::WAKER`].
    pub fn add_waker(&self, waker: &Waker) -> Result<()> {
        let flags = epoll::EventFlags::IN | epoll::EventFlags::ET;
        waker.with_fd(|fd| self.try_add(fd, Token::WAKER, flags))?
    }

    /// Watches `fd` under [`Token::DOORBELL`]: new bytes end a wait and say nothing more.
    pub fn add_doorbell(&self, fd: RawFd) -> Result<()> {
        let flags = epoll::EventFlags::IN | epoll::EventFlags::ET;
        self.try_add(borrow("epoll_ctl", fd)?, Token::DOORBELL, flags)
    }

    /// Watches both directions of `fd`, edges only.
    pub fn add_edge(&self, fd: BorrowedFd<'_>, token: Token) -> Result<()> {
        self.try_add(fd, token, edge_flags())
    }

    /// As [`Poller::add_edge`], by a number that may be stale.
    pub fn add_edge_again(&self, fd: RawFd, token: Token) -> Result<()> {
        self.try_add(borrow("epoll_ctl", fd)?, token, edge_flags())
    }

    /// As [`Poller::add_edge`], over a registration the kernel already holds for `fd`.
    pub fn modify_edge(&self, fd: BorrowedFd<'_>, token: Token) -> Result<()> {
        self.try_modify(fd, token, edge_flags())
    }

    /// Watches `fd` for `interest`, as long as it lasts.
    pub fn add_level(&self, fd: RawFd, token: Token, interest: Interest) -> Result<()> {
        self.try_add(borrow("epoll_ctl", fd)?, token, level_flags(interest))
    }

    /// Replaces what [`Poller::add_level`] asked for.
    pub fn modify_level(&self, fd: RawFd, token: Token, interest: Interest) -> Result<()> {
        self.try_modify(borrow("epoll_ctl", fd)?, token, level_flags(interest))
    }

    /// Stops watching `fd`.
    pub fn delete(&self, fd: RawFd) -> Result<()> {
        let target = borrow("epoll_ctl", fd)?;
        self.with_fd(|epoll| epoll::delete(epoll, target)).map_err(Error::from_op("epoll_ctl"))
    }

    /// Waits for events: for ever, or for `timeout`. An interruption by a signal is no event.
    pub fn wait(&self, events: &mut Events, timeout: Option<Duration>) -> Result<()> {
        events.list.clear();
        let answer = match timeout {
            Some(timeout) if !timeout.is_zero() => self.try_wait_for(events, timeout),
            None => self.with_fd(|fd| try_wait(fd, events, None)),
            Some(_) => {
                let now = Timespec { tv_sec: 0, tv_nsec: 0 };
                self.with_fd(|fd| try_wait(fd, events, Some(&now)))
            }
        };
        match answer {
            Ok(()) | Err(Errno::INTR) => Ok(()),
            Err(errno) => Err(Error::new("epoll_wait", errno)),
        }
    }

    fn try_wait_for(
        &self,
        events: &mut Events,
        timeout: Duration,
    ) -> std::result::Result<(), Errno> {
        if !self.coarse.load(Ordering::Relaxed) {
            match self.with_fd(|fd| try_wait_nanos(fd, events, timeout)) {
                // Older kernels lack the call, and sandboxes written before it answer EPERM.
                Err(Errno::NOSYS | Errno::PERM) => self.coarse.store(true, Ordering::Relaxed),
                answer => return answer,
            }
        }
        // Rounded up, and capped far below what a C int of milliseconds holds: the caller loops.
        let millis = timeout.as_nanos().div_ceil(1_000_000).min(1 << 30) as i64;
        let timespec =
            Timespec { tv_sec: millis / 1000, tv_nsec: (millis % 1000 * 1_000_000) as _ };
        self.with_fd(|fd| try_wait(fd, events, Some(&timespec)))
    }

    fn try_add(&self, fd: BorrowedFd<'_>, token: Token, flags: epoll::EventFlags) -> Result<()> {
        let data = epoll::EventData::new_u64(token.to_bits());
        self.with_fd(|epoll| epoll::add(epoll, fd, data, flags))
            .map_err(Error::from_op("epoll_ctl"))
    }

    fn try_modify(&self, fd: BorrowedFd<'_>, token: Token, flags: epoll::EventFlags) -> Result<()> {
        let data = epoll::EventData::new_u64(token.to_bits());
        self.with_fd(|epoll| epoll::modify(epoll, fd, data, flags))
            .map_err(Error::from_op("epoll_ctl"))
    }
}

fn edge_flags() -> epoll::EventFlags {
    epoll::EventFlags::IN
        | epoll::EventFlags::OUT
        | epoll::EventFlags::RDHUP
        | epoll::EventFlags::ET
}

fn level_flags(interest: Interest) -> epoll::EventFlags {
    let mut flags = epoll::EventFlags::empty();
    flags.set(epoll::EventFlags::IN, interest.is_readable());
    flags.set(epoll::EventFlags::OUT, interest.is_writable());
    flags
}

/// A descriptor given by its number, perhaps a stale one: the kernel judges, with EBADF.
fn borrow<'fd>(op: &'static str, fd: RawFd) -> Result<BorrowedFd<'fd>> {
    if fd < 0 {
        return Err(Error::new(op, Errno::BADF));
    }
    // SAFETY: the number is not -1. It is only handed to epoll_ctl, which accepts any number, and
    // the borrow ends with that call.
    Ok(unsafe { BorrowedFd::borrow_raw(fd) })
}

fn try_wait(
    fd: &OwnedFd,
    events: &mut Events,
    timeout: Option<&Timespec>,
) -> std::result::Result<(), Errno> {
    let most = events.most;
    let count = {
        let (found, _) = epoll::wait(fd, &mut events.list.spare_capacity_mut()[..most], timeout)?;
        found.len()
    };
    // SAFETY: the list was empty, and the kernel has filled its first `count` places.
    unsafe { events.list.set_len(count) };
    Ok(())
}

fn try_wait_nanos(
    fd: &OwnedFd,
    events: &mut Events,
    timeout: Duration,
) -> std::result::Result<(), Errno> {
    let timespec = Timespec {
        tv_sec: i64::try_from(timeout.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: timeout.subsec_nanos().into(),
    };
    let room = events.most.min(i32::MAX as usize);
    // SAFETY: the list is empty, so `room` events, at most its capacity, fit at its start; `Event` has the kernel's
    // layout of epoll_event and `Timespec` that of __kernel_timespec; both outlive the call.
    let count = unsafe {
        libc::syscall(
            libc::SYS_epoll_pwait2,
            fd.as_raw_fd(),
            events.list.as_mut_ptr(),
            room as libc::c_int,
            std::ptr::from_ref(&timespec),
            std::ptr::null::<libc::sigset_t>(),
            0usize,
        )
    };
    let Ok(count) = usize::try_from(count) else {
        let error = std::io::Error::last_os_error();
        return Err(Errno::from_io_error(&error).unwrap_or(Errno::IO));
    };
    // SAFETY: the kernel filled `count` events, at most `room`.
    unsafe { events.list.set_len(count) };
    Ok(())
}

/// A buffer the kernel writes events into.
pub struct Events {
    list: Vec<epoll::Event>,
    /// How many a wait may find: at most the list's capacity.
    most: usize,
}

/// One event.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Event {
    /// Whose, or one of the reserved tokens.
    pub token: Token,
    /// What happened.
    pub readiness: Readiness,
}

impl Event {
    /// True for the engine's own descriptors, which carry no readiness of interest.
    #[inline]
    pub fn is_reserved(self) -> bool {
        self.token.generation() == Token::RESERVED_GENERATION
    }
}

impl Events {
    /// Room for `capacity` events per wait, at least one.
    pub fn with_capacity(capacity: usize) -> Self {
        let capacity = capacity.max(1);
        Self { list: Vec::with_capacity(capacity), most: capacity }
    }

    /// The next wait finds at most so many, of those that fit; the others stay with the kernel.
    #[inline]
    pub fn limit(&mut self, most: usize) {
        self.most = most.max(1).min(self.list.capacity());
    }

    /// No room at all: a placeholder while the buffer is elsewhere. Not fit for a wait.
    pub const fn placeholder() -> Self {
        Self { list: Vec::new(), most: 0 }
    }

    /// How many events the last wait found.
    #[inline]
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// True if it found none.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// How many a wait can find.
    #[inline]
    pub fn capacity(&self) -> usize {
        self.list.capacity()
    }

    /// The events, in the kernel's order.
    #[inline]
    pub fn iter(&self) -> impl Iterator<Item = Event> + '_ {
        self.list.iter().map(|event| Event {
            token: Token::from_bits({ event.data }.u64()),
            readiness: readiness(event.flags),
        })
    }

    /// Forgets the events, keeps the room.
    #[inline]
    pub fn clear(&mut self) {
        self.list.clear();
    }
}

impl fmt::Debug for Events {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

#[inline]
fn readiness(flags: epoll::EventFlags) -> Readiness {
    let mut readiness = Readiness::NONE;
    if flags.intersects(epoll::EventFlags::IN | epoll::EventFlags::PRI) {
        readiness |= Readiness::READABLE;
    }
    if flags.contains(epoll::EventFlags::OUT) {
        readiness |= Readiness::WRITABLE;
    }
    if flags.intersects(epoll::EventFlags::HUP | epoll::EventFlags::RDHUP) {
        readiness |= Readiness::HANGUP;
    }
    if flags.contains(epoll::EventFlags::ERR) {
        readiness |= Readiness::ERROR;
    }
    readiness
}

#[cfg(all(test, not(loom)))]
mod tests;
