//! The process we are in, and its children.
//!
//! What lives here: our number, remembered until a fork changes it; descriptors of processes. Any thread.
//! Invariant: a child made by `fork()` never sees its parent's number; one made by a bare system call
//! would, but nobody makes those and goes on in the same program.

use std::io;
use std::os::fd::{OwnedFd, RawFd};
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

/// A descriptor of the process of this number, closed on exec; readable once it has ended. An errno of the
/// kernel, or of a sandbox that denies the call.
pub fn pidfd_open(id: i32) -> io::Result<OwnedFd> {
    let id = rustix::process::Pid::from_raw(id).ok_or(rustix::io::Errno::INVAL)?;
    Ok(rustix::process::pidfd_open(id, rustix::process::PidfdFlags::empty())?)
}

/// Sends a signal to the process that this is a descriptor of, and to no other one.
pub fn pidfd_send_signal(pidfd: RawFd, signal: i32) -> io::Result<()> {
    // Rustix knows the signals with a name only.
    // SAFETY: numbers, and a null pointer for no further information.
    let sent = unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            pidfd,
            signal,
            std::ptr::null::<libc::siginfo_t>(),
            0_u32,
        )
    };
    if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_descriptor_tells_of_the_end_and_takes_signals() {
        use std::os::fd::AsRawFd;
        use std::os::unix::process::ExitStatusExt;

        let mut child =
            std::process::Command::new("/bin/sleep").arg("60").spawn().expect("a child");
        let id = i32::try_from(child.id()).expect("a pid");
        let pidfd = pidfd_open(id).expect("a kernel with pidfds");
        let unknown = pidfd_send_signal(pidfd.as_raw_fd(), 1000).expect_err("no such signal");
        assert_eq!(unknown.raw_os_error(), Some(libc::EINVAL));
        pidfd_send_signal(pidfd.as_raw_fd(), libc::SIGRTMIN()).expect("a signal without a name");
        assert_eq!(child.wait().expect("its end").signal(), Some(libc::SIGRTMIN()));
        let gone = pidfd_send_signal(pidfd.as_raw_fd(), 0).expect_err("nobody to signal");
        assert_eq!(gone.raw_os_error(), Some(libc::ESRCH));
        assert_eq!(pidfd_open(id).expect_err("nobody").raw_os_error(), Some(libc::ESRCH));
        assert_eq!(pidfd_open(0).expect_err("no process").raw_os_error(), Some(libc::EINVAL));
    }

    #[test]
    fn it_is_the_kernels_number_and_forgotten_by_a_fork() {
        assert_eq!(id(), rustix::process::getpid().as_raw_nonzero().get());
        assert_eq!(ID.load(Ordering::Relaxed), id());
        forget();
        assert_eq!(ID.load(Ordering::Relaxed), 0);
        assert_eq!(id(), rustix::process::getpid().as_raw_nonzero().get());
    }
}
