"""What a sleeping task weighs: growth of the resident set, divided by the number of tasks.

Not here: the reading of the resident set (`measured.py`). Thread: the loop's. Invariant: every task
has run to its `sleep` when the second reading is taken; the list that holds them is there before
the first.
"""

from __future__ import annotations

import asyncio

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


WORKLOADS = (
    Workload(
        "memory_100k", sleeping_tasks, "task asleep, of 100,000", 1_000, 100_000, "B", fixed=True
    ),
    Workload(
        "memory_1m",
        sleeping_tasks,
        "task asleep, of 1,000,000",
        1_000,
        1_000_000,
        "B",
        fixed=True,
        full=True,
    ),
)
