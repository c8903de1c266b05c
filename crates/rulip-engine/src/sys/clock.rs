//! The clock: the only reader of the monotonic time.
//!
//! What lives here: the time, exact and coarse, and letting some of it pass. What does not: any arithmetic (`time::deadline`).
//! Any thread. Invariant: readings never go back.

use rustix::time::{ClockId, clock_gettime};

use crate::time::Deadline;

/// Now, on CLOCK_MONOTONIC.
#[inline]
pub fn now() -> Deadline {
    read(ClockId::Monotonic)
}

/// The same time as the kernel's last tick saw it, up to 10 ms ago: an eighth of the cost.
#[inline]
pub fn at_last_tick() -> Deadline {
    read(ClockId::MonotonicCoarse)
}

/// Sleeps.
pub fn pause(duration: std::time::Duration) {
    std::thread::sleep(duration);
}

#[inline]
fn read(id: ClockId) -> Deadline {
    let now = clock_gettime(id);
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

    #[test]
    fn the_last_tick_is_close_behind() {
        for _ in 0..100 {
            let (before, tick, after) = (now(), at_last_tick(), now());
            assert!(tick <= after);
            assert!(before.since(tick) < std::time::Duration::from_millis(100));
        }
    }
}
