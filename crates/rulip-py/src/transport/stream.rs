//! A stream transport: one connected socket, one protocol, and their life together.
//!
//! | stage | what runs |
//! |---|---|
//! | made | `connection_made`, then reading starts, then whoever waits for the connection is told |
//! | open | `reading.rs`, `writing.rs` |
//! | lost | `connection_lost` once, from a turn of its own; then the socket closes |
//!
//! The socket has one owner at a time: a descriptor of ours (accepted connections) or a Python
//! socket object (everything that Python has seen). Invariant: whoever owns it closes it, once,
//! after `connection_lost`.

use std::cell::{Cell, RefCell};
use std::ffi::c_int;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};

use pyo3::ffi as c;
use rulip_engine::sys::socket;
use rulip_engine::transport::{CloseDuty, ReadDuty, Stream};
use rulip_engine::{Readiness, Token};

use crate::ffi::context::{self, Entered};
use crate::ffi::descriptor;
use crate::ffi::error::FirstError;
use crate::ffi::native::{Native, TypeCell};
use crate::ffi::slot::Visit;
use crate::ffi::{Obj, Raised, Ref, RefSlot, Res, Slot, value};
use crate::loop_state::{Job, LoopState};
use crate::transport::chunk::Chunk;
use crate::transport::extra_info::Addresses;
use crate::transport::receiver::Takes;
use crate::watcher::Target;
use crate::{failpoints, imports, names};

/// What a queued transport job does.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(crate) enum Stage {
    Made,
    Lost,
}

/// Who closes the descriptor.
pub(crate) enum Socket {
    Native(OwnedFd),
    Python(Obj),
    Closed,
}

/// The body of `_rulip.Transport`. In this order: what every message needs stands together at the front, so that
/// of many connections few lines of the cache are needed.
#[repr(C)]
pub(crate) struct StreamTransport {
    pub(super) loop_: RefSlot<LoopState>,
    pub(super) protocol: Slot,
    /// The descriptor's number; -1 once closed.
    pub(super) fd: Cell<RawFd>,
    /// How the protocol takes bytes.
    pub(super) takes: Cell<Takes>,
    /// Stands in the loop's list of transports to flush.
    pub(super) unflushed: Cell<bool>,
    /// `pause_writing` was the last word.
    pub(super) writing_paused: Cell<bool>,
    pub(super) dict: Cell<*mut c::PyObject>,
    pub(super) stream: RefCell<Stream<Chunk>>,
    /// Every callback of this connection runs in it.
    pub(super) context: Slot,
    /// Told when nothing is left to write (`sendfile` waits for that).
    pub(super) empty_waiter: Slot,
    /// Told if the connection ends while a file is on its way.
    pub(super) file_waiter: Slot,
    /// Bytes that the last read brought: large ones are read in place.
    pub(super) last_read: Cell<usize>,
    pub(super) token: Cell<Option<Token>>,
    pub(super) socket: RefCell<Socket>,
    /// A future for whoever waits for `connection_made`.
    waiter: Slot,
    /// `get_extra_info`'s dict.
    pub(super) extra: Slot,
    pub(super) addresses: RefCell<Option<Box<Addresses>>>,
    pub(super) server: Slot,
    /// What `connection_lost` will be told.
    lost_error: Slot,
    /// A failed write keeps what the peer sent before: read it out before the end.
    pub(super) salvage: Cell<bool>,
    pub(super) weakrefs: Cell<*mut c::PyObject>,
    /// `connection_made` was called, so `connection_lost` will be.
    connected: Cell<bool>,
}

static TYPE: TypeCell = TypeCell::new();

// SAFETY: every reference held is visited; chunks of the queue are exact bytes, which refer to nothing.
#[allow(unsafe_code, reason = "a promise about the layout or the collector, no operation")]
unsafe impl Native for StreamTransport {
    const HAS_FINALIZER: bool = true;

    fn type_cell() -> &'static TypeCell {
        &TYPE
    }

    fn traverse(&self, visit: &Visit) -> Result<(), c_int> {
        self.loop_.visit(visit)?;
        for slot in [
            &self.protocol,
            &self.context,
            &self.waiter,
            &self.extra,
            &self.server,
            &self.lost_error,
            &self.empty_waiter,
            &self.file_waiter,
        ] {
            slot.visit(visit)?;
        }
        visit.raw(self.dict.get())?;
        match self.socket.try_borrow().as_deref() {
            Ok(Socket::Python(socket)) => visit.obj(socket),
            _ => Ok(()),
        }
    }

    fn clear(&self) {
        drop(self.protocol.take());
        drop(self.context.take());
        drop(self.waiter.take());
        drop(self.extra.take());
        drop(self.server.take());
        drop(self.lost_error.take());
        drop(self.empty_waiter.take());
        drop(self.file_waiter.take());
        drop(crate::ffi::object::take_raw(&self.dict));
        drop(self.loop_.take());
    }

    fn weakrefs(&self) -> *mut c::PyObject {
        self.weakrefs.get()
    }

    fn wants_finalizer(&self) -> bool {
        self.fd.get() >= 0
    }

    /// Never closed: say so, and close.
    fn finalize(this: &Ref<Self>) {
        if this.fd.get() < 0 {
            return;
        }
        let warned = this.as_obj().repr().and_then(|text| {
            let message = value::str(&format!("unclosed transport {text}"))?;
            let (category, source) = (&imports::get().resource_warning, this.as_obj());
            let keywords = value::dict()?;
            value::dict_set(&keywords, &value::interned(c"source")?, source)?;
            imports::get().warn.call_tuple(&value::tuple(&[&message, category])?, Some(&keywords))
        });
        if let Err(raised) = warned {
            raised.write_unraisable(this.as_obj());
        }
        if let Err(raised) = this.release() {
            raised.write_unraisable(this.as_obj());
        }
    }

    fn unlink(&self, _me: *mut c::PyObject) {
        drop(crate::ffi::object::take_raw(&self.dict));
    }
}

/// What a new transport is made of.
pub(crate) struct Parts {
    pub(crate) socket: Socket,
    pub(crate) fd: RawFd,
    pub(crate) addresses: Addresses,
    pub(crate) protocol: Obj,
    pub(crate) waiter: Option<Obj>,
    pub(crate) extra: Option<Obj>,
    pub(crate) server: Option<Obj>,
}

impl StreamTransport {
    pub(crate) const WEAKREFS_AT: usize = std::mem::offset_of!(Self, weakrefs);
    pub(crate) const DICT_AT: usize = std::mem::offset_of!(Self, dict);

    /// Makes a transport and queues its first stage. It is known to its server from here on.
    pub(crate) fn make(loop_: &Ref<LoopState>, parts: Parts) -> Res<Ref<Self>> {
        if parts.addresses.is_internet() {
            // As asyncio: small writes leave at once. A socket that refuses is no less a stream.
            let _ = socket::set_nodelay(descriptor::lend(parts.fd)?, true);
        }
        let this = Ref::new(Self {
            loop_: RefSlot::new(Some(loop_.clone())),
            stream: RefCell::new(Stream::new()),
            socket: RefCell::new(parts.socket),
            fd: Cell::new(parts.fd),
            token: Cell::new(None),
            protocol: Slot::empty(),
            takes: Cell::new(Takes::Bytes),
            context: Slot::new(Some(context::copy_current()?)),
            waiter: Slot::new(parts.waiter),
            extra: Slot::new(parts.extra),
            addresses: RefCell::new(Some(Box::new(parts.addresses))),
            server: Slot::empty(),
            lost_error: Slot::empty(),
            salvage: Cell::new(false),
            empty_waiter: Slot::empty(),
            file_waiter: Slot::empty(),
            unflushed: Cell::new(false),
            writing_paused: Cell::new(false),
            last_read: Cell::new(0),
            dict: Cell::new(std::ptr::null_mut()),
            weakrefs: Cell::new(std::ptr::null_mut()),
            connected: Cell::new(false),
        })?;
        let ready = this.set_protocol(&parts.protocol).and_then(|()| match parts.server {
            Some(server) => this.join(server),
            None => Ok(()),
        });
        if let Err(raised) = ready {
            let mut first = FirstError::default();
            first.note::<()>(Err(raised), this.as_obj());
            first.note(this.release(), this.as_obj());
            first.finish()?;
        }
        loop_.push(Job::Transport(this.clone(), Stage::Made));
        Ok(this)
    }

    pub(crate) fn set_protocol(&self, protocol: &Obj) -> Res<()> {
        self.takes.set(Takes::of(protocol)?);
        self.protocol.set(Some(protocol.clone()));
        Ok(())
    }

    pub(super) fn lent(&self) -> Res<BorrowedFd<'_>> {
        descriptor::lend(self.fd.get())
    }

    pub(crate) fn clear_unflushed(&self) {
        self.unflushed.set(false);
    }

    pub(crate) fn is_closing(&self) -> bool {
        self.stream.borrow().is_closing()
    }

    /// Nobody has put an attribute of their own in a method's place.
    #[inline]
    pub(crate) fn is_unpatched(&self) -> bool {
        self.dict.get().is_null()
    }
}

impl Ref<StreamTransport> {
    /// Tells the server of its connection.
    fn join(&self, server: Obj) -> Res<()> {
        let names = names::get();
        if server.attr(&names.sockets)?.is_none() {
            // Closed by its own protocol factory: it counts nobody any more.
            return Ok(());
        }
        if imports::get().attach_takes_transport {
            server.method1(&names.attach, self.as_obj())?;
        } else {
            server.method0(&names.attach)?;
        }
        self.server.set(Some(server));
        Ok(())
    }

    /// Runs a queued stage. Comes back with an error only for what must leave the loop.
    pub(crate) fn run(&self, stage: Stage) -> Res<()> {
        match stage {
            Stage::Made => self.begin(),
            Stage::Lost => self.end(),
        }
    }

    fn begin(&self) -> Res<()> {
        self.connected.set(true);
        let mut first = FirstError::default();
        let made = self.call_protocol(|protocol| {
            protocol.method1(&names::get().connection_made, self.as_obj())
        });
        if let Err(raised) = made {
            first.note(
                self.report("Exception in callback connection_made()", raised),
                self.as_obj(),
            );
        }
        if !self.stream.borrow().is_lost() && self.fd.get() >= 0 && self.loop_.is_set() {
            first.note(self.watch(), self.as_obj());
        }
        if let Some(waiter) = self.waiter.take() {
            let told = imports::get().set_result_unless_cancelled.call(&[&waiter, &Obj::none()]);
            first.note(told, self.as_obj());
        }
        first.finish()
    }

    /// Registers with the engine and starts to read.
    fn watch(&self) -> Res<()> {
        let Some(loop_) = self.loop_.get() else { return Ok(()) };
        if self.token.get().is_none() {
            let registered = loop_.engine.register_edge(self.lent()?, Target::Stream(self.clone()));
            match registered {
                Ok(token) => self.token.set(Some(token)),
                Err((error, target)) => {
                    drop(target);
                    let exc = crate::error::os_error(&error.source)?;
                    return self.force_close(Some(exc));
                }
            }
        }
        let duty = self.stream.borrow_mut().start_reading();
        self.read_if(duty);
        Ok(())
    }

    /// An edge that came while nobody read is served in the next turn.
    pub(super) fn read_if(&self, duty: ReadDuty) {
        if duty == ReadDuty::ReadNow {
            self.read_next_turn();
        }
    }

    pub(super) fn read_next_turn(&self) {
        if let (Some(loop_), Some(token)) = (self.loop_.get(), self.token.get()) {
            loop_.push(Job::Io(token, Readiness::NONE));
        }
    }

    /// The kernel reported readiness, or a read was put off to this turn.
    pub(crate) fn handle_readiness(&self, readiness: Readiness) -> Res<()> {
        let duties = self.stream.borrow_mut().handle_readiness(readiness);
        failpoints::reached(failpoints::READINESS);
        if duties.flush {
            self.flush()?;
        }
        if duties.read && self.stream.borrow().wants_read() {
            self.read()?;
        }
        Ok(())
    }

    /// The context that the protocol is called in; none once the connection is lost.
    pub(crate) fn context(&self) -> Option<Obj> {
        self.context.get()
    }

    /// Calls into the protocol, in the connection's context.
    #[inline]
    pub(super) fn call_protocol(&self, f: impl FnOnce(&Obj) -> Res<Obj>) -> Res<Obj> {
        let Some(protocol) = self.protocol.get() else { return Ok(Obj::none()) };
        let context = self.context.get();
        let _entered = Entered::unless_inside(context.as_ref());
        f(&protocol)
    }

    /// `close()`.
    pub(crate) fn close(&self) -> Res<()> {
        let duty = self.stream.borrow_mut().close();
        match duty {
            CloseDuty::Ignored => Ok(()),
            CloseDuty::LoseSoon => self.lose_soon(None),
            CloseDuty::AfterFlush => {
                if !self.will_be_flushed() && self.stream.borrow().wants_flush() {
                    self.flush()?;
                }
                Ok(())
            }
        }
    }

    /// `abort()` and every failure: nothing more is sent but what counted as sent already.
    pub(crate) fn force_close(&self, error: Option<Obj>) -> Res<()> {
        let mut spent = Vec::new();
        let duty = self.stream.borrow_mut().abort(&mut spent);
        drop(spent);
        match duty {
            CloseDuty::LoseSoon => self.lose_soon(error),
            CloseDuty::Ignored | CloseDuty::AfterFlush => Ok(()),
        }
    }

    /// `connection_lost` from a turn of its own.
    pub(super) fn lose_soon(&self, error: Option<Obj>) -> Res<()> {
        self.lost_error.set(error);
        match self.loop_.get() {
            Some(loop_) => {
                loop_.check_closed()?;
                loop_.push(Job::Transport(self.clone(), Stage::Lost));
                Ok(())
            }
            None => self.end(),
        }
    }

    fn end(&self) -> Res<()> {
        if self.stream.borrow().is_lost() {
            return Ok(());
        }
        if self.salvage.take() {
            self.salvage_received()?;
        }
        self.stream.borrow_mut().handle_lost();
        let error = self.lost_error.take().unwrap_or_else(Obj::none);
        let told = if self.connected.get() {
            self.call_protocol(|protocol| protocol.method1(&names::get().connection_lost, &error))
        } else {
            Ok(Obj::none())
        };
        let mut first = FirstError::default();
        if let Err(raised) = told {
            first.note(
                self.report("Exception in callback connection_lost()", raised),
                self.as_obj(),
            );
        }
        let waiters = [self.empty_waiter.take(), self.file_waiter.take()];
        first.note(self.release(), self.as_obj());
        for waiter in waiters.into_iter().flatten() {
            first.note(fail_waiter(&waiter), self.as_obj());
        }
        first.finish()
    }

    /// Lets go of the engine, the socket, the protocol and the server, in this order.
    fn release(&self) -> Res<()> {
        // While the socket is open: what `get_extra_info` may be asked afterwards.
        let token = self.token.take();
        let taken = self.socket.replace(Socket::Closed);
        let fd = self.fd.replace(-1);
        let mut target = None;
        if let (Some(token), Some(loop_)) = (token, self.loop_.get()) {
            target = match &taken {
                // Nobody else has the descriptor: closing it is enough for the kernel.
                Socket::Native(_) => loop_.engine.forget(token),
                _ => loop_.engine.deregister(token),
            };
        }
        let mut first = FirstError::default();
        match taken {
            Socket::Native(owned) => {
                debug_assert_eq!(owned.as_raw_fd(), fd);
                drop(owned);
            }
            Socket::Python(socket) => {
                first.note(socket.method0(&names::get().close), self.as_obj())
            }
            Socket::Closed => {}
        }
        drop(target);
        drop(self.protocol.take());
        drop(self.loop_.take());
        if let Some(server) = self.server.take() {
            let detached = if imports::get().attach_takes_transport {
                server.method1(&names::get().detach, self.as_obj())
            } else {
                server.method0(&names::get().detach)
            };
            first.note(detached, self.as_obj());
        }
        drop(self.context.take());
        first.finish()
    }

    /// Reports through the exception handler, with the transport and the protocol. What must
    /// leave the loop comes back.
    pub(super) fn report(&self, message: &str, raised: Raised) -> Res<()> {
        if raised.leaves_the_loop() {
            return Err(raised);
        }
        let exc = raised.take();
        self.report_exception(message, &exc)
    }

    fn report_exception(&self, message: &str, exc: &Obj) -> Res<()> {
        let Some(loop_) = self.loop_.get() else { return Ok(()) };
        let names = names::get();
        let protocol = self.protocol.get_or_none();
        LoopState::report(
            &loop_,
            message,
            Some(exc),
            &[(&names.transport, self.as_obj()), (&names.protocol, &protocol)],
        )
    }

    /// A failure that ends the connection: reported unless it is the network's, then closed.
    pub(crate) fn fatal(&self, message: &str, raised: Raised) -> Res<()> {
        if raised.leaves_the_loop() {
            return Err(raised);
        }
        let exc = raised.take();
        self.fatal_exception(message, exc)
    }

    pub(crate) fn fatal_exception(&self, message: &str, exc: Obj) -> Res<()> {
        if exc.is_instance(&imports::get().os_error)? {
            let debug = self.loop_.get().is_some_and(|loop_| loop_.debug.get());
            if debug {
                log_debug(self, message, &exc)?;
            }
        } else {
            self.report_exception(message, &exc)?;
        }
        self.force_close(Some(exc))
    }
}

/// `sendfile` waits for an empty buffer, or for room, that never comes.
fn fail_waiter(waiter: &Obj) -> Res<()> {
    let names = names::get();
    if waiter.method0(&names.done)?.is_true()? {
        return Ok(());
    }
    let class = crate::task::builtin("ConnectionError")?;
    let closed = class.call1(&value::str("Connection is closed by peer")?)?;
    waiter.method1(&names.set_exception, &closed).map(drop)
}

/// `logger.debug("%r: %s", transport, message, exc_info=exc)`.
fn log_debug(this: &Ref<StreamTransport>, message: &str, exc: &Obj) -> Res<()> {
    let debug = imports::get().logger.attr(&value::interned(c"debug")?)?;
    let keywords = value::dict()?;
    value::dict_set(&keywords, &value::interned(c"exc_info")?, exc)?;
    let args = value::tuple(&[&value::str("%r: %s")?, this.as_obj(), &value::str(message)?])?;
    debug.call_tuple(&args, Some(&keywords)).map(drop)
}
