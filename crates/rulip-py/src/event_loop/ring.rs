//! `_ring()`: a turn for a loop of another process.
//!
//! Lives here: the call. Not here: which descriptors are wakers of rulip's loops
//! (`rulip/remote_tasks.py`), the signal itself (`sys::waker`). Any thread.
//! Invariant: what is no waker is never written to.

use rulip_engine::sys::waker;

use crate::ffi::arguments::Args;
use crate::ffi::{Obj, Raised, Res, value};

/// `_ring(pid, fd)`.
pub(crate) fn ring(args: &Args<'_>) -> Res<Obj> {
    let [pid, fd] = args.bind("_ring", [c"pid", c"fd"], 2)?;
    let (Some(pid), Some(fd)) = (pid, fd) else { return Ok(Obj::none()) };
    let too_large = |_| Raised::value_error("no number of a process or a descriptor");
    let pid = i32::try_from(value::as_i64(pid)?).map_err(too_large)?;
    let fd = i32::try_from(value::as_i64(fd)?).map_err(too_large)?;
    waker::ring(pid, fd).map_err(crate::error::raise)?;
    Ok(Obj::none())
}
