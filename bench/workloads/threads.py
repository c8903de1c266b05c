"""Other threads: callbacks posted from one, and work sent to the executor and back.

Not here: anything within one thread. Thread: the loop's and the executor's; the CPU time is that of
the whole process. Invariant: the executor's thread exists before the clock starts.
"""

from __future__ import annotations

import asyncio

from measured import Measured

from .registry import Workload


def nothing() -> None:
    """The trivial job."""


async def flood(operations: int, measured: Measured) -> None:
    loop = asyncio.get_running_loop()
    finished = loop.create_future()
    left = operations

    def step() -> None:
        nonlocal left
        left -= 1
        if not left:
            finished.set_result(None)

    def post() -> None:
        for _ in range(operations):
            loop.call_soon_threadsafe(step)

    await loop.run_in_executor(None, nothing)
    with measured(operations):
        await loop.run_in_executor(None, post)
        await finished


async def round_trip(operations: int, measured: Measured) -> None:
    loop = asyncio.get_running_loop()
    await loop.run_in_executor(None, nothing)
    with measured(operations):
        for _ in range(operations):
            await loop.run_in_executor(None, nothing)


WORKLOADS = (
    Workload("threadsafe_flood", flood, "call_soon_threadsafe from one thread", 1_000, 10_000),
    Workload("executor", round_trip, "run_in_executor of a trivial function", 100, 1_000),
)
