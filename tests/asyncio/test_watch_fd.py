"""add_reader, add_writer and their removal: watching descriptors by hand.

Not here: sock_* (test_sockets.py), transports.
Runs in the main thread.
Invariant: one body for both loops; stock asyncio passes every test.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import gc
import os
import socket
import tempfile
import weakref
from collections.abc import Iterator
from typing import Any

import pytest
from tests.loopback import (
    Recorder,
    collect_reports,
    connection,
    open_fds,
    run_until,
    spin,
    tcp_listener,
    tcp_sockets,
    thread,
)

var: contextvars.ContextVar[str] = contextvars.ContextVar("var", default="unset")


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    near, far = socket.socketpair()
    near.setblocking(False)
    far.setblocking(False)
    with near, far:
        yield near, far


# Readiness


def test_what_is_ready_at_once_is_served_in_one_turn(loop):
    """Who gathers with call_soon() what one turn brings, gets it all."""
    pairs = [socket.socketpair() for _ in range(150)]
    trace: list[object] = []

    def readable(number: int) -> None:
        if not trace:
            loop.call_soon(trace.append, "the turn is over")
        trace.append(number)
        assert pairs[number][0].recv(1) == b"x"

    for number, (near, far) in enumerate(pairs):
        loop.add_reader(near, readable, number)
        far.send(b"x")
    spin(loop)
    assert sorted(trace) == list(range(len(pairs)))
    spin(loop)
    assert trace[len(pairs) :] == ["the turn is over"]
    for near, far in pairs:
        loop.remove_reader(near)
        near.close()
        far.close()


@pytest.mark.parametrize("size", [1, 1000])
def test_what_comes_at_once_is_received_in_one_turn(loop, size):
    class Gatherer(asyncio.Protocol):
        def data_received(self, data: bytes) -> None:
            if not trace:
                loop.call_soon(trace.append, "the turn is over")
            trace.append(len(data))

    trace: list[object] = []
    pairs = [socket.socketpair() for _ in range(100)]
    transports = [
        loop.run_until_complete(loop.create_connection(Gatherer, sock=near))[0] for near, _ in pairs
    ]
    for _ in range(3):
        trace.clear()
        for _, far in pairs:
            assert far.send(bytes(size)) == size
        run_until(loop, lambda: "the turn is over" in trace)
        assert trace == [*[size] * len(pairs), "the turn is over"]
    for transport, (_, far) in zip(transports, pairs, strict=True):
        transport.close()
        far.close()
    spin(loop, 2)


def test_a_reader_is_called_while_there_is_something_to_read(loop, pair):
    """Readiness is a level: the callback comes every turn until the data is gone."""
    near, far = pair
    calls: list[str] = []
    loop.add_reader(near, calls.append, "read")
    spin(loop, 2)
    assert calls == []
    far.send(b"xy")
    spin(loop, 3)
    assert calls == ["read"] * 3
    near.recv(1)
    spin(loop)
    assert len(calls) == 4
    near.recv(1)
    spin(loop, 2)
    assert len(calls) == 4
    loop.remove_reader(near)


def test_a_writer_is_called_while_there_is_room(loop, pair):
    near, far = pair
    calls: list[str] = []
    loop.add_writer(near, calls.append, "write")
    spin(loop, 3)
    assert calls == ["write"] * 3
    try:
        while True:
            near.send(b"x" * 65536)
    except BlockingIOError:
        pass
    calls.clear()
    spin(loop, 3)
    assert calls == []
    while True:
        try:
            far.recv(1 << 20)
        except BlockingIOError:
            break
    spin(loop, 2)
    assert calls == ["write"] * 2
    loop.remove_writer(near)


def test_reader_and_writer_of_one_descriptor_are_independent(loop, pair):
    near, far = pair
    calls: list[str] = []
    loop.add_reader(near, calls.append, "read")
    loop.add_writer(near, calls.append, "write")
    spin(loop)
    assert calls == ["write"]
    far.send(b"x")
    calls.clear()
    spin(loop)
    assert sorted(calls) == ["read", "write"]
    calls.clear()
    assert loop.remove_writer(near) is True
    spin(loop)
    assert calls == ["read"]
    calls.clear()
    loop.add_writer(near, calls.append, "write")
    assert loop.remove_reader(near) is True
    spin(loop)
    assert calls == ["write"]
    assert loop.remove_writer(near) is True
    calls.clear()
    spin(loop)
    assert calls == []


def test_the_end_and_a_hang_up_make_readable_and_writable(loop, pair):
    near, far = pair
    calls: list[str] = []
    loop.add_reader(near, calls.append, "read")
    far.close()
    spin(loop)
    assert calls == ["read"]
    loop.remove_reader(near)
    loop.add_writer(near, calls.append, "write")
    spin(loop)
    assert calls[-1] == "write"
    loop.remove_writer(near)


def test_pipes(loop):
    reading, writing = os.pipe()
    calls: list[str] = []
    try:
        loop.add_reader(reading, calls.append, "read")
        loop.add_writer(writing, calls.append, "write")
        spin(loop)
        assert calls == ["write"]
        os.write(writing, b"x")
        loop.remove_writer(writing)
        calls.clear()
        spin(loop)
        assert calls == ["read"]
        os.read(reading, 1)
        os.close(writing)
        writing = -1
        calls.clear()
        spin(loop)
        assert calls == ["read"]
        loop.remove_reader(reading)
    finally:
        os.close(reading)
        if writing >= 0:
            os.close(writing)


def test_a_pipe_whose_reader_is_gone_is_writable(loop):
    reading, writing = os.pipe()
    os.close(reading)
    calls: list[str] = []
    try:
        loop.add_writer(writing, calls.append, "write")
        spin(loop)
        assert calls == ["write"]
        loop.remove_writer(writing)
    finally:
        os.close(writing)


def test_a_listening_socket_is_readable_when_somebody_knocks(loop):
    with tcp_listener() as listener:
        calls: list[str] = []
        loop.add_reader(listener, calls.append, "knock")
        spin(loop)
        assert calls == []
        with socket.create_connection(listener.getsockname()):
            run_until(loop, lambda: calls)
            listener.accept()[0].close()
        loop.remove_reader(listener)


def test_many_descriptors_at_once(loop):
    pairs = [socket.socketpair() for _ in range(200)]
    seen: list[int] = []

    def read(number):
        seen.append(pairs[number][0].recv(1)[0])

    for number, (near, far) in enumerate(pairs):
        loop.add_reader(near, read, number)
        far.send(bytes([number]))
    run_until(loop, lambda: len(seen) == 200)
    assert sorted(seen) == list(range(200))
    for near, far in pairs:
        assert loop.remove_reader(near) is True
        near.close()
        far.close()


# The interface


def test_descriptors_numbers_and_objects(loop, pair):
    near, far = pair

    class Holder:
        def fileno(self):
            return near.fileno()

    calls: list[str] = []
    for thing in (near, near.fileno(), Holder()):
        loop.add_reader(thing, calls.append, "read")
    far.send(b"x")
    spin(loop)
    assert calls == ["read"], "the three name one descriptor"
    assert loop.remove_reader(near.fileno()) is True
    assert loop.remove_reader(near) is False


@pytest.mark.parametrize("wrong", [-1, "text", None, 1.5, object(), 1 << 40])
def test_things_that_are_no_descriptors(loop, wrong):
    for method in (loop.add_reader, loop.add_writer):
        with pytest.raises((ValueError, TypeError, OSError, OverflowError)):
            method(wrong, print)
    for method in (loop.remove_reader, loop.remove_writer):
        # A number that could be a descriptor is simply not watched.
        with contextlib.suppress(ValueError, TypeError, OverflowError):
            assert method(wrong) is False


def test_a_descriptor_that_is_not_open(loop, pair):
    near, _ = pair
    number = os.dup(near.fileno())
    os.close(number)
    with pytest.raises(OSError, match="Bad file descriptor"):
        loop.add_reader(number, print)
    with pytest.raises(OSError, match="Bad file descriptor"):
        loop.add_writer(number, print)
    assert loop.remove_reader(number) is False
    assert loop.remove_writer(number) is False


def test_a_regular_file_cannot_be_watched(loop):
    with tempfile.TemporaryFile() as file:
        with pytest.raises(PermissionError):
            loop.add_reader(file, print)
        assert loop.remove_reader(file) is False


def test_removing_what_is_not_there(loop, pair):
    near, _ = pair
    assert loop.remove_reader(near) is False
    assert loop.remove_writer(near) is False
    loop.add_reader(near, print)
    assert loop.remove_writer(near) is False
    assert loop.remove_reader(near) is True
    assert loop.remove_reader(near) is False


def test_adding_again_replaces(loop, pair):
    near, far = pair
    calls: list[str] = []
    loop.add_reader(near, calls.append, "first")
    loop.add_reader(near, calls.append, "second")
    far.send(b"x")
    spin(loop)
    assert calls == ["second"]
    loop.remove_reader(near)
    spin(loop)
    assert calls == ["second"]


def test_replacing_within_the_turn_the_event_came(loop, pair):
    """The old callback was on its way: after being replaced it does not run."""
    near, far = pair
    other, other_far = socket.socketpair()
    with other, other_far:
        calls: list[str] = []

        def replace():
            calls.append("replace")
            for sock in (near, other):
                loop.add_reader(sock, calls.append, "new")

        loop.add_reader(near, replace)
        loop.add_reader(other, replace)
        far.send(b"x")
        other_far.send(b"x")
        spin(loop)
        assert calls == ["replace"]
        spin(loop)
        assert calls == ["replace", "new", "new"]
        loop.remove_reader(near)
        loop.remove_reader(other)


def test_arguments_and_context(loop, pair):
    near, far = pair
    far.send(b"x")
    seen: list[Any] = []

    def watch():
        var.set("current")
        loop.add_reader(near, lambda *args: seen.append((args, var.get())), 1, "two")

    contextvars.copy_context().run(watch)
    spin(loop)
    loop.remove_reader(near)
    assert seen == [((1, "two"), "current")]


def test_the_context_is_one_for_all_calls(loop, pair):
    near, far = pair
    far.send(b"x")
    seen: list[str] = []

    def callback():
        seen.append(var.get())
        var.set("changed")

    loop.add_reader(near, callback)
    spin(loop, 3)
    loop.remove_reader(near)
    assert seen == ["unset", "changed", "changed"]


def test_what_add_reader_returns(loop, pair):
    """A handle in some versions, nothing in others: never something else."""
    near, _ = pair
    result = loop.add_reader(near, print)
    assert result is None or isinstance(result, asyncio.Handle)
    loop.remove_reader(near)


def test_closed_loops_refuse(loop, pair):
    near, _ = pair
    loop.close()
    for method in (loop.add_reader, loop.add_writer):
        with pytest.raises(RuntimeError, match="Event loop is closed"):
            method(near, print)


# Callbacks that change what is watched


def test_a_reader_removes_itself(loop, pair):
    near, far = pair
    calls: list[Any] = []

    def once():
        calls.append(loop.remove_reader(near))

    loop.add_reader(near, once)
    far.send(b"x")
    spin(loop, 4)
    assert calls == [True]


def test_a_reader_removes_others_whose_events_came_in_the_same_turn(loop):
    """Of many ready descriptors the first callback removes the rest: none of them is called."""
    pairs = [socket.socketpair() for _ in range(10)]
    calls: list[int] = []

    def callback(number):
        calls.append(number)
        for near, _ in pairs:
            loop.remove_reader(near)
            loop.remove_writer(near)

    for number, (near, far) in enumerate(pairs):
        loop.add_reader(near, callback, number)
        loop.add_writer(near, callback, number)
        far.send(b"x")
    spin(loop, 3)
    assert len(calls) == 1
    for near, far in pairs:
        near.close()
        far.close()


def test_a_reader_removes_the_writer_of_its_own_descriptor(loop, pair):
    near, far = pair
    calls: list[str] = []

    def read():
        calls.append("read")
        loop.remove_writer(near)
        loop.remove_reader(near)

    loop.add_reader(near, read)
    loop.add_writer(near, calls.append, "write")
    far.send(b"x")
    spin(loop, 3)
    assert calls == ["read"]


def test_a_reader_that_closes_another_watched_socket(loop):
    """The other one's event is already in hand when its descriptor is closed and removed."""
    first, second = socket.socketpair(), socket.socketpair()
    calls: list[str] = []

    def read(name, other):
        calls.append(name)
        loop.remove_reader(other)
        other.close()

    loop.add_reader(first[0], read, "first", second[0])
    loop.add_reader(second[0], read, "second", first[0])
    first[1].send(b"x")
    second[1].send(b"x")
    spin(loop, 3)
    assert len(set(calls)) == 1
    for sock in (*first, *second):
        if sock.fileno() != -1:
            loop.remove_reader(sock)
        sock.close()


def test_a_failing_reader_is_reported_each_time_and_stays(loop, pair):
    near, far = pair
    reports = collect_reports(loop)
    loop.add_reader(near, divmod, 1, 0)
    far.send(b"x")
    spin(loop, 3)
    loop.remove_reader(near)
    assert [type(report["exception"]) for report in reports] == [ZeroDivisionError] * 3
    assert all(isinstance(report["handle"], asyncio.Handle) for report in reports)


def test_watching_is_begun_while_the_loop_waits(loop, pair):
    """add_reader through call_soon_threadsafe, with the loop blocked in the kernel."""
    near, far = pair
    seen: list[bytes] = []

    def read():
        seen.append(near.recv(10))
        loop.remove_reader(near)
        loop.stop()

    def elsewhere():
        loop.call_soon_threadsafe(loop.add_reader, near, read)
        far.send(b"x")

    with thread(elsewhere):
        loop.run_forever()
    assert seen == [b"x"]


# Closed descriptors


@pytest.mark.parametrize("side", ["reader", "writer"])
def test_a_closed_socket_is_still_removed_by_the_object(loop, pair, side):
    """Its number is gone, but the loop knows what it was given."""
    near, far = pair
    seen = []
    getattr(loop, f"add_{side}")(near, seen.append, "near")
    near.close()
    number = far.fileno()
    loop.add_reader(far, seen.append, "far")
    assert getattr(loop, f"remove_{side}")(near) is True
    for remove in (loop.remove_reader, loop.remove_writer):
        with pytest.raises(ValueError, match="Invalid file descriptor: -1"):
            remove(near)
        with pytest.raises(ValueError, match="Invalid file descriptor: -1"):
            remove(-1)
    with pytest.raises(ValueError, match="Invalid file descriptor: -1"):
        loop.add_reader(near, print)
    assert loop.remove_reader(number)
    spin(loop, 2)
    assert seen == []


def test_a_closed_socket_that_was_watched_by_its_number(loop, pair):
    near, _ = pair
    loop.add_reader(near.fileno(), print)
    number = near.detach()
    os.close(number)
    with pytest.raises(ValueError, match="Invalid file descriptor: -1"):
        loop.remove_reader(near)
    assert loop.remove_reader(number)


def test_a_watched_socket_that_is_closed_is_simply_gone(loop, pair):
    """The kernel forgets a closed descriptor: no event, no failure, removal works."""
    near, far = pair
    calls: list[str] = []
    loop.add_reader(near, calls.append, "read")
    loop.add_writer(far, calls.append, "write")
    numbers = near.fileno(), far.fileno()
    far.send(b"x")
    near.close()
    far.close()
    spin(loop, 3)
    assert calls == []
    assert loop.remove_reader(numbers[0]) is True
    assert loop.remove_writer(numbers[1]) is True
    assert loop.remove_reader(numbers[0]) is False


def test_a_reused_number_gets_no_events_of_its_former_owner(loop):
    """Closed under us and reused by an unrelated socket: nobody is called for the old owner."""
    old, old_far = socket.socketpair()
    calls: list[str] = []
    loop.add_reader(old, calls.append, "old owner")
    number = old.fileno()
    old.close()
    new, new_far = socket.socketpair()
    if new.fileno() != number:
        os.dup2(new.fileno(), number)
        new.close()
        new = socket.socket(fileno=number)
    with new, new_far, old_far:
        new_far.send(b"x")
        spin(loop, 3)
        assert calls == []
        assert loop.remove_reader(number) is True
        assert new.recv(10) == b"x"


def test_an_event_in_hand_does_not_reach_a_new_owner(loop):
    """In one turn: the first callback closes the second socket and another takes its number."""
    first, second = socket.socketpair(), socket.socketpair()
    number = second[0].fileno()
    calls: list[str] = []
    replacement: list[socket.socket] = []

    def swap(name, other):
        calls.append(name)
        loop.remove_reader(first[0])
        loop.remove_reader(second[0])
        if not replacement:
            other.close()
            left, right = socket.socketpair()
            replacement.extend((left, right))
            loop.add_reader(left, calls.append, "new owner")

    loop.add_reader(first[0], swap, "first", second[0])
    loop.add_reader(second[0], swap, "second", first[0])
    first[1].send(b"x")
    second[1].send(b"x")
    spin(loop, 3)
    assert len(calls) == 1, calls
    loop.remove_reader(replacement[0])
    assert number >= 0
    for sock in (*first, *second, *replacement):
        sock.close()


def test_close_of_the_loop_closes_no_watched_descriptor(loop, pair):
    near, far = pair
    loop.add_reader(near, print)
    loop.add_writer(far, print)
    loop.close()
    near.send(b"alive")
    assert far.recv(5) == b"alive"


def test_what_a_watch_holds_is_released(loop, pair):
    near, _ = pair

    class Payload:
        def __call__(self, *args):
            pass

    for end in ("remove", "replace", "close"):
        payload = Payload()
        gone = weakref.ref(payload)
        loop.add_reader(near, payload, payload)
        del payload
        assert gone() is not None
        if end == "remove":
            loop.remove_reader(near)
        elif end == "replace":
            loop.add_reader(near, print)
        else:
            loop.close()
        gc.collect()
        assert gone() is None


# Descriptors of transports


def test_the_descriptor_of_a_transport_is_refused(run):
    async def main():
        loop = asyncio.get_running_loop()
        async with connection(Recorder) as (transport, protocol, peer):
            number = transport.get_extra_info("socket").fileno()
            for method in (loop.add_reader, loop.add_writer):
                with pytest.raises(
                    RuntimeError, match=rf"File descriptor {number} is used by transport"
                ):
                    method(number, print)
            for method in (loop.remove_reader, loop.remove_writer):
                with pytest.raises(RuntimeError, match="is used by transport"):
                    method(number)
            near, far = tcp_sockets()
            with near, far:
                with pytest.raises(RuntimeError, match="is used by transport"):
                    await loop.sock_recv(_Borrowed(near, number), 10)
            await loop.sock_sendall(peer, b"alive")
            await protocol.wait_received(5)

    run(main())


class _Borrowed:
    """A socket that claims another's descriptor."""

    def __init__(self, sock, number):
        self._sock, self._number = sock, number

    def fileno(self):
        return self._number

    def gettimeout(self):
        return 0

    def recv(self, count):
        return self._sock.recv(count)


def test_the_number_is_free_again_after_the_transport(run):
    async def main():
        loop = asyncio.get_running_loop()
        async with connection(Recorder) as (transport, protocol, _):
            number = transport.get_extra_info("socket").fileno()
            transport.close()
            await protocol.lost
            await asyncio.sleep(0)
            near, far = socket.socketpair()
            with near, far:
                if near.fileno() != number and number not in open_fds():
                    os.dup2(near.fileno(), number)
                    near.close()
                    near = socket.socket(fileno=number)
                readable = loop.create_future()
                loop.add_reader(near, readable.set_result, None)
                far.send(b"x")
                await readable
                loop.remove_reader(near)
                near.close()

    run(main())
