"""timeout(), timeout_at(), Timeout and wait_for(): limits that hold, expire, nest and race.

Not here: the clock (tests/rulip/test_timers.py); random programs (tests/rulip).
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

LONG = 3600
SINCE_3_12 = sys.version_info >= (3, 12)


async def forever():
    await asyncio.get_running_loop().create_future()


async def value(result, turns=1):
    for _ in range(turns):
        await asyncio.sleep(0)
    return result


# -- the block ------------------------------------------------------------------------------


def test_in_time(run, aio):
    async def main():
        async with aio.timeout(LONG) as limit:
            assert repr(limit).startswith("<Timeout [active] when=")
            assert limit.when() > asyncio.get_running_loop().time()
            await asyncio.sleep(0)
        assert not limit.expired()
        assert repr(limit) == "<Timeout [finished]>"
        return limit._state.value

    assert run(main()) == "finished"


@pytest.mark.parametrize("delay", [0.001, 0, -1])
def test_expired(run, aio, delay):
    async def main():
        task = asyncio.current_task()
        with pytest.raises(TimeoutError) as caught:
            async with aio.timeout(delay) as limit:
                await forever()
        assert isinstance(caught.value.__cause__, asyncio.CancelledError)
        assert caught.value.__context__ is caught.value.__cause__
        assert caught.value.__suppress_context__
        assert limit.expired()
        assert repr(limit) == "<Timeout [expired]>"
        assert task.cancelling() == 0
        return await value(1)

    assert run(main()) == 1


@pytest.mark.parametrize(
    "no_limit", [lambda aio: aio.timeout(None), lambda aio: aio.timeout_at(None)]
)
def test_no_limit(run, aio, no_limit):
    async def main():
        async with no_limit(aio) as limit:
            assert limit.when() is None
            assert repr(limit) == "<Timeout [active] when=None>"
            await asyncio.sleep(0)
        assert not limit.expired()

    run(main())


def test_at(run, aio):
    async def main():
        loop = asyncio.get_running_loop()
        when = loop.time() + LONG
        async with aio.timeout_at(when) as limit:
            assert limit.when() is when
            assert limit._when is when
        with pytest.raises(TimeoutError):
            async with aio.timeout_at(loop.time() - 1):
                await forever()
        with pytest.raises(TimeoutError):
            async with aio.timeout_at(0):
                await forever()

    run(main())


def test_states(run, aio):
    async def main():
        limit = aio.timeout(LONG)
        assert repr(limit) == "<Timeout [created]>"
        assert limit._task is None
        with pytest.raises(RuntimeError, match=r"^Timeout has not been entered$"):
            limit.reschedule(1)
        async with limit:
            assert limit._task is asyncio.current_task()
            with pytest.raises(RuntimeError, match=r"^Timeout has already been entered$"):
                await limit.__aenter__()
        with pytest.raises(RuntimeError, match=r"^Cannot change state of finished Timeout$"):
            limit.reschedule(1)
        with pytest.raises(RuntimeError, match=r"^Timeout has already been entered$"):
            async with limit:
                pass
        with pytest.raises(AssertionError):
            await limit.__aexit__(None, None, None)
        with pytest.raises(TimeoutError):
            async with aio.timeout(0) as limit:
                try:
                    await forever()
                finally:
                    assert repr(limit) == "<Timeout [expiring]>"
                    assert limit.expired()
                    with pytest.raises(RuntimeError, match="Cannot change state of expiring"):
                        limit.reschedule(None)

    run(main())


def test_rescheduled(run, aio):
    async def main():
        loop = asyncio.get_running_loop()
        async with aio.timeout(0.001) as limit:
            limit.reschedule(loop.time() + LONG)
            await asyncio.sleep(0.005)
        assert not limit.expired()
        async with aio.timeout(0) as limit:  # due already: takes the job back
            limit.reschedule(None)
            assert limit.when() is None
            await asyncio.sleep(0.002)
        with pytest.raises(TimeoutError):
            async with aio.timeout(None) as limit:
                limit.reschedule(loop.time())
                limit.reschedule(loop.time())
                await forever()
        assert asyncio.current_task().cancelling() == 0
        with pytest.raises(TimeoutError):
            async with aio.timeout(LONG) as limit:
                limit.reschedule(loop.time() + 0.001)
                await forever()

    run(main())


def test_left_before_a_limit_that_is_due(run, aio):
    async def main():
        for _ in range(3):
            async with aio.timeout(0):
                pass
        async with aio.timeout(0) as limit:
            limit.reschedule(0)
        await asyncio.sleep(0.001)
        await asyncio.sleep(0)
        return asyncio.current_task().cancelling()

    assert run(main()) == 0


def test_expired_while_the_block_ends_well(run, aio):
    async def main():
        async with aio.timeout(0) as limit:
            try:
                await forever()
            except asyncio.CancelledError:
                pass
        assert limit.expired()
        return asyncio.current_task().cancelling()

    assert run(main()) == 0


def test_cancelled_from_outside(run, aio):
    async def main():
        async def body():
            async with aio.timeout(LONG):
                await forever()

        task = asyncio.create_task(body())
        await asyncio.sleep(0)
        task.cancel("outside")
        with pytest.raises(asyncio.CancelledError) as caught:
            await task
        return caught.value.args

    assert run(main()) == ("outside",)


def test_cancelled_from_outside_and_expired(run, aio):
    async def main():
        async def body():
            try:
                async with aio.timeout(0):
                    await forever()
            finally:
                counts.append(asyncio.current_task().cancelling())

        counts = []
        task = asyncio.create_task(body())
        await asyncio.sleep(0)
        asyncio.get_running_loop().call_soon(task.cancel)
        with pytest.raises(asyncio.CancelledError):
            await task
        return counts

    assert run(main()) == [1]


@pytest.mark.parametrize(
    ("inner", "outer"), [(0, LONG), (LONG, 0), (0, 0), (0.001, 0.1), (0.1, 0.001)]
)
def test_nested(run, aio, inner, outer):
    async def main():
        seen = []
        try:
            async with aio.timeout(outer) as out:
                try:
                    async with aio.timeout(inner) as inn:
                        await forever()
                except TimeoutError:
                    seen.append("inner")
                    await forever() if outer < LONG else None
        except TimeoutError:
            seen.append("outer")
        return seen, inn.expired(), out.expired(), asyncio.current_task().cancelling()

    seen, *expired, cancelling = run(main())
    assert cancelling == 0
    if (inner, outer) == (0, LONG):
        assert (seen, expired) == (["inner"], [True, False])
    elif (inner, outer) == (LONG, 0):
        assert (seen, expired) == (["outer"], [False, True])
    elif (inner, outer) == (0.001, 0.1):
        assert seen == ["inner", "outer"]
    elif (inner, outer) == (0.1, 0.001):
        assert (seen, expired) == (["outer"], [False, True])


def test_another_exception_passes(run, aio):
    async def main():
        with pytest.raises(KeyError):
            async with aio.timeout(LONG) as limit:
                raise KeyError
        assert not limit.expired()
        with pytest.raises(KeyError) as caught:
            async with aio.timeout(0) as limit:
                try:
                    await forever()
                except asyncio.CancelledError:
                    raise KeyError from None
        assert limit.expired()
        return type(caught.value.__context__)

    newer = hasattr(asyncio.Timeout, "_insert_timeout_error")
    assert run(main()) is (TimeoutError if newer else asyncio.CancelledError)


def test_a_group_of_exceptions(run, aio):
    async def main():
        with pytest.raises(ExceptionGroup) as caught:
            async with aio.timeout(0):
                try:
                    await forever()
                except asyncio.CancelledError:
                    try:
                        raise ValueError
                    except ValueError as error:
                        raise ExceptionGroup("both", [error, KeyError()]) from None
        return [type(error.__context__) for error in caught.value.exceptions]

    newer = hasattr(asyncio.Timeout, "_insert_timeout_error")
    assert run(main()) == [TimeoutError if newer else asyncio.CancelledError, type(None)]


def test_left_without_being_entered(run, aio):
    async def main():
        with pytest.raises(AssertionError) as raised:
            await aio.timeout(None).__aexit__(None, None, None)
        assert raised.value.args == ()

    run(main())


def test_nothing_left_on_a_clock_that_was_replaced(loop, aio):
    """A deadline that has come is told in the next turn, whatever fractions the clock shows."""
    loop.time = lambda: 100.1 + 0.001 + 0.001 + 0.001
    trace = []

    async def main():
        try:
            async with aio.timeout(0):
                loop.call_soon(trace.append, "next turn")
                await loop.create_future()
        except TimeoutError:
            trace.append("expired")

    task = loop.create_task(main())
    spin(loop, 3)
    assert trace == ["next turn", "expired"]
    assert task.done()


def test_a_subclass_of_cancelled_error(run, aio):
    class Mine(asyncio.CancelledError):
        pass

    async def main():
        async with aio.timeout(0):
            try:
                await forever()
            except asyncio.CancelledError:
                raise Mine from None

    newer = hasattr(asyncio.Timeout, "_insert_timeout_error")
    with pytest.raises(TimeoutError if newer else asyncio.CancelledError):
        run(main())


def test_outside_a_task(loop, aio):
    caught = []

    def callback():
        try:
            aio.timeout(1).__aenter__().send(None)
        except BaseException as error:
            caught.append(str(error))

    loop.call_soon(callback)
    spin(loop)
    assert caught == ["Timeout should be used inside a task"]
    with pytest.raises(RuntimeError, match="no running event loop"):
        aio.timeout(1)
    assert repr(aio.timeout_at(1)) == "<Timeout [created]>"
    assert repr(aio.Timeout(None)) == "<Timeout [created]>"


def test_arguments(run, aio):
    async def main():
        with pytest.raises(TypeError):
            aio.timeout()
        with pytest.raises(TypeError):
            aio.timeout("1")
        with pytest.raises(TypeError):
            aio.Timeout()
        with pytest.raises(TypeError):
            aio.Timeout(1, 2)
        assert aio.timeout(delay=None).when() is None
        assert aio.timeout_at(when=7).when() == 7
        assert aio.Timeout(when=7).when() == 7
        with pytest.raises(TypeError):
            async with aio.timeout_at("soon"):
                pass

    run(main())


def test_looks(run, aio):
    async def main():
        limit = aio.timeout(LONG)
        assert isinstance(limit, asyncio.Timeout)
        assert isinstance(limit, aio.Timeout)
        limit.note = 1
        assert weakref.ref(limit)() is limit
        assert vars(limit)["note"] == 1
        async with limit:
            handle = limit._timeout_handler
            assert isinstance(handle, asyncio.TimerHandle)
            assert handle.when() == limit.when()
            assert handle is limit._timeout_handler
        assert handle.cancelled()
        assert limit._timeout_handler is None

    run(main())


def test_a_limit_by_its_handle(run, aio):
    """Looking at the handle changes nothing."""

    async def main():
        with pytest.raises(TimeoutError):
            async with aio.timeout(0.001) as limit:
                assert limit._timeout_handler is not None
                await forever()

    run(main())


def test_a_class_derived_from_timeout(run, aio):
    class Mine(aio.Timeout):
        expirations = 0

        def _on_timeout(self):
            self.expirations += 1
            super()._on_timeout()

    async def main():
        with pytest.raises(TimeoutError):
            async with Mine(0) as limit:
                await forever()
        assert type(limit) is Mine
        assert isinstance(limit, aio.Timeout)
        return limit.expirations

    assert run(main()) == 1


def test_never_awaited(run, aio):
    async def main():
        limit = aio.timeout(LONG)
        with pytest.warns(RuntimeWarning, match=r"'Timeout.__aenter__' was never awaited"):
            limit.__aenter__()
            gc.collect()
        assert repr(limit) == "<Timeout [created]>"
        entering = limit.__aenter__()
        assert asyncio.iscoroutine(entering)
        await entering
        with pytest.raises(RuntimeError, match="cannot reuse already awaited coroutine"):
            await entering
        await limit.__aexit__(None, None, None)

    run(main())


def test_a_task_of_another_kind(run, aio):
    """A Python subclass of asyncio's own task, on the loop under test."""

    class Foreign(asyncio.Task):
        pass

    async def body(delay):
        async with aio.timeout(delay):
            await forever()

    async def main():
        loop = asyncio.get_running_loop()
        with pytest.raises(TimeoutError):
            await Foreign(body(0.001), loop=loop)
        with pytest.raises(TimeoutError):
            await Foreign(aio.wait_for(forever(), 0.001), loop=loop)
        assert await Foreign(aio.wait_for(value(1), LONG), loop=loop) == 1

    run(main())


# -- wait_for -------------------------------------------------------------------------------


@pytest.mark.parametrize("limit", [None, LONG, LONG * 1.0])
def test_wait_for_in_time(run, aio, limit):
    async def main():
        future = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().call_soon(future.set_result, "future")
        return [
            await aio.wait_for(value("coroutine", 3), limit),
            await aio.wait_for(future, limit),
            await aio.wait_for(future, limit),
            await aio.wait_for(asyncio.create_task(value("task")), timeout=limit),
            await aio.wait_for(asyncio.sleep(0, "slept"), limit),
            await aio.wait_for(aio.wait_for(value("nested"), limit), limit),
        ]

    assert run(main()) == ["coroutine", "future", "future", "task", "slept", "nested"]


@pytest.mark.parametrize("limit", [0.001, 0, -1, True and 0.0005])
def test_wait_for_too_long(run, aio, limit):
    async def main():
        seen = []

        async def child():
            try:
                await forever()
            except BaseException as error:
                seen.append(type(error))
                raise

        task = asyncio.create_task(child())
        await asyncio.sleep(0)
        for waited in (task, child(), asyncio.get_running_loop().create_future()):
            with pytest.raises(TimeoutError) as caught:
                await aio.wait_for(waited, limit)
            assert isinstance(caught.value.__cause__, asyncio.CancelledError)
        assert task.cancelled()
        assert asyncio.current_task().cancelling() == 0
        return seen

    started = 2 if limit > 0 else 1
    assert run(main()) == [asyncio.CancelledError] * started


def test_wait_for_nothing_left(run, aio):
    """A limit of zero takes what is done already."""

    async def main():
        future = asyncio.get_running_loop().create_future()
        future.set_result(7)
        assert await aio.wait_for(future, 0) == 7
        failed = asyncio.get_running_loop().create_future()
        failed.set_exception(KeyError())
        with pytest.raises(KeyError):
            await aio.wait_for(failed, 0)

    run(main())


def test_wait_for_failure(run, aio):
    async def failure():
        await asyncio.sleep(0)
        raise KeyError("inner")

    async def main():
        with pytest.raises(KeyError) as caught:
            await aio.wait_for(failure(), LONG)
        future = asyncio.get_running_loop().create_future()
        future.set_exception(ValueError())
        with pytest.raises(ValueError):
            await aio.wait_for(future, LONG)
        return caught.value.args

    assert run(main()) == ("inner",)


def test_wait_for_a_child_that_answers_cancellation(run, aio):
    async def stubborn(answer):
        try:
            await forever()
        except asyncio.CancelledError:
            if isinstance(answer, Exception):
                raise answer from None
            return answer

    async def main():
        outcomes = []
        for answer in ("stays", KeyError("answers")):
            try:
                outcomes.append(await aio.wait_for(stubborn(answer), 0.001))
            except BaseException as error:
                outcomes.append((type(error), type(error.__context__)))
            assert asyncio.current_task().cancelling() == 0
        return outcomes

    first, second = run(main())
    assert first == "stays"
    assert second[0] is KeyError


def test_wait_for_cancelled_from_outside(run, aio):
    async def main():
        inner = asyncio.create_task(forever())
        outer = asyncio.create_task(aio.wait_for(inner, LONG))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        outer.cancel("outside")
        with pytest.raises(asyncio.CancelledError) as caught:
            await outer
        assert inner.cancelled()
        assert outer.cancelled()
        return caught.value.args

    assert run(main()) in (("outside",), ())


def test_wait_for_races(run, aio):
    """The result comes in the turn of the cancellation, just before or after it."""

    async def race(aio, order, turns):
        loop = asyncio.get_running_loop()
        future = loop.create_future()
        task = asyncio.create_task(aio.wait_for(future, LONG))
        for _ in range(turns):
            await asyncio.sleep(0)
        trace = []
        for act in order:
            if act == "cancel":
                trace.append(task.cancel(act))
            elif not future.done():
                future.set_result(act)
            if act == "turn":
                await asyncio.sleep(0)
        try:
            trace.append(await task)
        except asyncio.CancelledError as error:
            trace.append(error.args)
        return [*trace, task.cancelling(), future.cancelled()]

    async def main():
        for order in (
            ("set", "cancel"),
            ("cancel", "set"),
            ("set", "turn", "cancel"),
            ("cancel", "turn", "set"),
            ("cancel", "cancel"),
        ):
            for turns in range(4):
                stock = await race(asyncio, order, turns)
                assert await race(aio, order, turns) == stock, (order, turns)

    run(main())


def test_wait_for_what_cannot_be_awaited(run, aio):
    async def main():
        for wrong in (1, "text", None):
            with pytest.raises(TypeError) as caught:
                await aio.wait_for(wrong, LONG)
            stock = await text_of(asyncio.wait_for(wrong, LONG))
            assert str(caught.value) == stock
        with pytest.raises(TypeError):
            await aio.wait_for(asyncio.get_running_loop().create_future(), "soon")
        with pytest.raises(TypeError):
            aio.wait_for(1)

    async def text_of(coroutine):
        try:
            await coroutine
        except TypeError as error:
            return str(error)

    run(main())


def test_wait_for_awaitables(run, aio):
    class Awaitable:
        def __init__(self, iterator):
            self.iterator = iterator

        def __await__(self):
            return self.iterator

    def generator():
        yield
        return "generator"

    async def main():
        assert await aio.wait_for(Awaitable(generator()), LONG) == "generator"
        with pytest.raises(TypeError, match="__await__"):
            await aio.wait_for(Awaitable(7), LONG)
        with pytest.raises(TypeError, match="__await__"):
            coroutine = value(1)
            try:
                await aio.wait_for(Awaitable(coroutine), LONG)
            finally:
                coroutine.close()

    if SINCE_3_12:  # 3.11 awaits them in tasks, which word it otherwise
        run(main())


def test_wait_for_a_coroutine_twice(run, aio):
    async def main():
        coroutine = value(1)
        assert await aio.wait_for(coroutine, LONG) == 1
        with pytest.raises(RuntimeError, match="cannot reuse already awaited coroutine"):
            await aio.wait_for(coroutine, LONG)
        if SINCE_3_12:
            coroutine = forever()
            task = asyncio.create_task(aio.wait_for(coroutine, LONG))
            await asyncio.sleep(0)
            with pytest.raises(RuntimeError, match="coroutine is being awaited already"):
                await aio.wait_for(coroutine, LONG)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    run(main())


def test_wait_for_is_a_coroutine(run, aio):
    async def main():
        future = asyncio.get_running_loop().create_future()
        future.set_result(None)
        with pytest.warns(RuntimeWarning, match="coroutine 'wait_for' was never awaited"):
            aio.wait_for(future, LONG)
            gc.collect()
        coroutine = aio.wait_for(future, LONG)
        assert asyncio.iscoroutine(coroutine)
        assert coroutine.__name__ == "wait_for"
        assert coroutine.cr_await is None
        coroutine.close()
        with pytest.raises(RuntimeError, match="cannot reuse already awaited coroutine"):
            await coroutine
        coroutine = aio.wait_for(future, LONG)
        with pytest.raises(KeyError):
            coroutine.throw(KeyError())

    run(main())


def test_wait_for_closed_half_way(loop, aio):
    ended = []

    async def child():
        try:
            await forever()
        except GeneratorExit:
            ended.append("child")
            raise

    if not SINCE_3_12:
        return  # 3.11 waits in a task of its own: closing leaves it behind

    async def main():
        await aio.wait_for(child(), LONG)

    task = loop.create_task(main())
    task._log_destroy_pending = False
    spin(loop)
    task.get_coro().close()
    assert ended == ["child"]
    with pytest.raises(RuntimeError):
        task.get_coro().send(None)
    task.cancel()
    spin(loop, 3)


def test_wait_for_lets_go(run, aio):
    class Thing:
        pass

    async def make():
        await asyncio.sleep(0)
        return Thing()

    async def main():
        thing = weakref.ref(await aio.wait_for(make(), LONG))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        gc.collect()
        return thing()

    assert run(main()) is None


@pytest.mark.loops("rulip")  # asyncio's gives up in the same way, noisily
@pytest.mark.filterwarnings("ignore")  # most of the chain is never awaited
def test_wait_for_a_deep_chain(run, aio):
    async def main():
        future = asyncio.get_running_loop().create_future()
        future.set_result(5)
        waiting = future
        for _ in range(100_000):
            waiting = aio.wait_for(waiting, LONG)
        with pytest.raises(RecursionError):
            await waiting

    if not SINCE_3_12:
        return  # a chain of tasks, which is long before it is deep
    run(main())
    gc.collect()


def test_cancelled_at_every_turn(loop_factory, aio):
    """Cancel the task at turn k, for every k: the same story as asyncio's."""
    for make in (by_wait_for, by_timeout, by_both):
        for turn in range(12):
            assert story(loop_factory, aio, make, turn) == story(loop_factory, asyncio, make, turn)


async def by_wait_for(aio, note):
    note(await aio.wait_for(value("w", 4), LONG))
    note(await aio.wait_for(asyncio.create_task(value("t", 3)), LONG))


async def by_timeout(aio, note):
    async with aio.timeout(LONG) as limit:
        note(await value("a", 4))
        try:
            async with aio.timeout(0):
                await forever()
        except TimeoutError:
            note("inner")
    note(limit.expired())


async def by_both(aio, note):
    try:
        async with aio.timeout(LONG):
            note(await aio.wait_for(value("b", 5), LONG))
            await aio.wait_for(forever(), 0)
    except TimeoutError:
        note("outer")


def story(loop_factory, aio, make, turn):
    loop = loop_factory()
    notes = []
    now = [0]

    async def main():
        task = asyncio.current_task()
        try:
            await make(aio, lambda what: notes.append((now[0], what)))
        except BaseException as error:
            notes.append((now[0], type(error), error.args, task.cancelling()))

    task = loop.create_task(main())
    for now[0] in range(16):
        if now[0] == turn:
            notes.append(task.cancel("k"))
        spin(loop)
    assert task.done()
    for each in asyncio.all_tasks(loop):
        each.cancel()
    spin(loop, 3)
    loop.close()
    return notes
