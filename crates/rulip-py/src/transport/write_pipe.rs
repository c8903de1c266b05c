//! The writing end of a pipe, a FIFO, a terminal.
//!
//! What may be written when is decided by `rulip_engine::transport::PipeWriter`. Bytes go to the
//! kernel within `write()` while nothing waits. The reading side of a pipe's or a socket's
//! descriptor is watched too: that is how the kernel tells that the reader has gone.
//! Owner thread. Invariant: nothing is borrowed while the protocol runs.

use std::cell::{Cell, RefCell};
use std::ffi::c_int;
use std::io::{self, IoSlice};

use rulip_engine::sys::{pipe, socket};
use rulip_engine::transport::{CloseDuty, PipeWriter};

use super::base::{HasBase, Stage, TransportBase};
use super::public_class::PublicClass;
use super::read_pipe::extra_of;
use crate::ffi::bytes::Bytes;
use crate::ffi::error::FirstError;
use crate::ffi::native::{Native, TypeCell};
use crate::ffi::slot::Visit;
use crate::ffi::{Obj, Raised, Ref, Res, value};
use crate::loop_state::{Job, LoopState};
use crate::watcher::{self, Side, Watcher};
use crate::{imports, names};

/// Chunks per write.
const SLICES: usize = 64;
/// After this many writes on a closed pipe, say so.
const IGNORED_BEFORE_WARNING: u32 = 5;

/// The body of `_rulip.WritePipeTransport`.
pub(crate) struct WritePipeTransport {
    pub(super) base: TransportBase,
    pub(super) state: RefCell<PipeWriter<Bytes>>,
    /// Its kind of descriptor tells when the reader goes.
    tells_of_reader: bool,
    watches_reader: Cell<bool>,
    waits_for_room: Cell<bool>,
}

static TYPE: TypeCell = TypeCell::new();

// SAFETY: every reference held is visited; chunks of the queue are exact bytes, which refer to nothing.
#[allow(unsafe_code, reason = "a promise about the layout or the collector, no operation")]
unsafe impl Native for WritePipeTransport {
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

impl HasBase for WritePipeTransport {
    const NAME: &'static str = "WritePipeTransport";
    const BASE_AT: usize = std::mem::offset_of!(Self, base);

    fn base(&self) -> &TransportBase {
        &self.base
    }

    fn class() -> &'static PublicClass {
        &super::pipe_slots::WRITER_CLASS
    }
}

impl WritePipeTransport {
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
        let kind = pipe::kind(lent).map_err(|error| crate::error::raise_io(&error))?;
        if kind == pipe::Kind::Other {
            return Err(Raised::value_error(
                "Pipe transport is only for pipes, sockets and character devices",
            ));
        }
        pipe::set_nonblocking(lent).map_err(|error| crate::error::raise_io(&error))?;
        let extra = extra_of(file, extra)?;
        let this = Ref::new(Self {
            base: TransportBase::new(loop_, file, fd, protocol, waiter, extra)?,
            state: RefCell::new(PipeWriter::new()),
            tells_of_reader: kind != pipe::Kind::CharacterDevice,
            watches_reader: Cell::new(false),
            waits_for_room: Cell::new(false),
        })?;
        loop_.push(Job::WritePipe(this.clone(), Stage::Made));
        Ok(this)
    }

    pub(super) fn is_closing(&self) -> bool {
        self.state.borrow().is_closing()
    }

    pub(super) fn waits_for_room(&self) -> bool {
        self.waits_for_room.get()
    }
}

impl Ref<WritePipeTransport> {
    /// Runs a queued stage. Comes back with an error only for what must leave the loop.
    pub(crate) fn run(&self, stage: Stage) -> Res<()> {
        match stage {
            Stage::Made => self.begin(),
            Stage::Retry | Stage::Ended => Ok(()),
            Stage::Lost => self.end(),
        }
    }

    fn begin(&self) -> Res<()> {
        let mut first = FirstError::default();
        first.note(self.base.tell_made(self.as_obj()), self.as_obj());
        if self.tells_of_reader && !self.is_closing() {
            first.note(self.watch(Side::Reader), self.as_obj());
        }
        first.note(self.base.tell_waiter(), self.as_obj());
        first.finish()
    }

    fn watched(&self, side: Side) -> &Cell<bool> {
        if side == Side::Reader { &self.watches_reader } else { &self.waits_for_room }
    }

    fn watch(&self, side: Side) -> Res<()> {
        let Some(loop_) = self.base.loop_.get() else { return Ok(()) };
        if self.watched(side).get() {
            return Ok(());
        }
        let watcher = Watcher::WritePipe(self.clone());
        match watcher::watch(&loop_, side, self.base.number, watcher) {
            Ok(replaced) => {
                drop(replaced);
                self.watched(side).set(true);
                Ok(())
            }
            Err(error) => {
                let exc = crate::error::os_error(&error.source)?;
                self.fatal_exception("Fatal error on pipe transport", exc)
            }
        }
    }

    fn unwatch_side(&self, side: Side) {
        if let (true, Some(loop_)) = (self.watched(side).take(), self.base.loop_.get()) {
            watcher::step_aside(&loop_, side, self.base.number, self.as_obj());
        }
    }

    fn unwatch(&self) {
        self.unwatch_side(Side::Writer);
        self.unwatch_side(Side::Reader);
    }

    /// `write(data)`.
    pub(super) fn write(&self, data: &Obj) -> Res<()> {
        if !value::is_bytes_like(data) {
            let text = data.repr()?;
            return Err(Raised::new(&crate::task::builtin("AssertionError")?, &text));
        }
        if value::len(data)? == 0 {
            return Ok(());
        }
        if self.is_closing() {
            return self.ignore();
        }
        // What is queued must not change any more; what is written at once need not be copied.
        let at_once = self.state.borrow().may_write_now();
        let mut written = 0;
        if at_once {
            let fd = self.base.lent()?;
            let outcome = value::with_buffer(data, |data| (pipe::write(fd, data), data.len()))?;
            match outcome {
                (Ok(n), len) if n == len => return Ok(()),
                (Ok(n), _) => written = n,
                (Err(error), _) if socket::would_block(&error) => {}
                (Err(error), _) => return self.write_failed(&error),
            }
        }
        match Bytes::new(data.clone()) {
            Ok(chunk) if at_once => self.state.borrow_mut().queue_rest(chunk, written),
            Ok(chunk) => self.state.borrow_mut().queue(chunk),
            Err(data) => {
                let rest = value::with_buffer(&data, |data| Bytes::copy_of(&data[written..]))??;
                self.state.borrow_mut().queue(rest);
            }
        }
        self.watch(Side::Writer)?;
        self.tell_flow()
    }

    fn ignore(&self) -> Res<()> {
        let before = self.state.borrow_mut().handle_ignored();
        if before >= IGNORED_BEFORE_WARNING {
            let warning = imports::get().logger.attr(&names::get().warning)?;
            warning.call1(&value::str(
                "pipe closed by peer or os.write(pipe, data) raised exception.",
            )?)?;
        }
        Ok(())
    }

    pub(super) fn tell_flow(&self) -> Res<()> {
        let event = self.state.borrow_mut().poll_flow();
        event.map_or(Ok(()), |event| self.base.tell_flow(self.as_obj(), event))
    }

    /// The kernel has room.
    pub(crate) fn handle_writable(&self) -> Res<()> {
        let mut spent = Vec::new();
        let outcome = self.write_queued(&mut spent);
        drop(spent);
        if let Err(error) = outcome {
            return self.write_failed(&error);
        }
        let empty = self.state.borrow().may_write_now();
        if empty {
            self.unwatch_side(Side::Writer);
        }
        self.tell_flow()?;
        let drained = self.state.borrow_mut().poll_drained();
        if drained { self.end() } else { Ok(()) }
    }

    fn write_queued(&self, spent: &mut Vec<Bytes>) -> io::Result<()> {
        let Ok(fd) = self.base.lent() else { return Ok(()) };
        let mut state = self.state.borrow_mut();
        let queue = state.unsent();
        let outcome = if queue.chunks() == 1 {
            pipe::write(fd, queue.first())
        } else {
            let mut slices = [IoSlice::new(&[]); SLICES];
            let count = queue.slices(&mut slices);
            pipe::write_vectored(fd, &slices[..count])
        };
        match outcome {
            Ok(n) => {
                state.handle_sent(n, spent);
                Ok(())
            }
            Err(error) if socket::would_block(&error) => Ok(()),
            Err(error) => Err(error),
        }
    }

    fn write_failed(&self, error: &io::Error) -> Res<()> {
        let exc = crate::error::os_error(error)?;
        self.fatal_exception("Fatal write error on pipe transport", exc)
    }

    /// The reading side of our end is ready: the reader has gone.
    pub(crate) fn handle_reader_gone(&self) -> Res<()> {
        self.base.log_note(self.as_obj(), c"info", "was closed by peer")?;
        let error = if self.state.borrow().may_write_now() {
            None
        } else {
            Some(crate::task::builtin("BrokenPipeError")?.call0()?)
        };
        self.force_close(error)
    }

    /// `write_eof()` and `close()`: what is queued is written first.
    pub(super) fn write_eof(&self) -> Res<()> {
        let duty = self.state.borrow_mut().write_eof();
        match duty {
            CloseDuty::LoseSoon => self.lose_soon(None),
            CloseDuty::AfterFlush | CloseDuty::Ignored => Ok(()),
        }
    }

    /// `abort()` and every failure: nothing more is written.
    pub(super) fn force_close(&self, error: Option<Obj>) -> Res<()> {
        let mut spent = Vec::new();
        let duty = self.state.borrow_mut().abort(&mut spent);
        drop(spent);
        match duty {
            CloseDuty::LoseSoon => self.lose_soon(error),
            CloseDuty::AfterFlush | CloseDuty::Ignored => Ok(()),
        }
    }

    pub(super) fn fatal_exception(&self, message: &str, exc: Obj) -> Res<()> {
        if exc.is_instance(&imports::get().os_error)? {
            self.base.log_failure(self.as_obj(), message, &exc)?;
        } else {
            self.base.report_exception(self.as_obj(), message, &exc)?;
        }
        self.force_close(Some(exc))
    }

    fn lose_soon(&self, error: Option<Obj>) -> Res<()> {
        self.base.lost_error.set(error);
        self.unwatch();
        let Some(loop_) = self.base.loop_.get() else { return Ok(()) };
        loop_.check_closed()?;
        loop_.push(Job::WritePipe(self.clone(), Stage::Lost));
        Ok(())
    }

    fn end(&self) -> Res<()> {
        if self.state.borrow().is_lost() {
            return Ok(());
        }
        self.state.borrow_mut().handle_lost();
        self.unwatch();
        self.base.tell_lost(self.as_obj())
    }
}
