"""The event loop: native turns, and above them one topic per file.

Lives here: `Loop`, the sum of the topics, and `new_event_loop`.
Does not live here: scheduling, tasks, futures, stream transports and descriptor watching,
which are native (`rulip._rulip`).
Thread: the one that runs the loop, but for call_soon_threadsafe() and stop()'s asyncio rules.
Invariant: nothing here is on a hot path; each file knows the files below it only:

    exceptions < executor < running < names < sockets < ssl_transport < connect < serve
    < datagram < pipes < subprocesses < sendfile < Loop;   names < signals < Loop
"""

import asyncio
import os
import sys
from typing import Any, Self

from . import transports as _transports  # noqa: F401
from .sendfile import Sendfile
from .signals import SignalHandlers
from .task_registry import add_loop
from .transports import SocketTransport


def _debug_by_default() -> bool:
    """asyncio's rule: development mode, or PYTHONASYNCIODEBUG."""
    if sys.flags.dev_mode:
        return True
    return not sys.flags.ignore_environment and bool(os.environ.get("PYTHONASYNCIODEBUG"))


class Loop(Sendfile, SignalHandlers, asyncio.AbstractEventLoop):  # type: ignore[misc]
    """An asyncio event loop on the native reactor."""

    def __new__(cls, *_args: Any, **_kwargs: Any) -> Self:
        """Make a loop; a subclass's own arguments are its own business."""
        return super().__new__(cls)

    def __init__(self) -> None:
        super().__init__()
        self.set_debug(_debug_by_default())
        add_loop(self)


def new_event_loop() -> Loop:
    """A new event loop: the loop_factory of asyncio.Runner, of servers and test plug-ins."""
    return Loop()


__all__ = ["Loop", "SocketTransport", "new_event_loop"]
