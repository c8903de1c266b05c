"""Timers where rulip promises more than asyncio: order among equals, nanoseconds.

Rows of docs/compat.md: timers with one deadline, timer resolution.
Runs in the main thread.
Invariant: no timer runs before its deadline, and equal deadlines run in the order they were made.
"""

from __future__ import annotations

import gc
import random
import statistics
import weakref

import pytest
from tests.loopback import run_until, spin

pytestmark = pytest.mark.loops("rulip")


def test_equal_deadlines_run_in_the_order_they_were_made(loop):
    seen: list[int] = []
    now = loop.time()
    for number in range(1000):
        loop.call_at(now, seen.append, number)
    spin(loop)
    assert seen == list(range(1000))


def test_the_order_among_equals_survives_cancelling_and_other_deadlines(loop):
    pick = random.Random(20)
    base = loop.time() - 1
    seen: list[tuple[float, int]] = []
    expected: list[tuple[float, int]] = []
    for number in range(5000):
        when = base + pick.randrange(5) / 16
        handle = loop.call_at(when, seen.append, (when, number))
        if pick.randrange(3):
            expected.append((when, number))
        else:
            handle.cancel()
    run_until(loop, lambda: len(seen) == len(expected))
    assert seen == sorted(expected)


def test_no_timer_runs_before_its_deadline(loop):
    """Ten thousand random deadlines, compared with the loop's own clock without any slack."""
    pick = random.Random(21)
    early: list[float] = []
    left = 10_000

    def check(when):
        nonlocal left
        left -= 1
        if loop.time() < when:
            early.append(when - loop.time())
        if not left:
            loop.stop()

    start = loop.time()
    for _ in range(left):
        when = start + pick.random() * 0.2
        loop.call_at(when, check, when)
    loop.run_forever()
    assert early == []


def test_short_delays_are_not_rounded_up_to_milliseconds(loop):
    lateness: list[float] = []

    def tick(when, left):
        lateness.append(loop.time() - when)
        if left:
            after = loop.time() + 0.0002
            loop.call_at(after, tick, after, left - 1)
        else:
            loop.stop()

    loop.call_soon(tick, loop.time(), 300)
    loop.run_forever()
    assert statistics.median(lateness) < 0.0005


def test_a_million_cancelled_timers_leave_nothing(loop):
    """The heap is bounded by what lives, not by what was ever made."""

    class Payload:
        pass

    alive: weakref.WeakSet[Payload] = weakref.WeakSet()
    most = 0
    for number in range(100_000):
        payload = Payload()
        alive.add(payload)
        loop.call_later(3600, id, payload).cancel()
        del payload
        if number % 1000 == 0:
            most = max(most, len(alive))
    gc.collect()
    assert most < 5000
    assert len(alive) == 0
