"""loop.getaddrinfo and loop.getnameinfo: the same answers as the socket module's.

Not here: names in create_connection (test_connect.py), starvation (tests/rulip/test_resolving.py).
Runs in the main thread; nothing here asks a name server.
Invariant: one body for both loops; stock asyncio passes every test.
"""

from __future__ import annotations

import asyncio
import socket
import threading
from typing import Any

import pytest
from tests.loopback import turns, within

HOSTS = [
    "127.0.0.1",
    "127.1",
    "0x7f.1",
    "0",
    "::1",
    "::",
    "fe80::1%lo",
    "fe80::1%1",
    "::ffff:127.0.0.1",
    "",
    None,
    b"127.0.0.1",
    b"::1",
    "localhost",
    "1.2.3",
    "0.0.0.0",
    "255.255.255.255",
    "::1%lo",
    "::ffff:102:304",
    "::1.2.3.4",
    "2001:DB8:0:0::1",
    "01.2.3.4",
    "1.2.3.4.5",
    "1::2::3",
    "\u0661.2.3.4",
]
PORTS = [None, 0, 80, "80", b"80", "http", "65535", "65536", 65536, -1, "", "+1", "080"]


def answer(function: Any, *args: Any, **keywords: Any) -> Any:
    try:
        return function(*args, **keywords)
    except (OSError, OverflowError, TypeError, ValueError, UnicodeError) as exc:
        return type(exc), str(exc)


async def loops_answer(*args: Any, **keywords: Any) -> Any:
    loop = asyncio.get_running_loop()
    try:
        return await within(loop.getaddrinfo(*args, **keywords))
    except (OSError, OverflowError, TypeError, ValueError, UnicodeError) as exc:
        return type(exc), str(exc)


@pytest.mark.parametrize("host", HOSTS)
def test_answers_equal_the_socket_modules(run, host):
    """Literal addresses, scopes, old notations, '' and None with ports of every kind."""

    async def main():
        for port in PORTS:
            for keywords in (
                {},
                {"type": socket.SOCK_STREAM},
                {"type": socket.SOCK_DGRAM, "proto": socket.IPPROTO_UDP},
                {"type": socket.SOCK_DGRAM, "proto": socket.IPPROTO_TCP},
                {"type": socket.SOCK_RAW},
                {"family": socket.AF_INET, "type": socket.SOCK_STREAM},
                {"family": socket.AF_INET6, "proto": socket.IPPROTO_UDP},
            ):
                if host == "localhost" and keywords.get("family") == socket.AF_INET6:
                    continue  # not in every hosts file: that would ask a name server
                expected = answer(socket.getaddrinfo, host, port, **keywords)
                got = await loops_answer(host, port, **keywords)
                assert got == expected, (host, port, keywords)

    run(main())


@pytest.mark.parametrize(
    "flags",
    [
        socket.AI_PASSIVE,
        socket.AI_NUMERICHOST,
        socket.AI_NUMERICSERV,
        socket.AI_CANONNAME,
        socket.AI_V4MAPPED,
        socket.AI_V4MAPPED | socket.AI_ALL,
        socket.AI_ADDRCONFIG,
        socket.AI_CANONNAME | socket.AI_NUMERICHOST,
    ],
)
def test_flags_are_honoured(run, flags):
    async def main():
        for host in ("127.0.0.1", "::1", "", None, "localhost"):
            for family in (0, socket.AF_INET, socket.AF_INET6):
                if host == "localhost" and family != socket.AF_INET:
                    continue  # not in every hosts file: that would ask a name server
                for port in (80, "http"):
                    keywords = {"flags": flags, "family": family, "type": socket.SOCK_STREAM}
                    expected = answer(socket.getaddrinfo, host, port, **keywords)
                    got = await loops_answer(host, port, **keywords)
                    assert got == expected, (host, port, keywords)

    run(main())


def test_a_name_that_is_no_name(run):
    async def main():
        for host in ("bad host", "a" * 300, "x..y", "\0", "é" * 70, "127.0.0.1 "):
            expected = answer(socket.getaddrinfo, host, 80)
            got = await loops_answer(host, 80)
            assert got[0] is expected[0], host

    run(main())


def test_many_look_ups_at_once(run):
    async def main():
        expected = socket.getaddrinfo("localhost", 80)
        answers = await within(asyncio.gather(*(loops_answer("localhost", 80) for _ in range(100))))
        assert answers == [expected] * 100

    run(main())


def test_a_cancelled_look_up(run):
    async def main():
        loop = asyncio.get_running_loop()
        for _ in range(50):
            task = asyncio.ensure_future(loop.getaddrinfo("localhost", 80))
            await turns(1)
            task.cancel()
            await asyncio.wait([task])
        assert await within(loop.getaddrinfo("127.0.0.1", 80))
        assert await within(loop.getaddrinfo("localhost", 80))

    run(main())


def test_look_ups_by_name_leave_the_loop_responsive(run, monkeypatch):
    """A name server that takes its time stops nobody else."""
    gate = threading.Event()
    original = socket.getaddrinfo

    def slow(host, *args, **keywords):
        if host == "slow":
            assert gate.wait(10)
            host = "127.0.0.1"
        return original(host, *args, **keywords)

    monkeypatch.setattr(socket, "getaddrinfo", slow)

    async def main():
        loop = asyncio.get_running_loop()
        task = asyncio.ensure_future(loop.getaddrinfo("slow", 80))
        await turns(50)
        assert not task.done()
        gate.set()
        assert await within(task)

    run(main())


def test_names_of_addresses(run):
    async def main():
        loop = asyncio.get_running_loop()
        numeric = socket.NI_NUMERICHOST | socket.NI_NUMERICSERV
        for address in (("127.0.0.1", 80), ("::1", 80, 0, 0)):
            assert await within(loop.getnameinfo(address, numeric)) == socket.getnameinfo(
                address, numeric
            )
        with pytest.raises((TypeError, OSError)):
            await within(loop.getnameinfo(("no address", 80), numeric))

    run(main())


def test_a_look_up_outlives_neither_loop_nor_patience(loop, monkeypatch):
    """close() does not wait for a look-up that hangs, and its late answer does no harm."""
    gate, started, ended = threading.Event(), threading.Event(), threading.Event()

    def slow(*args, **keywords):
        started.set()
        gate.wait(10)
        ended.set()
        return []

    monkeypatch.setattr(socket, "getaddrinfo", slow)

    async def main():
        task = asyncio.ensure_future(loop.getaddrinfo("slow", 80))
        while not started.is_set():
            await turns(1)
        task.cancel()
        await asyncio.wait([task])

    loop.run_until_complete(main())
    loop.close()
    gate.set()
    assert ended.wait(10)
