"""rulip: Python's asyncio, rebuilt in Rust.

Lives here: the public names. Importing changes nothing in asyncio; install() does.
Does not live here: any code but the check that this machine can run it.
Thread: any. Invariant: `__all__` is the public face, complete.

Four ways in: `python -m rulip app.py`, `rulip.run(main())`, `rulip.install()`, and
`rulip:new_event_loop` wherever a loop factory is asked for.
"""

import sys as _sys
from typing import TYPE_CHECKING as _TYPE_CHECKING

from ._compat import OLDEST_PYTHON as _OLDEST_PYTHON
from ._compat import is_old_python as _is_old_python

if _is_old_python():
    raise ImportError(
        f"rulip needs Python {_OLDEST_PYTHON[0]}.{_OLDEST_PYTHON[1]} or later; this is "
        f"{_sys.version.split()[0]}. Use a newer interpreter, or asyncio's own event loop."
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
    wait_for,
)
from .event_loop import Loop, new_event_loop
from .installation import install, uninstall
from .runners import Runner, run

if _TYPE_CHECKING:
    from asyncio import DefaultEventLoopPolicy as EventLoopPolicy

__all__ = [
    "Barrier",
    "BoundedSemaphore",
    "Condition",
    "Event",
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
    "Task",
    "TaskGroup",
    "Timeout",
    "TimerHandle",
    "__version__",
    "create_task",
    "gather",
    "install",
    "new_event_loop",
    "run",
    "shield",
    "sleep",
    "timeout",
    "timeout_at",
    "uninstall",
    "wait_for",
]


def __getattr__(name: str) -> object:
    """EventLoopPolicy is made when asked for: its base class is deprecated in 3.14."""
    if name == "EventLoopPolicy":
        from .policy import policy_class

        return policy_class()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
