//! Happy Eyeballs (RFC 8305): a staggered race over several addresses.
//!
//! What lives here: which address to try when, and who won. What does not: sockets, addresses and
//! timers (the caller's). The owner thread runs it; `now` is an argument.
//!
//! An address is started when the one before it fails, or `delay` after that one was started,
//! whichever comes first. Without a delay they are tried one by one.
//!
//! | state | leaves by |
//! |---|---|
//! | racing | an attempt connects -> done; the last one open fails, none is left -> failed |
//! | done, failed | - |
//!
//! Invariants: addresses are started in order, each once; the first to connect wins for good.

use std::time::Duration;

use crate::time::Deadline;

/// What to do next.
#[must_use]
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Action {
    /// Begin the attempt at this address, then ask again.
    Start(usize),
    /// Wait for an outcome, or for the deadline.
    Wait(Deadline),
    /// This address won: give up the others that are open.
    Done(usize),
    /// None connected.
    Failed,
}

/// The race.
#[derive(Debug)]
pub struct HappyEyeballs {
    attempts: Vec<State>,
    delay: Option<Duration>,
    /// How many were started: the next to start.
    started: usize,
    /// When to start the next, whatever the others do.
    next_start: Deadline,
    winner: Option<usize>,
}

#[derive(Copy, Clone, PartialEq, Eq, Debug)]
enum State {
    NotStarted,
    Open,
    Failed,
}

impl HappyEyeballs {
    /// A race over `addresses`, started `delay` apart or one by one.
    pub fn new(addresses: usize, delay: Option<Duration>) -> Self {
        Self {
            attempts: vec![State::NotStarted; addresses],
            delay,
            started: 0,
            next_start: Deadline(0),
            winner: None,
        }
    }

    /// The attempt at address `i` failed.
    pub fn handle_failed(&mut self, i: usize) {
        let Some(state) = self.attempts.get_mut(i).filter(|state| **state == State::Open) else {
            return;
        };
        *state = State::Failed;
        // Only the latest holds the next one back: an earlier one has been overtaken already.
        if i + 1 == self.started {
            self.next_start = Deadline(0);
        }
    }

    /// The attempt at address `i` connected.
    pub fn handle_connected(&mut self, i: usize) {
        if self.winner.is_none() && self.attempts.get(i) == Some(&State::Open) {
            self.winner = Some(i);
        }
    }

    /// Time has passed: true if [`HappyEyeballs::poll_action`] has something to start.
    pub fn handle_timeout(&mut self, now: Deadline) -> bool {
        self.winner.is_none() && self.started < self.attempts.len() && self.next_start <= now
    }

    /// What to do at `now`.
    pub fn poll_action(&mut self, now: Deadline) -> Action {
        if let Some(winner) = self.winner {
            return Action::Done(winner);
        }
        if self.started == self.attempts.len() {
            let open = self.attempts.contains(&State::Open);
            return if open { Action::Wait(Deadline::NEVER) } else { Action::Failed };
        }
        if self.next_start > now {
            return Action::Wait(self.next_start);
        }
        let i = self.started;
        self.attempts[i] = State::Open;
        self.started += 1;
        self.next_start = self.delay.map_or(Deadline::NEVER, |delay| now.after(delay));
        Action::Start(i)
    }

    /// The attempts that are open and have not won.
    pub fn losers(&self) -> impl Iterator<Item = usize> + '_ {
        let open = self.attempts.iter().enumerate().filter(|(_, state)| **state == State::Open);
        open.map(|(i, _)| i).filter(|i| Some(*i) != self.winner)
    }
}

/// The order in which to try addresses of several families: `first` of the first family, then one
/// of each in turn. Returns indices into `families`; each family keeps its own order.
pub fn interleave(families: &[i32], first: usize) -> Vec<usize> {
    let mut groups: Vec<(i32, Vec<usize>)> = Vec::new();
    for (i, family) in families.iter().enumerate() {
        match groups.iter_mut().find(|(known, _)| known == family) {
            Some((_, group)) => group.push(i),
            None => groups.push((*family, vec![i])),
        }
    }
    let mut order = Vec::with_capacity(families.len());
    if let Some((_, group)) = groups.first_mut() {
        order.extend(group.drain(..first.saturating_sub(1).min(group.len())));
    }
    let rounds = groups.iter().map(|(_, group)| group.len()).max().unwrap_or(0);
    for round in 0..rounds {
        order.extend(groups.iter().filter_map(|(_, group)| group.get(round)));
    }
    order
}

#[cfg(all(test, not(loom)))]
mod tests;
