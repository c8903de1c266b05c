"""Other threads against the loop: storms of calls, calls while it closes, no wake-up lost.

Runs in the main thread, with a few threads that only call call_soon_threadsafe.
Invariant: each call is either run, or refused with RuntimeError because the loop is closed; none is
lost, and none hangs.
"""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest
from tests.loopback import PATIENCE, run_until, spin, thread


def test_every_call_of_four_threads_runs_once_and_in_order(loop):
    count, lanes = 10_000, 4
    seen: list[list[int]] = [[] for _ in range(lanes)]

    def produce(lane):
        for number in range(count):
            loop.call_soon_threadsafe(seen[lane].append, number)

    threads = [threading.Thread(target=produce, args=(lane,)) for lane in range(lanes)]
    for each in threads:
        each.start()
    run_until(loop, lambda: sum(map(len, seen)) == lanes * count)
    for each in threads:
        each.join(PATIENCE)
    assert seen == [list(range(count))] * lanes


def test_no_wake_up_is_lost(loop):
    """The loop goes to sleep again and again just as a call comes: it is always noticed."""
    rounds = 20_000
    turn = threading.Semaphore(0)
    count = 0

    def answer():
        nonlocal count
        count += 1
        turn.release()
        if count == rounds:
            loop.stop()

    def body():
        for _ in range(rounds):
            loop.call_soon_threadsafe(answer)
            assert turn.acquire(timeout=PATIENCE)

    with thread(body):
        loop.run_forever()
    assert count == rounds


def test_no_wake_up_is_lost_among_several_threads(loop):
    """No hand-shake: threads call whenever they like, the loop sleeps whenever it can."""
    count = 0
    rounds, lanes = 3000, 3

    def answer():
        nonlocal count
        count += 1
        if count == rounds * lanes:
            loop.stop()

    def body():
        event = threading.Event()
        for number in range(rounds):
            loop.call_soon_threadsafe(answer)
            if number % 64 == 0:
                # Until the loop has caught up and, most likely, sleeps.
                event.clear()
                loop.call_soon_threadsafe(event.set)
                assert event.wait(PATIENCE)

    with thread(body), thread(body), thread(body):
        loop.run_forever()
    assert count == rounds * lanes


def test_calls_while_the_loop_closes(loop_factory):
    """Four threads call without a pause while the loop runs, stops and closes."""
    for _ in range(8):
        loop = loop_factory()
        ran = 0
        accepted = [0] * 4
        refused: list[list[str]] = [[] for _ in range(4)]
        started = threading.Barrier(5)

        def callback(loop=loop):
            nonlocal ran
            ran += 1
            if ran == 1:
                loop.call_later(0.001, loop.stop)

        def body(lane, loop=loop, accepted=accepted, refused=refused, started=started, cb=callback):
            started.wait(PATIENCE)
            while len(refused[lane]) < 3:
                try:
                    loop.call_soon_threadsafe(cb)
                    accepted[lane] += 1
                except RuntimeError as exc:
                    refused[lane].append(str(exc))

        failures: list[BaseException] = []

        def guarded(lane, body=body, failures=failures):
            try:
                body(lane)
            except BaseException as exc:
                failures.append(exc)

        threads = [threading.Thread(target=guarded, args=(lane,)) for lane in range(4)]
        for each in threads:
            each.start()
        started.wait(PATIENCE)
        loop.run_forever()
        loop.close()
        for each in threads:
            each.join(PATIENCE)
            assert not each.is_alive()
        assert failures == []
        assert refused == [["Event loop is closed"] * 3] * 4
        assert 0 < ran <= sum(accepted)


def test_handles_cancelled_by_other_threads(loop):
    """A handle is cancelled while its callback may run: no crash, and never both."""
    ran: set[int] = set()
    handles: list[Any] = []
    for number in range(5000):
        handles.append(loop.call_soon_threadsafe(ran.add, number))
    cancelled_before: list[int] = []

    def body():
        for number, handle in enumerate(handles):
            handle.cancel()
            if number not in ran:
                cancelled_before.append(number)

    with thread(body):
        spin(loop, 3)
    spin(loop, 3)
    assert len(ran) <= 5000
    assert all(handle.cancelled() for handle in handles)


def test_coroutines_sent_by_threads(loop):
    async def work(number):
        await asyncio.sleep(0)
        return number

    results: list[list[int]] = []

    def body():
        futures = [asyncio.run_coroutine_threadsafe(work(n), loop) for n in range(300)]
        results.append([future.result(PATIENCE) for future in futures])
        loop.call_soon_threadsafe(finished.append, None)

    finished: list[None] = []
    with thread(body), thread(body):
        run_until(loop, lambda: len(finished) == 2)
    assert results == [list(range(300))] * 2


@pytest.mark.loops("rulip")
def test_a_flood_does_not_starve_timers_and_sockets(loop):
    """asyncio runs its timers too, but a turn of a flood may take it tens of milliseconds."""
    stop = threading.Event()
    late: list[float] = []

    def flood():
        while not stop.is_set():
            loop.call_soon_threadsafe(int)

    async def main():
        for _ in range(50):
            start = loop.time()
            await asyncio.sleep(0.002)
            late.append(loop.time() - start - 0.002)

    with thread(flood), thread(flood):
        try:
            loop.run_until_complete(main())
        finally:
            stop.set()
    assert sorted(late)[len(late) // 2] < 0.12
