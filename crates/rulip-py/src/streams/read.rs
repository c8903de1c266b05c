//! What `readline()` and its siblings return: one object that is the coroutine and its iterator.
//!
//! What is there already is returned without suspending; how the rest is waited for is in `waiting.rs`.
//!
//! | state | meaning |
//! |---|---|
//! | new | never awaited: dropping it warns, as an unawaited coroutine would |
//! | waiting | yielded itself, and holds the task to wake |
//! | woken / cancelled | the task is queued, and goes on with that |
//! | delegated | yielded a future, which `reader._waiter` is: under a foreign task, or once somebody looked |
//! | spent | awaited to its end, thrown into, or closed |
//!
//! One that has returned its result rests, to be the next.
//! Owner thread. Invariant: it is tracked by the collector while it waits.

use std::cell::Cell;
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
use crate::task::{PassesForFuture, Task, as_a_future};

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
    pub(super) fn waits_as(self) -> &'static str {
        match self {
            Self::Line | Self::Until | Self::Next => "readuntil",
            Self::Exactly => "readexactly",
            Self::Read | Self::Data => "read",
        }
    }
}

#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(super) enum State {
    New,
    Waiting,
    Woken,
    Cancelled,
    Delegated,
    Spent,
}

/// The body of `_rulip.StreamRead`.
pub(crate) struct Read {
    /// Set until it begins, and while it waits.
    pub(super) reader: RefSlot<Reader>,
    /// `n`, the separator, the name for the complaint; once cancelled, the message of the cancellation.
    pub(super) argument: Slot,
    /// What it waits with: the task to wake, or the future that it is delegated to.
    pub(super) waits_with: EitherSlot<Task>,
    separators: Cell<Option<Rc<Separators>>>,
    want: Cell<Want>,
    /// The number of its wait.
    pub(super) wait: Cell<u32>,
    pub(super) call: Call,
    pub(super) state: Cell<State>,
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
        self.waits_with.visit(visit)
    }

    fn clear(&self) {
        drop(self.leave());
        drop(self.argument.take());
        drop(self.waits_with.take());
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
            _ => this.abandon(),
        }
    }
}

impl Read {
    /// What the method `call` of a reader returns.
    #[inline]
    pub(super) fn start(reader: &Ref<Reader>, call: Call, argument: Option<&Obj>) -> Res<Obj> {
        Ref::renew(Self {
            reader: RefSlot::new(Some(reader.clone())),
            argument: Slot::new(argument.cloned()),
            waits_with: EitherSlot::empty(),
            separators: Cell::new(None),
            want: Cell::new(Want::News),
            wait: Cell::new(0),
            call,
            state: Cell::new(State::New),
        })
        .map(Ref::into_obj)
    }

    /// The first round, before anything is waited for.
    fn begin(this: &Ref<Self>, reader: Ref<Reader>) -> Res<Step> {
        match this.call {
            Call::Line | Call::Next => this.want.set(Want::Line),
            Call::Until => {
                let separators = Separators::of(this.argument.take().as_ref())?;
                drop(this.separators.replace(Some(Rc::new(separators))));
                this.want.set(Want::Separator);
            }
            Call::Data => return Self::wait(this, reader, Want::News),
            Call::Exactly | Call::Read => {
                if let Some(empty) = Self::begin_counted(this, &reader)? {
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
            Some(n) => value::nearest_i64(&n)?,
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

    pub(super) fn go_on(this: &Ref<Self>, reader: Ref<Reader>) -> Res<Step> {
        let want = this.want.get();
        if want == Want::Separator {
            this.lend_separators(&reader);
        }
        match reader.round(want)? {
            Round::Done(result) => Self::returns(this, result),
            Round::Wait(want) => Self::wait(this, reader, want),
        }
    }

    /// The reader looks for ours from now on; another's place in the buffer means nothing to us.
    fn lend_separators(&self, reader: &Reader) {
        let Some(ours) = self.separators.take() else { return };
        self.separators.set(Some(ours.clone()));
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

    /// Woken: takes what was cut out for it, or goes for another round.
    #[inline]
    pub(super) fn resume(this: &Ref<Self>, reader: Ref<Reader>) -> Res<Step> {
        if this.call == Call::Data {
            return Ok(Step::Return(Obj::none()));
        }
        if this.wait.get() == reader.wait.get()
            && !this.could_have_more(&reader)
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

    /// It has returned: it holds nothing any more, and may be used again once nobody holds it.
    #[inline]
    fn retire(this: &Ref<Self>) {
        drop(this.separators.take());
        if !(this.reader.is_set() || this.argument.is_set() || this.waits_with.is_set()) {
            this.clone().rest();
        }
    }
}

impl Awaitable for Read {
    #[inline]
    fn poll(this: &Ref<Self>) -> Res<Step> {
        // Unless it waits, now or again.
        let state = this.state.replace(State::Spent);
        let result = match state {
            State::New => match this.reader.take() {
                Some(reader) => Self::begin(this, reader),
                None => Ok(Step::Return(Obj::none())),
            },
            State::Spent => return Err(coroutine::reused()),
            _ => Self::waited(this, state),
        };
        if let Ok(Step::Return(_)) = &result {
            Self::retire(this);
        }
        result
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
        if self.state.get() == State::Delegated { self.waits_with.get() } else { None }
    }

    fn is_spent(&self) -> bool {
        self.state.get() == State::Spent
    }
}

impl PassesForFuture for Read {
    fn cancel_wait(this: &Ref<Self>, message: Option<Obj>) -> Res<bool> {
        match Self::stand_in(this) {
            Some(future) => crate::task::cancel(&future, message),
            None => Self::cancel(this, message),
        }
    }

    fn is_over(this: &Ref<Self>) -> Res<bool> {
        match Self::stand_in(this) {
            Some(future) => future.method0(&names::get().done)?.is_true(),
            None => Ok(!this.is_waiting()),
        }
    }

    fn was_cancelled(this: &Ref<Self>) -> Res<bool> {
        match Self::stand_in(this) {
            Some(future) => future.method0(&names::get().cancelled)?.is_true(),
            None => Ok(this.state.get() == State::Cancelled),
        }
    }

    fn has_task(this: &Ref<Self>) -> bool {
        matches!(this.state.get(), State::Waiting | State::Woken | State::Cancelled)
    }

    fn is_held_by_hand(this: &Ref<Self>) -> bool {
        Self::has_task(this)
            && this.waits_with.get_native().is_some_and(|task| !task.waits_for(this.as_obj()))
    }

    fn stand_in(this: &Ref<Self>) -> Option<Obj> {
        if this.state.get() == State::Delegated { this.waits_with.get() } else { None }
    }

    fn into_future(this: &Ref<Self>) -> Res<Option<Ref<Future>>> {
        Self::into_future(this)
    }
}

pub(crate) fn build() -> Res<Obj> {
    as_a_future::<Read>(coroutine::faced::<Read>(TypeSpec::new::<Read>(
        c"rulip._rulip.StreamRead",
        c"What a StreamReader's read methods return: a coroutine.",
    )))
    .build(Read::type_cell())
}
