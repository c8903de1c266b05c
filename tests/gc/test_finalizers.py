"""Finalizers that call back into the loop while it lets go of things.

Wherever the loop, a future, a task or a transport drops its last reference to a user's object, that
object's __del__ may call the same loop, future, task or transport.
Not here: cycles (test_cycles.py).
Runs in the main thread.
Invariant: no crash, no deadlock, nothing unraisable, and what the finalizer asked for happens; one
body for both loops; stock asyncio passes every test.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import socket
from collections.abc import Callable
from typing import Any

import pytest
from tests.loopback import (
    Recorder,
    collect_reports,
    connection,
    recv_to_end,
    run_until,
    spin,
    tcp_sockets,
    turns,
    within,
)


class Finalizer:
    """Calls `act` when it dies."""

    def __init__(self, act: Callable[[], Any]) -> None:
        self.act = act

    def __call__(self, *args: Any) -> None:
        pass

    def __del__(self) -> None:
        self.act()


def busy(loop: asyncio.AbstractEventLoop, seen: list[str]) -> Callable[[], None]:
    """Do with the loop whatever can be done from anywhere; refusals of a closed loop are fine."""

    def act() -> None:
        seen.append("finalized")
        try:
            loop.call_soon(seen.append, "soon")
            loop.call_soon_threadsafe(seen.append, "threadsafe")
            loop.call_later(0, seen.append, "timer")
            for delay in (0, 1000):
                loop.call_later(delay, seen.append, "cancelled").cancel()
            future = loop.create_future()
            future.add_done_callback(lambda _: seen.append("future"))
            future.set_result(None)
            left, right = socket.socketpair()
            loop.add_reader(left, print)
            loop.remove_reader(left)
            left.close()
            right.close()
            repr(loop)
            loop.time()
        except RuntimeError as exc:
            if not loop.is_closed():
                seen.append(repr(exc))

    return act


WORK = sorted(["finalized", "soon", "threadsafe", "timer", "future"])


def test_dropping_a_callback_that_ran(loop):
    for schedule in (
        lambda callback: loop.call_soon(callback),
        lambda callback: loop.call_soon_threadsafe(callback),
        lambda callback: loop.call_later(0, callback),
        lambda callback: loop.call_soon(id, callback),
    ):
        seen: list[str] = []
        schedule(Finalizer(busy(loop, seen)))
        run_until(loop, lambda seen=seen: len(seen) == len(WORK))
        spin(loop, 2)
        assert sorted(seen) == WORK


@pytest.mark.parametrize("delay", [None, 0, 1000])
def test_cancelling_a_handle_that_holds_the_last_reference(loop, delay):
    seen: list[str] = []
    finalizer = Finalizer(busy(loop, seen))
    handle = loop.call_soon(finalizer) if delay is None else loop.call_later(delay, finalizer)
    del finalizer
    handle.cancel()
    del handle
    spin(loop, 4)
    gc.collect()
    spin(loop, 4)
    assert sorted(seen) == WORK


def test_cancelled_timers_being_swept_out(loop):
    """Many timers at once are cancelled and swept; each finalizer schedules more of them."""
    seen: list[str] = []
    count = 300
    handles = [loop.call_later(1000, Finalizer(busy(loop, seen))) for _ in range(count)]
    for handle in handles:
        handle.cancel()
    del handle
    handles.clear()
    spin(loop, 3)
    gc.collect()
    run_until(loop, lambda: len(seen) == count * len(WORK))
    assert seen.count("finalized") == count


def test_closing_a_loop_full_of_finalizers(loop):
    seen: list[str] = []
    near, far = socket.socketpair()
    act = busy(loop, seen)
    loop.call_soon(Finalizer(act))
    loop.call_soon_threadsafe(Finalizer(act))
    loop.call_later(1000, Finalizer(act))
    loop.add_reader(near, Finalizer(act))
    loop.add_writer(far, Finalizer(act))
    loop.set_exception_handler(Finalizer(act))
    loop.close()
    assert loop.is_closed()
    loop.set_exception_handler(None)
    gc.collect()
    assert seen.count("finalized") == 6
    near.close()
    far.close()


def test_a_finalizer_that_closes_the_loop(loop):
    handle = loop.call_later(1000, Finalizer(loop.close))
    handle.cancel()
    del handle
    gc.collect()
    with contextlib.suppress(RuntimeError):  # closed, or not yet swept out and still running
        spin(loop, 2)
    loop.close()
    assert loop.is_closed()


def test_replacing_and_removing_a_watch(loop):
    seen: list[str] = []
    near, far = socket.socketpair()
    with near, far:
        loop.add_reader(near, Finalizer(busy(loop, seen)))
        loop.add_reader(near, Finalizer(busy(loop, seen)))
        assert loop.remove_reader(near) is True
        run_until(loop, lambda: len(seen) == 2 * len(WORK))
        loop.add_reader(near, Finalizer(lambda: loop.remove_writer(near)))
        loop.add_writer(near, Finalizer(lambda: loop.add_reader(near, print)))
        assert loop.remove_reader(near) is True
        loop.remove_writer(near)
        loop.remove_reader(near)


@pytest.mark.parametrize("end", ["result", "cancel", "remove", "drop"])
def test_callbacks_of_a_future(loop, end):
    seen: list[str] = []
    future = loop.create_future()
    finalizers = [Finalizer(busy(loop, seen)) for _ in range(3)]
    for each in finalizers:
        future.add_done_callback(each)
    if end == "remove":
        for each in finalizers:
            assert future.remove_done_callback(each) == 1
    del each
    finalizers.clear()
    if end == "result":
        future.set_result(None)
    elif end == "cancel":
        future.cancel()
    del future
    gc.collect()
    run_until(loop, lambda: len(seen) == 3 * len(WORK))


def test_results_and_exceptions_of_a_future(loop):
    seen: list[str] = []
    future = loop.create_future()
    future.set_result(Finalizer(busy(loop, seen)))
    del future
    future = loop.create_future()
    exc = ZeroDivisionError(Finalizer(busy(loop, seen)))
    future.set_exception(exc)
    future.exception()
    del future, exc
    gc.collect()
    run_until(loop, lambda: len(seen) == 2 * len(WORK))


def test_a_finalizer_touches_the_future_that_lets_it_go(loop):
    future = loop.create_future()
    seen: list[str] = []

    def act():
        future.add_done_callback(lambda _: seen.append("late"))
        future.cancel()
        repr(future)
        seen.append("finalized")

    finalizer = Finalizer(act)
    future.add_done_callback(finalizer)
    future.add_done_callback(print)
    assert future.remove_done_callback(finalizer) == 1
    del finalizer
    future.remove_done_callback(print)
    run_until(loop, lambda: len(seen) == 2)
    assert seen == ["finalized", "late"]


def test_locals_of_a_coroutine(loop):
    """The frame of a task's coroutine goes: in a step, by cancelling, by the collector."""
    for end in ("return", "raise", "cancel", "destroy"):
        seen: list[str] = []
        reports = collect_reports(loop)

        async def body(kept, end=end):
            if end == "return":
                return
            if end == "raise":
                raise ZeroDivisionError
            await loop.create_future()

        task = loop.create_task(body(Finalizer(busy(loop, seen))))
        spin(loop, 2)
        if end == "cancel":
            task.cancel()
            spin(loop, 2)
        elif end == "raise":
            task.exception()
        task._log_destroy_pending = False
        del task
        gc.collect()
        run_until(loop, lambda seen=seen: len(seen) == len(WORK))
        assert reports == []


def test_a_finalizer_cancels_the_task_that_is_being_stepped(loop):
    async def body():
        finalizer = Finalizer(asyncio.current_task().cancel)
        del finalizer
        await asyncio.sleep(0)

    task = loop.create_task(body())
    with pytest.raises(asyncio.CancelledError):
        loop.run_until_complete(task)


def test_dropping_the_last_reference_to_things_inside_their_own_callback(loop):
    kept: dict[str, Any] = {}
    seen: list[str] = []

    def drop(*args):
        kept.clear()
        gc.collect()
        seen.append("dropped")

    kept["handle"] = loop.call_soon(drop)
    spin(loop)
    kept["timer"] = loop.call_later(0, drop)
    spin(loop)
    kept["future"] = loop.create_future()
    kept["future"].add_done_callback(drop)
    kept["future"].set_result(None)
    spin(loop)

    async def body():
        drop()
        await asyncio.sleep(0)
        drop()

    kept["task"] = loop.create_task(body())
    spin(loop, 3)
    assert len(seen) == 5


def test_dropping_transport_and_protocol_inside_their_callbacks(run):
    """Every reference but the running call's own is dropped, and the collector runs."""

    async def main():
        loop = asyncio.get_running_loop()
        for place in ("connection_made", "data_received", "eof_received", "connection_lost"):
            kept: dict[str, Any] = {}
            seen: list[str] = []

            def note(self, *args, name, kept=kept, seen=seen, place=place):
                seen.append(name)
                if name == "connection_made":
                    kept["transport"] = args[0]
                if name == place:
                    transport = kept.pop("transport", None)
                    if transport is not None and name != "connection_lost":
                        transport.close()
                    del transport
                    gc.collect()

            kind = type(
                "Dropping",
                (asyncio.Protocol,),
                {
                    name: lambda self, *args, name=name, note=note: note(self, *args, name=name)
                    for name in (
                        "connection_made",
                        "data_received",
                        "eof_received",
                        "connection_lost",
                    )
                },
            )
            near, far = tcp_sockets()
            await loop.create_connection(kind, sock=near)
            del near
            far.send(b"x")
            await turns(4)
            far.close()
            while "connection_lost" not in seen:
                await turns(1)
            assert seen.count("connection_lost") == 1

    run(main())


def test_finalizers_in_the_write_buffer_and_the_protocol(run):
    """Aborting drops queued buffers and the protocol; their finalizers use the transport."""

    async def main():
        loop = asyncio.get_running_loop()
        seen: list[str] = []

        class Data(bytearray):
            def __del__(self):
                seen.append("data")
                loop.call_soon(seen.append, "from data")

        async with connection() as (transport, protocol, _):

            class Last(Recorder):
                def __del__(self):
                    seen.append("protocol")
                    transport.get_write_buffer_size()
                    transport.write(b"x")
                    transport.abort()
                    repr(transport)

            transport.write(b"x" * 8_000_000)
            transport.write(Data(b"y" * 1000))
            last = Last()
            last.calls.append("set")
            transport.set_protocol(last)
            lost = last.lost
            del last
            transport.abort()
            await within(lost)
            del lost
            await turns(3)
            gc.collect()
            assert "protocol" in seen
            assert not protocol.lost.done()
        await turns(2)
        gc.collect()
        assert seen.count("data") == seen.count("from data")

    run(main())


def test_a_transport_that_dies_is_closed_but_its_socket_elsewhere_is_not(run):
    async def main():
        near, far = tcp_sockets()
        spare = near.dup()
        loop = asyncio.get_running_loop()
        transport, protocol = await loop.create_connection(Recorder, sock=near)
        transport.write(b"x")
        transport.close()
        await within(protocol.lost)
        del transport, protocol, near
        gc.collect()
        spare.send(b"y")
        spare.close()
        assert await recv_to_end(far) == b"xy"
        far.close()

    run(main())
