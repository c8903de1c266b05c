//! Observers: native objects that watch futures without a callback of Python's per future.
//!
//! They stand in a future's callback list as themselves. Told that it is done, an observer queues a
//! job where asyncio would have queued its callback, or nothing where that callback would have done
//! nothing but count. Here: who they are. Not here: what each does (`gather`, ...).
//! Owner thread. Invariant: what an observer does to others it does in its job, never while told.

use crate::ffi::{Obj, Ref, Res};
use crate::future::Future;
use crate::gather::Gathering;
use crate::loop_state::{Job, LoopState};
use crate::names;
use crate::shield::Shield;
use crate::task::Task;
use crate::taskgroup::TaskGroup;
use crate::waiting::Wait;

/// Says that the future is done: its callbacks are being scheduled.
#[inline]
pub(crate) fn tell(loop_: &Ref<LoopState>, observer: Obj, future: &Ref<Future>) -> Res<()> {
    match Ref::<Gathering>::try_from_exact(observer) {
        Ok(gathering) => {
            gathering.note_done(loop_, future);
            Ok(())
        }
        Err(other) => {
            if let Some(shield) = Ref::<Shield>::exact(&other) {
                shield.note_done(loop_, future);
                return Ok(());
            }
            if let Some(wait) = Ref::<Wait>::exact(&other) {
                wait.note_done(loop_, future);
                return Ok(());
            }
            if let Some(group) = Ref::<TaskGroup>::downcast(&other) {
                group.note_done(loop_, future);
                return Ok(());
            }
            if let Some(task) = Ref::<Task>::try_from_obj(other) {
                loop_.push(Job::Task(task));
            }
            Ok(())
        }
    }
}

/// What stands for an observer among a future's callbacks, when somebody looks at them.
pub(crate) fn as_callable(observer: &Obj) -> Res<Obj> {
    let names = names::get();
    if Ref::<TaskGroup>::downcast(observer).is_some() {
        return observer.attr(&names.on_task_done);
    }
    if Ref::<Wait>::exact(observer).is_some() {
        return Ok(observer.clone());
    }
    observer.attr(&names.done_callback)
}

/// The tasks that wait for a future, as call graphs want them (from 3.14 on).
#[cfg(Py_3_14)]
pub(crate) fn awaiters(future: &Ref<Future>) -> Vec<Obj> {
    future.native_subjects().iter().filter_map(awaiter).collect()
}

/// The task on whose behalf an observer waits for the future.
#[cfg(Py_3_14)]
fn awaiter(observer: &Obj) -> Option<Obj> {
    if Ref::<Task>::downcast(observer).is_some() {
        return Some(observer.clone());
    }
    if let Some(group) = Ref::<TaskGroup>::downcast(observer) {
        return group.awaiter();
    }
    if let Some(shield) = Ref::<Shield>::exact(observer) {
        return shield.awaiter();
    }
    if let Some(wait) = Ref::<Wait>::exact(observer) {
        return wait.awaiter();
    }
    Ref::<Gathering>::exact(observer)?.awaiter()
}
