"""TLS clients that behave badly, as many as asked for, against one server.

Here: the ways to behave badly, and what must be true afterwards.
Not here: how many (stress/test_tls_storms.py, faults/test_tls_storms.py).
Runs in the thread of the loop under test.
Invariant: at the end every connection is over, every descriptor is closed, memory is given back,
and nobody was told anything but the protocols.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import random
import socket
import ssl
from collections.abc import Awaitable, Callable

from tests.loopback import Recorder, collect_reports, open_fds, reset, turns, until, within
from tests.tls_peer import Peer, client_context, server_context

TOGETHER = 20

Misdeed = Callable[[Peer, random.Random], Awaitable[None]]


async def hello_only(peer: Peer, pick: random.Random) -> None:
    """A ClientHello, or a part of it, and no more."""
    with contextlib.suppress(ssl.SSLWantReadError):
        peer.tls.do_handshake()
    hello = peer.outgoing.read()
    await peer.send_raw(hello[: pick.randrange(1, len(hello) + 1)])


async def garbage_at_once(peer: Peer, pick: random.Random) -> None:
    await peer.send_raw(pick.randbytes(pick.randrange(1, 3000)))


async def stall(peer: Peer, pick: random.Random) -> None:
    """Nothing at all, for longer than a handshake may take."""
    await asyncio.sleep(pick.random() / 10)


async def garbage_later(peer: Peer, pick: random.Random) -> None:
    await peer.handshake()
    await peer.send_raw(peer.records(b"hello") + pick.randbytes(1000))


async def no_close_notify(peer: Peer, pick: random.Random) -> None:
    await peer.handshake()
    await peer.send(b"hello")
    peer.sock.shutdown(socket.SHUT_WR)


async def half_a_record(peer: Peer, pick: random.Random) -> None:
    await peer.handshake()
    record = peer.records(pick.randbytes(1000))
    await peer.send_raw(record[: pick.randrange(1, len(record))])


async def bytes_apart(peer: Peer, pick: random.Random) -> None:
    await peer.handshake()
    for byte in b"one by one":
        await peer.send(bytes([byte]))
    await peer.send_raw(peer.close_notify())


async def resets(peer: Peer, pick: random.Random) -> None:
    await peer.handshake()
    await peer.send(b"hello")
    reset(peer.sock)


async def ends_and_goes_on(peer: Peer, pick: random.Random) -> None:
    """Data behind the close_notify."""
    await peer.handshake()
    last = peer.records(b"hello")
    await peer.send_raw(peer.close_notify() + last)


async def never_reads(peer: Peer, pick: random.Random) -> None:
    """The server's answers and its close_notify stay in the kernel."""
    await peer.handshake()
    for _ in range(5):
        await peer.send(pick.randbytes(20_000))
    await peer.send_raw(peer.close_notify())


MISDEEDS: list[Misdeed] = [
    hello_only,
    garbage_at_once,
    stall,
    garbage_later,
    no_close_notify,
    half_a_record,
    bytes_apart,
    resets,
    ends_and_goes_on,
    never_reads,
]


class Answering(Recorder):
    """Echoes, and counts those that were told of a beginning and not of the end."""

    alive = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        Answering.alive += 1

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self.transport.write(data)

    def connection_lost(self, exc: BaseException | None) -> None:
        super().connection_lost(exc)
        Answering.alive -= 1
        if exc is not None:
            # Its traceback knows everybody.
            exc.__traceback__ = None


def resident() -> int:
    """Bytes of this process in memory."""
    with open("/proc/self/statm", encoding="ascii") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


async def storm(count: int) -> None:
    """`count` bad clients to warm up, then as many again: nothing may have grown."""
    loop = asyncio.get_running_loop()
    reports = collect_reports(loop)
    pick = random.Random(count)
    trusting = client_context()
    server = await loop.create_server(
        Answering,
        "127.0.0.1",
        0,
        ssl=server_context(),
        backlog=200,
        ssl_handshake_timeout=0.05,
        ssl_shutdown_timeout=0.05,
    )
    where = server.sockets[0].getsockname()

    async def client(number: int) -> None:
        with socket.socket() as sock:
            sock.setblocking(False)
            await within(loop.sock_connect(sock, where))
            peer = Peer(sock, trusting, server_side=False)
            # The server may have had enough already: that is its right.
            with contextlib.suppress(OSError, EOFError, ssl.SSLError):
                await MISDEEDS[number % len(MISDEEDS)](peer, pick)

    async def clients() -> tuple[int, int]:
        for start in range(0, count, TOGETHER):
            await asyncio.gather(*(client(start + i) for i in range(TOGETHER)))
        await until(lambda: not Answering.alive and not pending())
        for _ in range(3):
            gc.collect()
        await turns(2)
        return len(open_fds()), resident()

    idle = len(open_fds())

    def pending() -> bool:
        return len(open_fds()) > idle

    await clients()
    before = await clients()
    after = await clients()
    server.close()
    await turns(3)
    assert after[0] == before[0] == idle
    assert after[1] - before[1] < 1_000_000 + count * 200, (before, after)
    assert not reports, reports[:3]
