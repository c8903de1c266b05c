"""Servers: their life from create_server to wait_closed, per version, and clients in any number.

Here: asyncio.Server over the loop's own accepting.
Not here: where to listen (test_listening.py), Unix paths (test_unix.py), streams (test_streams.py).
Runs in the main thread; clients are plain sockets.
Invariant: one body for both loops; stock asyncio passes every test.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import gc
import socket
import sys
import weakref
from asyncio import trsock
from typing import Any

import pytest
from tests.asyncio.serving import Echo, Factory, address, call
from tests.loopback import (
    collect_reports,
    no_fd_leak,
    recv_exactly,
    recv_to_end,
    reset,
    resource_warnings,
    run_until,
    spare_descriptors,
    turns,
    until,
    within,
)

# Life


def test_the_life_of_a_server(run):
    async def main():
        loop = asyncio.get_running_loop()
        factory = Factory()
        server = await loop.create_server(factory, "127.0.0.1", 0)
        assert isinstance(server, asyncio.Server)
        assert isinstance(server, asyncio.AbstractServer)
        assert server.is_serving()
        assert server.get_loop() is loop
        [sock] = server.sockets
        assert isinstance(server.sockets, tuple)
        assert isinstance(sock, trsock.TransportSocket)
        assert sock.getsockname()[0] == "127.0.0.1"
        assert await call(address(server)) == b"hello"
        where = address(server)
        server.close()
        assert not server.is_serving()
        assert server.sockets == ()
        server.close()
        await within(server.wait_closed())
        await factory.all_lost()
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(where)

    with no_fd_leak():
        run(main())


def test_a_server_is_a_context_manager(run):
    async def main():
        loop = asyncio.get_running_loop()
        factory = Factory()
        async with await loop.create_server(factory, "127.0.0.1", 0) as server:
            assert await call(address(server)) == b"hello"
            await factory.all_lost()
        assert not server.is_serving()

    with no_fd_leak():
        run(main())


def test_serving_may_begin_later(run):
    async def main():
        loop = asyncio.get_running_loop()
        factory = Factory()
        server = await loop.create_server(factory, "127.0.0.1", 0, start_serving=False)
        assert not server.is_serving()
        where = address(server)
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(where)
        await server.start_serving()
        assert server.is_serving()
        await server.start_serving()
        assert await call(where) == b"hello"
        await factory.all_lost()
        server.close()
        await within(server.wait_closed())
        with pytest.raises((RuntimeError, TypeError)):
            await server.start_serving()

    run(main())


def test_a_server_that_never_served_closes(run):
    async def main():
        loop = asyncio.get_running_loop()
        server = await loop.create_server(Echo, "127.0.0.1", 0, start_serving=False)
        server.close()
        await within(server.wait_closed())
        assert server.sockets == ()

    with no_fd_leak():
        run(main())


def test_serve_forever_ends_by_cancelling_and_closes(run):
    async def main():
        loop = asyncio.get_running_loop()
        factory = Factory()
        server = await loop.create_server(factory, "127.0.0.1", 0, start_serving=False)
        serving = asyncio.ensure_future(server.serve_forever())
        await turns(2)
        assert server.is_serving()
        with pytest.raises(RuntimeError, match=r"is already being awaited on serve_forever\(\)"):
            await server.serve_forever()
        assert await call(address(server)) == b"hello"
        await factory.all_lost()
        serving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await within(serving)
        assert not server.is_serving()
        with pytest.raises(RuntimeError, match="is closed"):
            await server.serve_forever()

    with no_fd_leak():
        run(main())


def test_serve_forever_ends_by_cancelling_with_a_client_there(run, on_rulip):
    stock = asyncio.Server
    if not hasattr(stock, "close_clients"):
        return  # since 3.13
    if not on_rulip and "close_clients" not in stock.serve_forever.__code__.co_names:
        return  # earlier releases wait for the client to go

    async def main():
        loop = asyncio.get_running_loop()
        factory = Factory()
        server = await loop.create_server(factory, "127.0.0.1", 0)
        assert type(server).__name__ == "Server"
        serving = asyncio.ensure_future(server.serve_forever())
        with socket.create_connection(address(server)) as client:
            client.setblocking(False)
            await loop.sock_sendall(client, b"hello")
            assert await recv_exactly(client, 5) == b"hello"
            serving.cancel()
            with pytest.raises(asyncio.CancelledError):
                await within(serving)
            assert await recv_to_end(client) == b""
        await factory.all_lost()

    with no_fd_leak():
        run(main())


def test_waiting_for_a_server_leaves_the_connections_alone(run):
    async def main():
        loop = asyncio.get_running_loop()
        factory = Factory()
        server = await loop.create_server(factory, "127.0.0.1", 0)
        with socket.create_connection(address(server)) as client:
            client.setblocking(False)
            await loop.sock_sendall(client, b"before")
            assert await recv_exactly(client, 6) == b"before"
            server.close()
            with pytest.raises(RuntimeError, match="is closed"):
                await server.serve_forever()
            waiting = asyncio.ensure_future(server.wait_closed())
            await turns(3)
            await loop.sock_sendall(client, b"after")
            assert await recv_exactly(client, 5) == b"after"
        await factory.all_lost()
        await within(waiting)

    with no_fd_leak():
        run(main())


def test_serve_forever_ends_by_closing(run):
    async def main():
        loop = asyncio.get_running_loop()
        server = await loop.create_server(Echo, "127.0.0.1", 0)
        serving = asyncio.ensure_future(server.serve_forever())
        await turns(2)
        server.close()
        with pytest.raises(asyncio.CancelledError):
            await within(serving)
        await within(server.wait_closed())

    run(main())


def test_closing_leaves_the_connections_alone(run):
    async def main():
        loop = asyncio.get_running_loop()
        factory = Factory()
        server = await loop.create_server(factory, "127.0.0.1", 0)
        with socket.create_connection(address(server)) as client:
            client.setblocking(False)
            await loop.sock_sendall(client, b"before")
            assert await recv_exactly(client, 6) == b"before"
            server.close()
            waiting = asyncio.ensure_future(server.wait_closed())
            await loop.sock_sendall(client, b"after")
            assert await recv_exactly(client, 5) == b"after"
            await turns(3)
            # Since 3.12 wait_closed() waits for the connections.
            assert waiting.done() == (sys.version_info < (3, 12))
        await within(waiting)
        await factory.all_lost()

    with no_fd_leak():
        run(main())


@pytest.mark.skipif(sys.version_info < (3, 12), reason="it waits for connections since 3.12")
def test_wait_closed_waits_for_close_and_for_every_connection(run):
    async def main():
        loop = asyncio.get_running_loop()
        factory = Factory()
        server = await loop.create_server(factory, "127.0.0.1", 0)
        waiting = asyncio.ensure_future(server.wait_closed())
        clients = [socket.create_connection(address(server)) for _ in range(3)]
        await until(lambda: len(factory.made) == 3)
        await turns(3)
        server.close()
        for client in clients:
            await turns(3)
            assert not waiting.done()
            client.close()
        await within(waiting)
        await within(server.wait_closed())

    run(main())


@pytest.mark.skipif(sys.version_info < (3, 13), reason="close_clients() came in 3.13")
@pytest.mark.parametrize("how", ["close_clients", "abort_clients"])
def test_closing_the_clients(run, how):
    async def main():
        loop = asyncio.get_running_loop()
        factory = Factory()
        server = await loop.create_server(factory, "127.0.0.1", 0)
        clients = [socket.create_connection(address(server)) for _ in range(5)]
        await until(lambda: len(factory.made) == 5)
        await turns(3)
        if how == "abort_clients":
            factory.made[0].transport.write(b"x" * 8_000_000)
        server.close()
        getattr(server, how)()
        await within(server.wait_closed())
        for protocol in factory.made:
            assert await within(protocol.lost) is None
        for client in clients[1:]:
            client.setblocking(False)
            assert await recv_to_end(client) == b""
        for client in clients:
            client.close()

    with no_fd_leak():
        run(main())


@pytest.mark.skipif(sys.version_info < (3, 13), reason="close_clients() came in 3.13")
def test_close_clients_flushes_first(run):
    async def main():
        loop = asyncio.get_running_loop()
        factory = Factory()
        server = await loop.create_server(factory, "127.0.0.1", 0)
        with socket.create_connection(address(server)) as client:
            client.setblocking(False)
            await until(lambda: len(factory.made) == 1)
            await within(factory.made[0].made)
            factory.made[0].transport.write(b"x" * 5_000_000)
            server.close()
            server.close_clients()
            assert len(await recv_to_end(client)) == 5_000_000
        await within(server.wait_closed())

    run(main())


def test_a_server_nobody_holds_goes_on_serving(run):
    async def main():
        loop = asyncio.get_running_loop()
        factory = Factory()
        server = await loop.create_server(factory, "127.0.0.1", 0)
        where, reference = address(server), weakref.ref(server)
        del server
        gc.collect()
        assert await call(where) == b"hello"
        await factory.all_lost()
        reference().close()
        await turns(2)

    with no_fd_leak():
        run(main())


def test_the_server_outlives_the_call_that_made_it(loop):
    factory: list[Any] = []

    async def start():
        factory.append(Factory())
        return await loop.create_server(factory[0], "127.0.0.1", 0)

    server = loop.run_until_complete(start())
    for _ in range(3):
        assert loop.run_until_complete(call(address(server))) == b"hello"
    run_until(loop, lambda: all(protocol.lost.done() for protocol in factory[0].made))
    server.close()
    loop.run_until_complete(server.wait_closed())


def test_repr(run):
    async def main():
        loop = asyncio.get_running_loop()
        server = await loop.create_server(Echo, "127.0.0.1", 0)
        assert repr(server).startswith("<Server sockets=(<asyncio.TransportSocket ")
        server.close()
        assert repr(server) == "<Server sockets=()>"
        await within(server.wait_closed())

    run(main())


def test_attributes_that_frameworks_read(run):
    async def main():
        loop = asyncio.get_running_loop()
        server = await loop.create_server(Echo, "127.0.0.1", 0, backlog=7)
        assert server._loop is loop
        assert len(server._sockets) == 1
        assert server._serving is True
        assert server._ssl_context is None
        assert server._backlog == 7
        server.close()
        assert server._sockets is None
        await within(server.wait_closed())

    run(main())


# Clients


def test_many_clients_at_once(run):
    async def main():
        loop = asyncio.get_running_loop()
        factory = Factory()
        server = await loop.create_server(factory, "127.0.0.1", 0, backlog=300)
        replies = await asyncio.gather(
            *(call(address(server), b"%d" % number) for number in range(300))
        )
        assert replies == [b"%d" % number for number in range(300)]
        assert len(factory.made) == 300
        await factory.all_lost()
        server.close()
        await within(server.wait_closed())

    with no_fd_leak():
        run(main())


def test_what_a_server_side_protocol_sees(run):
    async def main():
        loop = asyncio.get_running_loop()
        factory = Factory()
        server = await loop.create_server(factory, "127.0.0.1", 0)
        with socket.create_connection(address(server)) as client:
            await until(lambda: factory.made)
            [protocol] = factory.made
            await within(protocol.made)
            transport = protocol.transport
            assert transport.get_extra_info("peername") == client.getsockname()
            assert transport.get_extra_info("sockname") == client.getpeername()
            sock = transport.get_extra_info("socket")
            assert sock.gettimeout() == 0
            assert sock.get_inheritable() is False
            assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) != 0
        await within(protocol.lost)
        assert protocol.calls == ["connection_made", "eof_received", "connection_lost"]
        server.close()
        await within(server.wait_closed())

    run(main())


def test_clients_that_vanish_before_they_are_accepted(run):
    async def main():
        loop = asyncio.get_running_loop()
        reports = collect_reports(loop)
        factory = Factory()
        server = await loop.create_server(factory, "127.0.0.1", 0)
        for _ in range(20):
            reset(socket.create_connection(address(server)))
        assert await call(address(server)) == b"hello"
        await factory.all_lost()
        assert reports == []
        server.close()
        await within(server.wait_closed())

    with no_fd_leak():
        run(main())


@pytest.mark.parametrize("place", ["factory", "connection_made", "data_received"])
def test_a_server_closed_from_a_callback_of_its_own(run, on_rulip, place):
    if place == "factory" and not on_rulip:
        pytest.skip("asyncio fails to attach the connection, and leaks it")

    async def main():
        loop = asyncio.get_running_loop()

        class Closing(Echo):
            def connection_made(self, transport):
                super().connection_made(transport)
                if place == "connection_made":
                    server.close()

            def data_received(self, data):
                super().data_received(data)
                if place == "data_received":
                    server.close()

        factory = Factory(Closing)

        def make():
            if place == "factory":
                server.close()
            return factory()

        server = await loop.create_server(make, "127.0.0.1", 0)
        where = address(server)
        waiting = [socket.create_connection(where) for _ in range(3)]
        with contextlib.suppress(ConnectionError):
            assert await call(where) == b"hello"
        for client in waiting:
            client.close()
        await factory.all_lost()
        await within(server.wait_closed())

    with no_fd_leak():
        run(main())


def test_a_factory_that_raises_harms_nobody_else(run):
    """The first and the third client have no protocol; the second and the fourth are served."""
    # asyncio reports it in debug mode only, and leaves the accepted socket to the collector;
    # what rulip does: tests/rulip/test_accepting.py.

    async def main():
        loop = asyncio.get_running_loop()
        reports = collect_reports(loop)
        echoes = Factory()
        count = 0

        def factory():
            nonlocal count
            count += 1
            if count in (1, 3):
                raise ZeroDivisionError(f"client {count}")
            return echoes()

        server = await loop.create_server(factory, "127.0.0.1", 0)
        for number in range(1, 5):
            with socket.create_connection(address(server)) as client:
                client.setblocking(False)
                if number in (1, 3):
                    await until(lambda number=number: count == number)
                else:
                    await loop.sock_sendall(client, b"hello")
                    assert await recv_exactly(client, 5) == b"hello"
        assert [str(report["exception"]) for report in reports] == ["client 1", "client 3"]
        reports.clear()
        await echoes.all_lost()
        server.close()
        await within(server.wait_closed())

    with resource_warnings():
        run(main(), debug=True)


@pytest.mark.parametrize("kind", [SystemExit, KeyboardInterrupt])
def test_exit_requests_of_a_factory_leave_the_loop(loop, kind):
    def factory():
        raise kind("leaving")

    async def start():
        return await loop.create_server(factory, "127.0.0.1", 0)

    server = loop.run_until_complete(start())
    # asyncio leaves the accepted socket to the collector.
    with socket.create_connection(address(server)), resource_warnings():
        with pytest.raises(kind, match="leaving"):
            loop.run_forever()
    server.close()
    loop.run_until_complete(server.wait_closed())
    for task in asyncio.all_tasks(loop):
        task.cancel()


def test_out_of_descriptors_the_clients_wait_and_are_all_served(run):
    """Four descriptors for thirty clients: none is dropped; all are served when there are more."""

    async def main():
        loop = asyncio.get_running_loop()
        collect_reports(loop)
        factory = Factory()
        server = await loop.create_server(factory, "127.0.0.1", 0)
        clients = [socket.create_connection(address(server)) for _ in range(30)]
        for client in clients:
            client.send(b"x")
            client.setblocking(False)
        with spare_descriptors(4):
            await until(lambda: len(factory.made) == 4)
            await turns(20)
            assert len(factory.made) == 4
        for client in clients:
            assert await recv_exactly(client, 1) == b"x"
        assert len(factory.made) == 30
        for client in clients:
            client.close()
        await factory.all_lost()
        server.close()
        await within(server.wait_closed())

    with no_fd_leak():
        run(main())


def test_closing_a_server_while_it_backs_off(run):
    async def main():
        loop = asyncio.get_running_loop()
        reports = collect_reports(loop)
        factory = Factory()
        server = await loop.create_server(factory, "127.0.0.1", 0)
        client = socket.create_connection(address(server))
        with spare_descriptors(0):
            await until(lambda: reports)
        server.close()
        client.close()
        await within(server.wait_closed())
        assert factory.made == []
        assert reports[0]["message"] == "socket.accept() out of system resource"
        assert reports[0]["exception"].errno == errno.EMFILE

    with no_fd_leak():
        run(main())
