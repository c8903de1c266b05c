"""Time limits that are met: many requests under way, each with a timer that never fires.

Not here: sleeping tasks (`memory.py`). Thread: the loop's. Invariant: the number of live timers
stays the same, none of them fires while the clock runs, and the deadlines follow a fixed pattern.
"""

from __future__ import annotations

import asyncio
import functools

from measured import Measured

from .registry import Workload, groups_of

BETWEEN_TURNS = 100
SHORTEST = 300


def nothing() -> None:
    """Never called within the run."""


def delay(index: int, live: int) -> float:
    """From five to ten minutes, spread evenly and out of order (7919 is a prime)."""
    return SHORTEST + index * 7_919 % live * SHORTEST / live


async def call_later_cancel(live: int, operations: int, measured: Measured) -> None:
    loop = asyncio.get_running_loop()
    delays = [delay(index, live) for index in range(live)]
    handles = [loop.call_later(seconds, nothing) for seconds in delays]
    turns = groups_of(BETWEEN_TURNS, operations)
    with measured(turns * BETWEEN_TURNS):
        for number in range(turns):
            first = number * BETWEEN_TURNS % live
            for index in range(first, first + BETWEEN_TURNS):
                # The oldest request is answered, a new one begins.
                handles[index].cancel()
                handles[index] = loop.call_later(delays[index], nothing)
            await asyncio.sleep(0)
    for handle in handles:
        handle.cancel()
    await asyncio.sleep(0)


def among(live: int, name: str, *, full: bool = True) -> Workload:
    """The row with so many live timers."""
    return Workload(
        f"timer_cancel_{name}",
        functools.partial(call_later_cancel, live),
        f"cancel of the oldest of {live:,} timers + call_later, a turn each 100",
        1_000,
        # Twice the live ones: a loop that sweeps cancelled timers out now and then has done so.
        2 * live,
        full=full,
        kind="growth" if full else "scheduling",
    )


WORKLOADS = (
    among(1_000, "1k"),
    among(10_000, "10k"),
    among(100_000, "100k", full=False),
    among(1_000_000, "1m"),
)
