"""Accepting when the factory fails or descriptors run out.

Rows of docs/compat.md: protocol_factory raises on accept; out of descriptors in accept; a server
closed in its own factory.
Runs in the main thread; clients are plain sockets.
Invariant: every client is served or closed, and each failure is reported, but not in a flood.
"""

from __future__ import annotations

import asyncio
import resource
import socket
import sys
from typing import Any

import pytest
from tests.loopback import (
    Recorder,
    collect_reports,
    no_fd_leak,
    recv_exactly,
    recv_to_end,
    spare_descriptors,
    turns,
    until,
    within,
)
from tests.tls_peer import Peer, client_context, server_context

pytestmark = pytest.mark.loops("rulip")


class Echo(Recorder):
    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self.transport.write(data)


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
def test_a_factory_that_raises_is_reported_and_its_client_closed(run, tls):
    """Without debug mode: the first and third client are told so by the end of their stream."""

    async def main():
        loop = asyncio.get_running_loop()
        reports = collect_reports(loop)
        count = 0

        def factory():
            nonlocal count
            count += 1
            if count in (1, 3):
                raise ZeroDivisionError(f"client {count}")
            return Echo()

        context = server_context() if tls else None
        server = await loop.create_server(factory, "127.0.0.1", 0, ssl=context)
        for number in range(1, 5):
            with socket.create_connection(server.sockets[0].getsockname()) as client:
                client.setblocking(False)
                if number in (1, 3):
                    assert await recv_to_end(client) == b""
                elif tls:
                    peer = Peer(client, client_context(), server_side=False)
                    await peer.handshake()
                    await peer.send(b"hello")
                    assert await peer.receive(5) == b"hello"
                else:
                    await loop.sock_sendall(client, b"hello")
                    assert await recv_exactly(client, 5) == b"hello"
        assert [str(report["exception"]) for report in reports] == ["client 1", "client 3"]
        assert all(report["message"] for report in reports)
        server.close()
        await within(server.wait_closed())
        await turns(3)

    with no_fd_leak():
        run(main())


def test_a_factory_that_makes_no_protocol_harms_nobody(run):
    async def main():
        loop = asyncio.get_running_loop()
        reports = collect_reports(loop)
        made: list[Any] = [None, 42]
        server = await loop.create_server(lambda: made.pop(0) if made else Echo(), "127.0.0.1", 0)
        where = server.sockets[0].getsockname()
        for _ in range(2):
            client = socket.create_connection(where)
            await until(lambda: True)
            client.close()
        with socket.create_connection(where) as client:
            client.setblocking(False)
            await loop.sock_sendall(client, b"hello")
            assert await recv_exactly(client, 5) == b"hello"
        await turns(5)
        assert reports
        server.close()
        await turns(3)

    with no_fd_leak():
        run(main())


def test_running_out_of_descriptors_is_reported_once_a_second(run):
    """Thirty clients, four descriptors, two and a half seconds: few reports, no busy loop."""

    async def main():
        loop = asyncio.get_running_loop()
        reports = collect_reports(loop)
        made: list[Recorder] = []

        def factory():
            made.append(Echo())
            return made[-1]

        server = await loop.create_server(factory, "127.0.0.1", 0)
        where = server.sockets[0].getsockname()
        clients = [socket.create_connection(where) for _ in range(30)]
        for client in clients:
            client.send(b"x")
            client.setblocking(False)
        with spare_descriptors(4):
            before = resource.getrusage(resource.RUSAGE_SELF)
            await asyncio.sleep(2.5)
            after = resource.getrusage(resource.RUSAGE_SELF)
        assert len(made) == 4
        assert 1 <= len(reports) <= 4
        for report in reports:
            assert report["message"] == "socket.accept() out of system resource"
            assert isinstance(report["exception"], OSError)
            assert report["socket"].fileno() == server.sockets[0].fileno()
        busy = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        assert busy < 0.25
        for client in clients:
            assert await recv_exactly(client, 1) == b"x"
            client.close()
        for protocol in made:
            await within(protocol.lost)
        assert len(made) == 30
        server.close()
        await within(server.wait_closed())

    with no_fd_leak():
        run(main())


def test_other_connections_live_while_accepting_backs_off(run):
    async def main():
        loop = asyncio.get_running_loop()
        reports = collect_reports(loop)
        server = await loop.create_server(Echo, "127.0.0.1", 0)
        where = server.sockets[0].getsockname()
        with socket.create_connection(where) as served:
            served.setblocking(False)
            await loop.sock_sendall(served, b"one")
            assert await recv_exactly(served, 3) == b"one"
            waiting = socket.create_connection(where)
            with spare_descriptors(0):
                await until(lambda: reports)
                await loop.sock_sendall(served, b"two")
                assert await recv_exactly(served, 3) == b"two"
            waiting.close()
        server.close()
        await within(server.wait_closed())

    with no_fd_leak():
        run(main())


def test_cancelled_creation_leaves_no_listener(run):
    async def main(step):
        loop = asyncio.get_running_loop()
        task = asyncio.ensure_future(loop.create_server(Echo, "127.0.0.1", 0))
        await turns(step)
        over = task.done()
        task.cancel()
        await asyncio.wait([task])
        if not task.cancelled():
            task.result().close()
            await turns(2)
        return over

    for step in range(20):
        with no_fd_leak():
            if run(main(step)):
                return
    pytest.fail("never over")


def test_a_connecting_factory_that_raises_closes_the_socket(run):
    """create_connection whose protocol cannot be made: the error comes out, nothing stays open."""

    def factory():
        raise ZeroDivisionError

    async def main():
        loop = asyncio.get_running_loop()
        with socket.create_server(("127.0.0.1", 0)) as listener:
            for _ in range(3):
                with pytest.raises(ZeroDivisionError):
                    await loop.create_connection(factory, *listener.getsockname())
        near, far = socket.socketpair()
        with far, near:
            near.setblocking(False)
            with pytest.raises(ZeroDivisionError):
                await loop.create_unix_connection(factory, sock=near)

    with no_fd_leak():
        run(main())
    assert sys.exc_info() == (None, None, None)
