//! Registrations: a slab of targets, each under a token with a generation.
//!
//! What lives here: the slab, the index by descriptor number, and the answers to stale numbers.
//! What does not: dispatch (`engine`) and edge latches (`transport`). The owner thread runs it.
//!
//! Invariants: no target is dropped here; `by_fd` names the latest registration of each number;
//! a registration whose number has passed to another one issues no system call any more, because
//! that call would hit the new owner.

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};

use slab::Slab;

use crate::error::{Error, Result};
use crate::readiness::{Interest, Token};
use crate::sys::poller::Poller;

/// The registrations of one poller.
#[derive(Debug)]
pub struct Reactor<T> {
    slots: Slab<Registration<T>>,
    by_fd: HashMap<RawFd, Token>,
    /// Of the next registration. One count for all slots: a slot reused within a turn differs.
    next_generation: u32,
}

#[derive(Debug)]
struct Registration<T> {
    generation: u32,
    fd: RawFd,
    watch: Watch,
    target: T,
}

#[derive(Copy, Clone, Debug)]
enum Watch {
    /// Both directions, edges only, from registration to the end.
    Edge,
    /// What the interest says; with [`Interest::NONE`] the kernel does not know the descriptor.
    Level(Interest),
}

impl<T> Default for Reactor<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> Reactor<T> {
    /// No registrations.
    pub fn new() -> Self {
        Self { slots: Slab::new(), by_fd: HashMap::new(), next_generation: 0 }
    }

    /// Watches both directions of `fd` by edges: a stream's one registration. A failure gives the
    /// target back.
    pub fn register_edge(
        &mut self,
        poller: &Poller,
        fd: BorrowedFd<'_>,
        target: T,
    ) -> std::result::Result<Token, (Error, T)> {
        let token = self.next_token();
        let added = match poller.add_edge(fd, token) {
            Err(error) if self.may_take_over(&error, fd.as_raw_fd()) => {
                poller.modify_edge(fd, token)
            }
            added => added,
        };
        match added {
            Ok(()) => Ok(self.insert(token, fd.as_raw_fd(), Watch::Edge, target)),
            Err(error) => Err((error, target)),
        }
    }

    /// Watches the descriptor numbered `fd` for as long as `interest` is met. A failure gives the
    /// target back.
    pub fn register_level(
        &mut self,
        poller: &Poller,
        fd: RawFd,
        interest: Interest,
        target: T,
    ) -> std::result::Result<Token, (Error, T)> {
        let token = self.next_token();
        let added = if interest.is_none() {
            Ok(())
        } else {
            match poller.add_level(fd, token, interest) {
                Err(error) if self.may_take_over(&error, fd) => {
                    poller.modify_level(fd, token, interest)
                }
                added => added,
            }
        };
        match added {
            Ok(()) => Ok(self.insert(token, fd, Watch::Level(interest), target)),
            Err(error) => Err((error, target)),
        }
    }

    /// Changes what a level registration waits for; [`Interest::NONE`] keeps only the slot.
    ///
    /// The kernel is asked even when nothing changes: the number may have been closed and opened
    /// again since, and then it must be added anew.
    pub fn set_interest(
        &mut self,
        poller: &Poller,
        token: Token,
        interest: Interest,
    ) -> Result<()> {
        let owns_fd = self.owns_fd(token);
        let Some(registration) = slot_mut(&mut self.slots, token) else {
            return Err(errno("epoll_ctl", libc::ENOENT));
        };
        let Watch::Level(current) = registration.watch else {
            return Err(errno("epoll_ctl", libc::EINVAL));
        };
        if !owns_fd {
            return Err(errno("epoll_ctl", libc::EBADF));
        }
        let fd = registration.fd;
        if interest.is_none() {
            if !current.is_none() {
                ignore_gone(poller.delete(fd))?;
            }
        } else if current.is_none() {
            match poller.add_level(fd, token, interest) {
                Err(error) if error.raw_os_error() == Some(libc::EEXIST) => {
                    poller.modify_level(fd, token, interest)?;
                }
                added => added?,
            }
        } else {
            match poller.modify_level(fd, token, interest) {
                Err(error) if error.raw_os_error() == Some(libc::ENOENT) => {
                    poller.add_level(fd, token, interest)?;
                }
                modified => modified?,
            }
        }
        registration.watch = Watch::Level(interest);
        Ok(())
    }

    /// Tells another poller all that this one's predecessor knew. A descriptor that is closed, or cannot be
    /// watched, was lost to the other one too.
    pub fn register_again(&mut self, poller: &Poller) -> Result<()> {
        for (index, registration) in &self.slots {
            let token = Token::new(index as u32, registration.generation);
            if self.by_fd.get(&registration.fd) != Some(&token) {
                continue;
            }
            let added = match registration.watch {
                Watch::Level(Interest::NONE) => Ok(()),
                Watch::Level(interest) => poller.add_level(registration.fd, token, interest),
                Watch::Edge => poller.add_edge_again(registration.fd, token),
            };
            match added {
                Err(error) if matches!(error.raw_os_error(), Some(libc::EBADF | libc::EPERM)) => {}
                added => added?,
            }
        }
        Ok(())
    }

    /// Ends a registration. A descriptor that is already closed is no error.
    pub fn deregister(&mut self, poller: &Poller, token: Token) -> Option<T> {
        let registration = slot(&self.slots, token)?;
        let watched = !matches!(registration.watch, Watch::Level(Interest::NONE));
        if watched && self.owns_fd(token) {
            // ENOENT and EBADF say that it is gone already; whatever else the kernel answers, the
            // generation keeps its events from being dispatched.
            let _ = poller.delete(registration.fd);
        }
        self.forget(token)
    }

    /// Ends a registration without telling the kernel: the descriptor is closed, or the poller is
    /// shared with the process we were forked from.
    pub fn forget(&mut self, token: Token) -> Option<T> {
        slot(&self.slots, token)?;
        let registration = self.slots.try_remove(token.index() as usize)?;
        if self.by_fd.get(&registration.fd) == Some(&token) {
            self.by_fd.remove(&registration.fd);
        }
        Some(registration.target)
    }

    /// The target of a live registration.
    #[inline]
    pub fn get(&self, token: Token) -> Option<&T> {
        slot(&self.slots, token).map(|registration| &registration.target)
    }

    /// The target of a live registration, to change.
    #[inline]
    pub fn get_mut(&mut self, token: Token) -> Option<&mut T> {
        slot_mut(&mut self.slots, token).map(|registration| &mut registration.target)
    }

    /// True if the registration is live.
    #[inline]
    pub fn contains(&self, token: Token) -> bool {
        slot(&self.slots, token).is_some()
    }

    /// The number it was registered under.
    pub fn fd(&self, token: Token) -> Option<RawFd> {
        slot(&self.slots, token).map(|registration| registration.fd)
    }

    /// What it waits for: both for an edge registration.
    pub fn interest(&self, token: Token) -> Option<Interest> {
        slot(&self.slots, token).map(|registration| match registration.watch {
            Watch::Edge => Interest::BOTH,
            Watch::Level(interest) => interest,
        })
    }

    /// The latest registration of a number.
    pub fn find_fd(&self, fd: RawFd) -> Option<Token> {
        self.by_fd.get(&fd).copied()
    }

    /// How many registrations are live.
    #[inline]
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// True if none is.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// Every live registration.
    pub fn iter(&self) -> impl Iterator<Item = (Token, &T)> {
        self.slots.iter().map(|(index, registration)| {
            (Token::new(index as u32, registration.generation), &registration.target)
        })
    }

    /// Takes every target, without telling the kernel.
    pub fn drain(&mut self) -> Vec<T> {
        self.by_fd.clear();
        self.slots.drain().map(|registration| registration.target).collect()
    }

    /// The token that the next [`Reactor::insert`] will fill.
    fn next_token(&mut self) -> Token {
        let generation = self.next_generation;
        self.next_generation = match generation.wrapping_add(1) {
            Token::RESERVED_GENERATION => 0,
            next => next,
        };
        // Slots are bounded by the number of descriptors, which is a C int.
        Token::new(self.slots.vacant_key() as u32, generation)
    }

    fn insert(&mut self, token: Token, fd: RawFd, watch: Watch, target: T) -> Token {
        let generation = token.generation();
        self.slots.insert(Registration { generation, fd, watch, target });
        self.by_fd.insert(fd, token);
        token
    }

    /// EEXIST for a number that nobody here owns: a registration that was forgotten, not deleted.
    fn may_take_over(&self, error: &Error, fd: RawFd) -> bool {
        error.raw_os_error() == Some(libc::EEXIST) && !self.by_fd.contains_key(&fd)
    }

    /// False once another registration has come to hold the same number.
    fn owns_fd(&self, token: Token) -> bool {
        slot(&self.slots, token)
            .is_some_and(|registration| self.by_fd.get(&registration.fd) == Some(&token))
    }
}

#[inline]
fn slot<T>(slots: &Slab<Registration<T>>, token: Token) -> Option<&Registration<T>> {
    slots
        .get(token.index() as usize)
        .filter(|registration| registration.generation == token.generation())
}

#[inline]
fn slot_mut<T>(slots: &mut Slab<Registration<T>>, token: Token) -> Option<&mut Registration<T>> {
    slots
        .get_mut(token.index() as usize)
        .filter(|registration| registration.generation == token.generation())
}

fn errno(op: &'static str, errno: i32) -> Error {
    Error::new(op, io::Error::from_raw_os_error(errno))
}

/// A descriptor that the kernel does not know (any more) needs no deleting.
fn ignore_gone(deleted: Result<()>) -> Result<()> {
    match deleted {
        Err(error) if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::EBADF)) => Ok(()),
        deleted => deleted,
    }
}

#[cfg(all(test, not(loom)))]
mod tests;
