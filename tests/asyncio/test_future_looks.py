"""What others see of a loop's futures: kinds, attributes, looks, the reports when one dies unseen.

Not here: what futures do (test_futures.py).
Runs in the main thread.
Invariant: one body for both loops; stock asyncio passes every test.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextvars
import gc
import weakref
from asyncio.futures import _PyFuture
from typing import Any

import pytest
from tests.loopback import collect_reports, run_until, spin, thread

var: contextvars.ContextVar[str] = contextvars.ContextVar("var", default="unset")

KINDS = {
    "own": lambda loop: loop.create_future(),
    "stock": lambda loop: asyncio.Future(loop=loop),
    "python": lambda loop: _PyFuture(loop=loop),
}


@pytest.fixture(params=KINDS)
def future(request, loop):
    """A pending future of the loop: its own, asyncio's compiled one, asyncio's Python one."""
    return KINDS[request.param](loop)


# Kinds


def test_a_future_is_seen_as_asyncios(loop):
    future = loop.create_future()
    assert asyncio.isfuture(future)
    assert isinstance(future, asyncio.Future)
    assert asyncio.ensure_future(future) is future
    assert asyncio.wrap_future(future) is future
    future.cancel()


def test_futures_can_be_weakly_referenced_and_hashed(loop):
    future = loop.create_future()
    assert weakref.ref(future)() is future
    assert {future: 1}[future] == 1
    assert future == future
    assert future != loop.create_future()


def test_attributes_that_libraries_read(loop):
    loop.set_debug(False)
    future = loop.create_future()
    assert future._loop is loop
    assert future._callbacks is None or list(future._callbacks) == []
    assert future._result is None
    assert future._exception is None
    assert future._log_traceback is False
    assert future._source_traceback is None
    assert future._cancel_message is None
    assert future._asyncio_future_blocking is False
    future.add_done_callback(print)
    assert [callback for callback, _ in future._callbacks] == [print]
    assert isinstance(future._callbacks[0][1], contextvars.Context)
    future.cancel("because")
    assert future._cancel_message == "because"
    future.remove_done_callback(print)


def test_log_traceback_can_only_be_switched_off(loop):
    future = loop.create_future()
    future.set_exception(ZeroDivisionError())
    assert future._log_traceback is True
    with pytest.raises(ValueError, match="_log_traceback can only be set to False"):
        future._log_traceback = True
    future._log_traceback = False
    assert future._log_traceback is False


def test_generic_aliases(loop):
    assert type(loop.create_future())[int] is not None


def test_wrap_future_follows_a_concurrent_future(loop):
    source: concurrent.futures.Future[int] = concurrent.futures.Future()
    wrapped = asyncio.wrap_future(source, loop=loop)
    with thread(lambda: source.set_result(42)):
        assert loop.run_until_complete(wrapped) == 42


def test_cancelling_a_wrapped_future_cancels_its_source(loop):
    source: concurrent.futures.Future[int] = concurrent.futures.Future()
    wrapped = asyncio.wrap_future(source, loop=loop)
    wrapped.cancel()
    run_until(loop, source.cancelled)


def test_a_stock_task_awaits_our_future_and_a_loops_task_a_stock_future(loop):
    """Both ways: asyncio.Task (compiled and in Python) on ours, our task on asyncio's futures."""
    from asyncio.tasks import _PyTask

    async def wait(future):
        return await future

    for task_type in (asyncio.Task, _PyTask, lambda coro, loop: loop.create_task(coro)):
        for make in KINDS.values():
            future = make(loop)
            task = task_type(wait(future), loop=loop)
            loop.call_soon(loop.call_soon, future.set_result, "value")
            assert loop.run_until_complete(task) == "value"
            future = make(loop)
            task = task_type(wait(future), loop=loop)
            loop.call_soon(loop.call_soon, task.cancel)
            with pytest.raises(asyncio.CancelledError):
                loop.run_until_complete(task)
            assert future.cancelled()


# Looks


def test_repr(loop):
    loop.set_debug(False)
    future, stock = loop.create_future(), asyncio.Future(loop=loop)
    for change in (
        lambda f: None,
        lambda f: f.add_done_callback(print),
        lambda f: f.add_done_callback(len),
        lambda f: f.add_done_callback(repr),
        lambda f: f.set_result("x" * 200),
    ):
        change(future)
        change(stock)
        assert repr(future) == repr(stock)
    assert repr(loop.create_future()) == "<Future pending>"
    failed = loop.create_future()
    failed.set_exception(ZeroDivisionError("boom"))
    assert repr(failed) == "<Future finished exception=ZeroDivisionError('boom')>"
    failed.exception()
    cancelled = loop.create_future()
    cancelled.cancel()
    assert repr(cancelled) == "<Future cancelled>"
    spin(loop)


def test_repr_in_debug_mode_tells_where_it_was_made(loop):
    loop.set_debug(True)
    future = loop.create_future()
    assert repr(future).startswith("<Future pending created at ")
    names = [frame.name for frame in future._source_traceback]
    assert "test_repr_in_debug_mode_tells_where_it_was_made" in names[-2:]


def test_repr_of_a_future_that_holds_itself(loop):
    loop.set_debug(False)
    future, stock = loop.create_future(), asyncio.Future(loop=loop)
    future.set_result([future])
    stock.set_result([stock])
    assert repr(future) == repr(stock)


# Reports


def test_an_exception_nobody_saw_is_reported_when_the_future_dies(loop):
    loop.set_debug(False)
    reports = collect_reports(loop)
    future = loop.create_future()
    exc = ZeroDivisionError("boom")
    future.set_exception(exc)
    text = repr(future)
    del future
    gc.collect()
    [report] = reports
    assert list(report) == ["message", "exception", "future"]
    assert report["message"] == "Future exception was never retrieved"
    assert report["exception"] is exc
    assert "source_traceback" not in report
    assert repr(report["future"]) == text


def test_debug_mode_adds_where_the_future_was_made(loop):
    loop.set_debug(True)
    reports = collect_reports(loop)
    future = loop.create_future()
    future.set_exception(ZeroDivisionError())
    del future
    gc.collect()
    [report] = reports
    names = [frame.name for frame in report["source_traceback"]]
    assert "test_debug_mode_adds_where_the_future_was_made" in names[-2:]


@pytest.mark.parametrize("look", ["result", "exception", "await", "cancelled"])
def test_an_exception_that_was_seen_is_not_reported(loop, look):
    reports = collect_reports(loop)
    future = loop.create_future()
    if look == "cancelled":
        future.cancel()
    else:
        future.set_exception(ZeroDivisionError())

    async def wait(future):
        with pytest.raises(ZeroDivisionError):
            await future

    if look == "result":
        with pytest.raises(ZeroDivisionError):
            future.result()
    elif look == "exception":
        future.exception()
    elif look == "await":
        loop.run_until_complete(wait(future))
    del future
    gc.collect()
    assert reports == []


def test_a_report_from_the_finalizer_does_not_touch_a_pending_exception(loop):
    """The future dies while another exception is on its way."""
    reports = collect_reports(loop)

    def body():
        future = loop.create_future()
        future.set_exception(ValueError("unseen"))
        raise ZeroDivisionError("on its way")

    with pytest.raises(ZeroDivisionError, match="on its way"):
        body()
    gc.collect()
    assert [str(report["exception"]) for report in reports] == ["unseen"]


def test_a_handler_may_bring_the_dying_future_back(loop):
    kept: list[Any] = []
    loop.set_exception_handler(lambda loop, context: kept.append(context["future"]))
    future = loop.create_future()
    future.set_exception(ZeroDivisionError("boom"))
    del future
    gc.collect()
    [future] = kept
    assert str(future.exception()) == "boom"
    kept.clear()
    del future
    gc.collect()
    assert kept == []


def test_a_future_of_no_loop_asks_for_the_running_one(loop):
    async def main():
        return asyncio.Future().get_loop() is loop

    assert loop.run_until_complete(main())
