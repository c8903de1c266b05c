//! A turn: plan, wait, collect, run.
//!
//! What lives here: the decision whether to ask the kernel, the only blocking call, and the order
//! in which work becomes ready: what was ready, then I/O, then foreign jobs, then timers. What
//! does not: running a job (the caller). The owner thread runs it, except that other code may use
//! the engine while [`Engine::wait`] blocks.
//!
//! Invariants: a foreign push between plan and wait ends the wait; a plan to block is always
//! followed by [`Engine::wait`] or [`Engine::abandon`]; the hot paths do not allocate.

use super::{CACHED_BYTES, Engine, Handle, Io, JOBS_PER_EVENT, LEAST_EVENTS, MOST_EVENTS};
use crate::error::Result;
use crate::readiness::Token;
use crate::sys::clock;
use crate::sys::poller::Events;
use crate::time::Deadline;

/// Whether the caller has work of its own.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Idle {
    /// None: the turn may wait for something to happen.
    MayBlock,
    /// Some: the turn must not wait.
    MustNotBlock,
}

/// How to ask the kernel this turn.
#[must_use = "a plan to block has parked the inbox: wait for it, or abandon it"]
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Plan {
    /// Not at all: there is work, and nothing a poll could find.
    Skip,
    /// Without waiting.
    Check,
    /// Until an event, a wake-up, or the deadline if there is one.
    Block(Option<Deadline>),
}

impl<J: From<Io>, T> Engine<J, T> {
    /// Decides how this turn asks the kernel.
    #[inline]
    pub fn plan(&self, idle: Idle) -> Plan {
        if idle == Idle::MustNotBlock || !self.ready.borrow().is_empty() {
            return self.plan_without_blocking();
        }
        self.plan_idle()
    }

    #[inline]
    fn plan_without_blocking(&self) -> Plan {
        // Foreign jobs are no reason to poll: `collect` takes them from memory.
        if self.reactor.borrow().is_empty() { Plan::Skip } else { Plan::Check }
    }

    fn plan_idle(&self) -> Plan {
        let deadline = self.next_deadline().filter(|when| *when != Deadline::NEVER);
        if self.shared.inbox.prepare_park() {
            Plan::Block(deadline)
        } else {
            self.plan_without_blocking()
        }
    }

    /// Carries out the plan. The only call of the engine that blocks, and it holds no borrow.
    pub fn wait(&self, plan: &Plan) -> Result<()> {
        let timeout = match plan {
            Plan::Skip => return Ok(()),
            Plan::Check => Some(std::time::Duration::ZERO),
            Plan::Block(None) => None,
            Plan::Block(Some(deadline)) => Some(deadline.since(clock::now())),
        };
        self.leave_parent()?;
        let mut events = self.events.replace(Events::placeholder());
        // An edge is told once: events of an aborted turn are delivered before new ones are asked.
        let waited = if events.is_empty() {
            events.limit(self.appetite());
            let waited = self.poller.wait(&mut events, timeout);
            self.taken.set(events.len());
            waited
        } else {
            Ok(())
        };
        self.events.set(events);
        if matches!(plan, Plan::Block(_)) {
            self.shared.inbox.unpark();
        }
        waited
    }

    /// How many events to take: judged by what the last ones brought, if anything.
    #[inline]
    fn appetite(&self) -> usize {
        let enough = CACHED_BYTES.saturating_mul(self.taken.get().max(1));
        if let Some(most) = enough.checked_div(self.received.take()) {
            self.appetite.set(most.clamp(LEAST_EVENTS, MOST_EVENTS));
        }
        (self.ready.borrow().len() / JOBS_PER_EVENT).max(self.appetite.get())
    }

    /// Takes back a plan to block.
    pub fn abandon(&self, plan: Plan) {
        if matches!(plan, Plan::Block(_)) {
            self.shared.inbox.unpark();
        }
    }

    /// Makes ready what happened: events of the last wait, foreign jobs, timers due at `now`.
    #[inline]
    pub fn collect(&self, now: Deadline) {
        self.collect_events();
        self.drain_inbox();
        self.collect_timers(now);
    }

    #[inline]
    fn collect_events(&self) {
        let mut events = self.events.replace(Events::placeholder());
        if !events.is_empty() {
            let (reactor, mut ready) = (self.reactor.borrow(), self.ready.borrow_mut());
            for event in events.iter() {
                // Reserved tokens have no registration; nor have those that ended during the wait.
                if reactor.contains(event.token) {
                    ready.push(Io { token: event.token, readiness: event.readiness }.into());
                } else if event.token == Token::DOORBELL {
                    self.doorbell_rang.set(true);
                }
            }
            events.clear();
        }
        self.events.set(events);
    }

    /// Whether the doorbell was among the events collected since this was last asked.
    #[inline]
    pub fn take_doorbell_rang(&self) -> bool {
        self.doorbell_rang.replace(false)
    }

    #[inline]
    fn collect_timers(&self, now: Deadline) {
        let mut timers = self.timers.borrow_mut();
        if timers.is_empty() {
            return;
        }
        let mut ready = self.ready.borrow_mut();
        while let Some(job) = timers.pop_due(now) {
            ready.push(job);
        }
    }

    /// True if other threads pushed jobs that are not ready yet.
    #[inline]
    pub fn has_foreign_jobs(&self) -> bool {
        self.shared.inbox.has_items()
    }

    /// Makes ready what other threads pushed, in their order.
    #[inline]
    pub fn drain_inbox(&self) {
        if self.shared.inbox.has_items() {
            self.take_inbox();
        }
    }

    fn take_inbox(&self) {
        let mut incoming = self.incoming.take();
        self.shared.inbox.take(&mut incoming);
        self.ready.borrow_mut().append(&mut incoming);
        self.incoming.set(incoming);
    }

    /// A part for other threads.
    pub fn handle(&self) -> Handle<J> {
        Handle::new(&self.shared)
    }

    /// Begins to run what is ready now.
    #[inline]
    pub fn begin_turn(&self) {
        self.ready.borrow_mut().begin_turn();
    }

    /// The next job of this turn, moved out.
    #[inline]
    pub fn next_job(&self) -> Option<J> {
        self.ready.borrow_mut().next_in_turn()
    }

    /// Ends the turn; jobs it did not run stay ready.
    #[inline]
    pub fn end_turn(&self) {
        self.ready.borrow_mut().end_turn();
    }
}
