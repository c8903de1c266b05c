"""shield(): what ends with what, and what cancelling does not reach.

Not here: gather(), wait() (test_gather.py, test_wait.py). Runs in the main thread.
Invariant: one body for asyncio and for rulip's own function.
"""

from __future__ import annotations

import asyncio
import gc

import pytest
from tests.loopback import spin


class Custom(Exception):
    """Raised by the inner one."""


async def value(result, turns=1):
    for _ in range(turns):
        await asyncio.sleep(0)
    return result


async def forever():
    await asyncio.get_running_loop().create_future()


def test_what_the_inner_one_ends_with(run, aio):
    async def failure():
        raise Custom

    async def main():
        assert await aio.shield(value(1)) == 1
        assert await aio.shield(asyncio.create_task(value(2))) == 2
        with pytest.raises(Custom):
            await aio.shield(failure())
        inner = asyncio.create_task(forever())
        outer = aio.shield(inner)
        await asyncio.sleep(0)
        inner.cancel("inner")
        with pytest.raises(asyncio.CancelledError) as caught:
            await outer
        assert outer.cancelled()
        return caught.value.args

    assert run(main()) == ()


def test_done_already(run, aio):
    async def main():
        future = asyncio.get_running_loop().create_future()
        future.set_result(1)
        assert aio.shield(future) is future

    run(main())


def test_cancelling_stops_at_the_shield(run, aio):
    async def main():
        inner = asyncio.create_task(value("inner", 5))
        waiting = asyncio.create_task(wait(aio.shield(inner)))
        await asyncio.sleep(0)
        waiting.cancel("outer")
        with pytest.raises(asyncio.CancelledError) as caught:
            await waiting
        assert not inner.done()
        return caught.value.args, await inner

    async def wait(future):
        return await future

    assert run(main()) == (("outer",), "inner")


def test_cancelling_the_outer_one(run, aio):
    async def main():
        inner = asyncio.get_running_loop().create_future()
        outer = aio.shield(inner)
        assert outer.cancel("message") is True
        assert outer.cancelled()
        await asyncio.sleep(0)
        assert inner._callbacks in (None, [])
        inner.set_result(1)
        await asyncio.sleep(0)

    run(main())


def test_failures_behind_a_cancelled_shield(run, aio):
    """Who hears of them: the same as with asyncio's."""

    async def story(shield, same_turn):
        loop = asyncio.get_running_loop()
        reported = []
        loop.set_exception_handler(lambda loop, context: reported.append(context["message"]))
        inner = loop.create_future()
        outer = shield(inner)
        outer.cancel()
        if not same_turn:
            await asyncio.sleep(0)
        inner.set_exception(Custom())
        await value(None, 3)
        del inner, outer
        gc.collect()
        await asyncio.sleep(0)
        return reported

    async def main():
        for same_turn in (False, True):
            assert await story(aio.shield, same_turn) == await story(asyncio.shield, same_turn)

    run(main())


def test_turns(loop, aio):
    for first in ("result", "error", "inner", "outer", "both", "both again"):
        assert turns_of(loop, aio.shield, first) == turns_of(loop, asyncio.shield, first), first


def turns_of(loop, shield, first):
    trace = []
    turn = 0
    inner = loop.create_future()
    outer = shield(inner)

    async def wait():
        try:
            trace.append((turn, await outer))
        except BaseException as error:
            trace.append((turn, type(error), error.args))

    inner.add_done_callback(lambda future: trace.append((turn, "inner")))
    outer.add_done_callback(lambda future: trace.append((turn, "outer")))
    task = loop.create_task(wait())
    spin(loop)
    if first == "result":
        inner.set_result("r")
    elif first == "error":
        inner.set_exception(Custom("e"))
    elif first == "inner":
        inner.cancel("i")
    elif first == "outer":
        outer.cancel("o")
    elif first == "both":
        outer.cancel("o")
        inner.set_result("r")
    else:
        inner.set_exception(Custom("e"))
        outer.cancel("o")
    for _ in range(5):
        turn += 1
        spin(loop)
    trace.append((outer.cancelled(), inner.done()))
    assert task.done()
    inner.cancel()
    if not inner.cancelled():
        inner.exception()
    spin(loop)
    return trace


def test_looks(run, aio):
    async def main():
        inner = asyncio.get_running_loop().create_future()
        outer = aio.shield(inner)
        assert isinstance(outer, asyncio.Future)
        assert repr(outer).startswith("<Future pending cb=[")
        inner.set_result(1)
        assert await outer == 1
        assert repr(outer) == "<Future finished result=1>"
        with pytest.raises(TypeError):
            aio.shield()
        with pytest.raises(TypeError, match=r"An asyncio.Future, a coroutine or an awaitable"):
            aio.shield(1)
        assert await aio.shield(arg=value(3)) == 3

    run(main())


def test_without_a_running_loop(loop, aio):
    inner = loop.create_future()
    outer = aio.shield(inner)
    assert outer.get_loop() is loop
    inner.set_result(1)
    assert loop.run_until_complete(outer) == 1


def test_futures_of_other_kinds(run, aio):
    class Foreign(asyncio.Future):
        pass

    async def main():
        loop = asyncio.get_running_loop()
        inner = Foreign(loop=loop)
        loop.call_soon(inner.set_result, 1)
        assert await aio.shield(inner) == 1
        assert await aio.shield(aio.shield(aio.gather(value(1), value(2)))) == [1, 2]
        assert await aio.wait_for(aio.shield(value(4)), 60) == 4

    run(main())


def test_a_limit_around_a_shield(run, aio):
    async def main():
        inner = asyncio.create_task(value(7, 3))
        with pytest.raises(TimeoutError):
            await aio.wait_for(aio.shield(inner), 0)
        return await inner

    assert run(main()) == 7
