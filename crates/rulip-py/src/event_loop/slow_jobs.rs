//! Jobs that hold the loop up are named in a warning: in debug mode those slower than
//! `slow_callback_duration`, otherwise those that blocked it for half a second.
//!
//! What lives here: measuring a turn's jobs, and what to say. Owner thread. Invariant: without debug
//! mode a job costs one reading of the coarse clock, which is a few loads; and what is blamed on it
//! is its own time, not that in which the machine ran something else.

use std::cell::Cell;
use std::time::Duration;

use rulip_engine::sys::{clock, scheduler};
use rulip_engine::{Deadline, Token};

use crate::ffi::{Obj, Ref, Res, value};
use crate::imports;
use crate::loop_state::LoopState;
use crate::watcher::{Target, Watcher};

/// Half a second, but for what the coarse clock may be behind.
const BLOCKED: Duration = Duration::from_millis(490);

/// Nanoseconds. The scheduler is asked that often: what came before a job and is taken for its own
/// waiting is less than this.
const BETWEEN_LOOKS: u64 = 100_000_000;

/// What the scheduler said, and when.
#[derive(Clone, Copy)]
struct Look {
    at: Deadline,
    kept_waiting: Duration,
}

thread_local! {
    /// The last one of this thread: short runs share it.
    static LAST: Cell<Option<Look>> = const { Cell::new(None) };
}

impl Look {
    #[cold]
    fn now(at: Deadline) -> Self {
        let look = Self { at, kept_waiting: scheduler::kept_waiting() };
        LAST.set(Some(look));
        look
    }

    fn recent(now: Deadline) -> Self {
        match LAST.get() {
            Some(look) if now.0.wrapping_sub(look.at.0) < BETWEEN_LOOKS => look,
            _ => Self::now(now),
        }
    }
}

/// Watches jobs from one wait to the next, each from the end of the one before.
pub(crate) struct SlowJobs {
    ended: Deadline,
    looked: Look,
    /// How long after a look no job can have been slow.
    quiet: u64,
    exact: bool,
}

impl SlowJobs {
    pub(crate) fn begin(this: &Ref<LoopState>) -> Self {
        let exact = this.debug.get();
        let ended = Self::read(exact);
        Self { ended, looked: Look::recent(ended), quiet: Self::quiet(exact), exact }
    }

    /// A wait is over.
    #[inline]
    pub(crate) fn resume(&mut self, this: &Ref<LoopState>) {
        self.exact = this.debug.get();
        self.quiet = Self::quiet(self.exact);
        self.ended = Self::read(self.exact);
    }

    #[inline]
    fn quiet(exact: bool) -> u64 {
        if exact { 0 } else { BETWEEN_LOOKS }
    }

    #[inline]
    fn read(exact: bool) -> Deadline {
        if exact { clock::now() } else { clock::at_last_tick() }
    }

    /// Whether it measures as debug mode wants it.
    #[inline]
    pub(crate) fn is_exact(&self) -> bool {
        self.exact
    }

    /// A job ended: warns if it was slow, unless it ended the loop.
    #[inline(always)]
    pub(crate) fn lap(
        &mut self,
        this: &Ref<LoopState>,
        result: Res<()>,
        subject: impl FnOnce() -> Option<Obj>,
    ) -> Res<()> {
        let ended = Self::read(self.exact);
        let began = std::mem::replace(&mut self.ended, ended);
        let quiet = ended.0.wrapping_sub(self.looked.at.0) < self.quiet;
        if quiet || result.is_err() || !self.is_slow(this, ended.since(began)) {
            return result;
        }
        self.report(ended.since(began), subject())
    }

    #[cold]
    fn is_slow(&mut self, this: &Ref<LoopState>, took: Duration) -> bool {
        let mut own = took;
        if !self.exact {
            let look = Look::now(self.ended);
            let waited = look.kept_waiting.saturating_sub(self.looked.kept_waiting);
            self.looked = look;
            own = own.saturating_sub(waited);
            if own < BLOCKED {
                return false;
            }
        }
        own.as_secs_f64() >= this.slow_callback_duration.get()
    }

    #[cold]
    fn report(&mut self, took: Duration, subject: Option<Obj>) -> Res<()> {
        let text = match subject {
            Some(subject) => subject.repr()?,
            None => "an I/O callback".to_owned(),
        };
        let warning = imports::get().logger.attr(&crate::names::get().warning)?;
        let template = value::str("Executing %s took %.3f seconds")?;
        let seconds = value::float(took.as_secs_f64())?;
        warning.call(&[&template, &value::str(&text)?, &seconds])?;
        self.ended = Self::read(self.exact);
        Ok(())
    }
}

/// Who has the descriptor that was ready.
pub(crate) fn owner(this: &Ref<LoopState>, token: Token) -> Option<Obj> {
    this.engine.with_target(token, |target| match target {
        Target::Stream(transport) => Some(transport.to_obj()),
        Target::Datagram(transport) => Some(transport.to_obj()),
        Target::Listener(listener) => Some(listener.to_obj()),
        Target::Watch { reader, writer } => {
            reader.as_ref().or(writer.as_ref()).map(Watcher::to_obj)
        }
    })?
}
