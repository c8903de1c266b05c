"""Signals reach a busy loop, and one that is about to wait.

Rows of docs/compat.md: signals while the loop is busy; signals while it has no handler of its own.
Runs in the main thread; other threads send.
Invariant: a signal that was sent is handled, whatever else fills the loop's descriptors.
"""

from __future__ import annotations

import os
import signal
import threading

import pytest
from tests.loopback import PATIENCE, run_until, thread

pytestmark = pytest.mark.loops("rulip")


def test_sigterm_behind_twenty_thousand_calls_from_another_thread(loop):
    """The loop is busy while a thread calls call_soon_threadsafe 20,000 times; then SIGTERM."""
    seen: list[str] = []
    ran = 0

    def callback():
        nonlocal ran
        ran += 1

    def flood():
        for _ in range(20_000):
            loop.call_soon_threadsafe(callback)
        os.kill(os.getpid(), signal.SIGTERM)

    def busy():
        with thread(flood):
            pass

    loop.add_signal_handler(signal.SIGTERM, seen.append, "SIGTERM")
    loop.call_soon(busy)
    run_until(loop, lambda: seen and ran == 20_000)
    loop.remove_signal_handler(signal.SIGTERM)
    assert seen == ["SIGTERM"]


def test_a_burst_of_signals_is_never_lost(loop):
    """Bursts without a pause: each kind is handled at least once after its last arrival."""
    numbers = (signal.SIGUSR1, signal.SIGUSR2, signal.SIGHUP, signal.SIGWINCH)
    seen = dict.fromkeys(numbers, 0)

    def count(number):
        seen[number] += 1

    for number in numbers:
        loop.add_signal_handler(number, count, number)
    for _ in range(20):
        before = dict(seen)

        def burst():
            for _ in range(500):
                for number in numbers:
                    os.kill(os.getpid(), number)

        with thread(burst):
            pass
        run_until(loop, lambda before=before: all(seen[n] > before[n] for n in numbers))
    for number in numbers:
        loop.remove_signal_handler(number)


def test_a_plain_handler_is_never_late(loop):
    """No handler of the loop's own: a signal that comes just before it waits still wakes it."""
    seen: list[int] = []

    def handler(number, frame):
        seen.append(number)
        loop.call_soon_threadsafe(loop.stop)

    previous = signal.signal(signal.SIGUSR1, handler)
    try:
        for count in range(1, 300):
            about_to_wait = threading.Event()

            def body(about_to_wait=about_to_wait):
                about_to_wait.wait(PATIENCE)
                os.kill(os.getpid(), signal.SIGUSR1)

            with thread(body):
                loop.call_soon(about_to_wait.set)
                loop.run_forever()
            assert len(seen) == count
    finally:
        signal.signal(signal.SIGUSR1, previous)
