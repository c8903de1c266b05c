//! `Immediate`: a coroutine that does its work when awaited, without waiting.
//!
//! `__aenter__` of time limits and groups, `__aexit__` of time limits. asyncio's are coroutine
//! functions: nothing happens before the await, and what is never awaited warns. So do these.
//! Owner thread. Invariant: the work is done at most once.

use std::cell::Cell;
use std::ffi::{CStr, c_int};

use crate::coroutine::{self, Coroutine};
use crate::ffi::arguments::Args;
use crate::ffi::native::{Native, TypeCell};
use crate::ffi::send::{Awaitable, Step};
use crate::ffi::slot::Visit;
use crate::ffi::spec::TypeSpec;
use crate::ffi::{Obj, Ref, Res, Slot};

/// What is to be done, and with what: the object entered or left, and an exception's type and value.
pub(crate) type Work = fn(&Obj, Option<&Obj>, Option<&Obj>) -> Res<Obj>;

/// The body of `_rulip.Immediate`.
pub(crate) struct Immediate {
    work: Cell<Option<Work>>,
    /// As the coroutine of asyncio is called.
    name: &'static CStr,
    subject: Slot,
    exc_type: Slot,
    exc: Slot,
}

static TYPE: TypeCell = TypeCell::new();

// SAFETY: every reference held is visited.
#[allow(unsafe_code, reason = "a promise about the layout or the collector, no operation")]
unsafe impl Native for Immediate {
    const RECYCLED: bool = true;
    const HAS_FINALIZER: bool = true;

    fn type_cell() -> &'static TypeCell {
        &TYPE
    }

    fn traverse(&self, visit: &Visit) -> Result<(), c_int> {
        self.subject.visit(visit)?;
        self.exc_type.visit(visit)?;
        self.exc.visit(visit)
    }

    fn clear(&self) {
        drop(self.subject.take());
        drop(self.exc_type.take());
        drop(self.exc.take());
    }

    fn wants_finalizer(&self) -> bool {
        self.work.get().is_some()
    }

    fn finalize(this: &Ref<Self>) {
        if this.work.take().is_some() {
            coroutine::never_awaited(this);
        }
    }
}

impl Immediate {
    pub(crate) fn make(
        name: &'static CStr,
        work: Work,
        subject: Obj,
        exc_type: Option<Obj>,
        exc: Option<Obj>,
    ) -> Res<Obj> {
        let body = Self {
            work: Cell::new(Some(work)),
            name,
            subject: Slot::new(Some(subject)),
            exc_type: Slot::new(exc_type),
            exc: Slot::new(exc),
        };
        Ref::new(body).map(Ref::into_obj)
    }
}

impl Awaitable for Immediate {
    #[inline]
    fn poll(this: &Ref<Self>) -> Res<Step> {
        let (Some(work), Some(subject)) = (this.work.take(), this.subject.take()) else {
            return Err(coroutine::reused());
        };
        let (exc_type, exc) = (this.exc_type.take(), this.exc.take());
        work(&subject, exc_type.as_ref(), exc.as_ref()).map(Step::Return)
    }
}

/// The exception's type and value of an `__aexit__` call.
pub(crate) fn exception_given(args: &Args<'_>) -> Res<[Option<Obj>; 2]> {
    let [exc_type, exc, _traceback] =
        args.bind("__aexit__", [c"exc_type", c"exc_val", c"exc_tb"], 3)?;
    let given = |arg: Option<&Obj>| arg.filter(|arg| !arg.is_none()).cloned();
    Ok([given(exc_type), given(exc)])
}

impl Coroutine for Immediate {
    fn name(&self) -> &'static CStr {
        self.name
    }

    fn is_spent(&self) -> bool {
        self.work.get().is_none()
    }

    /// Nothing was begun.
    fn close(this: &Ref<Self>) -> Res<()> {
        this.work.set(None);
        drop((this.subject.take(), this.exc_type.take(), this.exc.take()));
        Ok(())
    }
}

pub(crate) fn build() -> Res<Obj> {
    coroutine::faced::<Immediate>(TypeSpec::new::<Immediate>(
        c"rulip._rulip.Immediate",
        c"A coroutine that does its work at once.",
    ))
    .build(Immediate::type_cell())
}
