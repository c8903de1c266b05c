"""Unix stream servers and connections: paths, the abstract namespace, sockets given.

Not here: data on the connection (test_transports.py runs over Unix sockets too).
Runs in the main thread.
Invariant: one body for both loops; stock asyncio passes every test.
"""

from __future__ import annotations

import asyncio
import errno
import os
import pathlib
import socket
import stat
import sys
import uuid
from typing import Any

import pytest
from tests.loopback import (
    Recorder,
    no_fd_leak,
    recv_exactly,
    turns,
    unix_sockets,
    until,
    within,
)


class Echo(Recorder):
    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self.transport.write(data)


async def exchange(path: Any) -> None:
    """One client on the loop under test."""
    loop = asyncio.get_running_loop()
    transport, protocol = await within(loop.create_unix_connection(Recorder, path))
    transport.write(b"hello")
    await protocol.wait_received(5)
    transport.close()
    await within(protocol.lost)
    await turns(1)


async def stop(server: asyncio.AbstractServer) -> None:
    server.close()
    await within(server.wait_closed())
    await turns(3)


def test_the_life_of_a_unix_server(run, tmp_path):
    path = str(tmp_path / "socket")

    async def main():
        loop = asyncio.get_running_loop()
        server = await loop.create_unix_server(Echo, path)
        assert server.is_serving()
        [sock] = server.sockets
        assert sock.family == socket.AF_UNIX
        assert sock.getsockname() == path
        assert stat.S_ISSOCK(os.stat(path).st_mode)
        await exchange(path)
        await stop(server)
        # Since 3.13 the server takes its path away.
        assert os.path.exists(path) == (sys.version_info < (3, 13))
        with pytest.raises((ConnectionRefusedError, FileNotFoundError)):
            await loop.create_unix_connection(Recorder, path)

    with no_fd_leak():
        run(main())


def test_paths_of_any_kind(run, tmp_path):
    async def main():
        loop = asyncio.get_running_loop()
        for number, kind in enumerate((str, os.fsencode, pathlib.Path)):
            path = kind(str(tmp_path / f"socket{number}"))
            server = await loop.create_unix_server(Echo, path)
            await exchange(path)
            await stop(server)

    with no_fd_leak():
        run(main())


@pytest.mark.parametrize("kind", [str, bytes])
def test_the_abstract_namespace(run, kind):
    name = "\0asyncio-" + uuid.uuid4().hex
    path = name if kind is str else name.encode()

    async def main():
        loop = asyncio.get_running_loop()
        server = await loop.create_unix_server(Echo, path)
        assert server.sockets[0].getsockname() == name.encode()
        transport, protocol = await loop.create_unix_connection(Recorder, path)
        assert transport.get_extra_info("peername") == name.encode()
        transport.write(b"hello")
        await protocol.wait_received(5)
        transport.close()
        await within(protocol.lost)
        await stop(server)

    with no_fd_leak():
        run(main())


def test_a_stale_socket_file_is_replaced(run, tmp_path):
    path = str(tmp_path / "socket")
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(path)

    async def main():
        loop = asyncio.get_running_loop()
        server = await loop.create_unix_server(Echo, path)
        await exchange(path)
        await stop(server)

    run(main())


def test_an_ordinary_file_is_not_replaced(run, tmp_path):
    path = tmp_path / "file"
    path.write_text("precious")

    async def main():
        loop = asyncio.get_running_loop()
        with pytest.raises(OSError, match=r"Address .* is already in use") as info:
            await loop.create_unix_server(Echo, str(path))
        assert info.value.errno == errno.EADDRINUSE

    with no_fd_leak():
        run(main())
    assert path.read_text() == "precious"


def test_a_path_that_cannot_be(run, tmp_path):
    async def main():
        loop = asyncio.get_running_loop()
        with pytest.raises(FileNotFoundError):
            await loop.create_unix_server(Echo, str(tmp_path / "no" / "such" / "place"))
        with pytest.raises(FileNotFoundError):
            await loop.create_unix_connection(Recorder, str(tmp_path / "nobody"))
        with pytest.raises(OSError, match="AF_UNIX path too long"):
            await loop.create_unix_server(Echo, str(tmp_path / ("x" * 200)))

    with no_fd_leak():
        run(main())


def test_what_is_refused(run, tmp_path):
    path = str(tmp_path / "socket")

    async def main():
        loop = asyncio.get_running_loop()
        with socket.socket(socket.AF_UNIX) as unix, socket.socket() as tcp:
            for method in (loop.create_unix_server, loop.create_unix_connection):
                with pytest.raises(
                    ValueError, match="path and sock can not be specified at the same time"
                ):
                    await method(Recorder, path, sock=unix)
                with pytest.raises(ValueError, match="A UNIX Domain Stream Socket was expected"):
                    await method(Recorder, sock=tcp)
                with pytest.raises(ValueError, match="ssl_handshake_timeout is only meaningful"):
                    await method(Recorder, path, ssl_handshake_timeout=1)
        with pytest.raises(ValueError, match="path was not specified, and no sock specified"):
            await loop.create_unix_server(Echo)
        with pytest.raises(ValueError, match="no path and sock were specified"):
            await loop.create_unix_connection(Recorder)
        with pytest.raises(TypeError, match="ssl argument must be an SSLContext or None"):
            await loop.create_unix_server(Echo, path, ssl=True)
        with pytest.raises(ValueError, match="you have to pass server_hostname when using ssl"):
            await loop.create_unix_connection(Recorder, path, ssl=True)
        with pytest.raises(ValueError, match="server_hostname is only meaningful with ssl"):
            await loop.create_unix_connection(Recorder, path, server_hostname="x")

    with no_fd_leak():
        run(main())


def test_sockets_given(run, tmp_path):
    path = str(tmp_path / "socket")

    async def main():
        loop = asyncio.get_running_loop()
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(path)
        server = await loop.create_unix_server(Echo, sock=listener)
        client = socket.socket(socket.AF_UNIX)
        client.setblocking(False)
        await loop.sock_connect(client, path)
        transport, protocol = await loop.create_unix_connection(Recorder, sock=client)
        transport.write(b"hello")
        await protocol.wait_received(5)
        transport.close()
        await within(protocol.lost)
        await stop(server)
        assert listener.fileno() == client.fileno() == -1

    with no_fd_leak():
        run(main())


def test_serving_may_begin_later(run, tmp_path):
    path = str(tmp_path / "socket")

    async def main():
        loop = asyncio.get_running_loop()
        server = await loop.create_unix_server(Echo, path, start_serving=False)
        with pytest.raises(ConnectionRefusedError):
            await loop.create_unix_connection(Recorder, path)
        await server.start_serving()
        await exchange(path)
        await stop(server)

    with no_fd_leak():
        run(main())


def test_many_clients(run, tmp_path):
    path = str(tmp_path / "socket")

    async def main():
        loop = asyncio.get_running_loop()
        server = await loop.create_unix_server(Echo, path, backlog=200)
        await asyncio.gather(*(exchange(path) for _ in range(100)))
        await stop(server)

    with no_fd_leak():
        run(main())


def test_descriptors_pass_through_a_transports_socket(run):
    """SCM_RIGHTS on the plain end arrives as ordinary bytes; the transport does not choke."""

    async def main():
        loop = asyncio.get_running_loop()
        near, far = unix_sockets()
        with far:
            transport, protocol = await loop.create_unix_connection(Recorder, sock=near)
            reading, writing = os.pipe()
            socket.send_fds(far, [b"with a descriptor"], [reading])
            os.close(reading)
            os.close(writing)
            await protocol.wait_received(17)
            transport.close()
            await within(protocol.lost)

    with no_fd_leak():
        run(main())


@pytest.mark.skipif(sys.version_info < (3, 13), reason="cleanup_socket came in 3.13")
def test_the_path_is_left_when_it_is_asked(run, tmp_path):
    path = str(tmp_path / "socket")

    async def main():
        loop = asyncio.get_running_loop()
        server = await loop.create_unix_server(Echo, path, cleanup_socket=False)
        await stop(server)
        assert os.path.exists(path)

    run(main())


@pytest.mark.skipif(sys.version_info < (3, 13), reason="cleanup_socket came in 3.13")
def test_the_path_of_somebody_else_is_left_alone(run, tmp_path):
    path = str(tmp_path / "socket")

    async def main():
        loop = asyncio.get_running_loop()
        first = await loop.create_unix_server(Echo, path)
        os.unlink(path)
        second = await loop.create_unix_server(Echo, path)
        await stop(first)
        await exchange(path)
        os.unlink(path)
        await stop(second)

    run(main())


def test_cancelling_at_every_step(run, tmp_path):
    path = str(tmp_path / "socket")

    async def main(step):
        loop = asyncio.get_running_loop()
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(path)
            listener.listen()
            task = loop.create_task(loop.create_unix_connection(asyncio.Protocol, path))
            await turns(step)
            over = task.done()
            task.cancel()
            await asyncio.wait([task])
            if not task.cancelled():
                task.result()[0].abort()
            await turns(3)
        os.unlink(path)
        return over

    for step in range(30):
        with no_fd_leak():
            if run(main(step)):
                return
    pytest.fail("never over")


def test_a_server_that_is_gone_while_a_client_connects(run, tmp_path):
    path = str(tmp_path / "socket")

    async def main():
        loop = asyncio.get_running_loop()
        made: list[Recorder] = []

        def factory():
            made.append(Recorder())
            return made[-1]

        server = await loop.create_unix_server(factory, path)
        transport, protocol = await loop.create_unix_connection(Recorder, path)
        await until(lambda: made)
        await stop_now(server, made)
        assert await within(protocol.lost) is None
        assert transport.is_closing()

    async def stop_now(server, made):
        server.close()
        await within(made[0].made)
        made[0].transport.abort()
        await within(server.wait_closed())

    with no_fd_leak():
        run(main())


def test_a_large_reply_over_a_path(run, tmp_path):
    path = str(tmp_path / "socket")
    data = os.urandom(2_000_000)

    class Reply(asyncio.Protocol):
        def connection_made(self, transport):
            transport.write(data)
            transport.close()

    async def main():
        loop = asyncio.get_running_loop()
        server = await loop.create_unix_server(Reply, path)
        with socket.socket(socket.AF_UNIX) as client:
            client.setblocking(False)
            await loop.sock_connect(client, path)
            assert await recv_exactly(client, len(data) + 1) == data
        await stop(server)

    with no_fd_leak():
        run(main())
