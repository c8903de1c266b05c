//! Who is told when a future is done, and how: the callback list of a future.
//!
//! A native task that awaits a native future stands here as itself: no handle, no bound method, no
//! context is made for it. So do the objects that watch many futures (`observers.rs`).
//! Not here: the states (`mod.rs`). Owner thread. Invariant: the list is
//! taken out before anybody is told, and comparing callbacks works on a copy: both run user code.

use std::ffi::c_int;

use super::Future;
use crate::ffi::inline_args::InlineArgs;
use crate::ffi::slot::Visit;
use crate::ffi::{Obj, Raised, Ref, Res, context};
use crate::handle::Handle;
use crate::loop_state::Job;
use crate::names;
use crate::observers;
use crate::task::Task;

/// Who is told when a future is done: a native task that awaits it or a native observer, by itself,
/// or a callable of `add_done_callback`, with the context to call it in.
pub(crate) struct Callback {
    subject: Obj,
    context: Option<Obj>,
}

/// A word in every future, for the few that have more than one callback.
pub(super) type Others = Box<Vec<Callback>>;

impl Callback {
    pub(super) fn visit(&self, visit: &Visit) -> Result<(), c_int> {
        visit.obj(&self.subject)?;
        self.context.iter().try_for_each(|context| visit.obj(context))
    }

    /// As a callable with its context, made where it is a task.
    fn into_python(self) -> Res<(Obj, Obj)> {
        match (self.context, Ref::<Task>::downcast(&self.subject)) {
            (Some(context), _) => Ok((self.subject, context)),
            (None, Some(task)) => {
                let context = task.context();
                Ok((self.subject.attr(&names::get().wakeup)?, context))
            }
            (None, None) => Ok((observers::as_callable(&self.subject)?, context::copy_current()?)),
        }
    }
}

impl Clone for Callback {
    fn clone(&self) -> Self {
        Self { subject: self.subject.clone(), context: self.context.clone() }
    }
}

impl Future {
    /// Adds a waiting task; only while pending.
    #[inline]
    pub(crate) fn add_waiter(&self, task: Ref<Task>) {
        self.add_callback(Callback { subject: task.into_obj(), context: None });
    }

    /// Adds a native observer; only while pending.
    #[inline]
    pub(crate) fn add_observer(&self, observer: Obj) {
        self.add_callback(Callback { subject: observer, context: None });
    }

    /// Takes a native observer out, wherever it stands.
    pub(crate) fn remove_observer(&self, observer: &Obj) {
        let is_it =
            |callback: &Callback| callback.context.is_none() && callback.subject.is(observer);
        let mut removed = Vec::new();
        let mut first = self.first.take();
        if first.as_ref().is_some_and(is_it) {
            removed.extend(first.take());
        }
        self.first.set(first);
        let mut rest = self.rest.take();
        if let Some(rest) = &mut rest {
            removed.extend(rest.extract_if(.., |callback| is_it(callback)));
        }
        self.rest.set(rest);
        drop(removed);
    }

    /// Everybody who is told natively.
    #[cfg(Py_3_14)]
    pub(crate) fn native_subjects(&self) -> Vec<Obj> {
        let (first, rest) = (self.first.take(), self.rest.take());
        let found = first
            .iter()
            .chain(rest.iter().flat_map(|list| list.iter()))
            .filter(|callback| callback.context.is_none())
            .map(|callback| callback.subject.clone())
            .collect();
        self.first.set(first);
        self.rest.set(rest);
        found
    }

    #[inline]
    fn add_callback(&self, callback: Callback) {
        // Cells, so that nothing is borrowed: look, and put back.
        match self.first.take() {
            None => {
                let rest = self.rest.take();
                if rest.is_none() {
                    self.first.set(Some(callback));
                } else {
                    self.push_rest(rest, callback);
                }
            }
            Some(first) => {
                self.first.set(Some(first));
                self.push_rest(self.rest.take(), callback);
            }
        }
    }

    fn push_rest(&self, rest: Option<Others>, callback: Callback) {
        let mut rest = rest.unwrap_or_default();
        rest.push(callback);
        self.rest.set(Some(rest));
    }

    /// Every callback, in order, as (callable, context) pairs.
    pub(super) fn callbacks(&self) -> Res<Vec<(Obj, Obj)>> {
        let first = self.first.take();
        let rest = self.rest.take();
        let found: Vec<Callback> =
            first.iter().chain(rest.iter().flat_map(|list| list.iter())).cloned().collect();
        self.first.set(first);
        self.rest.set(rest);
        found.into_iter().map(Callback::into_python).collect()
    }
}

impl Ref<Future> {
    /// An observer is told when it is done, or at once if it is; on a native loop only.
    #[inline]
    pub(crate) fn watch(&self, observer: &Obj) -> Res<()> {
        if self.is_done() {
            let callback = Callback { subject: observer.clone(), context: None };
            return self.schedule(callback);
        }
        self.add_observer(observer.clone());
        Ok(())
    }

    #[inline]
    pub(super) fn schedule_callbacks(&self) -> Res<()> {
        let first = self.first.take();
        let rest = self.rest.take();
        let Some(first) = first else {
            return match rest {
                Some(rest) => rest.into_iter().try_for_each(|callback| self.schedule(callback)),
                None => Ok(()),
            };
        };
        self.schedule(first)?;
        match rest {
            Some(rest) => rest.into_iter().try_for_each(|callback| self.schedule(callback)),
            None => Ok(()),
        }
    }

    #[inline]
    fn schedule(&self, callback: Callback) -> Res<()> {
        let Some(loop_) = self.native_loop().filter(|loop_| !loop_.call_soon_replaced.get()) else {
            return self.schedule_by_name(callback);
        };
        loop_.check_closed()?;
        if loop_.debug.get() {
            loop_.check_thread()?;
        }
        let Callback { subject, context } = callback;
        let job = match context {
            Some(context) => Job::Handle(Handle::new(
                &loop_,
                subject,
                InlineArgs::one(self.to_obj()),
                Some(context),
            )?),
            None => match Ref::<Task>::try_from_exact(subject) {
                Ok(task) => Job::Task(task),
                Err(observer) => return observers::tell(&loop_, observer, self),
            },
        };
        loop_.push(job);
        Ok(())
    }

    /// On a loop of another kind, or one whose `call_soon` was replaced: through that.
    #[cold]
    fn schedule_by_name(&self, callback: Callback) -> Res<()> {
        let names = names::get();
        let (callable, context) = callback.into_python()?;
        let loop_ = self.loop_obj()?;
        loop_
            .method_kw(&names.call_soon, &[&callable, self.as_obj()], &names.context, &context)
            .map(drop)
    }

    /// `add_done_callback(callback, context=context)`.
    pub(crate) fn add_done_callback(&self, callback: Obj, context: Option<Obj>) -> Res<()> {
        self.ensure_initialised()?;
        let context = match context {
            Some(context) => context,
            None => context::copy_current()?,
        };
        let callback = Callback { subject: callback, context: Some(context) };
        if self.is_done() {
            return self.schedule(callback);
        }
        self.add_callback(callback);
        Ok(())
    }

    /// `remove_done_callback(callback)`: how many there were.
    pub(crate) fn remove_done_callback(&self, callback: &Obj) -> Res<i64> {
        self.ensure_initialised()?;
        // Comparing runs user code, which may add and remove: decide on a copy, then take out what
        // was decided, by identity.
        let mut matching = Vec::new();
        for (candidate, _) in self.callbacks()? {
            if candidate.equals(callback)? {
                matching.push(candidate);
            }
        }
        let count = matching.len();
        let mut removed = Vec::new();
        let mut kept = Vec::new();
        let list = self
            .first
            .take()
            .into_iter()
            .chain(self.rest.take().map(|rest| *rest).unwrap_or_default());
        for entry in list {
            let gone =
                entry.context.is_some() && matching.iter().any(|seen| seen.is(&entry.subject));
            if gone { removed.push(entry) } else { kept.push(entry) }
        }
        let mut kept = kept.into_iter();
        self.first.set(kept.next());
        let rest: Vec<_> = kept.collect();
        self.rest.set((!rest.is_empty()).then(|| Box::new(rest)));
        drop(removed);
        i64::try_from(count).map_err(|_| Raised::value_error("too many callbacks"))
    }
}
