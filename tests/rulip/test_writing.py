"""Writing where asyncio is wrong in some versions: buffers that change, writelines, late aborts.

Rows of docs/compat.md: write() of a buffer that is changed at once; writelines(); a write fails
after a reset; connection_lost called twice.
Runs in the main thread; the other end is a plain socket.
Invariant: the peer gets the bytes as they were at the call, and connection_lost comes once.
"""

from __future__ import annotations

import array
import asyncio
import random
import socket

import pytest
from tests.loopback import (
    BufferedRecorder,
    Recorder,
    collect_reports,
    connection,
    recv_exactly,
    recv_to_end,
    reset,
    tcp_sockets,
    turns,
    unix_sockets,
    within,
)

pytestmark = pytest.mark.loops("rulip")


@pytest.fixture(params=[tcp_sockets, unix_sockets], ids=["tcp", "unix"])
def sockets(request):
    return request.param


@pytest.mark.parametrize("size", [1, 100, 16_384, 65_536, 65_537, 6_000_000])
@pytest.mark.parametrize("kind", ["bytearray", "memoryview", "array", "slice"])
@pytest.mark.parametrize("method", ["write", "writelines"])
def test_a_buffer_changed_at_once_is_sent_as_it_was(run, sockets, size, kind, method):
    async def main():
        original = random.Random(size).randbytes(size)
        backing = array.array("B", original) if kind == "array" else bytearray(original)
        data = {
            "bytearray": lambda: backing,
            "memoryview": lambda: memoryview(backing),
            "array": lambda: memoryview(backing),
            "slice": lambda: memoryview(backing)[size // 3 :],
        }[kind]()
        expected = original[size // 3 :] if kind == "slice" else original
        async with connection(Recorder, sockets) as (transport, _, peer):
            # Behind a queue, and first in line.
            transport.write(b"head")
            if method == "write":
                transport.write(data)
            else:
                transport.writelines([b"", data, b"."])
                expected += b"."
            backing[:] = type(backing)("B", bytes(size)) if kind == "array" else bytes(size)
            assert await recv_exactly(peer, 4 + len(expected)) == b"head" + expected

    run(main())


def test_a_bytearray_may_be_resized_after_write(run, sockets):
    async def main():
        async with connection(Recorder, sockets) as (transport, _, peer):
            data = bytearray(b"x" * 3_000_000)
            transport.write(data)
            data.clear()
            data.extend(b"y" * 10)
            assert await recv_exactly(peer, 3_000_000) == b"x" * 3_000_000

    run(main())


def test_a_buffer_is_let_go_of(run):
    """What was given to write() is not kept: the memoryview can be released at once."""

    async def main():
        async with connection() as (transport, _, peer):
            view = memoryview(bytearray(b"x" * 3_000_000))
            transport.write(view)
            view.release()
            assert len(await recv_exactly(peer, 3_000_000)) == 3_000_000

    run(main())


def test_writelines_past_the_high_mark_pauses(run, sockets):
    async def main():
        async with connection(Recorder, sockets) as (transport, protocol, peer):
            transport.writelines([b"x" * 10_000] * 800)
            assert transport.get_write_buffer_size() > 65_536
            assert protocol.calls == ["connection_made", "pause_writing"]
            assert len(await recv_exactly(peer, 8_000_000)) == 8_000_000

    run(main())


def test_writelines_after_connection_lost_is_ignored(run, sockets):
    async def main():
        reports = collect_reports(asyncio.get_running_loop())
        async with connection(Recorder, sockets) as (transport, protocol, _):
            transport.close()
            await within(protocol.lost)
            await turns(2)
            transport.writelines([b"x", b"y"])
            transport.write(b"x")
            await turns(2)
            assert protocol.calls == ["connection_made", "connection_lost"]
        assert reports == []

    run(main())


def test_abort_after_a_flushed_close_does_nothing(run, sockets):
    async def main():
        async with connection(Recorder, sockets) as (transport, protocol, peer):
            transport.write(b"x" * 3_000_000)
            transport.close()
            assert len(await recv_to_end(peer)) == 3_000_000
            assert await within(protocol.lost) is None
            transport.abort()
            transport.close()
            await turns(3)
            assert protocol.calls.count("connection_lost") == 1

    run(main())


@pytest.mark.parametrize("kind", [Recorder, BufferedRecorder])
def test_what_was_not_read_yet_survives_a_failed_write(run, kind):
    """The peer sent 50,000 bytes and reset; our write fails: the bytes come, then the error."""

    async def main():
        loop = asyncio.get_running_loop()
        for round_ in range(10):
            async with connection(kind) as (transport, protocol, peer):
                transport.pause_reading()
                await loop.sock_sendall(peer, b"x" * 50_000)
                reset(peer)
                await turns(2)
                transport.resume_reading()
                for _ in range(1 + round_ % 3):
                    transport.write(b"y" * 100_000)
                exc = await within(protocol.lost)
                assert isinstance(exc, (ConnectionResetError, BrokenPipeError))
                assert len(protocol.received) == 50_000, round_

    run(main())


def test_the_survivors_wait_while_reading_is_paused_or_closing(run):
    """Nobody asked for the data: a failed write on a paused transport just ends it."""

    async def main():
        loop = asyncio.get_running_loop()
        async with connection() as (transport, protocol, peer):
            transport.pause_reading()
            await loop.sock_sendall(peer, b"x" * 1000)
            reset(peer)
            transport.write(b"y")
            transport.write(b"y" * 100_000)
            exc = await within(protocol.lost)
            assert isinstance(exc, (ConnectionResetError, BrokenPipeError))
            assert protocol.calls.count("connection_lost") == 1

    run(main())


@pytest.mark.parametrize("action", ["close", "abort"])
def test_ending_in_resume_writing_loses_the_connection_once(run, sockets, action):
    class Ending(Recorder):
        def resume_writing(self):
            super().resume_writing()
            getattr(self.transport, action)()

    async def main():
        near, far = sockets()
        near.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 32_768)
        async with connection(Ending, lambda: (near, far)) as (transport, protocol, peer):
            transport.write(b"x" * 1_000_000)
            received = asyncio.ensure_future(recv_to_end(peer))
            await within(protocol.lost)
            await turns(3)
            assert protocol.calls.count("connection_lost") == 1
            if action == "close":
                assert len(await received) == 1_000_000
            else:
                await within(asyncio.wait([received]))
                received.exception()

    run(main())
