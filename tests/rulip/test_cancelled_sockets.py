"""A sock_* operation cancelled in the very turn it succeeds: nothing is lost.

asyncio has taken the bytes, the datagram or the client by then, and the cancellation drops it
(docs/compat.md); rulip takes nothing for a task that will not get it.
Runs in the main thread.
Invariant: whatever the order of arrival and cancellation, each byte, datagram, client comes once.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket

import pytest
from tests.loopback import (
    no_fd_leak,
    tcp_listener,
    tcp_sockets,
    turns,
    unix_sockets,
    within,
)

pytestmark = pytest.mark.loops("rulip")


@pytest.fixture(params=[tcp_sockets, unix_sockets], ids=["tcp", "unix"])
def sockets(request):
    return request.param


@contextlib.asynccontextmanager
async def pair(make=tcp_sockets):
    near, far = make()
    with near, far:
        yield near, far


def datagram_sockets():
    near, far = (socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2))
    for sock in (near, far):
        sock.bind(("127.0.0.1", 0))
        sock.setblocking(False)
    return near, far


def test_a_cancelled_receive_loses_no_byte(run, sockets):
    """Cancel in the very turn the data comes, thousands of times: every byte arrives once."""
    rounds = 4000

    async def main():
        loop = asyncio.get_running_loop()
        pick = random.Random(12)
        async with pair(sockets) as (near, far):
            sent, received = bytearray(), bytearray()
            for number in range(rounds):
                task = asyncio.ensure_future(loop.sock_recv(near, 3))
                await turns(pick.randrange(3))
                steps = [
                    lambda number=number: (
                        far.send(bytes([number & 255])),
                        sent.append(number & 255),
                    ),
                    task.cancel,
                ]
                pick.shuffle(steps)
                for step in steps:
                    step()
                    await turns(pick.randrange(3))
                with contextlib.suppress(asyncio.CancelledError):
                    received += await task
            far.close()
            while chunk := await within(loop.sock_recv(near, 1 << 16)):
                received += chunk
            assert received == sent
            assert len(sent) == rounds

    run(main())


def test_a_cancelled_datagram_receive_loses_no_datagram(run):
    async def main():
        loop = asyncio.get_running_loop()
        pick = random.Random(13)
        async with pair(datagram_sockets) as (near, far):
            received: list[bytes] = []
            for number in range(1500):
                task = asyncio.ensure_future(loop.sock_recvfrom(near, 100))
                await turns(pick.randrange(3))
                steps = [
                    lambda number=number: far.sendto(b"%d" % number, near.getsockname()),
                    task.cancel,
                ]
                pick.shuffle(steps)
                for step in steps:
                    step()
                    await turns(pick.randrange(2))
                with contextlib.suppress(asyncio.CancelledError):
                    received.append((await task)[0])
                while len(received) <= number:
                    received.append((await within(loop.sock_recvfrom(near, 100)))[0])
            assert received == [b"%d" % number for number in range(1500)]

    run(main())


def test_a_cancelled_accept_loses_no_client(run):
    async def main():
        loop = asyncio.get_running_loop()
        pick = random.Random(14)
        with tcp_listener() as listener:
            accepted = 0
            for number in range(300):
                task = asyncio.ensure_future(loop.sock_accept(listener))
                await turns(pick.randrange(3))
                with socket.create_connection(listener.getsockname()) as client:
                    if pick.randrange(2):
                        await turns(pick.randrange(3))
                    task.cancel()
                    try:
                        served, address = await task
                    except asyncio.CancelledError:
                        served, address = await within(loop.sock_accept(listener))
                    assert address == client.getsockname(), number
                    served.close()
                    accepted += 1
            assert accepted == 300

    with no_fd_leak():
        run(main())
