"""Locks and time limits: the synchronisation that services use around their awaits.

Not here: queues. Thread: the loop's. Invariant: what is called free never waits, the others wait at
every operation; the time limit never strikes.
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


async def lock_free(operations: int, measured: Measured) -> None:
    lock = asyncio.Lock()
    with measured(operations):
        for _ in range(operations):
            async with lock:
                pass


async def semaphore_free(operations: int, measured: Measured) -> None:
    semaphore = asyncio.Semaphore(2)
    with measured(operations):
        for _ in range(operations):
            async with semaphore:
                pass


async def semaphore_hand_over(operations: int, measured: Measured) -> None:
    """Two tasks share one permit, each waits for the other one."""
    semaphore = asyncio.Semaphore(1)
    each = groups_of(2, operations)

    async def take() -> None:
        for _ in range(each):
            async with semaphore:
                await asyncio.sleep(0)

    tasks = [asyncio.create_task(take()) for _ in range(2)]
    with measured(each * 2):
        for task in tasks:
            await task


async def event_hand_over(operations: int, measured: Measured) -> None:
    """Two tasks wake each other, each by an event of its own."""
    each = groups_of(2, operations)
    events = [asyncio.Event(), asyncio.Event()]

    async def take_turns(mine: asyncio.Event, other: asyncio.Event) -> None:
        for _ in range(each):
            await mine.wait()
            mine.clear()
            other.set()

    tasks = [
        asyncio.create_task(take_turns(*events)),
        asyncio.create_task(take_turns(*reversed(events))),
    ]
    await asyncio.sleep(0)
    with measured(each * 2):
        events[0].set()
        for task in tasks:
            await task


async def condition_hand_over(operations: int, measured: Measured) -> None:
    """Two tasks take turns: each waits until the other one has notified it."""
    condition = asyncio.Condition()
    each = groups_of(2, operations)
    turn = 0

    async def take_turns(mine: int) -> None:
        nonlocal turn
        for _ in range(each):
            async with condition:
                while turn != mine:
                    await condition.wait()
                turn = 1 - mine
                condition.notify()

    tasks = [asyncio.create_task(take_turns(mine)) for mine in range(2)]
    with measured(each * 2):
        for task in tasks:
            await task


async def wait_for_in_time(operations: int, measured: Measured) -> None:
    with measured(operations):
        for _ in range(operations):
            await asyncio.wait_for(asyncio.sleep(0), 60)


async def timeout_in_time(operations: int, measured: Measured) -> None:
    with measured(operations):
        for _ in range(operations):
            async with asyncio.timeout(60):
                await asyncio.sleep(0)


WORKLOADS = (
    Workload("lock_free", lock_free, "async with a free lock", 2_000, 20_000),
    Workload("semaphore_free", semaphore_free, "async with a free semaphore", 2_000, 20_000),
    Workload("lock_hand_over", hand_over, "acquire of a held lock + sleep(0)", 1_000, 10_000),
    Workload(
        "semaphore_hand_over",
        semaphore_hand_over,
        "acquire without permits + sleep(0)",
        1_000,
        10_000,
    ),
    Workload("event_hand_over", event_hand_over, "wait + the set that wakes it", 1_000, 10_000),
    Workload(
        "condition_hand_over", condition_hand_over, "async with, wait + notify", 1_000, 10_000
    ),
    Workload("wait_for", wait_for_in_time, "wait_for(sleep(0), 60) in time", 1_000, 10_000),
    Workload("timeout", timeout_in_time, "sleep(0) within timeout(60)", 1_000, 10_000),
)
