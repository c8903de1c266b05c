//! `add_reader`, `remove_reader`, `add_writer`, `remove_writer`: callbacks on readiness.
//!
//! Level-triggered, as asyncio's: a callback that does not read is called again. The registration is
//! written anew each time a callback is replaced, so that a number that was closed and reused gives
//! its new owner the events.

use std::os::fd::RawFd;

use rulip_engine::{Interest, Readiness, Token};

use crate::ffi::arguments::{Args, Leading};
use crate::ffi::inline_args::InlineArgs;
use crate::ffi::{Obj, Raised, Ref, Res, value};
use crate::handle::Handle;
use crate::loop_state::{LoopState, Target};

type This = Ref<LoopState>;

/// Which of the two callbacks.
#[derive(Copy, Clone, PartialEq, Eq)]
pub(crate) enum Side {
    Reader,
    Writer,
}

impl Side {
    fn interest(self) -> Interest {
        match self {
            Self::Reader => Interest::READABLE,
            Self::Writer => Interest::WRITABLE,
        }
    }
}

/// The number of a descriptor or of an object with `fileno()`; asyncio's errors for what is none.
fn number(file: &Obj) -> Res<RawFd> {
    if value::is_int(file) {
        let fd = value::as_i64(file)?;
        return match RawFd::try_from(fd) {
            Ok(fd) if fd >= 0 => Ok(fd),
            _ => Err(Raised::value_error(&format!("Invalid file descriptor: {fd}"))),
        };
    }
    let fileno = file.attr_opt(&crate::names::get().fileno)?;
    let asked = match fileno {
        Some(fileno) => fileno.call0().and_then(|fd| value::as_i64(&fd)),
        None => Err(Raised::value_error("no fileno")),
    };
    match asked {
        Ok(fd) => match RawFd::try_from(fd) {
            Ok(fd) if fd >= 0 => Ok(fd),
            _ => Err(Raised::value_error(&format!("Invalid file descriptor: {fd}"))),
        },
        Err(raised) => {
            raised.clear();
            Err(Raised::value_error(&format!("Invalid file object: {}", file.repr()?)))
        }
    }
}

/// `_ensure_fd_no_transport(fd)`.
pub(crate) fn ensure_no_transport(this: &This, file: &Obj) -> Res<Obj> {
    let fd = number(file)?;
    let found = this.engine.find_fd(fd).and_then(|token| {
        this.engine.with_target(token, |target| match target {
            Target::Stream(transport) => Some(transport.clone()),
            _ => None,
        })
    });
    match found.flatten() {
        Some(transport) if !transport.is_closing() => Err(Raised::runtime_error(&format!(
            "File descriptor {} is used by transport {}",
            file.repr()?,
            transport.as_obj().repr()?
        ))),
        _ => Ok(Obj::none()),
    }
}

/// `_add_reader(fd, callback, *args)` and its sibling.
pub(crate) fn add(this: &This, side: Side, args: &Args<'_>) -> Res<Obj> {
    let function = if side == Side::Reader { "add_reader" } else { "add_writer" };
    let Leading { leading: [file, callback], rest, context } =
        args.bind_leading(function, [c"fd", c"callback"])?;
    this.check_closed()?;
    let fd = number(file)?;
    let handle = Handle::new(this, callback.clone(), InlineArgs::new(rest)?, context)?;
    handle.set_lasting();
    handle.track();
    handle.set_turn(if this.in_turn() { this.turn.get() } else { this.turn.get().wrapping_sub(1) });
    let token = this.engine.find_fd(fd);
    let replaced = match token {
        Some(token) => replace(this, token, side, &handle)?,
        None => {
            register(this, fd, side, &handle)?;
            None
        }
    };
    if let Some(old) = replaced {
        Handle::cancel(&old)?;
    }
    Ok(handle.into_obj())
}

fn register(this: &This, fd: RawFd, side: Side, handle: &Ref<Handle>) -> Res<()> {
    let (reader, writer) = match side {
        Side::Reader => (Some(handle.clone()), None),
        Side::Writer => (None, Some(handle.clone())),
    };
    match this.engine.register_level(fd, side.interest(), Target::Watch { reader, writer }) {
        Ok(_token) => Ok(()),
        Err((error, target)) => {
            drop(target);
            Err(crate::error::raise(error))
        }
    }
}

fn replace(
    this: &This,
    token: Token,
    side: Side,
    handle: &Ref<Handle>,
) -> Res<Option<Ref<Handle>>> {
    let interest = this.engine.interest(token).unwrap_or_default() | side.interest();
    let swapped = this.engine.with_target_mut(token, |target| match target {
        Target::Watch { reader, writer } => {
            let place = if side == Side::Reader { reader } else { writer };
            Some(place.replace(handle.clone()))
        }
        _ => None,
    });
    match swapped.flatten() {
        Some(old) => {
            if let Err(error) = this.engine.set_interest(token, interest) {
                drop(this.engine.forget(token));
                return Err(crate::error::raise(error));
            }
            Ok(old)
        }
        // A transport or a listener has the number: it was closed behind their back, or shared.
        None => {
            let fd = this.engine.fd(token).unwrap_or(-1);
            register(this, fd, side, handle)?;
            Ok(None)
        }
    }
}

/// `_remove_reader(fd)` and its sibling: whether there was one.
pub(crate) fn remove(this: &This, side: Side, file: &Obj) -> Res<Obj> {
    if this.closed.get() {
        return Ok(Obj::bool(false));
    }
    let fd = number(file)?;
    let Some(token) = this.engine.find_fd(fd) else { return Ok(Obj::bool(false)) };
    remove_token(this, token, side).map(Obj::bool)
}

fn remove_token(this: &This, token: Token, side: Side) -> Res<bool> {
    let taken = this.engine.with_target_mut(token, |target| match target {
        Target::Watch { reader, writer } => {
            let place = if side == Side::Reader { &mut *reader } else { &mut *writer };
            let taken = place.take();
            Some((taken, reader.is_none() && writer.is_none()))
        }
        _ => None,
    });
    let Some((taken, empty)) = taken.flatten() else { return Ok(false) };
    if empty {
        drop(this.engine.deregister(token));
    } else if taken.is_some() {
        let interest = this.engine.interest(token).unwrap_or_default() - side.interest();
        if let Err(error) = this.engine.set_interest(token, interest) {
            // The number was closed: nothing watches it any more.
            drop(error);
        }
    }
    match taken {
        Some(handle) => {
            Handle::cancel(&handle)?;
            Ok(true)
        }
        None => Ok(false),
    }
}

/// Readiness of a watched descriptor: run what is still registered, reader first.
pub(crate) fn dispatch(this: &This, token: Token, readiness: Readiness) -> Res<()> {
    for (side, wanted) in
        [(Side::Reader, readiness.wakes_reader()), (Side::Writer, readiness.wakes_writer())]
    {
        if !wanted {
            continue;
        }
        let handle = this.engine.with_target(token, |target| match target {
            Target::Watch { reader, writer } => {
                if side == Side::Reader {
                    reader.clone()
                } else {
                    writer.clone()
                }
            }
            _ => None,
        });
        let Some(handle) = handle.flatten() else { continue };
        if handle.turn() == this.turn.get() {
            // Registered after the kernel was asked: the next turn asks again.
            continue;
        }
        if handle.is_cancelled() {
            remove_token(this, token, side)?;
        } else {
            Handle::run(&handle)?;
        }
    }
    Ok(())
}
