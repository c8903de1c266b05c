"""loop.sock_*: the loop's operations on plain sockets.

Here: results, waiting, cancelling (which loses nothing), sockets closed under an operation.
Not here: transports, add_reader (test_watch_fd.py).
Runs in the main thread.
Invariant: one body for both loops; stock asyncio passes every test.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import random
import socket
import ssl
from collections.abc import AsyncIterator
from typing import Any

import pytest
from tests.loopback import (
    collect_reports,
    no_fd_leak,
    readable,
    recv_exactly,
    reset,
    tcp_listener,
    tcp_sockets,
    turns,
    unix_sockets,
    within,
)


@contextlib.asynccontextmanager
async def pair(make: Any = tcp_sockets) -> AsyncIterator[tuple[socket.socket, socket.socket]]:
    near, far = make()
    with near, far:
        yield near, far


def datagram_sockets() -> tuple[socket.socket, socket.socket]:
    near, far = (socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2))
    for sock in (near, far):
        sock.bind(("127.0.0.1", 0))
        sock.setblocking(False)
    return near, far


# Receiving and sending


def test_receiving_what_is_there_and_what_comes_later(run, sockets):
    async def main():
        loop = asyncio.get_running_loop()
        async with pair(sockets) as (near, far):
            far.send(b"already there")
            assert await within(loop.sock_recv(near, 100)) == b"already there"
            waiting = asyncio.ensure_future(loop.sock_recv(near, 100))
            await turns(3)
            assert not waiting.done()
            far.send(b"came later")
            assert await within(waiting) == b"came later"
            far.close()
            assert await within(loop.sock_recv(near, 100)) == b""

    run(main())


def test_receiving_no_more_than_asked(run, sockets):
    async def main():
        loop = asyncio.get_running_loop()
        async with pair(sockets) as (near, far):
            far.send(b"abcdef")
            assert await within(loop.sock_recv(near, 4)) == b"abcd"
            assert await within(loop.sock_recv(near, 4)) == b"ef"

    run(main())


def test_receiving_into_a_buffer(run, sockets):
    async def main():
        loop = asyncio.get_running_loop()
        async with pair(sockets) as (near, far):
            buffer = bytearray(10)
            far.send(b"abc")
            assert await within(loop.sock_recv_into(near, buffer)) == 3
            assert buffer[:3] == b"abc"
            view = memoryview(buffer)[5:]
            waiting = asyncio.ensure_future(loop.sock_recv_into(near, view))
            await turns(2)
            far.send(b"defghijk")
            assert await within(waiting) == 5
            assert buffer[5:] == b"defgh"

    run(main())


def test_sending_everything(run, sockets):
    data = random.Random(11).randbytes(3_000_000)

    async def main():
        loop = asyncio.get_running_loop()
        async with pair(sockets) as (near, far):
            sending = asyncio.ensure_future(loop.sock_sendall(near, data))
            received = bytearray()
            while len(received) < len(data):
                received += await within(loop.sock_recv(far, 1 << 16))
            assert await within(sending) is None
            assert received == data
            for piece in (b"a", bytearray(b"b"), memoryview(b"xcx")[1:2], b""):
                await within(loop.sock_sendall(near, piece))
            assert await recv_exactly(far, 3) == b"abc"

    run(main())


def test_sending_to_a_peer_that_is_gone(run):
    async def main():
        loop = asyncio.get_running_loop()
        async with pair() as (near, far):
            reset(far)
            readable(near)
            with pytest.raises((ConnectionResetError, BrokenPipeError)):
                await within(loop.sock_sendall(near, b"x" * 8_000_000))
            with pytest.raises((ConnectionResetError, BrokenPipeError)):
                await within(loop.sock_sendall(near, b"x"))

    run(main())


def test_sending_that_waits_fails_when_the_peer_resets(run):
    async def main():
        loop = asyncio.get_running_loop()
        async with pair() as (near, far):
            sending = asyncio.ensure_future(loop.sock_sendall(near, b"x" * 30_000_000))
            await turns(5)
            assert not sending.done()
            reset(far)
            with pytest.raises((ConnectionResetError, BrokenPipeError)):
                await within(sending)

    run(main())


def test_receiving_from_a_peer_that_resets(run):
    async def main():
        loop = asyncio.get_running_loop()
        async with pair() as (near, far):
            receiving = asyncio.ensure_future(loop.sock_recv(near, 10))
            await turns(2)
            reset(far)
            with pytest.raises(ConnectionResetError):
                await within(receiving)

    run(main())


def test_datagrams(run):
    async def main():
        loop = asyncio.get_running_loop()
        async with pair(datagram_sockets) as (near, far):
            address = far.getsockname()
            assert await within(loop.sock_sendto(near, b"one", address)) == 3
            assert await within(loop.sock_recvfrom(far, 100)) == (b"one", near.getsockname())
            buffer = bytearray(100)
            waiting = asyncio.ensure_future(loop.sock_recvfrom_into(far, buffer))
            await turns(2)
            await within(loop.sock_sendto(near, b"second", address))
            assert await within(waiting) == (6, near.getsockname())
            assert buffer[:6] == b"second"
            await within(loop.sock_sendto(near, b"third", address))
            assert (await within(loop.sock_recvfrom_into(far, buffer, 3)))[0] == 3
            await within(loop.sock_sendto(near, b"", address))
            assert await within(loop.sock_recvfrom(far, 100)) == (b"", near.getsockname())

    run(main())


# Connecting and accepting


def test_connecting_and_accepting(run):
    async def main():
        loop = asyncio.get_running_loop()
        with tcp_listener() as listener, socket.socket() as client:
            client.setblocking(False)
            accepting = asyncio.ensure_future(loop.sock_accept(listener))
            await within(loop.sock_connect(client, listener.getsockname()))
            served, address = await within(accepting)
            with served:
                assert address == client.getsockname()
                assert served.gettimeout() == 0
                assert served.get_inheritable() is False
                await within(loop.sock_sendall(client, b"hello"))
                assert await within(loop.sock_recv(served, 10)) == b"hello"

    run(main())


def test_accepting_one_that_waits_already(run):
    async def main():
        loop = asyncio.get_running_loop()
        with tcp_listener() as listener, socket.create_connection(listener.getsockname()):
            readable(listener)
            served, _ = await within(loop.sock_accept(listener))
            served.close()

    run(main())


def test_connecting_to_nobody(run):
    async def main():
        loop = asyncio.get_running_loop()
        with socket.socket() as unused, socket.socket() as client:
            unused.bind(("127.0.0.1", 0))
            client.setblocking(False)
            with pytest.raises(ConnectionRefusedError) as info:
                await within(loop.sock_connect(client, unused.getsockname()))
            assert info.value.errno == errno.ECONNREFUSED

    run(main())


def test_connecting_by_name(run):
    """A host name is looked up by the loop first."""

    async def main():
        loop = asyncio.get_running_loop()
        with tcp_listener() as listener, socket.socket() as client:
            client.setblocking(False)
            port = listener.getsockname()[1]
            await within(loop.sock_connect(client, ("localhost", port)))
            served, _ = await within(loop.sock_accept(listener))
            served.close()

    run(main())


def test_connecting_a_unix_socket(run, tmp_path):
    async def main():
        loop = asyncio.get_running_loop()
        path = str(tmp_path / "socket")
        with socket.socket(socket.AF_UNIX) as listener, socket.socket(socket.AF_UNIX) as client:
            client.setblocking(False)
            with pytest.raises(FileNotFoundError):
                await within(loop.sock_connect(client, path))
            listener.bind(path)
            listener.listen()
            listener.setblocking(False)
            await within(loop.sock_connect(client, path))
            served, _ = await within(loop.sock_accept(listener))
            served.close()

    run(main())


def test_many_connections_through_the_loops_own_calls(run):
    """Connect and accept by the hundred: nobody is lost, no descriptor left."""

    async def main():
        loop = asyncio.get_running_loop()
        with tcp_listener(200) as listener:

            async def serve():
                served, _ = await loop.sock_accept(listener)
                with served:
                    await loop.sock_sendall(served, await loop.sock_recv(served, 100))

            async def call(number):
                with socket.socket() as client:
                    client.setblocking(False)
                    await loop.sock_connect(client, listener.getsockname())
                    await loop.sock_sendall(client, b"%d" % number)
                    return int(await loop.sock_recv(client, 100))

            # One waits in accept at a time, as the calls ask for.
            async def serve_all():
                for _ in range(200):
                    await serve()

            serving = asyncio.ensure_future(serve_all())
            assert await within(asyncio.gather(*map(call, range(200)))) == list(range(200))
            await within(serving)

    with no_fd_leak():
        run(main())


# What is refused


def test_blocking_sockets_are_refused_in_debug_mode(run):
    async def main():
        loop = asyncio.get_running_loop()
        async with pair() as (near, _):
            near.setblocking(True)
            for attempt in (
                lambda: loop.sock_recv(near, 10),
                lambda: loop.sock_recv_into(near, bytearray(1)),
                lambda: loop.sock_recvfrom(near, 10),
                lambda: loop.sock_recvfrom_into(near, bytearray(1)),
                lambda: loop.sock_sendall(near, b"x"),
                lambda: loop.sock_sendto(near, b"x", ("127.0.0.1", 1)),
                lambda: loop.sock_accept(near),
                lambda: loop.sock_connect(near, ("127.0.0.1", 1)),
            ):
                with pytest.raises(ValueError, match="the socket must be non-blocking"):
                    await attempt()

    run(main(), debug=True)


def test_tls_sockets_are_refused(run):
    async def main():
        loop = asyncio.get_running_loop()
        async with pair() as (near, _):
            context = ssl.create_default_context()
            context.check_hostname = False
            wrapped = context.wrap_socket(near, do_handshake_on_connect=False)
            with wrapped:
                for attempt in (
                    lambda: loop.sock_recv(wrapped, 10),
                    lambda: loop.sock_sendall(wrapped, b"x"),
                    lambda: loop.sock_accept(wrapped),
                    lambda: loop.sock_connect(wrapped, ("127.0.0.1", 1)),
                ):
                    with pytest.raises(TypeError, match="Socket cannot be of type SSLSocket"):
                        await attempt()

    run(main())


# Cancelling


def test_cancelling_takes_the_registration_away(run, sockets):
    async def main():
        loop = asyncio.get_running_loop()
        async with pair(sockets) as (near, far):
            for attempt in (
                lambda: loop.sock_recv(near, 10),
                lambda: loop.sock_recv_into(near, bytearray(10)),
                lambda: loop.sock_recvfrom(near, 10),
            ):
                task = asyncio.ensure_future(attempt())
                await turns(2)
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task
                await turns(1)
                assert loop.remove_reader(near) is False
            task = asyncio.ensure_future(loop.sock_sendall(near, b"x" * 30_000_000))
            await turns(3)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await turns(1)
            assert loop.remove_writer(near) is False
            far.send(b"still")
            assert await within(loop.sock_recv(near, 10)) == b"still"

    run(main())


def test_what_comes_after_a_cancelled_receive_is_not_lost(run, sockets):
    # A cancellation in the very turn the data comes: tests/rulip/test_cancelled_sockets.py.
    async def main():
        loop = asyncio.get_running_loop()
        async with pair(sockets) as (near, far):
            for number in range(300):
                task = asyncio.ensure_future(loop.sock_recv(near, 100))
                await turns(number % 3)
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task
                far.send(b"%d" % number)
                assert await within(loop.sock_recv(near, 100)) == b"%d" % number

    run(main())


def test_cancelling_a_connect(run):
    async def main():
        loop = asyncio.get_running_loop()
        # A full backlog leaves the next connect pending.
        with socket.socket() as listener, contextlib.ExitStack() as stack:
            listener.bind(("127.0.0.1", 0))
            listener.listen(0)
            pending: list[asyncio.Future[Any]] = []
            for _ in range(4):
                client = stack.enter_context(socket.socket())
                client.setblocking(False)
                connecting = loop.sock_connect(client, listener.getsockname())
                pending.append(asyncio.ensure_future(connecting))
            await turns(5)
            waiting = [task for task in pending if not task.done()]
            assert waiting
            for task in waiting:
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task

    with no_fd_leak():
        run(main())


def test_a_timeout_around_a_receive(run, sockets):
    async def main():
        loop = asyncio.get_running_loop()
        async with pair(sockets) as (near, far):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.001):
                    await loop.sock_recv(near, 10)
            far.send(b"later")
            assert await within(loop.sock_recv(near, 10)) == b"later"

    run(main())


# Two at once, and none at all


def test_receiving_and_sending_at_once(run, sockets):
    async def main():
        loop = asyncio.get_running_loop()
        async with pair(sockets) as (near, far):
            receiving = asyncio.ensure_future(loop.sock_recv(near, 10))
            sending = asyncio.ensure_future(loop.sock_sendall(near, b"x" * 3_000_000))
            await turns(3)
            far.send(b"hello")
            assert await within(receiving) == b"hello"
            count = 0
            while count < 3_000_000:
                count += len(await within(loop.sock_recv(far, 1 << 18)))
            await within(sending)

    run(main())


def test_a_socket_closed_while_an_operation_waits(run, sockets):
    """Whatever becomes of the operation, the loop lives and the socket's number is not harmed."""

    async def main():
        loop = asyncio.get_running_loop()
        collect_reports(loop)
        for start in (
            lambda sock: loop.sock_recv(sock, 10),
            lambda sock: loop.sock_recv_into(sock, bytearray(10)),
            lambda sock: loop.sock_sendall(sock, b"x" * 30_000_000),
        ):
            near, far = sockets()
            task = asyncio.ensure_future(start(near))
            await turns(3)
            near.close()
            await turns(3)
            other, other_far = sockets()
            other_far.send(b"x")
            await turns(3)
            assert other.recv(10) == b"x"
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError, OSError, ValueError):
                await task
            for sock in (far, other, other_far):
                sock.close()

    run(main())


def test_a_listener_closed_while_accept_waits(run):
    async def main():
        loop = asyncio.get_running_loop()
        collect_reports(loop)
        listener = tcp_listener()
        task = asyncio.ensure_future(loop.sock_accept(listener))
        await turns(3)
        listener.close()
        await turns(3)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError, OSError, ValueError):
            await task
        async with pair(unix_sockets) as (near, far):
            far.send(b"x")
            assert await within(loop.sock_recv(near, 10)) == b"x"

    with no_fd_leak():
        run(main())


def test_operations_on_a_closed_socket_fail(run):
    async def main():
        loop = asyncio.get_running_loop()
        near, far = tcp_sockets()
        near.close()
        far.close()
        for attempt in (
            lambda: loop.sock_recv(near, 10),
            lambda: loop.sock_sendall(near, b"x"),
            lambda: loop.sock_accept(near),
            lambda: loop.sock_connect(near, ("127.0.0.1", 1)),
        ):
            with pytest.raises((OSError, ValueError)):
                await within(attempt())

    run(main())
