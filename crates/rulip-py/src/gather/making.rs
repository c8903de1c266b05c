//! `gather(*coros_or_futures, return_exceptions=False)`: from arguments to children.
//!
//! Here: arguments of our own kind, under a loop of ours. Not here: everything else, which asyncio's
//! `gather` takes as it takes any future. Owner thread.
//! Invariant: an argument that is given twice is one child.

use super::Gathering;
use crate::event_loop::run::running;
use crate::ffi::arguments::Args;
use crate::ffi::{Obj, Ref, Res, value};
use crate::future::Future;
use crate::imports;
use crate::loop_state::LoopState;
use crate::task::{self, Task, registry};

/// `gather()`.
pub(crate) fn gather(args: &Args<'_>) -> Res<Obj> {
    if let Some(loop_) = running()
        && !args.positional().is_empty()
        && loop_.makes_plain_tasks()
        && let Some(return_exceptions) = return_exceptions(args)?
        && args.positional().iter().all(|arg| is_ours(&loop_, arg))
    {
        return made(&loop_, args.positional(), return_exceptions).map(Ref::into_obj);
    }
    args.pass_to(&imports::get().gather)
}

/// The one keyword; `None` where another one is given.
fn return_exceptions(args: &Args<'_>) -> Res<Option<bool>> {
    let mut found = false;
    for (name, item) in args.keywords() {
        if !value::text_is(&name, c"return_exceptions") {
            return Ok(None);
        }
        found = item.is_true()?;
    }
    Ok(Some(found))
}

/// Whether it is a coroutine that becomes a task of the loop, or a native future on it.
#[inline]
fn is_ours(loop_: &Ref<LoopState>, arg: &Obj) -> bool {
    task::is_plain_coroutine(arg)
        || task::native_future(arg).is_some_and(|future| future.has_loop(loop_.as_obj()))
}

fn made(loop_: &Ref<LoopState>, args: &[Obj], return_exceptions: bool) -> Res<Ref<Gathering>> {
    let this = Ref::new(Gathering::new(loop_, return_exceptions, args.len()))?;
    if loop_.debug.get() {
        this.future.note_source()?;
    }
    if cfg!(Py_3_14)
        && let Some(task) = registry::current(loop_)?
    {
        this.awaiter.set(Some(task.into_obj()));
    }
    let mut seen = Seen::new(args.len());
    let mut done = Vec::new();
    for (number, arg) in args.iter().enumerate() {
        if let Some(earlier) = seen.find_or_note(args, number) {
            this.repeat(earlier);
            continue;
        }
        let child = child(loop_, arg)?;
        this.unfinished.set(this.unfinished.get() + 1);
        if child.is_done() && cfg!(Py_3_12) {
            done.push(child.clone());
        } else {
            child.watch(this.as_obj())?;
        }
        this.adopt(child);
    }
    this.complete.set(true);
    for child in &done {
        this.count(child)?;
    }
    Ok(this)
}

fn child(loop_: &Ref<LoopState>, arg: &Obj) -> Res<Ref<Future>> {
    if let Some(future) = task::native_future(arg) {
        return Ok(future.clone());
    }
    let task = Task::spawn(loop_, arg, None, None)?;
    // Nobody else can keep it: no report if it is dropped.
    task.set_log_destroy_pending(false);
    Ok(task.parent().clone())
}

impl Ref<Gathering> {
    fn adopt(&self, child: Ref<Future>) {
        let mut children = self.children.take();
        children.push(child);
        self.children.set(children);
    }

    /// The argument stood here before: the same child once more.
    fn repeat(&self, earlier: usize) {
        let mut children = self.children.take();
        if let Some(child) = children.get(earlier).cloned() {
            children.push(child);
        }
        self.children.set(children);
    }
}

/// Which arguments were seen: a hash table of their addresses.
struct Seen {
    /// Places of arguments, plus one; zero is free.
    table: Vec<u32>,
}

impl Seen {
    /// Up to so many arguments are compared one by one.
    const FEW: usize = 8;

    fn new(count: usize) -> Self {
        let size = if count <= Self::FEW { 0 } else { (count * 2).next_power_of_two() };
        Self { table: vec![0; size] }
    }

    /// Where the same object stood before; if nowhere, its place is noted.
    #[inline]
    fn find_or_note(&mut self, args: &[Obj], number: usize) -> Option<usize> {
        let arg = &args[number];
        if self.table.is_empty() {
            return args[..number].iter().position(|other| other.is(arg));
        }
        let mask = self.table.len() - 1;
        let mut place = (arg.as_ptr() as usize >> 4).wrapping_mul(0x9E37_79B9) & mask;
        loop {
            match self.table[place] {
                0 => {
                    self.table[place] = u32::try_from(number + 1).unwrap_or(u32::MAX);
                    return None;
                }
                noted => {
                    let earlier = noted as usize - 1;
                    if args.get(earlier).is_some_and(|other| other.is(arg)) {
                        return Some(earlier);
                    }
                }
            }
            place = (place + 1) & mask;
        }
    }
}
