"""gather(), wait(), shield(), time limits and groups: cycles through them die, counts stay flat.

Not here: other types (test_cycles.py, test_flat_counts.py). Runs in the main thread.
Invariant: one body for asyncio and for rulip's own functions; stock asyncio passes every test.
"""

from __future__ import annotations

import asyncio
import gc
import weakref
from typing import Any

import pytest
from tests.gc.test_flat_counts import assert_flat
from tests.loopback import spin


class Token:
    """Something in the cycle that can be watched."""


async def nothing() -> None:
    pass


async def forever() -> None:
    await asyncio.get_running_loop().create_future()


async def failing() -> None:
    await asyncio.sleep(0)
    raise ZeroDivisionError


def gone(*refs: weakref.ref[Any]) -> bool:
    for _ in range(2):
        gc.collect()
    return [ref() for ref in refs] == [None] * len(refs)


async def gathers(aio: Any, token: Token) -> Any:
    future = asyncio.get_running_loop().create_future()
    future.kept = [future, token]
    future.outer = aio.gather(future, future)
    future.outer.me = future


async def shields(aio: Any, token: Token) -> Any:
    future = asyncio.get_running_loop().create_future()
    future.outer = aio.shield(future)
    future.outer.kept = [future.outer, token]


async def waits(aio: Any, token: Token) -> Any:
    future = asyncio.get_running_loop().create_future()
    waiting = aio.wait([future])
    future.kept = [waiting, future, token]
    waiting.close()


async def waits_for(aio: Any, token: Token) -> Any:
    future = asyncio.get_running_loop().create_future()
    waiting = aio.wait_for(future, 3600)
    future.kept = [waiting, future, token]
    waiting.close()


async def limits(aio: Any, token: Token) -> Any:
    async with aio.timeout(3600) as limit:
        limit.kept = [limit, token]


async def groups(aio: Any, token: Token) -> Any:
    async with aio.TaskGroup() as group:
        task = group.create_task(nothing())
        group.kept = [group, task, token]


@pytest.mark.parametrize("make", [gathers, shields, waits, waits_for, limits, groups])
def test_cycles(loop, aio, make):
    token = Token()
    ref = weakref.ref(token)
    loop.run_until_complete(make(aio, token))
    del token
    spin(loop, 2)
    assert gone(ref)


def test_tasks_that_nobody_will_finish(loop, aio):
    """Pending for ever, and unreachable: collected with what they wait for."""
    loop.set_exception_handler(lambda loop, context: None)

    async def by_gather(token):
        await aio.gather(never(), asyncio.get_running_loop().create_future())

    async def by_group(token):
        async with aio.TaskGroup() as group:
            group.create_task(never())

    async def by_wait(token):
        await aio.wait([loop.create_future()])

    async def by_shield(token):
        await aio.shield(loop.create_future())

    async def by_wait_for(token):
        await aio.wait_for(loop.create_future(), None)

    async def never():
        await loop.create_future()

    for make in (by_gather, by_group, by_wait, by_shield, by_wait_for):
        token = Token()
        ref = weakref.ref(token)
        task = loop.create_task(make(token))
        spin(loop, 3)
        del task, token
        assert gone(ref), make.__name__


async def quietly(awaitable: Any) -> None:
    try:
        await awaitable
    except (asyncio.CancelledError, ZeroDivisionError, TimeoutError, ExceptionGroup):
        pass


async def group_of(aio: Any, *coroutines: Any) -> None:
    async with aio.TaskGroup() as group:
        for coroutine in coroutines:
            group.create_task(coroutine)


async def limit_on(aio: Any, delay: float, coroutine: Any) -> None:
    async with aio.timeout(delay):
        await coroutine


async def cancelled(awaitable: Any) -> None:
    task = asyncio.ensure_future(awaitable)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    task.cancel("a message")
    await quietly(task)


async def shield_left_behind(aio: Any) -> None:
    inner = asyncio.get_running_loop().create_future()
    aio.shield(inner).cancel()
    await asyncio.sleep(0)


OPERATIONS: dict[str, Any] = {
    "gather": lambda aio: aio.gather(nothing(), nothing(), nothing()),
    "gather, failed": lambda aio: quietly(aio.gather(nothing(), failing(), failing())),
    "gather, exceptions returned": lambda aio: aio.gather(failing(), return_exceptions=True),
    "gather, cancelled": lambda aio: cancelled(aio.gather(forever(), nothing())),
    "group": lambda aio: group_of(aio, nothing(), nothing()),
    "group, failed": lambda aio: quietly(group_of(aio, failing(), forever())),
    "group, cancelled": lambda aio: cancelled(group_of(aio, forever(), forever())),
    "limit": lambda aio: limit_on(aio, 3600, nothing()),
    "limit, reached": lambda aio: quietly(limit_on(aio, 0, forever())),
    "limit, cancelled": lambda aio: cancelled(limit_on(aio, 3600, forever())),
    "wait_for": lambda aio: aio.wait_for(nothing(), 3600),
    "wait_for, too long": lambda aio: quietly(aio.wait_for(forever(), 0.00001)),
    "wait_for, at once": lambda aio: quietly(aio.wait_for(forever(), 0)),
    "wait_for, cancelled": lambda aio: cancelled(aio.wait_for(forever(), 3600)),
    "wait": lambda aio: aio.wait([asyncio.ensure_future(nothing())], timeout=3600),
    "shield": lambda aio: aio.shield(nothing()),
    "shield, left behind": shield_left_behind,
}


@pytest.mark.parametrize("operation", OPERATIONS)
def test_flat(loop, aio, operation):
    act = OPERATIONS[operation]

    async def main(count):
        for _ in range(count):
            await act(aio)

    assert_flat(lambda count: loop.run_until_complete(main(count)))


@pytest.mark.loops("rulip")
@pytest.mark.parametrize("done", [False, True])
def test_a_long_chain_is_dropped_without_using_up_the_stack(loop, aio, done):
    async def main():
        first = chain = asyncio.get_running_loop().create_future()
        if done:
            first.set_result(None)
        for _ in range(200_000):
            chain = aio.gather(chain)
        if done and not chain.done():
            await asyncio.wait([chain])
        return weakref.ref(chain)

    ref = loop.run_until_complete(main())
    spin(loop, 2)
    assert gone(ref)
