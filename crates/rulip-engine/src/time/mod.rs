//! Deadlines and the timers that wait for them.
//!
//! What lives here: arithmetic on a clock's readings and the timer heap. What does not: the clock
//! itself (`sys::clock`). Any thread. Invariant: nothing here reads the time; `now` is an argument.

pub mod deadline;
pub mod timers;

pub use deadline::Deadline;
pub use timers::Timers;
