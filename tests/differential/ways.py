"""How a program may run: which loop, whose names, whose tasks; each beside asyncio's own.

Here: the ways, and one program on both sides of one. Not here: what runs (interpreter.py).
Thread: one. Invariant: the two sides of a way differ in nothing but what is rulip's.
"""

from __future__ import annotations

import asyncio
import itertools
import sys
import types
from collections.abc import Callable
from typing import Any

import rulip
from rulip import installation

from . import steps
from .grammar import Program
from .interpreter import Interpreter, Trace

assert steps

NewLoop = Callable[[], asyncio.AbstractEventLoop]

#: asyncio's names, as install() leaves them.
OURS = types.SimpleNamespace(
    **vars(asyncio) | {name: own for name, _, own in installation._exchanges()}
)
STOCK = asyncio.SelectorEventLoop
RULIP = rulip.new_event_loop


def with_tasks_of(factories: list[Any], new_loop: NewLoop) -> NewLoop:
    """Loops whose tasks are made by these in turn; each task has its number."""

    def make() -> asyncio.AbstractEventLoop:
        numbers = itertools.count()

        def factory(loop: Any, coro: Any, **more: Any) -> asyncio.Task[Any]:
            number = next(numbers)
            task: Any = factories[number % len(factories)](loop, coro, **more)
            task.number = number
            return task

        loop = new_loop()
        loop.set_task_factory(factory)
        return loop

    return make


def asyncios(loop: Any, coro: Any, **more: Any) -> asyncio.Task[Any]:
    return asyncio.Task(coro, loop=loop, **more)


def rulips(loop: Any, coro: Any, **more: Any) -> asyncio.Task[Any]:
    return rulip.Task(coro, loop=loop, **more)


def in_debug_mode(new_loop: NewLoop) -> NewLoop:
    def make() -> asyncio.AbstractEventLoop:
        loop = new_loop()
        loop.set_debug(True)
        loop.slow_callback_duration = 60  # type: ignore[attr-defined]
        return loop

    return make


#: Loop and names: rulip's, then asyncio's.
WAYS: dict[str, tuple[NewLoop, Any, NewLoop]] = {
    "rulip": (RULIP, OURS, STOCK),
    "names": (RULIP, asyncio, STOCK),
    "crossed": (STOCK, OURS, STOCK),
    "foreign": (with_tasks_of([asyncios], RULIP), OURS, with_tasks_of([asyncios], STOCK)),
    "mixed": (with_tasks_of([rulips, asyncios], RULIP), OURS, with_tasks_of([asyncios], STOCK)),
    "debug": (in_debug_mode(RULIP), OURS, in_debug_mode(STOCK)),
}
if sys.version_info >= (3, 12):
    from rulip.task_factories import eager_task_factory

    stocks = with_tasks_of([asyncio.eager_task_factory], STOCK)
    WAYS["eager"] = (with_tasks_of([eager_task_factory], RULIP), OURS, stocks)
    WAYS["foreign eager"] = (with_tasks_of([asyncio.eager_task_factory], RULIP), OURS, stocks)

#: Which way a seed goes: every other one that with nothing of asyncio's.
TURNS = ["rulip"] * len(WAYS) + list(WAYS)


def way_of(seed: int) -> str:
    return TURNS[seed % len(TURNS)]


def trace_of(program: Program, new_loop: NewLoop, names: Any) -> Trace:
    loop = new_loop()
    asyncio.set_event_loop(loop)
    try:
        return Interpreter(loop, names).play(program)
    finally:
        asyncio.set_event_loop(None)


def traces(program: Program, way: str) -> tuple[Trace, Trace]:
    """On rulip, and on asyncio."""
    ours, names, stocks = WAYS[way]
    return trace_of(program, ours, names), trace_of(program, stocks, asyncio)


def differs(program: Program, way: str) -> bool:
    ours, stocks = traces(program, way)
    return ours != stocks
