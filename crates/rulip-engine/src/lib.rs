//! The engine of rulip: an event loop without a language.
//!
//! ```text
//! in :  kernel -> sys::poller -> reactor (Token -> Readiness) -> engine (ready queue) -> caller
//!       caller reads with sys::socket -> transport (state) -> what to do next -> caller
//! out:  caller -> transport (water marks, write queue) -> sys::socket -> kernel
//!       EAGAIN -> the next writable edge -> caller
//! ```
//!
//! What lives here: scheduling, readiness, timers, cross-thread wake-ups, and state machines that
//! decide what a byte stream may do. What does not: Python objects and asyncio's wording, which
//! belong to the border crate.
//!
//! Invariants:
//! - The engine never calls out. No user callback is invoked in it, and no job or target handed
//!   to it is ever dropped in it: they are moved out to the caller, who drops them.
//! - Only [`sys`] makes system calls, and only [`sys::clock`] reads the clock.
//! - One thread owns an [`Engine`]; other threads hold only its [`Handle`].
//! - Every registration carries a generation, checked again when its event is delivered.
//! - A turn runs at most the jobs that were ready when it began.

#![deny(unsafe_code)]

pub mod buf;
pub mod connect;
pub mod engine;
pub mod error;
pub mod reactor;
pub mod readiness;
pub mod ready;
pub mod sync;
pub mod sys;
pub mod time;
pub mod transport;

pub use buf::WriteQueue;
pub use engine::{Engine, Handle, Idle, Io, Plan};
pub use error::{Error, Result};
pub use reactor::Reactor;
pub use readiness::{Interest, Readiness, Token};
pub use ready::ReadyQueue;
pub use sync::inbox::{Inbox, Pushed, Wake};
pub use sys::poller::{Event, Events, Poller};
pub use sys::waker::Waker;
pub use time::{Deadline, TimerKey, Timers};
pub use transport::{Flow, Listener, Stream};
