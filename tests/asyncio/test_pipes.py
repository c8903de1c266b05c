"""connect_read_pipe and connect_write_pipe: one-way transports over pipes.

Not here: the pipes of subprocesses.
Runs in the main thread; the other end is a plain descriptor.
Invariant: one owner per descriptor, closed once, whatever happens; one body for both loops; stock
asyncio passes every test.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import socket
from collections.abc import Iterator
from typing import Any, BinaryIO

import pytest
from tests.loopback import (
    Recorder,
    collect_reports,
    no_fd_leak,
    open_fds,
    resource_warnings,
    turns,
    until,
    within,
)


@contextlib.contextmanager
def pipe() -> Iterator[tuple[BinaryIO, BinaryIO]]:
    """Reading and writing file objects; closed at the end if they are still open."""
    reading, writing = os.pipe()
    with os.fdopen(reading, "rb", 0) as first, os.fdopen(writing, "wb", 0) as second:
        yield first, second


class Reading(Recorder):
    """connection_made is told by asyncio's pipe transports as by all others."""


class Writing(Recorder):
    def data_received(self, data: bytes) -> None:
        raise AssertionError("a write pipe receives nothing")


def test_reading(run):
    async def main():
        loop = asyncio.get_running_loop()
        with pipe() as (reading, writing):
            transport, protocol = await loop.connect_read_pipe(Reading, reading)
            assert isinstance(transport, asyncio.ReadTransport)
            assert transport.get_extra_info("pipe") is reading
            os.write(writing.fileno(), b"hello")
            await protocol.wait_received(5)
            writing.close()
            assert await within(protocol.lost) is None
            assert protocol.calls == [
                "connection_made",
                "data_received",
                "eof_received",
                "connection_lost",
            ]
            await turns(1)
            assert reading.closed

    with no_fd_leak():
        run(main())


def test_reading_in_large_amounts_with_pauses(run):
    data = os.urandom(1_000_000)

    async def main():
        loop = asyncio.get_running_loop()
        with pipe() as (reading, writing):
            transport, protocol = await loop.connect_read_pipe(Reading, reading)
            transport.pause_reading()
            os.set_blocking(writing.fileno(), False)
            sent = 0
            while sent < len(data):
                with contextlib.suppress(BlockingIOError):
                    sent += os.write(writing.fileno(), data[sent : sent + 60_000])
                transport.resume_reading()
                await turns(2)
                transport.pause_reading()
            transport.resume_reading()
            writing.close()
            await within(protocol.lost)
            assert bytes(protocol.received) == data

    with no_fd_leak():
        run(main())


def test_writing(run):
    async def main():
        loop = asyncio.get_running_loop()
        with pipe() as (reading, writing):
            transport, protocol = await loop.connect_write_pipe(Writing, writing)
            assert isinstance(transport, asyncio.WriteTransport)
            assert isinstance(transport, asyncio.Transport)
            for name in ("pause_reading", "resume_reading", "is_reading"):
                with pytest.raises(NotImplementedError):
                    getattr(transport, name)()
            assert transport.get_extra_info("pipe") is writing
            transport.write(b"hello")
            transport.write(bytearray(b", world"))
            assert os.read(reading.fileno(), 100) == b"hello, world"
            assert transport.can_write_eof()
            transport.write_eof()
            assert await within(protocol.lost) is None
            assert os.read(reading.fileno(), 100) == b""
            await turns(1)
            assert writing.closed

    with no_fd_leak():
        run(main())


def test_writing_more_than_the_pipe_holds(run):
    """Pauses above the high mark, resumes at the low one, and every byte arrives."""
    data = os.urandom(2_000_000)

    async def main():
        loop = asyncio.get_running_loop()
        with pipe() as (reading, writing):
            transport, protocol = await loop.connect_write_pipe(Writing, writing)
            assert transport.get_write_buffer_limits() == (16_384, 65_536)
            transport.write(data)
            assert protocol.calls[-1] == "pause_writing"
            assert transport.get_write_buffer_size() > 65_536
            os.set_blocking(reading.fileno(), False)
            received = bytearray()
            transport.close()
            while not protocol.lost.done() or len(received) < len(data):
                with contextlib.suppress(BlockingIOError):
                    received += os.read(reading.fileno(), 1 << 16)
                await turns(1)
            assert received == data
            assert protocol.lost.result() is None

    with no_fd_leak():
        run(main())


def test_a_reader_that_goes_away(run):
    async def main():
        loop = asyncio.get_running_loop()
        reports = collect_reports(loop)
        with pipe() as (reading, writing):
            transport, protocol = await loop.connect_write_pipe(Writing, writing)
            transport.write(b"x" * 500_000)
            reading.close()
            exc = await within(protocol.lost)
            assert exc is None or isinstance(exc, BrokenPipeError)
            assert transport.is_closing()
        assert reports == []

    with no_fd_leak():
        run(main())


def test_an_idle_writer_notices_the_reader_going_away(run):
    async def main():
        loop = asyncio.get_running_loop()
        with pipe() as (reading, writing):
            _, protocol = await loop.connect_write_pipe(Writing, writing)
            reading.close()
            exc = await within(protocol.lost)
            assert exc is None or isinstance(exc, BrokenPipeError)

    with no_fd_leak():
        run(main())


@pytest.mark.parametrize("kind", ["fifo", "socket", "terminal"])
def test_other_things_than_pipes(run, tmp_path, kind):
    async def main():
        loop = asyncio.get_running_loop()
        if kind == "fifo":
            path = str(tmp_path / "fifo")
            os.mkfifo(path)
            first = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
            second = os.open(path, os.O_WRONLY)
        elif kind == "socket":
            left, right = socket.socketpair()
            first, second = left.detach(), right.detach()
        else:
            second, first = os.openpty()
        reading, writing = os.fdopen(first, "rb", 0), os.fdopen(second, "wb", 0)
        reader, protocol = await loop.connect_read_pipe(Reading, reading)
        writer, writing_protocol = await loop.connect_write_pipe(Writing, writing)
        writer.write(b"hello\n")
        await protocol.wait_received(6)
        assert bytes(protocol.received) == b"hello\n"
        for transport in (writer, reader):
            transport.close()
        for each in (protocol, writing_protocol):
            await within(each.lost)
        await turns(2)

    with no_fd_leak():
        run(main())


def test_what_is_refused(run, tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"x")

    async def main():
        loop = asyncio.get_running_loop()
        with open(path, "r+b", buffering=0) as file:
            with pytest.raises(ValueError, match="Pipe transport is"):
                await loop.connect_read_pipe(Reading, file)
            with pytest.raises(ValueError, match="Pipe transport is"):
                await loop.connect_write_pipe(Writing, file)

    with no_fd_leak():
        run(main())


@pytest.mark.parametrize("method", ["connect_read_pipe", "connect_write_pipe"])
def test_cancelling_at_every_step_never_harms_another_descriptor(run, method):
    """Cancelled, closed, collected: only its own descriptor is ever closed, and once."""

    async def attempt(step):
        loop = asyncio.get_running_loop()
        with pipe() as (reading, writing):
            mine = reading if method == "connect_read_pipe" else writing
            task = loop.create_task(getattr(loop, method)(asyncio.Protocol, mine))
            await turns(step)
            over = task.done()
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                transport, _ = await within(task)
                (transport.abort if method == "connect_write_pipe" else transport.close)()
            await turns(3)
            strangers = [os.pipe() for _ in range(20)]
            before = open_fds()
            del task, mine
            gc.collect()
            assert set(before.items()) <= set(open_fds().items())
            for ends in strangers:
                os.write(ends[1], b"alive")
                assert os.read(ends[0], 5) == b"alive"
        for ends in strangers:
            for end in ends:
                os.close(end)
        return over

    for step in range(20):
        with no_fd_leak():
            if run(attempt(step)):
                return
    pytest.fail("never over")


@pytest.mark.parametrize("method", ["connect_read_pipe", "connect_write_pipe"])
def test_a_pipe_left_open_at_the_end_of_its_loop_is_reported(loop, method):
    reading, writing = os.pipe()
    files: list[Any] = [os.fdopen(reading, "rb", 0), os.fdopen(writing, "wb", 0)]

    async def main():
        mine = files.pop(0 if method == "connect_read_pipe" else 1)
        await getattr(loop, method)(asyncio.Protocol, mine)

    with resource_warnings() as texts:
        loop.run_until_complete(main())
        loop.close()
    assert any(text.startswith("unclosed transport") for text in texts), texts
    assert open_fds().keys().isdisjoint({reading, writing} - {files[0].fileno()})
    files[0].close()


def test_a_callback_that_raises_ends_its_pipe(run):
    class Bombed(Reading):
        def data_received(self, data):
            raise ZeroDivisionError

    async def main():
        loop = asyncio.get_running_loop()
        reports = collect_reports(loop)
        with pipe() as (reading, writing):
            transport, protocol = await loop.connect_read_pipe(Bombed, reading)
            os.write(writing.fileno(), b"x")
            await until(lambda: reports)
            assert isinstance(reports[0]["exception"], ZeroDivisionError)
            # asyncio leaves the pipe open.
            transport.close()
            await within(protocol.lost)

    with no_fd_leak():
        run(main())
