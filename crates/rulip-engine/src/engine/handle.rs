//! The handle: what other threads may hold of an engine.
//!
//! What lives here: foreign pushes and wake-ups. What does not: the queue itself (`sync::inbox`).
//! Any thread. Invariant: a job is either in the engine's inbox or back in the caller's hands.

use std::fmt;
use std::sync::Arc;

use super::Engine;
use crate::error::Result;
use crate::sync::inbox::{Inbox, Wake};
use crate::sys::waker::Waker;

pub(super) struct Shared<J> {
    pub(super) inbox: Inbox<J>,
    pub(super) waker: Waker,
}

impl<J> Shared<J> {
    pub(super) fn new() -> Result<Self> {
        Ok(Self { inbox: Inbox::new(), waker: Waker::new()? })
    }

    fn push(&self, job: J) -> std::result::Result<usize, J> {
        let pushed = self.inbox.push(job)?;
        self.wake_if(pushed.wake);
        Ok(pushed.waiting)
    }

    fn wake_if(&self, wake: Wake) {
        if wake == Wake::Needed {
            // An eventfd that is open and not full takes every write; there is nobody to tell.
            let _ = self.waker.wake();
        }
    }
}

/// Reaches an engine from any thread.
pub struct Handle<J> {
    shared: Arc<Shared<J>>,
}

impl<J> Handle<J> {
    pub(super) fn new(shared: &Arc<Shared<J>>) -> Self {
        Self { shared: Arc::clone(shared) }
    }

    /// Gives the engine a job, and wakes it if it sleeps. A shut-down engine gives it back.
    pub fn push(&self, job: J) -> std::result::Result<(), J> {
        self.shared.push(job).map(drop)
    }

    /// Ends the engine's wait, or forbids its next one.
    pub fn wake(&self) {
        let wake = self.shared.inbox.notify();
        self.shared.wake_if(wake);
    }
}

impl<J, T> Engine<J, T> {
    /// As [`Handle::push`], for a caller that holds the engine itself; how many foreign jobs wait now.
    pub fn push_foreign(&self, job: J) -> std::result::Result<usize, J> {
        self.shared.push(job)
    }

    /// Closes the engine's own descriptors, after [`Engine::shutdown`]. Handles on other threads
    /// are refused by then.
    pub fn close(&self) {
        self.poller.close();
        self.shared.waker.close();
    }
}

impl<J> Clone for Handle<J> {
    fn clone(&self) -> Self {
        Self::new(&self.shared)
    }
}

impl<J> fmt::Debug for Handle<J> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handle").finish_non_exhaustive()
    }
}
