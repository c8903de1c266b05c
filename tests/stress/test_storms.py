"""Storms within the loop: cancellations, timers, connections, signals.

Runs in the main thread.
Invariant: at the end everything is over, every descriptor is closed and the memory is given back.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import random
import signal
import socket
import threading
from typing import Any

import pytest
from tests.loopback import (
    PATIENCE,
    connection,
    no_fd_leak,
    open_fds,
    recv_exactly,
    run_until,
    spin,
    tcp_sockets,
    thread,
    turns,
    until,
    within,
)


def resident() -> int:
    """Bytes of this process in memory."""
    with open("/proc/self/statm", encoding="ascii") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_a_storm_of_cancellations(run):
    """Tasks that wait for each other, for timers, locks and queues, cancelled in random order."""

    async def main():
        pick = random.Random(30)
        queue: asyncio.Queue[int] = asyncio.Queue(2)
        lock = asyncio.Lock()
        event = asyncio.Event()
        tasks: list[asyncio.Task[Any]] = []
        leaves: list[asyncio.Task[Any]] = []

        async def work(number):
            match number % 6:
                case 0:
                    await asyncio.sleep(pick.random() / 100)
                case 1:
                    async with lock:
                        await asyncio.sleep(0)
                case 2:
                    await queue.put(number)
                case 3:
                    await queue.get()
                case 4:
                    await asyncio.wait_for(event.wait(), pick.random() / 50)
                case 5:
                    await asyncio.gather(asyncio.shield(pick.choice(leaves)), pick.choice(leaves))

        for number in range(4000):
            tasks.append(asyncio.ensure_future(work(number)))
            if number % 6 < 4:
                leaves.append(tasks[-1])
            if number % 7 == 0:
                await asyncio.sleep(0)
            if number % 3:
                pick.choice(tasks).cancel()
        event.set()
        for task in tasks:
            if pick.randrange(4) == 0:
                task.cancel()
        await turns(20)
        for task in tasks:
            task.cancel()
        await within(asyncio.gather(*tasks, return_exceptions=True))
        assert all(task.done() for task in tasks)
        assert not lock.locked()

    run(main())


def test_a_hundred_thousand_timers(loop):
    """Set, half of them cancelled, the rest run in order; the memory comes back."""
    pick = random.Random(31)
    gc.collect()
    before = resident()
    base = loop.time() - 10
    seen: list[float] = []
    handles = []
    for _ in range(100_000):
        when = base + pick.random() * 5
        handles.append(loop.call_at(when, seen.append, when))
    gone = set()
    for number in range(0, 100_000, 2):
        handles[number].cancel()
        gone.add(handles[number].when())
    handles.clear()
    run_until(loop, lambda: len(seen) == 50_000)
    assert seen == sorted(seen)
    assert not gone & set(seen)
    seen.clear()
    gone.clear()
    spin(loop)
    gc.collect()
    assert resident() < before + 60_000_000


def test_timers_set_and_cancelled_for_ever_stay_bounded(loop):
    """A deadline per request, always cancelled in time: nothing piles up."""
    gc.collect()
    for _ in range(20_000):
        loop.call_later(60, int).cancel()
    spin(loop)
    before = resident()
    for _ in range(10):
        for _ in range(10_000):
            loop.call_later(60, int).cancel()
        spin(loop)
    assert resident() < before + 10_000_000


def test_a_churn_of_connections(run):
    """Connect, exchange, close, two thousand times: descriptors and memory stay flat."""

    async def main():
        loop = asyncio.get_running_loop()

        class Echo(asyncio.Protocol):
            def connection_made(self, transport):
                self.transport = transport

            def data_received(self, data):
                self.transport.write(data)
                self.transport.close()

        server = await loop.create_server(Echo, "127.0.0.1", 0, backlog=200)
        where = server.sockets[0].getsockname()

        async def call(number):
            with socket.socket() as client:
                client.setblocking(False)
                await loop.sock_connect(client, where)
                await loop.sock_sendall(client, b"%6d" % number)
                assert await recv_exactly(client, 7) == b"%6d" % number

        async def rounds(count):
            for _ in range(count):
                await within(asyncio.gather(*map(call, range(50))))

        await rounds(10)
        await turns(10)
        gc.collect()
        descriptors, memory = len(open_fds()), resident()
        await rounds(30)
        await turns(10)
        gc.collect()
        assert len(open_fds()) <= descriptors
        assert resident() < memory + 6_000_000
        server.close()
        await within(server.wait_closed())

    with no_fd_leak():
        run(main())


def test_a_firehose_does_not_keep_timers_waiting(run):
    """One connection brings data without a pause; a timer beside it is hardly late."""
    stop = threading.Event()

    async def main():
        loop = asyncio.get_running_loop()
        received = 0

        class Sink(asyncio.Protocol):
            def data_received(self, data):
                nonlocal received
                received += len(data)

        near, far = tcp_sockets()
        far.setblocking(True)
        transport, _ = await loop.create_connection(Sink, sock=near)

        def pour():
            chunk = bytes(1 << 18)
            with contextlib.suppress(OSError):
                while not stop.is_set():
                    far.sendall(chunk)

        with thread(pour):
            late = []
            for _ in range(100):
                start = loop.time()
                await asyncio.sleep(0.002)
                late.append(loop.time() - start - 0.002)
            stop.set()
            transport.abort()
            await turns(2)
            far.close()
        assert received > 1_000_000
        assert sorted(late)[len(late) // 2] < 0.02

    run(main())


def test_data_to_and_fro_on_many_connections_with_random_pauses(run):
    async def main():
        pick = random.Random(32)
        loop = asyncio.get_running_loop()

        class Echo(asyncio.Protocol):
            def connection_made(self, transport):
                self.transport = transport

            def data_received(self, data):
                if pick.randrange(2):
                    self.transport.write(data)
                else:
                    self.transport.writelines([data[:1], data[1:]])
                if pick.randrange(4) == 0 and self.transport.is_reading():
                    self.transport.pause_reading()
                    loop.call_later(pick.random() / 1000, self.transport.resume_reading)

            def pause_writing(self):
                self.transport.pause_reading()

            def resume_writing(self):
                self.transport.resume_reading()

        async def converse(number):
            data = random.Random(number).randbytes(200_000)
            async with connection(Echo) as (_, _, peer):
                sending = asyncio.ensure_future(loop.sock_sendall(peer, data))
                assert await recv_exactly(peer, len(data)) == data
                await sending

        await within(asyncio.gather(*map(converse, range(20))), 3 * PATIENCE)

    with no_fd_leak():
        run(main())


@pytest.mark.loops("rulip")
def test_a_storm_of_signals(run):
    """Two threads signal without a pause while data flows (asyncio's descriptor overflows)."""
    seen = {signal.SIGUSR1: 0, signal.SIGUSR2: 0}

    async def main():
        loop = asyncio.get_running_loop()
        stop = threading.Event()

        def count(number):
            seen[number] += 1

        def storm(number):
            while not stop.is_set():
                os.kill(os.getpid(), number)

        for number in seen:
            loop.add_signal_handler(number, count, number)
        near, far = socket.socketpair()
        near.setblocking(False)
        far.setblocking(False)
        with (
            near,
            far,
            thread(lambda: storm(signal.SIGUSR1)),
            thread(lambda: storm(signal.SIGUSR2)),
        ):
            try:
                sending = asyncio.ensure_future(loop.sock_sendall(near, b"x" * 3_000_000))
                assert len(await recv_exactly(far, 3_000_000)) == 3_000_000
                await within(sending)
                await until(lambda: all(seen.values()))
            finally:
                stop.set()
        await turns(3)
        for number in seen:
            loop.remove_signal_handler(number)

    run(main())
