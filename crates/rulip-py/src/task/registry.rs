//! Which tasks exist, and which one runs: `asyncio.all_tasks()` and `asyncio.current_task()`.
//!
//! asyncio keeps a dict loop -> current task and a weak set of all tasks. Writing both at every
//! step and for every task is what makes tasks slow, and both are rarely read. So:
//!
//! * the loop knows its current native task; asyncio's dict learns of it when somebody looks the
//!   loop up there, which begins with hashing the loop (`publish`). The entry is removed with the
//!   step that it was made in.
//! * pending native tasks stand in the loop's slab; asyncio's weak sets are given a view of it
//!   when the first loop runs (`python/rulip/_tasks.py`).
//!
//! From 3.14 the current task lives in the thread state, so `_asyncio._swap_current_task` is asked.
//! Owner thread; `all_tasks()` may come from any attached thread.

use std::cell::Cell;

use super::{Task, UNREGISTERED};
use crate::ffi::native::Unowned;
use crate::ffi::{Obj, Ref, Res, value};
use crate::imports;
use crate::loop_state::LoopState;

pub(crate) fn register(loop_: &LoopState, task: &Ref<Task>) {
    if task.slot.get() == UNREGISTERED {
        let slot = loop_.tasks.borrow_mut().insert(Unowned::of(task));
        task.slot.set(u32::try_from(slot).unwrap_or(UNREGISTERED));
    }
}

pub(crate) fn unregister(loop_: &LoopState, task: &Task) {
    let slot = task.slot.replace(UNREGISTERED);
    if slot != UNREGISTERED {
        loop_.tasks.borrow_mut().try_remove(slot as usize);
    }
}

/// Where a pending task stands.
#[inline]
pub(crate) fn place(task: &Task) -> u32 {
    task.slot.get()
}

/// The pending task that stands there.
pub(crate) fn at(loop_: &LoopState, slot: u32) -> Option<Ref<Task>> {
    loop_.tasks.borrow().get(slot as usize).and_then(Unowned::upgrade)
}

/// Every pending native task of the loop.
pub(crate) fn pending(loop_: &LoopState) -> Vec<Obj> {
    loop_.tasks.borrow().iter().filter_map(|(_, task)| task.upgrade()).map(Ref::into_obj).collect()
}

/// Makes `task` current until the guard is dropped; what was current before comes back then.
pub(crate) struct Current<'a> {
    loop_: &'a Ref<LoopState>,
    before: Option<Unowned<Task>>,
    #[cfg(Py_3_14)]
    swapped: Option<Obj>,
}

impl<'a> Current<'a> {
    #[inline]
    pub(crate) fn enter(loop_: &'a Ref<LoopState>, task: &Ref<Task>) -> Res<Self> {
        if loop_.published.get() {
            withdraw(loop_)?;
        }
        #[cfg(Py_3_14)]
        let swapped = match &imports::get().swap_current_task {
            Some(swap) => match swap.call(&[loop_.as_obj(), task.as_obj()]) {
                Ok(before) => Some(before),
                Err(raised) => {
                    unless_forked(raised)?;
                    None
                }
            },
            None => None,
        };
        let before = loop_.current.replace(Some(Unowned::of(task)));
        Ok(Self {
            loop_,
            before,
            #[cfg(Py_3_14)]
            swapped,
        })
    }
}

impl Drop for Current<'_> {
    #[inline]
    fn drop(&mut self) {
        if self.loop_.published.get() {
            let _saved = crate::ffi::error::SavedError::save();
            if let Err(raised) = withdraw(self.loop_) {
                raised.write_unraisable(self.loop_.as_obj());
            }
        }
        self.loop_.current.set(self.before);
        #[cfg(Py_3_14)]
        if let (Some(before), Some(swap)) = (self.swapped.take(), &imports::get().swap_current_task)
        {
            let _saved = crate::ffi::error::SavedError::save();
            if let Err(raised) = swap.call(&[self.loop_.as_obj(), &before])
                && let Err(raised) = unless_forked(raised)
            {
                raised.write_unraisable(self.loop_.as_obj());
            }
        }
    }
}

/// In a forked child no loop runs, as the thread state has it, and so no task can be its current one.
/// What the child does with the loop goes on without.
#[cfg(Py_3_14)]
#[cold]
fn unless_forked(refused: crate::ffi::Raised) -> Res<()> {
    let exc = refused.take();
    if imports::get().get_running_loop_or_none.call0()?.is_none() {
        Ok(())
    } else {
        Err(crate::ffi::Raised::restore(exc))
    }
}

/// Removes our entry from asyncio's dict, unless somebody put another task there.
#[cold]
fn withdraw(loop_: &Ref<LoopState>) -> Res<()> {
    let Some(tasks) = &imports::get().current_tasks else { return Ok(()) };
    let ours = loop_.current.get().and_then(|task| task.upgrade());
    let listed = value::dict_get(tasks, loop_.as_obj())?;
    loop_.published.set(false);
    if let (Some(ours), Some(listed)) = (&ours, &listed)
        && ours.as_obj().is(listed)
    {
        with_hash_only(|| value::dict_remove(tasks, loop_.as_obj()))?;
    }
    Ok(())
}

thread_local! {
    /// Set while we look the loop up ourselves: hashing it then publishes nothing.
    static QUIET: Cell<bool> = const { Cell::new(false) };
}

fn with_hash_only<R>(f: impl FnOnce() -> R) -> R {
    let before = QUIET.replace(true);
    let result = f();
    QUIET.set(before);
    result
}

/// Somebody hashes the loop: perhaps to look up its current task. Make it be there.
pub(crate) fn publish(loop_: &Ref<LoopState>) -> Res<()> {
    if cfg!(Py_3_14) || loop_.published.get() || QUIET.get() {
        return Ok(());
    }
    let Some(task) = loop_.current.get().and_then(|task| task.upgrade()) else { return Ok(()) };
    let Some(tasks) = &imports::get().current_tasks else { return Ok(()) };
    with_hash_only(|| -> Res<()> {
        if value::dict_get(tasks, loop_.as_obj())?.is_none() {
            value::dict_set(tasks, loop_.as_obj(), task.as_obj())?;
            loop_.published.set(true);
        }
        Ok(())
    })
}

/// The native task being stepped, unless a foreign task runs inside it.
#[inline]
pub(crate) fn current(loop_: &Ref<LoopState>) -> Res<Option<Ref<Task>>> {
    let Some(task) = loop_.current.get().and_then(|task| task.upgrade()) else { return Ok(None) };
    if loop_.published.get()
        && let Some(tasks) = &imports::get().current_tasks
    {
        let listed = value::dict_get(tasks, loop_.as_obj())?;
        if !listed.is_some_and(|listed| listed.is(task.as_obj())) {
            return Ok(None);
        }
    }
    #[cfg(Py_3_14)]
    if !imports::get().current_task.call1(loop_.as_obj())?.is(task.as_obj()) {
        return Ok(None);
    }
    Ok(Some(task))
}
