"""Locks and time limits: the synchronisation that services use around their awaits.

Not here: queues. Thread: the loop's. Invariant: the lock is contended at every operation; the time
limit never strikes.
"""

from __future__ import annotations

import asyncio

from measured import Measured

from .registry import Workload, groups_of


async def hand_over(operations: int, measured: Measured) -> None:
    """Two tasks take the same lock in turn, each while the other one waits for it."""
    lock = asyncio.Lock()
    each = groups_of(2, operations)

    async def take() -> None:
        for _ in range(each):
            async with lock:
                await asyncio.sleep(0)

    tasks = [asyncio.create_task(take()) for _ in range(2)]
    with measured(each * 2):
        for task in tasks:
            await task


async def wait_for_in_time(operations: int, measured: Measured) -> None:
    with measured(operations):
        for _ in range(operations):
            await asyncio.wait_for(asyncio.sleep(0), 60)


WORKLOADS = (
    Workload("lock_hand_over", hand_over, "acquire of a held lock + sleep(0)", 1_000, 10_000),
    Workload("wait_for", wait_for_in_time, "wait_for(sleep(0), 60) in time", 1_000, 10_000),
)
