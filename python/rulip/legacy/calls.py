"""What asyncio's functions took in 2014 and no longer do, for calls from legacy source.

Lives here: the functions that rewritten source calls (source.py), and what they put in the place of
asyncio's: `loop=` is honoured or dropped, `wait` takes bare coroutines, a lock works in
`with (yield from lock)`, `Task.all_tasks()`.
Does not live here: names that asyncio lost (names.py).
Thread: the one that runs the program's code.
Invariant: what is not asyncio's passes through unchanged; asyncio itself is not touched.
"""

import asyncio
import builtins
import functools
from collections.abc import Callable, Generator, Iterable
from typing import Any

ADAPT_FUNCTION = "__rulip_legacy_function__"
ADAPT_ATTRIBUTE = "__rulip_legacy_attribute__"
ADAPT_LOCK = "__rulip_legacy_lock__"

#: Generator methods that are iterators and nothing else.
PLAIN_ITERATION = frozenset({"__await__", "__iter__"})

Adapter = Callable[..., Any]

_LOOPLESS_CLASSES = (
    "Lock Event Condition Semaphore BoundedSemaphore Queue PriorityQueue LifoQueue".split()
)
_LOOPLESS_FUNCTIONS = (
    "sleep wait_for as_completed open_connection start_server open_unix_connection "
    "start_unix_server create_subprocess_exec create_subprocess_shell".split()
)


def define() -> None:
    """Let legacy source find the functions it calls."""
    vars(builtins).update(
        {
            ADAPT_FUNCTION: adapt_function,
            ADAPT_ATTRIBUTE: adapt_attribute,
            ADAPT_LOCK: adapt_lock,
        }
    )


# -- functions --------------------------------------------------------------------------


def adapt_function(function: Any) -> Any:
    """What to call in the place of a function that is given `loop=`, or is `wait`."""
    try:
        adapter = _adapters().get(function)
    except TypeError:  # it has no hash: none of asyncio's
        return function
    if adapter is not None:
        return functools.partial(adapter, function)
    if function is functools.partial:
        return _partial
    if isinstance(function, type):
        return _adapt_class(function)
    if getattr(function, "__name__", "") == "__init__":
        return _adapt_initialiser(function)
    return function


@functools.cache
def _adapters() -> dict[Any, Adapter]:
    """asyncio's functions, whoever made them: its own, and those that install() put there."""
    import rulip

    known: dict[Any, Adapter] = {}
    for module in (asyncio, asyncio.tasks, asyncio.streams, asyncio.subprocess, rulip):
        for name in _LOOPLESS_FUNCTIONS:
            if function := getattr(module, name, None):
                known[function] = _without_loop
        for name, adapter in (("wait", _wait), ("gather", _gather), ("shield", _shield)):
            if function := getattr(module, name, None):
                known[function] = adapter
    return known


@functools.cache
def _loopless_classes() -> tuple[type, ...]:
    import rulip

    found = [
        getattr(module, name, None)
        for module in (asyncio, asyncio.locks, asyncio.queues, rulip)
        for name in _LOOPLESS_CLASSES
    ]
    return tuple({kind for kind in found if isinstance(kind, type)})


def _without_loop(function: Adapter, *args: Any, **kwargs: Any) -> Any:
    """The loop is the running one, and is found when it is needed."""
    kwargs.pop("loop", None)
    return function(*args, **kwargs)


def _adapt_class(kind: type) -> Any:
    for base in _loopless_classes():
        if issubclass(kind, base) and kind.__init__ is base.__init__:  # type: ignore[misc]
            return functools.partial(_without_loop, kind)
    return kind


def _adapt_initialiser(function: Any) -> Any:
    """`super().__init__(loop=loop)`, `asyncio.Queue.__init__(self, loop=loop)`."""
    plain = getattr(function, "__func__", function)
    for kind in _loopless_classes():
        own = kind.__init__  # type: ignore[misc]
        is_own = plain is own or (
            getattr(function, "__objclass__", None) is getattr(own, "__objclass__", 0)
        )
        if is_own:
            return functools.partial(_without_loop, function)
    return function


def _partial(function: Any, /, *args: Any, **kwargs: Any) -> Any:
    """`partial(asyncio.sleep, loop=loop)`."""
    return functools.partial(adapt_function(function), *args, **kwargs)


async def _wait(function: Adapter, fs: Iterable[Any], *, loop: Any = None, **kwargs: Any) -> Any:
    """asyncio.wait(), whose awaitables may be bare coroutines."""
    if asyncio.isfuture(fs) or asyncio.iscoroutine(fs):
        raise TypeError(f"expect a list of futures, not {type(fs).__name__}")
    return await function([asyncio.ensure_future(one, loop=loop) for one in set(fs)], **kwargs)


def _gather(function: Adapter, *awaitables: Any, loop: Any = None, **kwargs: Any) -> Any:
    """asyncio.gather(), whose coroutines run on the given loop though it may not be running."""
    return function(*_on_loop(awaitables, loop), **kwargs)


def _shield(function: Adapter, awaitable: Any, *, loop: Any = None) -> Any:
    """asyncio.shield(), likewise."""
    return function(*_on_loop((awaitable,), loop))


def _on_loop(awaitables: tuple[Any, ...], loop: Any) -> Iterable[Any]:
    if loop is None:
        return awaitables
    made: dict[Any, Any] = {}  # one task for a coroutine that is named twice
    for one in awaitables:
        if one not in made:
            made[one] = asyncio.ensure_future(one, loop=loop)
    return [made[one] for one in awaitables]


# -- attributes -------------------------------------------------------------------------


def adapt_attribute(owner: Any, name: str) -> Any:
    """`Task.all_tasks` and `Task.current_task`; any other owner's attribute."""
    if isinstance(owner, type) and issubclass(owner, asyncio.Future) and not hasattr(owner, name):
        return _all_tasks if name == "all_tasks" else _current_task
    return getattr(owner, name)


def _all_tasks(loop: Any = None) -> set[Any]:
    return set(asyncio.all_tasks(loop if loop is not None else asyncio.get_event_loop()))


def _current_task(loop: Any = None) -> Any:
    return asyncio.current_task(loop if loop is not None else asyncio.get_event_loop())


# -- locks ------------------------------------------------------------------------------


class _Held:
    """What `yield from lock` gave: a context manager that releases."""

    def __init__(self, lock: Any) -> None:
        self._lock = lock

    def __enter__(self) -> None:
        return None

    def __exit__(self, *_exc: object) -> None:
        self._lock.release()


def adapt_lock(awaited: Any) -> Any:
    """What stands for X in `with (yield from X):`."""
    is_lock = isinstance(awaited, (asyncio.Lock, asyncio.Condition, asyncio.Semaphore))
    return _acquire(awaited) if is_lock else awaited


def _acquire(lock: Any) -> Generator[Any, Any, _Held]:
    yield from lock.acquire().__await__()
    return _Held(lock)
