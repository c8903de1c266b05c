//! The writer: `StreamWriter`'s native half, which hands bytes to a transport.
//!
//! Here: what runs per message. Not here: asyncio's own methods for the rest (`get_extra_info`,
//! `wait_closed`, `start_tls`, `__del__`), which find what they need in the attributes.
//! Owner thread.

use std::ffi::c_int;

use pyo3::ffi as c;

use super::drain::Drain;
use super::protocol::StreamProtocol;
use super::reader::Reader;
use super::slots::{keep, store};
use super::stock;
use crate::ffi::arguments::{Args, bind_init};
use crate::ffi::native::{Native, TypeCell, allocate};
use crate::ffi::slot::Visit;
use crate::ffi::spec::TypeSpec;
use crate::ffi::trampoline::{fast, init, new, noargs, property};
use crate::ffi::{EitherSlot, Obj, Raised, Ref, Res, Slot, value};
use crate::names;
use crate::transport::stream::StreamTransport;

/// The body of `_rulip.StreamWriter`.
pub(crate) struct Writer {
    transport: EitherSlot<StreamTransport>,
    protocol: EitherSlot<StreamProtocol>,
    reader: EitherSlot<Reader>,
    loop_: Slot,
    /// A future that is done, made when somebody looks.
    complete: Slot,
}

static TYPE: TypeCell = TypeCell::new();

// SAFETY: every reference held is visited.
#[allow(unsafe_code, reason = "a promise about the layout or the collector, no operation")]
unsafe impl Native for Writer {
    fn type_cell() -> &'static TypeCell {
        &TYPE
    }

    fn traverse(&self, visit: &Visit) -> Result<(), c_int> {
        self.transport.visit(visit)?;
        self.protocol.visit(visit)?;
        self.reader.visit(visit)?;
        self.loop_.visit(visit)?;
        self.complete.visit(visit)
    }

    fn clear(&self) {
        drop(self.transport.take());
        drop(self.protocol.take());
        drop(self.reader.take());
        drop(self.loop_.take());
        drop(self.complete.take());
    }
}

type This = Ref<Writer>;

impl Writer {
    fn blank() -> Self {
        Self {
            transport: EitherSlot::empty(),
            protocol: EitherSlot::empty(),
            reader: EitherSlot::empty(),
            loop_: Slot::empty(),
            complete: Slot::empty(),
        }
    }

    #[inline]
    fn native_transport(&self) -> Option<Ref<StreamTransport>> {
        self.transport.get_native().filter(|transport| transport.is_unpatched())
    }

    /// What a native reader was failed with.
    pub(super) fn reader_exception(&self) -> Option<Obj> {
        self.reader.get_native()?.exception.get()
    }

    pub(super) fn is_closing(&self) -> Res<bool> {
        match self.native_transport() {
            Some(transport) => Ok(transport.is_closing()),
            None => {
                let name = value::interned(c"is_closing")?;
                self.transport.get_or_none().method0(&name)?.is_true()
            }
        }
    }

    /// Whether `drain()` knows everybody whom it asks.
    fn native_protocol(&self) -> Option<Ref<StreamProtocol>> {
        if self.reader.is_set() && !self.reader.get_native()?.is_exception_native() {
            return None;
        }
        self.protocol.get_native().filter(|protocol| protocol.drains_natively())
    }
}

fn write(this: &This, args: &Args<'_>) -> Res<Obj> {
    let [data] = args.bind("write", [c"data"], 1)?;
    let Some(data) = data else { return Ok(Obj::none()) };
    match this.native_transport() {
        Some(transport) => transport.write(data)?,
        None => drop(this.transport.get_or_none().method1(&names::get().write, data)?),
    }
    Ok(Obj::none())
}

fn drain(this: &This) -> Res<Obj> {
    match this.native_protocol() {
        Some(protocol) => Drain::of_writer(this, protocol),
        None => stock().writer.attr(&value::interned(c"drain")?)?.call1(this.as_obj()),
    }
}

/// `StreamWriter(transport, protocol, reader, loop)`.
fn initialise(this: &This, args: &Obj, kwargs: Option<&Obj>) -> Res<()> {
    let names = [c"transport", c"protocol", c"reader", c"loop"];
    let [transport, protocol, reader, loop_] = bind_init("StreamWriter", names, 4, args, kwargs)?;
    store(&this.transport, transport.as_ref())?;
    store(&this.protocol, protocol.as_ref())?;
    keep(&this.loop_, loop_.as_ref())?;
    if let Some(reader) = reader.as_ref().filter(|reader| !reader.is_none())
        && Ref::<Reader>::downcast(reader).is_none()
        && !reader.is_instance(&stock().reader)?
    {
        return Err(Raised::bare(&crate::task::builtin("AssertionError")?));
    }
    store(&this.reader, reader.as_ref())
}

fn complete(this: &This) -> Res<Obj> {
    if let Some(made) = this.complete.get() {
        return Ok(made);
    }
    let made = this.loop_.get_or_none().method0(&names::get().create_future)?;
    made.method1(&names::get().set_result, &Obj::none())?;
    this.complete.set(Some(made.clone()));
    Ok(made)
}

pub(crate) fn build() -> Res<Obj> {
    TypeSpec::new::<Writer>(
        c"rulip._rulip.StreamWriter",
        c"StreamWriter(transport, protocol, reader, loop)\n--\n\nThe native half of rulip.StreamWriter (mirrors asyncio.StreamWriter).",
    )
    .subclassable()
    .slot(c::Py_tp_new, new(|kind, _args, _kwargs| allocate(kind, Writer::blank())))
    .slot(c::Py_tp_init, init(initialise))
    .methods([
        fast(c"write", c"write($self, data)\n--\n\nWrite bytes; never blocks, the rest is buffered.", write),
        noargs(c"drain", c"Wait until there is room to write.", drain),
        noargs(c"is_closing", c"Return True if closing or closed.", |this: &This| {
            this.is_closing().map(Obj::bool)
        }),
    ])
    .attributes([
        property(
            c"_transport",
            c"The transport.",
            |this: &This| Ok(this.transport.get_or_none()),
            |this: &This, value| store(&this.transport, value),
        ),
        property(
            c"_protocol",
            c"The protocol.",
            |this: &This| Ok(this.protocol.get_or_none()),
            |this: &This, value| store(&this.protocol, value),
        ),
        property(
            c"_reader",
            c"The reader, or None.",
            |this: &This| Ok(this.reader.get_or_none()),
            |this: &This, value| store(&this.reader, value),
        ),
        property(
            c"_loop",
            c"The event loop.",
            |this: &This| Ok(this.loop_.get_or_none()),
            |this: &This, value| keep(&this.loop_, value),
        ),
        property(c"_complete_fut", c"A future that is done.", complete, |this: &This, value| {
            keep(&this.complete, value)
        }),
    ])
    .build(Writer::type_cell())
}
