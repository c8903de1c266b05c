"""A task that nobody holds goes on, as long as somebody holds what it waits for.

Not here: what is collected, waiter and all (test_no_loss.py, tests/gc/).
Runs in the main thread, on both loops.
Invariant: what will wake a task keeps it alive, however it waits; the collector sees to it.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import socket
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from tests.loopback import turns, until

Wait = Callable[[Any], Awaitable[Any]]


READS: dict[str, Wait] = {
    "read": lambda reader: reader.read(10),
    "read to the end": lambda reader: reader.read(),
    "readline": lambda reader: reader.readline(),
    "readexactly": lambda reader: reader.readexactly(5),
    "readuntil": lambda reader: reader.readuntil(b"\n"),
    "anext": lambda reader: anext(reader),
}

# What makes it, what a task awaits of it, what ends the wait.
WAITS: dict[str, tuple[Callable[[Any], Any], Wait, Callable[[Any], Any]]] = {
    "acquire": (lambda aio: aio.Semaphore(0), lambda it: it.acquire(), lambda it: it.release()),
    "event": (lambda aio: aio.Event(), lambda it: it.wait(), lambda it: it.set()),
    "get": (lambda aio: aio.Queue(), lambda it: it.get(), lambda it: it.put_nowait(1)),
    "future": (
        lambda aio: asyncio.get_running_loop().create_future(),
        lambda it: asyncio.wait([it]),
        lambda it: it.set_result(1),
    ),
}


async def note(awaited: Awaitable[Any], ended: list[Any]) -> None:
    ended.append(await awaited)


async def forgotten(awaited: Awaitable[Any], ended: list[Any]) -> None:
    """Have a task await it that nobody holds, and the collector look twice."""
    asyncio.get_running_loop().create_task(note(awaited, ended))
    del awaited
    for _ in range(2):
        await turns(2)
        gc.collect()


@pytest.mark.parametrize("limit", [None, 60.0, "shield", "gather"])
@pytest.mark.parametrize("read", READS)
def test_a_read(run: Any, aio: Any, read: str, limit: Any) -> None:
    async def main() -> None:
        reader, ended = aio.StreamReader(), []
        waiting = READS[read](reader)
        if limit in ("shield", "gather"):
            waiting = getattr(aio, limit)(waiting)
        elif limit is not None:
            waiting = aio.wait_for(waiting, limit)
        starting = forgotten(waiting, ended)
        del waiting
        await starting
        assert reader._waiter is not None
        gc.collect()
        reader.feed_data(b"li")
        await turns(3)
        gc.collect()
        reader.feed_data(b"ne\n")
        reader.feed_eof()
        await turns(8)
        expected = b"li" if read == "read" else b"line\n"
        assert ended == [[expected] if limit == "gather" else expected]

    run(main())


@pytest.mark.parametrize("case", WAITS)
def test_a_primitive(run: Any, aio: Any, case: str) -> None:
    make, wait, wake = WAITS[case]

    async def main() -> None:
        held, ended = make(aio), []
        await forgotten(wait(held), ended)
        assert ended == []
        wake(held)
        await turns(4)
        assert len(ended) == 1

    run(main())


def test_a_sleep(run: Any, aio: Any) -> None:
    async def main() -> None:
        ended: list[Any] = []
        await forgotten(aio.sleep(0.02, "slept"), ended)
        await until(lambda: ended)
        assert ended == ["slept"]

    run(main())


def test_a_drain(run: Any, aio: Any) -> None:
    async def main() -> None:
        ended: list[Any] = []
        near, far = socket.socketpair()
        far.setblocking(False)
        with far:
            _, writer = await aio.open_connection(sock=near)
            writer.write(bytes(1 << 23))
            await forgotten(writer.drain(), ended)
            assert ended == []

            def empty() -> list[Any]:
                with contextlib.suppress(BlockingIOError):
                    far.recv(1 << 20)
                return ended

            await until(empty)
            writer.transport.abort()
            await writer.wait_closed()
        assert ended == [None]

    run(main())
