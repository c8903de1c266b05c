//! Registrations, as the engine offers them.
//!
//! What lives here: forwards to the reactor, with the engine's poller. What does not: the rules
//! (`reactor`), forks (`fork`). The owner thread runs it. Invariant: a forked child tells its parent's
//! poller nothing: it ends registrations by forgetting them, and makes them on a poller of its own.

use std::os::fd::{BorrowedFd, RawFd};

use super::{Engine, Io};
use crate::error::{Error, Result};
use crate::readiness::{Interest, Token};

impl<J: From<Io>, T> Engine<J, T> {
    /// Watches both directions of `fd` by edges. A failure gives the target back.
    pub fn register_edge(
        &self,
        fd: BorrowedFd<'_>,
        target: T,
    ) -> std::result::Result<Token, (Error, T)> {
        if let Err(error) = self.leave_parent() {
            return Err((error, target));
        }
        self.reactor.borrow_mut().register_edge(&self.poller, fd, target)
    }

    /// Watches the number `fd` for `interest`, by level. A failure gives the target back.
    pub fn register_level(
        &self,
        fd: RawFd,
        interest: Interest,
        target: T,
    ) -> std::result::Result<Token, (Error, T)> {
        if let Err(error) = self.leave_parent() {
            return Err((error, target));
        }
        self.reactor.borrow_mut().register_level(&self.poller, fd, interest, target)
    }

    /// Changes what a level registration waits for.
    pub fn set_interest(&self, token: Token, interest: Interest) -> Result<()> {
        self.leave_parent()?;
        self.reactor.borrow_mut().set_interest(&self.poller, token, interest)
    }

    /// Ends a registration.
    pub fn deregister(&self, token: Token) -> Option<T> {
        if self.is_foreign_process() {
            return self.forget(token);
        }
        self.reactor.borrow_mut().deregister(&self.poller, token)
    }

    /// Ends a registration without telling the kernel.
    pub fn forget(&self, token: Token) -> Option<T> {
        self.reactor.borrow_mut().forget(token)
    }

    /// Looks at a registration's target. `look` must not come back into the engine.
    #[inline]
    pub fn with_target<R>(&self, token: Token, look: impl FnOnce(&T) -> R) -> Option<R> {
        self.reactor.borrow().get(token).map(look)
    }

    /// Changes a registration's target. `change` must not come back into the engine.
    #[inline]
    pub fn with_target_mut<R>(&self, token: Token, change: impl FnOnce(&mut T) -> R) -> Option<R> {
        self.reactor.borrow_mut().get_mut(token).map(change)
    }

    /// True if the registration is live.
    #[inline]
    pub fn is_registered(&self, token: Token) -> bool {
        self.reactor.borrow().contains(token)
    }

    /// The number a registration was made under.
    pub fn fd(&self, token: Token) -> Option<RawFd> {
        self.reactor.borrow().fd(token)
    }

    /// What a registration waits for.
    pub fn interest(&self, token: Token) -> Option<Interest> {
        self.reactor.borrow().interest(token)
    }

    /// The latest registration of a number.
    pub fn find_fd(&self, fd: RawFd) -> Option<Token> {
        self.reactor.borrow().find_fd(fd)
    }

    /// The first registration whose target is wanted: a search through all of them.
    pub fn find_target(&self, is_wanted: impl Fn(&T) -> bool) -> Option<Token> {
        self.reactor.borrow().iter().find(|(_, target)| is_wanted(target)).map(|(token, _)| token)
    }

    /// How many registrations are live.
    #[inline]
    pub fn registrations(&self) -> usize {
        self.reactor.borrow().len()
    }

    /// Lets new bytes on `fd` end a wait, and nothing more: no target, no job, no registration.
    pub fn add_doorbell(&self, fd: RawFd) -> Result<()> {
        self.leave_parent()?;
        self.poller.add_doorbell(fd)?;
        self.doorbell.set(Some(fd));
        Ok(())
    }

    /// The inverse of [`Engine::add_doorbell`].
    pub fn remove_doorbell(&self, fd: RawFd) -> Result<()> {
        self.doorbell.set(None);
        if self.is_foreign_process() { Ok(()) } else { self.poller.delete(fd) }
    }
}
