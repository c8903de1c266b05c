//! The handle of `call_soon_threadsafe`, from Python 3.14 on: other threads may ask it and cancel it.
//!
//! `cancel()` and `cancelled()` of another thread wait while the callback runs, so that afterwards it
//! has run to its end or never will. Not here: running a callback (`mod.rs`).
//! Any attached thread; the interpreter's lock orders what they do to the cells.
//!
//! | `runner` | `gate` | meaning |
//! |---|---|---|
//! | 0 | none | not running |
//! | a thread | none | that thread runs the callback |
//! | a thread | a lock, held | others wait; whoever runs the callback opens it at its end |
//!
//! Invariant: the gate is opened once, by the run that is over.

use std::cell::Cell;
use std::ffi::c_int;

use pyo3::ffi as c;

use super::{Handle, slots};
use crate::ffi::gc::thread_ident;
use crate::ffi::inline_args::InlineArgs;
use crate::ffi::native::{Extends, Native, TypeCell, allocate, class_of};
use crate::ffi::slot::Visit;
use crate::ffi::spec::TypeSpec;
use crate::ffi::trampoline::{getter, init, new, noargs};
use crate::ffi::{Obj, Ref, Res, Slot};
use crate::loop_state::LoopState;
use crate::{imports, names};

/// The body of `_rulip._ThreadSafeHandle`.
#[repr(C)]
pub(crate) struct ThreadSafeHandle {
    handle: Handle,
    /// The thread that runs the callback now.
    runner: Cell<u64>,
    gate: Slot,
}

static TYPE: TypeCell = TypeCell::new();

// SAFETY: every reference held is visited.
#[allow(unsafe_code, reason = "a promise about the layout or the collector, no operation")]
unsafe impl Native for ThreadSafeHandle {
    const RECYCLED: bool = true;
    /// As a handle of `call_soon`.
    const TRACKED: bool = false;

    fn type_cell() -> &'static TypeCell {
        &TYPE
    }

    fn traverse(&self, visit: &Visit) -> Result<(), c_int> {
        self.handle.traverse(visit)?;
        self.gate.visit(visit)
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
unsafe impl Extends<Handle> for ThreadSafeHandle {}

impl ThreadSafeHandle {
    fn of(handle: Handle) -> Self {
        handle.shared.set(true);
        Self { handle, runner: Cell::new(0), gate: Slot::empty() }
    }

    /// For the loop to run once.
    pub(crate) fn new(
        loop_: &Ref<LoopState>,
        callback: Obj,
        args: InlineArgs,
        context: Option<Obj>,
    ) -> Res<Ref<Self>> {
        let context = super::context_or_current(context)?;
        let this = Ref::renew(Self::of(Handle::body(loop_, callback, args, context)))?;
        if loop_.debug.get() {
            this.handle.note_source()?;
        }
        Ok(this)
    }

    /// Runs the callback while those who ask from other threads wait.
    pub(super) fn run(this: &Ref<Self>) -> Res<()> {
        let outer = this.runner.replace(thread_ident());
        let result = Handle::run_shared(this.parent());
        this.runner.set(outer);
        if outer == 0
            && let Some(gate) = this.gate.take()
        {
            let _saved = crate::ffi::error::SavedError::save();
            if let Err(raised) = gate.method0(&names::get().release) {
                raised.write_unraisable(this.as_obj());
            }
        }
        result
    }

    /// Waits until no other thread runs the callback.
    fn wait(this: &Ref<Self>) -> Res<()> {
        loop {
            let runner = this.runner.get();
            if runner == 0 || runner == thread_ident() {
                return Ok(());
            }
            let acquire = &names::get().acquire;
            let gate = match this.gate.get() {
                Some(gate) => gate,
                None => {
                    let gate = imports::get().allocate_lock.call0()?;
                    gate.method0(acquire)?;
                    this.gate.set(Some(gate.clone()));
                    gate
                }
            };
            gate.method0(acquire)?;
            // The next of those who wait.
            gate.method0(&names::get().release)?;
        }
    }
}

/// Makes the type; after `Handle`'s.
pub(crate) fn build() -> Res<Obj> {
    TypeSpec::new::<ThreadSafeHandle>(
        c"rulip._rulip._ThreadSafeHandle",
        c"_ThreadSafeHandle(callback, args, loop, context=None)\n--\n\nA scheduled callback that other threads may cancel (mirrors asyncio's).",
    )
    .base(Handle::type_cell())
    .subclassable()
    .slot(
        c::Py_tp_new,
        new(|kind, _args, _kwargs| allocate(kind, ThreadSafeHandle::of(Handle::blank()))),
    )
    .slot(
        c::Py_tp_init,
        init(|this: &Ref<ThreadSafeHandle>, args: &Obj, kwargs: Option<&Obj>| {
            slots::initialise(this.parent(), args, kwargs)
        }),
    )
    .methods([
        noargs(
            c"cancel",
            c"cancel($self)\n--\n\nCancel the callback; one that runs is waited for.",
            |this: &Ref<ThreadSafeHandle>| {
                ThreadSafeHandle::wait(this)?;
                Handle::cancel(this.parent())?;
                Ok(Obj::none())
            },
        ),
        noargs(
            c"cancelled",
            c"cancelled($self)\n--\n\nReturn True if the callback was cancelled.",
            |this: &Ref<ThreadSafeHandle>| {
                ThreadSafeHandle::wait(this)?;
                Ok(Obj::bool(this.handle.is_cancelled()))
            },
        ),
    ])
    .attributes([getter(
        c"__class__",
        c"asyncio's class.",
        |this: &Ref<ThreadSafeHandle>| class_of(this, &imports::get().threadsafe_handle_class),
    )])
    .build(ThreadSafeHandle::type_cell())
}
