"""The only place that asks for a Python version: each difference has a name here.

Lives here: named booleans about the running interpreter's asyncio; what it may lack.
Does not live here: behaviour; the caller decides what a difference means.
Thread: any (constants). Invariant: no other module compares version numbers.
"""

import asyncio
import asyncio.coroutines
import contextlib
import importlib
import sys
from collections.abc import Callable
from typing import Any

#: The `ssl` module; None on a Python that was built without OpenSSL.
SSL: Any = None
with contextlib.suppress(ImportError):
    SSL = importlib.import_module("ssl")

#: The oldest Python that rulip runs on.
OLDEST_PYTHON = (3, 11)

#: The exception handler runs in the context of the task, future or handle that failed.
HANDLER_RUNS_IN_CONTEXT = sys.version_info >= (3, 12)

#: create_unix_server() removes the socket's path when the server closes, unless told not to.
UNIX_SERVER_CLEANS_UP = sys.version_info >= (3, 13)

#: create_server() skips addresses that this machine does not have, if others remain.
SERVER_SKIPS_ABSENT_ADDRESSES = sys.version_info >= (3, 13)

#: create_datagram_endpoint(sock=...) takes every socket but a stream.
DATAGRAM_TAKES_NON_STREAM = sys.version_info >= (3, 13)

#: Server.serve_forever(), cancelled, waits for clients that it could close, but does not.
SERVE_FOREVER_LEAVES_CLIENTS = (
    hasattr(asyncio.Server, "close_clients")
    and "close_clients" not in asyncio.Server.serve_forever.__code__.co_names
)

#: sendfile() leaves the file's position behind the last byte sent, even if none was.
SENDFILE_ALWAYS_SEEKS = sys.version_info >= (3, 14)

#: loop._make_ssl_transport() is told in which context.
TRANSPORTS_HAVE_CONTEXTS = sys.version_info >= (3, 15)

#: Event loop policies are deprecated: their public names warn when touched.
POLICIES_ARE_DEPRECATED = sys.version_info >= (3, 14)

#: What asyncio calls a socket that create_datagram_endpoint() refuses.
DATAGRAM_SOCKET_TEXT = "datagram socket" if DATAGRAM_TAKES_NON_STREAM else "UDP Socket"


#: asyncio's own test for coroutine functions; its public name warns in 3.14 and later.
iscoroutinefunction: Callable[[object], bool] = (
    getattr(asyncio.coroutines, "_iscoroutinefunction", None)
    or asyncio.coroutines.iscoroutinefunction
)


def is_old_python() -> bool:
    """Whether this Python is older than rulip supports."""
    return sys.version_info < OLDEST_PYTHON


def is_free_threaded() -> bool:
    """Whether this Python was built to run without its global lock."""
    return "t" in sys.abiflags


def bind_error_text(exc: OSError) -> str:
    """How this version words the system's part of a failed bind()."""
    if SERVER_SKIPS_ABSENT_ADDRESSES:
        return str(exc).lower()
    return (exc.strerror or str(exc)).lower()


def _stop_iteration_is_wrapped() -> bool:
    """Ask a future of this Python; releases within 3.11 and 3.12 differ."""

    class NoLoop:
        def get_debug(self) -> bool:
            return False

    future: asyncio.Future[None] = asyncio.Future(loop=NoLoop())  # type: ignore[arg-type]
    try:
        future.set_exception(StopIteration())
    except TypeError:
        return False
    future._log_traceback = False
    return True


#: Semaphore.acquire() wakes as many waiters as there are permits for, not just one. Releases within
#: 3.11 and 3.12 differ, in this and in what follows: the classes are asked.
_semaphore: Any = asyncio.Semaphore(0)
SEMAPHORE_WAKES_ALL_ALLOWED: bool = _semaphore._wake_up_next() is not None

#: Condition.wait() notifies another waiter when it fails.
CONDITION_HANDS_ON = hasattr(asyncio.Condition, "_notify")

#: Condition.wait() raises the cancellation that it was sent, not a new one.
CONDITION_RERAISES = "err" in asyncio.Condition.wait.__code__.co_varnames

#: Future.set_exception(StopIteration()) stores a RuntimeError instead of raising TypeError.
STOP_ITERATION_IS_WRAPPED = _stop_iteration_is_wrapped()
