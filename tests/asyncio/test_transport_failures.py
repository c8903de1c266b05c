"""Stream transports when things go wrong: resets, callbacks that raise, calls from any callback.

Here: what is reported, to whom, how often, and that the loop and the other connections live on.
Not here: orderly ends (test_transports.py, test_transport_closing.py).
Runs in the main thread; the other end is a plain socket.
Invariant: whatever happens, connection_lost comes exactly once, last, and never from within another
call; one body for both loops; stock asyncio passes every test.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import socket
from collections.abc import Callable
from typing import Any

import pytest
from tests.loopback import (
    BufferedRecorder,
    Recorder,
    collect_reports,
    connection,
    no_fd_leak,
    recv_exactly,
    recv_to_end,
    reset,
    run_until,
    tcp_sockets,
    turns,
    until,
    within,
)


class Bomb(Exception):
    """What the callbacks of these tests raise."""


# Resets


def test_a_reset_while_reading(run, recorder):
    async def main():
        async with connection(recorder) as (transport, protocol, peer):
            reset(peer)
            exc = await within(protocol.lost, 1)
            assert isinstance(exc, ConnectionResetError)
            assert protocol.calls == ["connection_made", "connection_lost"]
            assert transport.is_closing()

    run(main())


def test_data_sent_before_a_reset_is_delivered_first(run, recorder):
    """Reset while paused with bytes in the kernel: all of them, then the error."""

    async def main():
        loop = asyncio.get_running_loop()
        async with connection(recorder) as (transport, protocol, peer):
            transport.pause_reading()
            await loop.sock_sendall(peer, b"x" * 50_000)
            reset(peer)
            await turns(5)
            assert protocol.received == b""
            transport.resume_reading()
            exc = await within(protocol.lost)
            assert isinstance(exc, ConnectionResetError)
            assert len(protocol.received) == 50_000

    run(main())


def test_a_reset_with_much_queued(run, recorder):
    """8 MB wait to be sent when the peer resets: told within a second, the buffer is freed."""

    async def main():
        async with connection(recorder) as (transport, protocol, peer):
            transport.write(b"x" * 8_000_000)
            assert transport.get_write_buffer_size() > 0
            reset(peer)
            exc = await within(protocol.lost, 1)
            assert isinstance(exc, (ConnectionResetError, BrokenPipeError))
            assert transport.get_write_buffer_size() == 0

    run(main())


def test_a_reset_while_paused_with_much_queued(run, recorder):
    async def main():
        async with connection(recorder) as (transport, protocol, peer):
            transport.pause_reading()
            transport.write(b"x" * 8_000_000)
            reset(peer)
            exc = await within(protocol.lost, 1)
            assert isinstance(exc, (ConnectionResetError, BrokenPipeError))

    run(main())


def test_a_reset_after_close_with_much_queued(run, recorder):
    async def main():
        async with connection(recorder) as (transport, protocol, peer):
            transport.write(b"x" * 8_000_000)
            transport.close()
            await turns(2)
            reset(peer)
            exc = await within(protocol.lost, 1)
            assert exc is None or isinstance(exc, (ConnectionResetError, BrokenPipeError))

    run(main())


def test_writing_to_a_peer_that_closed(run, sockets):
    """The first writes may still go out; then the connection is lost with a clear error."""

    async def main():
        async with connection(Recorder, sockets) as (transport, protocol, peer):
            transport.pause_reading()
            peer.close()
            while not protocol.lost.done():
                transport.write(b"x" * 1000)
                await turns(1)
            assert isinstance(protocol.lost.result(), (BrokenPipeError, ConnectionResetError))

    run(main())


def test_connection_lost_after_a_failed_write_comes_in_a_later_turn(run, recorder):
    """write() on a dead peer inside data_received."""

    class Writing(recorder):
        def take(self, data):
            super().take(data)
            dead.set_result(None)
            for _ in range(3):
                self.transport.write(b"x" * 100_000)
                assert "connection_lost" not in self.calls
            self.calls.append("returned")

    async def main():
        nonlocal dead
        dead = asyncio.get_running_loop().create_future()
        async with connection(Writing) as (_, protocol, peer):
            peer.send(b"x")
            reset(peer)
            await within(protocol.lost)
            if dead.done():
                assert protocol.calls[-2:] == ["returned", "connection_lost"]

    dead: Any = None
    run(main())


def test_network_errors_are_not_reported_to_the_handler(run):
    async def main():
        reports = collect_reports(asyncio.get_running_loop())
        for action in ("read", "write"):
            async with connection() as (transport, protocol, peer):
                if action == "write":
                    transport.write(b"x" * 8_000_000)
                reset(peer)
                await within(protocol.lost)
        assert reports == []

    run(main())


def test_one_reset_among_many_connections(run):
    async def main():
        loop = asyncio.get_running_loop()
        async with (
            connection() as (_, dying, dying_peer),
            connection() as (_, living, living_peer),
        ):
            await loop.sock_sendall(living_peer, b"one")
            reset(dying_peer)
            await within(dying.lost)
            await loop.sock_sendall(living_peer, b"two")
            await living.wait_received(6)
            assert not living.lost.done()

    run(main())


# Callbacks that raise


CALLBACK_MESSAGES = {
    "data_received": "Fatal error: protocol.data_received() call failed.",
    "get_buffer": "Fatal error: protocol.get_buffer() call failed.",
    "buffer_updated": "Fatal error: protocol.buffer_updated() call failed.",
    "eof_received": "Fatal error: protocol.eof_received() call failed.",
}


@pytest.mark.parametrize("method", CALLBACK_MESSAGES)
def test_a_receiving_callback_that_raises_ends_its_connection(run, sockets, method):
    """Reported once, with transport and protocol; connection_lost gets the exception."""
    base = Recorder if method == "data_received" else BufferedRecorder

    def fail(self, *args):
        raise Bomb(method)

    bombed = type("Bombed", (base,), {method: fail})

    async def main():
        reports = collect_reports(asyncio.get_running_loop())
        async with connection(bombed, sockets) as (transport, protocol, peer):
            peer.send(b"data")
            if method == "eof_received":
                peer.shutdown(socket.SHUT_WR)
            exc = await within(protocol.lost)
            assert isinstance(exc, Bomb)
            [report] = reports
            assert report["message"] == CALLBACK_MESSAGES[method]
            assert report["exception"] is exc
            assert report["transport"] is transport
            assert report["protocol"] is protocol
            # What was sent but not read makes the kernel reset instead.
            with contextlib.suppress(ConnectionResetError):
                assert await recv_to_end(peer) == b""
        async with connection(Recorder, sockets) as (_, protocol, peer):
            peer.send(b"alive")
            await protocol.wait_received(5)

    run(main())


@pytest.mark.parametrize("buffer", [b"", bytearray(), memoryview(bytearray())])
def test_an_empty_buffer_ends_the_connection(run, buffer):
    class Empty(BufferedRecorder):
        def get_buffer(self, sizehint):
            return buffer

    async def main():
        reports = collect_reports(asyncio.get_running_loop())
        async with connection(Empty) as (_, protocol, peer):
            peer.send(b"data")
            exc = await within(protocol.lost)
            assert isinstance(exc, RuntimeError)
            assert str(exc) == "get_buffer() returned an empty buffer"
            assert len(reports) == 1

    run(main())


@pytest.mark.parametrize("buffer", [b"read-only", "text", None, 42])
def test_a_buffer_that_cannot_be_filled_ends_the_connection(run, buffer):
    class Wrong(BufferedRecorder):
        def get_buffer(self, sizehint):
            return buffer

    async def main():
        reports = collect_reports(asyncio.get_running_loop())
        async with connection(Wrong) as (_, protocol, peer):
            peer.send(b"data")
            exc = await within(protocol.lost)
            assert isinstance(exc, (TypeError, BufferError, ValueError))
            assert len(reports) == 1

    run(main())


def test_pause_writing_that_raises_is_reported_and_the_connection_lives(run, sockets):
    class Bombed(Recorder):
        def pause_writing(self):
            super().pause_writing()
            raise Bomb

        def resume_writing(self):
            super().resume_writing()
            raise Bomb

    async def main():
        reports = collect_reports(asyncio.get_running_loop())
        async with connection(Bombed, sockets) as (transport, protocol, peer):
            transport.write(b"x" * 8_000_000)
            assert [report["message"] for report in reports] == ["protocol.pause_writing() failed"]
            assert len(await recv_exactly(peer, 8_000_000)) == 8_000_000
            await until(lambda: len(reports) == 2)
            assert reports[1]["message"] == "protocol.resume_writing() failed"
            for report in reports:
                assert isinstance(report["exception"], Bomb)
                assert report["transport"] is transport
                assert report["protocol"] is protocol
            transport.write(b"alive")
            assert await recv_exactly(peer, 5) == b"alive"
            assert not protocol.lost.done()

    run(main())


def test_connection_made_that_raises_is_reported_once(run, sockets):
    class Bombed(Recorder):
        def connection_made(self, transport):
            super().connection_made(transport)
            raise Bomb

    async def main():
        reports = collect_reports(asyncio.get_running_loop())
        async with connection(Bombed, sockets) as (transport, protocol, peer):
            await turns(3)
            [report] = reports
            assert isinstance(report["exception"], Bomb)
            transport.abort()
            assert await within(protocol.lost) is None
            assert await recv_to_end(peer) == b""

    run(main())


def test_connection_lost_that_raises_is_reported_once_and_the_socket_closed(run, sockets):
    class Bombed(Recorder):
        def connection_lost(self, exc):
            super().connection_lost(exc)
            raise Bomb

    async def main():
        reports = collect_reports(asyncio.get_running_loop())
        async with connection(Bombed, sockets) as (transport, protocol, peer):
            sock = transport.get_extra_info("socket")
            transport.close()
            await within(protocol.lost)
            await turns(3)
            [report] = reports
            assert isinstance(report["exception"], Bomb)
            assert sock.fileno() == -1
            assert await recv_to_end(peer) == b""

    run(main())


@pytest.mark.parametrize("kind", [SystemExit, KeyboardInterrupt])
@pytest.mark.parametrize(
    "method",
    ["connection_made", "data_received", "eof_received", "pause_writing", "connection_lost"],
)
def test_exit_requests_leave_the_loop_from_any_protocol_callback(loop, kind, method):
    """As from any callback; the loop can run again, and nothing is reported."""
    reports = collect_reports(loop)
    armed = True

    def leave(self, *args):
        nonlocal armed
        result = getattr(Recorder, method)(self, *args)
        if armed:
            armed = False
            raise kind(method)
        return result

    leaving = type("Leaving", (Recorder,), {method: leave})
    near, far = tcp_sockets()
    transports: list[Any] = []

    async def main():
        transport, protocol = await loop.create_connection(leaving, sock=near)
        transports.append((transport, protocol))
        if method == "pause_writing":
            transport.write(b"x" * 8_000_000)
        elif method == "connection_lost":
            transport.close()
        elif method == "eof_received":
            far.shutdown(socket.SHUT_WR)
        elif method == "data_received":
            far.send(b"x")
        await loop.create_future()

    task = loop.create_task(main())
    with far:
        with pytest.raises(kind, match=method):
            loop.run_forever()
        run_until(loop, lambda: transports or task.done())
        if transports:
            transport, protocol = transports[0]
            if method == "data_received":
                far.send(b"still alive")
                run_until(loop, lambda: protocol.received.endswith(b"still alive"))
            transport.abort()
            run_until(loop, protocol.lost.done)
        near.close()
    task.cancel()
    run_until(loop, task.done)
    if task.cancelled() is False:
        assert isinstance(task.exception(), kind)
    assert reports == []


# Calls from within any callback


ACTIONS = {
    "close": lambda transport: transport.close(),
    "abort": lambda transport: transport.abort(),
    "write": lambda transport: transport.write(b"x" * 10),
    "write much": lambda transport: transport.write(b"x" * 900_000),
    "writelines": lambda transport: transport.writelines([b"x"] * 3),
    "write_eof": lambda transport: transport.write_eof(),
    "pause_reading": lambda transport: transport.pause_reading(),
    "resume_reading": lambda transport: transport.resume_reading(),
    "set_protocol": lambda transport: transport.set_protocol(transport.get_protocol()),
    "limits": lambda transport: transport.set_write_buffer_limits(high=0),
    "look": lambda transport: (repr(transport), transport.get_write_buffer_size()),
    "close twice": lambda transport: (transport.close(), transport.close()),
    "abort, write": lambda transport: (transport.abort(), transport.write(b"x")),
    "write, close": lambda transport: (transport.write(b"x"), transport.close()),
    "close, abort": lambda transport: (transport.close(), transport.abort()),
}
PLACES = [
    "connection_made",
    "received",
    "get_buffer",
    "eof_received",
    "pause_writing",
    "resume_writing",
    "connection_lost",
]


# Rows of docs/compat.md: where asyncio loses the connection twice, or trips over its own end.
WRONG_ON_ASYNCIO = {
    ("connection_lost", "writelines"): "asyncio's writelines fails after connection_lost",
    **{
        ("resume_writing", action): "asyncio calls connection_lost twice"
        for action in ("close", "abort", "close twice", "abort, write", "write, close")
    },
    ("resume_writing", "close, abort"): "asyncio calls connection_lost twice",
}


def acting(base: type[Any], place: str, action: str) -> type[Any]:
    """A protocol that does `action` in `place`, and watches that no call comes within a call."""

    class Acting(base):
        depth = 0
        acted = 0
        nested: list[str]
        refused: list[BaseException]
        keep_open = True

    def wrap(name: str) -> Any:
        inner = getattr(base, name)

        def method(self, *args):
            if self.depth and name not in ("pause_writing", "resume_writing"):
                self.nested.append(name)
            self.depth += 1
            try:
                result = inner(self, *args)
                here = "received" if name in ("data_received", "buffer_updated") else name
                if here == place and self.acted < 3:
                    self.acted += 1
                    try:
                        ACTIONS[action](self.transport)
                    except (RuntimeError, AttributeError) as exc:
                        self.refused.append(exc)
                return result
            finally:
                self.depth -= 1

        return method

    names = ["connection_made", "eof_received", "pause_writing", "resume_writing"]
    names += ["connection_lost"]
    names += ["get_buffer", "buffer_updated"] if base is BufferedRecorder else ["data_received"]
    for name in names:
        setattr(Acting, name, wrap(name))
    return Acting


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("action", ACTIONS)
def test_every_call_from_every_callback(run, sockets, recorder, place, action, on_rulip):
    """Re-entry: close, abort, write, pause and the rest from each protocol method."""
    if place == "get_buffer" and recorder is Recorder:
        pytest.skip("a plain protocol has no get_buffer")
    if not on_rulip and (place, action) in WRONG_ON_ASYNCIO:
        pytest.skip(WRONG_ON_ASYNCIO[place, action])
    kind = acting(recorder, place, action)

    def make() -> Any:
        protocol = kind()
        protocol.nested, protocol.refused = [], []
        return protocol

    async def main():
        loop = asyncio.get_running_loop()
        reports = collect_reports(loop)
        near, far = sockets()
        near.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 32768)
        open_one = (
            loop.create_connection if near.family == socket.AF_INET else loop.create_unix_connection
        )
        with far:
            transport, protocol = await within(open_one(make, sock=near))

            def drain() -> None:
                with contextlib.suppress(OSError):
                    while far.recv(1 << 20):
                        pass

            async def drain_until(done: Callable[[], object]) -> None:
                await until(lambda: drain() or done())

            async def exchange() -> None:
                """Data, a full buffer, an empty one, the end: as far as the connection lasts."""
                far.send(b"data")
                await turns(5)
                if transport.is_closing():
                    return
                with contextlib.suppress(RuntimeError):  # after write_eof()
                    transport.write(b"y" * 900_000)
                await drain_until(
                    lambda: transport.is_closing() or not transport.get_write_buffer_size()
                )
                if transport.is_closing():
                    return
                far.shutdown(socket.SHUT_WR)
                transport.resume_reading()
                await drain_until(lambda: transport.is_closing() or protocol.ended.done())
                await drain_until(
                    lambda: transport.is_closing() or not transport.get_write_buffer_size()
                )

            with contextlib.suppress(ConnectionError):  # the peer's send() after our abort()
                await exchange()
            transport.close()
            await drain_until(protocol.lost.done)
            assert protocol.lost.done()
            await turns(3)
            assert protocol.calls.count("connection_lost") == 1
            assert protocol.calls[-1] == "connection_lost"
            assert protocol.nested == []
            for exc in protocol.refused:
                # After connection_lost the stock transport has let go of its loop.
                assert "write_eof" in str(exc) or place == "connection_lost", exc
            assert [report for report in reports if "orrowed" in str(report)] == []
            assert reports == []

    with no_fd_leak():
        run(main())


@pytest.mark.parametrize("ends", list(itertools.product(["close", "abort"], repeat=2)))
def test_both_ends_of_one_connection_act_in_one_turn(run, sockets, ends):
    async def main():
        near, far = sockets()
        async with connection(Recorder, lambda: (near, far.dup())) as (first, one, spare):
            spare.close()
            loop = asyncio.get_running_loop()
            open_one = (
                loop.create_connection
                if far.family == socket.AF_INET
                else loop.create_unix_connection
            )
            second, two = await open_one(Recorder, sock=far)
            first.write(b"from one")
            second.write(b"from two")
            getattr(first, ends[0])()
            getattr(second, ends[1])()
            await within(one.lost)
            await within(two.lost)
            await turns(2)
            assert one.calls.count("connection_lost") == two.calls.count("connection_lost") == 1

    with no_fd_leak():
        run(main())
