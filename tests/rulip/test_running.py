"""A refused nested run changes nothing.

Row of docs/compat.md: refused nested run_forever().
Runs in the main thread.
Invariant: after the refusal the running loop is still the running loop, and stops when it is told.
"""

from __future__ import annotations

import asyncio
import signal
import sys
from typing import Any

import pytest
from tests.loopback import SignalStorm, run_until, spin

pytestmark = pytest.mark.loops("rulip")


def test_a_refused_nested_run_leaves_the_running_loop_as_it_was(loop, loop_factory):
    other = loop_factory()
    states: list[Any] = []

    def state() -> tuple[Any, ...]:
        return (
            loop.is_running(),
            asyncio.get_running_loop() is loop,
            loop._thread_id,
            sys.get_asyncgen_hooks(),
            signal.getsignal(signal.SIGINT),
            other.is_running(),
        )

    def nested():
        states.append(state())
        for attempt in (loop.run_forever, other.run_forever):
            with pytest.raises(RuntimeError):
                attempt()
            states.append(state())
        for whose in (loop, other):
            with pytest.raises(RuntimeError):
                whose.run_until_complete(whose.create_future())
            states.append(state())
        loop.stop()

    loop.call_soon(nested)
    loop.run_forever()
    other.close()
    assert len(states) == 5
    assert states.count(states[0]) == 5


def test_it_stops_although_stop_was_called_before_the_refusal(loop):
    seen: list[str] = []

    def nested():
        loop.stop()
        with pytest.raises(RuntimeError):
            loop.run_forever()
        seen.append("refused")

    loop.call_soon(nested)
    loop.run_forever()
    assert seen == ["refused"]
    spin(loop)


def test_a_task_goes_on_after_its_refused_run(loop):
    async def main():
        with pytest.raises(RuntimeError):
            loop.run_until_complete(loop.create_future())
        await asyncio.sleep(0.001)
        return asyncio.get_running_loop() is loop

    assert loop.run_until_complete(main())


def test_interrupts_around_a_run_leave_no_descriptor_for_signals_behind(loop):
    """Signals that strike at any point of starting and stopping: once the loop is closed, the
    process does not write its signals into a number that belongs to somebody else."""

    class Struck(Exception):
        pass

    armed = pending = False

    def strike(number, frame):
        nonlocal armed, pending
        if not armed:
            pending = True
            return
        armed = False
        raise Struck

    before = signal.set_wakeup_fd(-1)
    signal.set_wakeup_fd(before)
    interval = sys.getswitchinterval()
    previous = signal.signal(signal.SIGUSR1, strike)
    try:
        sys.setswitchinterval(1e-6)
        with SignalStorm(signal.SIGUSR1, jitter=1000) as storm:
            for _ in range(500):
                try:
                    armed = True
                    if pending:
                        pending = False
                        storm.note()
                    while True:
                        spin(loop)
                except Struck:
                    pass
                assert not loop.is_running()
                storm.note()
    finally:
        sys.setswitchinterval(interval)
        signal.signal(signal.SIGUSR1, previous)
    seen: list[str] = []
    loop.call_soon(seen.append, "runs")
    run_until(loop, lambda: seen)
    loop.close()
    assert signal.set_wakeup_fd(before) == before
    assert asyncio._get_running_loop() is None
