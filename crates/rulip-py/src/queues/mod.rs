//! `Queue`, `PriorityQueue`, `LifoQueue`.
//!
//! What lives here: the body and its items (`storage.rs`), putting and getting (`operations.rs`), the
//! Python face (`slots.rs`). Not here: how a task waits (`task::waiter`), lists of waiters (`locks`).
//! Owner thread.
//!
//! asyncio's queues call their own methods by name, and subclasses replace them, above all `_init`,
//! `_put` and `_get`. Each step here asks first whether a method is replaced (`ffi::overrides`), and
//! calls it if so. Invariant: nothing is borrowed while Python runs; an item is in the queue or in
//! somebody's hands; a wake-up that a failed waiter was given goes to the next one.

mod operations;
pub(crate) mod slots;
mod storage;

use std::cell::Cell;
use std::ffi::c_int;

use pyo3::ffi as c;

use self::storage::{Order, Storage};
use crate::ffi::native::{Native, TypeCell};
use crate::ffi::object::Attached;
use crate::ffi::overrides::Overridable;
use crate::ffi::slot::Visit;
use crate::ffi::value::derives_from;
use crate::ffi::{Obj, Raised, Ref, RefSlot, Res, value};
use crate::locks::count::Count;
use crate::locks::event::Event;
use crate::locks::loop_bound::{self, Bound, LoopBound};
use crate::locks::waiters::Waiters;
use crate::{imports, names};

/// The body of `_rulip.Queue`.
pub(crate) struct Queue {
    bound: LoopBound,
    limit: Count,
    getters: Waiters,
    putters: Waiters,
    storage: Storage,
    /// Items put and not reported done.
    unfinished: Cell<i64>,
    /// `_finished`, once somebody joins or asks; until then, what it would say.
    finished: RefSlot<Event>,
    is_finished: Cell<bool>,
    is_shut_down: Cell<bool>,
}

static TYPE: TypeCell = TypeCell::new();
static OVERRIDABLE: Attached<Overridable> = Attached::new();

/// Bits of the overrides, after `_get_loop`'s.
mod over {
    pub(super) const FULL: u32 = 1 << 1;
    pub(super) const EMPTY: u32 = 1 << 2;
    pub(super) const QSIZE: u32 = 1 << 3;
    pub(super) const PUT_NOWAIT: u32 = 1 << 4;
    pub(super) const GET_NOWAIT: u32 = 1 << 5;
    pub(super) const PUT: u32 = 1 << 6;
    pub(super) const GET: u32 = 1 << 7;
    pub(super) const INIT: u32 = 1 << 8;
    pub(super) const WAKEUP_NEXT: u32 = 1 << 9;
    pub(super) const FORMAT: u32 = 1 << 10;
    pub(super) const QUEUE: u32 = 1 << 11;
}

/// Makes the table of what may be overridden, in the order of the bits.
fn overridable() -> Res<Overridable> {
    let n = names::get();
    let names = vec![
        &n.get_loop_private,
        &n.full,
        &n.empty,
        &n.qsize,
        &n.put_nowait,
        &n.get_nowait,
        &n.put_private,
        &n.get_private,
        &n.init_private,
        &n.wakeup_next,
        &n.format_private,
        &n.queue_private,
    ];
    Overridable::of(&slots::PUBLIC, &names)
}

// SAFETY: every reference held is visited.
#[allow(unsafe_code, reason = "a promise about the layout or the collector, no operation")]
unsafe impl Native for Queue {
    fn type_cell() -> &'static TypeCell {
        &TYPE
    }

    fn traverse(&self, visit: &Visit) -> Result<(), c_int> {
        self.bound.visit(visit)?;
        self.limit.visit(visit)?;
        self.getters.visit(visit)?;
        self.putters.visit(visit)?;
        self.storage.visit(visit)?;
        self.finished.visit(visit)
    }

    fn clear(&self) {
        self.bound.clear();
        self.limit.clear();
        self.getters.reset(false);
        self.putters.reset(false);
        self.storage.clear();
        drop(self.finished.take());
    }

    fn weakrefs(&self) -> *mut c::PyObject {
        self.bound.weakrefs()
    }

    fn unlink(&self, _me: *mut c::PyObject) {
        self.bound.drop_dict();
    }
}

impl Bound for Queue {
    const BOUND_AT: usize = std::mem::offset_of!(Self, bound);

    #[inline]
    fn bound(&self) -> &LoopBound {
        &self.bound
    }

    fn overridable() -> &'static Overridable {
        OVERRIDABLE.get()
    }
}

type This = Ref<Queue>;

impl Queue {
    fn blank(kind: *mut c::PyTypeObject) -> Self {
        let imports = imports::get();
        let order = if derives_from(kind, &imports.priority_queue_class) {
            Order::Priority
        } else if derives_from(kind, &imports.lifo_queue_class) {
            Order::LastIn
        } else {
            Order::FirstIn
        };
        Self {
            bound: LoopBound::new(),
            limit: Count::new(0),
            getters: Waiters::new(Obj::none),
            putters: Waiters::new(Obj::none),
            storage: Storage::new(order),
            unfinished: Cell::new(0),
            finished: RefSlot::empty(),
            is_finished: Cell::new(true),
            is_shut_down: Cell::new(false),
        }
    }

    fn initialise(this: &This, args: &Obj, kwargs: Option<&Obj>) -> Res<()> {
        let maxsize = match loop_bound::only_argument("Queue.__init__", c"maxsize", args, kwargs)? {
            Some(maxsize) => maxsize,
            None => value::int(0)?,
        };
        this.limit.set(&maxsize);
        this.getters.reset(false);
        this.putters.reset(false);
        this.unfinished.set(0);
        this.finished.set(None);
        this.is_finished.set(true);
        if overrides(this)? & over::INIT != 0 {
            this.storage.expect();
            this.as_obj().method1(&names::get().init_private, &maxsize)?;
        } else {
            this.storage.begin()?;
        }
        this.is_shut_down.set(false);
        Ok(())
    }

    /// `_finished`.
    fn finished(&self) -> Res<Ref<Event>> {
        if let Some(finished) = self.finished.get() {
            return Ok(finished);
        }
        let made = Event::make(self.is_finished.get())?;
        self.finished.set(Some(made.clone()));
        Ok(made)
    }

    #[inline(always)]
    fn note_unfinished(&self) {
        self.unfinished.set(self.unfinished.get() + 1);
        self.is_finished.set(false);
        if self.finished.is_set()
            && let Some(finished) = self.finished.get()
        {
            finished.unset();
        }
    }

    #[inline]
    fn note_finished(&self) -> Res<()> {
        self.is_finished.set(true);
        match self.finished.get() {
            Some(finished) => Event::set(&finished),
            None => Ok(()),
        }
    }

    fn task_done(&self) -> Res<()> {
        let unfinished = self.unfinished.get();
        if unfinished <= 0 {
            return Err(Raised::value_error("task_done() called too many times"));
        }
        self.unfinished.set(unfinished - 1);
        if unfinished == 1 { self.note_finished() } else { Ok(()) }
    }

    fn shut_down(this: &This, immediately: bool) -> Res<()> {
        this.is_shut_down.set(true);
        if immediately {
            let replaced = overrides(this)?;
            while !is_empty(this, replaced)? {
                drop(take(this, replaced)?);
                if this.unfinished.get() > 0 {
                    this.unfinished.set(this.unfinished.get() - 1);
                }
            }
            if this.unfinished.get() == 0 {
                this.note_finished()?;
            }
        }
        // Each looks again, and finds the queue shut down.
        this.getters.pop_and_wake_all()?;
        this.putters.pop_and_wake_all()
    }
}

/// Which methods are somebody else's: asked once per operation, and passed on as `replaced`.
#[inline(always)]
fn overrides(this: &This) -> Res<u32> {
    loop_bound::overrides(this)
}

/// `len(self._queue)`.
#[inline]
fn len(this: &This, replaced: u32) -> Res<usize> {
    if replaced & over::QUEUE != 0 {
        return value::len(&this.as_obj().attr(&names::get().queue_private)?);
    }
    this.storage.len(this)
}

/// `not self._queue`.
#[inline(always)]
fn has_no_items(this: &This, replaced: u32) -> Res<bool> {
    if replaced & over::QUEUE != 0 {
        return Ok(!this.as_obj().attr(&names::get().queue_private)?.is_true()?);
    }
    this.storage.is_empty(this)
}

/// `self.empty()`.
#[inline(always)]
fn is_empty(this: &This, replaced: u32) -> Res<bool> {
    if replaced & over::EMPTY != 0 {
        return this.as_obj().method0(&names::get().empty)?.is_true();
    }
    has_no_items(this, replaced)
}

/// What `full()` says, unless that is overridden.
#[inline(always)]
fn has_no_place(this: &This, replaced: u32) -> Res<bool> {
    if this.limit.is_not_positive()? {
        return Ok(false);
    }
    if replaced & over::QSIZE != 0 {
        let size = this.as_obj().method0(&names::get().qsize)?;
        return value::compare(&size, &this.limit.get()?, value::Comparison::GreaterOrEqual);
    }
    this.limit.is_reached_by(len(this, replaced)?)
}

/// `self.full()`.
#[inline(always)]
fn is_full(this: &This, replaced: u32) -> Res<bool> {
    if replaced & over::FULL != 0 {
        return this.as_obj().method0(&names::get().full)?.is_true();
    }
    has_no_place(this, replaced)
}

/// `self._put(item)`.
#[inline(always)]
fn store(this: &This, replaced: u32, item: Obj) -> Res<()> {
    if replaced & over::PUT != 0 {
        return this.as_obj().method1(&names::get().put_private, &item).map(drop);
    }
    if replaced & over::QUEUE != 0 {
        let items = this.as_obj().attr(&names::get().queue_private)?;
        return this.storage.put_into(&items, &item);
    }
    this.storage.put(this, item)
}

/// `self._get()`.
#[inline(always)]
fn take(this: &This, replaced: u32) -> Res<Obj> {
    if replaced & over::GET != 0 {
        return this.as_obj().method0(&names::get().get_private);
    }
    if replaced & over::QUEUE != 0 {
        let items = this.as_obj().attr(&names::get().queue_private)?;
        return this.storage.get_from(&items);
    }
    this.storage.get(this)
}

/// `self._wakeup_next(self._getters)`, or of the putters.
#[inline(always)]
fn wake_next(this: &This, replaced: u32, waiters: &Waiters) -> Res<()> {
    if replaced & over::WAKEUP_NEXT != 0 {
        let waiters = waiters.show()?;
        return this.as_obj().method1(&names::get().wakeup_next, &waiters).map(drop);
    }
    waiters.pop_and_wake()
}

/// Raises one of the queue's exceptions, without arguments.
#[cold]
fn raise(class: &Obj) -> Raised {
    match class.call0() {
        Ok(error) => Raised::from_exception(&error),
        Err(raised) => raised,
    }
}

/// `QueueShutDown`, which only versions that have it can come to raise.
#[cold]
fn raise_shut_down() -> Raised {
    match &imports::get().queue_shut_down {
        Some(class) => raise(class),
        None => Raised::runtime_error("the queue is shut down"),
    }
}

/// `put_nowait(item)`, unless overridden.
#[inline]
fn put_now(this: &This, replaced: u32, item: Obj) -> Res<()> {
    if this.is_shut_down.get() {
        return Err(raise_shut_down());
    }
    if is_full(this, replaced)? {
        return Err(raise(&imports::get().queue_full));
    }
    add(this, replaced, item)
}

/// Puts an item, for which there is a place.
#[inline(always)]
fn add(this: &This, replaced: u32, item: Obj) -> Res<()> {
    store(this, replaced, item)?;
    this.note_unfinished();
    wake_next(this, replaced, &this.getters)
}

/// `get_nowait()`, unless overridden.
#[inline]
fn get_now(this: &This, replaced: u32) -> Res<Obj> {
    if is_empty(this, replaced)? {
        if this.is_shut_down.get() {
            return Err(raise_shut_down());
        }
        return Err(raise(&imports::get().queue_empty));
    }
    remove(this, replaced)
}

/// Gets an item, which is there.
#[inline(always)]
fn remove(this: &This, replaced: u32) -> Res<Obj> {
    let item = take(this, replaced)?;
    wake_next(this, replaced, &this.putters)?;
    Ok(item)
}
