//! The reactor: who waits for which descriptor.
//!
//! What lives here: the registrations. The words they are described in ([`Token`], [`Interest`],
//! [`Readiness`]) come from `readiness`, the system calls from `sys::poller`. What does not: what a
//! target is, and what its readiness leads to. The owner thread runs it.

mod registration;

pub use crate::readiness::{Interest, Readiness, Token};
pub use registration::Reactor;
