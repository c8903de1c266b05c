//! Engine and kernel errors as Python exceptions: the one mapping, with asyncio's exact types.
//!
//! `OSError(errno, strerror)` picks the subclass itself (`ConnectionResetError`, ...).

use std::io;

use crate::ffi::{Obj, Raised, Res, value};
use crate::imports;

/// The exception for a failed system call.
pub(crate) fn os_error(error: &io::Error) -> Res<Obj> {
    let class = &imports::get().os_error;
    match error.raw_os_error() {
        Some(errno) => {
            let text = error.to_string();
            // Rust appends " (os error N)" to strerror's text; Python does not.
            let text = text.split(" (os error").next().unwrap_or(&text);
            class.call(&[&value::int(i64::from(errno))?, &value::str(text)?])
        }
        None => class.call1(&value::str(&error.to_string())?),
    }
}

/// Raises it.
#[cold]
pub(crate) fn raise_io(error: &io::Error) -> Raised {
    match os_error(error) {
        Ok(exc) => Raised::from_exception(&exc),
        Err(raised) => raised,
    }
}

/// Raises an engine error.
#[cold]
pub(crate) fn raise(error: rulip_engine::Error) -> Raised {
    raise_io(&error.source)
}
