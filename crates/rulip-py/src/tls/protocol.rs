//! The TLS protocol: what a transport talks to in place of the program's protocol.
//!
//! | state | received records | leaves by |
//! |---|---|---|
//! | `Unwrapped` | are dropped | `connection_made` -> `Handshake` |
//! | `Handshake` | go on with the handshake | its success -> `Wrapped`; failure, `close` -> `Unwrapped` |
//! | `Wrapped` | are decrypted and delivered | `close`, `close_notify`, end of file -> `Flushing` |
//! | `Flushing` | what is left is delivered, what is queued is written | at once, unless reading is paused -> `Shutdown` |
//! | `Shutdown` | are searched for the peer's `close_notify` | the loss of the connection -> `Unwrapped` |
//!
//! A failure leads to `Unwrapped` from everywhere but `Handshake`, whose failure the program's protocol
//! does not hear of: it waits for `connection_made` still.
//!
//! | the program's protocol | has been told |
//! |---|---|
//! | `Waiting` | nothing |
//! | `Made` | `connection_made` |
//! | `Ended` | `eof_received` |
//! | `Lost` | `connection_lost`, from a turn of its own |
//!
//! Owner thread. Invariant: after each call into Python the state is asked again.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::ffi::c_int;

use pyo3::ffi as c;

use super::session::{Choice, Session};
use super::transport::TlsTransport;
use crate::ffi::native::{Native, TypeCell};
use crate::ffi::slot::Visit;
use crate::ffi::{Obj, Raised, Ref, RefSlot, Res, Slot, call, value};
use crate::loop_state::LoopState;
use crate::transport::receiver::Takes;
use crate::{imports, names};

/// Where the connection is.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(super) enum State {
    Unwrapped,
    Handshake,
    Wrapped,
    Flushing,
    Shutdown,
}

/// What the program's protocol has been told.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(super) enum Told {
    Waiting,
    Made,
    Ended,
    Lost,
}

/// Water marks, high and low.
#[derive(Copy, Clone, Debug)]
pub(super) struct Marks {
    pub(super) high: usize,
    pub(super) low: usize,
}

impl Marks {
    const fn default_of(high: usize) -> Self {
        Self { high, low: high / 4 }
    }
}

/// asyncio's own: `FLOW_CONTROL_HIGH_WATER_SSL_WRITE` and `_READ`.
pub(super) const WRITE_HIGH: usize = 512 * 1024;
pub(super) const READ_HIGH: usize = 256 * 1024;

/// The body of `_rulip.TLSProtocol`.
pub(crate) struct TlsProtocol {
    pub(super) loop_: RefSlot<LoopState>,
    pub(super) session: Session,
    pub(super) context: Slot,
    pub(super) state: Cell<State>,
    pub(super) told: Cell<Told>,
    pub(super) app_protocol: Slot,
    /// How the program's protocol takes bytes.
    pub(super) takes: Cell<Takes>,
    pub(super) app_transport: RefSlot<TlsTransport>,
    /// The transport that carries the records.
    pub(super) lower: Slot,
    /// Told how the handshake ended.
    pub(super) waiter: Slot,
    /// What `get_extra_info` knows that the lower transport does not.
    pub(super) extra: Slot,
    /// TCP's end of file.
    pub(super) eof_received: Cell<bool>,
    /// The peer has said that its stream ends here.
    pub(super) close_notify: Cell<bool>,
    /// By the program.
    pub(super) reading_paused: Cell<bool>,
    /// By us: the program does not read, and enough is waiting.
    pub(super) lower_reading_paused: Cell<bool>,
    /// By the lower transport: it has enough to send.
    pub(super) lower_writing_paused: Cell<bool>,
    /// The program was told to pause.
    pub(super) writing_paused: Cell<bool>,
    pub(super) read_marks: Cell<Marks>,
    pub(super) write_marks: Cell<Marks>,
    /// What could not be encrypted yet: exact bytes.
    pub(super) backlog: RefCell<VecDeque<Obj>>,
    pub(super) backlog_bytes: Cell<usize>,
    /// Writes that came too late.
    pub(super) ignored_writes: Cell<u32>,
    pub(super) handshake_timeout: Slot,
    pub(super) shutdown_timeout: Slot,
    pub(super) handshake_timer: Slot,
    pub(super) shutdown_timer: Slot,
    /// Seconds; for the debug log.
    pub(super) handshake_began: Cell<Option<f64>>,
    /// The program's transport has let go of us.
    let_go: Cell<bool>,
    /// For transports that are not ours: what they read into.
    pub(super) buffer: Slot,
    pub(super) dict: Cell<*mut c::PyObject>,
    pub(super) weakrefs: Cell<*mut c::PyObject>,
}

static TYPE: TypeCell = TypeCell::new();

// SAFETY: every reference held is visited, but for the backlog's: exact bytes, which refer to nothing.
#[allow(unsafe_code, reason = "a promise about the layout or the collector, no operation")]
unsafe impl Native for TlsProtocol {
    fn type_cell() -> &'static TypeCell {
        &TYPE
    }

    fn traverse(&self, visit: &Visit) -> Result<(), c_int> {
        self.loop_.visit(visit)?;
        self.session.visit(visit)?;
        self.app_transport.visit(visit)?;
        for slot in self.slots() {
            slot.visit(visit)?;
        }
        visit.raw(self.dict.get())
    }

    fn clear(&self) {
        for slot in self.slots() {
            drop(slot.take());
        }
        drop(self.app_transport.take());
        drop(crate::ffi::object::take_raw(&self.dict));
        drop(self.loop_.take());
    }

    fn weakrefs(&self) -> *mut c::PyObject {
        self.weakrefs.get()
    }

    fn unlink(&self, _me: *mut c::PyObject) {
        drop(crate::ffi::object::take_raw(&self.dict));
    }
}

/// What a new protocol is made of.
pub(crate) struct Parts {
    pub(crate) app_protocol: Obj,
    pub(crate) context: Obj,
    pub(crate) sslobj: Obj,
    pub(crate) incoming: Obj,
    pub(crate) outgoing: Obj,
    pub(crate) waiter: Option<Obj>,
    pub(crate) call_connection_made: bool,
    pub(crate) handshake_timeout: Obj,
    pub(crate) shutdown_timeout: Obj,
    pub(crate) choice: Choice,
}

impl TlsProtocol {
    pub(crate) const WEAKREFS_AT: usize = std::mem::offset_of!(Self, weakrefs);
    pub(crate) const DICT_AT: usize = std::mem::offset_of!(Self, dict);

    /// Makes the protocol, and the transport that the program will see.
    pub(crate) fn make(loop_: &Ref<LoopState>, parts: Parts) -> Res<Ref<Self>> {
        let extra = value::dict()?;
        value::dict_set(&extra, &names::get().sslcontext, &parts.context)?;
        let takes = Takes::of(&parts.app_protocol)?;
        let session = Session::new(parts.sslobj, parts.incoming, parts.outgoing, parts.choice)?;
        let this = Ref::new(Self {
            loop_: RefSlot::new(Some(loop_.clone())),
            session,
            context: Slot::new(Some(parts.context)),
            state: Cell::new(State::Unwrapped),
            told: Cell::new(if parts.call_connection_made { Told::Waiting } else { Told::Made }),
            app_protocol: Slot::new(Some(parts.app_protocol)),
            takes: Cell::new(takes),
            app_transport: RefSlot::empty(),
            lower: Slot::empty(),
            waiter: Slot::new(parts.waiter),
            extra: Slot::new(Some(extra)),
            eof_received: Cell::new(false),
            close_notify: Cell::new(false),
            reading_paused: Cell::new(false),
            lower_reading_paused: Cell::new(false),
            lower_writing_paused: Cell::new(false),
            writing_paused: Cell::new(false),
            read_marks: Cell::new(Marks::default_of(READ_HIGH)),
            write_marks: Cell::new(Marks::default_of(WRITE_HIGH)),
            backlog: RefCell::new(VecDeque::new()),
            backlog_bytes: Cell::new(0),
            ignored_writes: Cell::new(0),
            handshake_timeout: Slot::new(Some(parts.handshake_timeout)),
            shutdown_timeout: Slot::new(Some(parts.shutdown_timeout)),
            handshake_timer: Slot::empty(),
            shutdown_timer: Slot::empty(),
            handshake_began: Cell::new(None),
            let_go: Cell::new(false),
            buffer: Slot::empty(),
            dict: Cell::new(std::ptr::null_mut()),
            weakrefs: Cell::new(std::ptr::null_mut()),
        })?;
        let transport = TlsTransport::make(loop_, &this)?;
        this.app_transport.set(Some(transport));
        Ok(this)
    }

    fn slots(&self) -> [&Slot; 10] {
        [
            &self.context,
            &self.app_protocol,
            &self.lower,
            &self.waiter,
            &self.extra,
            &self.handshake_timeout,
            &self.shutdown_timeout,
            &self.handshake_timer,
            &self.shutdown_timer,
            &self.buffer,
        ]
    }

    pub(super) fn set_app_protocol(&self, protocol: &Obj) -> Res<()> {
        self.takes.set(Takes::of(protocol)?);
        self.app_protocol.set(Some(protocol.clone()));
        Ok(())
    }

    /// Whether data may still be read or written.
    pub(super) fn is_open(&self) -> bool {
        matches!(self.state.get(), State::Wrapped | State::Flushing)
    }

    /// The program has closed its transport.
    pub(super) fn is_closed_by_program(&self) -> bool {
        self.app_transport.get().is_none_or(|transport| transport.is_closed())
    }
}

impl Ref<TlsProtocol> {
    // ---- what the lower transport tells

    pub(super) fn connection_made(&self, lower: Obj) -> Res<()> {
        self.lower.set(Some(lower));
        self.start_handshake()
    }

    /// Records have come.
    #[inline]
    pub(crate) fn receive(&self, records: &[u8]) -> Res<()> {
        match self.state.get() {
            State::Wrapped => return self.do_read(records),
            State::Unwrapped => return Ok(()),
            State::Handshake | State::Flushing | State::Shutdown => {}
        }
        self.session.store(records)?;
        match self.state.get() {
            State::Handshake => self.do_handshake(),
            State::Flushing => self.do_flush(),
            State::Shutdown => self.do_shutdown(),
            State::Wrapped | State::Unwrapped => Ok(()),
        }
    }

    /// TCP's end. The answer says whether the lower transport stays open.
    pub(super) fn handle_eof(&self) -> Res<bool> {
        self.eof_received.set(true);
        let ended = self.end_of_file();
        match &ended {
            Ok(keep_open) => return Ok(*keep_open),
            Err(raised) if !raised.is_exception() => return ended,
            Err(_) => {}
        }
        let Err(raised) = ended else { return Ok(false) };
        let exc = raised.take();
        self.lower_close()?;
        Err(Raised::restore(exc))
    }

    fn end_of_file(&self) -> Res<bool> {
        if self.is_debug() {
            self.log_debug("%r received EOF", &[])?;
        }
        match self.state.get() {
            State::Handshake => {
                let reset = crate::task::builtin("ConnectionResetError")?.call0()?;
                self.handshake_ended(Some(reset))?;
            }
            State::Wrapped => {
                self.state.set(State::Flushing);
                if self.reading_paused.get() {
                    return Ok(true);
                }
                self.do_flush()?;
            }
            State::Flushing => {
                self.write_backlog()?;
                self.state.set(State::Shutdown);
                self.do_shutdown()?;
            }
            State::Shutdown => self.do_shutdown()?,
            State::Unwrapped => {}
        }
        Ok(false)
    }

    pub(super) fn connection_lost(&self, error: &Obj) -> Res<()> {
        self.note_end(!error.is_none())?;
        let left = self.backlog.take();
        drop(left);
        drop(self.session.take_outgoing()?);
        self.ignored_writes.set(self.ignored_writes.get() + 1);
        if let Some(transport) = self.app_transport.get() {
            transport.set_closed();
        }
        if self.state.get() != State::Handshake
            && matches!(self.told.get(), Told::Made | Told::Ended)
        {
            self.told.set(Told::Lost);
            if let (Some(loop_), Some(protocol)) = (self.loop_.get(), self.app_protocol.get()) {
                let names = names::get();
                let callback = protocol.attr(&names.connection_lost)?;
                loop_.as_obj().attr(&names.call_soon)?.call(&[&callback, error])?;
            }
        }
        self.state.set(State::Unwrapped);
        if self.let_go.get() {
            self.forget_context()?;
        }
        drop(self.lower.take());
        drop(self.app_transport.take());
        drop(self.app_protocol.take());
        self.wake_waiter(Some(error.clone()).filter(|error| !error.is_none()))?;
        self.cancel_timer(&self.shutdown_timer)?;
        self.cancel_timer(&self.handshake_timer)
    }

    /// The program's transport refers to us no more, but for what `get_extra_info` knows.
    pub(super) fn let_go(&self) -> Res<()> {
        self.let_go.set(true);
        if self.lower.is_set() { Ok(()) } else { self.forget_context() }
    }

    fn forget_context(&self) -> Res<()> {
        let Some(extra) = self.extra.get() else { return Ok(()) };
        value::dict_remove(&extra, &names::get().sslcontext)?;
        value::dict_remove(&extra, &value::interned(c"ssl_object")?)
    }

    /// The lower transport has enough.
    pub(super) fn handle_pause_writing(&self) {
        self.lower_writing_paused.set(true);
    }

    pub(super) fn handle_resume_writing(&self) -> Res<()> {
        self.lower_writing_paused.set(false);
        self.flush_outgoing()
    }

    // ---- what all parts need

    pub(super) fn is_debug(&self) -> bool {
        self.loop_.get().is_some_and(|loop_| loop_.debug.get())
    }

    /// `logger.debug(template, self, *more)`.
    pub(super) fn log_debug(&self, template: &str, more: &[&Obj]) -> Res<()> {
        let debug = imports::get().logger.attr(&value::str("debug")?)?;
        let template = value::str(template)?;
        let mut arguments = vec![&template, self.as_obj()];
        arguments.extend_from_slice(more);
        debug.call(&arguments).map(drop)
    }

    /// `loop.call_later(delay, self.method)`.
    pub(super) fn start_timer(&self, timer: &Slot, delay: &Slot, method: &str) -> Res<()> {
        let (Some(loop_), Some(delay)) = (self.loop_.get(), delay.get()) else { return Ok(()) };
        let callback = self.as_obj().attr(&value::str(method)?)?;
        let names = names::get();
        let handle = loop_.as_obj().attr(&names.call_later)?.call(&[&delay, &callback])?;
        timer.set(Some(handle));
        Ok(())
    }

    pub(super) fn cancel_timer(&self, timer: &Slot) -> Res<()> {
        match timer.take() {
            Some(handle) => handle.method0(&names::get().cancel).map(drop),
            None => Ok(()),
        }
    }

    /// The lower transport closes with the error, which is reported unless it is the network's.
    pub(super) fn fail(&self, exc: Obj, message: &str) -> Res<()> {
        if self.state.get() != State::Handshake {
            self.state.set(State::Unwrapped);
        }
        let lower = self.lower.get_or_none();
        self.lower_force_close(&exc)?;
        if exc.is_instance(&imports::get().os_error)? {
            if self.is_debug() {
                let debug = imports::get().logger.attr(&value::str("debug")?)?;
                let keywords = value::dict()?;
                value::dict_set(&keywords, &value::interned(c"exc_info")?, &exc)?;
                let (template, text) = (value::str("%r: %s")?, value::str(message)?);
                let arguments = value::tuple(&[&template, self.as_obj(), &text])?;
                debug.call_tuple(&arguments, Some(&keywords))?;
            }
            return Ok(());
        }
        if exc.is_instance(&imports::get().cancelled_error)? {
            return Ok(());
        }
        let Some(loop_) = self.loop_.get() else { return Ok(()) };
        let names = names::get();
        let more = [(&names.transport, &lower), (&names.protocol, self.as_obj())];
        LoopState::report(&loop_, message, Some(&exc), &more)
    }

    /// An exception of the program's, or of reading and writing, ends the connection; what is no
    /// `Exception` goes on.
    pub(super) fn fail_if_raised(&self, result: Res<()>) -> Res<()> {
        match result {
            Ok(()) => Ok(()),
            Err(raised) if raised.is_exception() => {
                let exc = raised.take();
                self.fail(exc, "Fatal error on SSL protocol")
            }
            Err(raised) => Err(raised),
        }
    }

    /// `get_extra_info(name, default)`.
    pub(super) fn extra_info(&self, name: &Obj, default: &Obj) -> Res<Obj> {
        if let Some(extra) = self.extra.get()
            && let Some(found) = value::dict_get(&extra, name)?
        {
            return Ok(found);
        }
        self.lower_extra_info(name, default)
    }

    /// For a transport that is not ours: memory to read into.
    pub(super) fn offer_buffer(&self) -> Res<Obj> {
        if let Some(buffer) = self.buffer.get() {
            return Ok(buffer);
        }
        let size = value::int(i64::try_from(READ_HIGH).unwrap_or(i64::MAX))?;
        let bytes = call::import(c"builtins")?.attr(&value::str("bytearray")?)?.call1(&size)?;
        let buffer = value::bytes_view(&bytes)?;
        self.buffer.set(Some(buffer.clone()));
        Ok(buffer)
    }

    /// It has put so many bytes there.
    pub(super) fn buffer_updated(&self, count: usize) -> Res<()> {
        let Some(buffer) = self.buffer.get() else { return Ok(()) };
        // A copy: it may read on while we are in the program's hands.
        let records = value::with_buffer(&buffer, |all| all[..count.min(all.len())].to_vec())?;
        self.receive(&records)
    }
}
