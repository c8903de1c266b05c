//! The kernel's scheduler: how long this thread could run and was not let.
//!
//! What lives here: that one figure. What does not: what anybody makes of it. Any thread.
//! Invariant: the figure of one thread never goes back.

use std::time::Duration;

use rustix::fs::{CWD, Mode, OFlags};

/// How long this thread has waited for a processor since it began; zero where the kernel does not
/// tell. Three system calls.
#[cold]
pub fn kept_waiting() -> Duration {
    Duration::from_nanos(ask().unwrap_or(0))
}

/// Of `/proc/thread-self/schedstat` the second number: time on a processor, in the run queue, turns.
fn ask() -> Option<u64> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let file = rustix::fs::openat(CWD, "/proc/thread-self/schedstat", flags, Mode::empty()).ok()?;
    let mut text = [0; 128];
    let length = rustix::io::read(&file, &mut text).ok()?;
    let text = std::str::from_utf8(text.get(..length)?).ok()?;
    text.split_ascii_whitespace().nth(1)?.parse().ok()
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn it_does_not_go_back_and_is_no_more_than_time_itself() {
        let began = std::time::Instant::now();
        let first = kept_waiting();
        let mut last = first;
        for _ in 0..100 {
            let next = kept_waiting();
            assert!(next >= last);
            last = next;
        }
        assert!(last - first <= began.elapsed());
    }
}
