"""Locks and queues leave nothing: counts stay flat, cycles through them are collected.

Not here: the other operations (test_flat_counts.py), what waits when it is collected
(tests/asyncio/test_no_loss.py). Runs in the main thread, one body for both loops.
Invariant: a primitive, a waiter and an item that nobody refers to are gone.
"""

from __future__ import annotations

import asyncio
import gc
import sys
import weakref
from collections.abc import Awaitable, Callable, Generator
from typing import Any

import pytest

KINDS = ("Lock", "Event", "Condition", "Semaphore", "BoundedSemaphore", "Queue", "LifoQueue")

ROUNDS = 200


def census() -> tuple[int, int]:
    for _ in range(3):
        gc.collect()
    return len(gc.get_objects()), sys.getallocatedblocks()


async def take_turns(aio: Any) -> None:
    lock, semaphore, event = aio.Lock(), aio.Semaphore(1), aio.Event()

    async def take() -> None:
        async with lock, semaphore:
            await asyncio.sleep(0)
        await event.wait()

    tasks = [asyncio.create_task(take()) for _ in range(3)]
    for _ in range(12):
        await asyncio.sleep(0)
    event.set()
    await asyncio.wait(tasks)


async def hand_items_over(aio: Any) -> None:
    for kind in ("Queue", "PriorityQueue", "LifoQueue"):
        queue = getattr(aio, kind)(1)

        async def put(queue: Any = queue) -> None:
            for item in range(3):
                await queue.put((item, object()))

        task = asyncio.create_task(put())
        for _ in range(3):
            await queue.get()
            queue.task_done()
        await asyncio.wait([task])
        await queue.join()


async def give_up(aio: Any) -> None:
    queue, lock, condition = aio.Queue(), aio.Lock(), aio.Condition()
    await lock.acquire()
    await condition.acquire()
    waits = (queue.get(), lock.acquire(), condition.wait())
    tasks = [asyncio.create_task(wait) for wait in waits]
    await asyncio.sleep(0)
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
    # One that was never awaited, and one that was begun by hand.
    queue.get().close()
    begun = queue.get()
    begun.send(None)
    begun.close()


async def meet(aio: Any) -> None:
    barrier = aio.Barrier(2)
    tasks = [asyncio.create_task(barrier.wait()) for _ in range(3)]
    for _ in range(4):
        await asyncio.sleep(0)
    await barrier.abort()
    await asyncio.wait(tasks)
    assert sum(task.exception() is not None for task in tasks) == 1


OPERATIONS: list[Callable[[Any], Awaitable[None]]] = [take_turns, hand_items_over, give_up, meet]


@pytest.mark.crossings
@pytest.mark.parametrize("operation", OPERATIONS)
def test_counts_stay_flat(run: Any, aio: Any, operation: Callable[[Any], Awaitable[None]]) -> None:
    async def main() -> list[tuple[int, int]]:
        counts = []
        for _ in range(3):
            for _ in range(ROUNDS):
                await operation(aio)
            counts.append(census())
        return counts

    first, second, third = run(main())
    grown = [min(b - a, c - b) for a, b, c in zip(first, second, third, strict=True)]
    assert grown[0] < ROUNDS // 2, ("objects", grown)
    assert grown[1] < ROUNDS * 3 // 4, ("blocks", grown)


@pytest.mark.parametrize("kind", KINDS)
def test_a_cycle_through_a_primitive_is_collected(aio: Any, kind: str) -> None:
    primitive = getattr(aio, kind)()
    primitive.myself = primitive
    if "Queue" in kind:
        primitive.put_nowait(primitive)
    ref = weakref.ref(primitive)
    del primitive
    gc.collect()
    assert ref() is None


def test_a_cycle_through_a_coroutine_is_collected(aio: Any) -> None:
    class Item:
        coroutine: Any

    item = Item()
    item.coroutine = aio.Queue().put(item)
    ref = weakref.ref(item)
    with pytest.warns(
        RuntimeWarning, match=r"^coroutine 'Queue\.put' was never awaited$"
    ) as caught:
        del item
        gc.collect()
    del caught  # the warning holds the coroutine
    gc.collect()
    assert ref() is None


class Nothing:
    """Takes a turn, without a value."""

    def __await__(self) -> Generator[None, None, None]:
        yield


@pytest.mark.crossings
@pytest.mark.parametrize("how", ["queue", "sleep", "by hand"])
def test_what_was_awaited_is_let_go(run: Any, aio: Any, how: str) -> None:
    """By whoever awaited it: not at the next await of something else."""

    class Item:
        pass

    async def main() -> None:
        item = Item()
        ref = weakref.ref(item)
        queue = aio.Queue()
        queue.put_nowait(item)
        if how == "queue":
            del item
            assert await queue.get() is ref()
        elif how == "sleep":
            assert await aio.sleep(0, item) is queue.get_nowait()
            del item
        else:
            del item
            with pytest.raises(StopIteration) as stop:
                queue.get().__await__().send(None)
            assert stop.value.value is ref()
            del stop
        await Nothing()
        assert ref() is None

    run(main())


def test_items_die_with_their_queue(aio: Any) -> None:
    class Item:
        def __lt__(self, other: object) -> bool:
            return False

    for kind in ("Queue", "PriorityQueue", "LifoQueue"):
        queue = getattr(aio, kind)()
        item = Item()
        ref = weakref.ref(item)
        queue.put_nowait(item)
        del item
        assert ref() is not None
        del queue
        assert ref() is None


def test_a_dying_item_may_use_the_queue(aio: Any) -> None:
    seen: list[int] = []

    class Item:
        def __init__(self, queue: Any) -> None:
            self.queue = queue

        def __del__(self) -> None:
            self.queue.put_nowait(1)
            seen.append(self.queue.qsize())

    queue = aio.Queue()
    queue.put_nowait(Item(queue))
    queue.get_nowait()
    assert seen == [1]
    assert queue.get_nowait() == 1
    queue.put_nowait(Item(queue))
    queue.__init__()
    gc.collect()
    assert len(seen) == 2


async def sleep_once(aio: Any) -> Any:
    return aio.sleep(0)


async def acquire_once(aio: Any) -> Any:
    return aio.Lock().acquire()


async def put_once(aio: Any) -> Any:
    return aio.Queue().put(object())


@pytest.mark.parametrize("make", [sleep_once, acquire_once, put_once])
def test_a_coroutine_that_ended_stays_what_it_is(
    run: Any, aio: Any, make: Callable[[Any], Awaitable[Any]]
) -> None:
    """Whoever still holds it does not hold the next one."""

    async def main() -> None:
        ended = await make(aio)
        await ended
        later = [await make(aio) for _ in range(3)]
        assert all(coroutine is not ended for coroutine in later)
        with pytest.raises(RuntimeError, match=r"^cannot reuse already awaited coroutine$"):
            ended.send(None)
        for coroutine in later:
            await coroutine

    run(main())


@pytest.mark.parametrize("kind", ["Lock", "Semaphore", "Event", "Queue"])
def test_what_was_awaited_holds_nothing(run: Any, aio: Any, kind: str) -> None:
    """Neither the primitive nor the item, once the turn is over."""

    class Item:
        pass

    async def main() -> None:
        primitive, item = getattr(aio, kind)(), Item()
        refs = [weakref.ref(primitive), weakref.ref(item)]
        if kind == "Queue":
            awaited = primitive.put(item)
        elif kind == "Event":
            primitive.set()
            awaited = primitive.wait()
        else:
            awaited = primitive.acquire()
        await awaited
        if kind == "Queue":
            await primitive.get()
        del primitive, item
        await asyncio.sleep(0)
        assert [ref() for ref in refs] == [None, None]
        del awaited

    run(main())


def test_whoever_looks_at_all_objects_can(aio: Any, run: Any) -> None:
    class Sought:
        pass

    async def main() -> None:
        sought = Sought()
        await take_turns(aio)
        await hand_items_over(aio)
        async with aio.Condition(), aio.timeout(60), aio.TaskGroup() as group:
            group.create_task(asyncio.sleep(0))
        found = [one for one in gc.get_objects() if isinstance(one, Sought)]
        assert found == [sought]

    run(main())
    assert not any(isinstance(one, Sought) for one in gc.get_objects())
