//! The protocol between a transport and a reader: `StreamReaderProtocol`'s native half.
//!
//! Here: its state, bytes on their way to the reader, and who may be told of them without a Python
//! call. Not here: what happens once per connection (asyncio's own methods, and `rulip.streams`);
//! waiting for room to write (`drain.rs`). Owner thread.
//!
//! Invariant: the reader is held weakly, but by a server's protocol until it has handed it over.

use std::cell::Cell;
use std::ffi::{CStr, c_int};

use pyo3::ffi as c;

use super::drain::Drain;
use super::reader::Reader;
use super::slots::{adopt, class_of, keep, present, public_protocol, store};
use super::stock;
use crate::ffi::arguments::{Args, bind_init};
use crate::ffi::native::{Native, TypeCell, allocate};
use crate::ffi::slot::Visit;
use crate::ffi::spec::TypeSpec;
use crate::ffi::trampoline::{fast, init, new, noargs, property, setattr};
use crate::ffi::{EitherSlot, Obj, Ref, Res, Slot, value, weakref};
use crate::future::Future;
use crate::loop_state::LoopState;
use crate::names;

/// A subclass that has its own idea of one of these is called by name.
const COLLABORATING: [&CStr; 3] = [c"data_received", c"_drain_helper", c"_stream_reader"];

/// The body of `_rulip.StreamReaderProtocol`; what every message needs comes first.
#[repr(C)]
pub(crate) struct StreamProtocol {
    /// A weak reference to the reader.
    reader: Slot,
    pub(super) paused: Cell<bool>,
    pub(super) connection_lost: Cell<bool>,
    /// A subclass or a patch has replaced methods.
    by_name: Cell<bool>,
    reject_connection: Cell<bool>,
    over_ssl: Cell<bool>,
    loop_: EitherSlot<LoopState>,
    strong_reader: Slot,
    source_traceback: Slot,
    callback: Slot,
    task: Slot,
    writer: Slot,
    transport: Slot,
    /// Done once the connection is lost.
    closed: EitherSlot<Future>,
    /// A deque, made when somebody must wait.
    drain_waiters: Slot,
}

static TYPE: TypeCell = TypeCell::new();

// SAFETY: every reference held is visited.
#[allow(unsafe_code, reason = "a promise about the layout or the collector, no operation")]
unsafe impl Native for StreamProtocol {
    const HAS_FINALIZER: bool = true;

    fn type_cell() -> &'static TypeCell {
        &TYPE
    }

    fn traverse(&self, visit: &Visit) -> Result<(), c_int> {
        self.loop_.visit(visit)?;
        self.closed.visit(visit)?;
        self.slots().into_iter().try_for_each(|slot| slot.visit(visit))
    }

    fn clear(&self) {
        for slot in self.slots() {
            drop(slot.take());
        }
        drop(self.closed.take());
        drop(self.loop_.take());
    }

    fn wants_finalizer(&self) -> bool {
        true
    }

    /// Nobody asked how the connection ended: that is no news.
    fn finalize(this: &Ref<Self>) {
        if let Some(closed) = this.closed.get_native() {
            closed.clear_log_traceback();
        } else if let Some(closed) = this.closed.get()
            && let Err(raised) = look_at(&closed)
        {
            raised.write_unraisable(this.as_obj());
        }
    }
}

fn look_at(future: &Obj) -> Res<()> {
    let names = names::get();
    if future.method0(&names.done)?.is_true()?
        && !future.method0(&value::interned(c"cancelled")?)?.is_true()?
    {
        future.method0(&names.exception)?;
    }
    Ok(())
}

/// Who gets what a transport has received.
pub(crate) enum Receiver {
    /// The reader, directly.
    Reader(Ref<Reader>),
    /// Nobody: the reader is gone, and its bytes with it.
    Nobody,
    /// Whoever `data_received` is.
    ByName,
}

impl StreamProtocol {
    fn blank(class: &Obj) -> Res<Self> {
        let by_name = super::overrides(class, public_protocol(), &COLLABORATING)?;
        Ok(Self {
            loop_: EitherSlot::empty(),
            reader: Slot::empty(),
            strong_reader: Slot::empty(),
            source_traceback: Slot::empty(),
            callback: Slot::empty(),
            task: Slot::empty(),
            writer: Slot::empty(),
            transport: Slot::empty(),
            closed: EitherSlot::empty(),
            drain_waiters: Slot::empty(),
            reject_connection: Cell::new(false),
            over_ssl: Cell::new(false),
            paused: Cell::new(false),
            connection_lost: Cell::new(false),
            by_name: Cell::new(by_name),
        })
    }

    fn slots(&self) -> [&Slot; 8] {
        [
            &self.reader,
            &self.strong_reader,
            &self.source_traceback,
            &self.callback,
            &self.task,
            &self.writer,
            &self.transport,
            &self.drain_waiters,
        ]
    }

    /// Whether `_drain_helper` is ours.
    pub(super) fn drains_natively(&self) -> bool {
        !self.by_name.get()
    }

    /// `_drain_waiters`.
    pub(super) fn drain_waiters(&self) -> Res<Obj> {
        if let Some(waiters) = self.drain_waiters.get() {
            return Ok(waiters);
        }
        let made = stock().deque.call0()?;
        self.drain_waiters.set(Some(made.clone()));
        Ok(made)
    }

    /// A future of the protocol's loop.
    pub(super) fn create_future(&self) -> Res<Obj> {
        match self.loop_.get_native() {
            Some(loop_) if !loop_.waiting_replaced.get() => {
                Ref::<Future>::create(&loop_).map(Ref::into_obj)
            }
            _ => self.loop_.get_or_none().method0(&names::get().create_future),
        }
    }

    fn target(&self) -> Res<Option<Obj>> {
        match self.reader.get() {
            Some(reader) => weakref::target(&reader),
            None => Ok(None),
        }
    }

    /// Who gets what was received now.
    #[inline]
    pub(crate) fn receiver(&self) -> Res<Receiver> {
        if self.by_name.get() {
            return Ok(Receiver::ByName);
        }
        match self.target()? {
            None => Ok(Receiver::Nobody),
            Some(reader) => Ok(match Ref::<Reader>::try_from_obj(reader) {
                Some(reader) if reader.takes_natively() => Receiver::Reader(reader),
                _ => Receiver::ByName,
            }),
        }
    }
}

type This = Ref<StreamProtocol>;

/// `data_received(data)`, called by Python: by TLS, by a foreign loop's transport.
fn data_received(this: &This, args: &Args<'_>) -> Res<Obj> {
    let [data] = args.bind("data_received", [c"data"], 1)?;
    let (Some(data), Some(reader)) = (data, this.target()?) else { return Ok(Obj::none()) };
    if let Some(reader) = Ref::<Reader>::downcast(&reader)
        && reader.takes_natively()
    {
        return reader.feed_object(data).map(|()| Obj::none());
    }
    reader.method1(&value::interned(c"feed_data")?, data).map(|_| Obj::none())
}

/// `StreamReaderProtocol(stream_reader, client_connected_cb=None, loop=None)`.
fn initialise(this: &This, args: &Obj, kwargs: Option<&Obj>) -> Res<()> {
    let names = [c"stream_reader", c"client_connected_cb", c"loop"];
    let [reader, callback, loop_] = bind_init("StreamReaderProtocol", names, 1, args, kwargs)?;
    adopt(&this.loop_, loop_)?;
    let given = |value: Option<Obj>| value.filter(|value| !value.is_none());
    let (reader, callback) = (given(reader), given(callback));
    if let Some(reader) = &reader {
        this.reader.set(Some(weakref::to(reader)?));
        let traceback = reader.attr(&value::interned(c"_source_traceback")?)?;
        keep(&this.source_traceback, Some(&traceback))?;
    }
    if callback.is_some() {
        this.strong_reader.set(reader);
    }
    this.callback.set(callback);
    this.closed.set(this.create_future()?);
    Ok(())
}

macro_rules! slot_attribute {
    ($name:literal, $doc:literal, $field:ident) => {
        property(
            $name,
            $doc,
            |this: &This| Ok(this.$field.get_or_none()),
            |this: &This, value| keep(&this.$field, value),
        )
    };
}

macro_rules! flag_attribute {
    ($name:literal, $doc:literal, $field:ident) => {
        property(
            $name,
            $doc,
            |this: &This| Ok(Obj::bool(this.$field.get())),
            |this: &This, value| {
                this.$field.set(present(value)?.is_true()?);
                Ok(())
            },
        )
    };
}

pub(crate) fn build() -> Res<Obj> {
    TypeSpec::new::<StreamProtocol>(
        c"rulip._rulip.StreamReaderProtocol",
        c"StreamReaderProtocol(stream_reader, client_connected_cb=None, loop=None)\n--\n\nThe native half of rulip.StreamReaderProtocol (mirrors asyncio.StreamReaderProtocol).",
    )
    .subclassable()
    .slot(
        c::Py_tp_new,
        new(|kind, _args, _kwargs| allocate(kind, StreamProtocol::blank(&class_of(kind))?)),
    )
    .slot(c::Py_tp_init, init(initialise))
    .slot(
        c::Py_tp_setattro,
        setattr(|this: &This, name: &Obj, _| {
            if COLLABORATING.iter().any(|method| value::text_is(name, method)) {
                this.by_name.set(true);
            }
            Ok(())
        }),
    )
    .methods([
        fast(c"data_received", c"data_received($self, data)\n--\n\nHand bytes to the reader.", data_received),
        noargs(
            c"_drain_helper",
            c"Wait until writing is not paused; raises once the connection is lost.",
            |this: &This| Drain::of_protocol(this),
        ),
    ])
    .attributes([
        property(
            c"_loop",
            c"The event loop.",
            |this: &This| Ok(this.loop_.get_or_none()),
            |this: &This, value| store(&this.loop_, value),
        ),
        property(
            c"_closed",
            c"A future: the connection is lost.",
            |this: &This| Ok(this.closed.get_or_none()),
            |this: &This, value| store(&this.closed, value),
        ),
        property(
            c"_drain_waiters",
            c"The futures of those who wait for room.",
            |this: &This| this.drain_waiters(),
            |this: &This, value| keep(&this.drain_waiters, value),
        ),
        slot_attribute!(c"_stream_reader_wr", c"A weak reference to the reader, or None.", reader),
        slot_attribute!(
            c"_strong_reader",
            c"A server's reader until it is handed over.",
            strong_reader
        ),
        slot_attribute!(
            c"_source_traceback",
            c"Where the reader was made (debug mode).",
            source_traceback
        ),
        slot_attribute!(c"_client_connected_cb", c"Who is told of a client.", callback),
        slot_attribute!(c"_task", c"The task of a coroutine that serves a client.", task),
        slot_attribute!(c"_stream_writer", c"The writer, on Pythons that keep it here.", writer),
        slot_attribute!(c"_transport", c"The transport, or None.", transport),
        flag_attribute!(
            c"_reject_connection",
            c"Whether nobody wants the connection any more.",
            reject_connection
        ),
        flag_attribute!(c"_over_ssl", c"Whether TLS lies in between.", over_ssl),
        flag_attribute!(c"_paused", c"Whether writing is paused.", paused),
        flag_attribute!(c"_connection_lost", c"Whether the connection is lost.", connection_lost),
    ])
    .build(StreamProtocol::type_cell())
}
