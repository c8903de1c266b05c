"""Stream transports: closing, aborting, pausing, and what becomes of one that nobody closes.

Here: the end of a connection as we bring it about, also when the loop does not run.
Not here: the end as the peer brings it about (test_transports.py, test_transport_failures.py).
Runs in the main thread; the other end is a plain socket.
Invariant: one body for both loops, for TCP and Unix sockets, for Protocol and BufferedProtocol;
stock asyncio passes every test.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import random
import socket
import sys
import weakref

import pytest
from tests.loopback import (
    Recorder,
    connection,
    open_fds,
    readable,
    recv_to_end,
    resource_warnings,
    run_until,
    spin,
    tcp_sockets,
    turns,
    within,
)

# Closing and aborting


def test_close_flushes_first(run, sockets):
    data = random.Random(8).randbytes(4_000_000)

    async def main():
        async with connection(Recorder, sockets) as (transport, protocol, peer):
            transport.write(data)
            transport.close()
            assert transport.is_closing()
            assert not protocol.lost.done()
            assert await recv_to_end(peer) == data
            assert await within(protocol.lost) is None

    run(main())


def test_close_sends_fin_at_once_while_everything_is_still_referenced(run, sockets):
    async def main():
        async with connection(Recorder, sockets) as (transport, protocol, peer):
            kept = [transport, protocol, transport.get_extra_info("socket")]
            transport.close()
            assert await recv_to_end(peer, 0.1) == b""
            assert len(kept) == 3

    run(main())


def test_connection_lost_never_comes_from_within_close_or_abort(run, sockets):
    async def main():
        for end in ("close", "abort"):
            async with connection(Recorder, sockets) as (transport, protocol, _):
                getattr(transport, end)()
                assert protocol.calls == ["connection_made"]
                assert transport.is_closing()
                await turns(3)
                assert protocol.calls == ["connection_made", "connection_lost"]

    run(main())


def test_closing_twice_and_in_any_mixture_loses_the_connection_once(run, sockets):
    async def main():
        for first in ("close", "abort"):
            for second in ("close", "abort"):
                async with connection(Recorder, sockets) as (transport, protocol, _):
                    getattr(transport, first)()
                    getattr(transport, second)()
                    assert await within(protocol.lost) is None
                    getattr(transport, first)()
                    getattr(transport, second)()
                    await turns(3)
                    assert protocol.calls.count("connection_lost") == 1

    run(main())


def test_abort_drops_what_is_buffered(run, sockets):
    async def main():
        async with connection(Recorder, sockets) as (transport, protocol, peer):
            transport.write(b"x" * 8_000_000)
            assert transport.get_write_buffer_size() > 0
            transport.abort()
            assert transport.get_write_buffer_size() == 0
            assert await within(protocol.lost) is None
            received = 0
            try:
                received = len(await recv_to_end(peer))
            except ConnectionResetError:
                pass
            assert received < 8_000_000

    run(main())


def test_abort_during_close_ends_the_flush(run, sockets):
    async def main():
        async with connection(Recorder, sockets) as (transport, protocol, _):
            transport.write(b"x" * 8_000_000)
            transport.close()
            await turns(3)
            assert not protocol.lost.done()
            transport.abort()
            assert await within(protocol.lost) is None

    run(main())


def test_no_data_after_close(run, sockets, recorder):
    async def main():
        async with connection(recorder, sockets) as (transport, protocol, peer):
            transport.close()
            peer.send(b"too late")
            await within(protocol.lost)
            await turns(3)
            assert protocol.calls == ["connection_made", "connection_lost"]

    run(main())


def test_a_closed_transport_ignores_what_comes_after(run, sockets):
    async def main():
        async with connection(Recorder, sockets) as (transport, protocol, _):
            transport.close()
            await within(protocol.lost)
            transport.write(b"x")
            transport.pause_reading()
            transport.resume_reading()
            assert transport.is_closing()
            assert transport.get_write_buffer_size() == 0
            assert not transport.is_reading()
            transport.set_write_buffer_limits(high=10)
            await turns(3)
            assert protocol.calls == ["connection_made", "connection_lost"]

    run(main())


def test_many_writes_to_a_lost_connection_are_logged(run, caplog):
    async def main():
        async with connection() as (transport, protocol, _):
            transport.abort()
            await within(protocol.lost)
            for _ in range(10):
                transport.write(b"x")

    run(main())
    messages = [record.getMessage() for record in caplog.records]
    assert "socket.send() raised exception." in messages


def test_the_socket_is_closed_after_connection_lost(run, sockets):
    async def main():
        async with connection(Recorder, sockets) as (transport, protocol, _):
            sock = transport.get_extra_info("socket")
            descriptor = sock.fileno()
            inode = open_fds()[descriptor]
            transport.close()
            await within(protocol.lost)
            await turns(1)
            assert open_fds().get(descriptor) != inode
            assert sock.fileno() == -1
            assert transport.get_extra_info("socket") is sock

    run(main())


def test_the_socket_given_to_create_connection_is_owned_by_the_transport(run):
    """Close or abort inside connection_made: that descriptor is closed, and no other ever is."""

    async def main():
        loop = asyncio.get_running_loop()
        for end in ("close", "abort"):

            class Ending(Recorder):
                def connection_made(self, transport, end=end):
                    super().connection_made(transport)
                    getattr(transport, end)()

            near, far = tcp_sockets()
            _, protocol = await loop.create_connection(Ending, sock=near)
            await within(protocol.lost)
            await turns(2)
            assert near.fileno() == -1
            before = open_fds()
            others = [socket.socketpair() for _ in range(5)]
            del near, protocol
            gc.collect()
            after = open_fds()
            assert set(before.items()) <= set(after.items())
            for left, right in others:
                left.send(b"alive")
                assert right.recv(5) == b"alive"
                left.close()
                right.close()
            far.close()

    run(main())


# Pausing


def test_pausing_and_resuming(run, sockets, recorder):
    async def main():
        loop = asyncio.get_running_loop()
        async with connection(recorder, sockets) as (transport, protocol, peer):
            assert transport.is_reading()
            transport.pause_reading()
            transport.pause_reading()
            assert not transport.is_reading()
            await loop.sock_sendall(peer, b"hello")
            assert readable(transport.get_extra_info("socket").fileno())
            await turns(5)
            assert protocol.received == b""
            transport.resume_reading()
            transport.resume_reading()
            assert transport.is_reading()
            await protocol.wait_received(5)

    run(main())


def test_pausing_in_connection_made(run, sockets, recorder):
    class Pausing(recorder):
        def connection_made(self, transport):
            super().connection_made(transport)
            transport.pause_reading()

    async def main():
        async with connection(Pausing, sockets) as (transport, protocol, peer):
            peer.send(b"hello")
            await turns(5)
            assert not transport.is_reading()
            assert protocol.received == b""
            transport.resume_reading()
            await protocol.wait_received(5)

    run(main())


def test_pausing_in_data_received_stops_the_flow(run, sockets, recorder):
    class Pausing(recorder):
        def take(self, data):
            super().take(data)
            self.transport.pause_reading()

    async def main():
        loop = asyncio.get_running_loop()
        async with connection(Pausing, sockets) as (transport, protocol, peer):
            sending = asyncio.ensure_future(loop.sock_sendall(peer, b"x" * 3_000_000))
            while len(protocol.received) < 3_000_000:
                before = len(protocol.received)
                transport.resume_reading()
                await protocol.wait_received(before + 1)
                await turns(3)
                assert not transport.is_reading()
            await within(sending)

    run(main())


def test_the_end_is_not_seen_while_paused(run, sockets, recorder):
    async def main():
        async with connection(recorder, sockets) as (transport, protocol, peer):
            transport.pause_reading()
            peer.send(b"last words")
            peer.close()
            await turns(5)
            assert protocol.calls == ["connection_made"]
            transport.resume_reading()
            assert await within(protocol.lost) is None
            assert bytes(protocol.received) == b"last words"

    run(main())


def test_closing_while_paused(run, sockets, recorder):
    async def main():
        async with connection(recorder, sockets) as (transport, protocol, peer):
            transport.pause_reading()
            peer.send(b"unread")
            transport.close()
            assert await within(protocol.lost) is None
            assert protocol.received == b""

    run(main())


# Garbage


def test_a_transport_left_open_at_the_end_of_its_loop_is_reported(loop, sockets):
    async def main():
        near, far = sockets()
        create = (
            loop.create_connection if near.family == socket.AF_INET else loop.create_unix_connection
        )
        transport, _ = await create(Recorder, sock=near)
        del near
        return weakref.ref(transport), transport.get_extra_info("socket").fileno(), far

    gone, descriptor, far = loop.run_until_complete(main())
    inode = open_fds()[descriptor]
    assert gone() is not None, "an open connection lives without being held"
    with resource_warnings() as texts:
        loop.close()
    assert any(text.startswith("unclosed transport") for text in texts), texts
    assert gone() is None
    assert open_fds().get(descriptor) != inode
    readable(far)
    assert far.recv(10) == b""
    far.close()


def test_a_closed_connection_is_freed(loop, sockets, recorder):
    async def main():
        async with connection(recorder, sockets) as (transport, protocol, peer):
            peer.send(b"x")
            await protocol.wait_received(1)
            transport.close()
            await within(protocol.lost)
            return weakref.ref(transport), weakref.ref(protocol)

    refs = loop.run_until_complete(main())
    spin(loop, 2)
    gc.collect()
    assert [ref() for ref in refs] == [None, None]


def test_a_closed_connection_is_freed_without_the_collector(loop, on_rulip):
    if not on_rulip and sys.version_info < (3, 12):
        pytest.skip("asyncio leaves a cycle before 3.12")
    gc.collect()
    gc.disable()
    try:

        class Bare(asyncio.Protocol):
            pass

        async def main():
            near, far = tcp_sockets()
            transport, protocol = await loop.create_connection(Bare, sock=near)
            transport.close()
            far.close()
            return weakref.ref(transport), weakref.ref(protocol)

        refs = loop.run_until_complete(main())
        spin(loop, 4)
        assert [ref() for ref in refs] == [None, None]
    finally:
        gc.enable()


# When the loop does not run


def test_a_write_while_the_loop_does_not_run_is_sent(loop, sockets):
    async def main():
        near, far = sockets()
        create = (
            loop.create_connection if near.family == socket.AF_INET else loop.create_unix_connection
        )
        return (*(await create(Recorder, sock=near)), far)

    transport, protocol, far = loop.run_until_complete(main())
    transport.write(b"not running")
    transport.write(b", really")
    assert readable(far)
    assert far.recv(100) == b"not running, really"
    transport.close()
    run_until(loop, protocol.lost.done)
    assert far.recv(1) == b""
    far.close()


@pytest.mark.parametrize("how", ["stop", "exit", "interrupt", "end"])
def test_a_write_just_before_the_loop_stops_is_sent(loop, sockets, how):
    """write() and then stop(), SystemExit, KeyboardInterrupt, or the end of the main coroutine."""

    async def main():
        near, far = sockets()
        create = (
            loop.create_connection if near.family == socket.AF_INET else loop.create_unix_connection
        )
        return (*(await create(Recorder, sock=near)), far)

    transport, protocol, far = loop.run_until_complete(main())

    def write_and_leave():
        transport.write(b"last")
        transport.write(b" words")
        if how == "stop":
            loop.stop()
        elif how == "exit":
            raise SystemExit
        elif how == "interrupt":
            raise KeyboardInterrupt

    async def write_and_end():
        write_and_leave()

    if how == "end":
        loop.run_until_complete(write_and_end())
    else:
        loop.call_soon(write_and_leave)
        kind = {"exit": SystemExit, "interrupt": KeyboardInterrupt}.get(how)
        if kind is None:
            loop.run_forever()
        else:
            with pytest.raises(kind):
                loop.run_forever()
    assert readable(far)
    assert far.recv(100) == b"last words"
    transport.abort()
    run_until(loop, protocol.lost.done)
    far.close()


def test_a_write_just_before_the_loop_is_closed_is_sent(loop):
    async def main():
        near, far = tcp_sockets()
        transport, _ = await loop.create_connection(asyncio.Protocol, sock=near)
        transport.write(b"last words")
        return transport, far

    transport, far = loop.run_until_complete(main())
    transport.write(b", really")
    with resource_warnings() as texts:
        loop.close()
        assert readable(far)
        assert far.recv(100) == b"last words, really"
        far.close()
        del transport
    assert any(text.startswith("unclosed transport") for text in texts), texts


def test_close_of_a_transport_after_its_loop_is_closed(loop):
    """asyncio tells that the loop is closed; nothing crashes, and the descriptor is freed."""

    async def main():
        near, far = tcp_sockets()
        transport, _ = await loop.create_connection(asyncio.Protocol, sock=near)
        return transport, far

    transport, far = loop.run_until_complete(main())
    loop.close()
    with far:
        descriptor = transport.get_extra_info("socket").fileno()
        inode = open_fds()[descriptor]
        with contextlib.suppress(RuntimeError):  # asyncio: the event loop is closed
            transport.close()
        with resource_warnings():
            del transport
        assert open_fds().get(descriptor) != inode
