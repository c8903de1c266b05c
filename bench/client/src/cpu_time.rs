//! CPU time of a process, read from the kernel's own accounting in /proc.
//!
//! Not here: when to read it. Thread: any. Invariant: every living thread of the process is
//! counted, also those that a loop hides.

use std::fs;
use std::io;

/// What a process has used so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct CpuTime {
    /// Time on a CPU, user and system, in nanoseconds (`schedstat`).
    pub(crate) total_ns: u64,
    /// User time in clock ticks: only good for the user share of the total.
    pub(crate) user_ticks: u64,
    /// System time in clock ticks.
    pub(crate) system_ticks: u64,
}

impl CpuTime {
    /// Reads the clock of `process`, a PID or `self`.
    pub(crate) fn of(process: &str) -> io::Result<Self> {
        let mut total_ns = 0;
        for thread in fs::read_dir(format!("/proc/{process}/task"))? {
            let Some(text) = unless_ended(fs::read_to_string(thread?.path().join("schedstat")))?
            else {
                continue;
            };
            total_ns +=
                first_number(&text).ok_or_else(|| io::Error::other("schedstat has no run time"))?;
        }
        let text = fs::read_to_string(format!("/proc/{process}/stat"))?;
        let (user_ticks, system_ticks) =
            ticks(&text).ok_or_else(|| io::Error::other("stat has no times"))?;
        Ok(Self { total_ns, user_ticks, system_ticks })
    }

    /// Used since `earlier`.
    pub(crate) fn since(self, earlier: Self) -> Self {
        Self {
            total_ns: self.total_ns.saturating_sub(earlier.total_ns),
            user_ticks: self.user_ticks.saturating_sub(earlier.user_ticks),
            system_ticks: self.system_ticks.saturating_sub(earlier.system_ticks),
        }
    }
}

/// A thread may end between its listing and its reading.
fn unless_ended(outcome: io::Result<String>) -> io::Result<Option<String>> {
    match outcome {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) if error.raw_os_error() == Some(rustix::io::Errno::SRCH.raw_os_error()) => {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

fn first_number(text: &str) -> Option<u64> {
    text.split_whitespace().next()?.parse().ok()
}

/// Fields 14 and 15, counted after the command's name, which may itself hold spaces and
/// parentheses.
fn ticks(stat: &str) -> Option<(u64, u64)> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_whitespace().skip(11);
    Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::{CpuTime, ticks};

    #[test]
    fn a_busy_process_advances() {
        let mut child =
            Command::new("sh").args(["-c", "while :; do :; done"]).spawn().expect("a shell");
        let process = child.id().to_string();
        let before = CpuTime::of(&process).expect("its clock");
        let mut spent = CpuTime::default();
        while spent.total_ns < 20_000_000 {
            spent = CpuTime::of(&process).expect("its clock").since(before);
        }
        child.kill().expect("still running");
        child.wait().expect("was killed");
        assert!(CpuTime::of(&process).is_err());
    }

    #[test]
    fn a_name_with_parentheses_is_skipped() {
        let stat = "7 (a) (b c) S 1 2 3 4 5 6 7 8 9 10 41 42 0 0";
        assert_eq!(ticks(stat), Some((41, 42)));
        assert_eq!(ticks("7 (a) S 1"), None);
    }
}
