//! What a fork changes.
//!
//! What lives here: how a child comes to a poller and a waker of its own. What does not: noticing a fork
//! (`sys::process`). The owner thread runs it, in the child's copy of the memory.
//!
//! Invariant: what a child does with an inherited engine takes no event from its parent, and tells the
//! parent's poller nothing. An edge is told once, to whoever asks first.

use super::{Engine, Io};
use crate::error::Result;
use crate::sys::process;

impl<J: From<Io>, T> Engine<J, T> {
    /// True in a forked child of the process that made this engine, as long as the child has not used it.
    #[inline]
    pub fn is_foreign_process(&self) -> bool {
        process::id() != self.owner_pid.get()
    }

    /// Before the kernel is asked or told anything.
    #[inline]
    pub(super) fn leave_parent(&self) -> Result<()> {
        if self.is_foreign_process() { self.start_over() } else { Ok(()) }
    }

    /// The same registrations, with a poller and a waker of our own.
    #[cold]
    fn start_over(&self) -> Result<()> {
        self.poller.renew()?;
        self.shared.waker.renew()?;
        self.poller.add_waker(&self.shared.waker)?;
        if let Some(fd) = self.doorbell.get() {
            self.poller.add_doorbell(fd)?;
        }
        self.reactor.borrow_mut().register_again(&self.poller)?;
        self.owner_pid.set(process::id());
        Ok(())
    }
}
