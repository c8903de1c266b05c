//! TLS: between a connected transport and the program's protocol, over Python's own `SSLContext`.
//!
//! | file | what it is about |
//! |---|---|
//! | `protocol.rs` | the object below: what the lower transport tells, the states |
//! | `handshake.rs`, `shutdown.rs` | the beginning and the end, with their deadlines |
//! | `reading.rs`, `writing.rs` | data, and flow control in both directions |
//! | `lower.rs` | the transport that carries the records: one of ours, or anybody's |
//! | `transport.rs`, `slots.rs` | the object above: what the program sees; the Python faces of both |
//! | `session.rs` | what is asked of OpenSSL, over `openssl` or `memory_bio` |
//!
//! A stream transport hands what it received straight to the protocol here, and the protocol writes
//! straight into the transport: the two modules know each other. Owner thread.
//!
//! Invariants: `ssl=` never yields plaintext; every byte that was decrypted is delivered before whatever ended
//! the connection is told; nothing is borrowed while Python runs.

mod handshake;
mod lower;
mod memory_bio;
#[allow(unsafe_code, reason = "direct calls into OpenSSL")]
mod openssl;
pub(crate) mod protocol;
mod reading;
mod session;
mod shutdown;
pub(crate) mod slots;
pub(crate) mod transport;
mod writing;
