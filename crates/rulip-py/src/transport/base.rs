//! What the transports of datagrams and pipes share: the file they use, the protocol they tell, and
//! the stages between the two.
//!
//! | stage | what runs |
//! |---|---|
//! | made | `connection_made`, then reading starts, then whoever waits for the transport is told |
//! | lost | `connection_lost` once; then the file is closed, once |
//!
//! Not here: what is read and written, and when. The file is always a Python object (a socket, a
//! pipe): it owns the descriptor, which is only lent. Owner thread.

use std::cell::Cell;
use std::ffi::c_int;
use std::os::fd::{BorrowedFd, RawFd};

use pyo3::ffi as c;

use super::public_class::PublicClass;
use crate::ffi::context::{self, Entered};
use crate::ffi::error::FirstError;
use crate::ffi::native::Native;
use crate::ffi::slot::Visit;
use crate::ffi::{Obj, Raised, Ref, RefSlot, Res, Slot, descriptor, value};
use crate::loop_state::LoopState;
use crate::{imports, names};

/// What a queued job does for its transport.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(crate) enum Stage {
    Made,
    /// Go on with what cannot be waited for.
    Retry,
    /// Tell of the end of file.
    Ended,
    Lost,
}

/// The part that they share.
pub(crate) struct TransportBase {
    pub(super) loop_: RefSlot<LoopState>,
    /// What owns the descriptor; gone once closed.
    pub(super) file: Slot,
    /// The descriptor's number, also after the end: for the looks.
    pub(super) number: RawFd,
    pub(super) protocol: Slot,
    /// Every callback of this transport runs in it.
    context: Slot,
    /// A future for whoever waits for `connection_made`.
    waiter: Slot,
    /// `get_extra_info`'s dict.
    pub(super) extra: Slot,
    /// What `connection_lost` will be told.
    pub(super) lost_error: Slot,
    /// `pause_writing` was the last word.
    pub(super) writing_paused: Cell<bool>,
    dict: Cell<*mut c::PyObject>,
    weakrefs: Cell<*mut c::PyObject>,
}

/// A transport that is made on a [`TransportBase`].
pub(crate) trait HasBase: Native {
    /// How it calls itself.
    const NAME: &'static str;
    /// Where its base stands in it.
    const BASE_AT: usize;

    fn base(&self) -> &TransportBase;
    /// What it answers for `__class__`.
    fn class() -> &'static PublicClass;
}

impl TransportBase {
    pub(super) const DICT_AT: usize = std::mem::offset_of!(Self, dict);
    pub(super) const WEAKREFS_AT: usize = std::mem::offset_of!(Self, weakrefs);

    pub(super) fn new(
        loop_: &Ref<LoopState>,
        file: &Obj,
        number: RawFd,
        protocol: &Obj,
        waiter: Option<Obj>,
        extra: Obj,
    ) -> Res<Self> {
        Ok(Self {
            loop_: RefSlot::new(Some(loop_.clone())),
            file: Slot::new(Some(file.clone())),
            number,
            protocol: Slot::new(Some(protocol.clone())),
            context: Slot::new(Some(context::copy_current()?)),
            waiter: Slot::new(waiter),
            extra: Slot::new(Some(extra)),
            lost_error: Slot::empty(),
            writing_paused: Cell::new(false),
            dict: Cell::new(std::ptr::null_mut()),
            weakrefs: Cell::new(std::ptr::null_mut()),
        })
    }

    pub(super) fn visit(&self, visit: &Visit) -> Result<(), c_int> {
        self.loop_.visit(visit)?;
        for slot in
            [&self.file, &self.protocol, &self.context, &self.waiter, &self.extra, &self.lost_error]
        {
            slot.visit(visit)?;
        }
        visit.raw(self.dict.get())
    }

    pub(super) fn clear(&self) {
        drop(self.protocol.take());
        drop(self.context.take());
        drop(self.waiter.take());
        drop(self.extra.take());
        drop(self.lost_error.take());
        drop(self.take_dict());
        drop(self.loop_.take());
    }

    pub(super) fn take_dict(&self) -> Option<Obj> {
        crate::ffi::object::take_raw(&self.dict)
    }

    pub(super) fn weakrefs(&self) -> *mut c::PyObject {
        self.weakrefs.get()
    }

    /// The descriptor, while the file is open.
    #[inline]
    pub(super) fn lent(&self) -> Res<BorrowedFd<'_>> {
        descriptor::lend(if self.is_open() { self.number } else { -1 })
    }

    /// Whether the file is still ours to close.
    #[inline]
    pub(super) fn is_open(&self) -> bool {
        self.file.is_set()
    }

    pub(super) fn debug(&self) -> bool {
        self.loop_.get().is_some_and(|loop_| loop_.debug.get())
    }

    /// Calls into the protocol, in the transport's context.
    #[inline]
    pub(super) fn call_protocol(&self, f: impl FnOnce(&Obj) -> Res<Obj>) -> Res<Obj> {
        let Some(protocol) = self.protocol.get() else { return Ok(Obj::none()) };
        let context = self.context.get();
        let _entered = Entered::unless_inside(context.as_ref());
        f(&protocol)
    }

    /// `connection_made(transport)`; what it raises is reported.
    pub(super) fn tell_made(&self, me: &Obj) -> Res<()> {
        let told =
            self.call_protocol(|protocol| protocol.method1(&names::get().connection_made, me));
        self.report_callback(me, "connection_made", told)
    }

    /// Tells whoever waits for the transport.
    pub(super) fn tell_waiter(&self) -> Res<()> {
        let Some(waiter) = self.waiter.take() else { return Ok(()) };
        imports::get().set_result_unless_cancelled.call(&[&waiter, &Obj::none()]).map(drop)
    }

    /// `pause_writing()` or `resume_writing()`.
    pub(super) fn tell_flow(&self, me: &Obj, event: rulip_engine::transport::FlowEvent) -> Res<()> {
        let names = names::get();
        let pause = event == rulip_engine::transport::FlowEvent::PauseWriting;
        self.writing_paused.set(pause);
        let (name, failed) = if pause {
            (&names.pause_writing, "protocol.pause_writing() failed")
        } else {
            (&names.resume_writing, "protocol.resume_writing() failed")
        };
        match self.call_protocol(|protocol| protocol.method0(name)) {
            Ok(_) => Ok(()),
            Err(raised) => self.report(me, failed, raised),
        }
    }

    /// `connection_lost`, once; then the file is closed and everything is let go.
    pub(super) fn tell_lost(&self, me: &Obj) -> Res<()> {
        let error = self.lost_error.take().unwrap_or_else(Obj::none);
        let told =
            self.call_protocol(|protocol| protocol.method1(&names::get().connection_lost, &error));
        let mut first = FirstError::default();
        first.note(self.report_callback(me, "connection_lost", told), me);
        let closed = self.close_file();
        first.note(self.report_callback(me, "connection_lost", closed), me);
        drop(self.protocol.take());
        drop(self.context.take());
        drop(self.loop_.take());
        first.finish()
    }

    fn close_file(&self) -> Res<Obj> {
        match self.file.take() {
            Some(file) => file.method0(&names::get().close),
            None => Ok(Obj::none()),
        }
    }

    /// Never closed: says so, and closes.
    pub(super) fn finalize(&self, me: &Obj) {
        if !self.is_open() {
            return;
        }
        let warned = me.repr().and_then(|text| {
            let message = value::str(&format!("unclosed transport {text}"))?;
            let keywords = value::dict()?;
            value::dict_set(&keywords, &value::interned(c"source")?, me)?;
            let args = value::tuple(&[&message, &imports::get().resource_warning])?;
            imports::get().warn.call_tuple(&args, Some(&keywords))
        });
        if let Err(raised) = warned {
            raised.write_unraisable(me);
        }
        if let Err(raised) = self.close_file() {
            raised.write_unraisable(me);
        }
    }

    // -- reports

    /// What a callback of the protocol raised goes to the exception handler; the transport lives on.
    pub(super) fn report_callback(&self, me: &Obj, name: &str, called: Res<Obj>) -> Res<()> {
        match called {
            Ok(_) => Ok(()),
            Err(raised) => self.report(me, &format!("Exception in callback {name}()"), raised),
        }
    }

    /// Reports through the exception handler. What must leave the loop comes back.
    pub(super) fn report(&self, me: &Obj, message: &str, raised: Raised) -> Res<()> {
        if raised.leaves_the_loop() {
            return Err(raised);
        }
        let exc = raised.take();
        self.report_exception(me, message, &exc)
    }

    pub(super) fn report_exception(&self, me: &Obj, message: &str, exc: &Obj) -> Res<()> {
        let Some(loop_) = self.loop_.get() else { return Ok(()) };
        let names = names::get();
        let protocol = self.protocol.get_or_none();
        LoopState::report(
            &loop_,
            message,
            Some(exc),
            &[(&names.transport, me), (&names.protocol, &protocol)],
        )
    }

    /// Debug mode: `logger.debug("%r: %s", transport, message, exc_info=exc)`.
    pub(super) fn log_failure(&self, me: &Obj, message: &str, exc: &Obj) -> Res<()> {
        if !self.debug() {
            return Ok(());
        }
        let debug = imports::get().logger.attr(&value::interned(c"debug")?)?;
        let keywords = value::dict()?;
        value::dict_set(&keywords, &value::interned(c"exc_info")?, exc)?;
        let args = value::tuple(&[&value::str("%r: %s")?, me, &value::str(message)?])?;
        debug.call_tuple(&args, Some(&keywords)).map(drop)
    }

    /// Debug mode: `logger.LEVEL("%r TEXT", transport)`.
    pub(super) fn log_note(&self, me: &Obj, level: &std::ffi::CStr, text: &str) -> Res<()> {
        if !self.debug() {
            return Ok(());
        }
        let log = imports::get().logger.attr(&value::interned(level)?)?;
        log.call(&[&value::str(&format!("%r {text}"))?, me]).map(drop)
    }
}
