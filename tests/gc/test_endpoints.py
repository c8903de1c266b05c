"""Datagram endpoints, pipes and children leave nothing, and their cycles die.

Not here: streams (test_flat_counts.py, test_cycles.py).
Runs in the main thread.
Invariant: an operation that is over has left nothing; one body for both loops; stock asyncio passes
every test.
"""

from __future__ import annotations

import asyncio
import gc
import os
import socket
import weakref
from typing import Any

import pytest
from tests.gc.test_flat_counts import assert_flat
from tests.loopback import open_fds, resource_warnings, turns, until


class Datagrams(asyncio.DatagramProtocol):
    def __init__(self) -> None:
        self.count = 0
        self.transport: Any = None

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self.count += 1
        if data != b"end":
            self.transport.sendto(b"end", addr)


class Pipe(asyncio.Protocol):
    """With room for attributes."""


@pytest.mark.parametrize("end", ["close", "abort"])
def test_datagram_endpoints(loop, end):
    async def main(count):
        for _ in range(count):
            first, one = await loop.create_datagram_endpoint(Datagrams, local_addr=("127.0.0.1", 0))
            second, _ = await loop.create_datagram_endpoint(
                Datagrams, remote_addr=first.get_extra_info("sockname")
            )
            second.sendto(b"x")
            second.sendto(bytearray(b"y"))
            second.sendto(memoryview(b"z"))
            second.pause_reading()
            second.resume_reading()
            await until(lambda one=one: one.count == 3)
            getattr(first, end)()
            getattr(second, end)()
            await turns(2)

    assert_flat(lambda count: loop.run_until_complete(main(count)), 40)


def test_datagrams(loop):
    first, one = loop.run_until_complete(
        loop.create_datagram_endpoint(Datagrams, local_addr=("127.0.0.1", 0))
    )
    address = first.get_extra_info("sockname")

    async def main(count):
        for _ in range(count):
            before = one.count
            first.sendto(b"end", address)
            first.sendto(b"end", tuple(address))
            await until(lambda before=before: one.count == before + 2)

    assert_flat(lambda count: loop.run_until_complete(main(count)))
    first.close()
    loop.run_until_complete(turns(2))


def test_queued_datagrams_of_an_aborted_endpoint(loop, tmp_path):
    path = str(tmp_path / "full")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind(path)

        async def main(count):
            for _ in range(count):
                transport, _ = await loop.create_datagram_endpoint(
                    Datagrams, remote_addr=path, family=socket.AF_UNIX
                )
                while not transport.get_write_buffer_size():
                    transport.sendto(b"x" * 1000)
                for _ in range(20):
                    transport.sendto(b"x" * 1000)
                transport.abort()
                await turns(2)

        assert_flat(lambda count: loop.run_until_complete(main(count)), 30)


@pytest.mark.parametrize("end", ["reader", "writer"])
def test_pipes(loop, end):
    async def main(count):
        for _ in range(count):
            reading, writing = os.pipe()
            reader, _ = await loop.connect_read_pipe(asyncio.Protocol, os.fdopen(reading, "rb", 0))
            writer, _ = await loop.connect_write_pipe(
                asyncio.BaseProtocol, os.fdopen(writing, "wb", 0)
            )
            writer.write(b"x" * 300_000)
            reader.pause_reading()
            await turns(2)
            reader.resume_reading()
            await until(lambda writer=writer: not writer.get_write_buffer_size())
            (reader if end == "reader" else writer).close()
            await turns(3)
            reader.close()
            writer.close()
            await turns(3)

    assert_flat(lambda count: loop.run_until_complete(main(count)), 40)


def test_children(loop):
    async def main(count):
        for _ in range(count):
            child = await asyncio.create_subprocess_exec("/bin/cat", stdin=-1, stdout=-1)
            assert await child.communicate(b"x") == (b"x", None)
            del child
            await turns(3)

    # Popen keeps what it may reap later; a child is hundreds of blocks.
    assert_flat(lambda count: loop.run_until_complete(main(count)), 15, slack=20)


def endpoint(loop, kind: str) -> tuple[Any, Any, list[int]]:
    """An open transport, its protocol, and descriptors to close afterwards."""
    if kind == "datagram":
        making = loop.create_datagram_endpoint(Datagrams, local_addr=("127.0.0.1", 0))
        return (*loop.run_until_complete(making), [])
    reading, writing = os.pipe()
    if kind == "reader":
        making = loop.connect_read_pipe(Pipe, os.fdopen(reading, "rb", 0))
        return (*loop.run_until_complete(making), [writing])
    making = loop.connect_write_pipe(Pipe, os.fdopen(writing, "wb", 0))
    return (*loop.run_until_complete(making), [reading])


KINDS = ["datagram", "reader", "writer"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_cycle_with_a_closed_transport(loop, kind):
    transport, protocol, others = endpoint(loop, kind)
    protocol.me = protocol
    protocol.other = transport
    transport.set_protocol(protocol)
    transport.close()
    loop.run_until_complete(turns(3))
    refs = weakref.ref(transport), weakref.ref(protocol)
    del transport, protocol
    gc.collect()
    assert [ref() for ref in refs] == [None, None]
    for fd in others:
        os.close(fd)


@pytest.mark.parametrize("kind", KINDS)
def test_an_open_transport_of_a_closed_loop(loop, kind):
    transport, protocol, others = endpoint(loop, kind)
    protocol.other = transport
    refs = weakref.ref(transport), weakref.ref(protocol)
    loop.close()
    before = open_fds()
    with resource_warnings() as texts:
        del transport, protocol
    assert [text.startswith("unclosed transport") for text in texts].count(True) == 1
    assert [ref() for ref in refs] == [None, None]
    # Exactly its own descriptor was closed.
    assert len(before.keys() - open_fds().keys()) == 1
    for fd in others:
        os.close(fd)


@pytest.mark.parametrize("kind", KINDS)
def test_an_open_transport_of_a_loop_that_nobody_holds(loop_factory, kind):
    loop = loop_factory()
    transport, protocol, others = endpoint(loop, kind)
    protocol.loop = loop
    refs = weakref.ref(transport), weakref.ref(protocol), weakref.ref(loop)
    with resource_warnings() as texts:
        del transport, protocol, loop
    assert any("unclosed event loop" in text for text in texts)
    assert [ref() for ref in refs] == [None, None, None]
    for fd in others:
        os.close(fd)


@pytest.mark.parametrize("kind", KINDS)
def test_attributes_and_weak_references(loop, kind):
    transport, protocol, others = endpoint(loop, kind)
    transport.note = "kept"
    assert vars(transport)["note"] == "kept"
    died: list[str] = []
    weakref.finalize(transport, died.append, "transport")
    transport.close()
    loop.run_until_complete(turns(3))
    del transport, protocol
    gc.collect()
    assert died == ["transport"]
    for fd in others:
        os.close(fd)
