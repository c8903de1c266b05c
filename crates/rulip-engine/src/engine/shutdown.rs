//! The end of an engine.
//!
//! What lives here: moving everything out. What does not: dropping it (the caller). The owner
//! thread runs it. Invariant: after it no queue holds anything and no foreign push is accepted.

use super::{Engine, Io};

impl<J: From<Io>, T> Engine<J, T> {
    /// Moves out every job and target, and refuses foreign jobs from now on. Safe to repeat.
    pub fn shutdown(&self) -> (Vec<J>, Vec<T>) {
        self.drain_inbox();
        let mut jobs = self.ready.borrow_mut().drain();
        jobs.append(&mut self.shared.inbox.close());
        jobs.append(&mut self.timers.borrow_mut().drain());

        let mut reactor = self.reactor.borrow_mut();
        if self.is_foreign_process() {
            return (jobs, reactor.drain());
        }
        let tokens: Vec<_> = reactor.iter().map(|(token, _)| token).collect();
        let targets = tokens
            .into_iter()
            .filter_map(|token| reactor.deregister(&self.poller, token))
            .collect();
        (jobs, targets)
    }
}
