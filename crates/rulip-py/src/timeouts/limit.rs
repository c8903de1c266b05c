//! `Limit`: a deadline in a loop's timers that is mostly taken out again.
//!
//! Here: arming, disarming, and telling a job that is still wanted from one that was disarmed when it
//! stood in the ready queue already. Not here: what happens when time is up. Owner thread.
//! Invariant: of the jobs queued, the oldest are the stale ones; each job asks `fires` once.

use std::cell::Cell;

use rulip_engine::{Deadline, TimerKey};

use crate::loop_state::{Job, LoopState};

/// A deadline, armed or not.
pub(crate) struct Limit {
    timer: Cell<Option<TimerKey>>,
    /// It was past at once: its job is in the ready queue.
    queued: Cell<bool>,
    /// Jobs in the ready queue that were disarmed.
    stale: Cell<u32>,
}

impl Limit {
    #[inline]
    pub(crate) fn new() -> Self {
        Self { timer: Cell::new(None), queued: Cell::new(false), stale: Cell::new(0) }
    }

    /// Queues the job at `when`, in seconds of the loop's clock; next turn, if that is past.
    #[inline]
    pub(crate) fn arm(&self, loop_: &LoopState, when: f64, now: f64, job: Job) {
        if when <= now {
            self.queued.set(true);
            loop_.push(job);
        } else {
            self.timer.set(Some(loop_.engine.insert_timer(Deadline::from_secs(when), job)));
        }
    }

    /// Queues the job at `when` by way of the timers, even if that is past.
    pub(crate) fn arm_timer(&self, loop_: &LoopState, when: f64, job: Job) {
        self.timer.set(Some(loop_.engine.insert_timer(Deadline::from_secs(when), job)));
    }

    /// The job is not wanted any more; where it did not stand in the queue yet it comes back, to be
    /// dropped.
    #[inline]
    pub(crate) fn disarm(&self, loop_: &LoopState) -> Option<Job> {
        let job = self.timer.take().map(|key| loop_.engine.cancel_timer(key));
        if let Some(Some(job)) = job {
            return Some(job);
        }
        if job.is_some() || self.queued.take() {
            self.stale.set(self.stale.get() + 1);
        }
        None
    }

    pub(crate) fn is_armed(&self) -> bool {
        self.timer.get().is_some() || self.queued.get()
    }

    /// Asked by the job: whether it is still wanted.
    #[inline]
    pub(crate) fn fires(&self) -> bool {
        let stale = self.stale.get();
        if stale > 0 {
            self.stale.set(stale - 1);
            return false;
        }
        self.timer.set(None);
        self.queued.set(false);
        true
    }
}
