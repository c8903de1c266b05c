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
use crate::task::Task;

/// Says that the future is done: its callbacks are being scheduled.
#[inline]
pub(crate) fn tell(loop_: &Ref<LoopState>, observer: Obj, future: &Ref<Future>) -> Res<()> {
    match Ref::<Gathering>::try_from_exact(observer) {
        Ok(gathering) => {
            gathering.note_done(loop_, future);
            Ok(())
        }
        Err(other) => {
            if let Some(task) = Ref::<Task>::try_from_obj(other) {
                loop_.push(Job::Task(task));
            }
            Ok(())
        }
    }
}

/// What stands for an observer among a future's callbacks, when somebody looks at them.
pub(crate) fn as_callable(observer: &Obj) -> Res<Obj> {
    observer.attr(&names::get().done_callback)
}

/// The task on whose behalf an observer waits for the future (call graphs, from 3.14 on).
pub(crate) fn awaiter(observer: &Obj) -> Option<Obj> {
    if Ref::<Task>::downcast(observer).is_some() {
        return Some(observer.clone());
    }
    Ref::<Gathering>::exact(observer)?.awaiter()
}
