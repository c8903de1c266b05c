"""What others see of a task: names, registries, looks, stacks, the reports when it dies badly.

Not here: what tasks do (test_tasks.py).
Runs in the main thread.
Invariant: one body for both loops; stock asyncio passes every test.
"""

from __future__ import annotations

import asyncio
import contextvars
import functools
import gc
import io
import re
import sys
import weakref
from typing import Any

import pytest
from tests.loopback import collect_reports, spin, thread, turns


async def nothing() -> None:
    pass


def without_addresses(text: str) -> str:
    return re.sub(r"0x[0-9a-f]+", "0x", text)


# Names


def test_names(loop):
    named = loop.create_task(nothing(), name="mine")
    assert named.get_name() == "mine"
    named.set_name("renamed")
    assert named.get_name() == "renamed"
    named.set_name(42)
    assert named.get_name() == "42"
    first, second = loop.create_task(nothing()), loop.create_task(nothing())
    numbers = [re.fullmatch(r"Task-(\d+)", task.get_name()) for task in (first, second)]
    assert all(numbers)
    assert int(numbers[0][1]) < int(numbers[1][1])
    assert loop.create_task(nothing(), name=7).get_name() == "7"
    spin(loop)


def test_own_and_stock_tasks_draw_names_from_one_row(loop):
    names = [
        make(nothing()).get_name()
        for make in (loop.create_task, functools.partial(asyncio.Task, loop=loop)) * 3
    ]
    assert len(set(names)) == 6
    spin(loop)


# Registries


def test_current_task(loop):
    seen: list[Any] = []

    async def body():
        seen.append(asyncio.current_task() is task)
        seen.append(asyncio.current_task(loop) is task)
        await asyncio.sleep(0)
        seen.append(asyncio.current_task() is task)

    task = loop.create_task(body())
    loop.call_soon(lambda: seen.append(asyncio.current_task()))
    spin(loop, 3)
    assert seen == [True, True, None, True]
    assert asyncio.current_task(loop) is None


def test_current_task_while_another_runs_to_completion(loop):
    async def inner():
        return asyncio.current_task()

    async def main():
        me = asyncio.current_task()
        task = loop.create_task(inner())
        assert await task is task
        assert asyncio.current_task() is me

    loop.run_until_complete(main())


def test_all_tasks(loop):
    async def body():
        await asyncio.sleep(3600)

    async def main():
        tasks = {loop.create_task(body()) for _ in range(10)}
        done = loop.create_task(nothing())
        await turns(2)
        assert asyncio.all_tasks() == tasks | {asyncio.current_task()}
        assert done.done()
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        assert asyncio.all_tasks() == {asyncio.current_task()}

    loop.run_until_complete(main())
    assert asyncio.all_tasks(loop) == set()


def test_all_tasks_before_the_first_step(loop):
    task = loop.create_task(nothing())
    assert asyncio.all_tasks(loop) == {task}
    spin(loop)
    assert asyncio.all_tasks(loop) == set()


def test_all_tasks_keeps_loops_apart(loop, loop_factory):
    other = loop_factory()
    mine, theirs = loop.create_task(nothing()), other.create_task(nothing())
    try:
        assert asyncio.all_tasks(loop) == {mine}
        assert asyncio.all_tasks(other) == {theirs}
        spin(other)
    finally:
        other.close()
    spin(loop)


def test_all_tasks_from_another_thread(loop):
    task = loop.create_task(nothing())
    seen: list[Any] = []
    with thread(lambda: seen.append(asyncio.all_tasks(loop))):
        pass
    assert seen == [{task}]
    spin(loop)


def test_a_task_nobody_holds_stays_alive_while_it_is_scheduled(loop):
    seen: list[str] = []

    async def body():
        for _ in range(3):
            gc.collect()
            await asyncio.sleep(0)
        seen.append("ended")

    loop.create_task(body())
    gc.collect()
    spin(loop, 4)
    assert seen == ["ended"]


# Kinds


def test_a_task_is_seen_as_asyncios(loop):
    task = loop.create_task(nothing())
    assert isinstance(task, asyncio.Task)
    assert isinstance(task, asyncio.Future)
    assert asyncio.isfuture(task)
    assert not asyncio.iscoroutine(task)
    assert asyncio.ensure_future(task) is task
    assert weakref.ref(task)() is task
    assert {task: 1}[task] == 1
    assert task.get_loop() is loop
    spin(loop)


def test_get_coro_and_context(loop):
    coroutine = nothing()
    context = contextvars.copy_context()
    task = loop.create_task(coroutine, context=context)
    assert task.get_coro() is coroutine
    if sys.version_info >= (3, 12):
        assert task.get_context() is context
        assert isinstance(loop.create_task(nothing()).get_context(), contextvars.Context)
    spin(loop)


def test_attributes_that_libraries_read(loop):
    loop.set_debug(False)
    seen: list[Any] = []

    async def body():
        seen.append(task._fut_waiter)
        await future

    future = loop.create_future()
    coroutine = body()
    task = loop.create_task(coroutine)
    assert task._coro is coroutine
    assert task._must_cancel is False
    assert task._state == "PENDING"
    assert task._loop is loop
    assert task._log_destroy_pending is True
    assert task._fut_waiter is None
    spin(loop)
    assert task._fut_waiter is future
    task.cancel()
    assert future.cancelled()
    assert task._must_cancel is False
    spin(loop)
    assert seen == [None]
    assert task._fut_waiter is None
    idle = loop.create_task(nothing())
    idle.cancel()
    assert idle._must_cancel is True
    spin(loop)


# Looks


def lives(make_task: Any, loop: asyncio.AbstractEventLoop) -> list[str]:
    """How a task looks at the stations of its life."""
    texts: list[str] = []

    def look(task: asyncio.Task[Any]) -> None:
        texts.append(without_addresses(repr(task)))

    async def body(failing):
        look(asyncio.current_task())
        await future
        if failing:
            raise ZeroDivisionError("boom")
        return "x" * 200

    for end in ("result", "exception", "cancel", "early cancel"):
        future = loop.create_future()
        task = make_task(body(end == "exception"), name="T")
        look(task)
        task.add_done_callback(print)
        look(task)
        if end == "early cancel":
            task.cancel()
            look(task)
        spin(loop)
        look(task)
        task.remove_done_callback(print)
        if end == "cancel":
            task.cancel()
            look(task)
        elif end != "early cancel":
            future.set_result(None)
            look(task)
        spin(loop, 2)
        look(task)
        if end == "exception":
            task.exception()
    return texts


def test_repr_follows_a_tasks_life(loop):
    loop.set_debug(False)
    own = lives(loop.create_task, loop)
    stock = lives(functools.partial(asyncio.Task, loop=loop), loop)
    assert own == stock
    assert own[0].startswith("<Task pending name='T' coro=<lives.<locals>.body() running at ")


def test_repr_in_debug_mode_tells_where_the_task_was_made(loop):
    loop.set_debug(True)
    task = loop.create_task(nothing())
    names = [frame.name for frame in task._source_traceback]
    assert "test_repr_in_debug_mode_tells_where_the_task_was_made" in names[-2:]
    assert " created at " in repr(task)
    spin(loop)


def test_the_stack_of_a_task(loop):
    async def inner():
        await asyncio.sleep(3600)

    async def body():
        await inner()

    task = loop.create_task(body())
    [frame] = task.get_stack()
    assert frame.f_code.co_name == "body"
    spin(loop)
    [frame] = task.get_stack()
    assert frame.f_code.co_name == "body"
    out = io.StringIO()
    task.print_stack(file=out)
    assert out.getvalue().startswith(f"Stack for <Task pending name='{task.get_name()}'")
    assert "await inner()" in out.getvalue()
    task.cancel()
    spin(loop, 2)
    assert task.get_stack() == []
    out = io.StringIO()
    task.print_stack(file=out)
    assert out.getvalue() == f"No stack for {task!r}\n"


def test_the_stack_of_a_failed_task_is_its_traceback(loop):
    def deep():
        raise ZeroDivisionError("boom")

    async def body():
        deep()

    task = loop.create_task(body())
    spin(loop)
    assert [frame.f_code.co_name for frame in task.get_stack()][-2:] == ["body", "deep"]
    assert len(task.get_stack(limit=1)) == 1
    out = io.StringIO()
    task.print_stack(file=out)
    assert out.getvalue().startswith(f"Traceback for {task!r} (most recent call last):")
    assert out.getvalue().endswith("ZeroDivisionError: boom\n")
    task.exception()


# Reports


def test_a_task_destroyed_while_pending_is_reported(loop):
    loop.set_debug(False)
    reports = collect_reports(loop)

    async def body():
        await loop.create_future()

    task = loop.create_task(body())
    text = task.get_name()
    spin(loop)
    del task
    gc.collect()
    [report] = reports
    assert list(report) == ["message", "task"]
    assert report["message"] == "Task was destroyed but it is pending!"
    assert report["task"].get_name() == text
    assert "exception" not in report
    assert "source_traceback" not in report
    report["task"]._log_destroy_pending = False
    reports.clear()
    del report
    gc.collect()


def test_debug_mode_adds_where_the_destroyed_task_was_made(loop):
    loop.set_debug(True)
    reports = collect_reports(loop)

    async def body():
        await loop.create_future()

    loop.create_task(body())
    spin(loop)
    gc.collect()
    [report] = reports
    names = [frame.name for frame in report["source_traceback"]]
    assert "test_debug_mode_adds_where_the_destroyed_task_was_made" in names
    report["task"]._log_destroy_pending = False
    reports.clear()
    del report
    gc.collect()


def test_a_task_can_be_told_to_die_quietly(loop):
    reports = collect_reports(loop)

    async def body():
        await loop.create_future()

    task = loop.create_task(body())
    spin(loop)
    task._log_destroy_pending = False
    del task
    gc.collect()
    assert reports == []


def test_a_task_scheduled_on_a_loop_that_closes_is_reported(loop):
    reports = collect_reports(loop)
    coroutine = nothing()
    task = loop.create_task(coroutine)
    loop.close()
    del task
    gc.collect()
    coroutine.close()
    assert [report["message"] for report in reports] == ["Task was destroyed but it is pending!"]
    reports.clear()


def test_an_exception_nobody_saw_is_reported_when_the_task_dies(loop):
    reports = collect_reports(loop)

    async def body():
        raise ZeroDivisionError("boom")

    task = loop.create_task(body())
    spin(loop)
    assert reports == []
    name = task.get_name()
    del task
    gc.collect()
    [report] = reports
    assert list(report) == ["message", "exception", "future"]
    assert report["message"] == "Task exception was never retrieved"
    assert str(report["exception"]) == "boom"
    assert report["future"].get_name() == name


def test_an_exception_that_a_waiter_saw_is_not_reported(loop):
    reports = collect_reports(loop)

    async def body():
        raise ZeroDivisionError("boom")

    async def main():
        with pytest.raises(ZeroDivisionError):
            await loop.create_task(body())
        results = await asyncio.gather(loop.create_task(body()), return_exceptions=True)
        assert [type(result) for result in results] == [ZeroDivisionError]

    loop.run_until_complete(main())
    gc.collect()
    assert reports == []


def test_the_coroutine_of_a_dying_task_is_closed(loop):
    collect_reports(loop)
    seen: list[str] = []

    async def body():
        try:
            await loop.create_future()
        finally:
            seen.append("closed")

    task = loop.create_task(body())
    spin(loop)
    task._log_destroy_pending = False
    del task
    gc.collect()
    assert seen == ["closed"]


# Eager start


eager = pytest.mark.skipif(sys.version_info < (3, 12), reason="eager tasks came in 3.12")


@eager
def test_an_eager_task_that_never_blocks_ends_at_once(loop):
    loop.set_task_factory(asyncio.eager_task_factory)

    async def body():
        return asyncio.current_task()

    async def main():
        me = asyncio.current_task()
        task = loop.create_task(body(), name="eager")
        assert task.done()
        assert task.get_name() == "eager"
        assert task.result() is task
        assert asyncio.current_task() is me
        assert await task is task
        return "ended"

    assert loop.run_until_complete(main()) == "ended"


@eager
def test_an_eager_task_that_blocks_goes_on_later(loop):
    loop.set_task_factory(asyncio.eager_task_factory)
    seen: list[str] = []

    async def body():
        seen.append("first step")
        await asyncio.sleep(0)
        seen.append("second step")
        return "result"

    async def main():
        task = loop.create_task(body())
        assert seen == ["first step"]
        assert not task.done()
        assert task in asyncio.all_tasks()
        return await task

    assert loop.run_until_complete(main()) == "result"


@eager
def test_an_eager_tasks_failure_waits_in_the_task(loop):
    loop.set_task_factory(asyncio.eager_task_factory)

    async def body():
        raise ZeroDivisionError

    async def main():
        task = loop.create_task(body())
        assert task.done()
        assert isinstance(task.exception(), ZeroDivisionError)

    loop.run_until_complete(main())


@eager
def test_an_eager_factory_for_a_task_class_of_ones_own(loop):
    class Mine(asyncio.Task):
        pass

    loop.set_task_factory(asyncio.create_eager_task_factory(Mine))

    async def main():
        task = loop.create_task(nothing())
        assert type(task) is Mine
        assert task.done()

    loop.run_until_complete(main())


@eager
def test_an_eager_task_runs_in_the_context_it_is_given(loop):
    var: contextvars.ContextVar[str] = contextvars.ContextVar("var", default="unset")
    loop.set_task_factory(asyncio.eager_task_factory)

    async def body(value):
        var.set(value)

    async def main():
        context = contextvars.copy_context()
        loop.create_task(body("copied"))
        assert var.get() == "unset"
        loop.create_task(body("given"), context=context)
        assert context[var] == "given"

    loop.run_until_complete(main())


@pytest.mark.skipif(sys.version_info < (3, 14), reason="create_task(eager_start=) came in 3.14")
def test_eager_start_as_a_keyword_of_create_task(loop):
    seen: list[str] = []

    async def body(text):
        seen.append(text)

    async def main():
        loop.create_task(body("eager"), eager_start=True)
        assert seen == ["eager"]
        loop.create_task(body("lazy"), eager_start=False)
        assert seen == ["eager"]
        await turns(1)
        assert seen == ["eager", "lazy"]

    loop.run_until_complete(main())


# Factories


def test_a_task_factory_makes_the_tasks(loop):
    made: list[Any] = []

    class Mine(asyncio.Task):
        pass

    def factory(loop, coro, **keywords):
        made.append(keywords)
        keywords.pop("eager_start", None)
        return Mine(coro, loop=loop, **keywords)

    assert loop.get_task_factory() is None
    loop.set_task_factory(factory)
    assert loop.get_task_factory() is factory
    context = contextvars.copy_context()
    plain = loop.create_task(nothing())
    named = loop.create_task(nothing(), name="named", context=context)
    assert type(plain) is type(named) is Mine
    assert named.get_name() == "named"
    assert made[1]["context"] is context
    spin(loop)
    loop.set_task_factory(None)
    assert loop.get_task_factory() is None
    assert type(loop.create_task(nothing())) is not Mine
    spin(loop)


def test_a_task_factory_must_be_callable(loop):
    with pytest.raises(TypeError, match="task factory must be a callable or None"):
        loop.set_task_factory(42)


def test_asyncio_create_task_uses_the_loop(loop):
    made: list[Any] = []

    def factory(loop, coro, **keywords):
        made.append(coro)
        return asyncio.Task(coro, loop=loop, **keywords)

    async def main():
        loop.set_task_factory(factory)
        await asyncio.create_task(nothing())
        await asyncio.gather(nothing(), nothing())

    loop.run_until_complete(main())
    assert len(made) == 3


def test_create_task_of_the_loops_own_kind(loop):
    kind = type(loop.create_task(nothing()))

    async def main():
        assert type(asyncio.current_task()) is kind
        assert type(asyncio.ensure_future(nothing())) is kind

    loop.run_until_complete(main())


@pytest.mark.parametrize("how", ["sleep", "event", "queue", "future", "read"])
def test_what_a_waiting_task_awaits_passes_for_a_future(run, aio, how):
    """Frameworks look there: who was cancelled while he waits must not be sent anything."""

    async def main():
        loop = asyncio.get_running_loop()
        wait = {
            "sleep": lambda: aio.sleep(60),
            "event": lambda: aio.Event().wait(),
            "queue": lambda: aio.Queue().get(),
            "read": lambda: aio.StreamReader(loop=loop).readline(),
            "future": lambda: loop.create_future(),
        }[how]

        async def waiting():
            await wait()

        task = asyncio.ensure_future(waiting())
        await asyncio.sleep(0)
        awaited = task._fut_waiter
        assert isinstance(awaited, aio.Future)
        assert (awaited.done(), awaited.cancelled()) == (False, False)
        task.cancel()
        assert task._fut_waiter is awaited
        assert (awaited.done(), awaited.cancelled()) == (True, True)
        with pytest.raises(asyncio.CancelledError):
            await task

    run(main())
