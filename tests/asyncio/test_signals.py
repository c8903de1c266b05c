"""Signals: handlers on the loop, plain handlers while it waits, Ctrl-C.

Runs in the main thread; signals are sent to this process, or to a child where the default would
end it.
Invariant: handlers are what they were when a test ends; one body for both loops; stock asyncio
passes every test.
"""

from __future__ import annotations

import asyncio
import contextvars
import signal
import socket
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from tests.loopback import (
    PATIENCE,
    SignalStorm,
    collect_reports,
    run_until,
    send_signal,
    spin,
    thread,
    turns,
    until,
    within,
)

USED = (signal.SIGUSR1, signal.SIGUSR2, signal.SIGTERM, signal.SIGHUP, signal.SIGWINCH)

var: contextvars.ContextVar[str] = contextvars.ContextVar("var", default="unset")


@pytest.fixture(autouse=True)
def handlers_are_put_back() -> Iterator[None]:
    # A shell that starts a command in the background has it ignore Ctrl-C, nohup SIGHUP.
    inherited = {number: signal.signal(number, signal.SIG_DFL) for number in USED}
    inherited[signal.SIGINT] = signal.signal(signal.SIGINT, signal.default_int_handler)
    before = {number: signal.getsignal(number) for number in (*USED, signal.SIGINT)}
    wakeup = signal.set_wakeup_fd(-1)
    signal.set_wakeup_fd(wakeup)
    yield
    after = {number: signal.getsignal(number) for number in before}
    assert after == before
    left = signal.set_wakeup_fd(wakeup)
    assert left == wakeup
    for number, handler in inherited.items():
        signal.signal(number, handler)


# Handlers on the loop


def test_a_handler_runs_on_the_loop(loop):
    seen: list[Any] = []

    def handler(*args):
        seen.append((args, threading.get_ident(), asyncio.get_running_loop() is loop))

    loop.add_signal_handler(signal.SIGUSR1, handler, 1, "two")
    send_signal(signal.SIGUSR1)
    run_until(loop, lambda: seen)
    assert seen == [((1, "two"), threading.get_ident(), True)]
    assert loop.remove_signal_handler(signal.SIGUSR1) is True


@pytest.mark.parametrize("busy", [False, True], ids=["idle", "busy"])
def test_a_handler_replaced_by_signal_signal_runs_all_the_same(loop, busy):
    """Servers put their own handlers over the program's, and the program still hears."""
    plain: list[int] = []
    seen: list[str] = []
    loop.add_signal_handler(signal.SIGUSR1, seen.append, "on the loop")
    loops_own = signal.signal(signal.SIGUSR1, lambda number, _frame: plain.append(number))

    async def main():
        readable, other = socket.socketpair()
        with readable, other:
            readable.setblocking(False)
            loop.add_reader(readable, lambda: None)  # the kernel is asked at every turn
            send_signal(signal.SIGUSR1)
            while not seen:
                await asyncio.sleep(0 if busy else 0.01)
            loop.remove_reader(readable)

    loop.run_until_complete(within(main()))
    assert (plain, seen) == ([signal.SIGUSR1], ["on the loop"])
    signal.signal(signal.SIGUSR1, loops_own)
    loop.call_soon(send_signal, signal.SIGUSR1)
    run_until(loop, lambda: len(seen) == 2)
    spin(loop, 3)
    assert (plain, seen) == ([signal.SIGUSR1], ["on the loop"] * 2)
    assert loop.remove_signal_handler(signal.SIGUSR1)


def test_a_signal_wakes_a_waiting_loop(loop):
    waiting = threading.Event()
    loop.add_signal_handler(signal.SIGUSR1, loop.stop)

    def body():
        waiting.wait(PATIENCE)
        send_signal(signal.SIGUSR1)

    with thread(body):
        loop.call_soon(waiting.set)
        loop.run_forever()
    loop.remove_signal_handler(signal.SIGUSR1)


def test_handlers_of_several_signals(loop):
    seen: list[int] = []
    for number in USED:
        loop.add_signal_handler(number, seen.append, number)
    for number in USED:
        send_signal(number)
    run_until(loop, lambda: len(seen) == len(USED))
    assert sorted(seen) == sorted(USED)
    for number in USED:
        assert loop.remove_signal_handler(number) is True


def test_adding_again_replaces(loop):
    seen: list[str] = []
    loop.add_signal_handler(signal.SIGUSR1, seen.append, "first")
    loop.add_signal_handler(signal.SIGUSR1, seen.append, "second")
    send_signal(signal.SIGUSR1)
    run_until(loop, lambda: seen)
    spin(loop, 2)
    assert seen == ["second"]
    assert loop.remove_signal_handler(signal.SIGUSR1) is True
    assert loop.remove_signal_handler(signal.SIGUSR1) is False


def test_removing_restores_the_default(loop):
    assert loop.remove_signal_handler(signal.SIGUSR1) is False
    loop.add_signal_handler(signal.SIGUSR1, print)
    assert signal.getsignal(signal.SIGUSR1) is not signal.SIG_DFL
    loop.remove_signal_handler(signal.SIGUSR1)
    assert signal.getsignal(signal.SIGUSR1) is signal.SIG_DFL
    loop.add_signal_handler(signal.SIGINT, print)
    loop.remove_signal_handler(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_handler_that_removes_itself(loop):
    seen: list[Any] = []

    def once():
        seen.append(loop.remove_signal_handler(signal.SIGUSR1))

    loop.add_signal_handler(signal.SIGUSR1, once)
    send_signal(signal.SIGUSR1)
    run_until(loop, lambda: seen)
    assert seen == [True]


def test_a_handler_that_fails_is_reported_and_stays(loop):
    reports = collect_reports(loop)
    loop.add_signal_handler(signal.SIGUSR1, divmod, 1, 0)
    for count in (1, 2):
        send_signal(signal.SIGUSR1)
        run_until(loop, lambda count=count: len(reports) == count)
    loop.remove_signal_handler(signal.SIGUSR1)
    assert {type(report["exception"]) for report in reports} == {ZeroDivisionError}


def test_a_handler_runs_in_the_context_it_was_added_in(loop):
    seen: list[str] = []

    def add():
        var.set("added")
        loop.add_signal_handler(signal.SIGUSR1, lambda: seen.append(var.get()))

    contextvars.copy_context().run(add)
    send_signal(signal.SIGUSR1)
    run_until(loop, lambda: seen)
    loop.remove_signal_handler(signal.SIGUSR1)
    assert seen == ["added"]


def test_close_takes_the_handlers_away(loop):
    loop.add_signal_handler(signal.SIGUSR1, print)
    loop.add_signal_handler(signal.SIGUSR2, print)
    loop.close()
    assert signal.getsignal(signal.SIGUSR1) is signal.SIG_DFL
    assert signal.getsignal(signal.SIGUSR2) is signal.SIG_DFL


def test_a_handler_survives_between_runs(loop):
    seen: list[str] = []
    loop.add_signal_handler(signal.SIGUSR1, seen.append, "signal")
    loop.run_until_complete(asyncio.sleep(0))
    send_signal(signal.SIGUSR1)
    run_until(loop, lambda: seen)
    loop.remove_signal_handler(signal.SIGUSR1)


def test_what_is_refused(loop):
    async def coroutine():
        pass

    made = coroutine()
    for wrong in (coroutine, made):
        with pytest.raises(TypeError, match="coroutines cannot be used with add_signal_handler"):
            loop.add_signal_handler(signal.SIGUSR1, wrong)
    made.close()
    for wrong in ("SIGUSR1", 1.5, None):
        with pytest.raises(TypeError, match="sig must be an int, not"):
            loop.add_signal_handler(wrong, print)
        with pytest.raises(TypeError, match="sig must be an int, not"):
            loop.remove_signal_handler(wrong)
    for wrong in (-1, 0, 10_000):
        with pytest.raises(ValueError, match=f"invalid signal number {wrong}"):
            loop.add_signal_handler(wrong, print)
        with pytest.raises(ValueError, match=f"invalid signal number {wrong}"):
            loop.remove_signal_handler(wrong)
    for wrong in (signal.SIGKILL, signal.SIGSTOP):
        with pytest.raises(RuntimeError, match=f"sig {int(wrong)} cannot be caught"):
            loop.add_signal_handler(wrong, print)


def test_other_threads_are_refused(loop_factory):
    def body():
        loop = loop_factory()
        try:
            with pytest.raises((RuntimeError, ValueError)):
                loop.add_signal_handler(signal.SIGUSR1, print)
            loop.run_until_complete(asyncio.sleep(0))
        finally:
            loop.close()

    with thread(body):
        pass


def test_system_calls_go_on_after_a_handled_signal(loop):
    """Handlers of the loop do not make other system calls fail with EINTR."""
    loop.add_signal_handler(signal.SIGUSR1, print)
    with open("/proc/self/status", encoding="ascii") as status:
        caught = next(line for line in status if line.startswith("SigCgt"))
    assert int(caught.split()[1], 16) & (1 << (signal.SIGUSR1 - 1))
    loop.remove_signal_handler(signal.SIGUSR1)


# Plain handlers: asyncio waits for signals only while it has a handler of its own. Without one
# a signal in the moment before it blocks is not noticed (tests/rulip/test_signal_delivery.py).


@pytest.fixture
def watching_loop(loop: asyncio.AbstractEventLoop) -> Iterator[asyncio.AbstractEventLoop]:
    loop.add_signal_handler(signal.SIGUSR2, print)
    yield loop
    loop.remove_signal_handler(signal.SIGUSR2)


def test_a_plain_handler_runs_while_the_loop_waits(watching_loop):
    """signal.signal without the loop's knowledge: the handler does not wait for another event."""
    loop = watching_loop
    seen: list[int] = []
    waiting = threading.Event()
    previous = signal.signal(signal.SIGUSR1, lambda number, frame: (seen.append(number), end()))

    def end():
        loop.call_soon_threadsafe(loop.stop)

    def body():
        waiting.wait(PATIENCE)
        send_signal(signal.SIGUSR1)

    try:
        with thread(body):
            loop.call_soon(waiting.set)
            loop.run_forever()
    finally:
        signal.signal(signal.SIGUSR1, previous)
    assert seen == [signal.SIGUSR1]


def test_an_exception_of_a_plain_handler_leaves_the_loop(watching_loop):
    loop = watching_loop

    class Bomb(Exception):
        pass

    def handler(number, frame):
        raise Bomb

    waiting = threading.Event()

    def body():
        waiting.wait(PATIENCE)
        send_signal(signal.SIGUSR1)

    previous = signal.signal(signal.SIGUSR1, handler)
    try:
        with thread(body):
            loop.call_soon(waiting.set)
            # It may strike while the callback still runs: then the loop reports it instead.
            reports: list[Any] = []

            def report(loop, context):
                reports.append(context["exception"])
                loop.stop()

            loop.set_exception_handler(report)
            try:
                loop.run_forever()
            except Bomb as exc:
                reports.append(exc)
        assert [type(each) for each in reports] == [Bomb]
    finally:
        signal.signal(signal.SIGUSR1, previous)


def test_the_wakeup_descriptor_is_given_back(loop):
    near, far = socket.socketpair()
    with near, far:
        near.setblocking(False)
        far.setblocking(False)
        before = signal.set_wakeup_fd(near.fileno())
        try:
            loop.run_until_complete(asyncio.sleep(0))
            loop.add_signal_handler(signal.SIGUSR1, print)
            loop.run_until_complete(asyncio.sleep(0))
            loop.remove_signal_handler(signal.SIGUSR1)
        finally:
            after = signal.set_wakeup_fd(before)
    # asyncio takes the descriptor for good once it has a handler; it must never leave its own.
    assert after in (-1, near.fileno(), before) or after > 0


@pytest.mark.parametrize("stops", [False, True], ids=["runs on", "stops at once"])
def test_who_set_a_wakeup_descriptor_before_hears_signals(loop, stops):
    """Twisted watches its own with add_reader(): what it wakes for must arrive there."""
    near, far = socket.socketpair()
    handled = []
    previous = signal.signal(signal.SIGUSR1, lambda *_: handled.append("handler"))
    with near, far:
        near.setblocking(False)
        far.setblocking(False)
        before = signal.set_wakeup_fd(near.fileno())
        try:
            if stops:
                loop.call_soon(loop.stop)
            else:
                loop.add_reader(far, loop.stop)
            loop.call_soon(signal.raise_signal, signal.SIGUSR1)
            loop.run_forever()
            assert far.recv(10) == bytes([signal.SIGUSR1])
            loop.remove_reader(far)
        finally:
            signal.set_wakeup_fd(before)
            signal.signal(signal.SIGUSR1, previous)
    assert handled == ["handler"]


# In a storm


def test_signals_while_data_flows(run):
    """Signals without a pause: the transfer goes on, and every one of them is handled."""
    seen = {signal.SIGUSR1: 0, signal.SIGUSR2: 0}

    async def main():
        loop = asyncio.get_running_loop()
        near, far = socket.socketpair()
        near.setblocking(False)
        far.setblocking(False)
        storm = SignalStorm(*seen)

        def count(number):
            seen[number] += 1
            storm.note()

        for number in seen:
            loop.add_signal_handler(number, count, number)
        with near, far, storm:
            sending = asyncio.ensure_future(loop.sock_sendall(near, b"x" * 20_000_000))
            received = 0
            while received < 20_000_000:
                received += len(await within(loop.sock_recv(far, 1 << 16)))
            await within(sending)
            await until(lambda: sum(seen.values()) > 100)
        for number in seen:
            loop.remove_signal_handler(number)

    run(main())
    assert abs(seen[signal.SIGUSR1] - seen[signal.SIGUSR2]) <= 1


def test_a_plain_handler_may_schedule_callbacks(run):
    """A handler that strikes at any point of the loop calls call_soon and call_soon_threadsafe."""
    calls = 0

    async def main():
        loop = asyncio.get_running_loop()
        storm = SignalStorm(signal.SIGUSR1)
        ran = 0

        def callback():
            nonlocal ran
            ran += 1

        def handler(number, frame):
            nonlocal calls
            calls += 1
            loop.call_soon_threadsafe(callback)
            loop.call_soon(callback)

        previous = signal.signal(signal.SIGUSR1, handler)
        try:
            with storm:
                # Noted here and not in the handler, or handlers would nest without end.
                for number in range(1, 200):
                    while calls < number:
                        loop.call_soon_threadsafe(int)
                        loop.call_later(0, int)
                        await asyncio.sleep(0)
                    storm.note()
        finally:
            signal.signal(signal.SIGUSR1, previous)
        await until(lambda: ran == 2 * calls)
        await turns(3)
        assert ran == 2 * calls

    run(main())


# Ctrl-C


MAKE = {
    "asyncio": "import asyncio; factory = asyncio.SelectorEventLoop",
    "rulip": "import asyncio, rulip; factory = rulip.new_event_loop",
}


def child(loop_name: str, body: str, number: int = signal.SIGINT) -> subprocess.CompletedProcess:
    """Run a program that prints "ready"; send it the signal then."""
    program = "import signal\nsignal.signal(signal.SIGINT, signal.default_int_handler)\n"
    program += MAKE[loop_name] + "\n" + textwrap.dedent(body)
    process = subprocess.Popen(
        [sys.executable, "-c", program],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.send_signal(number)
    out, err = process.communicate(timeout=30)
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


def test_ctrl_c_cancels_the_main_task_of_a_runner(loop_name):
    done = child(
        loop_name,
        """
        async def main():
            try:
                asyncio.get_running_loop().call_later(0.01, lambda: print("ready", flush=True))
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                print("cancelled")
                raise
            finally:
                await asyncio.sleep(0)
                print("cleaned up")
        try:
            with asyncio.Runner(loop_factory=factory) as runner:
                runner.run(main())
        except KeyboardInterrupt:
            print("interrupted")
        """,
    )
    assert (done.stdout, done.stderr, done.returncode) == (
        "cancelled\ncleaned up\ninterrupted\n",
        "",
        0,
    )


def test_ctrl_c_without_a_runner_leaves_run_forever(loop_name):
    done = child(
        loop_name,
        """
        loop = factory()
        loop.call_later(0.01, lambda: print("ready", flush=True))
        try:
            loop.run_forever()
        except KeyboardInterrupt:
            print("interrupted", loop.is_running())
        loop.close()
        """,
    )
    assert (done.stdout, done.stderr, done.returncode) == ("interrupted False\n", "", 0)


def test_ctrl_c_in_a_busy_task(loop_name):
    done = child(
        loop_name,
        """
        async def main():
            print("ready", flush=True)
            while True:
                await asyncio.sleep(0)
        try:
            with asyncio.Runner(loop_factory=factory) as runner:
                runner.run(main())
        except KeyboardInterrupt:
            print("interrupted")
        """,
    )
    assert (done.stdout, done.stderr, done.returncode) == ("interrupted\n", "", 0)


def test_a_fatal_signal_ends_the_process(loop_name):
    done = child(
        loop_name,
        """
        loop = factory()
        loop.call_later(0.01, lambda: print("ready", flush=True))
        loop.run_forever()
        """,
        signal.SIGTERM,
    )
    assert done.returncode == -signal.SIGTERM


def test_sigterm_ends_a_service_gracefully(loop_name):
    done = child(
        loop_name,
        """
        async def main():
            loop = asyncio.get_running_loop()
            stop = asyncio.Event()
            loop.add_signal_handler(signal.SIGTERM, stop.set)
            print("ready", flush=True)
            await stop.wait()
            print("stopped")
        with asyncio.Runner(loop_factory=factory) as runner:
            runner.run(main())
        """,
        signal.SIGTERM,
    )
    assert (done.stdout, done.stderr, done.returncode) == ("stopped\n", "", 0)
