"""What a program received is its own: it never changes, whatever comes next.

Lives here: messages that are kept, dropped, viewed, hashed and answered, on sockets, pipes and
datagram endpoints. Does not live here: order and loss (test_transports.py).
Runs in the main thread, on asyncio and on rulip.
"""

from __future__ import annotations

import asyncio
import os
import random
import socket
from typing import Any

import pytest
from tests.loopback import run_until, unix_sockets

# Around what allocators treat differently, and what reading does.
SIZES = (1, 479, 480, 481, 600, 1000, 1024, 1100, 4096, 5000, 16383, 16384, 16385, 40000)


class Keeper(asyncio.Protocol, asyncio.DatagramProtocol):
    """Does with each message what a program might do."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.kept: list[tuple[Any, bytes]] = []
        self.by_content: dict[bytes, int] = {}
        self.received = 0
        self.expected = 0

    def receive(self, loop: asyncio.AbstractEventLoop, count: int) -> None:
        """Run the loop until so many more bytes have come."""
        self.expected += count
        run_until(loop, lambda: self.received == self.expected)

    def data_received(self, data: bytes) -> None:
        self.received += len(data)
        assert type(data) is bytes
        copy = bytes(memoryview(data))
        assert data == copy
        assert hash(data) == hash(copy)
        assert data[-1:] + data[:1] == copy[-1:] + copy[:1]
        match self.random.randrange(6):
            case 0:
                self.kept.append((data, copy))
            case 1:
                self.kept.append((memoryview(data), copy))
            case 2:
                self.kept.append((memoryview(data)[1:], copy[1:]))
            case 3:
                self.by_content[data] = len(data)
                assert self.by_content[copy] == len(data)
            case _:
                pass

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self.data_received(data)

    def check(self) -> None:
        for kept, copy in self.kept:
            assert kept == copy
        for content, size in self.by_content.items():
            assert len(content) == size
            assert self.by_content[bytes(memoryview(content))] == size


def messages(count: int) -> list[bytes]:
    made = random.Random(count)
    some = []
    for _ in range(count):
        size = made.choice(SIZES)
        # One size many times, as protocols have it.
        some += [made.randbytes(size) for _ in range(made.choice((1, 1, 5)))]
    return some


@pytest.mark.parametrize("seed", range(3))
def test_on_a_socket(loop, seed):
    ours, theirs = unix_sockets()
    keeper = Keeper(seed)
    transport, _ = loop.run_until_complete(loop.create_connection(lambda: keeper, sock=ours))
    for message in messages(120):
        theirs.sendall(message)
        keeper.receive(loop, len(message))
    transport.close()
    theirs.close()
    keeper.check()


def test_on_a_pipe(loop):
    reading, writing = os.pipe()
    keeper = Keeper(0)
    transport, _ = loop.run_until_complete(
        loop.connect_read_pipe(lambda: keeper, os.fdopen(reading, "rb", 0))
    )
    for message in messages(120):
        keeper.receive(loop, os.write(writing, message))
    transport.close()
    os.close(writing)
    keeper.check()


def test_of_datagrams(loop):
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    ours.setblocking(False)
    keeper = Keeper(0)
    transport, _ = loop.run_until_complete(loop.create_datagram_endpoint(lambda: keeper, sock=ours))
    for message in messages(60):
        theirs.send(message)
        keeper.receive(loop, len(message))
    transport.close()
    theirs.close()
    keeper.check()


class Echo(asyncio.Protocol):
    """Answers with what it got, which waits to be sent while others receive."""

    def __init__(self) -> None:
        self.transport: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.transport.write(data)
        self.transport.write(data)


def test_answers_of_many_connections_at_once(loop):
    """More connections are served in a turn than there are objects to use again."""
    pairs = [unix_sockets() for _ in range(40)]
    for ours, _ in pairs:
        loop.run_until_complete(loop.create_connection(Echo, sock=ours))
    made = random.Random(1)
    for size in (1024, 1000, 3000, 1024):
        sent = [made.randbytes(size) for _ in pairs]
        for message, (_, theirs) in zip(sent, pairs, strict=True):
            theirs.sendall(message)
        got = [bytearray() for _ in pairs]

        def receive(got: list[bytearray] = got, size: int = size) -> bool:
            for answer, (_, theirs) in zip(got, pairs, strict=True):
                while len(answer) < 2 * size:
                    try:
                        answer += theirs.recv(2 * size)
                    except BlockingIOError:
                        break
            return all(len(answer) == 2 * size for answer in got)

        for _, theirs in pairs:
            theirs.setblocking(False)
        run_until(loop, receive)
        for _, theirs in pairs:
            theirs.setblocking(True)
        assert got == [2 * message for message in sent]
    for _, theirs in pairs:
        theirs.close()
    run_until(loop, lambda: all(ours.fileno() == -1 for ours, _ in pairs))
