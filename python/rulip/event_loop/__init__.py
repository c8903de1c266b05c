"""The event loop: native turns, and above them one topic per file.

Lives here: `Loop`, the sum of the topics, and `new_event_loop`.
Does not live here: scheduling, tasks, futures, stream transports and descriptor watching,
which are native (`rulip._rulip`).
Thread: the one that runs the loop, but for call_soon_threadsafe() and stop()'s asyncio rules.
Invariant: nothing here is on a hot path; each file knows the files below it only:

    exceptions < executor < running < resolver < names < sockets < tls_protocol < socket_objects
    < ssl_transport < connect < serve < datagram < pipes < subprocesses < sendfile < Loop
    names < signals < Loop;   task_registry, transports < Loop
"""

import asyncio
import os
import sys
from typing import TYPE_CHECKING, Any, Self

from .._rulip import EventLoop, _flush_written, _set_loop_class
from .sendfile import Sendfile
from .signals import SignalHandlers
from .task_registry import add_loop
from .transports import SocketTransport


def _debug_by_default() -> bool:
    """asyncio's rule: development mode, or PYTHONASYNCIODEBUG."""
    if sys.flags.dev_mode:
        return True
    return not sys.flags.ignore_environment and bool(os.environ.get("PYTHONASYNCIODEBUG"))


if TYPE_CHECKING:

    class _NativeFirst:
        """The topics derive from the native class already, to the type checker."""
else:
    _NativeFirst = EventLoop


class Loop(_NativeFirst, Sendfile, SignalHandlers, asyncio.AbstractEventLoop):  # type: ignore[misc]
    """An asyncio event loop on the native reactor."""

    # The state of the topics. As slots they leave the instance's dict unmade until somebody sets
    # an attribute of their own: the interpreter then finds methods without looking there.
    __slots__ = (
        "_asyncgens",
        "_asyncgens_shutdown_called",
        "_coroutine_origin_tracking_enabled",
        "_coroutine_origin_tracking_saved_depth",
        "_default_executor",
        "_exception_handler",
        "_executor_shutdown_called",
        "_resolver",
        "_signal_handlers",
        "_transports",
        "_unix_server_sockets",
    )

    def __new__(cls, *_args: Any, **_kwargs: Any) -> Self:
        """Make a loop; a subclass's own arguments are its own business."""
        return super().__new__(cls)

    def __init__(self) -> None:
        EventLoop.__init__(self)
        Sendfile.__init__(self)
        self.set_debug(_debug_by_default())
        add_loop(self)

    def set_debug(self, enabled: bool) -> None:
        """Switch debug mode; a running loop follows at its next turn."""
        EventLoop.set_debug(self, enabled)
        self._follow_debug(enabled)


# What was written counts as sent: a child has nothing to send a second time.
os.register_at_fork(before=_flush_written)
_set_loop_class(Loop)


def new_event_loop() -> Loop:
    """A new event loop: the loop_factory of asyncio.Runner, of servers and test plug-ins."""
    return Loop()


__all__ = ["Loop", "SocketTransport", "new_event_loop"]
