//! Transports as state machines: no descriptor, no system call, no clock.
//!
//! What lives here: what a byte stream, a datagram socket, the end of a pipe, a
//! file on its way or a listener may do next. The words: inputs are called
//! `handle_*`, outputs `poll_*`, and a command answers with the duty it leaves to the caller. What
//! does not: reading and writing (`sys::socket`, called by the border) and protocols. The owner
//! thread runs it. Invariant: a duty that is not carried out is a bug of the caller, never a state
//! in which the machine is stuck by itself.

pub mod datagram;
pub mod file;
pub mod flow;
pub mod listener;
pub mod pipe;
pub mod stream;

pub use datagram::{Datagram, ReceiveDuty};
pub use file::FileSender;
pub use flow::{Flow, FlowEvent, LimitsError};
pub use listener::{AcceptDuty, Listener};
pub use pipe::PipeWriter;
pub use stream::{AfterRead, CloseDuty, Drained, Duties, EofDuty, ReadDuty, Stream, WriteDuty};
