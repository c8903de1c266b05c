//! Turns: ask the kernel, then run what was ready when the turn began.
//!
//! A turn is asyncio's `_run_once`: what was ready, then I/O, then calls from other threads, then
//! timers due; callbacks scheduled meanwhile wait for the next turn. The kernel is not asked while
//! there is work and no descriptor is registered: it could have nothing to say.
//! Owner thread, which releases the GIL while it waits.
//!
//! Invariant: an exception, or a panic, costs the job that raised it: it is reported, and the loop
//! goes on. `SystemExit` and `KeyboardInterrupt` leave the loop, with the queue intact.

use std::cell::RefCell;
use std::io::Read;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;

use rulip_engine::sys::clock;
use rulip_engine::{Deadline, Idle, Plan, Readiness, Token};

use crate::event_loop::slow_jobs::{self, SlowJobs};
use crate::event_loop::surroundings::Surroundings;
use crate::event_loop::watch_fd;
use crate::failpoints;
use crate::ffi::arguments::Args;
use crate::ffi::error::FirstError;
use crate::ffi::gc::{self, Unlocked};
use crate::ffi::thread_end::StaysToTheEnd;
use crate::ffi::trampoline::shielded_or;
use crate::ffi::{Obj, Raised, Ref, Res, send, value};
use crate::handle::Handle;
use crate::loop_state::{AtRisk, Job, LoopState};
use crate::task::sleep::Sleep;
use crate::task::step::{self, Inside};
use crate::task::{Task, registry};
use crate::transport::datagram::DatagramTransport;
use crate::watcher::{Target, Watcher};

type This = Ref<LoopState>;

/// Every so many turns the doorbell is emptied even if no wait was cut short by it.
const TURNS_PER_DOORBELL_CHECK: u32 = 4096;

/// Past this many bytes written, a turn's writes leave before its end: more would only fall out
/// of the cache, and make the heap grow and shrink.
const FLUSH_WITHIN_TURN: usize = 16 * 1024;

/// What a connection is lost by that a panic hit.
const BROKEN: &str = "Fatal error: internal error in rulip";

/// `_run()`: turns until `stop()`, as this thread's running loop.
pub(crate) fn run(this: &This) -> Res<Obj> {
    this.check_closed()?;
    if this.running.get() {
        return Err(Raised::runtime_error("This event loop is already running"));
    }
    super::tasks::look_for_task_class(this)?;
    let _stays = StaysToTheEnd::new();
    let surroundings = Surroundings::enter(this)?;
    this.running.set(true);
    this.thread_ident.set(gc::thread_ident());
    let outer = RUNNING.replace(Some(this.clone()));
    let released = send::set_released(true);
    let mut first = FirstError::default();
    first.note(turns(this), this.as_obj());
    // A loop that stops has still sent what it wrote.
    first.note(flush(this), this.as_obj());
    this.stopping.set(false);
    this.running.set(false);
    this.thread_ident.set(0);
    this.track_jobs();
    send::set_released(released);
    drop(RUNNING.replace(outer));
    first.note(surroundings.leave(this), this.as_obj());
    first.finish().map(|()| Obj::none())
}

thread_local! {
    static RUNNING: RefCell<Option<This>> = const { RefCell::new(None) };
}

/// The native loop that runs in this thread.
#[inline]
pub(crate) fn running() -> Option<This> {
    RUNNING.with_borrow(Clone::clone)
}

/// Whether it is this loop that runs in this thread.
#[inline]
pub(crate) fn is_running_here(loop_: &This) -> bool {
    RUNNING.with_borrow(|running| {
        running.as_ref().is_some_and(|running| running.as_obj().is(loop_.as_obj()))
    })
}

fn turns(this: &This) -> Res<()> {
    let mut watch = SlowJobs::begin(this);
    let mut count: u32 = 0;
    loop {
        count = count.wrapping_add(1);
        turn(this, &mut watch)?;
        if count.is_multiple_of(TURNS_PER_DOORBELL_CHECK) {
            empty_doorbell(this)?;
        }
        if this.stopping.get() {
            return Ok(());
        }
    }
}

#[inline]
fn turn(this: &This, watch: &mut SlowJobs) -> Res<()> {
    let engine = &this.engine;
    let idle = if this.stopping.get() { Idle::MustNotBlock } else { Idle::MayBlock };
    let plan =
        if this.time_replaced.get() { plan_by_python(this, idle)? } else { engine.plan(idle) };
    match plan {
        Plan::Skip => {}
        Plan::Check => engine.wait(&plan).map_err(crate::error::raise)?,
        Plan::Block(_) => block(this, &plan)?,
    }
    gc::check_signals()?;
    let now = if engine.timers_len() > 0 { this.now()? } else { Deadline(0) };
    engine.collect(now);
    if engine.take_doorbell_rang() {
        empty_doorbell(this)?;
    }

    this.turn.set(this.turn.get().wrapping_add(1));
    engine.begin_turn();
    this.in_turn.set(true);
    let mut result = Ok(());
    if !matches!(plan, Plan::Skip) || watch.is_exact() != this.debug.get() {
        watch.resume(this);
    }
    while let Some(job) = engine.next_job() {
        result = run_job(this, job, watch);
        if result.is_err() {
            break;
        }
        if this.unflushed_bytes.get() > FLUSH_WITHIN_TURN {
            result = flush(this);
            if result.is_err() {
                break;
            }
        }
    }
    engine.end_turn();
    this.in_turn.set(false);
    if this.unflushed.borrow().is_empty() {
        return result;
    }
    // What was written before an exception counts as sent.
    let mut first = FirstError::default();
    first.note(result, this.as_obj());
    first.note(flush(this), this.as_obj());
    first.finish()
}

/// With a clock of Python's making, deadlines are compared with it, and never slept for: only it knows
/// how long they are.
#[cold]
fn plan_by_python(this: &This, idle: Idle) -> Res<Plan> {
    let plan = this.engine.plan(idle);
    let Plan::Block(Some(deadline)) = plan else { return Ok(plan) };
    let ahead = match this.now() {
        Ok(now) => deadline.since(now),
        Err(raised) => {
            this.engine.abandon(plan);
            return Err(raised);
        }
    };
    Ok(Plan::Block(Some(clock::now().after(ahead))))
}

fn block(this: &This, plan: &Plan) -> Res<()> {
    let waited = {
        let engine = Unlocked::new(&this.engine);
        gc::detached(move || engine.get().wait(plan))
    };
    waited.map_err(crate::error::raise)
}

/// Runs one job. Comes back with an error only for what must leave the loop.
#[inline]
fn run_job(this: &This, job: Job, watch: &mut SlowJobs) -> Res<()> {
    let result = shielded_or(|| run_unshielded(this, job, watch), |panic| settle(this, panic));
    this.at_risk.set(AtRisk::Nobody);
    match result {
        Ok(()) => {
            send::release_awaited();
            Ok(())
        }
        Err(raised) if raised.leaves_the_loop() => Err(raised),
        Err(raised) => report_stray(this, raised),
    }
}

/// A job panicked: a task ends with what it became, a connection is lost by it.
#[cold]
fn settle(this: &This, panic: Raised) -> Res<()> {
    match this.at_risk.take() {
        AtRisk::Nobody => Err(panic),
        AtRisk::Step(slot) => match registry::at(this, slot) {
            Some(task) => step::fail(&task, Some(this), panic),
            None => Err(panic),
        },
        AtRisk::Readiness(token) => {
            let hit = this.engine.with_target(token, |target| match target {
                Target::Stream(transport) => Some(transport.clone()),
                _ => None,
            });
            match hit.flatten() {
                Some(transport) => transport.fatal(BROKEN, panic),
                None => Err(panic),
            }
        }
    }
}

/// What programs have most of, without a call in between.
#[inline(always)]
fn run_unshielded(this: &This, job: Job, watch: &mut SlowJobs) -> Res<()> {
    match job {
        Job::Handle(handle) => run_handle(this, handle, watch),
        Job::Task(task) => run_task(this, &task, watch),
        job => run_any(this, job, watch),
    }
}

#[inline(always)]
fn run_handle(this: &This, handle: Ref<Handle>, watch: &mut SlowJobs) -> Res<()> {
    failpoints::reached(failpoints::JOB);
    handle.set_timer(None);
    let result = Handle::run(&handle);
    let result = watch.lap(this, result, || Some(handle.to_obj()));
    Handle::release(handle);
    result
}

#[inline(always)]
fn run_task(this: &This, task: &Ref<Task>, watch: &mut SlowJobs) -> Res<()> {
    this.at_risk.set(AtRisk::Step(registry::place(task)));
    let result = step::step(task, Some(this), Inside::Nothing);
    watch.lap(this, result, || Some(task.to_obj()))
}

/// The rest of them; the first two arms never come here.
#[inline(never)]
fn run_any(this: &This, job: Job, watch: &mut SlowJobs) -> Res<()> {
    match job {
        Job::Handle(handle) => run_handle(this, handle, watch),
        Job::Task(task) => run_task(this, &task, watch),
        Job::Sleep(sleep) => Sleep::elapse(&sleep),
        Job::Timeout(timeout) => timeout.run(),
        Job::WaitFor(wait_for) => wait_for.run(),
        Job::Group(group) => group.run(),
        Job::Shield(shield) => shield.run(),
        Job::Wait(wait) => wait.run(),
        Job::WaitLimit(wait) => wait.run_limit(),
        Job::Gathering(gathering) => gathering.run(),
        Job::Io(token, readiness) => {
            let result = dispatch(this, token, readiness);
            watch.lap(this, result, || slow_jobs::owner(this, token))
        }
        Job::Transport(transport, stage) => {
            let result = transport.run(stage);
            watch.lap(this, result, || Some(transport.to_obj()))
        }
        Job::Datagram(transport, stage) => {
            let result = transport.run(stage);
            watch.lap(this, result, || Some(transport.to_obj()))
        }
        Job::ReadPipe(transport, stage) => {
            let result = transport.run(stage);
            watch.lap(this, result, || Some(transport.to_obj()))
        }
        Job::WritePipe(transport, stage) => {
            let result = transport.run(stage);
            watch.lap(this, result, || Some(transport.to_obj()))
        }
        Job::Listener(listener) => {
            let result = listener.retry();
            watch.lap(this, result, || Some(listener.to_obj()))
        }
    }
}

fn dispatch(this: &This, token: Token, readiness: Readiness) -> Res<()> {
    enum To {
        Stream(Ref<crate::transport::stream::StreamTransport>),
        Datagram(Ref<DatagramTransport>),
        Listener(Ref<crate::transport::listener::Listener>),
        Watch,
    }
    let to = this.engine.with_target(token, |target| match target {
        Target::Stream(transport) => To::Stream(transport.clone()),
        Target::Datagram(transport) => To::Datagram(transport.clone()),
        Target::Listener(listener) => To::Listener(listener.clone()),
        Target::Watch { .. } => To::Watch,
    });
    match to {
        Some(To::Stream(transport)) => {
            this.at_risk.set(AtRisk::Readiness(token));
            transport.handle_readiness(readiness)
        }
        Some(To::Datagram(transport)) => transport.handle_readiness(readiness),
        Some(To::Listener(listener)) => listener.handle_readable(),
        Some(To::Watch) => watch_fd::dispatch(this, token, readiness),
        None => Ok(()),
    }
}

/// An exception that belongs to no callback: ours, then.
#[cold]
fn report_stray(this: &This, raised: Raised) -> Res<()> {
    let exc = raised.take();
    LoopState::report(this, "Exception in the event loop", Some(&exc), &[])
}

/// `_flush_written()`: before a fork, so that the child has nothing to send a second time.
pub(crate) fn flush_written(_args: &Args<'_>) -> Res<Obj> {
    match running() {
        Some(this) => flush(&this).map(|()| Obj::none()),
        None => Ok(Obj::none()),
    }
}

/// Sends what this turn's jobs wrote, one send per transport.
pub(crate) fn flush(this: &This) -> Res<()> {
    let mut first = FirstError::default();
    this.unflushed_bytes.set(0);
    // A protocol told to resume may write again: until nobody has anything left.
    loop {
        let mut transports = this.unflushed.take();
        if transports.is_empty() {
            // Keep the memory.
            if this.unflushed.borrow().is_empty() {
                this.unflushed.replace(transports);
            }
            return first.finish();
        }
        for transport in transports.drain(..) {
            transport.clear_unflushed();
            let flushed = shielded_or(|| transport.flush(), |panic| transport.fatal(BROKEN, panic));
            match flushed {
                Err(raised) if !raised.leaves_the_loop() => {
                    first.note(report_stray(this, raised), this.as_obj())
                }
                flushed => first.note(flushed, this.as_obj()),
            }
        }
        if this.unflushed.borrow().is_empty() {
            this.unflushed.replace(transports);
            return first.finish();
        }
    }
}

/// `_doorbell()`: the write end, for `signal.set_wakeup_fd`.
pub(crate) fn doorbell(this: &This) -> Res<Obj> {
    this.check_closed()?;
    let missing = this.doorbell.borrow().is_none();
    if missing {
        let made = UnixStream::pair().and_then(|(bell, button)| {
            bell.set_nonblocking(true)?;
            button.set_nonblocking(true)?;
            Ok((button, bell))
        });
        let (button, bell) = made.map_err(|error| crate::error::raise_io(&error))?;
        this.engine.add_doorbell(bell.as_raw_fd()).map_err(crate::error::raise)?;
        *this.doorbell.borrow_mut() = Some((button, bell));
    }
    let fd = this.doorbell.borrow().as_ref().map_or(-1, |(button, _)| button.as_raw_fd());
    value::int(i64::from(fd))
}

/// Python knows which signals came and has called their handlers. The numbers matter only to a handler
/// of the loop's that `signal.signal()` replaced since: asyncio calls it nevertheless.
#[cold]
pub(crate) fn empty_doorbell(this: &This) -> Res<()> {
    let mut numbers = Vec::new();
    if let Some((_, bell)) = this.doorbell.borrow().as_ref() {
        let mut bytes = [0; 512];
        let mut bell = bell;
        while let Ok(count) = bell.read(&mut bytes) {
            numbers.extend(bytes.iter().take(count).filter(|number| **number != 0));
            if count < bytes.len() {
                break;
            }
        }
    }
    if numbers.is_empty() {
        return Ok(());
    }
    let numbers = crate::ffi::bytes::from_slice(&numbers)?;
    let outer = match this.outer_wakeup.get() {
        Some(fd) => value::int(fd)?,
        None => Obj::none(),
    };
    this.as_obj().method2(&crate::names::get().signals_rang, &numbers, &outer).map(drop)
}

/// `_shutdown()`: lets go of everything. Idempotent.
pub(crate) fn shutdown(this: &This) -> Res<Obj> {
    if this.running.get() {
        return Err(Raised::runtime_error("Cannot close a running event loop"));
    }
    let mut first = FirstError::default();
    first.note(flush(this), this.as_obj());
    this.closed.set(true);
    let left = this.engine.shutdown();
    this.engine.close();
    let doorbell = this.doorbell.borrow_mut().take();
    drop(doorbell);
    let (jobs, targets) = left;
    for job in &jobs {
        if let Job::Handle(handle) = job {
            handle.empty();
        }
    }
    for target in &targets {
        if let Target::Watch { reader, writer } = target {
            for watcher in reader.iter().chain(writer) {
                if let Watcher::Handle(handle) = watcher {
                    handle.empty();
                }
            }
        }
    }
    drop((jobs, targets));
    drop(this.scratch.take());
    this.received.clear();
    first.finish().map(|()| Obj::none())
}
