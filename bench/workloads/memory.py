"""What waits for something weighs: growth of the resident set, divided by the number of it; and
what it costs to make so many tasks, to let them sleep and to wake them.

Not here: the reading of the resident set (`measured.py`). Thread: the loop's. Invariant: every task
has run to its `sleep` when the second reading is taken; the list that holds what is weighed is
there before the first.
"""

from __future__ import annotations

import asyncio
import resource
import socket
from collections.abc import Callable, Coroutine
from typing import Any

from measured import Measured

from .registry import Workload


async def sleeper() -> None:
    await asyncio.sleep(3_600)


async def sleeping_tasks(operations: int, measured: Measured) -> None:
    tasks: list[asyncio.Task[None] | None] = [None] * operations
    with measured(operations):
        for index in range(operations):
            tasks[index] = asyncio.create_task(sleeper())
        await asyncio.sleep(0)
    for task in tasks:
        if task is not None:
            task.cancel()
    while not all(task is not None and task.done() for task in tasks):
        await asyncio.sleep(0)


async def waking_tasks(operations: int, measured: Measured) -> None:
    """They all wake, and in the order of their sleep."""
    tasks: list[asyncio.Task[None] | None] = [None] * operations
    with measured(operations):
        for index in range(operations):
            tasks[index] = asyncio.create_task(asyncio.sleep(0.001))
        for task in tasks:
            if task is not None:
                await task


async def timers(operations: int, measured: Measured) -> None:
    loop = asyncio.get_running_loop()
    handles: list[asyncio.TimerHandle | None] = [None] * operations
    with measured(operations):
        for index in range(operations):
            handles[index] = loop.call_later(3_600, sleeper)
    for handle in handles:
        if handle is not None:
            handle.cancel()
    await asyncio.sleep(0)


async def connections(operations: int, measured: Measured) -> None:
    """Both ends' transports and protocols; the kernel's buffers are not the process's."""
    loop = asyncio.get_running_loop()
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    ends = [end for _ in range(operations) for end in socket.socketpair()]
    transports: list[Any] = [None] * len(ends)
    with measured(operations):
        for index, end in enumerate(ends):
            transports[index], _ = await loop.connect_accepted_socket(asyncio.Protocol, end)
    for transport in transports:
        transport.abort()
    await asyncio.sleep(0)
    await asyncio.sleep(0)


def weighed(
    name: str,
    run: Callable[[int, Measured], Coroutine[Any, Any, None]],
    what: str,
    count: int,
    *,
    full: bool = True,
) -> Workload:
    # What the warm-up frees is used again unseen: it must be little beside what is weighed.
    warm_up = count // 100
    return Workload(
        f"memory_{name}", run, what, warm_up, count, fixed=True, full=full, kind="memory"
    )


def woken(count: int, name: str) -> Workload:
    what = f"task made, asleep and woken, of {count:,}"
    return Workload(
        f"wake_{name}", waking_tasks, what, 1_000, count, fixed=True, full=True, kind="growth"
    )


WORKLOADS = (
    weighed("100k", sleeping_tasks, "task asleep, of 100,000", 100_000, full=False),
    weighed("1m", sleeping_tasks, "task asleep, of 1,000,000", 1_000_000),
    weighed("timers", timers, "timer, of 100,000", 100_000),
    weighed("connections", connections, "connection with both its ends, of 2,000", 2_000),
    woken(1_000, "1k"),
    woken(10_000, "10k"),
    woken(100_000, "100k"),
    woken(1_000_000, "1m"),
)
