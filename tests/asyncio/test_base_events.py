"""What asyncio.base_events promises of a loop's life: running, stopping, closing, debugging.

Here: one loop as a whole.
Not here: what it runs (test_events.py) and what it does when that fails (test_exceptions.py).
Runs in the main thread; other threads only to be refused.
Invariant: one body for both loops; stock asyncio passes every test.
"""

from __future__ import annotations

import asyncio
import gc
import os
import subprocess
import sys
import threading
import time
import weakref
from typing import Any

import pytest
from tests.loopback import PATIENCE, run_until, spin, thread

# Running and stopping


def test_stop_before_running_means_one_turn(loop):
    seen: list[int] = []

    def again(number):
        seen.append(number)
        loop.call_soon(again, number + 1)

    loop.call_soon(again, 0)
    spin(loop)
    assert seen == [0]
    spin(loop)
    assert seen == [0, 1]


def test_stop_finishes_the_turn_it_is_called_in(loop):
    seen: list[str] = []
    loop.call_soon(seen.append, "before")
    loop.call_soon(loop.stop)
    loop.call_soon(seen.append, "after")
    loop.run_forever()
    assert seen == ["before", "after"]


def test_is_running_and_the_running_loop(loop):
    seen: list[Any] = []

    def look():
        seen.append((loop.is_running(), asyncio.get_running_loop() is loop))
        seen.append(asyncio.get_event_loop() is loop)

    assert not loop.is_running()
    loop.call_soon(look)
    spin(loop)
    assert seen == [(True, True), True]
    assert not loop.is_running()
    with pytest.raises(RuntimeError):
        asyncio.get_running_loop()


def test_a_loop_restarts_after_stop_and_after_an_error(loop):
    async def fail():
        raise ZeroDivisionError

    for number in range(3):
        assert loop.run_until_complete(asyncio.sleep(0, number)) == number
        with pytest.raises(ZeroDivisionError):
            loop.run_until_complete(fail())


def test_run_until_complete_returns_the_result_of_a_future(loop):
    future = loop.create_future()
    loop.call_soon(future.set_result, 42)
    assert loop.run_until_complete(future) == 42
    assert loop.run_until_complete(future) == 42, "a future that is done already"


def test_run_until_complete_takes_any_awaitable(loop):
    class Awaitable:
        def __await__(self):
            yield from asyncio.sleep(0).__await__()
            return "awaited"

    assert loop.run_until_complete(Awaitable()) == "awaited"
    with pytest.raises(TypeError):
        loop.run_until_complete(42)


def test_run_until_complete_refuses_a_future_of_another_loop(loop, loop_factory):
    other = loop_factory()
    try:
        with pytest.raises(ValueError):
            loop.run_until_complete(other.create_future())
    finally:
        other.close()


def test_stop_inside_run_until_complete_is_an_error(loop):
    future = loop.create_future()
    loop.call_soon(loop.stop)
    with pytest.raises(RuntimeError, match="Event loop stopped before Future completed"):
        loop.run_until_complete(future)
    future.cancel()


def test_leftovers_of_run_until_complete_stay_scheduled(loop):
    seen: list[str] = []

    async def main():
        loop.call_soon(lambda: loop.call_soon(lambda: loop.call_soon(seen.append, "later")))

    loop.run_until_complete(main())
    assert seen == []
    run_until(loop, lambda: seen)
    assert seen == ["later"]


@pytest.mark.parametrize("kind", ["forever", "complete"])
@pytest.mark.parametrize("whose", ["own", "other"])
def test_a_nested_run_is_refused(loop, loop_factory, kind, whose):
    # What a refusal does to the loop that runs differs between versions of asyncio: stop() again.
    other = loop_factory()
    refusals: list[str] = []
    target = loop if whose == "own" else other

    def nested():
        future = target.create_future()
        try:
            if kind == "forever":
                target.run_forever()
            else:
                target.run_until_complete(future)
        except RuntimeError as exc:
            refusals.append(str(exc))
        finally:
            loop.stop()

    try:
        loop.call_soon(nested)
        spin(loop)
    finally:
        other.close()
    message = {
        "own": "This event loop is already running",
        "other": "Cannot run the event loop while another loop is running",
    }[whose]
    assert refusals == [message]


def test_a_loop_running_in_another_thread_refuses_to_run_here(loop):
    running = threading.Event()
    with thread(loop.run_forever):
        loop.call_soon_threadsafe(running.set)
        assert running.wait(PATIENCE)
        try:
            with pytest.raises(RuntimeError, match="already running"):
                loop.run_until_complete(loop.create_future())
            with pytest.raises(RuntimeError, match="Cannot close a running event loop"):
                loop.close()
        finally:
            loop.call_soon_threadsafe(loop.stop)


# Closing


def test_close_is_final_and_may_be_repeated(loop):
    assert not loop.is_closed()
    loop.close()
    loop.close()
    assert loop.is_closed()
    assert loop._closed  # private, and asked for all the same
    for attempt in (
        lambda: loop.call_soon(print),
        lambda: loop.call_soon_threadsafe(print),
        lambda: loop.call_later(1, print),
        lambda: loop.call_at(1, print),
        loop.run_forever,
        lambda: loop.add_signal_handler(10, print),
        lambda: loop.run_in_executor(None, print),
    ):
        with pytest.raises(RuntimeError, match="Event loop is closed"):
            attempt()
    coroutine = asyncio.sleep(0)
    with pytest.raises(RuntimeError, match="Event loop is closed"):
        loop.create_task(coroutine)
    with pytest.raises(RuntimeError, match="Event loop is closed"):
        loop.run_until_complete(coroutine)
    coroutine.close()


def test_a_running_loop_refuses_to_close(loop):
    refusals: list[str] = []

    def attempt():
        with pytest.raises(RuntimeError) as info:
            loop.close()
        refusals.append(str(info.value))

    loop.call_soon(attempt)
    spin(loop)
    assert refusals == ["Cannot close a running event loop"]
    assert not loop.is_closed()


def test_close_drops_what_was_scheduled(loop):
    class Payload:
        pass

    payload = Payload()
    alive = weakref.ref(payload)
    handles = [loop.call_soon(id, payload), loop.call_later(1, id, payload)]
    del payload
    loop.close()
    del handles
    gc.collect()
    assert alive() is None


def test_handles_may_be_cancelled_after_close(loop):
    handles = [loop.call_soon(print), loop.call_later(1, print), loop.call_at(0, print)]
    loop.close()
    for handle in handles:
        handle.cancel()
        assert handle.cancelled()


def test_a_loop_dropped_without_close_is_reported(loop_factory):
    loop = loop_factory()
    with pytest.warns(ResourceWarning, match="unclosed event loop"):
        del loop
        gc.collect()


def test_an_unclosed_loop_that_ran_is_reported_and_freed(loop_factory):
    loop = loop_factory()
    loop.run_until_complete(asyncio.sleep(0))
    gone = weakref.ref(loop)
    with pytest.warns(ResourceWarning, match="unclosed event loop"):
        del loop
        gc.collect()
    assert gone() is None


# Debug mode


def test_debug_mode_can_be_switched(loop):
    loop.set_debug(True)
    assert loop.get_debug() is True
    loop.set_debug(False)
    assert loop.get_debug() is False


def test_debug_mode_follows_the_environment(loop_name):
    """PYTHONASYNCIODEBUG and -X dev switch a new loop's debug mode on."""
    make = {
        "asyncio": "import asyncio; loop = asyncio.SelectorEventLoop()",
        "rulip": "import rulip; loop = rulip.new_event_loop()",
    }[loop_name]
    program = f"{make}; print(loop.get_debug()); loop.close()"
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    answers = {}
    for name, options, extra in (
        ("plain", [], {}),
        ("variable", [], {"PYTHONASYNCIODEBUG": "1"}),
        ("development", ["-X", "dev"], {}),
        ("ignored", ["-E"], {"PYTHONASYNCIODEBUG": "1"}),
    ):
        answers[name] = subprocess.run(
            [sys.executable, *options, "-c", program],
            env={**clean, **extra},
            capture_output=True,
            text=True,
            timeout=30,
            check=True,
        ).stdout.strip()
    assert answers == {
        "plain": "False",
        "variable": "True",
        "development": "True",
        "ignored": "False",
    }


def test_debug_mode_refuses_calls_from_the_wrong_thread(loop):
    loop.set_debug(True)
    message = "Non-thread-safe operation invoked on an event loop other than the current one"
    running = threading.Event()
    with thread(loop.run_forever):
        loop.call_soon_threadsafe(running.set)
        assert running.wait(PATIENCE)
        try:
            for attempt in (
                lambda: loop.call_soon(print),
                lambda: loop.call_later(0, print),
                lambda: loop.call_at(0, print),
            ):
                with pytest.raises(RuntimeError, match=message):
                    attempt()
        finally:
            loop.call_soon_threadsafe(loop.stop)


def test_without_debug_mode_the_thread_is_not_checked(loop):
    loop.set_debug(False)
    running = threading.Event()
    seen: list[str] = []
    with thread(loop.run_forever):
        loop.call_soon_threadsafe(running.set)
        assert running.wait(PATIENCE)
        loop.call_soon(seen.append, "unchecked")
        loop.call_soon_threadsafe(loop.stop)
    spin(loop)
    assert seen == ["unchecked"]


def test_debug_mode_refuses_coroutines_and_things_that_cannot_be_called(loop):
    async def function():
        pass

    loop.set_debug(True)
    coroutine = function()
    for method, lead in (
        ("call_soon", ()),
        ("call_soon_threadsafe", ()),
        ("call_later", (0,)),
        ("call_at", (0,)),
    ):
        name = "call_at" if method == "call_later" else method
        for culprit in (function, coroutine):
            with pytest.raises(TypeError, match=rf"coroutines cannot be used with {name}\(\)"):
                getattr(loop, method)(*lead, culprit)
        with pytest.raises(
            TypeError, match=rf"a callable object was expected by {name}\(\), got 42"
        ):
            getattr(loop, method)(*lead, 42)
    coroutine.close()


def test_debug_mode_reports_a_slow_callback(loop, caplog):
    def dawdle():
        busy = time.monotonic() + 0.002
        while time.monotonic() < busy:
            pass

    loop.set_debug(True)
    loop.slow_callback_duration = 0.001
    loop.call_soon(dawdle)
    spin(loop)
    slow = [record for record in caplog.records if "took" in record.getMessage()]
    assert [record.name for record in slow][:1] == ["asyncio"]
    assert slow[0].levelname == "WARNING"
    message = slow[0].getMessage()
    assert message.startswith("Executing <Handle ")
    assert "dawdle" in message
    assert message.endswith(" seconds")


def test_debug_mode_reports_a_slow_task_step(loop, caplog):
    async def dawdle():
        busy = time.monotonic() + 0.002
        while time.monotonic() < busy:
            pass

    loop.set_debug(True)
    loop.slow_callback_duration = 0.001
    loop.run_until_complete(loop.create_task(dawdle(), name="snail"))
    slow = [record.getMessage() for record in caplog.records if "took" in record.getMessage()]
    assert len(slow) == 1
    assert slow[0].startswith("Executing <Task finished name='snail' coro=<")
    assert "dawdle() done, defined at" in slow[0]


def test_slow_callbacks_are_not_reported_below_the_limit(loop, caplog):
    loop.set_debug(True)
    assert loop.slow_callback_duration == 0.1
    loop.slow_callback_duration = 60
    loop.call_soon(time.sleep, 0)
    spin(loop)
    assert [record for record in caplog.records if "took" in record.getMessage()] == []


# Looks


def test_repr_tells_the_state(loop):
    name = type(loop).__name__
    assert repr(loop) == f"<{name} running=False closed=False debug={loop.get_debug()}>"
    seen: list[str] = []
    loop.call_soon(lambda: seen.append(repr(loop)))
    spin(loop)
    assert seen == [f"<{name} running=True closed=False debug={loop.get_debug()}>"]
    loop.close()
    assert repr(loop) == f"<{name} running=False closed=True debug={loop.get_debug()}>"


def test_a_loop_is_an_abstract_event_loop(loop):
    assert isinstance(loop, asyncio.AbstractEventLoop)


def test_a_loop_takes_attributes_and_subclasses(loop):
    loop.anything = 1
    assert loop.anything == 1

    class Sub(type(loop)):
        def call_soon(self, callback, *args, context=None):
            seen.append("call_soon")
            return super().call_soon(callback, *args, context=context)

    seen: list[str] = []
    sub = Sub()
    try:
        sub.call_soon(seen.append, "called")
        spin(sub)
    finally:
        sub.close()
    assert seen == ["call_soon", "called"]


def test_weak_references_to_a_loop(loop):
    assert weakref.ref(loop)() is loop


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_a_closed_loop_looks_nothing_up(loop_factory, host):
    loop = loop_factory()
    loop.close()
    looking = loop.getaddrinfo(host, 80)
    with pytest.raises(RuntimeError, match="Event loop is closed"):
        looking.send(None)
