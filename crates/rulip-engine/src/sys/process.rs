//! The process we are in.
//!
//! What lives here: its number, remembered until a fork changes it. Any thread.
//! Invariant: a child made by `fork()` never sees its parent's number; one made by a bare system call
//! would, but nobody makes those and goes on in the same program.

use std::sync::Once;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};

/// 0: not known.
static ID: AtomicI32 = AtomicI32::new(0);
/// Whether the number may be kept.
static REMEMBER: AtomicBool = AtomicBool::new(true);
static WATCH_FORKS: Once = Once::new();

/// The number of this process.
#[inline]
pub fn id() -> i32 {
    match ID.load(Ordering::Relaxed) {
        0 => ask(),
        id => id,
    }
}

#[cold]
fn ask() -> i32 {
    let id = rustix::process::getpid().as_raw_nonzero().get();
    WATCH_FORKS.call_once(|| {
        // SAFETY: the handler only stores to an atomic, which is allowed in a forked child.
        let refused = unsafe { libc::pthread_atfork(None, None, Some(forget)) };
        if refused != 0 {
            // No memory for it: ask each time.
            REMEMBER.store(false, Ordering::Relaxed);
        }
    });
    if REMEMBER.load(Ordering::Relaxed) {
        ID.store(id, Ordering::Relaxed);
    }
    id
}

extern "C" fn forget() {
    ID.store(0, Ordering::Relaxed);
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn it_is_the_kernels_number_and_forgotten_by_a_fork() {
        assert_eq!(id(), rustix::process::getpid().as_raw_nonzero().get());
        assert_eq!(ID.load(Ordering::Relaxed), id());
        forget();
        assert_eq!(ID.load(Ordering::Relaxed), 0);
        assert_eq!(id(), rustix::process::getpid().as_raw_nonzero().get());
    }
}
