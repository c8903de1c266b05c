//! Everything that more than one thread touches.
//!
//! What lives here: the inbox through which other threads reach an engine, and the shim that lets
//! loom explore it. What does not: the descriptor that ends a blocked wait (`sys::waker`).
//! Invariant: no lock is held while an item is dropped or cloned.

pub mod inbox;
mod loom;
