"""asyncio.StreamWriter and StreamReaderProtocol: drain, close, and the objects made by hand.

Not here: readers (test_stream_reader.py), connections as programs use them (test_streams.py).
Runs in the main thread.
Invariant: one body for asyncio's streams and rulip's, on both loops.
"""

from __future__ import annotations

import asyncio
import gc
import socket
import sys
import warnings
import weakref
from collections.abc import Callable
from typing import Any
from unittest import mock

import pytest
from tests.loopback import (
    SocketPair,
    collect_reports,
    recv_exactly,
    resource_warnings,
    spin,
    tcp_sockets,
    turns,
    until,
    within,
)

pytestmark = pytest.mark.usefixtures("stream_classes")


class Transport(asyncio.Transport):
    """Takes what is written, and says what it is told to say."""

    def __init__(self) -> None:
        super().__init__()
        self.written: list[bytes] = []
        self.closing = False

    def write(self, data: Any) -> None:
        self.written.append(data)

    def is_closing(self) -> bool:
        return self.closing

    def close(self) -> None:
        self.closing = True

    def abort(self) -> None:
        self.closing = True


class Made:
    """A reader, a protocol and a writer, made by hand."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.transport = Transport()
        self.reader = asyncio.StreamReader(loop=loop)
        self.protocol = asyncio.StreamReaderProtocol(self.reader, loop=loop)
        self.protocol.connection_made(self.transport)
        self.writer = asyncio.StreamWriter(self.transport, self.protocol, self.reader, loop)


@pytest.fixture
def made(loop):
    made = Made(loop)
    yield made
    made.transport.closing = True


def finish(loop: asyncio.AbstractEventLoop, awaitable: Any) -> Any:
    return loop.run_until_complete(asyncio.wait_for(awaitable, 10))


def test_what_the_writer_hands_on(loop, made):
    made.writer.write(b"one")
    made.writer.write(data=b"two")
    made.writer.writelines([b"three", b"four"])
    assert b"".join(made.transport.written) == b"onetwothreefour"
    assert made.writer.transport is made.transport
    assert made.writer._transport is made.transport
    assert made.writer._protocol is made.protocol
    assert made.writer._reader is made.reader
    assert made.writer._loop is loop
    assert made.writer.get_extra_info("absent", 5) == 5
    assert not made.writer.is_closing()
    made.writer.close()
    assert made.transport.closing
    assert made.writer.is_closing()
    assert repr(made.writer) == (
        f"<StreamWriter transport={made.transport!r} reader={made.reader!r}>"
    )


def test_drain_with_room_does_not_suspend(made):
    with pytest.raises(StopIteration) as stop:
        made.writer.drain().send(None)
    assert stop.value.value is None


def test_drain_waits_while_writing_is_paused(loop, made):
    made.protocol.pause_writing()
    assert made.protocol._paused
    waiting = [asyncio.ensure_future(made.writer.drain(), loop=loop) for _ in range(3)]
    spin(loop, 3)
    assert not any(task.done() for task in waiting)
    assert len(made.protocol._drain_waiters) == 3
    waiting[1].cancel()
    spin(loop, 2)
    assert waiting[1].cancelled()
    assert len(made.protocol._drain_waiters) == 2
    made.protocol.resume_writing()
    spin(loop, 2)
    assert waiting[0].result() is waiting[2].result() is None
    assert len(made.protocol._drain_waiters) == 0


def test_drain_looks_when_awaited(loop, made):
    drain = made.writer.drain()
    made.protocol.pause_writing()
    task = asyncio.ensure_future(drain, loop=loop)
    spin(loop, 3)
    assert not task.done()
    made.protocol.resume_writing()
    finish(loop, task)


def test_a_lost_connection_ends_drain(loop, made):
    made.protocol.pause_writing()
    waiting = asyncio.ensure_future(made.writer.drain(), loop=loop)
    spin(loop, 2)
    error = BrokenPipeError("gone")
    made.protocol.connection_lost(error)
    with pytest.raises(BrokenPipeError) as info:
        finish(loop, waiting)
    assert info.value is error
    # The reader tells it from now on
    with pytest.raises(BrokenPipeError):
        finish(loop, made.writer.drain())
    with pytest.raises(BrokenPipeError):
        finish(loop, made.writer.wait_closed())


def test_a_closed_connection_ends_drain(loop, made):
    made.protocol.pause_writing()
    waiting = asyncio.ensure_future(made.writer.drain(), loop=loop)
    spin(loop, 2)
    made.protocol.connection_lost(None)
    assert finish(loop, waiting) is None
    with pytest.raises(ConnectionResetError, match="Connection lost"):
        finish(loop, made.writer.drain())
    assert finish(loop, made.writer.wait_closed()) is None
    assert made.reader.at_eof()


def test_drain_yields_while_the_transport_closes(loop, made):
    made.transport.closing = True
    drain = made.writer.drain()
    assert drain.send(None) is None
    made.protocol.connection_lost(None)
    with pytest.raises(ConnectionResetError, match="Connection lost"):
        drain.send(None)


def test_the_readers_exception_comes_first(loop, made):
    error = OSError("broken")
    made.reader.set_exception(error)
    made.protocol.connection_lost(None)
    with pytest.raises(OSError, match="broken") as info:
        finish(loop, made.writer.drain())
    assert info.value is error


def test_a_drain_that_nobody_awaits(made):
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        made.writer.drain()
        gc.collect()
    assert [str(w.message) for w in seen] == ["coroutine 'StreamWriter.drain' was never awaited"]


def test_drain_is_a_coroutine(loop, made):
    drain = made.writer.drain()
    assert asyncio.iscoroutine(drain)
    assert drain.__qualname__ == "StreamWriter.drain"
    drain.close()
    with pytest.raises(RuntimeError, match="cannot reuse already awaited coroutine"):
        drain.send(None)
    made.protocol.pause_writing()
    drain = made.writer.drain()
    drain.send(None)
    with pytest.raises(KeyError):
        drain.throw(KeyError())
    assert len(made.protocol._drain_waiters) == 0
    helper = made.protocol._drain_helper()
    assert helper.send(None) is made.protocol._drain_waiters[0]
    helper.close()


def test_protocols_and_readers_of_other_kinds(loop):
    transport = Transport()
    protocol = mock.Mock()
    calls = []

    async def drain_helper():
        calls.append("drained")

    protocol._drain_helper = drain_helper
    writer = asyncio.StreamWriter(transport, protocol, None, loop)
    finish(loop, writer.drain())
    assert calls == ["drained"]
    assert repr(writer) == f"<StreamWriter transport={transport!r}>"
    transport.closing = True
    with pytest.raises(AssertionError):
        asyncio.StreamWriter(transport, protocol, object(), loop)


def test_a_protocol_of_ones_own(loop):
    """Deriving from asyncio's protocol, as proxies and SSH libraries do."""
    told: list[str] = []

    class Own(asyncio.StreamReaderProtocol):
        def connection_made(self, transport: Any) -> None:
            told.append("made")
            super().connection_made(transport)

        def data_received(self, data: bytes) -> None:
            told.append(f"data {data!r}")
            super().data_received(data)

        def connection_lost(self, exc: Exception | None) -> None:
            told.append("lost")
            super().connection_lost(exc)

    async def main() -> None:
        near, far = tcp_sockets()
        reader = asyncio.StreamReader(limit=100)
        transport, protocol = await loop.create_connection(lambda: Own(reader), sock=near)
        assert isinstance(protocol, asyncio.StreamReaderProtocol)
        writer = asyncio.StreamWriter(transport, protocol, reader, loop)
        with far:
            far.send(b"one\n")
            assert await within(reader.readline()) == b"one\n"
            writer.write(b"two\n")
            await within(writer.drain())
            assert await recv_exactly(far, 4) == b"two\n"
        assert await within(reader.read()) == b""
        writer.close()
        await within(writer.wait_closed())
        await until(lambda: "lost" in told)

    finish(loop, main())
    assert told == ["made", r"data b'one\n'", "lost"]


def test_data_received_replaced_on_the_instance(loop):
    async def main() -> None:
        near, far = tcp_sockets()
        reader, writer = await asyncio.open_connection(sock=near)
        protocol: Any = writer._protocol
        seen: list[bytes] = []
        original = protocol.data_received

        def data_received(data: bytes) -> None:
            seen.append(data)
            original(data)

        with far:
            far.send(b"one\n")
            assert await within(reader.readline()) == b"one\n"
            protocol.data_received = data_received
            far.send(b"two\n")
            assert await within(reader.readline()) == b"two\n"
        assert seen == [b"two\n"]
        writer.close()
        await within(writer.wait_closed())

    finish(loop, main())


def test_a_reader_that_is_gone(loop):
    """Nobody can read: what comes is dropped, and the connection lives on."""

    async def main() -> None:
        near, far = tcp_sockets()
        reader, writer = await asyncio.open_connection(sock=near)
        ref = weakref.ref(reader)
        writer._reader = None
        del reader
        gc.collect()
        assert ref() is None
        far.setblocking(False)
        with far:
            for _ in range(3):
                far.send(b"x" * 1000)
                await turns(3)
            writer.write(b"answer")
            await within(writer.drain())
            await until(lambda: peek(far) == b"answer")
            writer.close()
            await within(writer.wait_closed())

    finish(loop, main())


def peek(sock: socket.socket) -> bytes:
    try:
        return sock.recv(100, socket.MSG_PEEK)
    except BlockingIOError:
        return b""


@pytest.fixture
def served(loop, sockets: SocketPair):
    """Serves one connection with a callback; returns its transport and the peer."""
    peers: list[socket.socket] = []

    def serve(callback: Callable[[Any, Any], Any]) -> tuple[Any, socket.socket]:
        near, far = sockets()
        peers.append(far)

        async def main() -> Any:
            reader = asyncio.StreamReader()
            protocol = asyncio.StreamReaderProtocol(reader, callback)
            transport, _ = await loop.create_connection(lambda: protocol, sock=near)
            return transport

        return finish(loop, main()), far

    yield serve
    for peer in peers:
        peer.close()
    spin(loop, 3)


def test_a_served_connection_keeps_its_reader(loop, served):
    readers: list[Any] = []

    def callback(reader: Any, writer: Any) -> None:
        assert isinstance(writer, asyncio.StreamWriter)
        assert writer._reader is reader
        readers.append(weakref.ref(reader))
        writer.close()

    transport, _ = served(callback)
    spin(loop, 5)
    assert transport.is_closing()
    del transport
    gc.collect()
    assert readers[0]() is None


def test_a_callback_that_fails_later(loop, served):
    reports = collect_reports(loop)

    async def callback(_reader: Any, _writer: Any) -> None:
        await asyncio.sleep(0)
        raise KeyError("in the callback")

    transport, _ = served(callback)
    spin(loop, 5)
    assert [report["message"] for report in reports] == [
        "Unhandled exception in client_connected_cb"
    ]
    assert isinstance(reports[0]["exception"], KeyError)
    assert reports[0]["transport"] is transport
    assert transport.is_closing()


@pytest.mark.skipif("sys.version_info < (3, 13)", reason="earlier ones report the cancellation")
def test_a_callback_that_is_cancelled(loop, served):
    tasks: list[Any] = []

    async def callback(_reader: Any, _writer: Any) -> None:
        tasks.append(asyncio.current_task())
        await asyncio.sleep(100)

    transport, _ = served(callback)
    spin(loop, 3)
    tasks[0].cancel()
    spin(loop, 3)
    assert transport.is_closing()


def test_an_unwanted_connection(loop):
    reports = collect_reports(loop)
    protocol: Any = asyncio.StreamReaderProtocol(asyncio.StreamReader(loop=loop), loop=loop)
    protocol._reject_connection = True
    transport = Transport()
    protocol.connection_made(transport)
    assert transport.closing
    assert "garbage collected" in reports[0]["message"]


def test_dropping_a_writer(loop):
    """From 3.11.5 on an open one is closed, with a warning."""
    made = Made(loop)
    transport = made.transport
    with resource_warnings() as seen:
        del made
        gc.collect()
    has_finalizer = hasattr(asyncio.streams.StreamWriter, "__del__")
    assert transport.closing == has_finalizer
    assert [text.startswith("unclosed <StreamWriter") for text in seen] == [True] * has_finalizer


@pytest.mark.parametrize("end", ["eof", "error"])
def test_dropping_a_protocol_says_nothing(loop, end):
    reports = collect_reports(loop)
    made = Made(loop)
    made.protocol.connection_lost(None if end == "eof" else OSError("gone"))
    made.transport.closing = True
    del made
    gc.collect()
    spin(loop)
    assert reports == []


def test_eof_over_tls_and_without(loop, made):
    assert made.protocol.eof_received() is True
    assert made.reader.at_eof()
    made.protocol._over_ssl = True
    assert made.protocol.eof_received() is False


def test_the_names_that_are_used_inside(loop, made):
    protocol: Any = made.protocol
    assert protocol._stream_reader is made.reader
    assert protocol._stream_reader_wr() is made.reader
    assert protocol._transport is made.transport
    assert protocol._loop is loop
    assert protocol._client_connected_cb is None
    assert protocol._over_ssl is False
    assert protocol._connection_lost is False
    assert protocol._get_close_waiter(made.writer) is protocol._closed
    assert not protocol._closed.done()
    assert made.writer._complete_fut.done()
    if sys.version_info >= (3, 13):
        protocol._replace_transport(other := Transport())
        assert protocol._transport is other
