//! What a run changes in the interpreter, and puts back: the running loop, the hooks of asynchronous
//! generators, the signal wake-up descriptor.
//!
//! All of it is done by calls into C, with no bytecode in between: a signal handler that raises
//! cannot strike half-way and leave a foreign number to have signal bytes written into it.
//! The thread that runs the loop. Invariant: every change is undone, whatever else fails.

use crate::ffi::error::FirstError;
use crate::ffi::{Obj, Raised, Ref, Res, value};
use crate::loop_state::LoopState;
use crate::{imports, names};

/// The changes of one run.
pub(crate) struct Surroundings {
    hooks: Obj,
    /// The caller's wake-up descriptor; none where signals are not ours to hear.
    outer_wakeup: Option<Obj>,
}

impl Surroundings {
    /// Makes the loop the running one. Refused, with nothing changed, where another runs.
    pub(crate) fn enter(this: &Ref<LoopState>) -> Res<Self> {
        let (imports, names) = (imports::get(), names::get());
        if !imports.get_running_loop_or_none.call0()?.is_none() {
            return Err(Raised::runtime_error(
                "Cannot run the event loop while another loop is running",
            ));
        }
        let firstiter = this.as_obj().attr(&names.asyncgen_firstiter_hook)?;
        let finalizer = this.as_obj().attr(&names.asyncgen_finalizer_hook)?;
        // Signals are heard in the main thread only: elsewhere no descriptor is spent on them.
        let main = imports.main_thread.call0()?.attr(&names.ident)?;
        let here = crate::ffi::gc::thread_ident();
        let doorbell = match value::as_i64(&main)?.cast_unsigned() == here {
            true => Some(super::run::doorbell(this)?),
            false => None,
        };
        let hooks = imports.get_asyncgen_hooks.call0()?;
        imports.set_asyncgen_hooks.call(&[&firstiter, &finalizer])?;
        let outer_wakeup = match &doorbell {
            Some(doorbell) => take_wakeup(doorbell)?,
            None => None,
        };
        let entered = Self { hooks, outer_wakeup };
        let heard = entered.note_outer(this, doorbell.as_ref());
        match heard.and_then(|()| imports.set_running_loop.call1(this.as_obj())) {
            Ok(_) => Ok(entered),
            Err(raised) => {
                let mut first = FirstError::default();
                first.note::<()>(Err(raised), this.as_obj());
                first.note(entered.leave(this), this.as_obj());
                first.finish().and(Err(Raised::runtime_error("the loop could not be entered")))
            }
        }
    }

    /// Who set a descriptor before hears of signals as ever: the loop passes them on.
    fn note_outer(&self, this: &Ref<LoopState>, ours: Option<&Obj>) -> Res<()> {
        let (Some(outer), Some(ours)) = (&self.outer_wakeup, ours) else { return Ok(()) };
        let (outer, ours) = (value::as_i64(outer)?, value::as_i64(ours)?);
        this.outer_wakeup.set((outer != -1 && outer != ours).then_some(outer));
        Ok(())
    }

    /// Puts everything back.
    pub(crate) fn leave(self, this: &Ref<LoopState>) -> Res<()> {
        let imports = imports::get();
        let mut first = FirstError::default();
        first.note(imports.set_running_loop.call1(&Obj::none()), this.as_obj());
        if let Some(outer) = &self.outer_wakeup {
            first.note(give_back_wakeup(this, outer), this.as_obj());
            if this.outer_wakeup.get().is_some() {
                // What arrived last is its owner's, too.
                first.note(super::run::empty_doorbell(this), this.as_obj());
                this.outer_wakeup.set(None);
            }
        }
        let hooks = imports.set_asyncgen_hooks.call_tuple(&self.hooks, None);
        first.note(hooks, this.as_obj());
        first.finish()
    }
}

/// Has the C signal handler ring our doorbell: it ends a wait in the poller.
fn take_wakeup(doorbell: &Obj) -> Res<Option<Obj>> {
    let keywords = value::dict()?;
    value::dict_set(&keywords, &value::interned(c"warn_on_full_buffer")?, &Obj::bool(false))?;
    match imports::get().set_wakeup_fd.call_tuple(&value::tuple(&[doorbell])?, Some(&keywords)) {
        Ok(outer) => Ok(Some(outer)),
        // An interpreter without signals.
        Err(raised) => {
            raised.clear();
            Ok(None)
        }
    }
}

fn give_back_wakeup(this: &Ref<LoopState>, outer: &Obj) -> Res<()> {
    let set = &imports::get().set_wakeup_fd;
    let replaced = match set.call1(outer) {
        Ok(replaced) => replaced,
        // The outer descriptor was closed meanwhile.
        Err(raised) => {
            raised.clear();
            set.call1(&value::int(-1)?)?
        }
    };
    let ours = super::run::doorbell(this)?;
    if !replaced.equals(&ours)? && value::as_i64(&replaced)? != -1 {
        // Somebody installed their own while we ran: theirs stays.
        set.call1(&replaced)?;
    }
    Ok(())
}
