"""The event loop the collector runs on.

Here: the choice. Not here: anything that knows a loop's insides. Thread: the main thread.
Invariant: the collector is plain asyncio; nothing else in the package names a loop.
"""

from __future__ import annotations

import asyncio
import importlib.util
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


def chosen(name: str) -> str:
    """The loop that `auto` stands for, or the name itself."""
    if name != "auto":
        return name
    return "rulip" if importlib.util.find_spec("rulip") is not None else "asyncio"


def factory(name: str) -> Callable[[], asyncio.AbstractEventLoop] | None:
    """What makes the loop; None is asyncio's own."""
    name = chosen(name)
    if name == "rulip":
        import rulip

        make: Callable[[], asyncio.AbstractEventLoop] = rulip.new_event_loop
        return make
    if name == "uvloop":
        import uvloop

        other: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
        return other
    return None


def run(main: Coroutine[Any, Any, T], name: str) -> T:
    """asyncio.run() on the named loop."""
    with asyncio.Runner(loop_factory=factory(name)) as runner:
        return runner.run(main)
