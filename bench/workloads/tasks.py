"""Tasks and futures: a step, a birth, a wake-up, and many children at once.

Not here: what tasks wait for (`queues.py`, `locks.py`, `timers.py`). Thread: the loop's.
Invariant: the children do nothing, so that only the loop's work is counted.
"""

from __future__ import annotations

import asyncio

from measured import Measured

from .registry import Workload, groups_of

TASKS = 100
CHILDREN = 1_000


async def nothing() -> None:
    """The trivial coroutine."""


async def spin(count: int) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def sleep_zero(operations: int, measured: Measured) -> None:
    with measured(operations):
        for _ in range(operations):
            await asyncio.sleep(0)


async def sleep_zero_in_hundred_tasks(operations: int, measured: Measured) -> None:
    each = groups_of(TASKS, operations)
    tasks = [asyncio.create_task(spin(each)) for _ in range(TASKS)]
    with measured(each * TASKS):
        for task in tasks:
            await task


async def create_task(operations: int, measured: Measured) -> None:
    with measured(operations):
        for _ in range(operations):
            await asyncio.create_task(nothing())


async def ping_pong(operations: int, measured: Measured) -> None:
    """Two tasks, each waiting for the future that the other one sets."""
    loop = asyncio.get_running_loop()
    rounds = groups_of(2, operations)
    ball: asyncio.Future[asyncio.Future[None]] = loop.create_future()

    async def pong() -> None:
        nonlocal ball
        for _ in range(rounds):
            back = await ball
            ball = loop.create_future()
            back.set_result(None)

    other = asyncio.create_task(pong())
    await asyncio.sleep(0)
    with measured(rounds * 2):
        for _ in range(rounds):
            back: asyncio.Future[None] = loop.create_future()
            ball.set_result(back)
            await back
    await other


async def gather(operations: int, measured: Measured) -> None:
    rounds = groups_of(CHILDREN, operations)
    with measured(rounds * CHILDREN):
        for _ in range(rounds):
            await asyncio.gather(*[nothing() for _ in range(CHILDREN)])


async def task_group(operations: int, measured: Measured) -> None:
    rounds = groups_of(CHILDREN, operations)
    with measured(rounds * CHILDREN):
        for _ in range(rounds):
            async with asyncio.TaskGroup() as group:
                for _ in range(CHILDREN):
                    group.create_task(nothing())


async def wait(operations: int, measured: Measured) -> None:
    rounds = groups_of(CHILDREN, operations)
    with measured(rounds * CHILDREN):
        for _ in range(rounds):
            await asyncio.wait([asyncio.create_task(nothing()) for _ in range(CHILDREN)])


async def shield(operations: int, measured: Measured) -> None:
    with measured(operations):
        for _ in range(operations):
            await asyncio.shield(nothing())


WORKLOADS = (
    Workload("sleep0_1", sleep_zero, "sleep(0) of one task", 2_000, 20_000),
    Workload("sleep0_100", sleep_zero_in_hundred_tasks, "sleep(0), 100 tasks", 2_000, 50_000),
    Workload("create_task", create_task, "create_task + await, trivial coroutine", 1_000, 10_000),
    Workload("future_ping_pong", ping_pong, "set_result that wakes the other task", 2_000, 20_000),
    Workload("gather_1000", gather, "child of gather(1,000 trivial coroutines)", 2_000, 20_000),
    Workload("wait_1000", wait, "task of wait() for 1,000 trivial ones", 2_000, 20_000),
    Workload("shield", shield, "shield of a trivial coroutine", 1_000, 10_000),
    Workload("task_group_1000", task_group, "child of a TaskGroup of 1,000", 2_000, 20_000),
)
