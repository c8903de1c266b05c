"""rulip: Python's asyncio, rebuilt in Rust.

Lives here: the public names. Importing changes nothing in asyncio; install() does.
Does not live here: any code but the check that this machine can run it; the names that are
asyncio's (_reexports.py).
Thread: any. Invariant: `__all__` is the public face, complete; it has all of asyncio's.

Five ways in: `python -m rulip app.py`, `rulip.run(main())`, `rulip.install()`,
`import rulip as asyncio`, and `rulip:new_event_loop` wherever a loop factory is asked for.
"""

import sys as _sys
import typing as _typing

from ._compat import OLDEST_PYTHON as _OLDEST_PYTHON
from ._compat import is_free_threaded as _is_free_threaded
from ._compat import is_old_python as _is_old_python

if _is_old_python():
    raise ImportError(
        f"rulip needs Python {_OLDEST_PYTHON[0]}.{_OLDEST_PYTHON[1]} or later; this is "
        f"{_sys.version.split()[0]}. Use a newer interpreter, or asyncio's own event loop."
    )
if _is_free_threaded():
    raise ImportError(
        "rulip needs the interpreter's lock, which this free-threaded Python does without. "
        "Use the usual build, or asyncio's own event loop."
    )
if _sys.platform != "linux":
    raise ImportError(
        f"rulip runs on Linux only so far; this is {_sys.platform}. "
        "Use asyncio's own event loop here."
    )

from ._rulip import (
    Barrier,
    BoundedSemaphore,
    Condition,
    Event,
    Future,
    Handle,
    LifoQueue,
    Lock,
    PriorityQueue,
    Queue,
    Semaphore,
    Task,
    TaskGroup,
    Timeout,
    TimerHandle,
    __version__,
    create_task,
    gather,
    shield,
    sleep,
    timeout,
    timeout_at,
    wait,
    wait_for,
)
from .event_loop import Loop, new_event_loop
from .installation import install, uninstall
from .runners import Runner, run
from .streams import (
    StreamReader,
    StreamReaderProtocol,
    StreamWriter,
    open_connection,
    open_unix_connection,
    start_server,
    start_unix_server,
)

#: What asyncio calls the loop that suits the platform best.
EventLoop = Loop

from . import _reexports  # noqa: E402  # goes by what stands above

if _typing.TYPE_CHECKING:
    from asyncio import DefaultEventLoopPolicy as EventLoopPolicy

    from ._reexports import *  # noqa: F403
else:
    globals().update({name: getattr(_reexports, name) for name in _reexports.__all__} | globals())

__all__ = [
    "Barrier",
    "BoundedSemaphore",
    "Condition",
    "Event",
    "EventLoop",
    "EventLoopPolicy",
    "Future",
    "Handle",
    "LifoQueue",
    "Lock",
    "Loop",
    "PriorityQueue",
    "Queue",
    "Runner",
    "Semaphore",
    "StreamReader",
    "StreamReaderProtocol",
    "StreamWriter",
    "Task",
    "TaskGroup",
    "Timeout",
    "TimerHandle",
    "__version__",
    "create_task",
    "gather",
    "install",
    "new_event_loop",
    "open_connection",
    "open_unix_connection",
    "run",
    "shield",
    "sleep",
    "start_server",
    "start_unix_server",
    "timeout",
    "timeout_at",
    "uninstall",
    "wait",
    "wait_for",
]
if _typing.TYPE_CHECKING:
    __all__ += _reexports.__all__
else:
    __all__ += [name for name in _reexports.__all__ if name not in __all__]


if not _typing.TYPE_CHECKING:

    def __getattr__(name: str) -> object:
        """What is made or found when it is asked for.

        EventLoopPolicy, whose base class is deprecated in 3.14; asyncio's modules; and those of its
        names that are no longer public, with the warning that asyncio has for them.
        """
        if name == "EventLoopPolicy":
            from .policy import policy_class

            return policy_class()
        if not name.startswith("__"):
            import asyncio

            try:
                return getattr(asyncio, name)
            except AttributeError:
                pass
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
