//! Places at which a test makes native code panic: only in a build with the feature `failpoints`.
//!
//! Here: arming a place, and what happens when it is reached. Not here: what a panic becomes
//! (ffi/trampoline.rs, event_loop/run.rs). Owner thread.
//! Invariant: without the feature a place is nothing at all; an armed place panics once.

/// The loop has taken a job.
pub(crate) const JOB: &str = "job";
/// A task is current, its coroutine about to run.
pub(crate) const STEP: &str = "step";
/// A transport has noted readiness, and has read nothing yet.
pub(crate) const READINESS: &str = "readiness";
/// A transport is about to send.
pub(crate) const FLUSH: &str = "flush";
/// A listener has noted readiness, and has accepted nothing yet.
pub(crate) const ACCEPT: &str = "accept";

#[cfg(not(feature = "failpoints"))]
#[inline(always)]
pub(crate) fn reached(_place: &'static str) {}

#[cfg(feature = "failpoints")]
pub(crate) use armed::{arm, reached};

#[cfg(feature = "failpoints")]
mod armed {
    use std::cell::RefCell;

    use crate::ffi::arguments::Args;
    use crate::ffi::{Obj, Res, value};

    thread_local! {
        static ARMED: RefCell<String> = const { RefCell::new(String::new()) };
    }

    /// `_arm(place)`: the next time that this thread is there.
    pub(crate) fn arm(args: &Args<'_>) -> Res<Obj> {
        let [place] = args.bind("_arm", [c"place"], 1)?;
        if let Some(place) = place {
            ARMED.set(value::text(place)?);
        }
        Ok(Obj::none())
    }

    #[allow(clippy::panic, reason = "what it is for")]
    pub(crate) fn reached(place: &'static str) {
        if ARMED.with_borrow(|armed| armed == place) {
            ARMED.take();
            panic!("failpoint {place}");
        }
    }
}
