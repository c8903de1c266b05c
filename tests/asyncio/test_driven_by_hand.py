"""Coroutines of sleep, locks, queues and streams that are sent into by hand, inside a task.

Libraries do that to run a coroutine until it first waits, and to go on with it elsewhere.
Not here: who looks at a read from elsewhere (test_read_waits.py).
Runs in the main thread, on both loops.
Invariant: what they yield is a future to whoever holds it, and wakes only who waits for it.
"""

from __future__ import annotations

import asyncio
import gc
import types
from collections.abc import Callable, Coroutine, Generator
from typing import Any, NamedTuple

import pytest

pytestmark = [pytest.mark.crossings, pytest.mark.usefixtures("stream_classes")]


class Case(NamedTuple):
    """A coroutine that waits, what ends its wait, and what it then returns."""

    coro: Coroutine[Any, Any, Any]
    wake: Callable[[], Any]
    result: Any


def getting(aio: Any) -> Case:
    queue = aio.Queue()
    return Case(queue.get(), lambda: queue.put_nowait("item"), "item")


def putting(aio: Any) -> Case:
    queue = aio.Queue(1)
    queue.put_nowait("first")
    return Case(queue.put("second"), queue.get_nowait, None)


def joining(aio: Any) -> Case:
    queue = aio.Queue()
    queue.put_nowait("item")
    return Case(queue.join(), queue.task_done, None)


def acquiring(aio: Any) -> Case:
    lock = aio.Lock()
    with pytest.raises(StopIteration):
        lock.acquire().send(None)
    return Case(lock.acquire(), lock.release, True)


def acquiring_semaphore(aio: Any) -> Case:
    semaphore = aio.Semaphore(0)
    return Case(semaphore.acquire(), semaphore.release, True)


def waiting_for_event(aio: Any) -> Case:
    event = aio.Event()
    return Case(event.wait(), event.set, True)


def waiting_for_condition(aio: Any) -> Case:
    condition = aio.Condition()
    with pytest.raises(StopIteration):
        condition.acquire().send(None)

    def wake() -> None:
        if not condition.locked():
            with pytest.raises(StopIteration):
                condition.acquire().send(None)
        condition.notify()
        condition.release()

    return Case(condition.wait(), wake, True)


def reading(aio: Any) -> Case:
    reader = asyncio.StreamReader()
    return Case(reader.readline(), lambda: reader.feed_data(b"line\n"), b"line\n")


WAITS = [
    getting,
    putting,
    joining,
    acquiring,
    acquiring_semaphore,
    waiting_for_event,
    waiting_for_condition,
    reading,
]


@pytest.fixture(params=WAITS)
def make(request: pytest.FixtureRequest) -> Callable[[Any], Case]:
    return request.param


def send(coro: Coroutine[Any, Any, Any]) -> Any:
    """Its result; it must not wait any more."""
    try:
        coro.send(None)
    except StopIteration as stop:
        return stop.value
    raise AssertionError("it waits")


@types.coroutine
def passing(yielded: Any) -> Generator[Any, Any, Any]:
    yield yielded


@types.coroutine
def handing_on(
    coro: Coroutine[Any, Any, Any], between: Callable[[], Any]
) -> Generator[Any, Any, Any]:
    """`coro`, with something done between what it yields and the loop's hearing of it."""
    while True:
        try:
            yielded = coro.send(None)
        except StopIteration as stop:
            return stop.value
        between()
        yield yielded


def test_wakes_nobody_who_waits_for_something_else(run, aio, make):
    async def main() -> list[Any]:
        case = make(aio)
        case.coro.send(None)
        told: list[Any] = []
        loop = asyncio.get_running_loop()
        other = loop.create_future()
        loop.call_soon(case.wake)
        for _ in range(2):
            loop.call_soon(told.append, "turn")
        loop.call_later(0.01, other.set_result, "other")
        told.append(await other)
        told.append(send(case.coro))
        assert case.result == told.pop()
        return told

    assert run(main()) == ["turn", "turn", "other"]


def test_a_task_that_ended_meanwhile(run, aio, make):
    async def main() -> None:
        reported: list[Any] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, said: reported.append(said))
        case = make(aio)

        async def first() -> None:
            case.coro.send(None)

        await asyncio.ensure_future(first())
        case.wake()
        await aio.sleep(0)
        await aio.sleep(0)
        assert send(case.coro) == case.result
        assert not reported

    run(main())


def test_sent_into_too_early(run, aio, make):
    async def main() -> None:
        case = make(aio)
        case.coro.send(None)
        with pytest.raises(RuntimeError, match="await wasn't used with future"):
            case.coro.send(None)

    run(main())


def test_closed_and_dropped(run, aio, make):
    async def main() -> None:
        case = make(aio)
        case.coro.send(None)
        case.coro.close()
        other = make(aio)
        other.coro.send(None)
        del other
        gc.collect()
        case.wake()
        await aio.sleep(0)

    run(main())


def test_woken_between_the_yield_and_the_loop(run, aio, make):
    async def main() -> Any:
        case = make(aio)
        turns: list[int] = []
        loop = asyncio.get_running_loop()

        def count(left: int) -> None:
            turns.append(left)
            if left:
                loop.call_soon(count, left - 1)

        loop.call_soon(count, 3)
        result = await handing_on(case.coro, case.wake)
        assert result == case.result
        return len(turns)

    assert run(main()) == 1


def test_yielded_by_another_task(run, aio, make):
    """One task sends into the coroutine, another one waits for what it yielded, and goes on."""

    async def main() -> None:
        case = make(aio)
        yielded: list[Any] = []

        async def first() -> None:
            yielded.append(case.coro.send(None))

        async def second() -> Any:
            await passing(yielded.pop())
            return send(case.coro)

        await asyncio.ensure_future(first())
        two = asyncio.ensure_future(second())
        await aio.sleep(0)
        await aio.sleep(0)
        assert not two.done()
        case.wake()
        assert await two == case.result

    run(main())


def test_woken_before_another_task_yields_it(run, aio, make):
    async def main() -> None:
        case = make(aio)
        yielded: list[Any] = []

        async def first() -> None:
            yielded.append(case.coro.send(None))

        async def second() -> Any:
            await passing(yielded.pop())
            return send(case.coro)

        await asyncio.ensure_future(first())
        case.wake()
        assert await asyncio.ensure_future(second()) == case.result

    run(main())


@pytest.mark.parametrize("kind", ["_PyTask", "_CTask"])
def test_yielded_by_a_task_of_another_kind(run, aio, make, kind):
    async def main() -> None:
        case = make(aio)
        yielded: list[Any] = []

        async def first() -> None:
            yielded.append(case.coro.send(None))

        async def second() -> Any:
            await passing(yielded.pop())
            return send(case.coro)

        await asyncio.ensure_future(first())
        loop = asyncio.get_running_loop()
        two = getattr(asyncio.tasks, kind)(second(), loop=loop)
        await aio.sleep(0)
        await aio.sleep(0)
        assert not two.done()
        case.wake()
        assert await two == case.result

    run(main())


def test_cancelled_in_another_task(run, aio, make):
    async def main() -> None:
        case = make(aio)
        yielded: list[Any] = []

        async def first() -> None:
            yielded.append(case.coro.send(None))

        async def second() -> None:
            try:
                await passing(yielded.pop())
            except asyncio.CancelledError as error:
                case.coro.throw(error)

        await asyncio.ensure_future(first())
        two = asyncio.ensure_future(second())
        await aio.sleep(0)
        two.cancel()
        with pytest.raises(asyncio.CancelledError):
            await two
        assert two.cancelled()

    run(main())


def test_is_a_future_to_who_holds_it(run, aio, make):
    async def main() -> None:
        case = make(aio)
        loop = asyncio.get_running_loop()
        yielded = case.coro.send(None)
        assert asyncio.isfuture(yielded)
        assert yielded._asyncio_future_blocking is True
        yielded._asyncio_future_blocking = False
        assert yielded.get_loop() is loop
        assert not yielded.done()
        assert not yielded.cancelled()
        with pytest.raises(asyncio.InvalidStateError):
            yielded.result()
        done = loop.create_future()
        dropped: list[Any] = []
        yielded.add_done_callback(dropped.append)
        yielded.add_done_callback(done.set_result)
        assert yielded.remove_done_callback(dropped.append) == 1
        case.wake()
        assert (await done).result() is yielded.result()
        assert yielded.exception() is None
        assert yielded.done()
        assert not dropped
        assert send(case.coro) == case.result

    run(main())


def test_cancelled_by_who_holds_it(run, aio, make):
    async def main() -> None:
        case = make(aio)
        yielded = case.coro.send(None)
        assert yielded.cancel("enough") is True
        assert yielded.cancelled()
        assert yielded.cancel() is False
        with pytest.raises(asyncio.CancelledError):
            case.coro.send(None)

    run(main())


def test_cancelled_as_a_future(run, aio, make):
    async def main() -> None:
        case = make(aio)
        yielded = case.coro.send(None)
        told: list[Any] = []
        yielded.add_done_callback(lambda future: told.append(future.cancelled()))
        assert yielded.cancel() is True
        await aio.sleep(0)
        assert told == [True]
        with pytest.raises(asyncio.CancelledError):
            case.coro.send(None)

    run(main())


def test_sleep_wakes_nobody_who_waits_for_something_else(run, aio):
    async def main() -> Any:
        coro = aio.sleep(0.001, "slept")
        coro.send(None)
        loop = asyncio.get_running_loop()
        other = loop.create_future()
        loop.call_later(0.02, other.set_result, "other")
        assert await other == "other"
        return send(coro)

    assert run(main()) == "slept"


def test_sleep_of_a_task_that_ended_meanwhile(run, aio):
    async def main() -> Any:
        reported: list[Any] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, said: reported.append(said))
        coro = aio.sleep(0.001, "slept")

        async def first() -> None:
            coro.send(None)

        await asyncio.ensure_future(first())
        await aio.sleep(0.02)
        return send(coro), reported

    assert run(main()) == ("slept", [])


@pytest.mark.parametrize("elapsed_first", [False, True])
def test_sleep_yielded_by_another_task(run, aio, elapsed_first):
    async def main() -> Any:
        coro = aio.sleep(0.001, "slept")
        yielded: list[Any] = []

        async def first() -> None:
            yielded.append(coro.send(None))

        async def second() -> Any:
            await passing(yielded.pop())
            return send(coro)

        await asyncio.ensure_future(first())
        if elapsed_first:
            await aio.sleep(0.02)
        return await asyncio.ensure_future(second())

    assert run(main()) == "slept"


def test_sleep_sent_into_too_early(run, aio):
    async def main() -> None:
        coro = aio.sleep(100)
        coro.send(None)
        with pytest.raises(RuntimeError, match="await wasn't used with future"):
            coro.send(None)

    run(main())


def test_sleep_is_a_future_to_who_holds_it(run, aio):
    async def main() -> None:
        coro = aio.sleep(0.001, "slept")
        loop = asyncio.get_running_loop()
        yielded = coro.send(None)
        assert asyncio.isfuture(yielded)
        assert yielded._asyncio_future_blocking is True
        yielded._asyncio_future_blocking = False
        assert yielded.get_loop() is loop
        assert not yielded.done()
        done = loop.create_future()
        yielded.add_done_callback(done.set_result)
        assert (await done).result() == "slept"
        assert yielded.result() == "slept"
        assert send(coro) == "slept"

    run(main())


@pytest.mark.parametrize("looked_at", [False, True])
def test_sleep_cancelled_by_who_holds_it(run, aio, looked_at):
    async def main() -> None:
        coro = aio.sleep(100)
        yielded = coro.send(None)
        if looked_at:
            yielded.add_done_callback(lambda future: None)
        assert yielded.cancel() is True
        assert yielded.cancelled()
        with pytest.raises(asyncio.CancelledError):
            coro.send(None)

    run(main())


def test_sleep_closed_once_it_is_a_future(run, aio):
    async def main() -> list[Any]:
        coro = aio.sleep(0.001)
        told: list[Any] = []
        coro.send(None).add_done_callback(told.append)
        coro.close()
        await aio.sleep(0.01)
        return told

    assert run(main()) == []
