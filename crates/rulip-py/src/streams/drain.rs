//! What `writer.drain()` returns: one object that is the coroutine and its iterator.
//!
//! | state | meaning |
//! |---|---|
//! | new | never awaited: dropping it warns, as an unawaited coroutine would |
//! | yielded | the transport is closing: gave up its turn, so that `connection_lost` may come |
//! | waiting | writing is paused: yielded a future that `resume_writing` sets |
//! | spent | awaited to its end, thrown into, or closed |
//!
//! One that has returned rests, to be the next.
//! Owner thread. Invariant: a future that it yielded leaves the protocol's list with it.

use std::cell::Cell;
use std::ffi::{CStr, c_int};

use super::protocol::StreamProtocol;
use super::writer::Writer;
use crate::coroutine::{self, Coroutine};
use crate::ffi::native::{Native, TypeCell};
use crate::ffi::send::{Awaitable, Step};
use crate::ffi::slot::Visit;
use crate::ffi::spec::TypeSpec;
use crate::ffi::{Obj, Raised, Ref, RefSlot, Res, Slot, value};
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
    writer: RefSlot<Writer>,
    /// What it yielded.
    future: Slot,
    state: Cell<State>,
    /// Not the protocol's own `_drain_helper()`.
    is_of_writer: bool,
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
        match this.state.replace(State::Spent) {
            State::New => coroutine::never_awaited(this),
            State::Waiting => {
                if let Err(raised) = this.leave() {
                    raised.write_unraisable(this.as_obj());
                }
            }
            State::Yielded | State::Spent => {}
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
        let is_of_writer = writer.is_some();
        Ref::renew(Self {
            is_of_writer,
            protocol: RefSlot::new(Some(protocol)),
            writer: RefSlot::new(writer),
            future: Slot::empty(),
            state: Cell::new(State::New),
        })
        .map(Ref::into_obj)
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
        let result = match this.state.replace(State::Spent) {
            State::New => Self::begin(this),
            State::Yielded => Self::await_room(this),
            State::Waiting => Self::resume(this),
            State::Spent => return Err(coroutine::reused()),
        };
        if let Ok(Step::Return(_)) = &result
            && !this.future.is_set()
        {
            let held = (this.protocol.take(), this.writer.take());
            this.clone().rest();
            drop(held);
        }
        result
    }
}

impl Coroutine for Drain {
    fn close(this: &Ref<Self>) -> Res<()> {
        this.abandon()
    }

    fn name(&self) -> &'static CStr {
        if self.is_of_writer { c"StreamWriter.drain" } else { c"FlowControlMixin._drain_helper" }
    }

    fn awaited(&self) -> Option<Obj> {
        self.future.get()
    }

    fn is_spent(&self) -> bool {
        self.state.get() == State::Spent
    }
}

pub(crate) fn build() -> Res<Obj> {
    coroutine::faced::<Drain>(TypeSpec::new::<Drain>(
        c"rulip._rulip.StreamDrain",
        c"What StreamWriter.drain() returns: a coroutine.",
    ))
    .build(Drain::type_cell())
}
