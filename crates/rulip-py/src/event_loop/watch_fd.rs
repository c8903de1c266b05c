//! `add_reader`, `remove_reader`, `add_writer`, `remove_writer`: callbacks on readiness.
//!
//! Level-triggered, as asyncio's: a callback that does not read is called again. Who stands on which
//! side of a descriptor is kept by `watcher.rs`; here the callbacks' side of it, and the dispatch.

use std::os::fd::RawFd;

use rulip_engine::{Readiness, Token};

use crate::ffi::arguments::{Args, Leading};
use crate::ffi::inline_args::InlineArgs;
use crate::ffi::{Obj, Raised, Ref, Res, value};
use crate::handle::Handle;
use crate::loop_state::LoopState;
use crate::watcher::{self, Side, Target, Watcher};

type This = Ref<LoopState>;

/// What a descriptor or an object with `fileno()` says its number is; asyncio's error for what is none.
fn ask(file: &Obj) -> Res<i64> {
    if value::is_int(file) {
        return value::as_i64(file);
    }
    let fileno = file.attr_opt(&crate::names::get().fileno)?;
    let asked = match fileno {
        Some(fileno) => fileno.call0().and_then(|fd| value::as_i64(&fd)),
        None => Err(Raised::value_error("no fileno")),
    };
    match asked {
        Ok(fd) => Ok(fd),
        Err(raised) => {
            raised.clear();
            Err(Raised::value_error(&format!("Invalid file object: {}", file.repr()?)))
        }
    }
}

/// A closed file's number is -1.
fn valid(fd: i64) -> Option<RawFd> {
    RawFd::try_from(fd).ok().filter(|fd| *fd >= 0)
}

#[cold]
fn invalid(fd: i64) -> Raised {
    Raised::value_error(&format!("Invalid file descriptor: {fd}"))
}

fn number(file: &Obj) -> Res<RawFd> {
    let fd = ask(file)?;
    valid(fd).ok_or_else(|| invalid(fd))
}

/// The registration of a file, which may have been closed since it was made.
fn find(this: &This, file: &Obj) -> Res<Option<Token>> {
    let fd = ask(file)?;
    if let Some(fd) = valid(fd) {
        return Ok(this.engine.find_fd(fd));
    }
    let found = this.engine.find_target(|target| match target {
        Target::Watch { reader, writer } => reader
            .iter()
            .chain(writer)
            .any(|watcher| matches!(watcher, Watcher::Handle(handle) if handle.watches(file))),
        _ => false,
    });
    found.map(Some).ok_or_else(|| invalid(fd))
}

/// `_ensure_fd_no_transport(fd)`.
pub(crate) fn ensure_no_transport(this: &This, file: &Obj) -> Res<Obj> {
    let Some(fd) = valid(ask(file)?) else { return Ok(Obj::none()) };
    let found = this.engine.find_fd(fd).and_then(|token| {
        this.engine.with_target(token, |target| match target {
            Target::Stream(transport) if !transport.is_closing() => Some(transport.to_obj()),
            Target::Datagram(transport) if !transport.is_closing() => Some(transport.to_obj()),
            _ => None,
        })
    });
    match found.flatten() {
        Some(transport) => Err(Raised::runtime_error(&format!(
            "File descriptor {} is used by transport {}",
            file.repr()?,
            transport.repr()?
        ))),
        None => Ok(Obj::none()),
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
    if !value::is_int(file) {
        handle.set_file(file);
    }
    handle.track();
    handle.set_turn(if this.in_turn() { this.turn.get() } else { this.turn.get().wrapping_sub(1) });
    let replaced = watcher::watch(this, side, fd, Watcher::Handle(handle.clone()))
        .map_err(crate::error::raise)?;
    if let Some(Watcher::Handle(old)) = &replaced {
        Handle::cancel(old)?;
    }
    Ok(handle.into_obj())
}

/// `_remove_reader(fd)` and its sibling: whether there was one.
pub(crate) fn remove(this: &This, side: Side, file: &Obj) -> Res<Obj> {
    if this.closed.get() {
        return Ok(Obj::bool(false));
    }
    let Some(token) = find(this, file)? else { return Ok(Obj::bool(false)) };
    remove_token(this, token, side).map(Obj::bool)
}

fn remove_token(this: &This, token: Token, side: Side) -> Res<bool> {
    match watcher::unwatch(this, token, side) {
        Some(Watcher::Handle(handle)) => Handle::cancel(&handle).map(|()| true),
        Some(_transport) => Ok(true),
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
        let handle = match watcher::watcher(this, token, side) {
            Some(Watcher::Handle(handle)) => handle,
            Some(Watcher::ReadPipe(transport)) => {
                transport.handle_readable()?;
                continue;
            }
            Some(Watcher::WritePipe(transport)) => {
                if side == Side::Reader {
                    transport.handle_reader_gone()?;
                } else {
                    transport.handle_writable()?;
                }
                continue;
            }
            Some(Watcher::File(sending)) => {
                sending.handle_writable()?;
                continue;
            }
            None => continue,
        };
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
