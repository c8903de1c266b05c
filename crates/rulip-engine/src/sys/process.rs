//! The process we are in.
//!
//! What lives here: its number, asked anew each time because a fork changes it. Any thread.

/// The number of this process.
#[inline]
pub fn id() -> i32 {
    rustix::process::getpid().as_raw_nonzero().get()
}
