"""What asyncio.events promises of scheduling: order, timers, contexts, calls from other threads.

Here: call_soon, call_later, call_at, call_soon_threadsafe.
Not here: the loop's own life (test_base_events.py), handles (test_handles.py), reports of failed
callbacks (test_exceptions.py).
Runs in the main thread; threads are made only to call call_soon_threadsafe.
Invariant: one body for both loops; stock asyncio passes every test.
"""

from __future__ import annotations

import asyncio
import contextvars
import gc
import math
import random
import socket
import threading
import time
import weakref
from typing import Any

import pytest
from tests.loopback import PATIENCE, collect_reports, run_until, spin, thread

var: contextvars.ContextVar[str] = contextvars.ContextVar("var", default="unset")


# Order


def test_callbacks_run_in_the_order_they_were_scheduled(loop):
    seen: list[int] = []
    for number in range(1000):
        loop.call_soon(seen.append, number)
    spin(loop)
    assert seen == list(range(1000))


def test_a_turn_runs_only_what_was_ready_when_it_began(loop):
    seen: list[str] = []

    def first():
        seen.append("first")
        loop.call_soon(seen.append, "second")

    loop.call_soon(first)
    spin(loop)
    assert seen == ["first"]
    spin(loop)
    assert seen == ["first", "second"]


def test_a_callback_that_reschedules_itself_does_not_starve_timers_or_sockets(loop):
    near, far = socket.socketpair()
    with near, far:
        near.setblocking(False)
        far.send(b"x")
        seen: set[str] = set()

        def again():
            if seen != {"timer", "socket"}:
                loop.call_soon(again)
            else:
                loop.stop()

        loop.call_soon(again)
        loop.call_later(0.001, seen.add, "timer")
        loop.add_reader(near, lambda: (near.recv(1), seen.add("socket")))
        loop.run_forever()
        loop.remove_reader(near)
    assert seen == {"timer", "socket"}


def test_one_turn_is_ready_callbacks_then_sockets_then_timers(loop):
    near, far = socket.socketpair()
    with near, far:
        near.setblocking(False)
        far.send(b"x")
        seen: list[str] = []
        loop.add_reader(near, lambda: (near.recv(1), seen.append("socket")))
        loop.call_at(loop.time() - 1, seen.append, "timer")
        loop.call_soon(seen.append, "ready")
        spin(loop)
        loop.remove_reader(near)
    assert seen == ["ready", "socket", "timer"]


def test_arguments_are_passed_as_given(loop):
    seen: list[tuple[Any, ...]] = []
    for count in range(12):
        loop.call_soon(lambda *args: seen.append(args), *range(count))
        loop.call_later(0, lambda *args: seen.append(args), *range(count))
        loop.call_soon_threadsafe(lambda *args: seen.append(args), *range(count))
    spin(loop, 2)
    assert sorted(seen) == sorted(tuple(range(count)) for count in range(12) for _ in range(3))


def test_a_callback_may_be_any_callable(loop):
    seen: list[int] = []

    class Callable:
        def __call__(self, number):
            seen.append(number)

    loop.call_soon(Callable(), 1)
    loop.call_soon(seen.append, 2)
    loop.call_soon(type("Klass", (), {"__init__": lambda self, number: seen.append(number)}), 3)
    spin(loop)
    assert seen == [1, 2, 3]


def test_keyword_arguments_are_refused(loop):
    with pytest.raises(TypeError):
        loop.call_soon(print, nonsense=1)
    with pytest.raises(TypeError):
        loop.call_later(0, print, nonsense=1)
    with pytest.raises(TypeError):
        loop.call_soon()


# Timers


def test_timers_run_by_deadline_not_by_insertion(loop):
    seen: list[int] = []
    start = loop.time()
    for number in (5, 1, 4, 2, 3):
        loop.call_at(start + number / 1000, seen.append, number)
    run_until(loop, lambda: len(seen) == 5)
    assert seen == [1, 2, 3, 4, 5]


def test_a_timer_never_runs_before_its_deadline(loop, on_rulip):
    """Thousands of random nanosecond deadlines: the loop's clock has passed each when it runs."""
    # asyncio treats a deadline within the clock's resolution as passed.
    slack = 0.0 if on_rulip else time.get_clock_info("monotonic").resolution
    pick = random.Random(1)
    early: list[float] = []
    left = 2000

    def check(when):
        nonlocal left
        left -= 1
        if loop.time() < when - slack:
            early.append(when - loop.time())
        if not left:
            loop.stop()

    start = loop.time()
    for _ in range(left):
        when = start + pick.random() * 0.05
        loop.call_at(when, check, when)
    loop.run_forever()
    assert early == []


@pytest.mark.parametrize("delay", [0, -0.0, -1, -1e300, -math.inf, math.nan, False, 1e-12])
def test_a_delay_that_has_passed_runs_in_the_next_turn(loop, delay):
    seen: list[str] = []
    loop.call_later(delay, seen.append, "timer")
    loop.call_soon(seen.append, "ready")
    spin(loop)
    assert seen == ["ready", "timer"]


@pytest.mark.parametrize("delay", [1e6, 1e10, 1e18, 1e300, math.inf])
def test_a_huge_delay_neither_hangs_nor_overflows(loop, delay):
    """Deadlines beyond any clock: the loop still turns, and other timers still run."""
    fired: list[str] = []
    huge = loop.call_later(delay, fired.append, "huge")
    loop.call_later(0.001, loop.stop)
    loop.run_forever()
    assert fired == []
    assert huge.when() >= delay
    huge.cancel()


def test_an_absolute_deadline_in_the_past_runs_at_once(loop):
    seen: list[str] = []
    loop.call_at(loop.time() - 10, seen.append, "past")
    loop.call_at(-math.inf, seen.append, "long past")
    loop.call_at(0, seen.append, "zero")
    spin(loop)
    assert sorted(seen) == ["long past", "past", "zero"]


def test_timers_without_a_delay_are_refused(loop):
    with pytest.raises(TypeError, match="delay must not be None"):
        loop.call_later(None, print)
    with pytest.raises(TypeError, match="when cannot be None"):
        loop.call_at(None, print)
    with pytest.raises(TypeError):
        loop.call_later("soon", print)


def test_call_later_counts_from_the_loop_clock(loop):
    before = loop.time()
    handle = loop.call_later(10, print)
    after = loop.time()
    assert before + 10 <= handle.when() <= after + 10
    handle.cancel()


def test_the_clock_is_the_monotonic_clock(loop):
    before = time.monotonic()
    now = loop.time()
    after = time.monotonic()
    assert isinstance(now, float)
    assert before <= now <= after


def test_a_replaced_clock_governs_timers(loop):
    """Test suites put a clock of their own on the loop; deadlines follow it."""
    now = 1000.0
    loop.time = lambda: now
    seen: list[str] = []
    handle = loop.call_later(50, seen.append, "timer")
    assert handle.when() == 1050.0
    spin(loop, 3)
    assert seen == []
    now = 1050.0
    spin(loop)
    assert seen == ["timer"]
    del loop.time


def test_cancelled_timers_do_not_run(loop):
    seen: list[int] = []
    handles = [loop.call_later(0.001, seen.append, number) for number in range(300)]
    for number, handle in enumerate(handles):
        if number % 3:
            handle.cancel()
    run_until(loop, lambda: len(seen) == 100)
    spin(loop, 2)
    assert sorted(seen) == list(range(0, 300, 3))


def test_a_timer_cancelled_in_the_turn_it_falls_due_does_not_run(loop):
    seen: list[str] = []
    when = loop.time() - 1
    first = loop.call_at(when, lambda: second.cancel())
    second = loop.call_at(when + 0.5, seen.append, "second")
    spin(loop, 3)
    assert seen == []
    assert not first.cancelled()


def test_cancelled_timers_give_their_memory_back(loop):
    """A storm of cancelled deadlines: what they held is released long before they fall due."""

    class Payload:
        pass

    payloads = [Payload() for _ in range(1000)]
    alive = weakref.WeakSet(payloads)
    keep = loop.call_later(3600, print)
    for payload in payloads:
        loop.call_later(3600, id, payload).cancel()
    del payload, payloads
    spin(loop, 2)
    gc.collect()
    assert len(alive) == 0
    keep.cancel()


def test_a_timer_does_not_wait_for_a_busy_neighbour(loop):
    """A timer that was due first runs first although a later one was made earlier."""
    seen: list[str] = []
    now = loop.time()
    loop.call_at(now - 1, seen.append, "later")
    loop.call_at(now - 2, seen.append, "sooner")
    spin(loop)
    assert seen == ["sooner", "later"]


# Contexts


def test_callbacks_run_in_a_copy_of_the_scheduling_context(loop):
    seen: list[str] = []

    def note():
        seen.append(var.get())
        var.set("changed in a callback")

    def schedule():
        for text in ("soon", "threadsafe", "later", "at"):
            var.set(text)
            if text == "soon":
                loop.call_soon(note)
            elif text == "threadsafe":
                loop.call_soon_threadsafe(note)
            elif text == "later":
                loop.call_later(0, note)
            else:
                loop.call_at(0, note)
        var.set("after")

    contextvars.copy_context().run(schedule)
    run_until(loop, lambda: len(seen) == 4)
    assert sorted(seen) == ["at", "later", "soon", "threadsafe"]
    assert var.get() == "unset"


@pytest.mark.parametrize("method", ["call_soon", "call_soon_threadsafe", "call_later", "call_at"])
def test_a_given_context_is_used_itself(loop, method):
    context = contextvars.copy_context()
    context.run(var.set, "given")
    seen: list[str] = []

    def note():
        seen.append(var.get())
        var.set("kept")

    lead = (0,) if method in ("call_later", "call_at") else ()
    getattr(loop, method)(*lead, note, context=context)
    run_until(loop, lambda: seen)
    assert seen == ["given"]
    assert context[var] == "kept"
    assert var.get() == "unset"


def test_context_none_means_the_current_one(loop):
    seen: list[str] = []

    def schedule():
        var.set("current")
        loop.call_soon(lambda: seen.append(var.get()), context=None)

    contextvars.copy_context().run(schedule)
    spin(loop)
    assert seen == ["current"]


def test_a_context_that_is_entered_elsewhere_fails_that_callback_only(loop, caplog):
    """The callback's own context is already running the loop: reported, and the loop goes on."""
    # From 3.12 on the exception handler runs in that same context: then only the log is left.
    context = contextvars.copy_context()
    reports = collect_reports(loop)
    seen: list[str] = []

    def schedule():
        loop.call_soon(seen.append, "never", context=context)
        loop.call_soon(seen.append, "next", context=contextvars.Context())
        spin(loop)

    context.run(schedule)
    assert seen == ["next"]
    assert "already entered" in f"{reports} {caplog.text}"


# Other threads


def test_a_call_from_another_thread_wakes_an_idle_loop(loop):
    idle = threading.Event()

    def body():
        idle.wait(PATIENCE)
        loop.call_soon_threadsafe(loop.stop)

    with thread(body):
        loop.call_soon(idle.set)
        loop.run_forever()


def test_calls_from_threads_keep_each_threads_order(loop):
    count = 2000
    seen: dict[int, list[int]] = {0: [], 1: [], 2: []}

    def produce(lane):
        for number in range(count):
            loop.call_soon_threadsafe(seen[lane].append, number)

    with (
        thread(lambda: produce(0)),
        thread(lambda: produce(1)),
        thread(lambda: produce(2)),
    ):
        run_until(loop, lambda: sum(map(len, seen.values())) == 3 * count)
    assert seen == {lane: list(range(count)) for lane in range(3)}


def test_a_thread_is_not_held_up_by_a_loop_that_is(loop):
    """A callback waits for a thread that makes many calls meanwhile: nothing is lost."""
    count = 10_000
    seen: list[int] = []

    def produce():
        for number in range(count):
            loop.call_soon_threadsafe(seen.append, number)

    def wait_for_them():
        with thread(produce):
            pass

    loop.call_soon(wait_for_them)
    run_until(loop, lambda: len(seen) == count)
    assert seen == list(range(count))


def test_threadsafe_and_plain_calls_of_the_loops_thread_share_one_order(loop):
    seen: list[int] = []

    def schedule():
        for number in range(0, 10, 2):
            loop.call_soon(seen.append, number)
            loop.call_soon_threadsafe(seen.append, number + 1)

    loop.call_soon(schedule)
    run_until(loop, lambda: len(seen) == 10)
    assert seen[::2] == sorted(seen[::2])
    assert sorted(seen) == list(range(10))


def test_calls_before_the_loop_first_runs_are_kept(loop):
    seen: list[str] = []
    with thread(lambda: loop.call_soon_threadsafe(seen.append, "early")):
        pass
    run_until(loop, lambda: seen)
    assert seen == ["early"]


def test_a_handle_from_another_thread_can_be_cancelled(loop):
    seen: list[str] = []
    handle = loop.call_soon_threadsafe(seen.append, "cancelled")
    assert isinstance(handle, asyncio.Handle)
    handle.cancel()
    loop.call_soon_threadsafe(seen.append, "kept")
    run_until(loop, lambda: seen)
    assert seen == ["kept"]


def test_run_coroutine_threadsafe(loop):
    async def answer():
        await asyncio.sleep(0)
        return threading.get_ident()

    results: list[int] = []

    def body():
        results.append(asyncio.run_coroutine_threadsafe(answer(), loop).result(PATIENCE))
        loop.call_soon_threadsafe(loop.stop)

    with thread(body):
        loop.run_forever()
    assert results == [threading.get_ident()]


def test_a_loop_may_run_in_another_thread(loop_factory):
    results: list[Any] = []

    def body():
        loop = loop_factory()
        try:
            results.append(loop.run_until_complete(asyncio.sleep(0.001, "slept")))
        finally:
            loop.close()

    with thread(body):
        pass
    assert results == ["slept"]


def test_a_loop_made_in_one_thread_runs_in_another(loop):
    results: list[Any] = []
    with thread(lambda: results.append(loop.run_until_complete(asyncio.sleep(0, "slept")))):
        pass
    assert results == ["slept"]


def test_two_loops_in_two_threads_do_not_disturb_each_other(loop_factory):
    def body():
        loop = loop_factory()

        async def main():
            queue: asyncio.Queue[int] = asyncio.Queue()
            for number in range(200):
                loop.call_later(0.0001, queue.put_nowait, number)
            return sum([await queue.get() for _ in range(200)])

        try:
            assert loop.run_until_complete(main()) == sum(range(200))
        finally:
            loop.close()

    with thread(body), thread(body):
        body()
