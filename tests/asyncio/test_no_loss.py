"""No item, permit or wake-up is lost, wherever a task is cancelled, thrown into, or collected.

Programs of locks and queues run turn by turn; at turn k one of their tasks is cancelled, for every
k and every task. What the others then do is what they would do anyway, and as on asyncio.
Runs in the main thread, on asyncio, on rulip, and with the parts of both.
Invariant: what was put was got or is still there; what was acquired was released.
"""

from __future__ import annotations

import asyncio
import gc
import re
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from tests.loopback import spin

pytestmark = pytest.mark.crossings

TURNS = 14
Trace = list[Any]
Program = Callable[[Any, Trace], list[Coroutine[Any, Any, Any]]]


def looks(primitive: object) -> str:
    return re.sub(r" at 0x[0-9a-f]+", "", str(primitive))


def queueing(aio: Any, trace: Trace) -> list[Coroutine[Any, Any, Any]]:
    queue = aio.Queue(1)
    trace.append(queue)

    async def put(name: str) -> None:
        for number in range(3):
            await queue.put((name, number))
            trace.append(("put", name, number))

    async def get(name: str) -> None:
        while True:
            item = await queue.get()
            trace.append(("got", item, name))
            queue.task_done()

    async def join() -> None:
        await queue.join()
        trace.append("joined")

    return [put("a"), put("b"), get("x"), get("y"), join()]


def locking(aio: Any, trace: Trace) -> list[Coroutine[Any, Any, Any]]:
    lock = aio.Lock()
    trace.append(lock)

    async def take(name: int) -> None:
        for _ in range(2):
            async with lock:
                trace.append(("has", name))
                await asyncio.sleep(0)

    return [take(name) for name in range(4)]


def permitting(aio: Any, trace: Trace) -> list[Coroutine[Any, Any, Any]]:
    semaphore = aio.BoundedSemaphore(2)
    trace.append(semaphore)

    async def take(name: int) -> None:
        for _ in range(2):
            async with semaphore:
                trace.append(("has", name))
                await asyncio.sleep(0)

    return [take(name) for name in range(5)]


def notifying(aio: Any, trace: Trace) -> list[Coroutine[Any, Any, Any]]:
    condition = aio.Condition()
    trace.append(condition)
    items: list[int] = []

    async def give() -> None:
        for item in range(4):
            async with condition:
                items.append(item)
                condition.notify()
            await asyncio.sleep(0)

    async def take(name: int) -> None:
        async with condition:
            await condition.wait_for(lambda: items)
            trace.append(("took", items.pop(), name))

    return [take(0), take(1), give(), take(2), take(3)]


def signalling(aio: Any, trace: Trace) -> list[Coroutine[Any, Any, Any]]:
    event = aio.Event()
    trace.append(event)

    async def wait(name: int) -> None:
        await event.wait()
        trace.append(("saw", name))

    async def tell() -> None:
        await asyncio.sleep(0)
        event.set()
        event.clear()
        await asyncio.sleep(0)
        event.set()

    return [wait(0), wait(1), tell(), wait(2)]


PROGRAMS = [queueing, locking, permitting, notifying, signalling]


async def play(aio: Any, program: Program, victim: int, turn: int, times: int) -> Trace:
    trace: Trace = []
    tasks = [asyncio.create_task(coroutine) for coroutine in program(aio, trace)]
    primitive = trace.pop()
    for now in range(TURNS + 24):
        if turn <= now < turn + times:
            trace.append(("cancel", tasks[victim].cancel(f"at {now}")))
        await asyncio.sleep(0)
        trace.append((looks(primitive), [task.done() for task in tasks]))
    for task in tasks:
        task.cancel()
    for result in await asyncio.gather(*tasks, return_exceptions=True):
        trace.append((type(result).__name__, getattr(result, "args", None)))
    trace.append(looks(primitive))
    return trace


@pytest.mark.parametrize("times", [1, 2])
@pytest.mark.parametrize("program", PROGRAMS)
def test_cancelled_at_every_turn(run: Any, aio: Any, program: Program, times: int) -> None:
    async def main(names: Any) -> list[Trace]:
        count = len([coroutine.close() for coroutine in program(names, [])])
        return [
            await play(names, program, victim, turn, times)
            for victim in range(count)
            for turn in range(TURNS)
        ]

    assert run(main(aio)) == run(main(asyncio))


@pytest.mark.parametrize("kind", ["Lock", "Semaphore", "Queue"])
@pytest.mark.parametrize("woken", [False, True])
def test_whatever_is_thrown_in_hands_on(run: Any, aio: Any, kind: str, woken: bool) -> None:
    """Driven by hand: the first waiter fails, the second must not be forgotten."""

    async def main() -> None:
        if kind == "Queue":
            primitive = aio.Queue()
            wait, give = primitive.get, lambda: primitive.put_nowait(1)
        else:
            primitive = aio.Lock() if kind == "Lock" else aio.Semaphore()
            await primitive.acquire()
            wait, give = primitive.acquire, primitive.release
        first = wait()
        first.send(None)
        second = asyncio.create_task(wait())
        await asyncio.sleep(0)
        if woken:
            give()
        with pytest.raises(asyncio.CancelledError):
            first.throw(asyncio.CancelledError())
        if not woken:
            give()
        assert await asyncio.wait_for(second, 10)

    run(main())


@pytest.mark.parametrize("kind", ["Lock", "Semaphore", "Queue", "Event"])
def test_a_waiting_task_that_is_collected_leaves_nothing(
    loop: asyncio.AbstractEventLoop, aio: Any, kind: str
) -> None:
    reports: list[str] = []
    loop.set_exception_handler(lambda loop, context: reports.append(context["message"]))

    async def start() -> Any:
        primitive = getattr(aio, kind)(*([0] if kind == "Semaphore" else []))
        if kind == "Lock":
            await primitive.acquire()
        method = {"Queue": "get", "Event": "wait"}.get(kind, "acquire")

        async def wait() -> None:
            await getattr(primitive, method)()

        tasks = [asyncio.create_task(wait()), asyncio.create_task(wait())]
        tasks.append(asyncio.create_task(getattr(primitive, method)()))
        tasks[0].anything = tasks  # type: ignore[attr-defined]
        await asyncio.sleep(0)
        await asyncio.sleep(0)

    loop.run_until_complete(start())
    gc.collect()
    assert reports == ["Task was destroyed but it is pending!"] * 3
    if aio is asyncio and kind == "Queue":
        # Queue.get() cancels a getter that is collected first, which wakes its task.
        spin(loop)
        gc.collect()
    assert asyncio.all_tasks(loop) == set()
