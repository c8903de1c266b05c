//! Buffers between the caller and the kernel.
//!
//! What lives here: the write queue. What does not: system calls (`sys::socket`) and limits
//! (`transport::flow`). The owner thread runs it. Invariant: bytes keep their order.

pub mod write_queue;

pub use write_queue::WriteQueue;
