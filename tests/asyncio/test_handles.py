"""Handle and TimerHandle: cancelling, looks, order, and the attributes that frameworks read.

Not here: when handles run (test_events.py).
Runs in the main thread.
Invariant: one body for both loops; stock asyncio passes every test.
"""

from __future__ import annotations

import asyncio
import contextvars
import functools
import gc
import re
import sys
import weakref
from typing import Any

import pytest
from tests.loopback import collect_reports, spin


def callback(*args: Any) -> None:
    pass


def line_of(function: Any) -> str:
    code = function.__code__
    return f"{code.co_filename}:{code.co_firstlineno}"


# Cancelling


def test_a_cancelled_handle_does_not_run(loop):
    seen: list[str] = []
    for handle in (
        loop.call_soon(seen.append, "soon"),
        loop.call_soon_threadsafe(seen.append, "threadsafe"),
        loop.call_later(0, seen.append, "later"),
        loop.call_at(0, seen.append, "at"),
    ):
        assert handle.cancelled() is False
        assert handle.cancel() is None
        assert handle.cancelled() is True
        handle.cancel()
        assert handle.cancelled() is True
    spin(loop, 2)
    assert seen == []


def test_a_handle_cancelled_earlier_in_the_same_turn_does_not_run(loop):
    seen: list[str] = []
    loop.call_soon(lambda: later.cancel())
    later = loop.call_soon(seen.append, "later")
    spin(loop, 2)
    assert seen == []


def test_a_handle_that_has_run_is_not_the_next_one(loop):
    seen: list[str] = []
    first = loop.call_soon(seen.append, "first")
    spin(loop, 2)
    others = [loop.call_soon(seen.append, "another") for _ in range(3)]
    assert all(other is not first for other in others)
    first.cancel()
    spin(loop, 2)
    assert seen == ["first", "another", "another", "another"]
    assert first.cancelled()
    assert not any(other.cancelled() for other in others)


def test_a_handle_that_has_run_holds_nothing(loop):
    class Callback:
        def __call__(self, *args: Any) -> None:
            pass

    function, argument = Callback(), Callback()
    refs = [weakref.ref(function), weakref.ref(argument)]
    loop.call_soon(function, argument)
    del function, argument
    spin(loop, 2)
    assert [ref() for ref in refs] == [None, None]


def test_a_handle_that_cancels_itself_has_run(loop):
    seen: list[bool] = []

    def self_cancelling():
        handle.cancel()
        seen.append(handle.cancelled())

    handle = loop.call_soon(self_cancelling)
    spin(loop, 2)
    assert seen == [True]


def test_cancelling_after_the_run_only_marks_it(loop):
    handle = loop.call_soon(callback)
    timer = loop.call_later(0, callback)
    spin(loop, 2)
    assert not handle.cancelled()
    handle.cancel()
    timer.cancel()
    assert handle.cancelled()
    assert timer.cancelled()


def test_cancelling_releases_the_callback_and_its_arguments(loop):
    class Payload:
        def __call__(self, *args):
            pass

    called, argument = Payload(), Payload()
    gone = [weakref.ref(called), weakref.ref(argument)]
    handle = loop.call_later(3600, called, argument)
    del called, argument
    handle.cancel()
    gc.collect()
    assert [ref() for ref in gone] == [None, None]


def test_a_handle_that_ran_and_was_dropped_releases_everything(loop):
    class Payload:
        def __call__(self, *args):
            pass

    called = Payload()
    gone = weakref.ref(called)
    loop.call_soon(called, called)
    del called
    spin(loop)
    gc.collect()
    assert gone() is None


# Timers


def test_when_is_the_absolute_deadline(loop):
    now = loop.time()
    handle = loop.call_at(now + 5, callback)
    assert handle.when() == now + 5
    handle.cancel()
    assert handle.when() == now + 5


def test_when_keeps_the_exact_number_it_was_given(loop):
    for when in (0.1, 1e9 + 0.123456789, 1e18):
        handle = loop.call_at(when, callback)
        assert handle.when() == when
        handle.cancel()


def test_timers_compare_by_deadline(loop):
    early, late = loop.call_at(1e9, callback, 1), loop.call_at(1e9 + 1, callback, 2)
    assert early < late
    assert early <= late
    assert late > early
    assert late >= early
    assert early != late
    assert sorted([late, early]) == [early, late]
    assert early == early
    early.cancel()
    late.cancel()


def test_timers_are_equal_when_all_their_parts_are(loop):
    first, second = loop.call_at(1e9, callback, 1), loop.call_at(1e9, callback, 1)
    third = loop.call_at(1e9, callback, 2)
    assert first == second
    assert hash(first) == hash(second) == hash(1e9)
    assert first != third
    assert first <= second
    assert first >= second
    assert not first < second
    assert not first > second
    second.cancel()
    assert first != second
    for handle in (first, third):
        handle.cancel()


def test_timers_do_not_compare_with_other_things(loop):
    timer, plain = loop.call_at(1e9, callback), loop.call_soon(callback)
    assert timer != 1e9
    assert timer != plain
    assert timer.__eq__(1e9) is NotImplemented
    with pytest.raises(TypeError):
        sorted([timer, plain])
    with pytest.raises(TypeError):
        max(timer, 1e9)
    assert plain != loop.call_soon(callback)
    timer.cancel()


# Kinds


def test_handles_are_what_asyncio_says(loop):
    soon, timer = loop.call_soon(callback), loop.call_later(1, callback)
    assert isinstance(soon, asyncio.Handle)
    assert isinstance(timer, asyncio.TimerHandle)
    assert isinstance(timer, asyncio.Handle)
    assert not isinstance(soon, asyncio.TimerHandle)
    assert isinstance(loop.call_soon_threadsafe(callback), asyncio.Handle)
    timer.cancel()


@pytest.mark.parametrize("delay", [0, -5])
def test_a_timer_without_delay_is_still_a_timer(loop, delay):
    handle = loop.call_later(delay, callback)
    assert isinstance(handle, asyncio.TimerHandle)
    assert handle.when() <= loop.time()


def test_handles_can_be_weakly_referenced_and_hashed(loop):
    handle = loop.call_soon(callback)
    assert weakref.ref(handle)() is handle
    assert {handle: 1}[handle] == 1


@pytest.mark.skipif(sys.version_info < (3, 12), reason="get_context() came in 3.12")
def test_get_context(loop):
    context = contextvars.copy_context()
    assert loop.call_soon(callback, context=context).get_context() is context
    timer = loop.call_later(1, callback, context=context)
    assert timer.get_context() is context
    timer.cancel()
    assert isinstance(loop.call_soon(callback).get_context(), contextvars.Context)


# The attributes that frameworks and their tests read


def test_attributes_of_a_handle(loop):
    context = contextvars.copy_context()
    handle = loop.call_soon(callback, 1, "two", context=context)
    assert handle._callback is callback
    assert tuple(handle._args) == (1, "two")
    assert handle._cancelled is False
    assert handle._loop is loop
    assert handle._context is context
    handle.cancel()
    assert handle._cancelled is True
    assert handle._callback is None or not loop.get_debug()
    assert handle._args is None or not loop.get_debug()


def test_attributes_of_a_timer(loop):
    when = loop.time() + 60
    timer = loop.call_at(when, callback, 1)
    assert timer._when == when
    assert timer._scheduled is True
    assert timer._callback is callback
    assert tuple(timer._args) == (1,)
    assert timer._cancelled is False
    timer.cancel()
    assert timer._cancelled is True
    assert timer._callback is None


def test_a_timer_that_ran_is_no_longer_scheduled(loop):
    timer = loop.call_later(0, callback)
    assert timer._scheduled is True
    spin(loop)
    assert timer._scheduled is False


def test_arguments_are_a_tuple(loop):
    assert loop.call_soon(callback)._args == ()
    assert loop.call_soon(callback, 1, 2)._args == (1, 2)


def test_run_calls_the_callback(loop):
    """Watchdogs wrap Handle._run; calling it runs the callback, or reports its failure."""
    seen: list[int] = []
    handle = loop.call_soon(seen.append, 1)
    handle._run()
    assert seen == [1]
    handle.cancel()
    reports = collect_reports(loop)
    failing = loop.call_soon(divmod, 1, 0)
    failing._run()
    failing.cancel()
    assert [type(report["exception"]) for report in reports] == [ZeroDivisionError]
    assert reports[0]["handle"] is failing
    spin(loop)


# Looks


def test_repr_of_a_handle(loop):
    loop.set_debug(False)
    handle = loop.call_soon(callback)
    assert repr(handle) == f"<Handle callback() at {line_of(callback)}>"
    handle.cancel()
    assert repr(handle) == "<Handle cancelled>"


def test_repr_of_a_handle_that_calls_nothing(loop):
    loop.set_debug(False)
    handle = loop.call_soon(None)
    assert repr(handle) == "<Handle>"
    handle.cancel()


def test_repr_of_a_timer(loop):
    loop.set_debug(False)
    timer = loop.call_at(1e9, callback)
    assert repr(timer) == f"<TimerHandle when=1000000000.0 callback() at {line_of(callback)}>"
    timer.cancel()
    assert repr(timer) == "<TimerHandle cancelled when=1000000000.0>"


def test_repr_shows_what_is_called(loop):
    class Callable:
        def __call__(self):
            pass

        def __repr__(self):
            return "<the callable>"

        def method(self):
            pass

    loop.set_debug(False)
    for shown in (
        print,
        [].append,
        functools.partial(callback, 1, key=2),
        functools.partial(functools.partial(print)),
        Callable(),
        Callable().method,
        Callable,
        lambda: None,
    ):
        expected = repr(asyncio.Handle(shown, (1,), loop))
        handle = loop.call_soon(shown, 1)
        assert repr(handle) == expected
        handle.cancel()
        assert repr(handle) == "<Handle cancelled>"


def test_repr_in_debug_mode_tells_where_it_was_made(loop):
    loop.set_debug(True)
    handle = loop.call_soon(callback, 1)
    assert re.fullmatch(
        rf"<Handle callback\((1|\.\.\.|)?\) at {re.escape(line_of(callback))} "
        rf"created at {re.escape(__file__)}:\d+>",
        repr(handle),
    )
    timer = loop.call_later(60, callback)
    assert f"created at {__file__}:" in repr(timer)
    handle.cancel()
    timer.cancel()
    assert repr(handle).startswith("<Handle cancelled callback(1")
    assert f"created at {__file__}:" in repr(handle)


def test_repr_of_cancelled_survives_arguments_that_cannot_be_shown(loop):
    class Shy:
        def __repr__(self):
            raise ZeroDivisionError

    loop.set_debug(True)
    handle = loop.call_soon(callback, Shy())
    assert "callback(" in repr(handle)
    handle.cancel()
    assert handle.cancelled()


def test_source_traceback_only_in_debug_mode(loop):
    loop.set_debug(False)
    assert loop.call_soon(callback)._source_traceback is None
    loop.set_debug(True)
    frames = loop.call_soon(callback)._source_traceback
    assert frames[-1].name == "test_source_traceback_only_in_debug_mode"
    assert frames[-1].filename == __file__


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
def test_an_interrupt_while_a_failure_is_described_leaves_the_loop(loop, kind):
    class Undescribed:
        def __call__(self):
            raise ValueError

        def __repr__(self):
            raise kind

    reports = collect_reports(loop)
    loop.call_soon(Undescribed())
    with pytest.raises(kind):
        spin(loop)
    assert reports == []
    spin(loop)
