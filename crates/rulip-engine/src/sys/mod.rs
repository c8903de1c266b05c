//! The kernel: the only system calls and raw descriptors of the engine.
//!
//! What a platform must supply: [`poller::Poller`] with [`poller::Events`], [`waker::Waker`],
//! [`clock::now`], [`process::id`], [`process::pidfd_open`], [`process::pidfd_send_signal`], [`scheduler::kept_waiting`] and the functions of [`file`],
//! [`pipe`] and [`socket`]. What does not live here: policy and retries beyond EINTR. Any thread, unless a type
//! says otherwise. Invariant: an errno reaches the caller unchanged.

#![allow(
    unsafe_code,
    reason = "borrowing descriptors by number and system calls that rustix lacks"
)]

pub mod address;
pub mod clock;
pub mod file;
pub mod pipe;
pub mod poller;
pub mod process;
pub mod scheduler;
pub mod socket;
pub mod waker;
