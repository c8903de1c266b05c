//! The synchronisation primitives of `sync`: std's, or loom's when models are explored.
//!
//! What lives here: re-exports, nothing else. Any thread. Invariant: `sync` takes its primitives
//! from here only, so that a model sees every one of them.

#[cfg(loom)]
pub(super) use loom::sync::{
    Mutex, MutexGuard,
    atomic::{AtomicU8, Ordering},
};
#[cfg(not(loom))]
pub(super) use std::sync::{
    Mutex, MutexGuard,
    atomic::{AtomicU8, Ordering},
};
