//! Connecting: one attempt, and the race of several.
//!
//! What lives here: state machines over outcomes. What does not: sockets, timers and name
//! resolution (the caller's). The owner thread runs it. Invariant: no clock, no system call.

pub mod attempt;
pub mod happy_eyeballs;

pub use attempt::{Attempt, Progress};
pub use happy_eyeballs::{Action, HappyEyeballs, interleave};
