//! `Lock`, `Event`, `Condition`, `Semaphore`, `BoundedSemaphore`, `Barrier`.
//!
//! What lives here: the primitives, one per file; who waits for them (`waiters.rs`), and what they share
//! with queues (`loop_bound.rs`). Not here: how a task waits (`task::waiter`), queues.
//! Owner thread. Invariant: nothing is borrowed while anything of Python's runs; a permit that a failed
//! waiter was given goes to the next one.
//!
//! The public classes derive from the native type and from the class of asyncio's that they stand for:
//! `isinstance()` and `issubclass()` hold, and what asyncio's classes have and ours lack is inherited.

pub(crate) mod barrier;
pub(crate) mod condition;
pub(crate) mod count;
pub(crate) mod event;
pub(crate) mod lock;
pub(crate) mod loop_bound;
pub(crate) mod semaphore;
pub(crate) mod waiters;

use crate::ffi::{Obj, Res};

/// Makes the types: names and public classes.
pub(crate) fn build() -> Res<Vec<(&'static str, Obj)>> {
    let mut made = vec![
        ("Lock", lock::build()?),
        ("Event", event::build()?),
        ("Condition", condition::build()?),
    ];
    made.extend(semaphore::build()?);
    made.push(("Barrier", barrier::build()?));
    Ok(made)
}
