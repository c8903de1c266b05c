"""The types of rulip's native half.

Here: every class and function of the built module. Not here: what the package adds on top of it.
Thread: the one that runs the loop, where nothing else is said.
Invariant: stubtest finds no difference between this file and the module.

An instance of Handle, TimerHandle, Future, Task or one of the transports is, to isinstance(), one
of asyncio's class of the same name: that is why they derive from it here. The classes of streams
derive from asyncio's in Python (rulip.streams), and so not here. Their layouts are their own, so
two of them have bases that no class written in Python could join.
Times and delays are seconds on the monotonic clock. A slash marks what is taken by position only.
"""

import asyncio
import socket
import ssl
import sys
from asyncio.constants import _SendfileMode
from asyncio.sslproto import SSLProtocol, SSLProtocolState, _SSLProtocolTransport
from asyncio.tasks import gather as gather
from asyncio.tasks import shield as shield
from asyncio.tasks import wait as wait
from asyncio.tasks import wait_for as wait_for
from asyncio.timeouts import timeout as timeout
from asyncio.timeouts import timeout_at as timeout_at
from asyncio.trsock import TransportSocket
from collections import deque
from collections.abc import Callable, Coroutine, Generator, Iterable, Mapping
from contextvars import Context
from traceback import StackSummary
from types import FrameType, GenericAlias, TracebackType
from typing import (
    Any,
    Literal,
    Never,
    Protocol,
    Self,
    TextIO,
    TypeAlias,
    TypeVar,
    TypeVarTuple,
    final,
    overload,
    type_check_only,
)
from weakref import ref

from _typeshed import FileDescriptorLike, ReadableBuffer
from typing_extensions import disjoint_base

__all__ = [
    "Barrier",
    "BoundedSemaphore",
    "Condition",
    "DatagramTransport",
    "Event",
    "EventLoop",
    "Future",
    "Handle",
    "LifoQueue",
    "Lock",
    "PriorityQueue",
    "Queue",
    "ReadPipeTransport",
    "Semaphore",
    "Sleep",
    "StreamDrain",
    "StreamRead",
    "StreamReader",
    "StreamReaderProtocol",
    "StreamWriter",
    "TLSProtocol",
    "TLSTransport",
    "Task",
    "TaskGroup",
    "Timeout",
    "TimerHandle",
    "Transport",
    "Waiter",
    "WritePipeTransport",
    "_GatheringFuture",
    "__version__",
    "_flush_written",
    "_pending_tasks",
    "_pidfd_open",
    "_pidfd_send_signal",
    "_ring",
    "_set_datagram_transport_class",
    "_set_loop_class",
    "_set_read_pipe_transport_class",
    "_set_stream_classes",
    "_set_tls_classes",
    "_set_transport_class",
    "_set_write_pipe_transport_class",
    "create_task",
    "eager_task_factory",
    "gather",
    "shield",
    "sleep",
    "timeout",
    "timeout_at",
    "wait",
    "wait_for",
]
if sys.version_info >= (3, 14):
    __all__ += [
        "_ThreadSafeHandle",
        "future_add_to_awaited_by",
        "future_discard_from_awaited_by",
    ]

__version__: str

_T = TypeVar("_T")
_T_co = TypeVar("_T_co", covariant=True)
_Ts = TypeVarTuple("_Ts")

if sys.version_info >= (3, 12):
    _CoroutineLike: TypeAlias = Coroutine[Any, Any, _T_co]
else:
    _CoroutineLike: TypeAlias = Generator[Any, None, _T_co] | Coroutine[Any, Any, _T_co]

@type_check_only
class _TaskFactory(Protocol):
    def __call__(
        self, loop: asyncio.AbstractEventLoop, coro: _CoroutineLike[_T], /
    ) -> asyncio.Future[_T]: ...

@disjoint_base
class Handle(asyncio.Handle):
    """A scheduled callback."""

    _callback: Callable[..., object] | None
    """The callback, None once cancelled."""
    _args: tuple[Any, ...] | None  # type: ignore[assignment]
    """The positional arguments, None once cancelled."""

    def __init__(
        self,
        callback: Callable[..., object],
        args: Iterable[Any],
        loop: asyncio.AbstractEventLoop,
        context: Context | None = None,
    ) -> None:
        """Make one that is in no loop's queue, to be run as often as somebody likes."""
    @property
    def _context(self) -> Context:
        """The context the callback runs in."""
    @property
    def _loop(self) -> asyncio.AbstractEventLoop | None:
        """The loop, None once it has let go of the handle."""
    @property
    def _cancelled(self) -> bool:  # type: ignore[override]
        """Whether the callback was cancelled."""
    @property
    def _repr(self) -> str | None:
        """The text from before it was cancelled, in debug mode."""
    _source_traceback: StackSummary | None
    """Where it was made, in debug mode."""

    def cancel(self) -> None:
        """Cancel the callback: it will not run. Does nothing the second time."""
    def cancelled(self) -> bool:
        """Return True if the callback was cancelled."""
    def get_context(self) -> Context:
        """Return the context the callback runs in."""
    def _run(self) -> None:
        """Run the callback now; its exceptions go to the loop's exception handler."""

@disjoint_base
class TimerHandle(asyncio.TimerHandle, Handle):  # type: ignore[misc]
    """A callback scheduled for a later time."""

    _when: float
    """The loop time, in seconds, at which it is due."""
    _scheduled: bool
    """Whether it is in the loop's schedule."""

    def __init__(
        self,
        when: float,
        callback: Callable[..., object],
        args: Iterable[Any],
        loop: asyncio.AbstractEventLoop,
        context: Context | None = None,
    ) -> None:
        """Make one that is in no loop's schedule."""
    def when(self) -> float:
        """Return the loop time, in seconds, at which it is due."""
    def __hash__(self) -> int: ...
    def __eq__(self, other: object, /) -> bool: ...
    def __ne__(self, other: object, /) -> bool: ...
    def __lt__(self, other: asyncio.TimerHandle, /) -> bool: ...
    def __le__(self, other: asyncio.TimerHandle, /) -> bool: ...
    def __gt__(self, other: asyncio.TimerHandle, /) -> bool: ...
    def __ge__(self, other: asyncio.TimerHandle, /) -> bool: ...

if sys.version_info >= (3, 14):
    @disjoint_base
    class _ThreadSafeHandle(Handle):
        """What call_soon_threadsafe() returns: others may cancel it from their threads."""

@disjoint_base
class Future(asyncio.Future[_T]):
    """A result that is not there yet."""

    _asyncio_future_blocking: bool
    """Set by an await that yields this future."""
    _cancel_message: Any
    """The message given to cancel(), if any."""

    @property
    def _log_traceback(self) -> bool:
        """Whether an exception is held that nobody saw."""
    @_log_traceback.setter
    def _log_traceback(self, value: Literal[False], /) -> None: ...
    @property
    def _state(self) -> Literal["PENDING", "FINISHED", "CANCELLED"]:  # type: ignore[override]
        """What became of it so far."""
    @property
    def _result(self) -> _T | None:
        """The result, if any."""
    @property
    def _exception(self) -> BaseException | None:
        """The exception, if any."""
    @property
    def _loop(self) -> asyncio.AbstractEventLoop:
        """The event loop."""
    @property
    def _callbacks(  # type: ignore[override]
        self,
    ) -> list[tuple[Callable[[Self], object], Context]] | None:
        """Who is told when it is done, with the context of each; None if nobody."""
    @property
    def _source_traceback(self) -> StackSummary | None:
        """Where it was made, in debug mode."""
    if sys.version_info >= (3, 14):
        @property
        def _asyncio_awaited_by(self) -> frozenset[asyncio.Future[Any]] | None:
            """The tasks that await it, or None."""
    def __init__(self, *, loop: asyncio.AbstractEventLoop | None = None) -> None:
        """Make a pending future of this loop, by default of the running one."""
    def __del__(self) -> None: ...
    def __iter__(self) -> Generator[Any, None, _T]: ...
    def __next__(self) -> Any: ...
    def __await__(self) -> Generator[Any, None, _T]: ...
    def __class_getitem__(cls, item: Any, /) -> GenericAlias: ...
    def result(self) -> _T:
        """Return the result or raise the exception; InvalidStateError while pending."""
    def exception(self) -> BaseException | None:
        """Return the exception; InvalidStateError while pending, CancelledError if cancelled."""
    def set_result(self, result: _T, /) -> None:
        """Mark it done with a result; InvalidStateError if it is done already."""
    def set_exception(self, exception: type[BaseException] | BaseException, /) -> None:
        """Mark it done with an exception; InvalidStateError if it is done already."""
    def add_done_callback(
        self, fn: Callable[[Self], object], /, *, context: Context | None = None
    ) -> None:
        """Have the callback called with the future, in a later turn, when it is done."""
    def remove_done_callback(self, fn: Callable[[Self], object], /) -> int:
        """Remove every entry of the callback; return how many there were."""
    def cancel(self, msg: Any | None = None) -> bool:
        """Cancel it and schedule its callbacks; return False if it is done already."""
    def cancelled(self) -> bool:
        """Return True if it was cancelled."""
    def done(self) -> bool:
        """Return True if it has a result or an exception, or was cancelled."""
    def get_loop(self) -> asyncio.AbstractEventLoop:
        """Return the event loop it is bound to; RuntimeError if __init__ never ran."""
    def _make_cancelled_error(self) -> asyncio.CancelledError:
        """Create the CancelledError to raise."""

# Covariant, as in asyncio: its set_result() always raises.
@disjoint_base
class Task(Future[_T_co], asyncio.Task[_T_co]):  # type: ignore[misc, type-var]
    """A coroutine driven by the loop."""

    _log_destroy_pending: bool
    """Whether to report it if it dies pending."""

    @property
    def _coro(self) -> _CoroutineLike[_T_co] | None:
        """The coroutine."""
    @property
    def _context(self) -> Context:
        """The context the coroutine runs in."""
    @property
    def _fut_waiter(self) -> Any | None:
        """What the task awaits, None while it is queued or running."""
    @property
    def _must_cancel(self) -> bool:
        """Whether it is cancelled at its next step."""
    @property
    def _num_cancels_requested(self) -> int:
        """How many cancellations were requested and not taken back."""
    if sys.version_info >= (3, 12):
        def __init__(
            self,
            coro: _CoroutineLike[_T_co],
            *,
            loop: asyncio.AbstractEventLoop | None = None,
            name: object = None,
            context: Context | None = None,
            eager_start: bool = False,
        ) -> None:
            """Schedule the coroutine's first step, or run it at once with eager_start."""
    else:
        def __init__(
            self,
            coro: _CoroutineLike[_T_co],
            *,
            loop: asyncio.AbstractEventLoop | None = None,
            name: object = None,
            context: Context | None = None,
        ) -> None:
            """Schedule the coroutine's first step."""
    def __del__(self) -> None: ...
    def __class_getitem__(cls, item: Any, /) -> GenericAlias: ...
    def cancel(self, msg: Any | None = None) -> bool:
        """Request that CancelledError be raised in the coroutine; return False if it is done."""
    def cancelling(self) -> int:
        """Return how many cancellations were requested and not taken back."""
    def uncancel(self) -> int:
        """Take one cancellation request back; return how many remain."""
    if sys.version_info >= (3, 12):
        def get_coro(self) -> _CoroutineLike[_T_co] | None:
            """Return the coroutine, None if the task was done by its eager start."""
    else:
        def get_coro(self) -> _CoroutineLike[_T_co]:
            """Return the coroutine."""

    def get_context(self) -> Context:
        """Return the context the coroutine runs in."""
    def get_name(self) -> str:
        """Return the name."""
    def set_name(self, value: object, /) -> None:
        """Set the name to str(name)."""
    def set_result(self, result: object, /) -> Never:
        """Not supported by tasks: RuntimeError."""
    def set_exception(self, exception: object, /) -> Never:
        """Not supported by tasks: RuntimeError."""
    def get_stack(self, *, limit: int | None = None) -> list[FrameType]:
        """Return at most `limit` frames, of where the coroutine waits or of its traceback."""
    def print_stack(self, *, limit: int | None = None, file: TextIO | None = None) -> None:
        """Print the stack or the traceback, by default to sys.stderr."""
    def task_wakeup(self, future: Any, /) -> None:
        """Step the task: what it awaited is done."""

@final
class Waiter(Coroutine[Any, Any, _T_co]):
    """What the methods of locks and queues return: a coroutine, to be awaited once."""

    __name__: str
    __qualname__: str

    @property
    def cr_await(self) -> object:
        """What it awaits, None where that is no Python object."""
    @property
    def cr_frame(self) -> None:
        """None: it has no Python frame."""
    @property
    def cr_running(self) -> bool:
        """Whether it runs."""
    def __del__(self) -> None: ...
    def __await__(self) -> Generator[Any, Any, _T_co]: ...
    def __iter__(self) -> Generator[Any, Any, _T_co]: ...
    def __next__(self) -> Any: ...
    def send(self, value: Any, /) -> Any:
        """Advance; the value is ignored. RuntimeError if it was awaited to its end already."""
    @overload
    def throw(
        self,
        typ: type[BaseException],
        val: BaseException | object = ...,
        tb: TracebackType | None = ...,
        /,
    ) -> Any:
        """Raise the exception at the await."""
    @overload
    def throw(
        self, typ: BaseException, val: None = None, tb: TracebackType | None = ..., /
    ) -> Any: ...
    def close(self) -> None:
        """End it."""
    def cancel(self, msg: object = None) -> bool:
        """Cancel the wait."""
    def done(self) -> bool:
        """Return True if the wait is over."""
    def cancelled(self) -> bool:
        """Return True if the wait was cancelled."""
    @property
    def add_done_callback(self) -> Callable[..., None]:
        """A future's, while it waits."""
    @property
    def remove_done_callback(self) -> Callable[..., int]:
        """A future's, while it waits."""
    @property
    def get_loop(self) -> Callable[[], asyncio.AbstractEventLoop]:
        """A future's, while it waits."""
    @property
    def result(self) -> Callable[[], Any]:
        """A future's, while it waits."""
    @property
    def exception(self) -> Callable[[], BaseException | None]:
        """A future's, while it waits."""
    def set_result(self, result: object, /) -> None:
        """Wake it; the value is ignored."""

class Lock(asyncio.Lock):
    """A lock for tasks."""

    def __init__(self) -> None: ...
    def locked(self) -> bool:
        """Return True if the lock is held."""
    async def acquire(self) -> Literal[True]:
        """Wait until the lock is free, and take it; return True."""
    def release(self) -> None:
        """Free the lock, and wake the first that waits for it."""
    def __aenter__(self) -> Waiter[None]:
        """Acquire the lock."""
    def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        tb: TracebackType | None,
    ) -> Waiter[None]:
        """Release the lock."""

class Event(asyncio.Event):
    """A flag that tasks wait for."""

    def __init__(self) -> None: ...
    def is_set(self) -> bool:
        """Return True if the flag is set."""
    def set(self) -> None:
        """Set the flag, and wake all that wait for it."""
    def clear(self) -> None:
        """Reset the flag."""
    async def wait(self) -> Literal[True]:
        """Wait until the flag is set; return True."""

class Condition(asyncio.Condition):
    """Waiting for a notification, with a lock."""

    def __init__(self, lock: asyncio.Lock | None = None) -> None: ...
    def locked(self) -> bool:
        """Return True if the lock is held."""
    def acquire(self) -> Waiter[Literal[True]]:
        """Acquire the lock."""
    def release(self) -> None:
        """Release the lock."""
    async def wait(self) -> Literal[True]:
        """Release the lock until notified; return True."""
    async def wait_for(self, predicate: Callable[[], _T]) -> _T:
        """Wait until the predicate is true; return what it returned."""
    def notify(self, n: int = 1) -> None:
        """Wake n that wait (one)."""
    def notify_all(self) -> None:
        """Wake all that wait."""
    def __aenter__(self) -> Waiter[None]:
        """Acquire the lock."""
    def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        tb: TracebackType | None,
    ) -> Waiter[None]:
        """Release the lock."""

class Semaphore(asyncio.Semaphore):
    """A counter of permits that tasks wait for."""

    def __init__(self, value: int = 1) -> None: ...
    def locked(self) -> bool:
        """Return True if acquire() would wait."""
    async def acquire(self) -> Literal[True]:
        """Wait for a permit, and take it; return True."""
    def release(self) -> None:
        """Give a permit back, to the first that waits for one."""
    def __aenter__(self) -> Waiter[None]:
        """Acquire a permit."""
    def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        tb: TracebackType | None,
    ) -> Waiter[None]:
        """Give the permit back."""

class BoundedSemaphore(Semaphore, asyncio.BoundedSemaphore):
    """A semaphore that never has more permits than it began with."""

class Barrier(asyncio.Barrier):
    """Tasks wait for each other."""

    def __init__(self, parties: int) -> None: ...
    async def wait(self) -> int:
        """Wait for the others; return the order of arrival."""
    async def reset(self) -> None:
        """Send those that wait away with an error."""
    async def abort(self) -> None:
        """Break the barrier, for good."""
    def __aenter__(self) -> Waiter[int]:  # type: ignore[override]
        """Wait for the others."""
    def __aexit__(self, *args: object) -> Waiter[None]:
        """Do nothing."""
    @property
    def parties(self) -> int:
        """How many tasks complete the barrier."""
    @property
    def n_waiting(self) -> int:
        """How many tasks wait."""
    @property
    def broken(self) -> bool:
        """Whether it was aborted."""

class Queue(asyncio.Queue[_T]):
    """Items handed from task to task."""

    def __init__(self, maxsize: int = 0) -> None: ...
    @property
    def maxsize(self) -> int:
        """How many items are allowed; 0: any number."""
    def qsize(self) -> int:
        """Return how many items there are."""
    def empty(self) -> bool:
        """Return True if there are no items."""
    def full(self) -> bool:
        """Return True if there are maxsize items."""
    async def put(self, item: _T) -> None:
        """Wait for a place, and put the item."""
    def put_nowait(self, item: _T) -> None:
        """Put the item, or raise QueueFull."""
    async def get(self) -> _T:
        """Wait for an item, and return it."""
    def get_nowait(self) -> _T:
        """Return an item, or raise QueueEmpty."""
    def task_done(self) -> None:
        """Report that an item is done with."""
    async def join(self) -> None:
        """Wait until all items are done with."""
    if sys.version_info >= (3, 13):
        def shutdown(self, immediate: bool = False) -> None:
            """Let put() and get() raise QueueShutDown from now on."""

class PriorityQueue(Queue[_T], asyncio.PriorityQueue[_T]):  # type: ignore[type-var]
    """Items handed from task to task, the lowest first."""

class LifoQueue(Queue[_T], asyncio.LifoQueue[_T]):
    """Items handed from task to task, the latest first."""

@final
class Sleep(Coroutine[Any, Any, _T_co]):
    """What sleep() returns: a coroutine, to be awaited once."""

    __name__: str
    __qualname__: str

    @property
    def cr_await(self) -> None:
        """None: what it waits for is no Python object."""
    @property
    def cr_frame(self) -> None:
        """None: it has no Python frame."""
    @property
    def cr_running(self) -> bool:
        """False: it never runs Python code."""
    def __del__(self) -> None: ...
    def __await__(self) -> Generator[Any, Any, _T_co]: ...
    def __iter__(self) -> Generator[Any, Any, _T_co]: ...
    def __next__(self) -> Any: ...
    def send(self, value: Any, /) -> Any:
        """Advance; the value is ignored. RuntimeError if it was awaited to its end already."""
    @overload
    def throw(
        self,
        typ: type[BaseException],
        val: BaseException | object = None,
        tb: TracebackType | None = None,
        /,
    ) -> Never:
        """Raise the exception at the await."""
    @overload
    def throw(
        self, typ: BaseException, val: None = None, tb: TracebackType | None = None, /
    ) -> Never: ...
    def close(self) -> None:
        """End it: its timer is cancelled, and nobody is told."""
    def done(self) -> bool:
        """Return True if the wait is over."""
    def cancelled(self) -> bool:
        """Return True if the wait was cancelled."""
    @property
    def add_done_callback(self) -> Callable[..., None]:
        """A future's, while it waits."""
    @property
    def remove_done_callback(self) -> Callable[..., int]:
        """A future's, while it waits."""
    @property
    def get_loop(self) -> Callable[[], asyncio.AbstractEventLoop]:
        """A future's, while it waits."""
    @property
    def result(self) -> Callable[[], Any]:
        """A future's, while it waits."""
    @property
    def exception(self) -> Callable[[], BaseException | None]:
        """A future's, while it waits."""
    def cancel(self, msg: Any | None = None) -> bool:
        """Cancel the wait; return False if nobody waits."""

@final
class _GatheringFuture(Future[list[Any]]):
    """What gather() returns: the future of a list of results."""

    @property
    def _children(self) -> list[asyncio.Future[Any]]:
        """The futures, one per argument."""
    @property
    def _cancel_requested(self) -> bool:
        """Whether cancel() found children to cancel."""
    def _done_callback(self, future: asyncio.Future[Any], /) -> None:
        """Count a child that is done."""

@disjoint_base
class TaskGroup:
    """Tasks that end together (mirrors asyncio.TaskGroup)."""

    _entered: bool
    """Whether the block was entered."""
    _exiting: bool
    """Whether the block has ended."""
    _aborting: bool
    """Whether the tasks were cancelled."""
    _parent_cancel_requested: bool
    """Whether the group cancelled its parent."""

    def __init__(self) -> None:
        """Make a group that is not entered."""
    @property
    def _loop(self) -> asyncio.AbstractEventLoop | None:
        """The loop it was entered on."""
    @property
    def _parent_task(self) -> asyncio.Task[Any] | None:
        """The task that entered."""
    @property
    def _tasks(self) -> set[asyncio.Task[Any]]:
        """The tasks that are not done, as a new set."""
    @property
    def _errors(self) -> list[BaseException] | None:
        """What the tasks failed with; None once it was raised."""
    @property
    def _base_error(self) -> BaseException | None:
        """What is raised as it is."""
    @property
    def _on_completed_fut(self) -> asyncio.Future[Any] | None:
        """What the parent waits for."""
    def __aenter__(self) -> Coroutine[Any, Any, Self]:
        """Begin the group; RuntimeError outside a task, or if it was entered before."""
    def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc_val: BaseException | None,
        exc_tb: TracebackType | None,
    ) -> Coroutine[Any, Any, None]:
        """Wait for the tasks; an exception group of what they failed with."""
    if sys.version_info >= (3, 14):
        def create_task(self, coro: _CoroutineLike[_T], **kwargs: Any) -> asyncio.Task[_T]:
            """Make a task in this group and return it; RuntimeError but within the block."""
    else:
        def create_task(
            self,
            coro: _CoroutineLike[_T],
            *,
            name: str | None = None,
            context: Context | None = None,
        ) -> asyncio.Task[_T]:
            """Make a task in this group and return it; RuntimeError but within the block."""
    if sys.version_info >= (3, 15):
        def cancel(self) -> None:
            """Cancel the tasks, and what is left of the block; nothing is raised."""
    def _abort(self) -> None:
        """Cancel the tasks."""
    def _on_task_done(self, task: asyncio.Task[Any], /) -> None:
        """A task of the group is done."""
    def _is_base_error(self, exc: BaseException, /) -> bool:
        """Whether it is raised as it is."""

@disjoint_base
class Timeout:
    """A limit on the time a block takes (mirrors asyncio.Timeout)."""

    def __init__(self, when: float | None) -> None:
        """Make one for a deadline on the loop's clock; `timeout()` takes a delay."""
    @property
    def _state(self) -> Any:
        """Where it stands: a member of asyncio's enum."""
    @property
    def _when(self) -> float | None:
        """The deadline, or None."""
    @property
    def _task(self) -> asyncio.Task[Any] | None:
        """The task that entered."""
    @property
    def _timeout_handler(self) -> asyncio.Handle | None:
        """The deadline's handle, made when asked for."""
    @property
    def _cancelling(self) -> int:
        """The task's cancel requests on entering."""
    def when(self) -> float | None:
        """Return the deadline, or None."""
    def reschedule(self, when: float | None) -> None:
        """Change the deadline; RuntimeError but within the block."""
    def expired(self) -> bool:
        """Return whether time was up."""
    def __aenter__(self) -> Coroutine[Any, Any, Self]:
        """Begin to watch the time; RuntimeError outside a task."""
    def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc_val: BaseException | None,
        exc_tb: TracebackType | None,
    ) -> Coroutine[Any, Any, None]:
        """Stop watching the time; TimeoutError if it was up and the block was cancelled."""
    def _on_timeout(self) -> None:
        """Time is up: cancel the task."""

if sys.version_info >= (3, 13):
    def create_task(
        coro: _CoroutineLike[_T],
        *,
        name: object = None,
        context: Context | None = None,
        eager_start: bool | None = None,
    ) -> Task[_T]:
        """Schedule a coroutine in the running loop; RuntimeError without one."""

else:
    def create_task(
        coro: _CoroutineLike[_T],
        *,
        name: object = None,
        context: Context | None = None,
    ) -> Task[_T]:
        """Schedule a coroutine in the running loop; RuntimeError without one."""

def eager_task_factory(
    loop: asyncio.AbstractEventLoop,
    coro: _CoroutineLike[_T],
    *,
    eager_start: bool = True,
    **kwargs: Any,
) -> Task[_T]:
    """Make a task that starts at once: a task factory."""

if sys.version_info >= (3, 14):
    def future_add_to_awaited_by(fut: Any, waiter: Any, /) -> None:
        """Record that `fut` is awaited on by `waiter`."""
    def future_discard_from_awaited_by(fut: Any, waiter: Any, /) -> None:
        """Record that `fut` is no longer awaited on by `waiter`."""

@overload
def sleep(delay: float) -> Sleep[None]:
    """Return a coroutine that completes after `delay` seconds; at once, but a turn later, for 0."""

@overload
def sleep(delay: float, result: _T) -> Sleep[_T]: ...

@final
class Transport(asyncio.Transport):
    """A TCP or Unix stream transport. The loop makes it; it cannot be made by a call."""

    @property
    def _sock(self) -> socket.socket | None:
        """The Python socket, None once closed."""
    @property
    def _sock_fd(self) -> int:
        """The descriptor's number, negative once closed."""
    @property
    def _protocol(self) -> asyncio.BaseProtocol | None:
        """The protocol, None once it was told that the connection is lost."""
    @property
    def _loop(self) -> EventLoop | None:
        """The event loop, None once closed."""
    @property
    def _server(self) -> Any | None:
        """The server that accepted the connection, if any."""
    @property
    def _extra(self) -> dict[str, Any]:
        """What get_extra_info() knows."""
    @property
    def _closing(self) -> bool:
        """Whether it is closing or closed."""
    @property
    def _paused(self) -> bool:
        """Whether reading is paused."""
    @property
    def _protocol_paused(self) -> bool:
        """Whether the protocol was told to pause writing."""
    @property
    def _eof(self) -> bool:
        """Whether write_eof() was called."""
    @property
    def _conn_lost(self) -> int:
        """Not 0 once the connection is lost."""
    @property
    def _empty_waiter(self) -> Future[None] | None:
        """Set while sendfile owns the socket."""
    @property
    def _start_tls_compatible(self) -> bool:
        """True: loop.start_tls() accepts this transport."""
    @_start_tls_compatible.setter
    def _start_tls_compatible(self, value: object, /) -> None: ...
    @property
    def _sendfile_compatible(self) -> _SendfileMode:
        """How sendfile may be done."""
    def __del__(self) -> None: ...
    def write(self, data: bytes | bytearray | memoryview[Any]) -> None:
        """Write bytes without blocking; RuntimeError after write_eof(), TypeError for no bytes."""
    def writelines(self, list_of_data: Iterable[bytes | bytearray | memoryview[Any]]) -> None:
        """Write several chunks of bytes, as write() does with each."""
    def write_eof(self) -> None:
        """Close the writing half once what is buffered is sent."""
    def can_write_eof(self) -> Literal[True]:
        """Return True."""
    def close(self) -> None:
        """Close once what is buffered is sent."""
    def abort(self) -> None:
        """Close at once; what is buffered is lost."""
    def is_closing(self) -> bool:
        """Return True if closing or closed."""
    def pause_reading(self) -> None:
        """Stop calling data_received()."""
    def resume_reading(self) -> None:
        """Call data_received() again."""
    def is_reading(self) -> bool:
        """Return True if neither paused nor closing."""
    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Switch to another protocol."""
    def get_protocol(self) -> asyncio.BaseProtocol:
        """Return the protocol."""
    @overload
    def get_extra_info(
        self, name: Literal["socket"], default: TransportSocket | None = None
    ) -> TransportSocket:
        """Return what is known about the connection: "socket", "peername", "sockname", ..."""
    @overload
    def get_extra_info(self, name: str, default: Any = None) -> Any: ...
    def get_write_buffer_size(self) -> int:
        """Return how many bytes wait to be sent."""
    def get_write_buffer_limits(self) -> tuple[int, int]:
        """Return the (low, high) water marks, in bytes."""
    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Set the water marks, in bytes; ValueError unless 0 <= low <= high."""
    def _force_close(self, exc: BaseException | None = None, /) -> None:
        """Close at once, with an error for connection_lost()."""
    def _fatal_error(self, exc: BaseException, message: str = ..., /) -> None:
        """Report an error to the loop's exception handler and close at once."""
    def _make_empty_waiter(self) -> Future[None]:
        """Return a future that is done when nothing is left to write; refuse writes until then."""
    def _reset_empty_waiter(self) -> None:
        """Allow writes again."""

@final
class DatagramTransport(asyncio.DatagramTransport):
    """A UDP or Unix datagram transport. The loop makes it; it cannot be made by a call."""

    @property
    def _protocol(self) -> asyncio.BaseProtocol | None:
        """The protocol, None once it was told of the end."""
    @property
    def _loop(self) -> EventLoop | None:
        """The event loop, None once closed."""
    @property
    def _extra(self) -> dict[str, Any]:
        """What get_extra_info() knows."""
    @property
    def _closing(self) -> bool:
        """Whether it is closing or closed."""
    @property
    def _sock(self) -> socket.socket | None:
        """The Python socket, None once closed."""
    @property
    def _sock_fd(self) -> int:
        """The descriptor's number."""
    @property
    def _address(self) -> Any | None:
        """Where all datagrams go, or None."""
    @property
    def _conn_lost(self) -> int:
        """Not 0 once connection_lost() is on its way."""
    @property
    def _header_size(self) -> int:
        """What a queued datagram counts besides its bytes."""
    @property
    def _paused(self) -> bool:
        """Whether reading is paused."""
    @property
    def _protocol_paused(self) -> bool:
        """Whether the protocol was told to pause writing."""
    def sendto(
        self,
        data: bytes | bytearray | memoryview,
        addr: tuple[Any, ...] | str | ReadableBuffer | int | None = None,
    ) -> None:
        """Send a datagram; never blocks, what the kernel refuses is queued."""
    def close(self) -> None:
        """Close after what is queued is sent."""
    def abort(self) -> None:
        """Close at once; what is queued is lost."""
    def is_closing(self) -> bool:
        """Return True if closing or closed."""
    def pause_reading(self) -> None:
        """Stop calling datagram_received()."""
    def resume_reading(self) -> None:
        """Call datagram_received() again."""
    def is_reading(self) -> bool:
        """Return True if neither paused nor closing."""
    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Switch to another protocol."""
    def get_protocol(self) -> asyncio.BaseProtocol:
        """Return the protocol."""
    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Return what is known about the socket: "socket", "sockname", "peername"."""
    def get_write_buffer_size(self) -> int:
        """Return how much waits to be sent; from 3.13 on with 8 bytes for each datagram."""
    def get_write_buffer_limits(self) -> tuple[int, int]:
        """Return the (low, high) water marks, in bytes."""
    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Set the water marks, in bytes; ValueError unless 0 <= low <= high."""
    def _force_close(self, exc: BaseException | None = None, /) -> None:
        """Close at once, with an error for connection_lost()."""
    def _fatal_error(self, exc: BaseException, message: str = ..., /) -> None:
        """Report an error to the loop's exception handler and close at once."""

@final
class ReadPipeTransport(asyncio.ReadTransport):
    """The reading end of a pipe. The loop makes it; it cannot be made by a call."""

    @property
    def _protocol(self) -> asyncio.BaseProtocol | None:
        """The protocol, None once it was told of the end."""
    @property
    def _loop(self) -> EventLoop | None:
        """The event loop, None once closed."""
    @property
    def _extra(self) -> dict[str, Any]:
        """What get_extra_info() knows."""
    @property
    def _closing(self) -> bool:
        """Whether it is closing or closed."""
    @property
    def _pipe(self) -> Any | None:
        """The pipe, None once closed."""
    @property
    def _fileno(self) -> int:
        """The descriptor's number."""
    @property
    def _paused(self) -> bool:
        """Whether reading is paused."""
    def close(self) -> None:
        """Stop reading and close the pipe."""
    def is_closing(self) -> bool:
        """Return True if closing or closed."""
    def pause_reading(self) -> None:
        """Stop calling data_received()."""
    def resume_reading(self) -> None:
        """Call data_received() again."""
    def is_reading(self) -> bool:
        """Return True if neither paused nor closing."""
    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Switch to another protocol."""
    def get_protocol(self) -> asyncio.BaseProtocol:
        """Return the protocol."""
    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Return what is known about the transport: "pipe"."""
    def _fatal_error(self, exc: BaseException, message: str = ..., /) -> None:
        """Report an error to the loop's exception handler and close."""

@final
class WritePipeTransport(asyncio.Transport):
    """The writing end of a pipe. The loop makes it; it cannot be made by a call."""

    @property
    def _protocol(self) -> asyncio.BaseProtocol | None:
        """The protocol, None once it was told of the end."""
    @property
    def _loop(self) -> EventLoop | None:
        """The event loop, None once closed."""
    @property
    def _extra(self) -> dict[str, Any]:
        """What get_extra_info() knows."""
    @property
    def _closing(self) -> bool:
        """Whether it is closing or closed."""
    @property
    def _pipe(self) -> Any | None:
        """The pipe, None once closed."""
    @property
    def _fileno(self) -> int:
        """The descriptor's number."""
    @property
    def _protocol_paused(self) -> bool:
        """Whether the protocol was told to pause writing."""
    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Write bytes; never blocks, what the kernel refuses is buffered."""
    def writelines(self, list_of_data: Iterable[bytes | bytearray | memoryview]) -> None:
        """Write several chunks."""
    def pause_reading(self) -> None:
        """Raise NotImplementedError: nothing is read here."""
    def resume_reading(self) -> None:
        """Raise NotImplementedError: nothing is read here."""
    def is_reading(self) -> bool:
        """Raise NotImplementedError: nothing is read here."""
    def write_eof(self) -> None:
        """Close after what is buffered."""
    def can_write_eof(self) -> bool:
        """Return True."""
    def close(self) -> None:
        """Close after what is buffered."""
    def abort(self) -> None:
        """Close at once; what is buffered is lost."""
    def is_closing(self) -> bool:
        """Return True if closing or closed."""
    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Switch to another protocol."""
    def get_protocol(self) -> asyncio.BaseProtocol:
        """Return the protocol."""
    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Return what is known about the transport: "pipe"."""
    def get_write_buffer_size(self) -> int:
        """Return how many bytes wait to be written."""
    def get_write_buffer_limits(self) -> tuple[int, int]:
        """Return the (low, high) water marks, in bytes."""
    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Set the water marks, in bytes; ValueError unless 0 <= low <= high."""
    def _fatal_error(self, exc: BaseException, message: str = ..., /) -> None:
        """Report an error to the loop's exception handler and close."""

@final
class TLSTransport(asyncio.Transport):
    """A TLS stream transport. The loop makes it; it cannot be made by a call."""

    @property
    def _ssl_protocol(self) -> TLSProtocol | None:
        """The protocol of the transport below; None once closed twice."""
    @property
    def _sslcontext(self) -> ssl.SSLContext | None:
        """The SSLContext; None once closed twice."""
    @property
    def _loop(self) -> EventLoop | None:
        """The event loop."""
    @property
    def _closed(self) -> bool:
        """Whether close() was called, or the connection is lost."""
    @property
    def _protocol_paused(self) -> bool:
        """Whether the protocol was told to pause writing."""
    @property
    def _start_tls_compatible(self) -> bool:
        """True: loop.start_tls() accepts this transport."""
    @_start_tls_compatible.setter
    def _start_tls_compatible(self, value: object, /) -> None: ...
    @property
    def _sendfile_compatible(self) -> _SendfileMode:
        """How sendfile may be done."""
    def __del__(self) -> None: ...
    def write(self, data: bytes | bytearray | memoryview[Any]) -> None:
        """Write bytes without blocking; TypeError for no bytes."""
    def writelines(self, list_of_data: Iterable[bytes | bytearray | memoryview[Any]]) -> None:
        """Write several chunks of bytes, as write() does with each."""
    def write_eof(self) -> Never:
        """Raise NotImplementedError."""
    def can_write_eof(self) -> Literal[False]:
        """Return False."""
    def close(self) -> None:
        """Close once what is buffered is sent, and the peer was told."""
    def abort(self) -> None:
        """Close at once; what is buffered is lost."""
    def is_closing(self) -> bool:
        """Return True if closing or closed."""
    def pause_reading(self) -> None:
        """Stop calling data_received()."""
    def resume_reading(self) -> None:
        """Call data_received() again."""
    def is_reading(self) -> bool:
        """Return True unless paused."""
    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Switch to another protocol."""
    def get_protocol(self) -> asyncio.BaseProtocol:
        """Return the protocol."""
    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Return what is known: "ssl_object", "cipher", "peercert", "tls_truncated", ..."""
    def get_write_buffer_size(self) -> int:
        """Return how many bytes wait, above what the transport below has."""
    def get_write_buffer_limits(self) -> tuple[int, int]:
        """Return the (low, high) water marks of writing, in bytes."""
    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Set the water marks of writing, in bytes; ValueError unless 0 <= low <= high."""
    def get_read_buffer_size(self) -> int:
        """Return how many bytes wait to be decrypted."""
    def get_read_buffer_limits(self) -> tuple[int, int]:
        """Return the (low, high) water marks of reading, in bytes."""
    def set_read_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Set the water marks of reading, in bytes; ValueError unless 0 <= low <= high."""
    def _force_close(self, exc: BaseException | None, /) -> None:
        """Close at once, with an error for connection_lost()."""
    def _test__append_write_backlog(self, data: bytes, /) -> None:
        """Let bytes wait as if they could not be encrypted yet."""

@final
class TLSProtocol(asyncio.BufferedProtocol):
    """The protocol that a TLS transport is to the transport below it."""

    @property
    def _app_transport(self) -> TLSTransport | None:
        """What the program holds; None once lost."""
    @property
    def _app_protocol(self) -> asyncio.BaseProtocol | None:
        """The program's protocol; None once lost."""
    @property
    def _transport(self) -> asyncio.Transport | None:
        """The transport below; None once lost."""
    @property
    def _loop(self) -> EventLoop | None:
        """The event loop."""
    @property
    def _sslobj(self) -> ssl.SSLObject:
        """Whose methods do the handshake and the shutdown."""
    @property
    def _sslcontext(self) -> ssl.SSLContext:
        """The SSLContext."""
    @property
    def _extra(self) -> dict[str, Any]:
        """What get_extra_info() knows that the transport below does not."""
    @property
    def _waiter(self) -> asyncio.Future[None] | None:
        """Who waits for the handshake."""
    @property
    def _app_reading_paused(self) -> bool:
        """Whether the program paused reading."""
    @property
    def _server_side(self) -> bool:
        """Whether it is a server's."""
    @property
    def _server_hostname(self) -> str | None:
        """The host name asked for."""
    @property
    def _state(self) -> SSLProtocolState:
        """Where the connection is."""
    @property
    def _way(self) -> Literal["openssl", "memory_bio"]:
        """How data goes."""
    def connection_made(self, transport: asyncio.BaseTransport, /) -> None:
        """Begin the handshake."""
    def connection_lost(self, exc: BaseException | None, /) -> None:
        """Tell the program's protocol, from a turn of its own."""
    def data_received(self, data: bytes, /) -> None:
        """Take records."""
    def get_buffer(self, sizehint: int, /) -> memoryview:
        """Return memory for records."""
    def buffer_updated(self, nbytes: int, /) -> None:
        """Take records from that memory."""
    def eof_received(self) -> bool | None:
        """Take TCP's end; True if the transport is to stay open."""
    def pause_writing(self) -> None:
        """Keep records until resume_writing()."""
    def resume_writing(self) -> None:
        """Write what was kept."""
    def _check_handshake_timeout(self) -> None:
        """Fail if the handshake is not over."""
    def _check_shutdown_timeout(self) -> None:
        """Close at once if the shutdown is not over."""
    def _do_read(self) -> None:
        """Read what there is."""
    def _resume(self) -> None:
        """Go on after resume_reading()."""
    def _store(self, data: bytes, /) -> None:
        """Keep records that came before the handshake."""

@final
class StreamRead(Coroutine[Any, Any, _T_co]):
    """What a reader's read methods return: a coroutine, to be awaited once."""

    __name__: str
    __qualname__: str

    @property
    def cr_await(self) -> asyncio.Future[Any] | None:
        """The future it waits for, None while it waits without one."""
    @property
    def cr_frame(self) -> None:
        """None: it has no Python frame."""
    @property
    def cr_running(self) -> bool:
        """False: it never runs Python code."""
    def __del__(self) -> None: ...
    def __await__(self) -> Generator[Any, Any, _T_co]: ...
    def __iter__(self) -> Generator[Any, Any, _T_co]: ...
    def __next__(self) -> Any: ...
    def send(self, value: Any, /) -> Any:
        """Advance; the value is ignored. RuntimeError if it was awaited to its end already."""
    @overload
    def throw(
        self,
        typ: type[BaseException],
        val: BaseException | object = None,
        tb: TracebackType | None = None,
        /,
    ) -> Never:
        """Raise the exception at the await."""
    @overload
    def throw(
        self, typ: BaseException, val: None = None, tb: TracebackType | None = None, /
    ) -> Never: ...
    def close(self) -> None:
        """End it."""
    def cancel(self, msg: object = None) -> bool:
        """Cancel the wait."""
    def done(self) -> bool:
        """Return True if the wait is over."""
    def cancelled(self) -> bool:
        """Return True if the wait was cancelled."""
    @property
    def add_done_callback(self) -> Callable[..., None]:
        """A future's, while it waits."""
    @property
    def remove_done_callback(self) -> Callable[..., int]:
        """A future's, while it waits."""
    @property
    def get_loop(self) -> Callable[[], asyncio.AbstractEventLoop]:
        """A future's, while it waits."""
    @property
    def result(self) -> Callable[[], Any]:
        """A future's, while it waits."""
    @property
    def exception(self) -> Callable[[], BaseException | None]:
        """A future's, while it waits."""

@final
class StreamDrain(Coroutine[Any, Any, None]):
    """What a writer's drain() returns: a coroutine, to be awaited once."""

    __name__: str
    __qualname__: str

    @property
    def cr_await(self) -> asyncio.Future[Any] | None:
        """What it waits for."""
    @property
    def cr_frame(self) -> None:
        """None: it has no Python frame."""
    @property
    def cr_running(self) -> bool:
        """False: it never runs Python code."""
    def __del__(self) -> None: ...
    def __await__(self) -> Generator[Any, Any]: ...
    def __iter__(self) -> Generator[Any, Any]: ...
    def __next__(self) -> Any: ...
    def send(self, value: Any, /) -> Any:
        """Advance; the value is ignored. RuntimeError if it was awaited to its end already."""
    @overload
    def throw(
        self,
        typ: type[BaseException],
        val: BaseException | object = None,
        tb: TracebackType | None = None,
        /,
    ) -> Never:
        """Raise the exception at the await."""
    @overload
    def throw(
        self, typ: BaseException, val: None = None, tb: TracebackType | None = None, /
    ) -> Never: ...
    def close(self) -> None:
        """End it."""

@disjoint_base
class StreamReader:
    """The native half of rulip.StreamReader: the buffer, and what takes bytes out of it."""

    _loop: asyncio.AbstractEventLoop | None
    """The event loop."""
    _transport: asyncio.BaseTransport | None
    """What is paused when too much is here."""
    _waiter: asyncio.Future[None] | None
    """The future of whoever waits."""
    _buffer: bytearray
    """What was received and not read; changing it changes what is read."""
    _limit: int
    """Half of what may be here before the transport is paused, in bytes."""
    _exception: BaseException | None
    """What every read raises."""
    _eof: bool
    """Whether nothing follows."""
    _paused: bool
    """Whether the transport was paused."""
    _source_traceback: StackSummary | None
    """Where it was made, in debug mode."""

    def __new__(cls, *args: Any, **kwargs: Any) -> Self: ...
    def __init__(
        self, limit: int = 65536, loop: asyncio.AbstractEventLoop | None = None
    ) -> None: ...
    def __setattr__(self, name: str, value: Any, /) -> None: ...
    def __delattr__(self, name: str, /) -> None: ...
    def __aiter__(self) -> Self: ...
    def __anext__(self) -> Coroutine[Any, Any, bytes]: ...
    def readline(self) -> Coroutine[Any, Any, bytes]:
        """Read until a line feed; what there is at the end; ValueError past the limit."""
    def readuntil(
        self, separator: ReadableBuffer | tuple[ReadableBuffer, ...] = b"\n"
    ) -> Coroutine[Any, Any, bytes]:
        """Read until a separator; IncompleteReadError at the end, LimitOverrunError too far."""
    def readexactly(self, n: int) -> Coroutine[Any, Any, bytes]:
        """Read `n` bytes; IncompleteReadError at the end."""
    def read(self, n: int = -1) -> Coroutine[Any, Any, bytes]:
        """Read what is there, at most `n` bytes; without `n`, all until the end."""
    def feed_data(self, data: Iterable[int]) -> None:
        """Take bytes in; AssertionError after the end."""
    def feed_eof(self) -> None:
        """Nothing follows."""
    def at_eof(self) -> bool:
        """Return True if all was read and nothing follows."""
    def exception(self) -> BaseException | None:
        """Return what every read raises, or None."""
    def set_exception(self, exc: BaseException) -> None:
        """Let every read raise this."""
    def set_transport(self, transport: asyncio.BaseTransport) -> None:
        """Set what is paused when too much is here; AssertionError the second time."""
    def _wait_for_data(self, name: str, /) -> Coroutine[Any, Any, None]:
        """Wait until something is fed; RuntimeError, with the name, if somebody else waits."""
    def _wakeup_waiter(self) -> None:
        """Wake whoever waits."""
    def _maybe_resume_transport(self) -> None:
        """Resume the transport if it was paused and little is left."""

@disjoint_base
class StreamReaderProtocol:
    """The native half of rulip.StreamReaderProtocol: bytes on their way to the reader."""

    _loop: asyncio.AbstractEventLoop | None
    """The event loop."""
    _closed: asyncio.Future[None] | None
    """Done once the connection is lost."""
    _drain_waiters: deque[asyncio.Future[None]]
    """The futures of those who wait for room."""
    _stream_reader_wr: ref[Any] | None
    """A weak reference to the reader."""
    _strong_reader: Any | None
    """A server's reader until it is handed over."""
    _source_traceback: StackSummary | None
    """Where the reader was made, in debug mode."""
    _client_connected_cb: Callable[[Any, Any], Any] | None
    """Who is told of a client."""
    _task: asyncio.Task[Any] | None
    """The task of a coroutine that serves a client."""
    _stream_writer: Any | None
    """The writer, on Pythons whose asyncio keeps it here."""
    _transport: asyncio.BaseTransport | None
    """The transport."""
    _reject_connection: bool
    """Whether nobody wants the connection any more."""
    _over_ssl: bool
    """Whether TLS lies in between."""
    _paused: bool
    """Whether writing is paused."""
    _connection_lost: bool
    """Whether the connection is lost."""

    def __new__(cls, *args: Any, **kwargs: Any) -> Self: ...
    def __init__(
        self,
        stream_reader: Any | None,
        client_connected_cb: Callable[[Any, Any], Any] | None = None,
        loop: asyncio.AbstractEventLoop | None = None,
    ) -> None: ...
    def __setattr__(self, name: str, value: Any, /) -> None: ...
    def __delattr__(self, name: str, /) -> None: ...
    def __del__(self) -> None: ...
    def data_received(self, data: bytes) -> None:
        """Hand bytes to the reader."""
    def _drain_helper(self) -> Coroutine[Any, Any, None]:
        """Wait until writing is not paused; ConnectionResetError once the connection is lost."""

@disjoint_base
class StreamWriter:
    """The native half of rulip.StreamWriter: bytes on their way to the transport."""

    _transport: Any | None
    """The transport."""
    _protocol: Any | None
    """The protocol."""
    _reader: Any | None
    """The reader, if any."""
    _loop: asyncio.AbstractEventLoop | None
    """The event loop."""
    _complete_fut: asyncio.Future[None]
    """A future that is done."""

    def __new__(cls, *args: Any, **kwargs: Any) -> Self: ...
    def __init__(
        self,
        transport: Any,
        protocol: Any,
        reader: Any | None,
        loop: asyncio.AbstractEventLoop,
    ) -> None: ...
    def write(self, data: ReadableBuffer) -> None:
        """Write bytes; never blocks, the rest is buffered."""
    def drain(self) -> Coroutine[Any, Any, None]:
        """Wait until there is room to write; raises once the connection is lost."""
    def is_closing(self) -> bool:
        """Return True if closing or closed."""

@disjoint_base
class EventLoop:
    """The native half of rulip.Loop: turns, timers, tasks, watched descriptors."""

    slow_callback_duration: float
    """Seconds after which debug mode reports a callback."""
    _thread_id: int | None
    """The identity of the thread that runs the loop, or None."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Make a loop that is not running; OSError if the system refuses it a poller."""
    def __hash__(self) -> int: ...
    def call_soon(
        self,
        callback: Callable[[*_Ts], object],
        *args: *_Ts,
        context: Context | None = None,
    ) -> Handle:
        """Schedule a callback for the next turn; RuntimeError if the loop is closed."""
    def call_soon_threadsafe(
        self,
        callback: Callable[[*_Ts], object],
        *args: *_Ts,
        context: Context | None = None,
    ) -> Handle:
        """Schedule a callback from any thread; RuntimeError if the loop is closed."""
    def call_later(
        self,
        delay: float,
        callback: Callable[[*_Ts], object],
        *args: *_Ts,
        context: Context | None = None,
    ) -> TimerHandle:
        """Schedule a callback for `delay` seconds from now; RuntimeError if the loop is closed."""
    def call_at(
        self,
        when: float,
        callback: Callable[[*_Ts], object],
        *args: *_Ts,
        context: Context | None = None,
    ) -> TimerHandle:
        """Schedule a callback for the loop time `when`, in seconds; RuntimeError if closed."""
    def time(self) -> float:
        """Return the loop's time: seconds on the monotonic clock."""
    def create_future(self) -> Future[Any]:
        """Return a new Future of this loop."""
    if sys.version_info >= (3, 13):
        def create_task(
            self,
            coro: _CoroutineLike[_T],
            *,
            name: object = None,
            context: Context | None = None,
            eager_start: bool | None = None,
        ) -> Task[_T]:
            """Schedule a coroutine, or have the task factory do it; RuntimeError if closed."""
    else:
        def create_task(
            self,
            coro: _CoroutineLike[_T],
            *,
            name: object = None,
            context: Context | None = None,
        ) -> Task[_T]:
            """Schedule a coroutine, or have the task factory do it; RuntimeError if closed."""

    def set_task_factory(self, factory: _TaskFactory | None) -> None:
        """Set what create_task() calls, None for Task; TypeError for what cannot be called."""
    def get_task_factory(self) -> _TaskFactory | None:
        """Return the task factory, or None."""
    def get_debug(self) -> bool:
        """Return whether debug mode is on."""
    def set_debug(self, enabled: bool) -> None:
        """Switch debug mode."""
    def stop(self) -> None:
        """Stop after the current turn."""
    def is_running(self) -> bool:
        """Return whether the loop runs."""
    def is_closed(self) -> bool:
        """Return whether the loop was closed."""
    def add_reader(
        self, fd: FileDescriptorLike, callback: Callable[[*_Ts], object], *args: *_Ts
    ) -> None:
        """Call a callback whenever the descriptor can be read; RuntimeError if a transport's."""
    def add_writer(
        self, fd: FileDescriptorLike, callback: Callable[[*_Ts], object], *args: *_Ts
    ) -> None:
        """Call a callback whenever the descriptor can be written; RuntimeError if a transport's."""
    def remove_reader(self, fd: FileDescriptorLike) -> bool:
        """Stop watching for reading; return whether it was watched."""
    def remove_writer(self, fd: FileDescriptorLike) -> bool:
        """Stop watching for writing; return whether it was watched."""
    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle, /) -> None:
        """Do nothing: told by timers that other loops made."""
    def _add_callback(self, handle: Handle, /) -> None:
        """Queue an existing handle, unless it is cancelled."""
    def _check_closed(self) -> None:
        """Raise RuntimeError if the loop was closed."""
    def _run(self) -> None:
        """Run turns until stop(); RuntimeError if the loop runs already or is closed."""
    def _shutdown(self) -> None:
        """Let go of everything and become closed; RuntimeError while running."""
    def _doorbell(self) -> int:
        """Return a descriptor that wakes the loop, for signal.set_wakeup_fd()."""
    def _add_reader(
        self, fd: FileDescriptorLike, callback: Callable[[*_Ts], object], /, *args: *_Ts
    ) -> Handle:
        """Watch a descriptor for reading, whoever uses it; return the callback's handle."""
    def _add_writer(
        self, fd: FileDescriptorLike, callback: Callable[[*_Ts], object], /, *args: *_Ts
    ) -> Handle:
        """Watch a descriptor for writing, whoever uses it; return the callback's handle."""
    def _remove_reader(self, fd: FileDescriptorLike, /) -> bool:
        """Stop watching for reading; return whether it was watched."""
    def _remove_writer(self, fd: FileDescriptorLike, /) -> bool:
        """Stop watching for writing; return whether it was watched."""
    def _ensure_fd_no_transport(self, fd: FileDescriptorLike, /) -> None:
        """Raise RuntimeError if a transport uses the descriptor, ValueError if it is none."""
    def _send_file(
        self,
        out: socket.socket | Transport,
        source: int,
        offset: int,
        count: int | None,
        size: int,
        /,
    ) -> Any:
        """Send a turn's share of a file; what comes back goes on with the rest."""
    def _make_socket_transport(
        self,
        sock: socket.socket,
        protocol: asyncio.BaseProtocol,
        waiter: asyncio.Future[None] | None = None,
        /,
        *,
        extra: Mapping[str, Any] | None = None,
        server: Any | None = None,
    ) -> Transport:
        """Make a stream transport of a connected socket; the waiter is told when it has begun."""
    def _make_datagram_transport(
        self,
        sock: socket.socket,
        protocol: asyncio.BaseProtocol,
        address: Any = None,
        waiter: asyncio.Future[None] | None = None,
        extra: Mapping[str, Any] | None = None,
    ) -> DatagramTransport:
        """Make a datagram transport of a socket; with an address, all datagrams go there."""
    def _make_read_pipe_transport(
        self,
        pipe: Any,
        protocol: asyncio.BaseProtocol,
        waiter: asyncio.Future[None] | None = None,
        extra: Mapping[str, Any] | None = None,
    ) -> ReadPipeTransport:
        """Make a transport that reads from a pipe, and owns it; ValueError for a file."""
    def _make_write_pipe_transport(
        self,
        pipe: Any,
        protocol: asyncio.BaseProtocol,
        waiter: asyncio.Future[None] | None = None,
        extra: Mapping[str, Any] | None = None,
    ) -> WritePipeTransport:
        """Make a transport that writes to a pipe, and owns it; ValueError for a file."""
    def _accept(
        self,
        sock: socket.socket,
        protocol_factory: Callable[[], asyncio.BaseProtocol],
        backlog: int,
        server: Any | None,
        /,
    ) -> None:
        """Accept connections on a listening socket, at most `backlog` of them per turn."""
    def _stop_accept(self, sock: socket.socket, /) -> bool:
        """Stop accepting on a listening socket; return whether it was accepting."""
    def _make_tls_protocol(
        self,
        app_protocol: asyncio.BaseProtocol | None,
        sslcontext: ssl.SSLContext,
        sslobj: ssl.SSLObject,
        incoming: ssl.MemoryBIO,
        outgoing: ssl.MemoryBIO,
        waiter: asyncio.Future[None] | None,
        call_connection_made: bool,
        handshake_timeout: float,
        shutdown_timeout: float,
        way: str,
        /,
    ) -> TLSProtocol:
        """Make the protocol of a TLS connection, and its transport."""

def _pidfd_open(pid: int) -> int:
    """A descriptor of a process, on every Python (mirrors os.pidfd_open). Thread: any; OSError."""

def _pidfd_send_signal(pidfd: int, signal: int) -> None:
    """A signal by descriptor (mirrors signal.pidfd_send_signal). Thread: any; OSError."""

def _ring(pid: int, fd: int) -> None:
    """A turn for the loop of a process that has its waker at this number."""

def _pending_tasks(loop: EventLoop) -> list[Task[Any]]:
    """The native tasks of a loop that are not done. Thread: any; TypeError for another loop."""

def _flush_written() -> None:
    """Send what this thread's running loop has gathered this turn."""

def _set_tls_classes(
    transport_class: type[_SSLProtocolTransport], protocol_class: type[SSLProtocol]
) -> None:
    """The classes that TLS transports and their protocols answer; called once, by the package."""

def _set_loop_class(cls: type[EventLoop]) -> None:
    """The class whose methods are the native ones; called once, by the package."""

def _set_stream_classes(reader: type[Any], protocol: type[Any], writer: type[Any]) -> None:
    """The classes that replace no native method; called once, by the package."""

def _set_transport_class(cls: type[asyncio.Transport]) -> None:
    """The class that transports answer as their own; called once, by the package."""

def _set_datagram_transport_class(cls: type[asyncio.DatagramTransport]) -> None:
    """The same for datagram transports."""

def _set_read_pipe_transport_class(cls: type[asyncio.ReadTransport]) -> None:
    """The same for the reading ends of pipes."""

def _set_write_pipe_transport_class(cls: type[asyncio.Transport]) -> None:
    """The same for the writing ends of pipes."""
