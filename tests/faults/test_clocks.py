"""Clocks that jump, and clocks that run slow.

The engine may ask the kernel for the time without the C library: then libfaketime bends Python's
clocks only, and a test holds the weaker claim that nothing goes wrong between the two.
Each program runs in a process of its own.
Invariant: a timer runs once, never because of the wall clock, and no clock makes the loop spin.
"""

from __future__ import annotations

import pytest


@pytest.mark.parametrize("offset", ["+3600", "-3600"])
def test_the_wall_clock_is_set_while_timers_wait(on_false_clocks, offset):
    """An hour forward or back: timers keep the time that the monotonic clock tells."""
    on_false_clocks(
        f"""
    offset = {offset!r}
    """
        """
    loop = factory()
    fired = []

    async def main():
        start, wall = loop.time(), time.time()
        for number in range(10):
            loop.call_later(0.02 + number / 200, fired.append, number)
        far = loop.call_later(1800, fired.append, "far")
        await asyncio.sleep(0.01)
        bend(offset)
        assert abs(time.time() - wall) > 3000, "the clock was not bent"
        await asyncio.sleep(0.1)
        assert 0.1 < loop.time() - start < 5
        far.cancel()

    loop.run_until_complete(main())
    assert fired == list(range(10)), fired
    loop.close()
    """,
        monotonic=False,
    )


def test_the_monotonic_clock_jumps_forward(on_false_clocks):
    """After a suspended night every timer that fell due runs, and runs once."""
    on_false_clocks(
        """
    loop = factory()
    fired = []

    async def main():
        for number in range(10):
            loop.call_later(0.02 + number / 200, fired.append, number)
        await asyncio.sleep(0.01)
        bend("+30")
        await asyncio.sleep(0.1)
        await asyncio.sleep(0.01)

    loop.run_until_complete(main())
    assert fired == list(range(10)), fired
    loop.close()
    """,
        monotonic=True,
    )


@pytest.mark.parametrize("rate", ["x0.5", "x0.9", "x2"])
def test_a_clock_that_does_not_keep_the_kernels_time(on_false_clocks, rate):
    """The kernel's waits end early or late by the process's clock: no timer runs before its time,
    and the loop waits again instead of spinning."""
    on_false_clocks(
        """
    loop = factory()

    def cpu():
        usage = resource.getrusage(resource.RUSAGE_SELF)
        return usage.ru_utime + usage.ru_stime

    async def main():
        busy = cpu()
        for _ in range(20):
            when = loop.time() + 0.01
            future = loop.create_future()
            loop.call_at(when, future.set_result, None)
            await future
            assert loop.time() >= when - 1e-9
        assert cpu() - busy < 0.2, cpu() - busy

    loop.run_until_complete(main())
    loop.close()
    """,
        start=f"+0 {rate}",
        monotonic=True,
    )
