"""Tasks: running, cancelling, awaiting all kinds of things, what they refuse.

Here: the tasks a loop makes, and asyncio's own two Task classes on the same loop.
Not here: cancelling (test_task_cancelling.py), names, registries, looks and reports
(test_task_looks.py), wait, gather, timeouts and groups (test_waiting.py).
Runs in the main thread.
Invariant: one body for both loops and for all task types; stock asyncio passes every test.
"""

from __future__ import annotations

import asyncio
import contextvars
import functools
import re
import sys
import types
from asyncio.futures import _PyFuture
from collections.abc import Callable
from typing import Any

import pytest
from tests.loopback import collect_reports, spin, turns

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


@pytest.mark.skipif(sys.version_info < (3, 12), reason="eager tasks came in 3.12")
def test_an_eager_tasks_error_is_not_tied_to_what_its_maker_handles(loop):
    """What is thrown in a turn later came after nothing."""
    contexts = []

    async def odd():
        try:
            await bare_yield(1)
        except RuntimeError as error:
            contexts.append(error.__context__)

    async def main():
        kind = type(asyncio.current_task())
        try:
            raise ZeroDivisionError
        except ZeroDivisionError:
            await kind(odd(), loop=loop, eager_start=True)

    loop.run_until_complete(main())
    assert contexts == [None]


def test_create_task_names_the_keyword_it_refuses(loop):
    refused = ["unknown"] if sys.version_info >= (3, 13, 3) else ["unknown", "eager_start"]
    for factory in (None, lambda loop, coro: asyncio.Task(coro, loop=loop)):
        loop.set_task_factory(factory)
        for name in refused:
            coro = asyncio.sleep(0)
            with pytest.raises(TypeError, match=f"unexpected keyword argument '{name}'"):
                loop.create_task(coro, **{name: False})
            coro.close()


def test_debug_mode_refuses_what_another_thread_schedules(loop):
    reports = collect_reports(loop)  # asyncio's refused task complains when it dies

    async def main():
        future = loop.create_future()
        future.add_done_callback(lambda _: None)
        coro = asyncio.sleep(0)
        refused = []

        def use():
            for schedule in (
                lambda: loop.call_soon(print),
                lambda: loop.create_task(coro),
                lambda: asyncio.Task(coro, loop=loop),
                future.cancel,
            ):
                try:
                    schedule()
                except RuntimeError as exc:
                    refused.append(str(exc))

        await loop.run_in_executor(None, use)
        coro.close()
        return refused

    loop.set_debug(True)
    refused = loop.run_until_complete(main())
    loop.run_until_complete(loop.shutdown_default_executor())
    assert len(refused) == 4
    assert all(text.startswith("Non-thread-safe operation") for text in refused)
    assert all("destroyed" in report["message"] for report in reports)
