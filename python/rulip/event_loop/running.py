"""Running and closing a loop: everything around the native turns.

Lives here: run_forever, run_until_complete, close, asynchronous generators, debug's
coroutine origins.
Does not live here: the turns and what they change in the interpreter (native `_run`), signal
handlers (signals.py).
Thread: the one that calls run_forever().
Invariant: whatever set-up changed in the interpreter is as before after tear-down, and a
refused run changes nothing.
"""

import asyncio
import sys
import warnings
import weakref
from asyncio import events
from asyncio.constants import DEBUG_STACK_DEPTH
from asyncio.log import logger
from typing import Any

from .executor import ExecutorCalls


def _stop_when_done(future: Any) -> None:
    if not future.cancelled() and isinstance(future.exception(), (SystemExit, KeyboardInterrupt)):
        # It is leaving run_forever() already; a stop would end the next run.
        return
    future.get_loop().stop()


class Running(ExecutorCalls):
    """run_forever() and its surroundings."""

    _asyncgens: "weakref.WeakSet[Any]"
    _asyncgens_shutdown_called: bool
    _coroutine_origin_tracking_enabled: bool
    _coroutine_origin_tracking_saved_depth: int

    def __init__(self) -> None:
        super().__init__()
        self._asyncgens = weakref.WeakSet()
        self._asyncgens_shutdown_called = False
        self._coroutine_origin_tracking_enabled = False
        self._coroutine_origin_tracking_saved_depth = 0

    def __repr__(self) -> str:
        return (
            f"<{type(self).__name__} running={self.is_running()} "
            f"closed={self.is_closed()} debug={self.get_debug()}>"
        )

    def __del__(self, _warn: Any = warnings.warn) -> None:
        if self.is_closed():
            return
        _warn(f"unclosed event loop {self!r}", ResourceWarning, source=self)
        if not self.is_running():
            self.close()

    @property
    def _closed(self) -> bool:
        """What some programs ask instead of is_closed()."""
        return self.is_closed()

    # -- debug ----------------------------------------------------------------------

    def _follow_debug(self, enabled: bool) -> None:
        """A running loop follows at its next turn."""
        if self.is_running():
            self.call_soon_threadsafe(self._set_coroutine_origin_tracking, enabled)

    def _set_coroutine_origin_tracking(self, enabled: bool) -> None:
        if bool(enabled) == self._coroutine_origin_tracking_enabled:
            return
        if enabled:
            self._coroutine_origin_tracking_saved_depth = sys.get_coroutine_origin_tracking_depth()
            sys.set_coroutine_origin_tracking_depth(DEBUG_STACK_DEPTH)
        else:
            sys.set_coroutine_origin_tracking_depth(self._coroutine_origin_tracking_saved_depth)
        self._coroutine_origin_tracking_enabled = bool(enabled)

    # -- running --------------------------------------------------------------------

    def _check_running(self) -> None:
        if self.is_running():
            raise RuntimeError("This event loop is already running")
        if events._get_running_loop() is not None:
            raise RuntimeError("Cannot run the event loop while another loop is running")

    def run_forever(self) -> None:
        """Run until stop() is called."""
        self._check_closed()
        self._check_running()
        self._set_coroutine_origin_tracking(self.get_debug())
        try:
            # The running loop, the hooks of asynchronous generators and the wake-up descriptor of
            # signals are set and put back natively: no signal handler strikes in between.
            self._run()
        finally:
            self._set_coroutine_origin_tracking(False)

    def run_until_complete(self, future: Any) -> Any:
        """Run until the awaitable is done; return its result or raise its exception."""
        self._check_closed()
        self._check_running()
        is_new_task = not asyncio.isfuture(future)
        future = asyncio.ensure_future(future, loop=self)  # type: ignore[call-overload]
        if is_new_task:
            # The RuntimeError below tells of an unfinished task already.
            future._log_destroy_pending = False
        future.add_done_callback(_stop_when_done)
        try:
            self.run_forever()
        except BaseException:
            if is_new_task and future.done() and not future.cancelled():
                # It is raised right here; nobody else could retrieve it.
                future.exception()
            raise
        finally:
            future.remove_done_callback(_stop_when_done)
        if not future.done():
            raise RuntimeError("Event loop stopped before Future completed.")
        return future.result()

    # -- closing --------------------------------------------------------------------

    def close(self) -> None:
        """Drop everything scheduled and watched; the executor's threads are not awaited."""
        if self.is_running():
            raise RuntimeError("Cannot close a running event loop")
        if self.is_closed():
            return
        if self.get_debug():
            logger.debug("Close %r", self)
        self._shutdown()
        self._executor_shutdown_called = True
        executor, self._default_executor = self._default_executor, None
        if executor is not None:
            executor.shutdown(wait=False)

    # -- asynchronous generators ----------------------------------------------------

    def _asyncgen_firstiter_hook(self, agen: Any) -> None:
        if self._asyncgens_shutdown_called:
            warnings.warn(
                f"asynchronous generator {agen!r} was scheduled after "
                f"loop.shutdown_asyncgens() call",
                ResourceWarning,
                source=self,
            )
        self._asyncgens.add(agen)

    def _asyncgen_finalizer_hook(self, agen: Any) -> None:
        # Any thread that happens to drop the last reference comes here.
        self._asyncgens.discard(agen)
        if not self.is_closed():
            self.call_soon_threadsafe(self.create_task, agen.aclose())

    # asyncio's own, also by its name: test plug-ins silence what is said of a call never awaited.
    shutdown_asyncgens = asyncio.BaseEventLoop.shutdown_asyncgens
