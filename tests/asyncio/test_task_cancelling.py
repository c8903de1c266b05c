"""Cancelling tasks: at every moment, refused, counted, and in random lives.

Here: the tasks a loop makes, and asyncio's own two Task classes on the same loop.
Not here: what else tasks do (test_tasks.py).
Runs in the main thread.
Invariant: one body for both loops and for all task types; stock asyncio passes every test.
"""

from __future__ import annotations

import asyncio
import contextvars
import random
import sys
import types
from collections.abc import Callable
from typing import Any

import pytest
from tests.loopback import spin

import rulip

var: contextvars.ContextVar[str] = contextvars.ContextVar("var", default="unset")

MakeTask = Callable[..., "asyncio.Task[Any]"]


@types.coroutine
def bare_yield(value: Any = None):
    """Hand `value` to whatever drives the coroutine."""
    return (yield value)


class BlindAwait:
    """Awaits to one raw yield."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def __await__(self):
        yield self.value


# Cancelling


def test_cancelling_a_task_that_did_not_start(loop, make_task):
    seen: list[str] = []

    async def body():
        seen.append("started")

    task = make_task(body())
    assert task.cancel() is True
    with pytest.raises(asyncio.CancelledError):
        loop.run_until_complete(task)
    assert seen == []
    assert task.cancelled()


def test_cancelling_a_task_that_sleeps(loop, make_task):
    seen: list[str] = []

    async def body():
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            seen.append("cancelled")
            raise
        finally:
            seen.append("finally")

    task = make_task(body())
    loop.call_soon(task.cancel)
    with pytest.raises(asyncio.CancelledError):
        loop.run_until_complete(task)
    assert seen == ["cancelled", "finally"]
    assert task.cancelled()
    assert task.cancel() is False
    with pytest.raises(asyncio.CancelledError):
        task.result()
    with pytest.raises(asyncio.CancelledError):
        task.exception()


def test_the_cancel_message_travels(loop, make_task):
    async def body():
        with pytest.raises(asyncio.CancelledError) as info:
            await asyncio.sleep(3600)
        return info.value.args

    task = make_task(body())
    loop.call_soon(task.cancel, "because")
    assert loop.run_until_complete(task) == ("because",)


def test_the_cancel_message_comes_out(loop, make_task):
    async def body():
        await loop.create_future()

    async def main():
        task = make_task(body())
        await asyncio.sleep(0)
        task.cancel("because")
        with pytest.raises(asyncio.CancelledError) as info:
            await task
        return info.value.args

    assert loop.run_until_complete(main()) == ("because",)


def test_a_cancellation_can_be_refused(loop, make_task):
    async def body():
        for _ in range(3):
            try:
                await asyncio.sleep(3600)
            except asyncio.CancelledError:
                pass
        return "survived"

    task = make_task(body())
    for _ in range(3):
        spin(loop, 2)
        assert task.cancel() is True
    assert loop.run_until_complete(task) == "survived"
    assert not task.cancelled()
    assert task.cancelling() == 3


def test_cancel_reaches_the_innermost_await(loop, make_task):
    async def inner():
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            return "inner"

    async def body():
        return await make_task(inner())

    task = make_task(body())
    spin(loop, 3)
    task.cancel()
    assert loop.run_until_complete(task) == "inner"


def test_cancelling_oneself(loop, make_task):
    async def body():
        task.cancel()
        seen.append("still running")
        await asyncio.sleep(0)
        seen.append("never")

    seen: list[str] = []
    task = make_task(body())
    with pytest.raises(asyncio.CancelledError):
        loop.run_until_complete(task)
    assert seen == ["still running"]


def test_cancelling_oneself_just_before_the_end(loop, make_task):
    async def body():
        task.cancel()
        return "result"

    task = make_task(body())
    with pytest.raises(asyncio.CancelledError):
        loop.run_until_complete(task)
    assert task.cancelled()


def test_cancelling_oneself_does_not_wait_for_a_done_future(loop, make_task):
    async def body():
        future = loop.create_future()
        future.set_result(None)
        task.cancel()
        await future
        seen.append("no yield, no cancellation")
        await asyncio.sleep(0)

    seen: list[str] = []
    task = make_task(body())
    with pytest.raises(asyncio.CancelledError):
        loop.run_until_complete(task)
    assert seen == ["no yield, no cancellation"]


def test_cancel_in_the_turn_the_future_is_done(loop, make_task):
    """The result is already on its way when the cancellation comes: the cancellation wins."""
    future = loop.create_future()

    async def body():
        try:
            return await future
        except asyncio.CancelledError:
            return "cancelled"

    task = make_task(body())
    spin(loop, 2)
    future.set_result("result")
    assert task.cancel() is True
    assert loop.run_until_complete(task) == "cancelled"
    assert future.result() == "result"


def test_cancel_between_a_bare_yield_and_its_turn(loop, make_task):
    async def body():
        try:
            await bare_yield()
        except asyncio.CancelledError:
            return "cancelled"

    task = make_task(body())
    spin(loop)
    task.cancel()
    assert loop.run_until_complete(task) == "cancelled"


def test_cancel_when_the_future_refuses(loop, make_task):
    """The awaited thing does not take the cancellation: it is delivered at the next step."""

    class Stubborn(asyncio.Future):
        def cancel(self, msg=None):
            return False

    future = Stubborn(loop=loop)

    async def body():
        try:
            await future
        except asyncio.CancelledError:
            return "cancelled after all"

    task = make_task(body())
    spin(loop)
    assert task.cancel() is True
    spin(loop, 2)
    assert not task.done()
    future.set_result(None)
    assert loop.run_until_complete(task) == "cancelled after all"


def test_two_cancels_in_one_turn_are_one_cancelled_error(loop, make_task):
    caught: list[str] = []

    async def body():
        for _ in range(2):
            try:
                await asyncio.sleep(0.001)
            except asyncio.CancelledError as exc:
                caught.extend(exc.args)

    task = make_task(body())
    spin(loop)
    assert task.cancel("first") is True
    assert task.cancel("second") is True
    loop.run_until_complete(task)
    assert len(caught) == 1
    assert task.cancelling() == 2


WAITS: dict[str, Callable[[asyncio.AbstractEventLoop], Any]] = {
    "sleep": lambda _: asyncio.sleep(3600),
    "native sleep": lambda _: rulip.sleep(3600),
    "future": lambda loop: loop.create_future(),
    "task": lambda loop: loop.create_task(rulip.sleep(3600)),
    "event": lambda _: rulip.Event().wait(),
}


@pytest.mark.parametrize("wait", WAITS)
@pytest.mark.parametrize("messages", [(None, "m"), ("m", None), ("first", "second")])
def test_the_first_of_two_messages_comes_out(loop, make_task, wait, messages):
    async def body():
        await WAITS[wait](loop)

    task = make_task(body())
    spin(loop, 2)
    for message in messages:
        loop.call_soon(task.cancel, message)
    with pytest.raises(asyncio.CancelledError) as caught:
        loop.run_until_complete(task)
    assert caught.value.args == tuple(message for message in messages[:1] if message)
    assert task.cancelling() == 2


def test_a_done_task_cannot_be_cancelled(loop, make_task):
    async def body():
        return 1

    task = make_task(body())
    spin(loop)
    assert task.cancel() is False
    assert task.cancelling() == 0
    assert task.result() == 1


def test_cancelling_and_uncancel_count(loop, make_task):
    async def body():
        await asyncio.sleep(3600)

    task = make_task(body())
    assert task.cancelling() == 0
    assert task.uncancel() == 0
    spin(loop)
    task.cancel()
    task.cancel()
    assert task.cancelling() == 2
    assert task.uncancel() == 1
    assert task.uncancel() == 0
    assert task.uncancel() == 0
    assert task.cancelling() == 0
    with pytest.raises(asyncio.CancelledError):
        loop.run_until_complete(task)


@pytest.mark.skipif(sys.version_info < (3, 13), reason="uncancel() takes it back since 3.13")
def test_uncancel_to_zero_takes_a_cancellation_back(loop, make_task):
    async def body():
        task.cancel()
        task.uncancel()
        await asyncio.sleep(0)
        return "not cancelled"

    task = make_task(body())
    assert loop.run_until_complete(task) == "not cancelled"


def test_a_cancelled_error_raised_by_hand_cancels_the_task(loop, make_task):
    async def body():
        raise asyncio.CancelledError("by hand")

    task = make_task(body())
    with pytest.raises(asyncio.CancelledError, match="by hand"):
        loop.run_until_complete(task)
    assert task.cancelled()


def random_script(loop, make: MakeTask, seed: int) -> list[Any]:
    """One pseudo-random life of a task that is cancelled, uncancelled and woken."""
    pick = random.Random(seed)
    trace: list[Any] = []
    futures: list[asyncio.Future[int]] = []

    async def body():
        me = asyncio.current_task()
        for step in range(12):
            action = pick.randrange(5)
            try:
                if action == 0:
                    await asyncio.sleep(0)
                elif action == 1:
                    futures.append(loop.create_future())
                    trace.append(await futures[-1])
                elif action == 2:
                    trace.append(("self", me.cancel(f"self {step}")))
                elif action == 3:
                    trace.append(("uncancel", me.uncancel()))
                else:
                    async with asyncio.timeout(0 if pick.randrange(2) else 60):
                        await asyncio.sleep(0)
            except (asyncio.CancelledError, TimeoutError) as exc:
                trace.append((step, type(exc).__name__, me.cancelling()))
                if pick.randrange(6) == 0:
                    raise
        return "end"

    task = make(body())
    for step in range(60):
        spin(loop)
        action = pick.randrange(4)
        if action == 0:
            trace.append(("cancel", task.cancel(f"outside {step}"), task.cancelling()))
        elif action == 1 and futures and not futures[-1].done():
            futures[-1].set_result(step)
        elif action == 2:
            trace.append(("outside", task.uncancel() if not task.done() else None))
        trace.append((task.done(), task.cancelling()))
    for future in futures:
        future.cancel()
    for _ in range(40):
        if task.done():
            break
        task.cancel()
        spin(loop, 2)
    trace.append((task.done(), task.cancelled(), task.cancelling()))
    if not task.cancelled() and task.exception() is None:
        trace.append(task.result())
    return trace


def test_random_lives_are_lived_as_asyncios_tasks_live_them(loop):
    """Cancel, uncancel, wake-ups and timeouts in random order leave the same trace."""
    for seed in range(200):
        own = random_script(loop, loop.create_task, seed)
        stock = random_script(loop, lambda coro: asyncio.Task(coro, loop=loop), seed)
        assert own == stock, f"seed {seed}"
