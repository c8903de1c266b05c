//! A datagram transport: one socket, one protocol, and their life together.
//!
//! What may be received and sent when is decided by `rulip_engine::transport::Datagram`;
//! `datagram_io.rs` does it, `datagram_slots.rs` is the Python face. The registration is
//! level-triggered and stands from the beginning, at first without any interest, so that the
//! loop knows whose the descriptor is. Owner thread.
//!
//! Invariant: the state is borrowed for one question or one system call at a time, never while a
//! protocol runs; the kernel's interest follows the state after each change.

use std::cell::{Cell, RefCell};
use std::ffi::c_int;

use pyo3::ffi as c;
use rulip_engine::sys::address::Address;
use rulip_engine::sys::{clock, socket};
use rulip_engine::transport::{CloseDuty, Datagram};
use rulip_engine::{Interest, Token};

use super::base::{HasBase, Stage, TransportBase};
use super::peers::{Family, Peers};
use super::public_class::PublicClass;
use crate::ffi::bytes::Bytes;
use crate::ffi::error::FirstError;
use crate::ffi::native::{Native, TypeCell};
use crate::ffi::slot::Visit;
use crate::ffi::{Obj, Raised, Ref, Res, Slot, descriptor, value};
use crate::loop_state::{Job, LoopState};
use crate::watcher::Target;
use crate::{imports, names};

/// How long to leave alone a receiver that is full and that the kernel won't report.
const RETRY_DELAY: std::time::Duration = std::time::Duration::from_millis(1);

/// Where a datagram goes.
pub(super) enum Destination {
    /// To the peer that the socket is connected to.
    Peer,
    Native(Address),
    /// An address that Python's socket module reads.
    Python(Obj),
}

/// The body of `_rulip.DatagramTransport`.
pub(crate) struct DatagramTransport {
    pub(super) base: TransportBase,
    pub(super) state: RefCell<Datagram<Bytes, Destination>>,
    token: Cell<Option<Token>>,
    /// The one address that datagrams may be sent to, where there is one.
    pub(super) address: Slot,
    pub(super) connected: bool,
    pub(super) family: Family,
    pub(super) peers: Peers,
    /// The turn of the last wake-up.
    pub(super) last_turn: Cell<u32>,
    /// A timer will try the queue again.
    retrying: Cell<bool>,
}

static TYPE: TypeCell = TypeCell::new();

// SAFETY: every reference held is visited; peers are tuples of strings and numbers, messages bytes.
#[allow(unsafe_code, reason = "a promise about the layout or the collector, no operation")]
unsafe impl Native for DatagramTransport {
    const HAS_FINALIZER: bool = true;

    fn type_cell() -> &'static TypeCell {
        &TYPE
    }

    fn traverse(&self, visit: &Visit) -> Result<(), c_int> {
        self.base.visit(visit)?;
        self.address.visit(visit)?;
        let Ok(state) = self.state.try_borrow() else { return Ok(()) };
        state.destinations().try_for_each(|to| match to {
            Destination::Python(address) => visit.obj(address),
            Destination::Peer | Destination::Native(_) => Ok(()),
        })
    }

    fn clear(&self) {
        let mut queued = Vec::new();
        if let Ok(mut state) = self.state.try_borrow_mut() {
            let _lost_already = state.abort(&mut queued);
        }
        drop(queued);
        drop(self.address.take());
        self.base.clear();
    }

    fn weakrefs(&self) -> *mut c::PyObject {
        self.base.weakrefs()
    }

    fn wants_finalizer(&self) -> bool {
        self.base.is_open()
    }

    fn finalize(this: &Ref<Self>) {
        this.unregister();
        this.base.finalize(this.as_obj());
    }

    fn unlink(&self, _me: *mut c::PyObject) {
        drop(self.base.take_dict());
    }
}

impl HasBase for DatagramTransport {
    const NAME: &'static str = "DatagramTransport";
    const BASE_AT: usize = std::mem::offset_of!(Self, base);

    fn base(&self) -> &TransportBase {
        &self.base
    }

    fn class() -> &'static PublicClass {
        &super::datagram_slots::PUBLIC_CLASS
    }
}

/// What asyncio knows of a socket: `get_extra_info`'s dict, and whether it is connected.
fn extra_of(sock: &Obj, given: Option<&Obj>) -> Res<(Obj, bool)> {
    let names = names::get();
    let asked = |method: &std::ffi::CStr| match sock.method0(&value::interned(method)?) {
        Ok(address) => Ok(address),
        Err(raised) if raised.matches(&imports::get().os_error) => {
            raised.clear();
            Ok(Obj::none())
        }
        Err(raised) => Err(raised),
    };
    let extra = value::dict()?;
    if let Some(given) = given {
        value::dict_update(&extra, given)?;
    }
    let shown = imports::get().transport_socket_class.call1(sock)?;
    value::dict_set(&extra, &names.socket, &shown)?;
    value::dict_set(&extra, &names.sockname, &asked(c"getsockname")?)?;
    let peer = match value::dict_get(&extra, &names.peername)? {
        Some(peer) => peer,
        None => asked(c"getpeername")?,
    };
    value::dict_set(&extra, &names.peername, &peer)?;
    Ok((extra, peer.is_true()?))
}

impl DatagramTransport {
    /// Makes a transport and queues its first stage.
    pub(super) fn make(
        loop_: &Ref<LoopState>,
        sock: &Obj,
        protocol: &Obj,
        address: Option<Obj>,
        waiter: Option<Obj>,
        extra: Option<&Obj>,
    ) -> Res<Ref<Self>> {
        loop_.check_closed()?;
        let fd = value::as_descriptor(sock)?;
        let (extra, connected) = extra_of(sock, extra)?;
        // A subclass may have its own idea of receiving.
        let plain = sock.type_obj().is(&imports::get().socket_class);
        let local = socket::local_addr(descriptor::lend(fd)?).map(Address::from);
        let family = match local {
            Ok(local) if plain => Family::of(&local),
            _ => Family::Foreign,
        };
        let this = Ref::new(Self {
            base: TransportBase::new(loop_, sock, fd, protocol, waiter, extra)?,
            state: RefCell::new(Datagram::new(if cfg!(Py_3_13) { 8 } else { 0 })),
            token: Cell::new(None),
            address: Slot::new(address),
            connected,
            family,
            peers: Peers::default(),
            last_turn: Cell::new(0),
            retrying: Cell::new(false),
        })?;
        // Whoever watched the number before watched another socket, or is replaced.
        if let Some(token) = loop_.engine.find_fd(fd) {
            drop(loop_.engine.deregister(token));
        }
        let target = Target::Datagram(this.clone());
        match loop_.engine.register_level(fd, Interest::NONE, target) {
            Ok(token) => this.token.set(Some(token)),
            Err((error, target)) => {
                drop(target);
                return Err(crate::error::raise(error));
            }
        }
        loop_.push(Job::Datagram(this.clone(), Stage::Made));
        Ok(this)
    }

    pub(crate) fn is_closing(&self) -> bool {
        self.state.borrow().is_closing()
    }
}

impl Ref<DatagramTransport> {
    /// Runs a queued stage. Comes back with an error only for what must leave the loop.
    pub(crate) fn run(&self, stage: Stage) -> Res<()> {
        match stage {
            Stage::Made => self.begin(),
            Stage::Retry => {
                self.retrying.set(false);
                self.handle_writable()
            }
            Stage::Ended => Ok(()),
            Stage::Lost => self.end(),
        }
    }

    fn begin(&self) -> Res<()> {
        let mut first = FirstError::default();
        first.note(self.base.tell_made(self.as_obj()), self.as_obj());
        self.state.borrow_mut().start_reading();
        first.note(self.follow_interest(), self.as_obj());
        first.note(self.base.tell_waiter(), self.as_obj());
        first.finish()
    }

    /// Tells the kernel what the state waits for.
    pub(super) fn follow_interest(&self) -> Res<()> {
        let (Some(loop_), Some(token)) = (self.base.loop_.get(), self.token.get()) else {
            return Ok(());
        };
        let mut wanted = self.state.borrow().interest();
        if wanted.is_writable() && self.waits_in_vain() {
            wanted = wanted - Interest::WRITABLE;
            if !self.retrying.replace(true) {
                let soon = clock::now().after(RETRY_DELAY);
                loop_.engine.insert_timer(soon, Job::Datagram(self.clone(), Stage::Retry));
            }
        }
        if loop_.engine.interest(token) == Some(wanted) {
            return Ok(());
        }
        match loop_.engine.set_interest(token, wanted) {
            Ok(()) => Ok(()),
            // Closed behind our back: nothing will ever come.
            Err(error) if wanted.is_none() => {
                drop(error);
                Ok(())
            }
            Err(error) => {
                let exc = crate::error::os_error(&error.source)?;
                self.force_close(Some(exc))
            }
        }
    }

    /// A full Unix receiver is reported only to those connected to it: others would be told at
    /// once, again and again, that they may send.
    fn waits_in_vain(&self) -> bool {
        self.family == Family::Unix
            && !matches!(self.state.borrow().first(), Some((_, Destination::Peer)))
    }

    pub(super) fn pause_reading(&self) -> Res<()> {
        if !self.state.borrow_mut().pause_reading() {
            return Ok(());
        }
        self.follow_interest()?;
        self.base.log_note(self.as_obj(), c"debug", "pauses reading")
    }

    pub(super) fn resume_reading(&self) -> Res<()> {
        if !self.state.borrow_mut().resume_reading() {
            return Ok(());
        }
        self.follow_interest()?;
        self.base.log_note(self.as_obj(), c"debug", "resumes reading")
    }

    /// `close()`: what is queued is sent first.
    pub(super) fn close(&self) -> Res<()> {
        let duty = self.state.borrow_mut().close();
        match duty {
            CloseDuty::Ignored => Ok(()),
            CloseDuty::AfterFlush => self.follow_interest(),
            CloseDuty::LoseSoon => self.lose_soon(None),
        }
    }

    /// `abort()` and every failure: nothing more is sent.
    pub(super) fn force_close(&self, error: Option<Obj>) -> Res<()> {
        let mut spent = Vec::new();
        let duty = self.state.borrow_mut().abort(&mut spent);
        drop(spent);
        match duty {
            CloseDuty::LoseSoon => self.lose_soon(error),
            CloseDuty::Ignored | CloseDuty::AfterFlush => Ok(()),
        }
    }

    fn lose_soon(&self, error: Option<Obj>) -> Res<()> {
        self.base.lost_error.set(error);
        let Some(loop_) = self.base.loop_.get() else { return Ok(()) };
        loop_.check_closed()?;
        self.follow_interest()?;
        loop_.push(Job::Datagram(self.clone(), Stage::Lost));
        Ok(())
    }

    pub(super) fn end(&self) -> Res<()> {
        if self.state.borrow().is_lost() {
            return Ok(());
        }
        self.state.borrow_mut().handle_lost();
        self.unregister();
        self.base.tell_lost(self.as_obj())
    }

    fn unregister(&self) {
        if let (Some(loop_), Some(token)) = (self.base.loop_.get(), self.token.take()) {
            drop(loop_.engine.deregister(token));
        }
    }

    /// A failure that is not the network's is reported; it ends the transport either way.
    pub(super) fn fatal(&self, message: &str, raised: Raised) -> Res<()> {
        if raised.leaves_the_loop() {
            return Err(raised);
        }
        let exc = raised.take();
        self.fatal_exception(message, exc)
    }

    pub(super) fn fatal_exception(&self, message: &str, exc: Obj) -> Res<()> {
        if exc.is_instance(&imports::get().os_error)? {
            self.base.log_failure(self.as_obj(), message, &exc)?;
        } else {
            self.base.report_exception(self.as_obj(), message, &exc)?;
        }
        self.force_close(Some(exc))
    }
}
