"""create_connection: addresses tried in order or side by side, errors, cancelling at every step.

Not here: Unix paths (test_unix.py), data on the connection (test_transports.py).
Runs in the main thread; name look-ups are replaced by lists of loopback addresses where the order
of addresses is the point.
Invariant: whatever the outcome, no descriptor is left open and no foreign one is closed; one body
for both loops; stock asyncio passes every test.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import gc
import socket
import sys
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import pytest
from tests.loopback import (
    Recorder,
    no_fd_leak,
    open_fds,
    recv_exactly,
    resource_warnings,
    tcp_listener,
    tcp_sockets,
    turns,
    within,
)


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with tcp_listener() as sock:
        yield sock


@pytest.fixture
def dead_port() -> Iterator[int]:
    """A port of 127.0.0.1 where nobody listens, kept from others."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        yield sock.getsockname()[1]


@pytest.fixture
def full_port() -> Iterator[int]:
    """A port of 127.0.0.1 whose backlog is full: connecting neither succeeds nor fails."""
    with socket.socket() as sock, contextlib.ExitStack() as stack:
        sock.bind(("127.0.0.1", 0))
        sock.listen(0)
        for _ in range(4):
            client = stack.enter_context(socket.socket())
            client.setblocking(False)
            client.connect_ex(sock.getsockname())
        yield sock.getsockname()[1]


def resolve_to(loop: asyncio.AbstractEventLoop, *ports: int, family: int = socket.AF_INET) -> None:
    """From now on every name is 127.0.0.1 with each of these ports, in this order."""

    async def getaddrinfo(host, port, **keywords):
        return [
            (family, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", ("127.0.0.1", each))
            for each in ports
        ]

    loop.getaddrinfo = getaddrinfo


async def finish(transport: Any, protocol: Any) -> None:
    transport.close()
    await within(protocol.lost)
    await turns(1)


# Success


def test_connecting_by_number_and_by_name(run, listener):
    port = listener.getsockname()[1]

    async def main():
        loop = asyncio.get_running_loop()
        for host in ("127.0.0.1", "localhost"):
            transport, protocol = await within(
                loop.create_connection(Recorder, host, port, family=socket.AF_INET)
            )
            assert protocol.transport is transport
            assert protocol.calls == ["connection_made"]
            served, address = await within(loop.sock_accept(listener))
            with served:
                assert transport.get_extra_info("sockname") == address
                assert transport.get_extra_info("peername") == listener.getsockname()
                transport.write(b"hello")
                assert await recv_exactly(served, 5) == b"hello"
            await finish(transport, protocol)

    with no_fd_leak():
        run(main())


def test_connecting_over_ipv6(run):
    async def main():
        loop = asyncio.get_running_loop()
        with socket.create_server(("::1", 0), family=socket.AF_INET6) as sock:
            transport, protocol = await within(
                loop.create_connection(Recorder, "::1", sock.getsockname()[1])
            )
            assert transport.get_extra_info("peername")[0] == "::1"
            await finish(transport, protocol)

    with no_fd_leak():
        run(main())


def test_a_connected_socket_given(run):
    async def main():
        loop = asyncio.get_running_loop()
        near, far = tcp_sockets()
        near.setblocking(True)
        transport, protocol = await within(loop.create_connection(Recorder, sock=near))
        assert near.gettimeout() == 0
        far.send(b"hello")
        await protocol.wait_received(5)
        await finish(transport, protocol)
        far.close()

    with no_fd_leak():
        run(main())


def test_the_factory_makes_the_protocol(run, listener):
    async def main():
        loop = asyncio.get_running_loop()
        made: list[Recorder] = []

        def factory():
            made.append(Recorder())
            return made[-1]

        transport, protocol = await loop.create_connection(factory, *listener.getsockname())
        assert made == [protocol]
        await finish(transport, protocol)

    run(main())


def test_a_local_address(run, listener):
    async def main():
        loop = asyncio.get_running_loop()
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            local = probe.getsockname()
        transport, protocol = await loop.create_connection(
            Recorder, *listener.getsockname(), local_addr=local
        )
        assert transport.get_extra_info("sockname") == local
        await finish(transport, protocol)
        transport, protocol = await loop.create_connection(
            Recorder, *listener.getsockname(), local_addr=("127.0.0.1", 0)
        )
        await finish(transport, protocol)

    with no_fd_leak():
        run(main())


def test_the_next_address_is_tried(run, listener, dead_port):
    port = listener.getsockname()[1]

    async def main():
        loop = asyncio.get_running_loop()
        resolve_to(loop, dead_port, dead_port, port, dead_port)
        transport, protocol = await within(loop.create_connection(Recorder, "name", 1))
        assert transport.get_extra_info("peername")[1] == port
        await finish(transport, protocol)

    with no_fd_leak():
        run(main())


def test_the_overridable_steps_are_used(run, listener):
    """Subclasses and test suites replace getaddrinfo and sock_connect on the loop."""

    async def main():
        loop = asyncio.get_running_loop()
        seen: list[Any] = []
        original = loop.sock_connect

        async def sock_connect(sock, address):
            seen.append(address)
            await original(sock, address)

        loop.sock_connect = sock_connect
        transport, protocol = await loop.create_connection(Recorder, *listener.getsockname())
        assert seen == [listener.getsockname()]
        await finish(transport, protocol)

    run(main())


# Failure


def test_a_refused_connection(run, dead_port):
    async def main():
        loop = asyncio.get_running_loop()
        with pytest.raises(ConnectionRefusedError) as info:
            await within(loop.create_connection(Recorder, "127.0.0.1", dead_port))
        assert info.value.errno == errno.ECONNREFUSED
        assert str(dead_port) in str(info.value)

    with no_fd_leak():
        run(main())


def test_several_equal_failures_are_one(run, dead_port):
    async def main():
        loop = asyncio.get_running_loop()
        resolve_to(loop, dead_port, dead_port)
        with pytest.raises(ConnectionRefusedError):
            await within(loop.create_connection(Recorder, "name", 1))

    with no_fd_leak():
        run(main())


def test_several_failures_are_told_together(run, dead_port):
    async def main():
        loop = asyncio.get_running_loop()
        with socket.socket() as other:
            other.bind(("127.0.0.1", 0))
            resolve_to(loop, dead_port, other.getsockname()[1])
            with pytest.raises(OSError, match=r"Multiple exceptions: .*, .*") as info:
                await within(loop.create_connection(Recorder, "name", 1))
            assert str(dead_port) in str(info.value)
            assert str(other.getsockname()[1]) in str(info.value)

    with no_fd_leak():
        run(main())


@pytest.mark.skipif(sys.version_info < (3, 12), reason="all_errors came in 3.12")
@pytest.mark.parametrize("delay", [None, 0.01])
def test_all_errors_come_in_a_group(run, dead_port, delay):
    async def main():
        loop = asyncio.get_running_loop()
        resolve_to(loop, dead_port, dead_port, dead_port)
        with pytest.raises(ExceptionGroup) as info:
            await within(
                loop.create_connection(
                    Recorder, "name", 1, all_errors=True, happy_eyeballs_delay=delay
                )
            )
        assert [type(each) for each in info.value.exceptions] == [ConnectionRefusedError] * 3
        assert info.value.message == "create_connection failed"

    with no_fd_leak():
        run(main())


def test_cancelled_a_turn_after_it_began_there_is_no_protocol(run, listener):
    """Though the connection may be there: who cancels at once has nothing to clean up."""

    async def main():
        loop = asyncio.get_running_loop()
        made = []
        connecting = asyncio.ensure_future(
            loop.create_connection(lambda: made.append(1) or Recorder(), *listener.getsockname())
        )
        await turns(1)
        connecting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await connecting
        await turns(5)
        assert made == []

    with no_fd_leak():
        run(main())


def test_turns_until_a_connection_is_there(run, listener):
    """A client's steps come as far apart as on asyncio, where readiness is waited for."""

    async def main():
        loop = asyncio.get_running_loop()
        passed = 0

        def count():
            nonlocal passed
            passed += 1
            loop.call_soon(count)

        count()
        with socket.socket() as sock:
            sock.setblocking(False)
            before = passed
            await within(loop.sock_connect(sock, listener.getsockname()))
            assert 1 <= passed - before <= 3

    run(main())


def test_no_address_at_all(run):
    async def main():
        loop = asyncio.get_running_loop()
        resolve_to(loop)
        with pytest.raises(OSError, match=r"getaddrinfo\(\) returned empty list"):
            await loop.create_connection(Recorder, "name", 1)

    run(main())


def test_a_name_that_cannot_be_looked_up(run):
    async def main():
        loop = asyncio.get_running_loop()

        async def getaddrinfo(*args, **keywords):
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

        loop.getaddrinfo = getaddrinfo
        with pytest.raises(socket.gaierror):
            await loop.create_connection(Recorder, "name", 1)

    run(main())


def test_a_local_address_that_is_not_ours(run, listener):
    async def main():
        loop = asyncio.get_running_loop()
        with pytest.raises(OSError, match="error while attempting to bind on address"):
            await within(
                loop.create_connection(
                    Recorder, *listener.getsockname(), local_addr=("192.0.2.1", 0)
                )
            )
        with pytest.raises(OSError, match="bind"):
            await within(
                loop.create_connection(
                    Recorder, *listener.getsockname(), local_addr=listener.getsockname()
                )
            )

    with no_fd_leak():
        run(main())


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({}, "host and port was not specified and no sock specified"),
        (
            {"host": "h", "port": 1, "sock": "tcp"},
            "host/port and sock can not be specified at the same time",
        ),
        ({"sock": "udp"}, "A Stream Socket was expected, got"),
        (
            {"host": "h", "port": 1, "server_hostname": "x"},
            "server_hostname is only meaningful with ssl",
        ),
        (
            {"host": "h", "port": 1, "ssl_handshake_timeout": 1},
            "ssl_handshake_timeout is only meaningful with ssl",
        ),
        (
            {"host": "h", "port": 1, "ssl_shutdown_timeout": 1},
            "ssl_shutdown_timeout is only meaningful with ssl",
        ),
        (
            {"sock": "tcp", "ssl": True},
            "You must set server_hostname when using ssl without a host",
        ),
    ],
)
def test_what_is_refused(run, keywords, message):
    async def main():
        loop = asyncio.get_running_loop()
        with (
            socket.socket() as tcp,
            socket.socket(type=socket.SOCK_DGRAM) as udp,
        ):
            kinds = {"tcp": tcp, "udp": udp}
            given = dict(keywords)
            if "sock" in given:
                given["sock"] = kinds[given["sock"]]
            with pytest.raises(ValueError, match=message):
                await loop.create_connection(Recorder, **given)

    with no_fd_leak():
        run(main())


# Side by side


def test_happy_eyeballs_do_not_wait_for_a_silent_address(run, listener, full_port):
    """One address neither answers nor refuses: the next is tried after the delay."""
    port = listener.getsockname()[1]

    async def main():
        loop = asyncio.get_running_loop()
        resolve_to(loop, full_port, full_port, port)
        start = loop.time()
        transport, protocol = await within(
            loop.create_connection(Recorder, "name", 1, happy_eyeballs_delay=0.02)
        )
        assert 0.035 < loop.time() - start < 3
        assert transport.get_extra_info("peername")[1] == port
        await finish(transport, protocol)

    with no_fd_leak():
        run(main())


def test_happy_eyeballs_go_on_at_once_after_a_failure(run, listener, dead_port):
    port = listener.getsockname()[1]

    async def main():
        loop = asyncio.get_running_loop()
        resolve_to(loop, *[dead_port] * 5, port)
        transport, protocol = await within(
            loop.create_connection(Recorder, "name", 1, happy_eyeballs_delay=60)
        )
        assert transport.get_extra_info("peername")[1] == port
        await finish(transport, protocol)

    with no_fd_leak():
        run(main())


def test_happy_eyeballs_with_nobody_there(run, dead_port):
    async def main():
        loop = asyncio.get_running_loop()
        resolve_to(loop, dead_port, dead_port)
        with pytest.raises(ConnectionRefusedError):
            await within(loop.create_connection(Recorder, "name", 1, happy_eyeballs_delay=0.01))

    with no_fd_leak():
        run(main())


@pytest.mark.parametrize(
    ("interleave", "order"), [(None, "666444"), (0, "666444"), (1, "646464"), (2, "664644")]
)
def test_families_are_interleaved(run, interleave, order):
    tried: list[str] = []

    async def main():
        loop = asyncio.get_running_loop()

        async def getaddrinfo(*args, **keywords):
            return [
                (family, socket.SOCK_STREAM, 6, "", (host, 1))
                for family, host in [(socket.AF_INET6, "::1")] * 3
                + [(socket.AF_INET, "127.0.0.1")] * 3
            ]

        async def sock_connect(sock, address):
            tried.append("6" if sock.family == socket.AF_INET6 else "4")
            raise ConnectionRefusedError

        loop.getaddrinfo = getaddrinfo
        loop.sock_connect = sock_connect
        with pytest.raises(ConnectionRefusedError):
            await loop.create_connection(Recorder, "name", 1, interleave=interleave)

    with no_fd_leak():
        run(main())
    assert "".join(tried) == order


def test_interleaving_is_the_default_with_a_delay(run):
    tried: list[str] = []

    async def main():
        loop = asyncio.get_running_loop()

        async def getaddrinfo(*args, **keywords):
            return [
                (family, socket.SOCK_STREAM, 6, "", (host, 1))
                for family, host in [(socket.AF_INET6, "::1")] * 2
                + [(socket.AF_INET, "127.0.0.1")] * 2
            ]

        async def sock_connect(sock, address):
            tried.append("6" if sock.family == socket.AF_INET6 else "4")
            raise ConnectionRefusedError

        loop.getaddrinfo = getaddrinfo
        loop.sock_connect = sock_connect
        with pytest.raises(ConnectionRefusedError):
            await loop.create_connection(Recorder, "name", 1, happy_eyeballs_delay=5)

    run(main())
    assert "".join(tried) == "6464"


# Cancelling


Start = Callable[[asyncio.AbstractEventLoop], Coroutine[Any, Any, Any]]


async def cancelled_at(step: int, start: Start) -> bool:
    """Begin, cancel after `step` turns, clean up; was it over by then?"""
    loop = asyncio.get_running_loop()
    task = loop.create_task(start(loop))
    await turns(step)
    over = task.done()
    task.cancel()
    result = None
    with contextlib.suppress(asyncio.CancelledError):
        result = await within(task)
    if isinstance(result, tuple):
        result[0].abort()
    elif result is not None:
        result.close()
        await within(result.wait_closed())
    await turns(3)
    return over


def at_every_step(run: Any, start: Start) -> None:
    """Cancel after 0, 1, 2... turns until it is over before the cancellation; nothing leaks."""
    guards = [socket.socketpair() for _ in range(3)]
    for step in (*range(40), 100, 300, 1000, 3000, 10_000, 100_000):
        with no_fd_leak():
            over = run(cancelled_at(step, start))
        for left, right in guards:
            left.send(b"x")
            assert right.recv(1) == b"x"
        if over:
            break
    else:
        pytest.fail("never over")
    for left, right in guards:
        left.close()
        right.close()


def test_cancelling_a_connection_by_number_at_every_step(run, listener):
    at_every_step(
        run, lambda loop: loop.create_connection(asyncio.Protocol, *listener.getsockname())
    )


def test_cancelling_a_connection_by_name_at_every_step(run, listener):
    port = listener.getsockname()[1]

    async def start(loop):
        resolve_to(loop, port)
        return await loop.create_connection(asyncio.Protocol, "name", 1)

    at_every_step(run, start)


def test_cancelling_after_failed_attempts_at_every_step(run, listener, dead_port):
    port = listener.getsockname()[1]

    async def start(loop):
        resolve_to(loop, dead_port, dead_port, port)
        return await loop.create_connection(asyncio.Protocol, "name", 1)

    at_every_step(run, start)


@pytest.mark.skipif(sys.version_info < (3, 12), reason="asyncio loses sockets here before 3.12")
def test_cancelling_happy_eyeballs_at_every_step(run, listener, dead_port, full_port):
    port = listener.getsockname()[1]

    async def start(loop):
        resolve_to(loop, dead_port, full_port, port)
        return await loop.create_connection(
            asyncio.Protocol, "name", 1, happy_eyeballs_delay=0.0001
        )

    # asyncio may leave the loser's socket to the collector.
    with resource_warnings():
        at_every_step(run, start)


def test_cancelling_a_connection_that_hangs(run, full_port):
    async def main():
        loop = asyncio.get_running_loop()
        task = loop.create_task(loop.create_connection(asyncio.Protocol, "127.0.0.1", full_port))
        await turns(10)
        assert not task.done()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await within(task)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.005):
                await loop.create_connection(asyncio.Protocol, "127.0.0.1", full_port)

    with no_fd_leak():
        run(main())


@pytest.mark.parametrize("method", ["create_connection", "connect_accepted_socket"])
def test_cancelling_with_a_given_socket_at_every_step(run, method):
    """The socket is ours or the transport's, never both, and never a stranger's."""

    async def attempt(step):
        loop = asyncio.get_running_loop()
        near, far = tcp_sockets()
        number, inode = near.fileno(), open_fds()[near.fileno()]
        start = (
            loop.create_connection(asyncio.Protocol, sock=near)
            if method == "create_connection"
            else loop.connect_accepted_socket(asyncio.Protocol, near)
        )
        task = loop.create_task(start)
        await turns(step)
        over = task.done()
        task.cancel()
        transport = None
        with contextlib.suppress(asyncio.CancelledError):
            transport, _ = await within(task)
        if transport is not None:
            transport.abort()
        await turns(3)
        if near.fileno() == -1:
            assert open_fds().get(number) != inode
        else:
            assert near.fileno() == number
            assert open_fds()[number] == inode
        pipes = [socket.socketpair() for _ in range(5)]
        near.close()
        del near
        gc.collect()
        for left, right in pipes:
            left.send(b"alive")
            assert right.recv(5) == b"alive"
            left.close()
            right.close()
        far.close()
        return over

    for step in range(30):
        with no_fd_leak():
            if run(attempt(step)):
                break
    else:
        pytest.fail("never over")


@pytest.mark.loops("rulip")
def test_cancelling_create_server_at_every_step(run):
    # asyncio leaves the listening socket open when it is cancelled in the last step.
    at_every_step(run, lambda loop: loop.create_server(asyncio.Protocol, "127.0.0.1", 0))


def test_cancelling_open_connection_at_every_step(run, listener):
    async def start(loop):
        _, writer = await asyncio.open_connection(*listener.getsockname())
        return writer

    at_every_step(run, start)
