//! The poller: which descriptors are ready.
//!
//! What lives here: the choice of the platform's backend, one per file with the same type names.
//! What does not: who is registered (`reactor`). See the backend for threads and invariants.

mod epoll;

pub use epoll::{Event, Events, Poller};
