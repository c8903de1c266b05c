//! `_pidfd_open()` and `_pidfd_send_signal()`: Python's, on every Python.
//!
//! Those of the `os` and `signal` modules are missing where CPython was built with the headers of an old
//! kernel, whatever kernel it runs on: many portable builds are. Lives here: the calls. Not here: the
//! system calls (`sys::process`), what a child's transport does with them (`event_loop/child.py`). Any
//! thread. Invariant: an errno reaches Python unchanged.

use std::os::fd::IntoRawFd;

use rulip_engine::sys::process;

use crate::error::raise_io;
use crate::ffi::arguments::Args;
use crate::ffi::{Obj, Raised, Res, value};

fn number(obj: Option<&Obj>) -> Res<i32> {
    let number = obj.map_or(Ok(-1), value::as_i64)?;
    i32::try_from(number)
        .map_err(|_| Raised::value_error("no number of a process, a descriptor or a signal"))
}

/// `_pidfd_open(pid)`.
pub(crate) fn open(args: &Args<'_>) -> Res<Obj> {
    let [pid] = args.bind("_pidfd_open", [c"pid"], 1)?;
    match process::pidfd_open(number(pid)?) {
        Ok(pidfd) => value::int(i64::from(pidfd.into_raw_fd())),
        Err(error) => Err(raise_io(&error)),
    }
}

/// `_pidfd_send_signal(pidfd, signal)`.
pub(crate) fn send_signal(args: &Args<'_>) -> Res<Obj> {
    let [pidfd, signal] = args.bind("_pidfd_send_signal", [c"pidfd", c"signal"], 2)?;
    let (pidfd, signal) = (number(pidfd)?, number(signal)?);
    process::pidfd_send_signal(pidfd, signal).map_err(|error| raise_io(&error))?;
    Ok(Obj::none())
}
