"""An exception, an end or a cancellation at any await loses no item, permit, byte or wake-up.

Each program's coroutines run as tasks; one of them is resumed with an exception at its k-th await,
closed there, or cancelled, for every k. asyncio's locks keep what they were woken for when that is
no cancellation (docs/compat.md): so rulip's alone are asked. Not here: cancelling turn by turn, as
asyncio's do (tests/asyncio/test_no_loss.py).
Runs in the main thread, on rulip's loop and on asyncio's.
Invariant: what was put was got or is there; permits are back; whoever waits can be woken.
"""

from __future__ import annotations

import asyncio
import socket
import sys
import types
from collections.abc import Awaitable, Callable, Coroutine, Generator
from typing import Any

import pytest

import rulip

pytestmark = [pytest.mark.loops("rulip"), pytest.mark.crossings]

STEPS = 12
ENDS = ("exception", "close", "cancel")


class Boom(Exception):
    """Thrown in."""


@types.coroutine
def ended_at(step: int, how: str, coro: Coroutine[Any, Any, Any]) -> Generator[Any, Any, Any]:
    """`coro`, until it has awaited so often; then it is thrown into, or closed."""
    for number in range(1000):
        try:
            if number == step and how == "exception":
                waited = coro.throw(Boom())
            elif number == step and how == "close":
                coro.close()
                return "closed"
            else:
                waited = coro.send(None)
        except StopIteration as stop:
            return stop.value
        if number + 1 == step and how == "cancel":
            asyncio.get_running_loop().call_soon(asyncio.current_task().cancel)  # type: ignore[union-attr]
        try:
            yield waited
        except BaseException as error:
            # A cancellation that the loop throws in.
            try:
                yield coro.throw(error)
            except StopIteration as stop:
                return stop.value
    raise AssertionError("it does not end")


async def ended(step: int, how: str, coro: Coroutine[Any, Any, Any]) -> Any:
    return await ended_at(step, how, coro)


async def settle(turns: int = 30) -> None:
    for _ in range(turns):
        await asyncio.sleep(0)


async def at_every_step(start: Callable[[Callable[..., Any]], Awaitable[None]]) -> None:
    """Runs a program for each step and end. `start(victim)` checks; `victim(coro)` is a task."""
    seen: set[str] = set()
    for how in ENDS:
        for step in range(STEPS):
            tasks: list[asyncio.Task[Any]] = []

            def victim(
                coro: Coroutine[Any, Any, Any],
                step: int = step,
                how: str = how,
                tasks: list[asyncio.Task[Any]] = tasks,
            ) -> asyncio.Task[Any]:
                tasks.append(asyncio.create_task(ended(step, how, coro)))
                return tasks[-1]

            await asyncio.wait_for(start(victim), 20)
            for task in tasks:
                task.cancel()
            for result in await asyncio.gather(*tasks, return_exceptions=True):
                assert not isinstance(result, AssertionError), (how, step, result)
                seen.add(str(result) if how == "close" else type(result).__name__)
    assert {"Boom", "closed", "CancelledError"} <= seen


@pytest.mark.parametrize("kind", ["Queue", "PriorityQueue", "LifoQueue"])
def test_items(run: Any, kind: str) -> None:
    async def program(victim: Any) -> None:
        queue = getattr(rulip, kind)(1)
        put: list[int] = []
        got: list[int] = []

        async def puts(first: int) -> None:
            for item in range(first, first + 3):
                await queue.put(item)
                put.append(item)

        async def gets() -> None:
            while True:
                got.append(await queue.get())
                queue.task_done()

        victim(puts(0))
        victim(gets())
        others = [asyncio.create_task(puts(10)), asyncio.create_task(gets())]
        joining = asyncio.create_task(queue.join())
        await settle()
        assert sorted(got) == sorted(put)
        assert queue.empty()
        assert others[0].done()
        assert joining.done()
        others[1].cancel()

    run(at_every_step(program))


@pytest.mark.parametrize("kind", ["Lock", "Semaphore", "BoundedSemaphore", "Condition"])
def test_permits(run: Any, kind: str) -> None:
    async def program(victim: Any) -> None:
        primitive = getattr(rulip, kind)()
        inside = 0

        async def take() -> None:
            nonlocal inside
            for _ in range(3):
                async with primitive:
                    inside += 1
                    assert inside == 1
                    try:
                        await asyncio.sleep(0)
                    finally:
                        inside -= 1

        tasks = [asyncio.create_task(take())]
        victim(take())
        victim(take())
        tasks.append(asyncio.create_task(take()))
        await settle(50)
        assert [task.done() for task in tasks] == [True, True]
        assert not primitive.locked()

    run(at_every_step(program))


@pytest.mark.skipif(
    sys.version_info < (3, 13),
    reason="up to 3.12 who is ended keeps its notification, as asyncio",
)
def test_notifications(run: Any) -> None:
    async def program(victim: Any) -> None:
        condition = rulip.Condition()
        items: list[int] = []
        taken: list[int] = []

        async def take() -> None:
            async with condition:
                await condition.wait_for(lambda: items)
                taken.append(items.pop())

        victim(take())
        victim(take())
        others = [asyncio.create_task(take()) for _ in range(3)]
        await settle(3)
        for item in range(3):
            async with condition:
                items.append(item)
                condition.notify()
            await asyncio.sleep(0)
        await settle()
        # As many as there were items have one, whoever was woken for it.
        assert len(taken) + len(items) == 3
        assert items == [] or all(task.done() for task in others)
        assert not condition.locked()
        for task in others:
            task.cancel()

    run(at_every_step(program))


def test_events_and_barriers(run: Any) -> None:
    async def program(victim: Any) -> None:
        event, barrier = rulip.Event(), rulip.Barrier(2)

        async def both() -> None:
            await event.wait()
            await asyncio.wait_for(barrier.wait(), 5)

        victim(both())
        victim(both())
        others = [asyncio.create_task(both()) for _ in range(2)]
        await settle(2)
        event.set()
        await settle()
        if barrier.broken or any(not task.done() for task in others):
            await barrier.reset()
            await settle()
        assert barrier.n_waiting == 0
        await asyncio.gather(*others, return_exceptions=True)
        await asyncio.gather(barrier.wait(), barrier.wait())

    run(at_every_step(program))


@pytest.mark.parametrize("how", ["exactly", "until", "line", "some"])
def test_bytes(run: Any, how: str) -> None:
    """Read by one that is ended, then by another: together they have all of them."""
    sent = b"".join(b"%d-%s\n" % (number, b"x" * (number % 7)) for number in range(12))

    async def program(victim: Any) -> None:
        near, far = socket.socketpair()
        reader, writer = await rulip.open_connection(sock=near)
        far.setblocking(False)
        got = bytearray()

        async def read() -> None:
            while not reader.at_eof():
                match how:
                    case "exactly":
                        got.extend(await reader.readexactly(3))
                    case "until":
                        got.extend(await reader.readuntil(b"-"))
                    case "line":
                        got.extend(await reader.readline())
                    case "some":
                        got.extend(await reader.read(5))

        first = victim(read())
        with far:
            for start in range(0, len(sent), 5):
                await asyncio.sleep(0)
                far.send(sent[start : start + 5])
                await asyncio.sleep(0)
        await settle(6)
        first.cancel()
        await asyncio.wait([first])
        try:
            await read()
        except asyncio.IncompleteReadError as error:
            got.extend(error.partial)
        ended = first.exception() if not first.cancelled() else None
        if isinstance(ended, asyncio.IncompleteReadError):
            got.extend(ended.partial)
        assert bytes(got) == sent
        writer.close()
        await writer.wait_closed()

    run(at_every_step(program))


def test_drains(run: Any) -> None:
    """Several wait for the buffer; one is ended; the others are woken."""

    async def program(victim: Any) -> None:
        near, far = socket.socketpair()
        reader, writer = await rulip.open_connection(sock=near)
        other_reader, other_writer = await rulip.open_connection(sock=far)
        size = 600_000
        writer.write(b"x" * size)
        victim(drain(writer))
        victim(drain(writer))
        others = [asyncio.create_task(drain(writer)) for _ in range(2)]
        await settle(3)
        assert not any(task.done() for task in others)
        got = await other_reader.readexactly(size)
        await asyncio.wait(others, timeout=10)
        assert all(task.done() for task in others)
        assert len(got) == size
        for each in (writer, other_writer):
            each.close()
            await each.wait_closed()
        assert reader.at_eof()

    run(at_every_step(program))


async def drain(writer: Any) -> None:
    await writer.drain()
    await writer.drain()


@pytest.mark.parametrize("how", ["gather", "TaskGroup", "wait_for", "timeout", "shield", "wait"])
def test_children(run: Any, how: str) -> None:
    """Who waits for others is ended: what they hold is given back, and nobody is forgotten."""

    async def program(victim: Any) -> None:
        lock, queue = rulip.Lock(), rulip.Queue()
        done: list[int] = []

        async def child(number: int) -> None:
            async with lock:
                await asyncio.sleep(0)
                done.append(await queue.get())

        async def parent() -> None:
            match how:
                case "gather":
                    await rulip.gather(child(0), child(1), return_exceptions=True)
                case "TaskGroup":
                    async with rulip.TaskGroup() as group:
                        for number in range(2):
                            group.create_task(child(number))
                        await asyncio.sleep(0)
                case "wait_for":
                    await rulip.wait_for(child(0), 60)
                case "timeout":
                    async with rulip.timeout(60):
                        await child(0)
                case "shield":
                    await rulip.shield(asyncio.ensure_future(child(0)))
                case "wait":
                    await rulip.wait([asyncio.ensure_future(child(n)) for n in range(2)])

        begun = asyncio.all_tasks()
        first = victim(parent())
        for item in range(3):
            await settle(4)
            queue.put_nowait(item)
        await settle(6)
        first.cancel()
        await asyncio.wait([first])
        for orphan in asyncio.all_tasks() - begun:
            orphan.cancel()
        await settle()
        assert not lock.locked()
        left = [queue.get_nowait() for _ in range(queue.qsize())]
        assert sorted(done + left) == [0, 1, 2]

    run(at_every_step(program))
