//! What futures, tasks, handles and transports may see of a loop: the engine, the current task,
//! the flags. The Python-visible loop is this body plus the methods of `event_loop`.
//!
//! Owner thread: the one that runs the loop; `call_soon_threadsafe` reaches it through the
//! engine's inbox. Invariant: nothing here calls Python while a borrow of the engine or of a
//! `RefCell` is held; every `RefCell` borrow ends within the function that takes it.

use std::cell::{Cell, RefCell};
use std::ffi::c_int;
use std::os::unix::net::UnixStream;

use rulip_engine::{Deadline, Engine, Io, Readiness, Token};

use crate::ffi::gc;
use crate::ffi::native::{Native, TypeCell, Unowned};
use crate::ffi::reused_bytes::ReusedBytes;
use crate::ffi::slot::Visit;
use crate::ffi::{Obj, Raised, Ref, Res, Slot, value};
use crate::gather::Gathering;
use crate::handle::Handle;
use crate::shield::Shield;
use crate::task::Task;
use crate::task::sleep::Sleep;
use crate::taskgroup::TaskGroup;
use crate::timeouts::Timeout;
use crate::timeouts::wait_for::WaitFor;
use crate::transport::base;
use crate::transport::chunk::Chunk;
use crate::transport::datagram::DatagramTransport;
use crate::transport::listener::Listener;
use crate::transport::read_pipe::ReadPipeTransport;
use crate::transport::stream::{Stage, StreamTransport};
use crate::transport::write_pipe::WritePipeTransport;
use crate::waiting::Wait;
use crate::watcher::Target;

/// One entry of the ready queue or of the timer heap.
#[derive(Debug)]
pub(crate) enum Job {
    /// Step the task.
    Task(Ref<Task>),
    /// Run the callback.
    Handle(Ref<Handle>),
    /// A sleep is over.
    Sleep(Ref<Sleep>),
    /// A descriptor is ready.
    Io(Token, Readiness),
    /// A time limit is over.
    Timeout(Ref<Timeout>),
    /// A `wait_for()`'s time is over.
    WaitFor(Ref<WaitFor>),
    /// A shielded future or its shield is done.
    Shield(Ref<Shield>),
    /// A future that decides a `wait()` is done.
    Wait(Ref<Wait>),
    /// A `wait()`'s time is over.
    WaitLimit(Ref<Wait>),
    /// A task of a group is done.
    Group(Ref<TaskGroup>),
    /// A child of a `gather()` is done.
    Gathering(Ref<Gathering>),
    /// A listener's back-off is over.
    Listener(Ref<Listener>),
    /// A transport's next stage: made, lost.
    Transport(Ref<StreamTransport>, Stage),
    /// Likewise, of the other transports.
    Datagram(Ref<DatagramTransport>, base::Stage),
    ReadPipe(Ref<ReadPipeTransport>, base::Stage),
    WritePipe(Ref<WritePipeTransport>, base::Stage),
}

impl From<Io> for Job {
    #[inline]
    fn from(io: Io) -> Self {
        Self::Io(io.token, io.readiness)
    }
}

impl Job {
    fn visit(&self, visit: &Visit) -> Result<(), c_int> {
        match self {
            Self::Task(task) => visit.obj(task.as_obj()),
            Self::Handle(handle) => visit_handle(handle, visit),
            Self::Sleep(sleep) => visit.obj(sleep.as_obj()),
            Self::Timeout(timeout) => visit.obj(timeout.as_obj()),
            Self::WaitFor(wait_for) => visit.obj(wait_for.as_obj()),
            Self::Group(group) => visit.obj(group.as_obj()),
            Self::Shield(shield) => visit.obj(shield.as_obj()),
            Self::Wait(wait) | Self::WaitLimit(wait) => visit.obj(wait.as_obj()),
            Self::Gathering(gathering) => visit.obj(gathering.as_obj()),
            Self::Listener(listener) => visit.obj(listener.as_obj()),
            Self::Transport(transport, _) => visit.obj(transport.as_obj()),
            Self::Datagram(transport, _) => visit.obj(transport.as_obj()),
            Self::ReadPipe(transport, _) => visit.obj(transport.as_obj()),
            Self::WritePipe(transport, _) => visit.obj(transport.as_obj()),
            Self::Io(..) => Ok(()),
        }
    }
}

/// A handle that is not tracked, and that only we hold, is seen through.
pub(crate) fn visit_handle(handle: &Ref<Handle>, visit: &Visit) -> Result<(), c_int> {
    if handle.is_tracked() {
        visit.obj(handle.as_obj())
    } else if handle.as_obj().refcount() == 1 {
        handle.traverse(visit)
    } else {
        Ok(())
    }
}

/// Whom a panic of the job that runs now would cost.
#[derive(Copy, Clone, Default)]
pub(crate) enum AtRisk {
    #[default]
    Nobody,
    /// The task in this slot.
    Step(u32),
    /// The connection that this readiness is for.
    Readiness(Token),
}

/// The body of `_rulip.EventLoop`.
pub(crate) struct LoopState {
    pub(crate) engine: Engine<Job, Target>,
    pub(crate) running: Cell<bool>,
    pub(crate) stopping: Cell<bool>,
    /// Counts turns.
    pub(crate) turn: Cell<u32>,
    pub(crate) at_risk: Cell<AtRisk>,
    /// Jobs are being run: what they write is flushed when they are done.
    pub(crate) in_turn: Cell<bool>,
    pub(crate) closed: Cell<bool>,
    pub(crate) debug: Cell<bool>,
    /// Somebody replaced `time` on the instance or in a subclass: ask Python for the time.
    pub(crate) time_replaced: Cell<bool>,
    /// Likewise `create_task`.
    pub(crate) create_task_replaced: Cell<bool>,
    /// Likewise `call_soon`: it is called where asyncio's futures and tasks would.
    pub(crate) call_soon_replaced: Cell<bool>,
    /// Likewise what asyncio's `sleep()` calls: `create_future`, `call_later`, `call_at`.
    pub(crate) waiting_replaced: Cell<bool>,
    /// Likewise `call_at`, which asyncio's `call_later` calls.
    pub(crate) call_at_replaced: Cell<bool>,
    /// `threading.get_ident()` of the running thread, 0 when not running.
    pub(crate) thread_ident: Cell<u64>,
    /// Seconds; callbacks slower than this are reported in debug mode.
    pub(crate) slow_callback_duration: Cell<f64>,
    pub(crate) task_factory: Slot,
    /// What somebody put in place of `asyncio.tasks.Task`; looked for when the loop begins to run,
    /// and while it does not (`event_loop::tasks`).
    pub(crate) task_class: Slot,
    /// It is our own eager one.
    pub(crate) tasks_are_eager: Cell<bool>,
    /// The native task being stepped.
    pub(crate) current: Cell<Option<Unowned<Task>>>,
    /// Whether `current` stands in asyncio's own dict of current tasks.
    pub(crate) published: Cell<bool>,
    /// Pending native tasks, for `all_tasks()`.
    pub(crate) tasks: RefCell<slab::Slab<Unowned<Task>>>,
    /// Bytes that wait in them.
    pub(crate) unflushed_bytes: Cell<usize>,
    /// Transports with writes of this turn to flush.
    pub(crate) unflushed: RefCell<Vec<Ref<StreamTransport>>>,
    /// What reads go into before they become bytes objects.
    pub(crate) scratch: Cell<Vec<u8>>,
    /// What they become.
    pub(crate) received: ReusedBytes,
    /// What flushes move sent chunks into, to be dropped: empty in between.
    pub(crate) spent: Cell<Vec<Chunk>>,
    /// Write end (for `signal.set_wakeup_fd`) and read end of the doorbell.
    pub(crate) doorbell: RefCell<Option<(UnixStream, UnixStream)>>,
    /// While the loop runs: the wake-up descriptor of somebody else that ours took the place of.
    pub(crate) outer_wakeup: Cell<Option<i64>>,
}

static TYPE: TypeCell = TypeCell::new();

// SAFETY: every reference held is visited.
#[allow(unsafe_code, reason = "a promise about the layout or the collector, no operation")]
unsafe impl Native for LoopState {
    fn type_cell() -> &'static TypeCell {
        &TYPE
    }

    fn traverse(&self, visit: &Visit) -> Result<(), c_int> {
        self.task_factory.visit(visit)?;
        self.task_class.visit(visit)?;
        self.received.visit(visit)?;
        let mut result = Ok(());
        self.engine.visit_jobs(&mut |job| {
            if result.is_ok() {
                result = job.visit(visit);
            }
        });
        self.engine.visit_targets(&mut |target| {
            if result.is_ok() {
                result = target.visit(visit);
            }
        });
        result?;
        match self.unflushed.try_borrow() {
            Ok(transports) => {
                transports.iter().try_for_each(|transport| visit.obj(transport.as_obj()))
            }
            Err(_) => Ok(()),
        }
    }

    fn clear(&self) {
        self.task_factory.set(None);
        self.task_class.set(None);
        self.received.clear();
        drop(self.engine.shutdown());
        drop(self.unflushed.take());
    }
}

impl LoopState {
    pub(crate) fn new() -> Res<Self> {
        Ok(Self {
            engine: Engine::new().map_err(crate::error::raise)?,
            running: Cell::new(false),
            stopping: Cell::new(false),
            turn: Cell::new(0),
            at_risk: Cell::new(AtRisk::Nobody),
            in_turn: Cell::new(false),
            closed: Cell::new(false),
            debug: Cell::new(false),
            time_replaced: Cell::new(false),
            create_task_replaced: Cell::new(false),
            call_soon_replaced: Cell::new(false),
            waiting_replaced: Cell::new(false),
            call_at_replaced: Cell::new(false),
            thread_ident: Cell::new(0),
            slow_callback_duration: Cell::new(0.1),
            task_factory: Slot::empty(),
            task_class: Slot::empty(),
            tasks_are_eager: Cell::new(false),
            current: Cell::new(None),
            published: Cell::new(false),
            tasks: RefCell::new(slab::Slab::new()),
            unflushed_bytes: Cell::new(0),
            unflushed: RefCell::new(Vec::new()),
            scratch: Cell::new(Vec::new()),
            received: ReusedBytes::new(),
            spent: Cell::new(Vec::new()),
            doorbell: RefCell::new(None),
            outer_wakeup: Cell::new(None),
        })
    }

    /// The loop stops: from now on it may be garbage, and its handles with it.
    pub(crate) fn track_jobs(&self) {
        self.engine.drain_inbox();
        self.engine.visit_ready(&mut |job| {
            if let Job::Handle(handle) = job {
                handle.track();
            }
        });
    }

    #[inline]
    pub(crate) fn check_closed(&self) -> Res<()> {
        if self.closed.get() { Err(Raised::runtime_error("Event loop is closed")) } else { Ok(()) }
    }

    /// Whether the caller may schedule without `call_soon_threadsafe()`: asked in debug mode.
    #[cold]
    pub(crate) fn check_thread(&self) -> Res<()> {
        let owner = self.thread_ident.get();
        if owner == 0 || owner == gc::thread_ident() {
            return Ok(());
        }
        Err(Raised::runtime_error(
            "Non-thread-safe operation invoked on an event loop other than the current one",
        ))
    }

    /// Whether `create_task()` only makes a native task: no factory, nothing replaced.
    #[inline]
    pub(crate) fn makes_plain_tasks(&self) -> bool {
        !self.create_task_replaced.get()
            && !self.task_factory.is_set()
            && !self.task_class.is_set()
            && !self.closed.get()
    }

    /// The memory that reads go into; whoever takes it sets it back.
    #[inline]
    pub(crate) fn take_scratch(&self, size: usize) -> Vec<u8> {
        let scratch = self.scratch.take();
        if scratch.is_empty() { vec![0; size] } else { scratch }
    }

    /// Whether the end of a turn will come and flush.
    #[inline]
    pub(crate) fn in_turn(&self) -> bool {
        self.in_turn.get()
    }

    /// Queues a job at the end, behind what other threads have queued already.
    #[inline(always)]
    pub(crate) fn push(&self, job: Job) {
        if self.engine.has_foreign_jobs() {
            self.engine.drain_inbox();
        }
        self.engine.push(job);
    }

    /// Reports to the loop's exception handler, which never raises but for what leaves the loop.
    pub(crate) fn report(
        this: &Ref<Self>,
        message: &str,
        exc: Option<&Obj>,
        more: &[(&Obj, &Obj)],
    ) -> Res<()> {
        report_to(this.as_obj(), message, exc, more)
    }
}

/// Reports to the exception handler of a loop of any kind.
pub(crate) fn report_to(
    loop_: &Obj,
    message: &str,
    exc: Option<&Obj>,
    more: &[(&Obj, &Obj)],
) -> Res<()> {
    let names = crate::names::get();
    let context = value::dict()?;
    value::dict_set(&context, &names.message, &value::str(message)?)?;
    if let Some(exc) = exc {
        value::dict_set(&context, &names.exception, exc)?;
    }
    for (key, item) in more {
        value::dict_set(&context, key, item)?;
    }
    loop_.method1(&names.call_exception_handler, &context).map(drop)
}

impl Ref<LoopState> {
    /// The loop's time, as the scheduler sees it: a replaced `time` is honoured.
    #[inline]
    pub(crate) fn now(&self) -> Res<Deadline> {
        if self.time_replaced.get() {
            return self.time_by_name().map(Deadline::from_secs);
        }
        Ok(rulip_engine::sys::clock::now())
    }

    /// `time()`, exactly: what deadlines are counted from.
    #[inline]
    pub(crate) fn time(&self) -> Res<f64> {
        if self.time_replaced.get() {
            return self.time_by_name();
        }
        Ok(rulip_engine::sys::clock::now().as_secs())
    }

    #[cold]
    fn time_by_name(&self) -> Res<f64> {
        value::as_f64(&self.as_obj().method0(&crate::names::get().time)?)
    }
}
