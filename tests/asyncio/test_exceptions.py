"""Failing callbacks: who hears of them, and what the loop does next.

Here: the exception handler's interface, its texts and contexts, and the exceptions that leave a
running loop.
Not here: failures of protocol methods (test_transport_failures.py) and of tasks (test_tasks.py).
Runs in the main thread.
Invariant: one body for both loops; stock asyncio passes every test.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
import os
import signal
import socket
import sys
from typing import Any

import pytest
from tests.loopback import collect_reports, spin

var: contextvars.ContextVar[str] = contextvars.ContextVar("var", default="unset")


def boom() -> None:
    raise ZeroDivisionError("boom")


def errors(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR]


# The interface


def test_the_handler_can_be_set_read_and_taken_away(loop):
    def handler(loop, context):
        pass

    assert loop.get_exception_handler() is None
    loop.set_exception_handler(handler)
    assert loop.get_exception_handler() is handler
    loop.set_exception_handler(None)
    assert loop.get_exception_handler() is None
    with pytest.raises(TypeError, match="A callable object or None is expected, got 'handler'"):
        loop.set_exception_handler("handler")


def test_the_handler_gets_the_loop_and_the_context(loop):
    seen: list[Any] = []
    loop.set_exception_handler(lambda *args: seen.append(args))
    handle = loop.call_soon(boom)
    spin(loop)
    [(whose, context)] = seen
    assert whose is loop
    assert isinstance(context, dict)
    assert context["handle"] is handle
    assert isinstance(context["exception"], ZeroDivisionError)
    assert context["message"].startswith("Exception in callback boom() at ") or context[
        "message"
    ].startswith("Exception in callback boom()")


def test_calling_the_handler_directly(loop):
    seen: list[Any] = []
    loop.set_exception_handler(lambda loop, context: seen.append(context))
    context = {"message": "by hand", "anything": object()}
    loop.call_exception_handler(context)
    assert seen == [context]
    assert seen[0] is context


def test_the_default_handler_logs_everything_it_is_given(loop, caplog):
    exc = ZeroDivisionError("boom")
    loop.call_exception_handler({"message": "it went wrong", "zeta": 1, "exception": exc, "b": "x"})
    [record] = caplog.records
    assert record.name == "asyncio"
    assert record.levelname == "ERROR"
    assert record.getMessage() == "it went wrong\nb: 'x'\nzeta: 1"
    assert record.exc_info[1] is exc


def test_the_default_handler_without_a_message(loop, caplog):
    loop.call_exception_handler({})
    [record] = caplog.records
    assert record.getMessage() == "Unhandled exception in event loop"
    assert not record.exc_info


def test_the_default_handler_logs_a_failed_callback(loop, caplog):
    loop.set_debug(False)
    loop.call_soon(boom)
    loop.call_later(0, boom)
    spin(loop)
    first, second = errors(caplog)
    assert first.startswith("Exception in callback boom() at ")
    assert "\nhandle: <Handle boom() at " in first
    assert "\nhandle: <TimerHandle " in second
    assert caplog.records[0].exc_info[0] is ZeroDivisionError


def test_debug_mode_tells_where_a_failed_callback_was_scheduled(loop, caplog):
    loop.set_debug(True)
    loop.call_soon(boom)
    spin(loop)
    [message] = errors(caplog)
    assert "created at " in message
    assert "test_debug_mode_tells_where_a_failed_callback_was_scheduled" in message
    assert "Object created at (most recent call last):" in message or "source_traceback" in message


def test_a_subclass_may_replace_the_default_handler(loop_factory):
    seen: list[str] = []
    probe = loop_factory()
    kind = type(probe)
    probe.close()

    class Loop(kind):
        def default_exception_handler(self, context):
            seen.append(context["message"])

    loop = Loop()
    try:
        loop.call_exception_handler({"message": "direct"})
        loop.call_soon(boom)
        spin(loop)
    finally:
        loop.close()
    assert seen[0] == "direct"
    assert seen[1].startswith("Exception in callback boom()")


def test_a_subclass_may_replace_the_call_to_the_handler(loop_factory):
    seen: list[str] = []
    probe = loop_factory()
    kind = type(probe)
    probe.close()

    class Loop(kind):
        def call_exception_handler(self, context):
            seen.append(context["message"])

    loop = Loop()
    try:
        loop.call_soon(boom)
        spin(loop)
    finally:
        loop.close()
    assert len(seen) == 1


def test_a_replaced_call_exception_handler_on_the_instance_is_used(loop):
    seen: list[str] = []
    loop.call_exception_handler = lambda context: seen.append(context["message"])
    loop.call_soon(boom)
    spin(loop)
    assert len(seen) == 1
    del loop.call_exception_handler


# Handlers that fail


def test_a_handler_that_raises_is_logged_and_the_loop_lives(loop, caplog):
    """An exception inside the exception handler: one log entry, and the next callback runs."""

    def handler(loop, context):
        raise LookupError("the handler too")

    seen: list[str] = []
    loop.set_exception_handler(handler)
    loop.call_soon(boom)
    loop.call_soon(seen.append, "next")
    spin(loop)
    assert seen == ["next"]
    [message] = errors(caplog)
    assert message.startswith("Unhandled error in exception handler\ncontext: {")
    assert caplog.records[0].exc_info[0] is LookupError


def test_a_default_handler_that_raises_is_logged(loop, caplog):
    def broken(context):
        raise LookupError

    loop.default_exception_handler = broken
    loop.call_exception_handler({"message": "lost"})
    [message] = errors(caplog)
    assert message == "Exception in default exception handler"
    del loop.default_exception_handler


def test_both_handlers_raising_is_logged(loop, caplog):
    def broken(*args):
        raise LookupError

    loop.set_exception_handler(broken)
    loop.default_exception_handler = broken
    loop.call_exception_handler({"message": "lost"})
    [message] = errors(caplog)
    assert message == (
        "Exception in default exception handler while handling an unexpected error in custom "
        "exception handler"
    )
    del loop.default_exception_handler


def test_a_handler_written_as_a_coroutine_does_no_harm(loop):
    """Its coroutine is simply never awaited; the loop goes on."""
    seen: list[str] = []

    async def handler(loop, context):
        pass

    loop.set_exception_handler(handler)
    loop.call_soon(boom)
    loop.call_soon(seen.append, "next")
    with pytest.warns(RuntimeWarning, match="was never awaited"):
        spin(loop)
    assert seen == ["next"]


@pytest.mark.parametrize("kind", [SystemExit, KeyboardInterrupt])
def test_exit_requests_pass_through_the_handler(loop, kind):
    def handler(loop, context):
        raise kind

    loop.set_exception_handler(handler)
    with pytest.raises(kind):
        loop.call_exception_handler({"message": "x"})
    loop.call_soon(boom)
    with pytest.raises(kind):
        spin(loop)
    spin(loop)


# Which exceptions leave the loop


@pytest.mark.parametrize("kind", [Exception, GeneratorExit, asyncio.CancelledError, StopIteration])
@pytest.mark.parametrize("method", ["call_soon", "call_later", "call_soon_threadsafe"])
def test_most_exceptions_are_reported_and_the_loop_goes_on(loop, kind, method):
    def fail():
        raise kind

    seen: list[str] = []
    reports = collect_reports(loop)
    getattr(loop, method)(*([0] if method == "call_later" else []), fail)
    loop.call_soon(lambda: loop.call_soon(seen.append, "next"))
    spin(loop, 2)
    assert [type(report["exception"]) for report in reports] == [kind]
    assert seen == ["next"]


@pytest.mark.parametrize("kind", [SystemExit, KeyboardInterrupt])
@pytest.mark.parametrize("where", ["soon", "threadsafe", "timer", "reader", "done", "signal"])
def test_exit_requests_leave_run_forever(loop, kind, where):
    """From any kind of callback; what was queued stays queued, and the loop can run again."""

    def leave(*args):
        raise kind("leaving")

    seen: list[str] = []
    reports = collect_reports(loop)
    near, far = socket.socketpair()
    with near, far:
        near.setblocking(False)
        if where == "soon":
            loop.call_soon(leave)
            loop.call_soon(seen.append, "behind")
        elif where == "threadsafe":
            loop.call_soon_threadsafe(leave)
        elif where == "timer":
            loop.call_later(0, leave)
        elif where == "reader":
            far.send(b"x")
            loop.add_reader(near, leave)
        elif where == "done":
            future = loop.create_future()
            future.add_done_callback(leave)
            future.set_result(None)
        else:
            loop.add_signal_handler(signal.SIGUSR1, leave)
            loop.call_soon(os.kill, os.getpid(), signal.SIGUSR1)
        with pytest.raises(kind, match="leaving"):
            loop.run_forever()
        assert not loop.is_running()
        if where == "reader":
            loop.remove_reader(near)
        elif where == "signal":
            loop.remove_signal_handler(signal.SIGUSR1)
    loop.call_soon(seen.append, "again")
    spin(loop)
    assert seen == (["behind", "again"] if where == "soon" else ["again"])
    assert reports == []


def test_an_exit_request_in_a_task_leaves_the_loop_and_ends_the_task(loop):
    async def leave():
        raise SystemExit(3)

    task = loop.create_task(leave())
    with pytest.raises(SystemExit):
        loop.run_forever()
    assert task.done()
    assert isinstance(task.exception(), SystemExit)
    spin(loop)


def test_the_handler_runs_in_the_context_of_the_failed_callback(loop):
    seen: list[str] = []
    loop.set_exception_handler(lambda loop, context: seen.append(var.get()))

    def schedule():
        var.set("of the callback")
        loop.call_soon(boom)

    contextvars.copy_context().run(schedule)
    spin(loop)
    # Since 3.12; before, the handler ran in whatever context the loop ran in.
    assert seen == (["of the callback"] if sys.version_info >= (3, 12) else ["unset"])


def test_the_running_loop_is_current_in_the_handler(loop):
    seen: list[bool] = []
    loop.set_exception_handler(
        lambda whose, context: seen.append(asyncio.get_running_loop() is whose is loop)
    )
    loop.call_soon(boom)
    spin(loop)
    assert seen == [True]
