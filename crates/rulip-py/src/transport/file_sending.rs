//! A file that the kernel sends to a socket: `sendfile()` and `sock_sendfile()` while they last.
//!
//! Which bytes are next is decided by `rulip_engine::transport::FileSender`. The first share goes out at
//! once; what the socket refuses, and what is more than a turn's share, goes out as the loop tells
//! that there is room, with no step of the task in between. The disk may be slow: the GIL is released.
//! What is refused, and how that is told, is Python's half (`event_loop/sendfile.py`). Owner thread.
//!
//! Invariant: once it is over or was stopped nothing is registered, and nothing more is sent.

use std::cell::{Cell, RefCell};
use std::ffi::c_int;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use rulip_engine::sys::file;
use rulip_engine::transport::FileSender;

use super::stream::StreamTransport;
use crate::ffi::arguments::Args;
use crate::ffi::native::{Native, TypeCell};
use crate::ffi::slot::Visit;
use crate::ffi::spec::TypeSpec;
use crate::ffi::trampoline::{getter, noargs, onearg};
use crate::ffi::{Obj, Raised, Ref, RefSlot, Res, Slot, descriptor, gc, value};
use crate::loop_state::LoopState;
use crate::watcher::{self, Side, Watcher};
use crate::{imports, names};

/// The body of `_rulip.FileSending`.
pub(crate) struct FileSending {
    loop_: RefSlot<LoopState>,
    /// A Python socket, which may be closed meanwhile, or a stream transport.
    out: Slot,
    source: RawFd,
    sender: RefCell<FileSender>,
    /// What ended it before its end.
    error: Slot,
    /// Who is told that it is over.
    waiter: Slot,
    /// The number that is watched.
    watched: Cell<Option<RawFd>>,
    /// A transport's socket by a number of our own: the transport's is registered by the transport.
    duplicate: Cell<Option<OwnedFd>>,
}

static TYPE: TypeCell = TypeCell::new();

// SAFETY: every reference held is visited.
#[allow(unsafe_code, reason = "a promise about the layout or the collector, no operation")]
unsafe impl Native for FileSending {
    fn type_cell() -> &'static TypeCell {
        &TYPE
    }

    fn traverse(&self, visit: &Visit) -> Result<(), c_int> {
        self.loop_.visit(visit)?;
        [&self.out, &self.error, &self.waiter].into_iter().try_for_each(|slot| slot.visit(visit))
    }

    fn clear(&self) {
        drop(self.out.take());
        drop(self.error.take());
        drop(self.waiter.take());
        drop(self.loop_.take());
    }
}

type This = Ref<FileSending>;

pub(crate) fn build() -> Res<Obj> {
    TypeSpec::new::<FileSending>(c"rulip._rulip.FileSending", c"A file on its way to a socket.")
        .not_callable()
        .methods([
            onearg(
                c"go_on",
                c"Send the rest as there is room; the future is told when it is over.",
                |this: &This, future: &Obj| this.go_on(future).map(|()| Obj::none()),
            ),
            noargs(c"stop", c"Send nothing more.", |this: &This| {
                this.stop();
                Ok(Obj::none())
            }),
        ])
        .attributes([
            getter(c"sent", c"How many bytes were sent.", |this: &This| {
                value::uint(this.sender.borrow().sent())
            }),
            getter(c"over", c"Whether nothing more will be sent.", |this: &This| {
                Ok(Obj::bool(this.sender.borrow().is_over()))
            }),
            getter(c"error", c"What ended it, if anything failed.", |this: &This| {
                Ok(this.error.get_or_none())
            }),
        ])
        .build(FileSending::type_cell())
}

/// `loop._send_file(out, source, offset, count, size)`: sends the first share.
pub(crate) fn send_file(loop_: &Ref<LoopState>, args: &Args<'_>) -> Res<Obj> {
    let [out, source, offset, count, size] = args.positional() else {
        return Err(Raised::type_error("_send_file() takes out, source, offset, count and size"));
    };
    let unsigned = |number: &Obj| value::as_i64(number).map(|n| u64::try_from(n).unwrap_or(0));
    let count = if count.is_none() { None } else { Some(unsigned(count)?) };
    let this = Ref::new(FileSending {
        loop_: RefSlot::new(Some(loop_.clone())),
        out: Slot::new(Some(out.clone())),
        source: value::as_descriptor(source)?,
        sender: RefCell::new(FileSender::new(unsigned(offset)?, count, unsigned(size)?)),
        error: Slot::empty(),
        waiter: Slot::empty(),
        watched: Cell::new(None),
        duplicate: Cell::new(None),
    })?;
    this.send_share()?;
    Ok(this.into_obj())
}

impl This {
    /// The socket's number as of now: -1 once it was closed.
    fn out(&self) -> Res<RawFd> {
        match self.out.get() {
            Some(out) => match Ref::<StreamTransport>::downcast(&out) {
                Some(transport) => Ok(transport.fd.get()),
                None => {
                    let fd = value::as_i64(&out.method0(&names::get().fileno)?)?;
                    Ok(RawFd::try_from(fd).unwrap_or(-1))
                }
            },
            None => Ok(-1),
        }
    }

    /// Sends what this turn may and the socket takes.
    fn send_share(&self) -> Res<()> {
        let source = self.source;
        self.sender.borrow_mut().handle_turn();
        loop {
            let piece = self.sender.borrow().poll_piece();
            let Some(piece) = piece else { return Ok(()) };
            let out = self.out()?;
            let outcome = if out < 0 {
                Err(file::closed())
            } else {
                let (out, source) = (descriptor::lend(out)?, descriptor::lend(source)?);
                gc::detached(move || file::send(out, source, piece.offset, piece.len))
            };
            match outcome {
                Ok(n) => self.sender.borrow_mut().handle_sent(piece, n),
                Err(error) if file::put_off(&error) => return Ok(()),
                Err(error) => {
                    self.sender.borrow_mut().handle_failed();
                    self.error.set(Some(crate::error::os_error(&error)?));
                    return Ok(());
                }
            }
        }
    }

    /// `go_on(future)`.
    fn go_on(&self, future: &Obj) -> Res<()> {
        let (Some(loop_), Some(out)) = (self.loop_.get(), self.out.get()) else { return Ok(()) };
        let fd = if let Some(transport) = Ref::<StreamTransport>::downcast(&out) {
            // Told by the transport, too, if the connection ends.
            transport.file_waiter.set(Some(future.clone()));
            let duplicate = file::duplicate(descriptor::lend(transport.fd.get())?)
                .map_err(|error| crate::error::raise_io(&error))?;
            let fd = duplicate.as_raw_fd();
            self.duplicate.set(Some(duplicate));
            fd
        } else {
            self.out()?
        };
        self.waiter.set(Some(future.clone()));
        let replaced = watcher::watch(&loop_, Side::Writer, fd, Watcher::File(self.clone()))
            .map_err(crate::error::raise)?;
        self.watched.set(Some(fd));
        if let Some(Watcher::Handle(old)) = &replaced {
            crate::handle::Handle::cancel(old)?;
        }
        Ok(())
    }

    /// The socket has room.
    pub(crate) fn handle_writable(&self) -> Res<()> {
        if let Err(raised) = self.send_share() {
            // `fileno()` of whatever was given for a socket.
            self.sender.borrow_mut().handle_failed();
            if raised.leaves_the_loop() {
                return Err(raised);
            }
            self.error.set(Some(raised.take()));
        }
        if !self.sender.borrow().is_over() {
            return Ok(());
        }
        self.unwatch();
        match self.waiter.take() {
            Some(waiter) if !waiter.method0(&names::get().done)?.is_true()? => {
                imports::get().set_result_unless_cancelled.call(&[&waiter, &Obj::none()]).map(drop)
            }
            _ => Ok(()),
        }
    }

    fn unwatch(&self) {
        if let (Some(fd), Some(loop_)) = (self.watched.take(), self.loop_.get()) {
            watcher::step_aside(&loop_, Side::Writer, fd, self.as_obj());
        }
        drop(self.duplicate.take());
    }

    /// `stop()`.
    fn stop(&self) {
        self.sender.borrow_mut().handle_failed();
        self.unwatch();
        if let Some(out) = self.out.get()
            && let Some(transport) = Ref::<StreamTransport>::downcast(&out)
        {
            drop(transport.file_waiter.take());
        }
        drop(self.waiter.take());
    }
}
