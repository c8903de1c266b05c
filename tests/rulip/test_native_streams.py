"""Where rulip's streams do better than asyncio's, and how bytes reach a native reader.

Not here: what both do alike (tests/asyncio/test_stream_reader.py and its siblings).
Runs in the main thread.
Invariant: each difference that a test shows is a row of docs/compat.md.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Coroutine
from typing import Any

import pytest
from tests.loopback import SocketPair, spin, tcp_sockets, turns, unix_sockets, until, within

import rulip

pytestmark = pytest.mark.loops("rulip")


def finish(loop: asyncio.AbstractEventLoop, coro: Coroutine[Any, Any, Any]) -> Any:
    return loop.run_until_complete(within(coro))


def test_the_classes_are_asyncios(loop):
    for name in ("StreamReader", "StreamReaderProtocol", "StreamWriter"):
        assert issubclass(getattr(rulip, name), getattr(asyncio, name))
    assert rulip.IncompleteReadError is asyncio.IncompleteReadError
    assert rulip.LimitOverrunError is asyncio.LimitOverrunError


def test_installing_puts_them_in_every_module():
    import asyncio.streams
    import asyncio.subprocess

    stock = asyncio.StreamReader, asyncio.open_connection, asyncio.streams.start_server
    rulip.install()
    try:
        assert asyncio.StreamReader is rulip.StreamReader is asyncio.streams.StreamReader
        assert asyncio.StreamWriter is rulip.StreamWriter
        assert asyncio.StreamReaderProtocol is rulip.StreamReaderProtocol
        assert asyncio.open_connection is rulip.open_connection
        assert asyncio.start_unix_server is rulip.start_unix_server
    finally:
        rulip.uninstall()
    assert stock == (asyncio.StreamReader, asyncio.open_connection, asyncio.streams.start_server)


def test_a_cancelled_read_to_the_end_loses_nothing(loop):
    reader = rulip.StreamReader(loop=loop)
    task = loop.create_task(reader.read())
    for _ in range(3):
        spin(loop, 2)
        reader.feed_data(b"some")
    spin(loop, 2)
    task.cancel()
    spin(loop, 2)
    assert task.cancelled()
    reader.feed_eof()
    assert finish(loop, reader.read()) == b"some" * 3


def test_a_wake_up_without_data_is_no_end(loop):
    """Somebody else took what a read was woken for: it waits on."""
    reader = rulip.StreamReader(loop=loop)
    waiting = loop.create_task(reader.read(10))
    spin(loop)
    reader.feed_data(b"first")
    taken = reader.read(10)
    with pytest.raises(StopIteration) as stop:
        taken.send(None)
    assert stop.value.value == b"first"
    spin(loop, 3)
    assert not waiting.done()
    reader.feed_data(b"second")
    spin(loop, 2)
    assert waiting.result() == b"second"


def test_a_woken_read_leaves_the_next_waiter_alone(loop):
    reader = rulip.StreamReader(loop=loop)
    first = loop.create_task(reader.readline())
    spin(loop)
    reader.feed_data(b"one\n")
    # Before the first comes for its line, somebody takes it and waits for the next.
    second = loop.create_task(reader.readexactly(3))
    taken = reader.readline()
    with pytest.raises(StopIteration):
        taken.send(None)
    first.cancel()
    spin(loop, 2)
    assert not second.done()
    reader.feed_data(b"two")
    spin(loop, 2)
    assert second.result() == b"two"


@pytest.mark.parametrize("sockets", [tcp_sockets, unix_sockets])
def test_no_python_runs_between_the_socket_and_the_task(loop, sockets: SocketPair):
    calls: list[str] = []

    def trace(frame: Any, event: str, _arg: Any) -> None:
        if event == "call":
            calls.append(frame.f_code.co_name)

    async def echo(reader: Any, writer: Any) -> bytes:
        line: bytes = await reader.readline()
        writer.write(line)
        await writer.drain()
        return line

    async def main() -> None:
        near, far = sockets()
        reader, writer = await rulip.open_connection(sock=near)
        with far:
            task = asyncio.ensure_future(echo(reader, writer))
            await turns(2)
            done = loop.create_future()
            task.add_done_callback(done.set_result)
            far.send(b"a line\n")
            sys.setprofile(trace)
            try:
                await done
            finally:
                sys.setprofile(None)
            assert task.result() == b"a line\n"
            assert far.recv(100) == b"a line\n"
        # What waits for `done` runs, too.
        assert [name for name in calls if name not in ("main", "within")] == ["echo"]
        writer.close()
        await writer.wait_closed()

    finish(loop, main())


def test_large_messages_in_any_pieces(loop):
    """Complete ones, gathered ones, several at once: the memory they went through is reused."""
    sizes = [1, 1000, 70_000, 100_000, 300_000, 64 * 1024 - 1, 3, 262_144, 5, 100_000] * 3

    async def main() -> None:
        near, far = tcp_sockets()
        reader, writer = await rulip.open_connection(sock=near, limit=2**20)
        lines = [bytes([65 + i % 26]) * size + b"\n" for i, size in enumerate(sizes)]
        sending = asyncio.ensure_future(loop.sock_sendall(far, b"".join(lines)))
        kept = [await within(reader.readline()) for _ in lines]
        assert kept == lines
        await sending
        sending = asyncio.ensure_future(loop.sock_sendall(far, b"".join(lines)))
        for line in lines:
            assert await within(reader.readexactly(len(line))) == line
        await sending
        assert len(reader._buffer) == 0
        far.close()
        writer.close()
        await within(writer.wait_closed())

    finish(loop, main())


def test_backpressure_holds_the_peer(loop):
    async def main() -> None:
        near, far = tcp_sockets()
        reader, writer = await rulip.open_connection(sock=near, limit=1000)
        sending = asyncio.ensure_future(loop.sock_sendall(far, b"x" * 30_000_000))
        await until(lambda: not writer.transport.is_reading())
        await turns(20)
        assert not sending.done()
        assert reader._paused
        # Larger than all limits, and waited for: the transport sends on.
        assert len(await within(reader.readexactly(29_000_000))) == 29_000_000
        assert len(await within(reader.readexactly(1_000_000))) == 1_000_000
        await within(sending)
        far.close()
        writer.transport.abort()
        await turns(2)

    finish(loop, main())


def test_a_patched_transport_is_asked_by_name(loop):
    async def main() -> None:
        near, far = tcp_sockets()
        reader, writer = await rulip.open_connection(sock=near)
        written: list[bytes] = []
        writer.transport.write = written.append
        writer.write(b"data")
        assert written == [b"data"]
        far.close()
        writer.close()
        await within(writer.wait_closed())
        del reader

    finish(loop, main())
