"""Echoing protocols, factories that keep what they made, and clients, for the tests of servers.

Not here: peers and recorders of any protocol (tests/loopback.py).
Runs in the thread of the loop under test.
Invariant: a client's whole life is bounded in time.
"""

from __future__ import annotations

import asyncio
import socket
from typing import Any

from tests.loopback import Recorder, recv_exactly, within


class Echo(Recorder):
    """Echoes; each new one is found in `Echo.made_ones` of the factory that made it."""

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self.transport.write(data)


class Factory:
    """A protocol factory that keeps what it made."""

    def __init__(self, kind: type[Recorder] = Echo) -> None:
        self.kind = kind
        self.made: list[Any] = []

    def __call__(self) -> Recorder:
        self.made.append(self.kind())
        return self.made[-1]

    async def all_lost(self) -> None:
        for protocol in self.made:
            await within(protocol.lost)


def address(server: asyncio.Server) -> tuple[str, int]:
    return server.sockets[0].getsockname()[:2]


async def call(where: tuple[str, int], message: bytes = b"hello") -> bytes:
    """One client's whole life: connect, send, receive as much, close."""
    loop = asyncio.get_running_loop()
    with socket.socket() as client:
        client.setblocking(False)
        await within(loop.sock_connect(client, where))
        await within(loop.sock_sendall(client, message))
        return await recv_exactly(client, len(message))
