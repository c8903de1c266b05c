//! `Handle` and `TimerHandle`: a callback on its way to run.
//!
//! What lives here: the two types, cancelling, running, and the report when the callback raises.
//! Their Python face is in `slots.rs`, the handle that threads may share in `threadsafe.rs`. Not here:
//! who queues them (`event_loop::schedule`).
//! Owner thread; `cancel()` may come from any attached thread.
//!
//! | state | callback, args | how it gets there |
//! |---|---|---|
//! | live | set | `new` |
//! | cancelled | gone, with their references | `cancel`; a timer leaves the schedule at once |
//!
//! | spent | gone | ran once, without an exception, outside debug mode |
//!
//! One that Python made, `Handle(callback, args, loop)`, may be run again and again, and on a loop of
//! any kind.
//!
//! Handles are made and dropped at every turn, so those of `call_soon` are not tracked by the garbage
//! collector while the loop runs: it is alive then, and so are they. When it stops, and for what is
//! scheduled while it does not run, they are (`LoopState::track_jobs`). Timers always are.
//!
//! Invariant: a cancelled handle never runs.

pub(crate) mod slots;
#[cfg(Py_3_14)]
pub(crate) mod threadsafe;

use std::cell::Cell;
use std::ffi::c_int;

use pyo3::ffi as c;
use rulip_engine::TimerKey;

use crate::ffi::context::{self, Entered};
use crate::ffi::inline_args::InlineArgs;
use crate::ffi::native::{Extends, Native, TypeCell};
use crate::ffi::slot::Visit;
use crate::ffi::{EitherSlot, Obj, Raised, Ref, Res, Slot, value};
use crate::loop_state::{self, LoopState};
use crate::rare::Rare;
use crate::{imports, names};

/// What only few need: debug mode, and who tells times by other numbers than `float`.
#[derive(Default)]
struct Details {
    source_traceback: Option<Obj>,
    repr: Option<Obj>,
    /// The deadline as it was given, where it is no `float`.
    when: Option<Obj>,
    /// The file object that it watches: the way to it once that is closed.
    file: Option<Obj>,
}

/// The body of `_rulip.Handle`.
#[repr(C)]
pub(crate) struct Handle {
    callback: Slot,
    context: Slot,
    args: InlineArgs,
    // The flags stand together: padding between them would put a timer into malloc's next size.
    cancelled: Cell<bool>,
    /// It is run again and again: a watched descriptor's callback, a signal's, one made by Python.
    lasting: Cell<bool>,
    /// It is a [`threadsafe::ThreadSafeHandle`].
    #[cfg(Py_3_14)]
    shared: Cell<bool>,
    /// `_scheduled`, as a loop of another kind keeps it.
    scheduled: Cell<bool>,
    /// Where it stands among the loop's timers.
    timer: Cell<Option<TimerKey>>,
    /// For a watched descriptor: the turn it was registered in.
    turn: Cell<u32>,
    loop_: EitherSlot<LoopState>,
    weakrefs: Cell<*mut c::PyObject>,
    details: Rare<Details>,
}

/// The body of `_rulip.TimerHandle`.
#[repr(C)]
pub(crate) struct TimerHandle {
    handle: Handle,
    /// Seconds on the loop's clock, as the caller gave them.
    when: Cell<f64>,
}

static TYPE: TypeCell = TypeCell::new();
static TIMER_TYPE: TypeCell = TypeCell::new();

// SAFETY: every reference held is visited.
#[allow(unsafe_code, reason = "a promise about the layout or the collector, no operation")]
unsafe impl Native for Handle {
    const RECYCLED: bool = true;
    const TRACKED: bool = false;

    fn type_cell() -> &'static TypeCell {
        &TYPE
    }

    fn traverse(&self, visit: &Visit) -> Result<(), c_int> {
        let seen = self.details.read(|details| {
            [&details.source_traceback, &details.repr, &details.when, &details.file]
                .into_iter()
                .flatten()
                .try_for_each(|obj| visit.obj(obj))
        });
        seen.unwrap_or(Ok(()))?;
        self.callback.visit(visit)?;
        self.context.visit(visit)?;
        self.args.visit(visit)?;
        self.loop_.visit(visit)
    }

    fn clear(&self) {
        drop(self.callback.take());
        drop(self.args.take());
        drop(self.context.take());
        drop(self.loop_.take());
    }

    fn weakrefs(&self) -> *mut c::PyObject {
        self.weakrefs.get()
    }
}

// SAFETY: delegates to the parent, which stands first.
#[allow(unsafe_code, reason = "a promise about the layout or the collector, no operation")]
unsafe impl Native for TimerHandle {
    const RECYCLED: bool = true;

    fn type_cell() -> &'static TypeCell {
        &TIMER_TYPE
    }

    fn traverse(&self, visit: &Visit) -> Result<(), c_int> {
        self.handle.traverse(visit)
    }

    fn clear(&self) {
        self.handle.clear();
    }

    fn weakrefs(&self) -> *mut c::PyObject {
        self.handle.weakrefs()
    }
}

// SAFETY: `repr(C)`, the handle stands first.
#[allow(unsafe_code, reason = "a promise about the layout or the collector, no operation")]
unsafe impl Extends<Handle> for TimerHandle {}

impl Handle {
    #[inline(always)]
    fn body(loop_: &Ref<LoopState>, callback: Obj, args: InlineArgs, context: Obj) -> Self {
        Self {
            callback: Slot::new(Some(callback)),
            context: Slot::new(Some(context)),
            args,
            cancelled: Cell::new(false),
            timer: Cell::new(None),
            turn: Cell::new(0),
            loop_: EitherSlot::native(loop_),
            weakrefs: Cell::new(std::ptr::null_mut()),
            lasting: Cell::new(false),
            #[cfg(Py_3_14)]
            shared: Cell::new(false),
            scheduled: Cell::new(false),
            details: Rare::new(),
        }
    }

    /// Between `__new__` and `__init__`.
    #[inline(always)]
    fn blank() -> Self {
        Self {
            callback: Slot::empty(),
            context: Slot::empty(),
            args: InlineArgs::none(),
            cancelled: Cell::new(false),
            timer: Cell::new(None),
            turn: Cell::new(0),
            loop_: EitherSlot::empty(),
            weakrefs: Cell::new(std::ptr::null_mut()),
            lasting: Cell::new(false),
            #[cfg(Py_3_14)]
            shared: Cell::new(false),
            scheduled: Cell::new(false),
            details: Rare::new(),
        }
    }

    /// `__init__`'s part: on a loop of any kind, to be run as often as somebody likes.
    fn initialise(
        this: &Ref<Self>,
        callback: Obj,
        args: &Obj,
        loop_: Obj,
        context: Option<Obj>,
    ) -> Res<()> {
        // As asyncio's: what it is turns out when the callback runs.
        let context = context.map_or_else(context::copy_current, Ok)?;
        let args = if args.is_none() { InlineArgs::none() } else { InlineArgs::of(args)? };
        let debug = loop_.method0(&names::get().get_debug)?.is_true()?;
        let old = this.args.replace(args);
        this.callback.set(Some(callback));
        this.context.set(Some(context));
        this.loop_.set(loop_);
        this.cancelled.set(false);
        this.lasting.set(true);
        drop((old, this.details.take()));
        this.track();
        if debug { this.note_source() } else { Ok(()) }
    }

    /// Whether its loop, of any kind, is in debug mode.
    fn in_debug_mode(&self) -> Res<bool> {
        match (self.loop_.get_native(), self.loop_.get()) {
            (Some(loop_), _) => Ok(loop_.debug.get()),
            (None, Some(loop_)) => loop_.method0(&names::get().get_debug)?.is_true(),
            (None, None) => Ok(false),
        }
    }

    /// A callback with its arguments; `context` is the current one where none is given.
    #[inline(always)]
    pub(crate) fn new(
        loop_: &Ref<LoopState>,
        callback: Obj,
        args: InlineArgs,
        context: Option<Obj>,
    ) -> Res<Ref<Self>> {
        let context = context_or_current(context)?;
        let this = Ref::renew(Self::body(loop_, callback, args, context))?;
        if loop_.debug.get() {
            this.note_source()?;
        }
        Ok(this)
    }

    /// It is going to be run more than once.
    pub(crate) fn set_lasting(&self) {
        self.lasting.set(true);
    }

    pub(crate) fn set_turn(&self, turn: u32) {
        self.turn.set(turn);
    }

    pub(crate) fn turn(&self) -> u32 {
        self.turn.get()
    }

    #[cold]
    fn note_source(&self) -> Res<()> {
        let traceback = current_stack()?;
        drop(
            self.details
                .change(|details| std::mem::replace(&mut details.source_traceback, traceback)),
        );
        Ok(())
    }

    fn source_traceback(&self) -> Option<Obj> {
        self.details.read(|details| details.source_traceback.clone()).flatten()
    }

    pub(crate) fn set_file(&self, file: &Obj) {
        drop(self.details.change(|details| details.file.replace(file.clone())));
    }

    pub(crate) fn watches(&self, file: &Obj) -> bool {
        let is_it = |details: &Details| details.file.as_ref().is_some_and(|own| own.is(file));
        self.details.read(is_it).unwrap_or(false)
    }

    fn kept_repr(&self) -> Option<Obj> {
        self.details.read(|details| details.repr.clone()).flatten()
    }

    /// Drops what it holds without calling it cancelled: it has run, or never will.
    pub(crate) fn empty(&self) {
        drop((self.callback.take(), self.args.take()));
    }

    #[inline]
    pub(crate) fn is_cancelled(&self) -> bool {
        self.cancelled.get()
    }

    pub(crate) fn set_timer(&self, key: Option<TimerKey>) {
        self.timer.set(key);
    }

    /// `cancel()`: drops the callback and what it holds.
    pub(crate) fn cancel(this: &Ref<Self>) -> Res<()> {
        if this.cancelled.replace(true) {
            return Ok(());
        }
        if this.in_debug_mode()? {
            // Kept for "Executing <Handle...> took ..." and its like.
            let text = slots::describe(this)?;
            drop(this.details.change(|details| details.repr.replace(text)));
        }
        let callback = this.callback.take();
        let args = this.args.take();
        let job = match (this.timer.take(), this.loop_.get_native()) {
            (Some(key), Some(loop_)) => loop_.engine.cancel_timer(key),
            _ => None,
        };
        drop((callback, args, job));
        Ok(())
    }

    /// Runs the callback in its context. An exception goes to the exception handler; only what
    /// must leave the loop comes back.
    #[inline(always)]
    pub(crate) fn run(this: &Ref<Self>) -> Res<()> {
        if this.as_obj().refcount() > 1 {
            return Self::run_held(this);
        }
        // Only the queue knows it: nobody can cancel it meanwhile, so what it holds is used as it is.
        let (Some(callback), Some(context)) = (this.callback.take(), this.context.take()) else {
            return Ok(());
        };
        let result = match Entered::new(&context) {
            Ok(_entered) => this.args.call(&callback),
            Err(raised) => Err(raised),
        };
        match result {
            Ok(_answer) => {
                // To be dropped with the handle: until then it can be named.
                this.callback.set(Some(callback));
                Ok(())
            }
            Err(raised) if raised.leaves_the_loop() => Err(raised),
            Err(raised) => {
                this.context.set(Some(context));
                this.callback.set(Some(callback.clone()));
                Self::report(this, &callback, raised)
            }
        }
    }

    /// `_run()`, and whenever somebody else holds the handle. (A caller written in Python does, even
    /// where the count is one: from 3.14 on it lends what its variables hold.)
    fn run_held(this: &Ref<Self>) -> Res<()> {
        #[cfg(Py_3_14)]
        if this.shared.get()
            && let Some(shared) = Ref::<threadsafe::ThreadSafeHandle>::downcast(this.as_obj())
        {
            return threadsafe::ThreadSafeHandle::run(shared);
        }
        Self::run_shared(this)
    }

    /// Somebody holds the handle, and may cancel it while it runs.
    fn run_shared(this: &Ref<Self>) -> Res<()> {
        let (Some(callback), Some(context)) = (this.callback.get(), this.context.get()) else {
            return Ok(());
        };
        let result = match Entered::new(&context) {
            Ok(_entered) => this.args.call_shared(&callback),
            Err(raised) => Err(raised),
        };
        match result {
            Ok(_answer) => Ok(()),
            Err(raised) if raised.leaves_the_loop() => Err(raised),
            Err(raised) => Self::report(this, &callback, raised),
        }
    }

    /// It ran, and it was told of: drops what whoever still holds it can't ask for, or all.
    #[inline(always)]
    pub(crate) fn release(this: Ref<Self>) {
        if this.as_obj().refcount() > 1 {
            if !this.lasting.get() && this.source_traceback().is_none() {
                this.empty();
            }
        } else if TYPE.is_type_of(this.as_obj()) {
            if this.let_go() {
                this.rest();
            }
        } else {
            #[cfg(Py_3_14)]
            if let Ok(shared) = Ref::<threadsafe::ThreadSafeHandle>::try_from_exact(this.into_obj())
                && shared.parent::<Self>().let_go()
            {
                shared.rest();
            }
        }
    }

    /// Drops all that it holds; false where something can't be dropped this way.
    #[inline(always)]
    fn let_go(&self) -> bool {
        if self.details.is_used() || !self.weakrefs.get().is_null() {
            return false;
        }
        let (callback, [a, b, c]) = (self.callback.take(), self.args.take());
        let (context, loop_) = (self.context.take(), self.loop_.take());
        // One by one: dropping them as a whole is a call.
        drop(callback);
        drop(a);
        drop(b);
        drop(c);
        drop(context);
        drop(loop_);
        true
    }

    #[cold]
    fn report(this: &Ref<Self>, callback: &Obj, raised: Raised) -> Res<()> {
        let Some(loop_) = this.loop_.get() else { return Err(raised) };
        // The exception handler may keep the handle, and show it later.
        this.set_lasting();
        let exc = raised.take();
        let message = {
            let args = this.args.to_tuple()?;
            let debug = Obj::bool(this.in_debug_mode()?);
            // A callback that cancelled its own handle has no source to show any more.
            match format_source(callback, &args, &debug) {
                Ok(source) => format!("Exception in callback {}", value::text(&source)?),
                Err(interrupt) if interrupt.leaves_the_loop() => {
                    let interrupt = interrupt.take();
                    drop(exc);
                    return Err(Raised::from_exception(&interrupt));
                }
                Err(unprintable) => {
                    unprintable.clear();
                    "Exception in callback".to_owned()
                }
            }
        };
        let names = names::get();
        let traceback = this.source_traceback();
        let mut more = vec![(&names.handle, this.as_obj())];
        if let Some(traceback) = &traceback {
            more.push((&names.source_traceback, traceback));
        }
        loop_state::report_to(&loop_, &message, Some(&exc), &more)
    }
}

impl TimerHandle {
    /// A callback for a later time, `when` seconds on the loop's clock.
    pub(crate) fn new(
        loop_: &Ref<LoopState>,
        when: f64,
        callback: Obj,
        args: InlineArgs,
        context: Option<Obj>,
    ) -> Res<Ref<Self>> {
        let context = context_or_current(context)?;
        let handle = Handle::body(loop_, callback, args, context);
        let this = Ref::new(Self { handle, when: Cell::new(when) })?;
        if loop_.debug.get() {
            this.handle.note_source()?;
        }
        Ok(this)
    }

    fn blank() -> Self {
        Self { handle: Handle::blank(), when: Cell::new(0.0) }
    }

    /// The deadline, kept as it was given: `when()` answers an `int` with an `int`.
    pub(crate) fn set_when(&self, when: &Obj) -> Res<()> {
        self.when.set(value::as_f64(when)?);
        if !value::is_exact_float(when) {
            drop(self.handle.details.change(|details| details.when.replace(when.clone())));
        }
        Ok(())
    }

    fn when(&self) -> Res<Obj> {
        match self.handle.details.read(|details| details.when.clone()).flatten() {
            Some(when) => Ok(when),
            None => value::float(self.when.get()),
        }
    }
}

/// The Python stack of the caller, as debug mode records it; `None` outside any Python frame.
pub(crate) fn current_stack() -> Res<Option<Obj>> {
    let imports = imports::get();
    match imports.getframe.call1(&value::int(0)?) {
        Ok(frame) => imports.extract_stack.call1(&frame).map(Some),
        Err(no_frame) => {
            no_frame.clear();
            Ok(None)
        }
    }
}

#[inline(always)]
fn context_or_current(context: Option<Obj>) -> Res<Obj> {
    match context {
        None => context::copy_current(),
        Some(context) => checked(context),
    }
}

#[cold]
fn checked(context: Obj) -> Res<Obj> {
    if context::is_context(&context) {
        return Ok(context);
    }
    let kind = context.type_name();
    Err(Raised::type_error(&format!("context must be a contextvars.Context, not {kind}")))
}

/// `format_helpers._format_callback_source`, whose `debug` keyword is newer than 3.11.
fn format_source(callback: &Obj, args: &Obj, debug: &Obj) -> Res<Obj> {
    let format = &imports::get().format_callback_source;
    let keywords = value::dict()?;
    value::dict_set(&keywords, &value::interned(c"debug")?, debug)?;
    let positional = value::tuple(&[callback, args])?;
    match format.call_tuple(&positional, Some(&keywords)) {
        Ok(text) => Ok(text),
        Err(raised) => {
            raised.clear();
            format.call_tuple(&positional, None)
        }
    }
}
