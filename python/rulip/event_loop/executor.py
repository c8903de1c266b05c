"""Blocking calls in an executor's threads.

Lives here: run_in_executor, the default executor and its end.
Does not live here: name look-ups, which have threads of their own (names.py).
Thread: the loop's own; the shutdown waits in a thread made for it.
Invariant: no thread exists until somebody asks for one.
"""

import asyncio
import threading
import warnings
from collections.abc import Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from typing import Any

from .._compat import iscoroutinefunction
from .exceptions import ExceptionHandling


def is_coroutine(callback: object) -> bool:
    """Whether somebody gave a coroutine where a callback is meant."""
    return asyncio.iscoroutine(callback) or iscoroutinefunction(callback)


def check_callback(callback: object, method: str) -> None:
    """Refuse coroutines and things that can't be called (debug mode)."""
    if is_coroutine(callback):
        raise TypeError(f"coroutines cannot be used with {method}()")
    if not callable(callback):
        raise TypeError(f"a callable object was expected by {method}(), got {callback!r}")


def settle(future: Any, result: Any, exc: BaseException | None) -> None:
    """Give a future its outcome, unless it has one (a cancelled wait, as a rule)."""
    if future.done():
        return
    if exc is None:
        future.set_result(result)
    else:
        future.set_exception(exc)


class ExecutorCalls(ExceptionHandling):
    """run_in_executor() and the default executor."""

    _default_executor: ThreadPoolExecutor | None
    _executor_shutdown_called: bool

    def __init__(self) -> None:
        super().__init__()
        self._default_executor = None
        self._executor_shutdown_called = False

    def run_in_executor(
        self, executor: Executor | None, func: Callable[..., Any], *args: Any
    ) -> Any:
        """Call func(*args) in an executor; the future returned gets the outcome."""
        self._check_closed()
        if self.get_debug():
            check_callback(func, "run_in_executor")
        if executor is None:
            executor = self._default_executor
            if self._executor_shutdown_called:
                raise RuntimeError("Executor shutdown has been called")
            if executor is None:
                executor = ThreadPoolExecutor(thread_name_prefix="asyncio")
                self._default_executor = executor
        return asyncio.wrap_future(executor.submit(func, *args), loop=self)  # type: ignore[arg-type]

    def set_default_executor(self, executor: ThreadPoolExecutor) -> None:
        """Use this executor where run_in_executor() is given None."""
        if not isinstance(executor, ThreadPoolExecutor):
            raise TypeError("executor must be ThreadPoolExecutor instance")
        self._default_executor = executor

    async def shutdown_default_executor(self, timeout: float | None = None) -> None:
        """Wait until the default executor's threads have ended."""
        self._executor_shutdown_called = True
        executor = self._default_executor
        if executor is None:
            return
        ended = self.create_future()
        waiter = threading.Thread(target=self._join_executor, args=(executor, ended))
        waiter.start()
        try:
            async with asyncio.timeout(timeout):
                await ended
        except TimeoutError:
            warnings.warn(
                f"The executor did not finishing joining its threads within {timeout} seconds.",
                RuntimeWarning,
                stacklevel=2,
            )
            executor.shutdown(wait=False)
        else:
            waiter.join()

    def _join_executor(self, executor: ThreadPoolExecutor, ended: Any) -> None:
        """Runs in a thread of its own: shutdown() blocks."""
        failure: BaseException | None = None
        try:
            executor.shutdown(wait=True)
        except Exception as exc:
            failure = exc
        if not self.is_closed():
            try:
                self.call_soon_threadsafe(settle, ended, None, failure)
            except RuntimeError:
                # Closed since the check: nobody waits any more.
                return
