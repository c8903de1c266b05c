//! Every Python object that we import, found once at module initialisation.
//!
//! Attached threads only. Not here: our own types (`ffi::native::TypeCell`), names (`names.rs`).

use crate::ffi::object::Attached;
use crate::ffi::{Obj, Res, call, value};

/// Classes and functions of the standard library.
pub(crate) struct Imports {
    /// `asyncio.CancelledError`.
    pub(crate) cancelled_error: Obj,
    /// `asyncio.InvalidStateError`.
    pub(crate) invalid_state_error: Obj,
    /// `_asyncio.Future` as everybody knows it: what `isinstance` compares with.
    pub(crate) future_class: Obj,
    /// `asyncio.Task`.
    pub(crate) task_class: Obj,
    /// `asyncio.Handle`.
    pub(crate) handle_class: Obj,
    /// `asyncio.TimerHandle`.
    pub(crate) timer_handle_class: Obj,
    /// `asyncio.events._ThreadSafeHandle`.
    #[cfg(Py_3_14)]
    pub(crate) threadsafe_handle_class: Obj,
    /// `_thread.allocate_lock`.
    #[cfg(Py_3_14)]
    pub(crate) allocate_lock: Obj,
    /// `asyncio.BufferedProtocol`.
    pub(crate) buffered_protocol_class: Obj,
    /// `asyncio.trsock.TransportSocket`.
    pub(crate) transport_socket_class: Obj,
    /// `asyncio.coroutines.iscoroutine`.
    pub(crate) iscoroutine: Obj,
    /// `asyncio.coroutines.iscoroutinefunction`.
    pub(crate) iscoroutinefunction: Obj,
    /// `asyncio.base_futures._future_repr`.
    pub(crate) future_repr: Obj,
    /// `asyncio.base_tasks._task_repr`.
    pub(crate) task_repr: Obj,
    /// `asyncio.base_tasks._task_get_stack`.
    pub(crate) task_get_stack: Obj,
    /// `asyncio.base_tasks._task_print_stack`.
    pub(crate) task_print_stack: Obj,
    /// `asyncio.format_helpers.extract_stack`.
    pub(crate) extract_stack: Obj,
    /// `asyncio.format_helpers._format_callback_source`.
    pub(crate) format_callback_source: Obj,
    /// asyncio's own `wait_for`, likewise.
    pub(crate) wait_for: Obj,
    /// `asyncio.current_task`, for tasks that are not ours.
    pub(crate) current_task: Obj,
    /// `asyncio.Timeout` and the enum of its states.
    pub(crate) timeout_class: Obj,
    pub(crate) timeout_state: Obj,
    /// A `Timeout` puts `TimeoutError` into chains of exceptions too (3.13 on).
    pub(crate) inserts_timeout_error: bool,
    /// `asyncio.TaskGroup`.
    pub(crate) task_group_class: Obj,
    /// Builtin exceptions, and `round`.
    pub(crate) system_exit: Obj,
    pub(crate) keyboard_interrupt: Obj,
    pub(crate) base_exception_group: Obj,
    pub(crate) timeout_error: Obj,
    pub(crate) exception_group: Obj,
    pub(crate) round: Obj,
    /// asyncio's own `wait`, likewise.
    pub(crate) wait: Obj,
    /// asyncio's own `shield`, likewise, and whether it says nothing of what fails behind it.
    pub(crate) shield: Obj,
    pub(crate) shield_is_silent: bool,
    /// asyncio's own `gather`, for what is not ours.
    pub(crate) gather: Obj,
    /// `asyncio.tasks._GatheringFuture`.
    pub(crate) gathering_class: Obj,
    /// `asyncio.tasks`, whose `Task` others may replace.
    pub(crate) tasks_module: Obj,
    /// asyncio's own `create_task`, for loops that are not ours.
    pub(crate) create_task: Obj,
    /// `asyncio.events.get_running_loop`.
    pub(crate) get_running_loop: Obj,
    /// `asyncio._get_running_loop`.
    pub(crate) get_running_loop_or_none: Obj,
    /// `asyncio._set_running_loop`.
    pub(crate) set_running_loop: Obj,
    /// `sys.get_asyncgen_hooks`, `sys.set_asyncgen_hooks`, `signal.set_wakeup_fd`.
    pub(crate) get_asyncgen_hooks: Obj,
    pub(crate) set_asyncgen_hooks: Obj,
    pub(crate) set_wakeup_fd: Obj,
    /// `threading.main_thread`.
    pub(crate) main_thread: Obj,
    /// `asyncio.events.get_event_loop`, which a Future made without a loop asks.
    pub(crate) get_event_loop: Obj,
    /// The dict loop -> current task behind `asyncio.current_task()`, where it is one (to 3.13).
    pub(crate) current_tasks: Option<Obj>,
    /// `asyncio.tasks._swap_current_task`, which eager tasks came with (3.12).
    pub(crate) swap_current_task: Option<Obj>,
    /// `asyncio.tasks._enter_task`, for native tasks on foreign loops; and its siblings.
    pub(crate) enter_task: Obj,
    pub(crate) leave_task: Obj,
    pub(crate) register_task: Obj,
    /// `asyncio.futures._set_result_unless_cancelled`.
    pub(crate) set_result_unless_cancelled: Obj,
    /// `asyncio.log.logger`.
    pub(crate) logger: Obj,
    /// `socket.socket`.
    pub(crate) socket_class: Obj,
    /// `_asyncio.Server._attach` takes the transport (3.12.1 on, roughly: asked, not assumed).
    pub(crate) attach_takes_transport: bool,
    /// `sys.version_info[:3]`.
    pub(crate) version: (i64, i64, i64),
    /// `sys._getframe`.
    pub(crate) getframe: Obj,
    /// `warnings.warn`.
    pub(crate) warn: Obj,
    /// `contextvars.Context`'s class is asked by type, this is `types.GenericAlias`.
    pub(crate) generic_alias: Obj,
    /// `ResourceWarning`.
    pub(crate) resource_warning: Obj,
    /// asyncio's own, for futures that are not ours; `set`.
    #[cfg(Py_3_14)]
    pub(crate) add_to_awaited_by: Obj,
    #[cfg(Py_3_14)]
    pub(crate) discard_from_awaited_by: Obj,
    #[cfg(Py_3_14)]
    pub(crate) set: Obj,
    /// `DeprecationWarning`.
    pub(crate) deprecation_warning: Obj,
    /// `OSError`.
    pub(crate) os_error: Obj,
    /// `BlockingIOError`, `InterruptedError`.
    pub(crate) blocking_io_error: Obj,
    pub(crate) interrupted_error: Obj,
    /// `ValueError`.
    pub(crate) value_error: Obj,
    /// `collections.deque`.
    pub(crate) deque: Obj,
    /// `heapq.heappush` and `heapq.heappop`.
    pub(crate) heappush: Obj,
    pub(crate) heappop: Obj,
    /// asyncio's primitives, which ours stand for, and their exceptions.
    pub(crate) lock_class: Obj,
    pub(crate) event_class: Obj,
    pub(crate) condition_class: Obj,
    pub(crate) semaphore_class: Obj,
    pub(crate) bounded_semaphore_class: Obj,
    pub(crate) barrier_class: Obj,
    pub(crate) barrier_state_class: Obj,
    pub(crate) broken_barrier_error: Obj,
    pub(crate) queue_class: Obj,
    pub(crate) priority_queue_class: Obj,
    pub(crate) lifo_queue_class: Obj,
    pub(crate) queue_full: Obj,
    pub(crate) queue_empty: Obj,
    /// From 3.13 on.
    pub(crate) queue_shut_down: Option<Obj>,
    /// `Semaphore.acquire()` wakes as many as there are permits for, not just one.
    pub(crate) semaphore_wakes_all_allowed: bool,
    /// `Condition.wait()` notifies another one when it fails.
    pub(crate) condition_hands_on: bool,
    /// `Condition.wait()` raises the cancellation it got, not a new one.
    pub(crate) condition_reraises: bool,
}

fn find(module: &std::ffi::CStr, name: &str) -> Res<Obj> {
    call::import(module)?.attr(&value::str(name)?)
}

/// The private name where the public one has become a deprecated wrapper.
fn find_first(module: &std::ffi::CStr, name: &str, other: &str) -> Res<Obj> {
    match call::import(module)?.attr_opt(&value::str(name)?)? {
        Some(found) => Ok(found),
        None => find(module, other),
    }
}

impl Imports {
    fn new() -> Res<Self> {
        let version = value::tuple_items(&find(c"sys", "version_info")?);
        let number = |i: usize| version.get(i).map_or(Ok(0), value::as_i64);
        let attach = find(c"asyncio.base_events", "Server")?.attr(&value::str("_attach")?)?;
        let arguments = attach.attr(&value::str("__code__")?)?.attr(&value::str("co_argcount")?)?;
        let optional = |name: &str| call::import(c"_asyncio")?.attr_opt(&value::str(name)?);
        Ok(Self {
            cancelled_error: find(c"asyncio.exceptions", "CancelledError")?,
            invalid_state_error: find(c"asyncio.exceptions", "InvalidStateError")?,
            future_class: find(c"_asyncio", "Future")?,
            task_class: find(c"_asyncio", "Task")?,
            handle_class: find(c"asyncio.events", "Handle")?,
            timer_handle_class: find(c"asyncio.events", "TimerHandle")?,
            #[cfg(Py_3_14)]
            threadsafe_handle_class: find_first(c"asyncio.events", "_ThreadSafeHandle", "Handle")?,
            #[cfg(Py_3_14)]
            allocate_lock: find(c"_thread", "allocate_lock")?,
            buffered_protocol_class: find(c"asyncio.protocols", "BufferedProtocol")?,
            transport_socket_class: find(c"asyncio.trsock", "TransportSocket")?,
            iscoroutine: find(c"asyncio.coroutines", "iscoroutine")?,
            iscoroutinefunction: find_first(
                c"asyncio.coroutines",
                "_iscoroutinefunction",
                "iscoroutinefunction",
            )?,
            future_repr: find(c"asyncio.base_futures", "_future_repr")?,
            task_repr: find(c"asyncio.base_tasks", "_task_repr")?,
            task_get_stack: find(c"asyncio.base_tasks", "_task_get_stack")?,
            task_print_stack: find(c"asyncio.base_tasks", "_task_print_stack")?,
            extract_stack: find(c"asyncio.format_helpers", "extract_stack")?,
            format_callback_source: find(c"asyncio.format_helpers", "_format_callback_source")?,
            wait_for: find(c"asyncio.tasks", "wait_for")?,
            current_task: find(c"asyncio.tasks", "current_task")?,
            timeout_class: find(c"asyncio.timeouts", "Timeout")?,
            timeout_state: find(c"asyncio.timeouts", "_State")?,
            inserts_timeout_error: find(c"asyncio.timeouts", "Timeout")?
                .attr_opt(&value::str("_insert_timeout_error")?)?
                .is_some(),
            task_group_class: find(c"asyncio.taskgroups", "TaskGroup")?,
            system_exit: find(c"builtins", "SystemExit")?,
            keyboard_interrupt: find(c"builtins", "KeyboardInterrupt")?,
            base_exception_group: find(c"builtins", "BaseExceptionGroup")?,
            timeout_error: find(c"builtins", "TimeoutError")?,
            exception_group: find(c"builtins", "ExceptionGroup")?,
            round: find(c"builtins", "round")?,
            wait: find(c"asyncio.tasks", "wait")?,
            shield: find(c"asyncio.tasks", "shield")?,
            shield_is_silent: !has_inner_function("shield", "_log_on_exception")?,
            gather: find(c"asyncio.tasks", "gather")?,
            gathering_class: find(c"asyncio.tasks", "_GatheringFuture")?,
            tasks_module: call::import(c"asyncio.tasks")?,
            create_task: find(c"asyncio.tasks", "create_task")?,
            get_running_loop: find(c"asyncio.events", "get_running_loop")?,
            get_running_loop_or_none: find(c"_asyncio", "_get_running_loop")?,
            set_running_loop: find(c"_asyncio", "_set_running_loop")?,
            get_asyncgen_hooks: find(c"sys", "get_asyncgen_hooks")?,
            set_asyncgen_hooks: find(c"sys", "set_asyncgen_hooks")?,
            set_wakeup_fd: find(c"_signal", "set_wakeup_fd")?,
            main_thread: find(c"threading", "main_thread")?,
            get_event_loop: find(c"asyncio.events", "get_event_loop")?,
            current_tasks: optional("_current_tasks")?,
            swap_current_task: optional("_swap_current_task")?,
            enter_task: find(c"asyncio.tasks", "_enter_task")?,
            leave_task: find(c"asyncio.tasks", "_leave_task")?,
            register_task: find(c"asyncio.tasks", "_register_task")?,
            set_result_unless_cancelled: find(c"asyncio.futures", "_set_result_unless_cancelled")?,
            logger: find(c"asyncio.log", "logger")?,
            socket_class: find(c"socket", "socket")?,
            attach_takes_transport: value::as_i64(&arguments)? > 1,
            version: (number(0)?, number(1)?, number(2)?),
            getframe: find(c"sys", "_getframe")?,
            warn: find(c"warnings", "warn")?,
            generic_alias: find(c"types", "GenericAlias")?,
            resource_warning: find(c"builtins", "ResourceWarning")?,
            #[cfg(Py_3_14)]
            add_to_awaited_by: find(c"asyncio.futures", "future_add_to_awaited_by")?,
            #[cfg(Py_3_14)]
            discard_from_awaited_by: find(c"asyncio.futures", "future_discard_from_awaited_by")?,
            #[cfg(Py_3_14)]
            set: find(c"builtins", "set")?,
            deprecation_warning: find(c"builtins", "DeprecationWarning")?,
            os_error: find(c"builtins", "OSError")?,
            blocking_io_error: find(c"builtins", "BlockingIOError")?,
            interrupted_error: find(c"builtins", "InterruptedError")?,
            value_error: find(c"builtins", "ValueError")?,
            deque: find(c"collections", "deque")?,
            heappush: find(c"heapq", "heappush")?,
            heappop: find(c"heapq", "heappop")?,
            lock_class: find(c"asyncio.locks", "Lock")?,
            event_class: find(c"asyncio.locks", "Event")?,
            condition_class: find(c"asyncio.locks", "Condition")?,
            semaphore_class: find(c"asyncio.locks", "Semaphore")?,
            bounded_semaphore_class: find(c"asyncio.locks", "BoundedSemaphore")?,
            barrier_class: find(c"asyncio.locks", "Barrier")?,
            barrier_state_class: find(c"asyncio.locks", "_BarrierState")?,
            broken_barrier_error: find(c"asyncio.exceptions", "BrokenBarrierError")?,
            queue_class: find(c"asyncio.queues", "Queue")?,
            priority_queue_class: find(c"asyncio.queues", "PriorityQueue")?,
            lifo_queue_class: find(c"asyncio.queues", "LifoQueue")?,
            queue_full: find(c"asyncio.queues", "QueueFull")?,
            queue_empty: find(c"asyncio.queues", "QueueEmpty")?,
            queue_shut_down: call::import(c"asyncio.queues")?
                .attr_opt(&value::str("QueueShutDown")?)?,
            semaphore_wakes_all_allowed: compat("SEMAPHORE_WAKES_ALL_ALLOWED")?,
            condition_hands_on: compat("CONDITION_HANDS_ON")?,
            condition_reraises: compat("CONDITION_RERAISES")?,
        })
    }
}

/// Whether a function of `asyncio.tasks` has an inner function of this name.
fn has_inner_function(name: &str, inner: &str) -> Res<bool> {
    let code = find(c"asyncio.tasks", name)?.attr(&value::str("__code__")?)?;
    for constant in value::tuple_items(&code.attr(&value::str("co_consts")?)?) {
        if let Some(name) = constant.attr_opt(&value::str("co_name")?)?
            && value::text(&name)? == inner
        {
            return Ok(true);
        }
    }
    Ok(false)
}

/// A constant of `rulip._compat`.
fn compat(name: &str) -> Res<bool> {
    find(c"rulip._compat", name)?.is_true()
}

/// Whether this Python's futures wrap `StopIteration` instead of refusing it.
pub(crate) fn wraps_stop_iteration() -> Res<bool> {
    find(c"rulip._compat", "STOP_ITERATION_IS_WRAPPED")?.is_true()
}

static IMPORTS: Attached<Imports> = Attached::new();

/// Finds them; once, at module initialisation.
pub(crate) fn init() -> Res<()> {
    if !IMPORTS.is_set() {
        IMPORTS.set(Imports::new()?);
    }
    Ok(())
}

#[inline]
pub(crate) fn get() -> &'static Imports {
    IMPORTS.get()
}
