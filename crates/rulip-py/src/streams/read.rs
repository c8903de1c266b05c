//! What `readline()` and its siblings return: one object that is the coroutine and its iterator.
//!
//! What is there already is returned without suspending. What is not is waited for with a future of
//! the reader's loop in `reader._waiter`, as asyncio does it, so every kind of task can wait here.
//!
//! | state | meaning |
//! |---|---|
//! | new | never awaited: dropping it warns, as an unawaited coroutine would |
//! | waiting | yielded its future |
//! | spent | awaited to its end, thrown into, or closed |
//!
//! Owner thread. Invariant: it is tracked by the collector while it waits.

use std::cell::{Cell, RefCell};
use std::ffi::{CStr, c_int};
use std::rc::Rc;

use super::reader::{Reader, Want};
use super::reading::Round;
use super::scan::Separators;
use crate::coroutine::{self, Coroutine};
use crate::ffi::native::{Native, TypeCell};
use crate::ffi::send::{Awaitable, Step};
use crate::ffi::slot::Visit;
use crate::ffi::spec::TypeSpec;
use crate::ffi::{EitherSlot, Obj, Raised, Ref, RefSlot, Res, Slot, value};
use crate::future::Future;
use crate::names;

/// Which method was called.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(super) enum Call {
    Line,
    Until,
    Exactly,
    Read,
    /// `__anext__`
    Next,
    /// `_wait_for_data`
    Data,
}

impl Call {
    fn name(self) -> &'static CStr {
        match self {
            Self::Line => c"StreamReader.readline",
            Self::Until => c"StreamReader.readuntil",
            Self::Exactly => c"StreamReader.readexactly",
            Self::Read => c"StreamReader.read",
            Self::Next => c"StreamReader.__anext__",
            Self::Data => c"StreamReader._wait_for_data",
        }
    }

    /// Who waits, in the words of the complaint that somebody else does: asyncio's `readline` calls `readuntil`.
    fn waits_as(self) -> &'static str {
        match self {
            Self::Line | Self::Until | Self::Next => "readuntil",
            Self::Exactly => "readexactly",
            Self::Read | Self::Data => "read",
        }
    }
}

#[derive(Copy, Clone, PartialEq, Eq, Debug)]
enum State {
    New,
    Waiting,
    Spent,
}

/// The body of `_rulip.StreamRead`.
pub(crate) struct Read {
    reader: RefSlot<Reader>,
    /// `n`, the separator, the name for the complaint.
    argument: Slot,
    /// What it yielded.
    future: EitherSlot<Future>,
    separators: RefCell<Option<Rc<Separators>>>,
    want: Cell<Want>,
    /// The number of its wait.
    wait: Cell<u32>,
    call: Call,
    state: Cell<State>,
}

static TYPE: TypeCell = TypeCell::new();

// SAFETY: every reference held is visited.
#[allow(unsafe_code, reason = "a promise about the layout or the collector, no operation")]
unsafe impl Native for Read {
    const RECYCLED: bool = true;
    /// Most are over before the collector could see them: tracked once it waits.
    const TRACKED: bool = false;
    const HAS_FINALIZER: bool = true;

    fn type_cell() -> &'static TypeCell {
        &TYPE
    }

    fn traverse(&self, visit: &Visit) -> Result<(), c_int> {
        self.reader.visit(visit)?;
        self.argument.visit(visit)?;
        self.future.visit(visit)
    }

    fn clear(&self) {
        drop(self.reader.take());
        drop(self.argument.take());
        drop(self.future.take());
    }

    fn wants_finalizer(&self) -> bool {
        self.state.get() != State::Spent
    }

    fn finalize(this: &Ref<Self>) {
        match this.state.get() {
            State::New => {
                this.state.set(State::Spent);
                coroutine::never_awaited(this);
            }
            State::Waiting => this.abandon(),
            State::Spent => {}
        }
    }
}

impl Read {
    /// What the method `call` of a reader returns.
    #[inline]
    pub(super) fn start(reader: &Ref<Reader>, call: Call, argument: Option<&Obj>) -> Res<Obj> {
        Ref::new(Self {
            reader: RefSlot::new(Some(reader.clone())),
            argument: Slot::new(argument.cloned()),
            future: EitherSlot::empty(),
            separators: RefCell::new(None),
            want: Cell::new(Want::News),
            wait: Cell::new(0),
            call,
            state: Cell::new(State::New),
        })
        .map(Ref::into_obj)
    }

    /// The first round, before anything is waited for.
    fn begin(this: &Ref<Self>, reader: &Ref<Reader>) -> Res<Step> {
        match this.call {
            Call::Line | Call::Next => this.want.set(Want::Line),
            Call::Until => {
                let separators = Separators::of(this.argument.take().as_ref())?;
                this.separators.replace(Some(Rc::new(separators)));
                this.want.set(Want::Separator);
            }
            Call::Data => return Self::wait(this, reader, Want::News),
            Call::Exactly | Call::Read => {
                if let Some(empty) = Self::begin_counted(this, reader)? {
                    return Ok(Step::Return(empty));
                }
            }
        }
        if let Some(exc) = reader.exception.get() {
            return Err(Raised::from_exception(&exc));
        }
        Self::go_on(this, reader)
    }

    /// Reads `n`; one of 0 is served at once.
    fn begin_counted(this: &Ref<Self>, reader: &Ref<Reader>) -> Res<Option<Obj>> {
        let n = match this.argument.take() {
            Some(n) => value::as_i64(&n)?,
            None => -1,
        };
        if this.call == Call::Exactly && n < 0 {
            return Err(Raised::value_error("readexactly size can not be less than zero"));
        }
        if let Some(exc) = reader.exception.get() {
            return Err(Raised::from_exception(&exc));
        }
        if n == 0 {
            return crate::ffi::bytes::from_slice(&[]).map(Some);
        }
        this.want.set(match usize::try_from(n) {
            Err(_) => Want::End,
            Ok(n) if this.call == Call::Exactly => Want::Exactly(n),
            Ok(n) => Want::AtMost(n),
        });
        Ok(None)
    }

    fn go_on(this: &Ref<Self>, reader: &Ref<Reader>) -> Res<Step> {
        let want = this.want.get();
        if want == Want::Separator {
            this.lend_separators(reader);
        }
        match reader.round(want)? {
            Round::Done(result) => Self::returns(this, result),
            Round::Wait(want) => Self::wait(this, reader, want),
        }
    }

    /// The reader looks for ours from now on; another's place in the buffer means nothing to us.
    fn lend_separators(&self, reader: &Reader) {
        let Some(ours) = self.separators.borrow().clone() else { return };
        let mut theirs = reader.separators.borrow_mut();
        if !theirs.as_ref().is_some_and(|theirs| Rc::ptr_eq(theirs, &ours)) {
            reader.looked_through.set(0);
            *theirs = Some(ours);
        }
    }

    fn returns(this: &Ref<Self>, result: Obj) -> Res<Step> {
        if this.call == Call::Next && crate::ffi::bytes::len(&result) == 0 {
            let end = crate::task::builtin("StopAsyncIteration")?.call0()?;
            return Err(Raised::from_exception(&end));
        }
        Ok(Step::Return(result))
    }

    /// As asyncio's `_wait_for_data`.
    fn wait(this: &Ref<Self>, reader: &Ref<Reader>, want: Want) -> Res<Step> {
        if reader.waiter.is_set() {
            return Err(this.somebody_else_waits());
        }
        if reader.eof.get() {
            let error = crate::task::builtin("AssertionError")?;
            return Err(Raised::new(&error, "_wait_for_data after EOF"));
        }
        if reader.paused.get() {
            reader.resume()?;
        }
        reader.want.set(want);
        reader.wait.set(reader.wait.get().wrapping_add(1));
        this.wait.set(reader.wait.get());
        this.track();
        if let Some(loop_) = reader.loop_.get_native()
            && !loop_.waiting_replaced.get()
        {
            let future = Ref::<Future>::create(&loop_)?;
            reader.waiter.set_native(future.clone());
            this.future.set_native(future.clone());
            this.state.set(State::Waiting);
            return Future::poll(&future);
        }
        let names = names::get();
        let future = reader.loop_.get_or_none().method0(&names.create_future)?;
        reader.waiter.set(future.clone());
        this.future.set(future.clone());
        this.state.set(State::Waiting);
        future.set_attr(&names.asyncio_future_blocking, &Obj::bool(true))?;
        Ok(Step::Yield(future))
    }

    #[cold]
    fn somebody_else_waits(&self) -> Raised {
        let name = match (self.call, self.argument.get()) {
            (Call::Data, Some(name)) => value::str_of(&name).and_then(|name| value::text(&name)),
            _ => Ok(self.call.waits_as().to_owned()),
        };
        match name {
            Ok(name) => Raised::runtime_error(&format!(
                "{name}() called while another coroutine is already waiting for incoming data"
            )),
            Err(raised) => raised,
        }
    }

    /// Woken: takes what was cut out for it, or goes for another round.
    fn resume(this: &Ref<Self>, reader: &Ref<Reader>) -> Res<Step> {
        match this.future.get_native() {
            Some(future) => {
                if !future.is_done() {
                    this.leave(reader);
                    return Err(Raised::runtime_error("await wasn't used with future"));
                }
                this.leave(reader);
                future.outcome()?;
            }
            None => {
                let future = this.future.get_or_none();
                if !future.method0(&names::get().done)?.is_true()? {
                    this.leave(reader);
                    return Err(Raised::runtime_error("await wasn't used with future"));
                }
                this.leave(reader);
                future.method0(&names::get().result)?;
            }
        }
        if this.call == Call::Data {
            return Ok(Step::Return(Obj::none()));
        }
        if this.wait.get() == reader.wait.get()
            && !this.could_have_more(reader)
            && let Some(ready) = reader.ready.take()
        {
            reader.resume_if_low()?;
            return Self::returns(this, ready);
        }
        Self::go_on(this, reader)
    }

    /// A read of at most `n` bytes takes what came since it was woken, too.
    #[inline]
    fn could_have_more(&self, reader: &Reader) -> bool {
        match self.want.get() {
            Want::AtMost(n) => !reader.buffer.borrow().is_empty() && reader.ready_len() < n,
            _ => false,
        }
    }

    /// Waits no more; another's wait is none of our business.
    fn leave(&self, reader: &Reader) {
        if let Some(future) = self.future.take()
            && reader.waiter.is(&future)
        {
            drop(reader.waiter.take());
        }
    }

    /// Thrown into or closed.
    fn abandon(&self) {
        let waited = self.state.replace(State::Spent) == State::Waiting;
        if waited && let Some(reader) = self.reader.get() {
            self.leave(&reader);
        }
    }
}

impl Awaitable for Read {
    #[inline]
    fn poll(this: &Ref<Self>) -> Res<Step> {
        let state = this.state.get();
        if state == State::Spent {
            return Err(coroutine::reused());
        }
        let Some(reader) = this.reader.get() else { return Ok(Step::Return(Obj::none())) };
        // Unless it waits, now or again.
        this.state.set(State::Spent);
        match state {
            State::New => Self::begin(this, &reader),
            _ => Self::resume(this, &reader),
        }
    }
}

impl Coroutine for Read {
    fn close(this: &Ref<Self>) -> Res<()> {
        this.abandon();
        Ok(())
    }

    fn name(&self) -> &'static CStr {
        self.call.name()
    }

    fn awaited(&self) -> Option<Obj> {
        self.future.get()
    }

    fn is_spent(&self) -> bool {
        self.state.get() == State::Spent
    }
}

pub(crate) fn build() -> Res<Obj> {
    coroutine::faced::<Read>(TypeSpec::new::<Read>(
        c"rulip._rulip.StreamRead",
        c"What a StreamReader's read methods return: a coroutine.",
    ))
    .build(Read::type_cell())
}
