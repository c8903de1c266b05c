//! The reading end of a pipe, a FIFO, a terminal: bytes to `data_received`, an end to
//! `eof_received`.
//!
//! | state | reads | leaves by |
//! |---|---|---|
//! | open | one chunk per turn, unless paused | `close`, a failure, the end of file -> closing |
//! | closing | no | `connection_lost`, from a turn of its own -> lost |
//! | lost | no | - |
//!
//! The descriptor is watched as by `add_reader()`: one number may be read here and written by
//! another transport. A device that cannot be watched (`/dev/zero`) is always ready, and read once per
//! turn. Owner thread. Invariant: nothing is borrowed while the protocol runs.

use std::cell::Cell;
use std::ffi::c_int;
use std::io;

use rulip_engine::sys::{pipe, socket};

use super::base::{HasBase, Stage, TransportBase};
use super::public_class::PublicClass;
use crate::ffi::error::FirstError;
use crate::ffi::native::{Native, TypeCell};
use crate::ffi::slot::Visit;
use crate::ffi::{Obj, Raised, Ref, Res, bytes, value};
use crate::loop_state::{Job, LoopState};
use crate::watcher::{self, Side, Watcher};
use crate::{imports, names};

/// The most that one read takes: asyncio's own limit.
const READ_SIZE: usize = 256 * 1024;
/// From this size on, the memory of a chunk is worth not copying.
const LARGE: usize = 16 * 1024;
/// `EIO`: a terminal whose other side is gone.
const EIO: i32 = 5;
/// `EPERM`: what the kernel says of descriptors that are always ready.
const EPERM: i32 = 1;

/// The body of `_rulip.ReadPipeTransport`.
pub(crate) struct ReadPipeTransport {
    pub(super) base: TransportBase,
    pub(super) paused: Cell<bool>,
    pub(super) closing: Cell<bool>,
    /// Registered; or, where that is impossible, queued.
    watched: Cell<bool>,
    lost: Cell<bool>,
    /// It cannot be watched, for it is always ready.
    always_ready: Cell<bool>,
    /// Bytes that the last read brought: large ones are read in place.
    last_read: Cell<usize>,
}

static TYPE: TypeCell = TypeCell::new();

// SAFETY: every reference held is visited.
#[allow(unsafe_code, reason = "a promise about the layout or the collector, no operation")]
unsafe impl Native for ReadPipeTransport {
    const HAS_FINALIZER: bool = true;

    fn type_cell() -> &'static TypeCell {
        &TYPE
    }

    fn traverse(&self, visit: &Visit) -> Result<(), c_int> {
        self.base.visit(visit)
    }

    fn clear(&self) {
        self.base.clear();
    }

    fn weakrefs(&self) -> *mut pyo3::ffi::PyObject {
        self.base.weakrefs()
    }

    fn wants_finalizer(&self) -> bool {
        self.base.is_open()
    }

    fn finalize(this: &Ref<Self>) {
        this.unwatch();
        this.base.finalize(this.as_obj());
    }

    fn unlink(&self, _me: *mut pyo3::ffi::PyObject) {
        drop(self.base.take_dict());
    }
}

impl HasBase for ReadPipeTransport {
    const NAME: &'static str = "ReadPipeTransport";
    const BASE_AT: usize = std::mem::offset_of!(Self, base);

    fn base(&self) -> &TransportBase {
        &self.base
    }

    fn class() -> &'static PublicClass {
        &super::pipe_slots::READER_CLASS
    }
}

/// What a read brought.
enum Received {
    Data(Obj),
    End,
    Nothing,
}

/// `get_extra_info`'s dict of a pipe.
pub(super) fn extra_of(file: &Obj, given: Option<&Obj>) -> Res<Obj> {
    let extra = value::dict()?;
    if let Some(given) = given {
        value::dict_update(&extra, given)?;
    }
    value::dict_set(&extra, &names::get().pipe, file)?;
    Ok(extra)
}

impl ReadPipeTransport {
    /// Makes a transport and queues its first stage.
    pub(super) fn make(
        loop_: &Ref<LoopState>,
        file: &Obj,
        protocol: &Obj,
        waiter: Option<Obj>,
        extra: Option<&Obj>,
    ) -> Res<Ref<Self>> {
        loop_.check_closed()?;
        let fd = value::as_i64(&file.method0(&names::get().fileno)?)?;
        let fd = i32::try_from(fd).unwrap_or(-1);
        let lent = crate::ffi::descriptor::lend(fd)?;
        if pipe::kind(lent).map_err(|error| crate::error::raise_io(&error))? == pipe::Kind::Other {
            return Err(Raised::value_error("Pipe transport is for pipes/sockets only."));
        }
        pipe::set_nonblocking(lent).map_err(|error| crate::error::raise_io(&error))?;
        let extra = extra_of(file, extra)?;
        let this = Ref::new(Self {
            base: TransportBase::new(loop_, file, fd, protocol, waiter, extra)?,
            paused: Cell::new(false),
            closing: Cell::new(false),
            watched: Cell::new(false),
            lost: Cell::new(false),
            always_ready: Cell::new(false),
            last_read: Cell::new(0),
        })?;
        loop_.push(Job::ReadPipe(this.clone(), Stage::Made));
        Ok(this)
    }

    pub(super) fn is_reading(&self) -> bool {
        !self.paused.get() && !self.closing.get()
    }
}

impl Ref<ReadPipeTransport> {
    /// Runs a queued stage. Comes back with an error only for what must leave the loop.
    pub(crate) fn run(&self, stage: Stage) -> Res<()> {
        match stage {
            Stage::Made => self.begin(),
            Stage::Retry => {
                self.watched.set(false);
                self.handle_readable()
            }
            Stage::Ended => {
                let told = self
                    .base
                    .call_protocol(|protocol| protocol.method0(&names::get().eof_received));
                self.base.report_callback(self.as_obj(), "eof_received", told)
            }
            Stage::Lost => self.end(),
        }
    }

    fn begin(&self) -> Res<()> {
        let mut first = FirstError::default();
        first.note(self.base.tell_made(self.as_obj()), self.as_obj());
        if self.is_reading() {
            first.note(self.watch(), self.as_obj());
        }
        first.note(self.base.tell_waiter(), self.as_obj());
        first.finish()
    }

    fn watch(&self) -> Res<()> {
        let Some(loop_) = self.base.loop_.get() else { return Ok(()) };
        if self.always_ready.get() {
            // At most one such job is on its way.
            if !self.watched.replace(true) {
                loop_.push(Job::ReadPipe(self.clone(), Stage::Retry));
            }
            return Ok(());
        }
        let watcher = Watcher::ReadPipe(self.clone());
        match watcher::watch(&loop_, Side::Reader, self.base.number, watcher) {
            Ok(replaced) => {
                drop(replaced);
                self.watched.set(true);
                Ok(())
            }
            Err(error) if error.raw_os_error() == Some(EPERM) => {
                self.always_ready.set(true);
                self.watch()
            }
            Err(error) => self.fatal(&error.source),
        }
    }

    fn unwatch(&self) {
        if self.always_ready.get() {
            return;
        }
        if let (true, Some(loop_)) = (self.watched.take(), self.base.loop_.get()) {
            watcher::step_aside(&loop_, Side::Reader, self.base.number, self.as_obj());
        }
    }

    pub(super) fn pause_reading(&self) -> Res<()> {
        if !self.is_reading() {
            return Ok(());
        }
        self.paused.set(true);
        self.unwatch();
        self.base.log_note(self.as_obj(), c"debug", "pauses reading")
    }

    pub(super) fn resume_reading(&self) -> Res<()> {
        if self.closing.get() || !self.paused.get() {
            return Ok(());
        }
        self.paused.set(false);
        self.watch()?;
        self.base.log_note(self.as_obj(), c"debug", "resumes reading")
    }

    /// There is something to read, or the end of it.
    pub(crate) fn handle_readable(&self) -> Res<()> {
        if !self.is_reading() || !self.base.is_open() {
            return Ok(());
        }
        match self.receive() {
            Ok(Received::Data(data)) => {
                let told = self
                    .base
                    .call_protocol(|protocol| protocol.method1(&names::get().data_received, &data));
                drop(data);
                self.base.report_callback(self.as_obj(), "data_received", told)?;
            }
            Ok(Received::End) => return self.handle_end(),
            Ok(Received::Nothing) => {}
            Err(error) => return self.fatal(&error),
        }
        if self.always_ready.get() && self.is_reading() {
            return self.watch();
        }
        Ok(())
    }

    fn receive(&self) -> io::Result<Received> {
        let gone = |_: Raised| io::Error::from(io::ErrorKind::OutOfMemory);
        let fd = self.base.lent().map_err(gone)?;
        let outcome = if self.last_read.get() >= LARGE {
            let waiting = socket::available(fd).unwrap_or(READ_SIZE).clamp(1, READ_SIZE);
            bytes::filled(waiting, |buffer| pipe::read(fd, buffer)).map_err(gone)?
        } else {
            let Some(loop_) = self.base.loop_.get() else { return Ok(Received::Nothing) };
            let mut scratch = loop_.scratch.take();
            if scratch.is_empty() {
                scratch = vec![0; READ_SIZE];
            }
            let read = pipe::read(fd, &mut scratch);
            let made = match read {
                Ok(n) => loop_.received.make(&scratch[..n]).map(|data| (data, n)).map_err(gone),
                Err(error) => Err(error),
            };
            loop_.scratch.set(scratch);
            made
        };
        match outcome {
            Ok((_, 0)) => Ok(Received::End),
            Ok((data, n)) => {
                self.last_read.set(n);
                Ok(Received::Data(data))
            }
            Err(error) if socket::would_block(&error) => Ok(Received::Nothing),
            Err(error) => Err(error),
        }
    }

    fn handle_end(&self) -> Res<()> {
        self.base.log_note(self.as_obj(), c"info", "was closed by peer")?;
        self.closing.set(true);
        self.unwatch();
        if let Some(loop_) = self.base.loop_.get() {
            loop_.push(Job::ReadPipe(self.clone(), Stage::Ended));
            loop_.push(Job::ReadPipe(self.clone(), Stage::Lost));
        }
        Ok(())
    }

    /// A failed read ends the pipe. A terminal whose other side is gone is no news.
    fn fatal(&self, error: &io::Error) -> Res<()> {
        let exc = crate::error::os_error(error)?;
        self.fatal_exception("Fatal read error on pipe transport", exc)
    }

    pub(super) fn fatal_exception(&self, message: &str, exc: Obj) -> Res<()> {
        if is_eio(&exc)? {
            self.base.log_failure(self.as_obj(), message, &exc)?;
        } else {
            self.base.report_exception(self.as_obj(), message, &exc)?;
        }
        self.close(Some(exc))
    }

    /// `close()`, and every failure.
    pub(super) fn close(&self, error: Option<Obj>) -> Res<()> {
        if self.closing.replace(true) {
            return Ok(());
        }
        self.unwatch();
        self.base.lost_error.set(error);
        let Some(loop_) = self.base.loop_.get() else { return Ok(()) };
        loop_.check_closed()?;
        loop_.push(Job::ReadPipe(self.clone(), Stage::Lost));
        Ok(())
    }

    fn end(&self) -> Res<()> {
        if self.lost.replace(true) {
            return Ok(());
        }
        self.base.tell_lost(self.as_obj())
    }
}

fn is_eio(exc: &Obj) -> Res<bool> {
    if !exc.is_instance(&imports::get().os_error)? {
        return Ok(false);
    }
    let errno = exc.attr(&value::interned(c"errno")?)?;
    errno.equals(&value::int(i64::from(EIO))?)
}
