//! The engine: one thread's queues, timers and registrations, turn by turn.
//!
//! What lives here: the [`Engine`] and its scheduling. A turn is in `turn`, registrations in `io`, what a
//! fork changes in `fork`, the part other threads hold in `handle`, the end in `shutdown`. What does not: running jobs and
//! dropping them, which is the caller's. One thread owns an engine; every method takes `&self`.
//!
//! Invariants: no borrow survives a return, and none is held while [`Engine::wait`] blocks, so a
//! caller may come back in at any point; closures given to the engine only look at what they get.

mod fork;
mod handle;
mod io;
mod shutdown;
mod turn;

use std::cell::{Cell, RefCell};
use std::fmt;
use std::os::fd::RawFd;
use std::sync::Arc;

use crate::error::Result;
use crate::reactor::Reactor;
use crate::readiness::{Readiness, Token};
use crate::ready::ReadyQueue;
use crate::sys::poller::{Events, Poller};
use crate::sys::process;
use crate::time::{Deadline, TimerKey, Timers};

pub use handle::Handle;
pub use turn::{Idle, Plan};

use handle::Shared;

/// Events taken per wait, at most. More stay with the kernel, which hands them out round robin.
const MOST_EVENTS: usize = 1024;
/// Fewer are taken while they bring much: so many bytes are still in the cache when the tasks that they
/// wake run.
const CACHED_BYTES: usize = 256 * 1024;
/// But so many at least.
const LEAST_EVENTS: usize = 16;
/// Where many jobs are ready, one event per so many: else the jobs would keep the events waiting.
const JOBS_PER_EVENT: usize = 8;

/// A readiness event on its way to its target.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Io {
    /// Which registration: check it again when the job runs, an earlier job may have ended it.
    pub token: Token,
    /// What the kernel reported.
    pub readiness: Readiness,
}

/// An event loop over jobs `J` and registration targets `T`, both opaque.
pub struct Engine<J, T> {
    poller: Poller,
    /// What handles on other threads share with us.
    shared: Arc<Shared<J>>,
    ready: RefCell<ReadyQueue<J>>,
    timers: RefCell<Timers<J>>,
    reactor: RefCell<Reactor<T>>,
    /// What the last wait found and `collect` has not delivered. Moved out during a wait.
    events: Cell<Events>,
    /// How many there were.
    taken: Cell<usize>,
    /// Bytes received since the last wait.
    received: Cell<usize>,
    /// Events to take at the next.
    appetite: Cell<usize>,
    /// The doorbell was among them.
    doorbell_rang: Cell<bool>,
    /// Foreign jobs on their way from the inbox to the ready queue: always empty between calls.
    incoming: Cell<Vec<J>>,
    /// Lets bytes on it end a wait.
    doorbell: Cell<Option<RawFd>>,
    /// The process that made the poller. A forked child shares it with its parent until it makes its own.
    owner_pid: Cell<i32>,
}

impl<J: From<Io>, T> Engine<J, T> {
    /// An idle engine.
    pub fn new() -> Result<Self> {
        let poller = Poller::new()?;
        let shared = Arc::new(Shared::new()?);
        poller.add_waker(&shared.waker)?;
        Ok(Self {
            poller,
            shared,
            ready: RefCell::new(ReadyQueue::new()),
            timers: RefCell::new(Timers::new()),
            reactor: RefCell::new(Reactor::new()),
            events: Cell::new(Events::with_capacity(MOST_EVENTS)),
            taken: Cell::new(0),
            received: Cell::new(0),
            appetite: Cell::new(MOST_EVENTS),
            doorbell_rang: Cell::new(false),
            incoming: Cell::new(Vec::new()),
            doorbell: Cell::new(None),
            owner_pid: Cell::new(process::id()),
        })
    }

    /// Makes a job ready.
    #[inline]
    pub fn push(&self, job: J) {
        self.ready.borrow_mut().push(job);
    }

    /// How many jobs are ready.
    #[inline]
    pub fn ready_len(&self) -> usize {
        self.ready.borrow().len()
    }

    /// So many bytes came with an event: where they are many, turns take fewer events.
    #[inline]
    pub fn note_received(&self, bytes: usize) {
        self.received.set(self.received.get() + bytes);
    }

    /// Makes a job ready at `when`, unless the key is used to cancel it before.
    #[inline]
    pub fn insert_timer(&self, when: Deadline, job: J) -> TimerKey {
        self.timers.borrow_mut().insert(when, job)
    }

    /// Moves out the job of a timer that is not due yet. Once the job is ready the key is stale.
    #[inline]
    pub fn cancel_timer(&self, key: TimerKey) -> Option<J> {
        self.timers.borrow_mut().cancel(key)
    }

    /// How many timers wait.
    #[inline]
    pub fn timers_len(&self) -> usize {
        self.timers.borrow().len()
    }

    /// When the earliest timer is due, or a moment before that: see [`Timers::next_deadline`].
    #[inline]
    pub fn next_deadline(&self) -> Option<Deadline> {
        self.timers.borrow_mut().next_deadline()
    }

    /// Visits every queued job: ready ones, then timers. Visits none if the engine is in use.
    pub fn visit_jobs(&self, f: &mut dyn FnMut(&J)) {
        let (Ok(ready), Ok(timers)) = (self.ready.try_borrow(), self.timers.try_borrow()) else {
            return;
        };
        ready.iter().chain(timers.iter()).for_each(f);
    }

    /// Visits every ready job. Visits none if the engine is in use.
    pub fn visit_ready(&self, f: &mut dyn FnMut(&J)) {
        if let Ok(ready) = self.ready.try_borrow() {
            ready.iter().for_each(f);
        }
    }

    /// Visits every registration's target. Visits none if the engine is in use.
    pub fn visit_targets(&self, f: &mut dyn FnMut(&T)) {
        if let Ok(reactor) = self.reactor.try_borrow() {
            reactor.iter().for_each(|(_, target)| f(target));
        }
    }
}

impl<J, T> fmt::Debug for Engine<J, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine")
            .field("poller", &self.poller)
            .field("owner_pid", &self.owner_pid.get())
            .finish_non_exhaustive()
    }
}

#[cfg(all(test, not(loom)))]
mod tests;
