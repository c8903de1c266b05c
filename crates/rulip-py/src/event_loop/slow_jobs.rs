//! Jobs that hold the loop up are named in a warning: in debug mode those slower than
//! `slow_callback_duration`, otherwise those that blocked it for half a second.
//!
//! What lives here: measuring a turn's jobs, and what to say. Owner thread. Invariant: without debug
//! mode a job costs one reading of the coarse clock, which is a few loads.

use std::time::Duration;

use rulip_engine::sys::clock;
use rulip_engine::{Deadline, Token};

use crate::ffi::{Obj, Ref, Res, value};
use crate::imports;
use crate::loop_state::LoopState;
use crate::watcher::{Target, Watcher};

/// Nanoseconds: half a second, but for what the coarse clock may be behind.
const BLOCKED: u64 = 490_000_000;

/// Watches jobs from one wait to the next, each from the end of the one before.
pub(crate) struct SlowJobs {
    ended: Deadline,
    limit: u64,
    exact: bool,
}

impl SlowJobs {
    #[inline]
    pub(crate) fn begin(this: &Ref<LoopState>) -> Self {
        let exact = this.debug.get();
        let limit = if exact { 0 } else { BLOCKED };
        Self { ended: Self::read(exact), limit, exact }
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
    #[inline]
    pub(crate) fn lap(
        &mut self,
        this: &Ref<LoopState>,
        result: Res<()>,
        subject: impl FnOnce() -> Option<Obj>,
    ) -> Res<()> {
        let ended = Self::read(self.exact);
        let nanoseconds = ended.0.wrapping_sub(self.ended.0);
        self.ended = ended;
        if nanoseconds < self.limit || result.is_err() {
            return result;
        }
        self.report(this, nanoseconds, subject())
    }

    #[cold]
    fn report(&mut self, this: &Ref<LoopState>, nanoseconds: u64, subject: Option<Obj>) -> Res<()> {
        let seconds = Duration::from_nanos(nanoseconds).as_secs_f64();
        if seconds < this.slow_callback_duration.get() {
            return Ok(());
        }
        let text = match subject {
            Some(subject) => subject.repr()?,
            None => "an I/O callback".to_owned(),
        };
        let warning = imports::get().logger.attr(&crate::names::get().warning)?;
        let template = value::str("Executing %s took %.3f seconds")?;
        warning.call(&[&template, &value::str(&text)?, &value::float(seconds)?])?;
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
