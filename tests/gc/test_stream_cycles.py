"""Cycles through readers, writers, their protocol, their reads and drains: all of them die.

Not here: other types (test_cycles.py). Runs in the main thread.
Invariant: what nothing outside holds is gone after one collection; nothing grows with the number of
messages or connections.
"""

from __future__ import annotations

import asyncio
import gc
import sys
import weakref
from typing import Any

import pytest
from tests.loopback import spin, tcp_sockets, turns, within

import rulip

pytestmark = pytest.mark.loops("rulip")


class Token:
    """Something in the cycle that can be watched."""


class Transport(asyncio.Transport):
    """Open until told otherwise."""

    closing = False

    def is_closing(self) -> bool:
        return self.closing


def gone(*refs: weakref.ref[Any]) -> bool:
    gc.collect()
    return [ref() for ref in refs] == [None] * len(refs)


def test_a_reader_that_holds_itself(loop):
    reader = rulip.StreamReader(loop=loop)
    reader.me = reader  # type: ignore[attr-defined]
    reader._transport = [reader]  # type: ignore[assignment]
    exc = ValueError()
    exc.reader = reader  # type: ignore[attr-defined]
    reader.set_exception(exc)
    ref = weakref.ref(reader)
    del reader, exc
    assert gone(ref)


def test_a_read_that_waits_for_ever(loop):
    """Reader, future, task, coroutine, read, reader."""
    loop.set_exception_handler(lambda loop, context: None)  # a report kept is a task kept
    token = Token()
    reader = rulip.StreamReader(loop=loop)

    async def wait(kept: Any) -> None:
        await reader_of().readline()

    reader_of = weakref.ref(reader)
    task = loop.create_task(wait(token))
    spin(loop, 2)
    refs = weakref.ref(token), weakref.ref(reader), weakref.ref(task)
    del task, token, reader
    assert gone(*refs)


def test_a_drain_that_waits_for_ever(loop):
    loop.set_exception_handler(lambda loop, context: None)  # a report kept is a task kept
    token = Token()
    reader = rulip.StreamReader(loop=loop)
    protocol = rulip.StreamReaderProtocol(reader, loop=loop)
    transport = Transport()
    writer = rulip.StreamWriter(transport, protocol, reader, loop)
    protocol.pause_writing()

    async def wait(kept: Any, writer: Any) -> None:
        await writer.drain()

    task = loop.create_task(wait(token, writer))
    spin(loop, 2)
    refs = weakref.ref(token), weakref.ref(protocol), weakref.ref(task)
    transport.closing = True
    del task, token, reader, protocol, writer, transport
    assert gone(*refs)


def test_a_read_driven_by_hand_and_dropped(loop):
    reader = rulip.StreamReader(loop=loop)
    read = reader.readline()
    future = read.send(None)
    future.add_done_callback(lambda _, kept=(read, reader): None)
    ref = weakref.ref(reader)
    del read, reader, future
    assert gone(ref)


def test_a_whole_connection(loop):
    async def main() -> list[weakref.ref[Any]]:
        near, far = tcp_sockets()
        reader, writer = await rulip.open_connection(sock=near)
        with far:
            far.send(b"line\n")
            await within(reader.readline())
        refs = [weakref.ref(reader), weakref.ref(writer._protocol), weakref.ref(writer)]
        reader.writer = writer  # type: ignore[attr-defined]
        writer.close()
        await within(writer.wait_closed())
        return refs

    refs = loop.run_until_complete(main())
    spin(loop, 2)
    assert gone(*refs)


def test_a_server_keeps_nothing_of_its_clients(loop):
    refs: list[weakref.ref[Any]] = []

    async def serve(reader: Any, writer: Any) -> None:
        refs.extend([weakref.ref(reader), weakref.ref(writer)])
        async for line in reader:
            writer.write(line)
            await writer.drain()
        writer.close()

    async def main() -> None:
        server = await rulip.start_server(serve, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        for _ in range(5):
            reader, writer = await rulip.open_connection("127.0.0.1", port)
            writer.write(b"line\n")
            assert await within(reader.readline()) == b"line\n"
            writer.close()
            await within(writer.wait_closed())
        await turns(5)
        server.close()
        await server.wait_closed()

    loop.run_until_complete(main())
    spin(loop, 3)
    assert len(refs) == 10
    assert gone(*refs)


def test_counts_stay_flat(loop):
    reader = rulip.StreamReader(loop=loop)
    line = b"x" * 100 + b"\n"

    async def rounds(count: int) -> None:
        for _ in range(count):
            waiting = loop.create_task(reader.readline())
            await asyncio.sleep(0)
            reader.feed_data(line + line)
            assert await waiting == line
            assert await reader.readline() == line

    loop.run_until_complete(rounds(50))
    gc.collect()
    before = len(gc.get_objects()), sys.getrefcount(reader), sys.getrefcount(loop)
    loop.run_until_complete(rounds(500))
    gc.collect()
    after = len(gc.get_objects()), sys.getrefcount(reader), sys.getrefcount(loop)
    assert after[0] - before[0] < 20
    assert after[1:] == before[1:]
