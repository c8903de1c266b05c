"""Generated programs tell the same on asyncio and on rulip.

Here: the comparison, and programs that once differed. Not here: programs and what they do
(programs.py, interpreter.py). Runs in the main thread.
`RULIP_FUZZ=examples` runs so many, other ones each time; without it, the same few each time.
Invariant: the traces are equal: event by event, with results, exceptions, warnings and reports.
"""

from __future__ import annotations

import asyncio
import gc
import itertools
import os
import types
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings

import rulip
from rulip import installation

from .interpreter import Interpreter, Trace
from .programs import Program, programs

EXAMPLES = int(os.environ.get("RULIP_FUZZ", "0"))

NAMES = types.SimpleNamespace(
    **vars(asyncio) | {name: own for name, _, own in installation._exchanges()}
)


def with_asyncios_tasks(
    new_loop: Callable[[], asyncio.AbstractEventLoop],
) -> Callable[[], asyncio.AbstractEventLoop]:
    def make() -> asyncio.AbstractEventLoop:
        numbers = itertools.count()

        def factory(loop: Any, coro: Any, **more: Any) -> asyncio.Task[Any]:
            task: Any = asyncio.Task(coro, loop=loop, **more)
            task.number = next(numbers)
            return task

        loop = new_loop()
        loop.set_task_factory(factory)
        return loop

    return make


STOCK = asyncio.SelectorEventLoop

#: How a program may run on rulip: all of it; its names on asyncio's loop; asyncio's tasks on its
#: loop. Each beside the loop of asyncio's that it must equal.
WAYS: dict[str, tuple[Any, Any]] = {
    "rulip": (rulip.new_event_loop, STOCK),
    "crossed": (STOCK, STOCK),
    "foreign": (with_asyncios_tasks(rulip.new_event_loop), with_asyncios_tasks(STOCK)),
}


def trace_of(program: Program, new_loop: Any, names: Any) -> Trace:
    loop = new_loop()
    asyncio.set_event_loop(loop)
    try:
        return Interpreter(loop, names).play(program)
    finally:
        asyncio.set_event_loop(None)
        loop.close()


@pytest.fixture(autouse=True)
def collected_by_hand() -> Any:
    """A collection strikes where the interpreter says, not somewhere in a trace."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()
    gc.collect()


@pytest.mark.timeout(0 if EXAMPLES else 240)
@pytest.mark.parametrize("way", WAYS)
@settings(
    max_examples=EXAMPLES or 40,
    derandomize=not EXAMPLES,
    database=None,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
@given(program=programs)
def test_the_same_trace(way: str, program: Program) -> None:
    new_loop, stock_loop = WAYS[way]
    assert trace_of(program, new_loop, NAMES) == trace_of(program, stock_loop, asyncio)
