"""Names that asyncio has lost: `coroutine`, `async`, `JoinableQueue`; and a current loop for all.

Lives here: what is added to asyncio's namespace, and the policy. Nothing that is there is replaced,
but for what a coroutine is: generators count again.
Does not live here: arguments that functions have lost (calls.py).
Thread: the main one, before the program starts.
Invariant: `asyncio.get_event_loop()` finds or makes a loop in the main thread, on every Python.
"""

import asyncio
import atexit
import functools
import inspect
import threading
import types
from asyncio import coroutines
from collections.abc import Callable
from typing import Any

from ..policy import policy_class, set_policy
from . import calls


def coroutine(func: Callable[..., Any]) -> Callable[..., Any]:
    """asyncio.coroutine: mark a generator function, or any function, as a coroutine."""
    if inspect.iscoroutinefunction(func):
        return func
    if inspect.isgeneratorfunction(func):
        made: Any = types.coroutine(func)
    else:

        @functools.wraps(func)
        def call(*args: Any, **kwargs: Any) -> Any:
            result = func(*args, **kwargs)
            if asyncio.isfuture(result) or inspect.isgenerator(result):
                result = yield from result
            elif inspect.isawaitable(result):
                result = yield from result.__await__()
            return result

        made = types.coroutine(call)
    made._is_coroutine = vars(coroutines).get("_is_coroutine")  # asyncio.iscoroutinefunction()
    return made  # type: ignore[no-any-return]


def bring_back() -> None:
    """Give asyncio its old names and the policy that makes loops when asked for one."""
    calls.define()
    _accept_generators()
    added: dict[str, Any] = {
        "coroutine": coroutine,
        "async": asyncio.ensure_future,
        "JoinableQueue": asyncio.Queue,
    }
    if plain := vars(coroutines).get("_iscoroutinefunction"):  # without 3.14's deprecation
        added["iscoroutinefunction"] = plain
    for name, value in added.items():
        setattr(asyncio, name, value)
    vars(coroutines)["coroutine"] = coroutine
    vars(asyncio.tasks)["coroutine"] = coroutine
    vars(asyncio.tasks)["async"] = asyncio.ensure_future
    _explain_missing_names()
    set_policy(_legacy_policy()())


def _accept_generators() -> None:
    """iscoroutine(): generators are coroutines, until 3.11 they were."""
    kinds = vars(coroutines)["_COROUTINE_TYPES"]
    if types.GeneratorType not in kinds:
        vars(coroutines)["_COROUTINE_TYPES"] = (*kinds, types.GeneratorType)


def _legacy_policy() -> type[Any]:
    class LegacyEventLoopPolicy(policy_class()):  # type: ignore[misc]
        """rulip's policy; the main thread's loop is made when first asked for."""

        def get_event_loop(self) -> asyncio.AbstractEventLoop:
            """Return the current loop; make it where there has been none."""
            local = self._local
            is_first = local._loop is None and not getattr(local, "_set_called", False)
            if is_first and threading.current_thread() is threading.main_thread():
                self.set_event_loop(loop := self.new_event_loop())
                # Programs of that time left it open.
                atexit.register(_close, loop)
            if local._loop is None:
                thread = threading.current_thread().name
                raise RuntimeError(f"There is no current event loop in thread {thread!r}.")
            return local._loop  # type: ignore[no-any-return]

    return LegacyEventLoopPolicy


def _close(loop: asyncio.AbstractEventLoop) -> None:
    if not loop.is_running():
        loop.close()


def _explain_missing_names() -> None:
    """An AttributeError says that legacy mode was asked, too."""
    outer = vars(asyncio).get("__getattr__")

    def __getattr__(name: str) -> Any:  # noqa: N807
        if outer is not None:
            try:
                return outer(name)
            except AttributeError:
                pass
        raise AttributeError(
            f"module 'asyncio' has no attribute {name!r}, and legacy mode has nothing to put there",
            name=name,
            obj=asyncio,
        )

    vars(asyncio)["__getattr__"] = __getattr__
