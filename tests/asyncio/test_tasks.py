"""Tasks: running, cancelling, awaiting all kinds of things, what they refuse.

Here: the tasks a loop makes, and asyncio's own two Task classes on the same loop.
Not here: names, registries, looks and reports (test_task_looks.py), wait, gather, timeouts and
groups (test_waiting.py).
Runs in the main thread.
Invariant: one body for both loops and for all task types; stock asyncio passes every test.
"""

from __future__ import annotations

import asyncio
import contextvars
import functools
import random
import re
import sys
import types
from asyncio.futures import _PyFuture
from asyncio.tasks import _PyTask
from collections.abc import Callable
from typing import Any

import pytest
from tests.loopback import spin, turns

var: contextvars.ContextVar[str] = contextvars.ContextVar("var", default="unset")

MakeTask = Callable[..., "asyncio.Task[Any]"]


@pytest.fixture(params=["own", "stock", "python"])
def make_task(request, loop) -> MakeTask:
    """Makes a task on the loop: the loop's own kind, asyncio's compiled one, its Python one."""
    kinds: dict[str, MakeTask] = {
        "own": loop.create_task,
        "stock": lambda coro, **keywords: asyncio.Task(coro, loop=loop, **keywords),
        "python": lambda coro, **keywords: _PyTask(coro, loop=loop, **keywords),
    }
    return kinds[request.param]


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


# Running


def test_a_task_runs_in_the_next_turn(loop, make_task):
    seen: list[str] = []

    async def body():
        seen.append("ran")
        return "result"

    task = make_task(body())
    assert seen == []
    assert not task.done()
    spin(loop)
    assert seen == ["ran"]
    assert task.result() == "result"


def test_tasks_start_in_the_order_they_were_made(loop, make_task):
    seen: list[int] = []

    async def body(number):
        seen.append(number)

    tasks = [make_task(body(number)) for number in range(100)]
    spin(loop)
    assert seen == list(range(100))
    assert all(task.done() for task in tasks)


def test_sleep_zero_is_one_turn(loop, make_task):
    steps: list[int] = []

    async def body():
        for number in range(5):
            steps.append(number)
            await asyncio.sleep(0)

    task = make_task(body())
    for count in range(1, 6):
        spin(loop)
        assert len(steps) == count
        assert not task.done()
    spin(loop)
    assert task.done()


def test_two_tasks_take_turns(loop, make_task):
    seen: list[str] = []

    async def body(name):
        for _ in range(3):
            seen.append(name)
            await asyncio.sleep(0)

    async def main():
        await asyncio.gather(make_task(body("a")), make_task(body("b")))

    loop.run_until_complete(main())
    assert seen == ["a", "b"] * 3


def test_awaiting_a_task_gives_its_result_or_exception(loop, make_task):
    async def good():
        await asyncio.sleep(0)
        return 42

    async def bad():
        await asyncio.sleep(0)
        raise ZeroDivisionError("boom")

    async def main():
        assert await make_task(good()) == 42
        with pytest.raises(ZeroDivisionError, match="boom"):
            await make_task(bad())

    loop.run_until_complete(main())


def test_a_chain_of_tasks(loop, make_task):
    async def link(depth):
        return 1 + await make_task(link(depth - 1)) if depth else 0

    assert loop.run_until_complete(make_task(link(100))) == 100


def test_generator_based_coroutines_run(loop, make_task):
    @types.coroutine
    def old_style():
        value = yield from asyncio.sleep(0, "slept").__await__()
        yield
        return value

    async def body():
        return await old_style()

    assert loop.run_until_complete(make_task(body())) == "slept"
    bare = old_style()
    if asyncio.iscoroutine(bare):  # until 3.11
        assert loop.run_until_complete(make_task(bare)) == "slept"
    else:
        with pytest.raises(TypeError, match="a coroutine was expected, got <generator"):
            make_task(bare)
        bare.close()


def test_a_coroutine_that_is_not_one_is_refused(loop, make_task):
    for wrong in (42, print, None, [], loop.create_future()):
        with pytest.raises(TypeError, match="a coroutine was expected, got "):
            make_task(wrong)


def test_a_coroutine_object_of_another_kind_runs(loop, make_task):
    """collections.abc.Coroutine is enough: nothing asks for the built-in type."""
    from collections.abc import Coroutine

    class Steps(Coroutine):
        left = 3

        def send(self, value):
            self.left -= 1
            if not self.left:
                raise StopIteration("done")

        def throw(self, *args):
            raise args[0]

        def close(self):
            pass

        def __await__(self):
            return self

    assert loop.run_until_complete(make_task(Steps())) == "done"


def test_results_that_stop_iteration_could_mistake(loop, make_task):
    async def body(value):
        await asyncio.sleep(0)
        return value

    for value in ((1, 2), (), None, StopIteration(3), ZeroDivisionError()):
        assert loop.run_until_complete(make_task(body(value))) is value


def test_stop_iteration_raised_in_a_task_becomes_a_runtime_error(loop, make_task):
    async def body():
        raise StopIteration(5)

    with pytest.raises(RuntimeError, match="coroutine raised StopIteration"):
        loop.run_until_complete(make_task(body()))


@pytest.mark.parametrize("kind", [SystemExit, KeyboardInterrupt])
def test_exit_requests_leave_the_loop_through_the_task(loop, make_task, kind):
    """The task ends with the exception, its waiter wakes, and run_forever raises it."""

    async def leave():
        await asyncio.sleep(0)
        raise kind("leaving")

    seen: list[type[BaseException]] = []

    async def wait():
        try:
            await task
        except BaseException as exc:
            seen.append(type(exc))

    task = make_task(leave())
    waiter = make_task(wait())
    with pytest.raises(kind, match="leaving"):
        loop.run_forever()
    assert task.done()
    assert isinstance(task.exception(), kind)
    loop.run_until_complete(waiter)
    assert seen == [kind]


def test_generator_exit_is_an_ordinary_failure_of_a_task(loop, make_task):
    async def body():
        raise GeneratorExit

    task = make_task(body())
    with pytest.raises(GeneratorExit):
        loop.run_until_complete(task)


# What tasks may yield


def outcomes(loop, make: Callable[[], Any]) -> list[str]:
    """How the loop's own task and asyncio's end on the same coroutine, addresses left out."""
    texts = []
    for make_task in (loop.create_task, functools.partial(asyncio.Task, loop=loop)):
        task = make_task(make(), name="T")
        try:
            loop.run_until_complete(task)
        except BaseException as exc:
            texts.append(re.sub(r"0x[0-9a-f]+", "0x", f"{type(exc).__name__}: {exc}"))
        else:
            texts.append("no failure")
    return texts


@pytest.mark.parametrize("value", [42, "text", 1.5, [], object, print])
def test_a_bad_yield_is_told_as_asyncio_tells_it(loop, value):
    async def body():
        await bare_yield(value)

    own, stock = outcomes(loop, body)
    assert own == stock
    assert own.startswith("RuntimeError: Task got bad yield: ")


def test_a_task_survives_its_bad_yield(loop, make_task):
    async def body():
        with pytest.raises(RuntimeError, match="Task got bad yield: 42"):
            await bare_yield(42)
        await asyncio.sleep(0)
        return "survived"

    assert loop.run_until_complete(make_task(body())) == "survived"


def test_yielding_a_generator_is_told(loop):
    def generator():
        yield

    async def body():
        await bare_yield(generator())

    own, stock = outcomes(loop, body)
    assert own == stock
    assert "yield was used instead of yield from for generator in task <Task" in own


@pytest.mark.parametrize("kind", ["own", "stock", "python"])
def test_yielding_a_future_without_awaiting_is_told(loop, kind):
    make_future = {
        "own": loop.create_future,
        "stock": lambda: asyncio.Future(loop=loop),
        "python": lambda: _PyFuture(loop=loop),
    }[kind]

    async def body():
        await bare_yield(make_future())

    own, stock = outcomes(loop, body)
    assert own == stock
    assert "yield was used instead of yield from in task <Task" in own


@pytest.mark.parametrize("kind", ["own", "stock"])
def test_a_future_of_another_loop_is_refused(loop, loop_factory, kind):
    other = loop_factory()
    try:

        async def body():
            await (other.create_future() if kind == "own" else asyncio.Future(loop=other))

        own, stock = outcomes(loop, body)
    finally:
        other.close()
    assert own == stock
    assert " attached to a different loop" in own


def test_a_task_cannot_await_itself(loop, make_task):
    async def body():
        await task

    task = make_task(body())
    with pytest.raises(RuntimeError, match="Task cannot await on itself: <Task"):
        loop.run_until_complete(task)


def test_yielding_nothing_means_the_next_turn(loop, make_task):
    async def body():
        assert await bare_yield() is None
        await BlindAwait(None)
        return "done"

    task = make_task(body())
    spin(loop, 2)
    assert not task.done()
    spin(loop)
    assert task.result() == "done"


def test_an_awaitable_that_acts_as_a_future(loop, make_task):
    """Anything with _asyncio_future_blocking and add_done_callback can be awaited."""

    class Duck:
        _asyncio_future_blocking = False

        def __init__(self):
            self.callbacks = []

        def get_loop(self):
            return loop

        def add_done_callback(self, callback, *, context=None):
            self.callbacks.append((callback, context))

        def cancel(self, msg=None):
            return False

        def result(self):
            return "quack"

        def __await__(self):
            self._asyncio_future_blocking = True
            yield self
            return self.result()

    duck = Duck()

    async def body():
        return await duck

    task = make_task(body())
    spin(loop)
    [(callback, context)] = duck.callbacks
    loop.call_soon(callback, duck, context=context)
    assert loop.run_until_complete(task) == "quack"


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


# Contexts


def test_a_task_runs_in_a_copy_of_its_makers_context(loop, make_task):
    async def body():
        first = var.get()
        var.set("inside")
        await asyncio.sleep(0)
        return first, var.get()

    async def main():
        var.set("outside")
        assert await make_task(body()) == ("outside", "inside")
        assert var.get() == "outside"

    loop.run_until_complete(main())
    assert var.get() == "unset"


def test_a_given_context_is_used_itself(loop, make_task):
    context = contextvars.copy_context()
    context.run(var.set, "given")

    async def body():
        assert var.get() == "given"
        var.set("kept")
        await asyncio.sleep(0)

    loop.run_until_complete(make_task(body(), context=context))
    assert context[var] == "kept"


def test_two_tasks_may_share_a_context(loop, make_task):
    context = contextvars.copy_context()

    async def sender():
        var.set("sent")
        await asyncio.sleep(0)

    async def receiver():
        return var.get()

    async def main():
        first, second = (make_task(body(), context=context) for body in (sender, receiver))
        await first
        return await second

    assert loop.run_until_complete(main()) == "sent"


# Done callbacks


def test_done_callbacks_get_the_task(loop, make_task):
    seen: list[Any] = []

    async def body():
        return 1

    task = make_task(body())
    task.add_done_callback(seen.append)
    removed = seen.append
    task.add_done_callback(removed)
    assert task.remove_done_callback(removed) == 2
    task.add_done_callback(seen.append)
    loop.run_until_complete(task)
    spin(loop)
    assert seen == [task]


def test_a_task_cannot_be_finished_from_outside(loop, make_task):
    async def body():
        await asyncio.sleep(3600)

    task = make_task(body())
    with pytest.raises(RuntimeError, match="Task does not support set_result operation"):
        task.set_result(1)
    with pytest.raises(RuntimeError, match="Task does not support set_exception operation"):
        task.set_exception(ZeroDivisionError())
    task.cancel()
    spin(loop, 2)


def test_a_task_made_inside_a_done_callback(loop, make_task):
    made: list[Any] = []

    async def body(value):
        return value

    task = make_task(body(1))
    task.add_done_callback(lambda _: made.append(make_task(body(2))))
    spin(loop, 2)
    assert loop.run_until_complete(made[0]) == 2


def test_many_turns_of_a_task_that_yields_in_a_loop(loop, make_task):
    async def main():
        task = make_task(turns(1000))
        await task

    loop.run_until_complete(main())
