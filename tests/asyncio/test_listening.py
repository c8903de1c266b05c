"""create_server: where it listens and what it refuses; sockets accepted elsewhere.

Not here: a server's life and its clients (test_servers.py), Unix paths (test_unix.py).
Runs in the main thread; clients are plain sockets.
Invariant: one body for both loops; stock asyncio passes every test.
"""

from __future__ import annotations

import asyncio
import errno
import socket
import sys

import pytest
from tests.asyncio.serving import Echo, Factory, address, call
from tests.loopback import (
    no_fd_leak,
    tcp_listener,
    tcp_sockets,
    within,
)

# Where to listen


def test_hosts_and_families(run):
    async def main():
        loop = asyncio.get_running_loop()
        for host, families in (
            ("127.0.0.1", {socket.AF_INET}),
            ("::1", {socket.AF_INET6}),
            (["127.0.0.1", "::1"], {socket.AF_INET, socket.AF_INET6}),
            (None, {socket.AF_INET, socket.AF_INET6}),
            ("", {socket.AF_INET, socket.AF_INET6}),
        ):
            server = await loop.create_server(Echo, host, 0)
            assert {sock.family for sock in server.sockets} == families
            server.close()
            await within(server.wait_closed())
        server = await loop.create_server(Echo, None, 0, family=socket.AF_INET)
        assert {sock.family for sock in server.sockets} == {socket.AF_INET}
        server.close()
        await within(server.wait_closed())

    with no_fd_leak():
        run(main())


def test_a_host_named_twice_is_bound_once(run):
    async def main():
        loop = asyncio.get_running_loop()
        with socket.create_server(("127.0.0.1", 0)) as probe:
            port = probe.getsockname()[1]
        server = await loop.create_server(Echo, ["127.0.0.1", "127.0.0.1"], port)
        assert len(server.sockets) == 1
        server.close()
        await within(server.wait_closed())

    run(main())


def test_a_given_socket(run):
    async def main():
        loop = asyncio.get_running_loop()
        factory = Factory()
        listener = socket.socket()
        listener.bind(("127.0.0.1", 0))
        server = await loop.create_server(factory, sock=listener)
        assert address(server) == listener.getsockname()
        assert await call(address(server)) == b"hello"
        await factory.all_lost()
        server.close()
        await within(server.wait_closed())
        assert listener.fileno() == -1

    with no_fd_leak():
        run(main())


def test_an_address_in_use(run):
    async def main():
        loop = asyncio.get_running_loop()
        with tcp_listener() as taken:
            with pytest.raises(OSError, match="error while attempting to bind on address") as info:
                await loop.create_server(Echo, *taken.getsockname())
            assert info.value.errno == errno.EADDRINUSE

    with no_fd_leak():
        run(main())


def test_one_bad_host_among_good_ones_leaves_nothing_open(run):
    async def main():
        loop = asyncio.get_running_loop()
        with tcp_listener() as taken:
            with pytest.raises(OSError, match="bind"):
                await loop.create_server(Echo, ["::1", "127.0.0.1"], taken.getsockname()[1])

    with no_fd_leak():
        run(main())


def test_several_servers_on_one_port(run):
    async def main():
        loop = asyncio.get_running_loop()
        first_factory, second_factory = Factory(), Factory()
        first = await loop.create_server(first_factory, "127.0.0.1", 0, reuse_port=True)
        where = address(first)
        second = await loop.create_server(second_factory, *where, reuse_port=True)
        for _ in range(40):
            assert await call(where) == b"hello"
        assert len(first_factory.made) + len(second_factory.made) == 40
        await first_factory.all_lost()
        await second_factory.all_lost()
        for server in (first, second):
            server.close()
            await within(server.wait_closed())

    with no_fd_leak():
        run(main())


def test_addresses_are_reused_by_default(run):
    async def main():
        loop = asyncio.get_running_loop()
        server = await loop.create_server(Echo, "127.0.0.1", 0)
        sock = server.sockets[0]
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR) == 1
        server.close()
        await within(server.wait_closed())
        server = await loop.create_server(Echo, "127.0.0.1", 0, reuse_address=False)
        assert server.sockets[0].getsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR) == 0
        server.close()
        await within(server.wait_closed())

    run(main())


@pytest.mark.skipif(sys.version_info < (3, 13), reason="keep_alive came in 3.13")
def test_keep_alive(run):
    async def main():
        loop = asyncio.get_running_loop()
        server = await loop.create_server(Echo, "127.0.0.1", 0, keep_alive=True)
        assert server.sockets[0].getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
        server.close()
        await within(server.wait_closed())

    run(main())


def test_what_create_server_refuses(run):
    async def main():
        loop = asyncio.get_running_loop()
        with tcp_listener() as listener:
            with pytest.raises(
                ValueError, match="host/port and sock can not be specified at the same time"
            ):
                await loop.create_server(Echo, "127.0.0.1", 0, sock=listener)
        with pytest.raises(ValueError, match="Neither host/port nor sock were specified"):
            await loop.create_server(Echo)
        with socket.socket(type=socket.SOCK_DGRAM) as datagram:
            with pytest.raises(ValueError, match="A Stream Socket was expected, got"):
                await loop.create_server(Echo, sock=datagram)
        with pytest.raises(TypeError, match="ssl argument must be an SSLContext or None"):
            await loop.create_server(Echo, "127.0.0.1", 0, ssl=True)
        with pytest.raises(ValueError, match="ssl_handshake_timeout is only meaningful with ssl"):
            await loop.create_server(Echo, "127.0.0.1", 0, ssl_handshake_timeout=1)
        with pytest.raises(socket.gaierror):
            await loop.create_server(Echo, "127.0.0.1", "no-such-service")

    with no_fd_leak():
        run(main())


# Sockets accepted elsewhere


def test_a_socket_accepted_elsewhere(run, recorder):
    async def main():
        loop = asyncio.get_running_loop()
        near, far = tcp_sockets()
        with far:
            transport, protocol = await loop.connect_accepted_socket(recorder, near)
            assert protocol.calls == ["connection_made"]
            await loop.sock_sendall(far, b"hello")
            await protocol.wait_received(5)
            transport.close()
            await within(protocol.lost)

    with no_fd_leak():
        run(main())


def test_what_connect_accepted_socket_refuses(run):
    async def main():
        loop = asyncio.get_running_loop()
        with socket.socket(type=socket.SOCK_DGRAM) as datagram:
            with pytest.raises(ValueError, match="A Stream Socket was expected, got"):
                await loop.connect_accepted_socket(Echo, datagram)
        near, far = tcp_sockets()
        with near, far:
            with pytest.raises(ValueError, match="ssl_handshake_timeout is only meaningful"):
                await loop.connect_accepted_socket(Echo, near, ssl_handshake_timeout=1)

    run(main())
