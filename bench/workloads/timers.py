"""Timers that are cancelled before they fire, among many that live: what time limits do to a loop.

Not here: sleeping tasks (`memory.py`). Thread: the loop's. Invariant: none of the timers fires
while the clock runs; the deadlines follow a fixed pattern, the same for every loop.
"""

from __future__ import annotations

import asyncio

from measured import Measured

from .registry import Workload, groups_of

LIVE = 100_000
BETWEEN_TURNS = 100


def nothing() -> None:
    """Never called within the run."""


async def call_later_cancel(operations: int, measured: Measured) -> None:
    loop = asyncio.get_running_loop()
    # 7919 and the moduli have no common divisor: deadlines are spread and out of order.
    live = [loop.call_later(3_600 + index * 7_919 % LIVE / 100, nothing) for index in range(LIVE)]
    delays = [10 + index * 7_919 % 1_000 / 10 for index in range(BETWEEN_TURNS)]
    turns = groups_of(BETWEEN_TURNS, operations)
    with measured(turns * BETWEEN_TURNS):
        for _ in range(turns):
            for delay in delays:
                loop.call_later(delay, nothing).cancel()
            await asyncio.sleep(0)
    for handle in live:
        handle.cancel()
    await asyncio.sleep(0)


WORKLOADS = (
    Workload(
        "timer_cancel_100k",
        call_later_cancel,
        "call_later + cancel among 100,000 live timers, a turn each 100",
        1_000,
        50_000,
    ),
)
