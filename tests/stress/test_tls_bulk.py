"""Much data over TLS into a protocol's own buffers.

Here: every byte, with buffers from one byte up, and what it costs beside a blocking socket.
Not here: what is told about such a connection (asyncio/test_tls.py).
The sender is a thread with Python's own ssl socket; the loop runs in the main thread.
Invariant: the stream arrives byte for byte, and its end is a clean one.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import socket
import ssl
import time
from collections.abc import Iterator
from typing import Any

import pytest
from tests.loopback import no_fd_leak, thread, within
from tests.tls_peer import client_context, server_context

BLOCK = os.urandom(1 << 20)


def digest(size: int) -> bytes:
    """Of the stream that the sender makes."""
    whole = hashlib.blake2b()
    for start in range(0, size, len(BLOCK)):
        whole.update(BLOCK[: size - start])
    return whole.digest()


@contextlib.contextmanager
def sender(size: int) -> Iterator[tuple[str, int]]:
    """Where one client gets `size` bytes and a close_notify."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(10)

        def send() -> None:
            sock, _ = listener.accept()
            sock.settimeout(60)
            with server_context().wrap_socket(sock, server_side=True) as tls:
                for start in range(0, size, len(BLOCK)):
                    tls.sendall(BLOCK[: size - start])
                # Whether the client answers before it closes is its own affair.
                with contextlib.suppress(OSError):
                    tls.unwrap()

        with thread(send):
            yield listener.getsockname()


class Filling(asyncio.BufferedProtocol):
    """Counts and digests what comes into a buffer of a fixed size."""

    def __init__(self, size: int, *, hashing: bool = True) -> None:
        self.buffer = memoryview(bytearray(size))
        self.count = 0
        self.digest = hashlib.blake2b()
        self.hashing = hashing
        self.lost: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

    def get_buffer(self, sizehint: int) -> memoryview:
        return self.buffer

    def buffer_updated(self, nbytes: int) -> None:
        assert nbytes > 0
        self.count += nbytes
        if self.hashing:
            self.digest.update(self.buffer[:nbytes])

    def connection_lost(self, exc: BaseException | None) -> None:
        self.lost.set_result(exc)


@pytest.mark.parametrize(
    ("room", "size"),
    [(1 << 18, 100_000_000), (16 * 1024 + 1, 20_000_000), (100, 1_000_000), (1, 20_000)],
)
def test_every_byte_arrives(run, room, size):
    async def main(where):
        loop = asyncio.get_running_loop()
        _, protocol = await within(
            loop.create_connection(
                lambda: Filling(room), *where, ssl=client_context(), server_hostname="localhost"
            )
        )
        assert await within(protocol.lost, 60) is None
        assert protocol.count == size
        assert protocol.digest.digest() == digest(size)

    with no_fd_leak(), sender(size) as where:
        run(main(where))


@pytest.mark.loops("rulip")
def test_it_costs_no_more_than_a_blocking_socket(run):
    """Within a factor that no load of the machine explains; measured, the two are level."""
    size, room = 50_000_000, 1 << 18

    def blocking() -> float:
        with sender(size) as where, socket.create_connection(where) as sock:
            context: ssl.SSLContext = client_context()
            with context.wrap_socket(sock, server_hostname="localhost") as tls:
                view = memoryview(bytearray(room))
                start, count = time.thread_time(), 0
                while got := tls.recv_into(view):
                    count += got
                assert count == size
                return time.thread_time() - start

    def with_a_loop() -> float:
        async def main(where) -> float:
            loop = asyncio.get_running_loop()
            _, protocol = await loop.create_connection(
                lambda: Filling(room, hashing=False),
                *where,
                ssl=client_context(),
                server_hostname="localhost",
            )
            start = time.thread_time()
            assert await within(protocol.lost, 60) is None
            assert protocol.count == size
            return time.thread_time() - start

        with sender(size) as where:
            cost: float = run(main(where))
            return cost

    assert min(with_a_loop() for _ in range(3)) < 2 * min(blocking() for _ in range(3)) + 0.05
