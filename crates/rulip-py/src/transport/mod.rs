//! The Python-visible shells over the engine's transport state machines.
//!
//! `stream.rs` is the object and its life, `reading.rs` and `writing.rs` move the bytes, `slots.rs` is the
//! Python face, `extra_info.rs` answers `get_extra_info`, `listener.rs` accepts. What may be done when is
//! decided by `rulip_engine::transport`; here it is done. Owner thread.
//!
//! Invariant: the state machine is borrowed for one question or one input at a time, never while
//! a protocol runs; after each call into a protocol the state is asked again.

pub(crate) mod extra_info;
pub(crate) mod listener;
pub(crate) mod reading;
pub(crate) mod slots;
pub(crate) mod stream;
pub(crate) mod writing;
