"""gather(): results, failures, cancellation, duplicates, and whose turn it is.

Not here: wait(), shield() (test_wait.py, test_shield.py); random programs (tests/rulip).
Runs in the main thread.
Invariant: one body for asyncio and for rulip's own functions.
"""

from __future__ import annotations

import asyncio
import gc
import sys
import weakref

import pytest
from tests.loopback import spin


class Custom(Exception):
    """Raised by children."""


async def value(result, turns=1):
    for _ in range(turns):
        await asyncio.sleep(0)
    return result


async def failure(turns=1):
    for _ in range(turns):
        await asyncio.sleep(0)
    raise Custom(turns)


async def forever():
    await asyncio.get_running_loop().create_future()


def test_results_stand_in_the_order_of_the_arguments(run, aio):
    async def main():
        return await aio.gather(value(1, 5), value(2, 1), value(3, 3))

    assert run(main()) == [1, 2, 3]


def test_nothing_to_gather(run, aio):
    async def main():
        outer = aio.gather()
        assert outer.done()
        assert isinstance(outer, asyncio.Future)
        return await outer

    assert run(main()) == []


@pytest.mark.parametrize("count", [1, 2, 7, 8, 9, 100, 3000])
def test_many(run, aio, count):
    async def main():
        return await aio.gather(*[value(n, n % 3) for n in range(count)])

    assert run(main()) == list(range(count))


@pytest.mark.parametrize("extra", [0, 20])
def test_duplicates_are_one_child(run, aio, extra):
    async def main():
        loop = asyncio.get_running_loop()
        future = loop.create_future()
        coroutine = value("c", 2)
        loop.call_soon(future.set_result, "f")
        others = [value(n) for n in range(extra)]
        outer = aio.gather(future, coroutine, *others, future, coroutine)
        children = outer._children
        assert children[0] is future
        assert children[-2] is future
        assert children[1] is children[-1]
        return await outer

    assert run(main()) == ["f", "c", *range(extra), "f", "c"]


def test_the_first_failure_is_passed_on_and_the_others_go_on(run, aio):
    async def main():
        tasks = [asyncio.ensure_future(each) for each in (value(1, 9), failure(2), failure(5))]
        with pytest.raises(Custom) as caught:
            await aio.gather(*tasks)
        assert caught.value.args == (2,)
        assert [task.done() for task in tasks] == [False, True, False]
        assert await tasks[0] == 1
        return await asyncio.wait(tasks)

    done, pending = run(main())
    assert len(done) == 3
    assert not pending


def test_failures_after_the_first_are_seen(run, aio):
    reported = []

    async def main():
        asyncio.get_running_loop().set_exception_handler(
            lambda loop, context: reported.append(context)
        )
        with pytest.raises(Custom):
            await aio.gather(failure(1), failure(2), failure(3))
        await asyncio.sleep(0.001)
        gc.collect()

    run(main())
    assert reported == []


def test_returned_exceptions(run, aio):
    async def main():
        cancelled = asyncio.ensure_future(forever())
        asyncio.get_running_loop().call_soon(cancelled.cancel, "by hand")
        return await aio.gather(value(1), failure(3), cancelled, return_exceptions=True)

    one, two, three = run(main())
    assert one == 1
    assert isinstance(two, Custom)
    assert two.args == (3,)
    # The message went to the task's own coroutine.
    assert type(three) is asyncio.CancelledError
    assert three.args == ("",)


def test_a_cancelled_child_without_a_message(run, aio):
    async def main():
        task = asyncio.ensure_future(forever())
        asyncio.get_running_loop().call_soon(task.cancel)
        return await aio.gather(task, return_exceptions=True)

    [error] = run(main())
    assert error.args == ("",)


def test_a_cancelled_child_fails_the_whole(run, aio):
    async def main():
        task = asyncio.ensure_future(forever())
        outer = aio.gather(task, value(1))
        task.cancel("why")
        with pytest.raises(asyncio.CancelledError) as caught:
            await outer
        assert not outer.cancelled()
        assert asyncio.current_task().cancelling() == 0
        assert type(outer._exception) is asyncio.CancelledError
        return caught.value.args

    assert run(main()) == ("why",)


@pytest.mark.parametrize("return_exceptions", [False, True])
def test_cancelling_cancels_all_children(run, aio, return_exceptions):
    async def main():
        tasks = [asyncio.ensure_future(forever()) for _ in range(3)]
        finished = asyncio.get_running_loop().create_future()
        finished.set_result(0)
        outer = aio.gather(*tasks, finished, return_exceptions=return_exceptions)
        await asyncio.sleep(0)
        assert outer.cancel("all") is True
        assert outer._cancel_requested is True
        assert not outer.done()
        assert not outer.cancelled()
        with pytest.raises(asyncio.CancelledError) as caught:
            await outer
        assert outer.cancel() is False
        assert all(task.cancelled() for task in tasks)
        return caught.value.args

    got = run(main())
    assert got == (() if return_exceptions else ("all",))


def test_cancelling_the_task_that_waits(run, aio):
    async def main():
        seen = []

        async def child(number):
            try:
                await forever()
            finally:
                seen.append(number)

        async def parent():
            await aio.gather(child(1), child(2))

        task = asyncio.ensure_future(parent())
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        task.cancel("parent")
        with pytest.raises(asyncio.CancelledError) as caught:
            await task
        return seen, caught.value.args

    assert run(main()) == ([1, 2], ("parent",))


def test_children_that_refuse_to_be_cancelled(run, aio):
    async def stubborn():
        try:
            await forever()
        except asyncio.CancelledError:
            return "stays"

    async def main():
        outer = aio.gather(stubborn(), stubborn())
        await asyncio.sleep(0)
        outer.cancel()
        with pytest.raises(asyncio.CancelledError):
            await outer
        return [child.result() for child in outer._children]

    assert run(main()) == ["stays", "stays"]


def test_cancel_when_nothing_is_left_to_cancel(run, aio):
    async def main():
        futures = [asyncio.get_running_loop().create_future() for _ in range(2)]
        outer = aio.gather(*futures)
        for future in futures:
            future.set_result(1)
        assert outer.cancel() is False
        assert outer._cancel_requested is False
        return await outer

    assert run(main()) == [1, 1]


def test_a_duplicate_is_cancelled_as_often_as_it_stands_there(run, aio):
    async def main():
        task = asyncio.ensure_future(forever())
        outer = aio.gather(task, task)
        outer.cancel()
        count = task.cancelling()
        with pytest.raises(asyncio.CancelledError):
            await outer
        return count

    assert run(main()) == 2


def test_gatherings_of_gatherings(run, aio):
    async def main():
        inner = [aio.gather(value(n), value(n + 1, 2)) for n in range(3)]
        assert await aio.gather(*inner) == [[0, 1], [1, 2], [2, 3]]
        tasks = [asyncio.ensure_future(forever()) for _ in range(4)]
        outer = aio.gather(aio.gather(*tasks[:2]), aio.gather(*tasks[2:]))
        asyncio.get_running_loop().call_soon(outer.cancel)
        with pytest.raises(asyncio.CancelledError):
            await outer
        await asyncio.sleep(0)
        return [task.cancelled() for task in tasks]

    assert run(main()) == [True] * 4


def test_looks(run, aio):
    async def main():
        future = asyncio.get_running_loop().create_future()
        outer = aio.gather(future)
        assert repr(outer) == "<_GatheringFuture pending>"
        assert isinstance(outer, asyncio.Future)
        assert asyncio.isfuture(outer)
        assert isinstance(outer, asyncio.tasks._GatheringFuture)
        assert outer._children == [future]
        assert outer._cancel_requested is False
        assert not asyncio.iscoroutine(outer)
        outer.note = 1
        assert weakref.ref(outer)() is outer
        future.set_result(1)
        await outer
        assert repr(outer) == "<_GatheringFuture finished result=[1]>"

    run(main())


def test_awaitables_of_every_kind(run, aio):
    class Awaitable:
        def __await__(self):
            yield
            return "awaited"

    async def main():
        loop = asyncio.get_running_loop()
        future = loop.create_future()
        loop.call_soon(future.set_result, "future")
        concurrent = loop.run_in_executor(None, lambda: "thread")
        return await aio.gather(
            value("coroutine"), future, Awaitable(), concurrent, asyncio.sleep(0, "slept")
        )

    assert run(main()) == ["coroutine", "future", "awaited", "thread", "slept"]


def test_what_cannot_be_awaited(run, aio):
    async def main():
        coroutine = value(1)
        with pytest.raises(TypeError, match=r"An asyncio.Future, a coroutine or an awaitable"):
            aio.gather(coroutine, 1)
        with pytest.raises(TypeError):
            aio.gather(no_such_keyword=1)
        await asyncio.sleep(0.001)
        assert coroutine.cr_frame is None  # it ran, as a task

    run(main())


def test_arguments_are_compared_as_a_dict_does(run, aio):
    class Equal:
        def __await__(self):
            yield
            return id(self)

        def __eq__(self, other):
            return True

        def __hash__(self):
            return 1

    async def main():
        one, two = await aio.gather(Equal(), Equal())
        assert one == two

    run(main())


def test_futures_of_another_loop(loop_factory, aio):
    one, two = loop_factory(), loop_factory()
    try:
        with pytest.raises(ValueError, match="The future belongs to a different loop"):
            aio.gather(one.create_future(), two.create_future())

        async def main():
            with pytest.raises(ValueError, match="The future belongs to a different loop"):
                aio.gather(asyncio.sleep(0), two.create_future())
            if sys.version_info < (3, 14):
                assert aio.gather(two.create_future()).get_loop() is two
            else:
                with pytest.raises(ValueError, match="The future belongs to a different loop"):
                    aio.gather(two.create_future())
            await asyncio.sleep(0)

        one.run_until_complete(main())
    finally:
        one.close()
        two.close()


def test_without_a_running_loop(loop, aio):
    futures = [loop.create_future() for _ in range(2)]
    outer = aio.gather(*futures)
    assert outer.get_loop() is loop
    for number, future in enumerate(futures):
        future.set_result(number)
    assert loop.run_until_complete(outer) == [0, 1]
    coroutine = value(1)
    tasks = [loop.create_task(coroutine)]
    assert loop.run_until_complete(aio.gather(*tasks)) == [1]


def test_children_of_a_task_factory(run, aio):
    made = []

    async def main():
        loop = asyncio.get_running_loop()

        def factory(loop, coro, **keywords):
            made.append(coro)
            return asyncio.Task(coro, loop=loop, **keywords)

        loop.set_task_factory(factory)
        try:
            return await aio.gather(value(1), value(2))
        finally:
            loop.set_task_factory(None)

    assert run(main()) == [1, 2]
    assert len(made) == 2


def test_a_loop_with_its_own_create_task(run, aio):
    async def main():
        loop = asyncio.get_running_loop()
        made = []
        original = loop.create_task

        def create_task(coro, **keywords):
            made.append(coro)
            return original(coro, **keywords)

        loop.create_task = create_task
        try:
            assert await aio.gather(value(1), value(2)) == [1, 2]
        finally:
            del loop.create_task
        return len(made)

    assert run(main()) == 2


def test_implicit_children_are_not_reported_when_dropped(run, aio):
    async def main():
        future = asyncio.get_running_loop().create_future()
        outer = aio.gather(value(1), future)
        children = outer._children
        assert children[0]._log_destroy_pending is False
        future.set_result(1)
        await outer

    run(main())


def test_a_future_done_before(run, aio):
    async def main():
        loop = asyncio.get_running_loop()
        good, bad = loop.create_future(), loop.create_future()
        good.set_result("good")
        outer = aio.gather(good, good)
        early = outer.done()
        assert await outer == ["good", "good"]
        bad.set_exception(Custom())
        outer = aio.gather(good, bad)
        assert outer.done() is early
        with pytest.raises(Custom):
            await outer
        pending = loop.create_future()
        outer = aio.gather(good, bad, pending, return_exceptions=True)
        assert not outer.done()
        pending.cancel()
        return len(await outer)

    assert run(main()) == 3


def test_turns(loop, aio):
    """In which turn each thing is known, beside a counter that ticks once a turn."""
    for end in ("result", "error", "cancel"):
        for order in ((0, 1, 2), (2, 0, 1)):
            trace = turns_of(loop, aio, end, order)
            assert trace == turns_of(loop, asyncio, end, order), (end, order)


def turns_of(loop, aio, end, order):
    trace = []
    futures = [loop.create_future() for _ in range(3)]

    async def waiter():
        try:
            trace.append(("waits", turn))
            trace.append((await aio.gather(*futures), turn))
        except BaseException as error:
            trace.append((type(error), turn))

    turn = 0
    task = loop.create_task(waiter())
    for future in futures:
        future.add_done_callback(lambda future: trace.append((futures.index(future), turn)))
    spin(loop)
    for number in order:
        turn += 1
        if number == 1 and end == "error":
            futures[number].set_exception(Custom())
        elif number == 1 and end == "cancel":
            futures[number].cancel()
        else:
            futures[number].set_result(number)
        spin(loop)
    for _ in range(4):
        turn += 1
        spin(loop)
    assert task.done()
    return trace


def test_children_are_let_go(run, aio):
    class Thing:
        pass

    async def make():
        return Thing()

    async def main():
        outer = aio.gather(make(), make())
        things = [weakref.ref(thing) for thing in await outer]
        assert all(thing() is not None for thing in things)
        del outer
        await asyncio.sleep(0)
        gc.collect()
        return [thing() for thing in things]

    assert run(main()) == [None, None]


def test_a_deep_chain_is_cancelled_or_refused(run, aio):
    """So deep that recursion ends it: an exception, not a crash."""

    async def main():
        future = asyncio.get_running_loop().create_future()
        outer = future
        chain = [future]
        for _ in range(30_000):
            outer = aio.gather(outer)
            chain.append(outer)
        try:
            outer.cancel()
        except RecursionError:
            future.cancel()
        with pytest.raises(asyncio.CancelledError):
            await future
        for each in chain:  # from the innermost: each in its turn
            if not each.done():
                await asyncio.wait([each])
            assert each.cancelled() or each.exception() is not None

    run(main())
