//! The clock: the only reader of the monotonic time.
//!
//! What lives here: one function. What does not: any arithmetic (`time::deadline`). Any thread.
//! Invariant: readings never go back.

use rustix::time::{ClockId, clock_gettime};

use crate::time::Deadline;

/// Now, on CLOCK_MONOTONIC.
#[inline]
pub fn now() -> Deadline {
    let now = clock_gettime(ClockId::Monotonic);
    // The monotonic clock counts from boot: both fields are positive and 64 bits last centuries.
    Deadline((now.tv_sec as u64).wrapping_mul(1_000_000_000).wrapping_add(now.tv_nsec as u64))
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn readings_do_not_go_back() {
        let mut last = now();
        assert!(last > Deadline(0));
        for _ in 0..1000 {
            let next = now();
            assert!(next >= last);
            last = next;
        }
    }
}
