"""Name look-ups have threads of their own, and literal addresses need none.

Rows of docs/compat.md: literal addresses in getaddrinfo(), names in getaddrinfo().
Runs in the main thread; nothing here asks a name server.
Invariant: jobs of the executor and look-ups never wait for each other.
"""

from __future__ import annotations

import asyncio
import socket
import threading

import pytest
from tests.loopback import PATIENCE, turns, within

from rulip.event_loop import names

pytestmark = pytest.mark.loops("rulip")


def test_sixty_four_blocking_jobs_do_not_keep_a_look_up_waiting(run):
    gate = threading.Event()

    async def main():
        loop = asyncio.get_running_loop()
        jobs = [loop.run_in_executor(None, gate.wait, PATIENCE) for _ in range(64)]
        try:
            for host in ("localhost", "127.0.0.1", "::1"):
                start = loop.time()
                assert await within(loop.getaddrinfo(host, 80))
                assert loop.time() - start < 0.5
            assert await within(loop.getnameinfo(("127.0.0.1", 80), socket.NI_NUMERICHOST))
        finally:
            gate.set()
        await within(asyncio.gather(*jobs))

    run(main())


def test_look_ups_that_hang_do_not_keep_jobs_waiting(run, monkeypatch):
    gate = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **keywords: gate.wait(PATIENCE))

    async def main():
        loop = asyncio.get_running_loop()
        look_ups = [asyncio.ensure_future(loop.getaddrinfo("slow", 80)) for _ in range(64)]
        try:
            await turns(2)
            assert await within(loop.run_in_executor(None, pow, 2, 5)) == 32
        finally:
            gate.set()
        await within(asyncio.wait(look_ups))

    run(main())


def test_where_a_literal_address_has_a_canonical_name(run, monkeypatch):
    """musl gives it as its name, in the spelling of the caller."""
    genuine = socket.getaddrinfo

    def as_musl(host, *args):
        return [(*kind, host, address) for *kind, _, address in genuine(host, *args)]

    monkeypatch.setattr(names, "GETADDRINFO", as_musl)
    monkeypatch.setattr(names, "_answers", {})
    monkeypatch.setattr(socket, "getaddrinfo", as_musl)

    async def main():
        loop = asyncio.get_running_loop()
        for _ in range(2):
            for host in ("127.0.0.1", "10.0.0.1", "::1", "2001:DB8:0:0::1"):
                assert await loop.getaddrinfo(host, 80) == as_musl(host, 80)

    run(main())


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "127.1", "fe80::1%lo", None, b"::1"])
def test_a_literal_address_starts_no_thread(run, host):
    async def main():
        loop = asyncio.get_running_loop()
        before = threading.active_count()
        expected = socket.getaddrinfo(host, 80)
        task = asyncio.ensure_future(loop.getaddrinfo(host, 80))
        await turns(2)
        assert task.done(), "answered without a thread"
        assert task.result() == expected
        assert threading.active_count() == before

    run(main())


def test_connecting_and_serving_by_number_starts_no_thread(run):
    async def main():
        loop = asyncio.get_running_loop()
        before = threading.active_count()
        server = await loop.create_server(asyncio.Protocol, "127.0.0.1", 0)
        transport, _ = await loop.create_connection(
            asyncio.Protocol, *server.sockets[0].getsockname()
        )
        assert threading.active_count() == before
        transport.close()
        server.close()
        await turns(5)

    run(main())


def test_a_cancelled_look_up_frees_its_place(run, monkeypatch):
    """Every place is taken by a look-up that hangs; cancelled, they make room for others."""
    gate = threading.Event()
    original = socket.getaddrinfo

    def slow(host, *args, **keywords):
        if host.startswith("hanging"):
            gate.wait(PATIENCE)
        return original("127.0.0.1", *args, **keywords)

    monkeypatch.setattr(socket, "getaddrinfo", slow)

    async def main():
        loop = asyncio.get_running_loop()
        hanging = [asyncio.ensure_future(loop.getaddrinfo(f"hanging{n}", 80)) for n in range(100)]
        try:
            await turns(5)
            for task in hanging:
                task.cancel()
            await asyncio.wait(hanging)
            assert await within(loop.getaddrinfo("other", 80))
        finally:
            gate.set()

    run(main())


def test_a_name_server_that_is_down_does_not_cost_a_thread_per_look_up(run, monkeypatch):
    """Look-ups that hang and are given up, by the hundred: the number of threads is bounded."""
    gate, changed = threading.Event(), threading.Condition()
    asked: list[str] = []

    def slow(host, *args):
        with changed:
            asked.append(host)
            changed.notify()
        gate.wait(PATIENCE)
        return []

    monkeypatch.setattr(socket, "getaddrinfo", slow)

    async def main():
        loop = asyncio.get_running_loop()
        before = threading.active_count()
        try:
            for round_ in range(1, 16):
                hanging = [asyncio.ensure_future(loop.getaddrinfo("slow", 80)) for _ in range(50)]
                await turns(2)
                with changed:  # give as many threads as there may be the time to begin
                    changed.wait_for(lambda round_=round_: len(asked) >= 16 * round_, timeout=0.05)
                for task in hanging:
                    task.cancel()
                await asyncio.wait(hanging)
            assert threading.active_count() - before <= 128
        finally:
            gate.set()

    run(main())


def test_the_threads_of_look_ups_end_with_the_loop(loop):
    before = set(threading.enumerate())
    loop.run_until_complete(loop.getaddrinfo("localhost", 80))
    started = set(threading.enumerate()) - before
    assert started
    loop.close()
    for thread in started:
        thread.join(PATIENCE)
        assert not thread.is_alive()
