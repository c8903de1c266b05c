//! Deadlines and the timers that wait for them.
//!
//! What lives here: arithmetic on a clock's readings, and the timers: a slab (`entries`), a wheel
//! for what is ahead (`wheel`) and a heap for what is near (`near`). What does not: the clock
//! itself (`sys::clock`). Any thread. Invariant: nothing here reads the time; `now` is an argument.

pub mod deadline;
mod entries;
mod near;
pub mod timers;
mod wheel;

pub use deadline::Deadline;
pub use timers::{TimerKey, Timers};
