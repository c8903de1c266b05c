"""Counts stay flat: objects, memory blocks and descriptors after N and after 2 N operations.

Not here: single cycles (test_cycles.py); long runs (tests/stress/).
Runs in the main thread.
Invariant: an operation that is over has left nothing; one body for both loops; stock asyncio passes
every test.
"""

from __future__ import annotations

import asyncio
import gc
import socket
import sys
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from tests.loopback import (
    BufferedRecorder,
    Recorder,
    open_fds,
    spin,
    tcp_sockets,
    turns,
    unix_sockets,
    within,
)


def census() -> tuple[int, int, int]:
    """Objects the collector knows, blocks the allocator gave, open descriptors."""
    for _ in range(3):
        gc.collect()
    return len(gc.get_objects()), sys.getallocatedblocks(), len(open_fds())


def assert_flat(repeat: Callable[[int], None], count: int = 300, slack: int = 1) -> None:
    """`repeat(n)` does the operation n times; n more leave less behind than every second would."""
    repeat(count)
    first = census()
    repeat(count)
    second = census()
    repeat(count)
    third = census()
    grown = [
        min(after - before, final - after)
        for before, after, final in zip(first, second, third, strict=True)
    ]
    assert grown[0] < count // 2, ("objects", grown)
    assert grown[1] < slack * count * 3 // 4, ("blocks", grown)
    assert grown[2] <= 0, ("descriptors", grown)


SYNC: dict[str, Callable[[Any], Any]] = {
    "call_soon": lambda loop: loop.call_soon(int),
    "call_soon with arguments": lambda loop: loop.call_soon(max, 1, 2, 3, 4, 5),
    "call_soon_threadsafe": lambda loop: loop.call_soon_threadsafe(int),
    "call_soon, cancelled": lambda loop: loop.call_soon(int).cancel(),
    "call_later": lambda loop: loop.call_later(0, int),
    "call_later, cancelled": lambda loop: loop.call_later(1000, int).cancel(),
    "create_future": lambda loop: loop.create_future(),
    "a future's result": lambda loop: loop.create_future().set_result(object()),
    "a future's cancel": lambda loop: loop.create_future().cancel(),
}


@pytest.mark.parametrize("operation", SYNC)
def test_scheduling(loop, operation):
    act = SYNC[operation]

    def repeat(count):
        for _ in range(count):
            act(loop)
        spin(loop, 2)

    assert_flat(repeat)


def test_callbacks_that_fail(loop):
    loop.set_exception_handler(lambda loop, context: None)

    def repeat(count):
        for _ in range(count):
            loop.call_soon(divmod, 1, 0)
        spin(loop)

    assert_flat(repeat)


def test_futures_with_callbacks(loop):
    def repeat(count):
        for number in range(count):
            future = loop.create_future()
            for _ in range(number % 4):
                future.add_done_callback(id)
            future.remove_done_callback(id)
            future.add_done_callback(lambda _: None)
            future.set_exception(ZeroDivisionError())
            future.exception()
        spin(loop)

    assert_flat(repeat)


def test_watching(loop):
    near, far = socket.socketpair()
    with near, far:

        def repeat(count):
            for _ in range(count):
                loop.add_reader(near, int)
                loop.add_writer(near, int)
                spin(loop)
                loop.remove_reader(near)
                loop.remove_writer(near)

        assert_flat(repeat, 100)


async def nothing() -> None:
    pass


async def sleeping() -> None:
    await asyncio.sleep(0)


async def failing() -> None:
    raise ZeroDivisionError


async def quietly(awaitable: Awaitable[Any]) -> None:
    try:
        await awaitable
    except (asyncio.CancelledError, ZeroDivisionError, TimeoutError):
        pass


async def cancelled() -> None:
    task = asyncio.ensure_future(asyncio.sleep(1000))
    await asyncio.sleep(0)
    task.cancel("a message")
    await quietly(task)


async def waiting_for_a_future() -> None:
    loop = asyncio.get_running_loop()
    future = loop.create_future()
    loop.call_soon(future.set_result, object())
    await future


async def queueing() -> None:
    queue: asyncio.Queue[int] = asyncio.Queue(1)
    getter = asyncio.ensure_future(queue.get())
    await queue.put(1)
    await getter


async def locking() -> None:
    lock = asyncio.Lock()
    async with lock:
        waiter = asyncio.ensure_future(lock.acquire())
        await asyncio.sleep(0)
    await waiter


TASKS: dict[str, Callable[[], Awaitable[Any]]] = {
    "nothing": nothing,
    "a task": lambda: asyncio.ensure_future(nothing()),
    "a task that sleeps": lambda: asyncio.ensure_future(sleeping()),
    "a task that fails": lambda: quietly(asyncio.ensure_future(failing())),
    "a task that is cancelled": cancelled,
    "a future": waiting_for_a_future,
    "sleep": lambda: asyncio.sleep(0.00001),
    "gather": lambda: asyncio.gather(nothing(), sleeping(), sleeping()),
    "wait_for": lambda: asyncio.wait_for(sleeping(), 1000),
    "wait_for, out of time": lambda: quietly(asyncio.wait_for(asyncio.sleep(1000), 0.00001)),
    "wait": lambda: asyncio.wait([asyncio.ensure_future(sleeping())]),
    "shield": lambda: asyncio.shield(sleeping()),
    "a queue": queueing,
    "a lock": locking,
}


@pytest.mark.parametrize("operation", TASKS)
def test_tasks(loop, operation):
    act = TASKS[operation]

    async def main(count):
        for _ in range(count):
            await act()

    assert_flat(lambda count: loop.run_until_complete(main(count)))


async def exchange(factory: Any, make: Any, end: str) -> None:
    loop = asyncio.get_running_loop()
    near, far = make()
    opener = (
        loop.create_connection if near.family == socket.AF_INET else loop.create_unix_connection
    )
    transport, protocol = await opener(factory, sock=near)
    far.send(b"hello")
    await protocol.wait_received(5)
    transport.write(b"x" * 10)
    transport.writelines([b"y", bytearray(b"z")])
    transport.pause_reading()
    transport.resume_reading()
    if end == "peer":
        far.close()
    else:
        getattr(transport, end)()
    await within(protocol.lost)
    await turns(1)
    far.close()


@pytest.mark.parametrize("make", [tcp_sockets, unix_sockets], ids=["tcp", "unix"])
@pytest.mark.parametrize("factory", [Recorder, BufferedRecorder])
@pytest.mark.parametrize("end", ["close", "abort", "peer"])
def test_connections(loop, make, factory, end):
    async def main(count):
        for _ in range(count):
            await exchange(factory, make, end)

    assert_flat(lambda count: loop.run_until_complete(main(count)), 60)


def test_aborting_full_buffers(loop):
    async def main(count):
        for _ in range(count):
            near, far = tcp_sockets()
            transport, protocol = await loop.create_connection(Recorder, sock=near)
            transport.write(b"x" * 3_000_000)
            transport.write(b"y" * 1000)
            transport.abort()
            await within(protocol.lost)
            far.close()
            await turns(1)

    assert_flat(lambda count: loop.run_until_complete(main(count)), 30)


def test_servers(loop):
    async def main(count):
        for _ in range(count):
            server = await loop.create_server(asyncio.Protocol, "127.0.0.1", 0)
            reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
            writer.write(b"x")
            writer.close()
            await writer.wait_closed()
            server.close()
            await within(server.wait_closed())
            await turns(3)
            assert reader.at_eof()

    # One server is hundreds of blocks; asyncio's own caches account for a few.
    assert_flat(lambda count: loop.run_until_complete(main(count)), 40, slack=4)


def test_plain_sockets(loop):
    async def main(count):
        for _ in range(count):
            near, far = unix_sockets()
            with near, far:
                receiving = asyncio.ensure_future(loop.sock_recv(near, 10))
                await loop.sock_sendall(far, b"x")
                await receiving
                receiving = asyncio.ensure_future(loop.sock_recv(near, 10))
                await turns(2)
                receiving.cancel()
                await quietly(receiving)

    assert_flat(lambda count: loop.run_until_complete(main(count)), 100)


def test_whole_loops(loop):
    def repeat(count):
        for _ in range(count):
            other = type(loop)()
            other.call_later(1000, print)
            other.run_until_complete(sleeping())
            other.close()

    assert_flat(repeat, 40)
