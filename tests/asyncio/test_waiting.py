"""wait, gather, shield, timeouts, groups, queues and locks on the loop's tasks and futures.

Here: asyncio's combinators over what the loop makes; above all, that cancelling loses nothing.
Not here: tasks by themselves (test_tasks.py), sockets (test_sockets.py).
Runs in the main thread.
Invariant: one body for both loops; stock asyncio passes every test.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import random
import sys
from typing import Any

import pytest
from tests.loopback import collect_reports, spin, turns, within


async def value_after(turn_count: int, value: Any) -> Any:
    await turns(turn_count)
    if isinstance(value, BaseException):
        raise value
    return value


# Combinators


def test_gather_keeps_the_order(run):
    async def main():
        delays = [random.Random(1).randrange(5) for _ in range(50)]
        results = await asyncio.gather(*(value_after(n, i) for i, n in enumerate(delays)))
        assert results == list(range(50))
        assert await asyncio.gather() == []

    run(main())


def test_gather_fails_with_the_first_failure(run):
    async def main():
        slow = asyncio.ensure_future(value_after(5, "slow"))
        with pytest.raises(ZeroDivisionError):
            await asyncio.gather(value_after(1, ZeroDivisionError()), slow)
        assert not slow.cancelled()
        assert await slow == "slow"
        mixed = await asyncio.gather(
            value_after(1, ZeroDivisionError()), value_after(0, 1), return_exceptions=True
        )
        assert [type(each) for each in mixed] == [ZeroDivisionError, int]

    run(main())


def test_cancelling_a_gather_cancels_its_children(run):
    async def main():
        children = [asyncio.ensure_future(asyncio.sleep(3600)) for _ in range(3)]
        group = asyncio.gather(asyncio.gather(*children[:2]), children[2])
        await turns(2)
        assert group.cancel()
        with pytest.raises(asyncio.CancelledError):
            await group
        assert all(child.cancelled() for child in children)

    run(main())


def test_gather_of_the_same_awaitable_twice(run):
    async def main():
        task = asyncio.ensure_future(value_after(1, 1))
        assert await asyncio.gather(task, task) == [1, 1]

    run(main())


def test_wait(run):
    async def main():
        tasks = [asyncio.ensure_future(value_after(n, n)) for n in (1, 20)]
        done, pending = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        assert (done, pending) == ({tasks[0]}, {tasks[1]})
        done, pending = await asyncio.wait(pending, timeout=0)
        assert (done, pending) == (set(), {tasks[1]})
        done, pending = await asyncio.wait(tasks)
        assert (done, pending) == (set(tasks), set())
        failing = [asyncio.ensure_future(value_after(1, ZeroDivisionError())), *tasks]
        done, _ = await asyncio.wait(failing, return_when=asyncio.FIRST_EXCEPTION)
        assert failing[0] in done
        assert isinstance(failing[0].exception(), ZeroDivisionError)

    run(main())


def test_as_completed(run):
    async def main():
        order = [
            await each
            for each in asyncio.as_completed([value_after(n, n) for n in (6, 2, 4)], timeout=10)
        ]
        assert order == [2, 4, 6]

    run(main())


def test_shield(run):
    async def main():
        inner = asyncio.ensure_future(value_after(10, "inner"))

        async def body():
            await asyncio.shield(inner)

        outer = asyncio.ensure_future(body())
        await turns(2)
        outer.cancel()
        with pytest.raises(asyncio.CancelledError):
            await outer
        assert not inner.cancelled()
        assert await inner == "inner"

    run(main())


def test_task_groups(run):
    async def main():
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(value_after(n, n)) for n in range(10)]
        assert [task.result() for task in tasks] == list(range(10))
        with pytest.raises(ExceptionGroup) as info:
            async with asyncio.TaskGroup() as group:
                sleeping = group.create_task(asyncio.sleep(3600))
                group.create_task(value_after(1, ZeroDivisionError()))
                group.create_task(value_after(1, LookupError()))
        assert {type(exc) for exc in info.value.exceptions} == {ZeroDivisionError, LookupError}
        assert sleeping.cancelled()
        if sys.version_info >= (3, 13):
            assert asyncio.current_task().cancelling() == 0

    run(main())


def test_cancelling_a_task_group_from_outside(run):
    async def main():
        children: list[Any] = []

        async def body():
            async with asyncio.TaskGroup() as group:
                children.append(group.create_task(asyncio.sleep(3600)))

        task = asyncio.ensure_future(body())
        await turns(3)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert children[0].cancelled()

    run(main())


# Time limits


def test_wait_for_in_time_and_out_of_time(run):
    async def main():
        assert await asyncio.wait_for(value_after(2, "in time"), 10) == "in time"
        assert await asyncio.wait_for(value_after(2, "no limit"), None) == "no limit"
        future = asyncio.get_running_loop().create_future()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(future, 0.001)
        assert future.cancelled()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.sleep(3600), 0)
        with pytest.raises(ZeroDivisionError):
            await asyncio.wait_for(value_after(1, ZeroDivisionError()), 10)

    run(main())


def test_wait_for_passes_a_cancellation_on(run):
    async def main():
        loop = asyncio.get_running_loop()
        future = loop.create_future()
        task = asyncio.ensure_future(asyncio.wait_for(future, 3600))
        await turns(2)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert future.cancelled()

    run(main())


@pytest.mark.skipif(sys.version_info < (3, 12), reason="before 3.12 the result could win")
def test_a_cancellation_in_the_turn_of_the_result_is_seen(run):
    """wait_for: the inner result and the outer cancellation come in one turn."""

    async def main():
        loop = asyncio.get_running_loop()
        for early in (True, False):
            future = loop.create_future()
            task = asyncio.ensure_future(asyncio.wait_for(future, 3600))
            await turns(2)
            if early:
                future.set_result("result")
                task.cancel()
            else:
                task.cancel()
                if not future.done():
                    future.set_result("result")
            with pytest.raises(asyncio.CancelledError):
                await task

    run(main())


def test_timeout_blocks(run):
    async def main():
        me = asyncio.current_task()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.001):
                await asyncio.sleep(3600)
        assert me.cancelling() == 0
        async with asyncio.timeout(None) as limit:
            assert limit.when() is None
            limit.reschedule(asyncio.get_running_loop().time() + 3600)
            await asyncio.sleep(0)
        assert not limit.expired()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout_at(asyncio.get_running_loop().time() - 1):
                await asyncio.sleep(3600)
        async with asyncio.timeout(3600):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0):
                    await asyncio.sleep(3600)
        assert me.cancelling() == 0

    run(main())


def test_a_timeout_and_a_cancellation_in_one_turn(run):
    """Both come: the cancellation is what the outside sees."""

    async def main():
        async def body():
            async with asyncio.timeout(0):
                await asyncio.sleep(3600)

        task = asyncio.ensure_future(body())
        await turns(1)
        task.cancel()
        with pytest.raises((asyncio.CancelledError, TimeoutError)) as info:
            await task
        return type(info.value), task.cancelling()

    kind, count = run(main())
    assert (kind, count) == (asyncio.CancelledError, 1)


def test_sleep_returns_its_result_and_can_be_cancelled(run):
    async def main():
        assert await asyncio.sleep(0, "zero") == "zero"
        assert await asyncio.sleep(0.0001, "some") == "some"
        assert await asyncio.sleep(-1, "negative") == "negative"
        task = asyncio.ensure_future(asyncio.sleep(3600))
        await turns(1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    run(main())


def test_sleep_lasts_at_least_as_long_as_asked(run):
    async def main():
        loop = asyncio.get_running_loop()
        for delay in (0.0001, 0.001, 0.003):
            start = loop.time()
            await asyncio.sleep(delay)
            assert loop.time() - start >= delay * 0.999

    run(main())


# Nothing is lost by cancelling


def test_a_cancelled_queue_get_loses_no_item(run):
    """Cancel in the very turn the item arrives, thousands of times: every item comes once."""

    async def main():
        pick = random.Random(2)
        queue: asyncio.Queue[int] = asyncio.Queue()
        got: list[int] = []

        async def get():
            got.append(await queue.get())

        for number in range(3000):
            task = asyncio.ensure_future(get())
            await turns(pick.randrange(3))
            steps = [lambda number=number: queue.put_nowait(number), task.cancel]
            pick.shuffle(steps)
            for step in steps:
                step()
                await turns(pick.randrange(2))
            with contextlib.suppress(asyncio.CancelledError):
                await task
        while not queue.empty():
            got.append(queue.get_nowait())
        assert sorted(got) == list(range(3000))

    run(main())


@pytest.mark.parametrize("kind", [asyncio.Lock, asyncio.Semaphore, asyncio.BoundedSemaphore])
def test_a_cancelled_waiter_loses_no_permit(run, kind):
    async def main():
        pick = random.Random(3)
        lock = kind()
        inside = 0

        async def worker():
            nonlocal inside
            async with lock:
                inside += 1
                assert inside == 1
                try:
                    await turns(pick.randrange(3))
                finally:
                    inside -= 1

        for _ in range(100):
            workers = [asyncio.ensure_future(worker()) for _ in range(6)]
            while not all(each.done() for each in workers):
                await turns(1)
                if pick.randrange(3) == 0:
                    pick.choice(workers).cancel()
            await asyncio.gather(*workers, return_exceptions=True)
            assert not lock.locked()
            await within(lock.acquire())
            lock.release()

    run(main())


def test_a_cancelled_condition_waiter_passes_the_notice_on(run):
    async def main():
        condition = asyncio.Condition()
        woken: list[str] = []

        async def wait(name):
            async with condition:
                await condition.wait()
                woken.append(name)

        first, second = (asyncio.ensure_future(wait(name)) for name in ("first", "second"))
        await turns(2)
        async with condition:
            condition.notify(2)
        first.cancel()
        await asyncio.wait([first, second])
        assert "second" in woken

    run(main())


def test_events_and_barriers(run):
    async def main():
        event = asyncio.Event()
        waiters = [asyncio.ensure_future(event.wait()) for _ in range(5)]
        await turns(2)
        waiters[0].cancel()
        event.set()
        results = await asyncio.gather(*waiters, return_exceptions=True)
        assert isinstance(results[0], asyncio.CancelledError)
        assert results[1:] == [True] * 4
        barrier = asyncio.Barrier(3)
        assert sorted(await asyncio.gather(*(barrier.wait() for _ in range(3)))) == [0, 1, 2]

    run(main())


def test_producers_and_consumers(run):
    async def main():
        for kind in (asyncio.Queue, asyncio.LifoQueue, asyncio.PriorityQueue):
            queue: asyncio.Queue[int] = kind(maxsize=3)
            got: list[int] = []

            async def produce(first, queue=queue):
                for number in range(first, first + 100):
                    await queue.put(number)

            async def consume(queue=queue, got=got):
                while True:
                    got.append(await queue.get())
                    queue.task_done()

            consumers = [asyncio.ensure_future(consume()) for _ in range(3)]
            await asyncio.gather(produce(0), produce(100))
            await within(queue.join())
            for each in consumers:
                each.cancel()
            await asyncio.wait(consumers)
            assert sorted(got) == list(range(200))

    run(main())


# Asynchronous generators


def test_an_abandoned_async_generator_is_finalized_by_the_loop(run):
    seen: list[str] = []

    async def generate():
        try:
            yield 1
            yield 2
        finally:
            await asyncio.sleep(0)
            seen.append("finalized")

    async def main():
        async for _ in generate():
            break
        await turns(4)
        assert seen == ["finalized"]

    run(main())


def test_shutdown_asyncgens_by_its_name(loop):
    """Test plug-ins silence by name what is said of a call that a closed loop never ran."""
    with pytest.warns(RuntimeWarning, match=r"BaseEventLoop.shutdown_asyncgens' was never awaited"):
        loop.shutdown_asyncgens()
        gc.collect()


def test_shutdown_asyncgens_closes_those_still_open(loop):
    seen: list[str] = []

    async def generate():
        try:
            yield 1
        finally:
            await asyncio.sleep(0)
            seen.append("closed")

    async def main():
        await anext(open_generator)

    open_generator = generate()
    loop.run_until_complete(main())
    assert seen == []
    loop.run_until_complete(loop.shutdown_asyncgens())
    assert seen == ["closed"]


def test_a_failure_while_a_generator_is_shut_down_is_reported(loop):
    reports = collect_reports(loop)

    async def generate():
        try:
            yield 1
        finally:
            raise ZeroDivisionError

    open_generator = generate()

    async def main():
        await anext(open_generator)

    loop.run_until_complete(main())
    loop.run_until_complete(loop.shutdown_asyncgens())
    [report] = reports
    assert isinstance(report["exception"], ZeroDivisionError)
    assert "an error occurred during closing of asynchronous generator" in report["message"]
    assert report["asyncgen"] is open_generator


def test_a_generator_started_after_the_shutdown_is_told(loop):
    async def generate():
        yield 1

    async def main():
        await loop.shutdown_asyncgens()
        generator = generate()
        with pytest.warns(ResourceWarning, match=r"was scheduled after loop.shutdown_asyncgens"):
            await anext(generator)
        await generator.aclose()

    loop.run_until_complete(main())


def test_the_hooks_are_put_back(loop):
    hooks = sys.get_asyncgen_hooks()
    seen: list[Any] = []
    loop.call_soon(lambda: seen.append(sys.get_asyncgen_hooks()))
    spin(loop)
    assert sys.get_asyncgen_hooks() == hooks
    assert seen[0] != hooks
    assert seen[0].firstiter is not None
    assert seen[0].finalizer is not None
