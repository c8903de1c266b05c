//! What `writer.drain()` returns: one object that is the coroutine and its iterator.
//!
//! | state | meaning |
//! |---|---|
//! | new | never awaited: dropping it warns, as an unawaited coroutine would |
//! | yielded | the transport is closing: gave up its turn, so that `connection_lost` may come |
//! | waiting | writing is paused: yielded a future that `resume_writing` sets |
//! | spent | awaited to its end, thrown into, or closed |
//!
//! Owner thread. Invariant: a future that it yielded leaves the protocol's list with it.

use std::cell::Cell;
use std::ffi::c_int;

use super::protocol::StreamProtocol;
use super::read::warn_unawaited;
use super::writer::Writer;
use crate::ffi::arguments::Args;
use crate::ffi::native::{Native, TypeCell};
use crate::ffi::send::{self, Awaitable, Step};
use crate::ffi::slot::Visit;
use crate::ffi::spec::TypeSpec;
use crate::ffi::trampoline::{fast, getter, noargs, onearg, unary};
use crate::ffi::{Obj, Raised, Ref, RefSlot, Res, Slot, value};
use crate::future::iter::thrown;
use crate::names;

#[derive(Copy, Clone, PartialEq, Eq, Debug)]
enum State {
    New,
    Yielded,
    Waiting,
    Spent,
}

/// The body of `_rulip.StreamDrain`.
pub(crate) struct Drain {
    protocol: RefSlot<StreamProtocol>,
    /// None for the protocol's own `_drain_helper()`.
    writer: RefSlot<Writer>,
    /// What it yielded.
    future: Slot,
    state: Cell<State>,
}

static TYPE: TypeCell = TypeCell::new();

// SAFETY: every reference held is visited.
#[allow(unsafe_code, reason = "a promise about the layout or the collector, no operation")]
unsafe impl Native for Drain {
    const RECYCLED: bool = true;
    /// Most are over before the collector could see them: tracked once it waits.
    const TRACKED: bool = false;
    const HAS_FINALIZER: bool = true;

    fn type_cell() -> &'static TypeCell {
        &TYPE
    }

    fn traverse(&self, visit: &Visit) -> Result<(), c_int> {
        self.protocol.visit(visit)?;
        self.writer.visit(visit)?;
        self.future.visit(visit)
    }

    fn clear(&self) {
        drop(self.protocol.take());
        drop(self.writer.take());
        drop(self.future.take());
    }

    fn wants_finalizer(&self) -> bool {
        matches!(self.state.get(), State::New | State::Waiting)
    }

    fn finalize(this: &Ref<Self>) {
        let ended = match this.state.replace(State::Spent) {
            State::New => warn_unawaited(this.qualified_name()),
            State::Waiting => this.leave(),
            State::Yielded | State::Spent => Ok(()),
        };
        if let Err(raised) = ended {
            raised.write_unraisable(this.as_obj());
        }
    }
}

impl Drain {
    /// `writer.drain()`.
    #[inline]
    pub(super) fn of_writer(writer: &Ref<Writer>, protocol: Ref<StreamProtocol>) -> Res<Obj> {
        Self::start(protocol, Some(writer.clone()))
    }

    /// `protocol._drain_helper()`.
    pub(super) fn of_protocol(protocol: &Ref<StreamProtocol>) -> Res<Obj> {
        Self::start(protocol.clone(), None)
    }

    #[inline]
    fn start(protocol: Ref<StreamProtocol>, writer: Option<Ref<Writer>>) -> Res<Obj> {
        Ref::new(Self {
            protocol: RefSlot::new(Some(protocol)),
            writer: RefSlot::new(writer),
            future: Slot::empty(),
            state: Cell::new(State::New),
        })
        .map(Ref::into_obj)
    }

    fn qualified_name(&self) -> &'static str {
        if self.writer.is_set() { "StreamWriter.drain" } else { "FlowControlMixin._drain_helper" }
    }

    fn begin(this: &Ref<Self>) -> Res<Step> {
        if let Some(writer) = this.writer.get() {
            if let Some(exc) = writer.reader_exception() {
                return Err(Raised::from_exception(&exc));
            }
            if writer.is_closing()? {
                this.state.set(State::Yielded);
                return Ok(Step::Yield(Obj::none()));
            }
        }
        Self::await_room(this)
    }

    fn await_room(this: &Ref<Self>) -> Res<Step> {
        let Some(protocol) = this.protocol.get() else { return Ok(Step::Return(Obj::none())) };
        if protocol.connection_lost.get() {
            let error = crate::task::builtin("ConnectionResetError")?;
            return Err(Raised::new(&error, "Connection lost"));
        }
        if !protocol.paused.get() {
            return Ok(Step::Return(Obj::none()));
        }
        let future = protocol.create_future()?;
        protocol.drain_waiters()?.method1(&value::interned(c"append")?, &future)?;
        this.track();
        this.future.set(Some(future.clone()));
        this.state.set(State::Waiting);
        future.set_attr(&names::get().asyncio_future_blocking, &Obj::bool(true))?;
        Ok(Step::Yield(future))
    }

    fn resume(this: &Ref<Self>) -> Res<Step> {
        let future = this.future.get_or_none();
        let done = future.method0(&names::get().done)?.is_true()?;
        this.leave()?;
        if !done {
            return Err(Raised::runtime_error("await wasn't used with future"));
        }
        future.method0(&names::get().result).map(|_| Step::Return(Obj::none()))
    }

    /// Takes its future out of the protocol's list.
    fn leave(&self) -> Res<()> {
        let (Some(future), Some(protocol)) = (self.future.take(), self.protocol.get()) else {
            return Ok(());
        };
        protocol.drain_waiters()?.method1(&value::interned(c"remove")?, &future).map(drop)
    }

    /// Thrown into or closed.
    fn abandon(&self) -> Res<()> {
        if self.state.replace(State::Spent) == State::Waiting { self.leave() } else { Ok(()) }
    }
}

impl Awaitable for Drain {
    #[inline]
    fn poll(this: &Ref<Self>) -> Res<Step> {
        // Unless it yields.
        match this.state.replace(State::Spent) {
            State::New => Self::begin(this),
            State::Yielded => Self::await_room(this),
            State::Waiting => Self::resume(this),
            State::Spent => Err(Raised::runtime_error("cannot reuse already awaited coroutine")),
        }
    }
}

pub(crate) fn build() -> Res<Obj> {
    TypeSpec::new::<Drain>(
        c"rulip._rulip.StreamDrain",
        c"What StreamWriter.drain() returns: a coroutine.",
    )
    .not_callable()
    .slot(pyo3::ffi::Py_am_await, unary(|this: &Ref<Drain>| Ok(this.to_obj())))
    .slot(pyo3::ffi::Py_tp_iter, unary(|this: &Ref<Drain>| Ok(this.to_obj())))
    .slot(pyo3::ffi::Py_tp_iternext, send::iternext_slot::<Drain>())
    .slot(pyo3::ffi::Py_am_send, send::send_slot::<Drain>())
    .methods([
        onearg(c"send", c"Advance; the value is ignored.", |this: &Ref<Drain>, _: &Obj| {
            match Drain::poll(this)? {
                Step::Yield(obj) => Ok(obj),
                Step::Return(value) => Err(send::stop_iteration(value)),
            }
        }),
        fast(
            c"throw",
            c"Raise the exception at the await.",
            |this: &Ref<Drain>, args: &Args<'_>| {
                let exc = thrown(args).take();
                this.abandon()?;
                Err(Raised::restore(exc))
            },
        ),
        noargs(c"close", c"End it.", |this: &Ref<Drain>| this.abandon().map(|()| Obj::none())),
    ])
    .attributes([
        getter(c"__name__", c"The method.", |this: &Ref<Drain>| {
            let name = this.qualified_name();
            value::str(name.rsplit('.').next().unwrap_or(name))
        }),
        getter(c"__qualname__", c"The method, with its class.", |this: &Ref<Drain>| {
            value::str(this.qualified_name())
        }),
        getter(c"cr_await", c"What it waits for.", |this: &Ref<Drain>| {
            Ok(this.future.get_or_none())
        }),
        getter(c"cr_frame", c"None: it has no Python frame.", |_: &Ref<Drain>| Ok(Obj::none())),
        getter(c"cr_running", c"Whether it runs.", |_: &Ref<Drain>| Ok(Obj::bool(false))),
    ])
    .build(Drain::type_cell())
}
