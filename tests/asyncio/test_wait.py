"""wait(): when it returns, what it returns, and what it refuses.

Not here: wait_for() (test_timeouts.py), gather() (test_gather.py). Runs in the main thread.
Invariant: one body for asyncio and for rulip's own function.
"""

from __future__ import annotations

import asyncio
import gc

import pytest
from tests.loopback import spin

ALL, FIRST, EXCEPTION = (
    asyncio.ALL_COMPLETED,
    asyncio.FIRST_COMPLETED,
    asyncio.FIRST_EXCEPTION,
)


class Custom(Exception):
    """Raised by tasks."""


async def value(result, turns=1):
    for _ in range(turns):
        await asyncio.sleep(0)
    return result


async def failure(turns=1):
    for _ in range(turns):
        await asyncio.sleep(0)
    raise Custom


async def forever():
    await asyncio.get_running_loop().create_future()


def cancel(tasks):
    for task in tasks:
        task.cancel()


@pytest.mark.parametrize("kind", [list, tuple, set, frozenset, lambda tasks: iter(list(tasks))])
def test_all(run, aio, kind):
    async def main():
        tasks = [asyncio.create_task(value(n, n)) for n in range(4)]
        done, pending = await aio.wait(kind(tasks))
        assert done == set(tasks)
        assert pending == set()
        assert type(done) is type(pending) is set
        done, pending = await aio.wait(kind(tasks))
        return len(done), len(pending)

    assert run(main()) == (4, 0)


def test_the_first(run, aio):
    async def main():
        tasks = [asyncio.create_task(value(n, n + 1)) for n in range(4)]
        done, pending = await aio.wait(tasks, return_when=FIRST)
        result = {task.result() for task in done}, len(pending)
        await aio.wait(tasks)
        assert all(len(task._callbacks or ()) == 0 for task in tasks)
        return result

    got = run(main())
    assert 0 in got[0]
    assert len(got[0]) + got[1] == 4


def test_the_first_exception(run, aio):
    async def main():
        reported = []
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda loop, context: reported.append(context))
        cancelled = asyncio.create_task(forever())
        tasks = [asyncio.create_task(failure(4)), asyncio.create_task(forever()), cancelled]
        loop.call_soon(cancelled.cancel)
        done, pending = await aio.wait(tasks, return_when=EXCEPTION)
        assert done == {tasks[0], cancelled}
        cancel(pending)
        await asyncio.wait(pending)
        del tasks, done, pending, cancelled
        await asyncio.sleep(0)
        gc.collect()
        return reported

    assert run(main()) == []


@pytest.mark.parametrize("when", [ALL, EXCEPTION])
def test_a_failure_is_left_to_whoever_asked(run, aio, when):
    async def story(wait):
        reported = []
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda loop, context: reported.append(context["message"]))
        await wait([asyncio.create_task(failure())], return_when=when)
        await asyncio.sleep(0)
        gc.collect()
        return reported

    async def main():
        return await story(aio.wait), await story(asyncio.wait)

    ours, stock = run(main())
    assert ours == stock


@pytest.mark.parametrize("limit", [0, -1, 0.001])
def test_a_limit(run, aio, limit):
    async def main():
        task, quick = asyncio.create_task(forever()), asyncio.create_task(value(1))
        done, pending = await aio.wait([task, quick], timeout=limit)
        assert pending == {task}
        assert not task.cancelled()
        assert task._callbacks in (None, [])
        cancel(pending)
        await asyncio.wait([task])
        return len(done)

    assert run(main()) in (0, 1)


def test_a_limit_that_is_not_reached(run, aio):
    async def main():
        done, pending = await aio.wait([asyncio.create_task(value(1))], timeout=3600)
        return len(done), len(pending)

    assert run(main()) == (1, 0)


def test_duplicates(run, aio):
    async def main():
        task = asyncio.create_task(value(1))
        done, pending = await aio.wait([task, task, task])
        return done == {task}, pending

    assert run(main()) == (True, set())


def test_cancelled(run, aio):
    async def main():
        task = asyncio.create_task(forever())
        waiting = asyncio.create_task(aio.wait([task], timeout=3600))
        await value(None, 2)
        waiting.cancel("why")
        with pytest.raises(asyncio.CancelledError) as caught:
            await waiting
        assert not task.done()
        assert task._callbacks in (None, [])
        task.cancel()
        await asyncio.wait([task])
        return caught.value.args

    assert run(main()) == ("why",)


def test_refusals(run, aio):
    async def text_of(coroutine):
        with pytest.raises((TypeError, ValueError)) as caught:
            await coroutine
        return type(caught.value), str(caught.value)

    async def main():
        future = asyncio.get_running_loop().create_future()
        future.set_result(1)
        coroutine = value(1)
        for arguments, keywords in [
            ((future,), {}),
            ((coroutine,), {}),
            (([],), {}),
            ((set(),), {}),
            (([coroutine],), {}),
            (([coroutine, future],), {}),
            (([future],), {"return_when": "never"}),
            (([future],), {"return_when": 1}),
            (([future],), {"timeout": "soon"}),
            ((1,), {}),
        ]:
            ours = await text_of(aio.wait(*arguments, **keywords))
            assert ours == await text_of(asyncio.wait(*arguments, **keywords))
        coroutine.close()
        with pytest.raises(TypeError):
            aio.wait()
        with pytest.raises(TypeError):
            aio.wait([future], 1)
        with pytest.raises(TypeError):
            aio.wait([future], no_such=1)

    run(main())


def test_futures_of_many_kinds(run, aio):
    class Foreign(asyncio.Future):
        pass

    class ForeignTask(asyncio.Task):
        pass

    async def main():
        loop = asyncio.get_running_loop()
        foreign = Foreign(loop=loop)
        loop.call_soon(foreign.set_result, 1)
        futures = [
            foreign,
            ForeignTask(value(2), loop=loop),
            asyncio.create_task(value(3)),
            loop.create_future(),
            aio.gather(value(4), value(5)),
            aio.shield(value(6)),
            loop.run_in_executor(None, int),
        ]
        futures[3].set_result(None)
        done, pending = await aio.wait(futures)
        assert done == set(futures)
        done, pending = await aio.wait(futures[2:6])
        assert len(done) == 4
        assert await ForeignTask(aio.wait(futures), loop=loop) == (set(futures), set())
        return pending

    assert run(main()) == set()


def test_it_is_a_coroutine(run, aio):
    async def main():
        future = asyncio.get_running_loop().create_future()
        with pytest.warns(RuntimeWarning, match="coroutine 'wait' was never awaited"):
            aio.wait([future])
            gc.collect()
        waiting = aio.wait([future])
        assert asyncio.iscoroutine(waiting)
        waiting.close()
        with pytest.raises(RuntimeError, match="cannot reuse already awaited coroutine"):
            await waiting
        waiting = aio.wait([future])
        with pytest.raises(KeyError):
            waiting.throw(KeyError())
        task = asyncio.create_task(aio.wait({future}))
        await asyncio.sleep(0)
        task.get_coro().close()
        assert future._callbacks in (None, [])
        task.cancel()
        await asyncio.wait([task])

    run(main())


def test_turns(loop, aio):
    for when in (ALL, FIRST, EXCEPTION):
        for ends in ("rrr", "rer", "crr", "eee", "dr", "de", "dd", "r"):
            for order in (1, -1):
                ours = turns_of(loop, aio.wait, when, ends, order)
                assert ours == turns_of(loop, asyncio.wait, when, ends, order), (when, ends, order)


def turns_of(loop, wait, when, ends, order):
    """The letters: result, error, cancelled, done before."""
    trace = []
    turn = 0
    futures = [loop.create_future() for _ in ends]
    for future, end in zip(futures, ends, strict=True):
        if end == "d":
            future.set_result(None)

    async def waits():
        done, pending = await wait(futures, return_when=when, timeout=3600)
        trace.append((turn, {futures.index(each) for each in done}, len(pending)))

    for future in futures:
        future.add_done_callback(lambda future: trace.append((turn, futures.index(future))))
    task = loop.create_task(waits())
    spin(loop)
    for future, end in list(zip(futures, ends, strict=True))[::order]:
        turn += 1
        if end == "r":
            future.set_result(None)
        elif end == "e":
            future.set_exception(Custom())
        elif end == "c":
            future.cancel()
        if turn % 2:
            spin(loop)
    for _ in range(5):
        turn += 1
        spin(loop)
    assert task.done()
    for future in futures:
        if not future.cancelled():
            future.exception()
    return trace


def test_cancelled_at_every_turn(loop, aio):
    for turn in range(8):
        assert story(loop, aio.wait, turn) == story(loop, asyncio.wait, turn), turn


def story(loop, wait, when):
    notes = []
    turn = 0

    async def waits():
        try:
            tasks = [loop.create_task(value(n, n + 1)) for n in range(3)]
            done, pending = await wait(tasks)
            notes.append((turn, len(done), len(pending)))
        except asyncio.CancelledError as error:
            notes.append((turn, error.args))
            await asyncio.wait(tasks)
            raise

    task = loop.create_task(waits())
    for turn in range(14):
        if turn == when:
            notes.append(task.cancel("k"))
        spin(loop)
    assert task.done()
    return [*notes, task.cancelled()]
