"""`asyncio.Queue`: the price of a queue that never waits, and of one that always does.

Not here: other synchronisation (`locks.py`). Thread: the loop's. Invariant: in lock-step every
`get` waits for its `put`, so each operation wakes a task.
"""

from __future__ import annotations

import asyncio

from measured import Measured

from .registry import Workload, groups_of


async def no_wait(operations: int, measured: Measured) -> None:
    queue: asyncio.Queue[int] = asyncio.Queue()
    with measured(operations):
        for item in range(operations):
            await queue.put(item)
            await queue.get()


async def lock_step(operations: int, measured: Measured) -> None:
    """An item goes over one queue and comes back over another: two operations."""
    rounds = groups_of(2, operations)
    there: asyncio.Queue[int] = asyncio.Queue(1)
    back: asyncio.Queue[int] = asyncio.Queue(1)

    async def answer() -> None:
        for _ in range(rounds):
            await back.put(await there.get())

    other = asyncio.create_task(answer())
    await asyncio.sleep(0)
    with measured(rounds * 2):
        for item in range(rounds):
            await there.put(item)
            if await back.get() != item:
                raise RuntimeError("the queue lost an item")
    await other


WORKLOADS = (
    Workload("queue_no_wait", no_wait, "put + get, neither waits", 2_000, 20_000),
    Workload("queue_lock_step", lock_step, "put + the get that it wakes", 1_000, 10_000),
)
