//! The TLS transport: what the program holds. All it does is the protocol's (`protocol.rs`).
//!
//! Owner thread. Invariant: one that is dropped without having been closed says so, once.

use std::cell::Cell;
use std::ffi::c_int;

use pyo3::ffi as c;

use super::protocol::TlsProtocol;
use crate::ffi::native::{Native, TypeCell};
use crate::ffi::slot::Visit;
use crate::ffi::{Obj, Ref, RefSlot, Res, Slot, value};
use crate::imports;
use crate::loop_state::LoopState;

/// The body of `_rulip.TLSTransport`.
pub(crate) struct TlsTransport {
    pub(super) loop_: RefSlot<LoopState>,
    pub(super) protocol: RefSlot<TlsProtocol>,
    /// What `get_extra_info` knows once the protocol is let go of.
    extra: Slot,
    closed: Cell<bool>,
    dict: Cell<*mut c::PyObject>,
    weakrefs: Cell<*mut c::PyObject>,
}

static TYPE: TypeCell = TypeCell::new();

// SAFETY: every reference held is visited.
#[allow(unsafe_code, reason = "a promise about the layout or the collector, no operation")]
unsafe impl Native for TlsTransport {
    const HAS_FINALIZER: bool = true;

    fn type_cell() -> &'static TypeCell {
        &TYPE
    }

    fn traverse(&self, visit: &Visit) -> Result<(), c_int> {
        self.loop_.visit(visit)?;
        self.protocol.visit(visit)?;
        self.extra.visit(visit)?;
        visit.raw(self.dict.get())
    }

    fn clear(&self) {
        drop(crate::ffi::object::take_raw(&self.dict));
        drop(self.protocol.take());
        drop(self.extra.take());
        drop(self.loop_.take());
    }

    fn weakrefs(&self) -> *mut c::PyObject {
        self.weakrefs.get()
    }

    fn wants_finalizer(&self) -> bool {
        !self.closed.get()
    }

    /// Never closed: say so. The transport below closes itself.
    fn finalize(this: &Ref<Self>) {
        if this.closed.replace(true) {
            return;
        }
        let text = "unclosed transport <asyncio._SSLProtocolTransport object>";
        let warned = value::str(text).and_then(|message| {
            let category = &imports::get().resource_warning;
            imports::get().warn.call(&[&message, category])
        });
        if let Err(raised) = warned {
            raised.write_unraisable(this.as_obj());
        }
    }

    fn unlink(&self, _me: *mut c::PyObject) {
        drop(crate::ffi::object::take_raw(&self.dict));
    }
}

impl TlsTransport {
    pub(crate) const WEAKREFS_AT: usize = std::mem::offset_of!(Self, weakrefs);
    pub(crate) const DICT_AT: usize = std::mem::offset_of!(Self, dict);

    pub(super) fn make(loop_: &Ref<LoopState>, protocol: &Ref<TlsProtocol>) -> Res<Ref<Self>> {
        Ref::new(Self {
            loop_: RefSlot::new(Some(loop_.clone())),
            protocol: RefSlot::new(Some(protocol.clone())),
            extra: Slot::empty(),
            closed: Cell::new(false),
            dict: Cell::new(std::ptr::null_mut()),
            weakrefs: Cell::new(std::ptr::null_mut()),
        })
    }

    #[inline]
    pub(super) fn is_closed(&self) -> bool {
        self.closed.get()
    }

    pub(super) fn set_closed(&self) {
        self.closed.set(true);
    }
}

impl Ref<TlsTransport> {
    /// Closed again: the program is done with it, and perhaps keeps it. The context goes with the connection.
    pub(super) fn let_go(&self) -> Res<()> {
        let Some(protocol) = self.protocol.take() else { return Ok(()) };
        self.extra.set(protocol.extra.get());
        protocol.let_go()
    }

    /// `get_extra_info(name, default)`.
    pub(super) fn extra_info(&self, name: &Obj, default: &Obj) -> Res<Obj> {
        if let Some(protocol) = self.protocol.get() {
            return protocol.extra_info(name, default);
        }
        let found = self.extra.get().map(|extra| value::dict_get(&extra, name)).transpose()?;
        Ok(found.flatten().unwrap_or_else(|| default.clone()))
    }
}
