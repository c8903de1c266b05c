"""`call_soon`: the cost of a turn, and of a callback within a turn.

Not here: callbacks from other threads (`threads.py`). Thread: the loop's. Invariant: each callback
schedules its successor, so the number that is ready at once stays what the name says.
"""

from __future__ import annotations

import asyncio

from measured import Measured

from .registry import Workload, groups_of

PER_TURN = 100


async def one_per_turn(operations: int, measured: Measured) -> None:
    loop = asyncio.get_running_loop()
    finished = loop.create_future()
    left = operations

    def step() -> None:
        nonlocal left
        left -= 1
        if left:
            loop.call_soon(step)
        else:
            finished.set_result(None)

    with measured(operations):
        loop.call_soon(step)
        await finished


async def hundred_per_turn(operations: int, measured: Measured) -> None:
    loop = asyncio.get_running_loop()
    finished = loop.create_future()
    turns = groups_of(PER_TURN, operations)
    chains = PER_TURN

    def step(left: int) -> None:
        nonlocal chains
        if left:
            loop.call_soon(step, left - 1)
            return
        chains -= 1
        if not chains:
            finished.set_result(None)

    with measured(turns * PER_TURN):
        for _ in range(PER_TURN):
            loop.call_soon(step, turns - 1)
        await finished


WORKLOADS = (
    Workload("call_soon_1", one_per_turn, "callback, alone in its turn", 2_000, 20_000),
    Workload("call_soon_100", hundred_per_turn, "callback, one of 100 in its turn", 2_000, 50_000),
)
