//! The Python-visible shells over the engine's transport state machines.
//!
//! `stream.rs` is the object and its life, `reading.rs` and `writing.rs` move the bytes, `slots.rs` is the
//! Python face, `extra_info.rs` answers `get_extra_info`, `listener.rs` accepts, `receiver.rs` is who gets
//! the bytes, `chunk.rs` what waits to be sent, `file_sending.rs` a
//! file that the kernel sends. `datagram*.rs`, `read_pipe.rs`, `write_pipe.rs` and
//! `pipe_slots.rs` are the other transports, on what they share in `base*.rs`. What may be done when is
//! decided by `rulip_engine::transport`; here it is done. Owner thread.
//!
//! Invariant: the state machine is borrowed for one question or one input at a time, never while
//! a protocol runs; after each call into a protocol the state is asked again.

pub(crate) mod base;
pub(crate) mod base_slots;
pub(crate) mod chunk;
pub(crate) mod datagram;
pub(crate) mod datagram_io;
pub(crate) mod datagram_slots;
pub(crate) mod extra_info;
pub(crate) mod file_sending;
pub(crate) mod listener;
mod peers;
pub(crate) mod pipe_slots;
mod public_class;
pub(crate) mod read_pipe;
pub(crate) mod reading;
pub(crate) mod receiver;
pub(crate) mod slots;
pub(crate) mod stream;
pub(crate) mod write_pipe;
pub(crate) mod writing;
