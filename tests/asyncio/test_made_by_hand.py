"""Handles, futures and tasks that a program makes by calling their classes, or derives from them.

Here: asyncio's classes and rulip's, each on both loops: every pair must behave alike. Not here:
what loops make by themselves (test_handles.py, test_futures.py, test_tasks.py).
Runs in the main thread.
Invariant: one body for both loops and both sets of classes; stock asyncio passes every test.
"""

from __future__ import annotations

import asyncio
import contextvars
import gc
import sys
import types
import weakref
from typing import Any

import pytest
from tests.loopback import collect_reports, spin

import rulip


@pytest.fixture(params=[asyncio, rulip], ids=["stock-classes", "native-classes"])
def classes(request: pytest.FixtureRequest) -> types.ModuleType:
    """Where Handle, TimerHandle, Future and Task come from."""
    module: types.ModuleType = request.param
    return module


def callback(*args: Any) -> None:
    pass


# Handles


def test_a_handle_runs_as_often_as_it_is_told(loop, classes):
    seen: list[tuple[Any, ...]] = []
    args = (1, 2, 3)
    handle = classes.Handle(lambda *args: seen.append(args), args, loop)
    assert handle._args is args
    assert handle._loop is loop
    assert not handle.cancelled()
    handle._run()
    handle._run()
    assert seen == [args, args]
    handle.cancel()
    assert handle.cancelled()
    assert handle._callback is None
    assert handle._args is None


def test_a_handle_takes_its_arguments_by_name(loop, classes):
    context = contextvars.copy_context()
    handle = classes.Handle(callback=callback, args=(), loop=loop, context=context)
    assert handle._context is context
    timer = classes.TimerHandle(when=1.5, callback=callback, args=(), loop=loop, context=context)
    assert timer.when() == 1.5
    assert timer._context is context
    with pytest.raises(TypeError):
        classes.Handle(callback, ())
    with pytest.raises(TypeError):
        classes.TimerHandle(1, callback, (), loop, None, None)


def test_a_handle_runs_in_its_context(loop, classes):
    variable = contextvars.ContextVar("variable", default="outside")
    seen: list[str] = []
    context = contextvars.copy_context()
    context.run(variable.set, "given")
    classes.Handle(lambda: seen.append(variable.get()), (), loop, context)._run()
    variable.set("current")
    classes.Handle(lambda: seen.append(variable.get()), (), loop)._run()
    assert seen == ["given", "current"]


def test_what_a_handle_raises_is_reported(loop, classes):
    reports = collect_reports(loop)
    error = ZeroDivisionError("by hand")

    def fail() -> None:
        raise error

    handle = classes.Handle(fail, (), loop)
    handle._run()
    (report,) = reports
    assert report["exception"] is error
    assert report["handle"] is handle
    assert report["message"].startswith("Exception in callback ")
    assert "fail" in report["message"]
    stopping = classes.Handle(sys.exit, (3,), loop)
    with pytest.raises(SystemExit):
        stopping._run()


def test_the_text_of_handles(loop, classes):
    handle = classes.Handle(callback, (1,), loop)
    assert repr(handle).startswith("<Handle callback(1) at ") or "callback" in repr(handle)
    timer = classes.TimerHandle(123, callback, (), loop)
    assert repr(timer).startswith("<TimerHandle when=123 ")
    timer.cancel()
    assert repr(timer) == "<TimerHandle cancelled when=123>"
    loop.set_debug(True)
    debugged = classes.Handle(callback, (), loop)
    assert "created at " in repr(debugged)
    assert isinstance(debugged._source_traceback, list)
    before = repr(debugged)
    debugged.cancel()
    assert repr(debugged).startswith("<Handle cancelled ") or repr(debugged) == before


def test_timers_compare_and_hash_by_their_deadline(loop, classes):
    one = classes.TimerHandle(1.0, callback, (), loop)
    same = classes.TimerHandle(1.0, callback, (), loop)
    two = classes.TimerHandle(2.0, callback, (), loop)
    assert one < two <= two
    assert two > one >= one
    assert one <= same
    assert one >= same
    assert one == same
    assert one != two
    assert one != 1.0
    assert one.__lt__(1.0) is NotImplemented
    assert hash(one) == hash(same) == hash(1.0)
    assert sorted([two, one]) == [one, two]
    same.cancel()
    assert one != same


def test_a_timer_keeps_its_deadline_as_it_was_given(loop, classes):
    assert repr(classes.TimerHandle(5, callback, (), loop).when()) == "5"
    assert repr(classes.TimerHandle(5.0, callback, (), loop).when()) == "5.0"
    timer = loop.call_at(int(loop.time()) + 1000, callback)
    assert type(timer.when()) is int
    timer.cancel()


def test_handles_can_be_derived_from(loop, classes):
    class Named(classes.Handle):  # type: ignore[misc, name-defined]
        def __init__(self, name: str, *args: Any) -> None:
            super().__init__(*args)
            self.name = name

        def cancel(self) -> None:
            self.name = "cancelled"
            super().cancel()

    seen: list[int] = []
    handle = Named("own", seen.append, (1,), loop)
    assert type(handle) is Named
    assert handle.__class__ is Named
    assert isinstance(handle, classes.Handle)
    handle._run()
    handle.cancel()
    assert (handle.name, seen, handle.cancelled()) == ("cancelled", [1], True)
    assert repr(handle) == "<Named cancelled>"


def test_handles_are_collected(loop, classes):
    class Owner:
        pass

    owner: Any = Owner()
    owner.handle = classes.Handle(callback, (owner,), loop)
    reference = weakref.ref(owner)
    handle = weakref.ref(owner.handle)
    del owner
    gc.collect()
    assert reference() is None
    assert handle() is None


# Futures and tasks


def test_futures_and_tasks_run_on_each_loop(loop, classes):
    async def double(future: Any) -> int:
        return 2 * await future

    async def main() -> list[int]:
        future = classes.Future(loop=loop)
        task = classes.Task(double(future), loop=loop, name="by hand")
        assert task.get_name() == "by hand"
        assert asyncio.isfuture(future)
        assert isinstance(task, asyncio.Task)
        assert task in asyncio.all_tasks()
        loop.call_soon(future.set_result, 21)
        return [await task, await asyncio.wait_for(task, 1), *await asyncio.gather(task, future)]

    assert loop.run_until_complete(main()) == [42, 42, 42, 21]


def test_what_subclasses_of_futures_override_is_called(loop, classes):
    calls: list[str] = []

    class Own(classes.Future):  # type: ignore[misc, name-defined]
        def add_done_callback(self, fn: Any, *, context: Any = None) -> None:
            calls.append("add_done_callback")
            super().add_done_callback(fn, context=context)

        def cancel(self, msg: Any = None) -> bool:
            calls.append("cancel")
            return bool(super().cancel(msg))

        def result(self) -> Any:
            calls.append("result")
            return super().result()

    async def wait(future: Any) -> Any:
        return await future

    async def main() -> Any:
        future = Own(loop=loop)
        assert isinstance(future, Own)
        future.extra = "attribute"
        task = loop.create_task(wait(future))
        await asyncio.sleep(0)
        future.set_result(1)
        assert await task == 1
        cancelled = loop.create_task(wait(Own(loop=loop)))
        await asyncio.sleep(0)
        cancelled.cancel()
        with pytest.raises(asyncio.CancelledError):
            await cancelled

    loop.run_until_complete(main())
    assert calls[0] == "add_done_callback"
    assert calls.count("cancel") == 1
    assert "result" in calls


def test_tasks_can_be_derived_from(loop, classes):
    class Own(classes.Task):  # type: ignore[misc, name-defined]
        cancels = 0

        def __init__(self, coro: Any, *, owner: str, **kwargs: Any) -> None:
            super().__init__(coro, **kwargs)
            self.owner = owner

        def cancel(self, msg: Any = None) -> bool:
            self.cancels += 1
            return bool(super().cancel(msg))

    async def child() -> str:
        await asyncio.sleep(0)
        task: Any = asyncio.current_task()
        return str(task.owner)

    async def main() -> None:
        task = Own(child(), owner="me", loop=loop)
        assert type(task) is Own
        assert await task == "me"
        inner = Own(asyncio.sleep(60), owner="inner", loop=loop)

        async def wait_for_inner() -> None:
            await inner

        outer = loop.create_task(wait_for_inner())
        await asyncio.sleep(0)
        outer.cancel()
        with pytest.raises(asyncio.CancelledError):
            await outer
        assert inner.cancels == 1
        assert inner.cancelled()

    loop.run_until_complete(main())


def test_a_task_that_awaits_itself(loop, classes):
    class Own(classes.Task):  # type: ignore[misc, name-defined]
        pass

    async def main() -> None:
        for kind in (classes.Task, Own):

            async def await_it() -> None:
                await task  # noqa: B023

            task = kind(await_it(), loop=loop)
            with pytest.raises(RuntimeError, match="Task cannot await on itself"):
                await task

    loop.run_until_complete(main())


@pytest.mark.skipif(sys.version_info < (3, 12), reason="eager tasks came with 3.12")
def test_eager_tasks(loop, classes):
    variable = contextvars.ContextVar("variable", default="")
    seen: list[Any] = []

    async def child() -> str:
        seen.append((asyncio.current_task(), variable.get()))
        return "done"

    async def waiting() -> None:
        seen.append(asyncio.current_task())
        await asyncio.sleep(0)
        seen.append(asyncio.current_task())

    async def main() -> None:
        variable.set("main")
        me = asyncio.current_task()
        task = classes.Task(child(), loop=loop, eager_start=True)
        assert task.done()
        assert seen.pop() == (task, "main")
        assert asyncio.current_task() is me
        if classes is rulip:  # 3.12.1's own crashes when it is asked
            assert task.get_coro() is None
        other = classes.Task(waiting(), loop=loop, eager_start=True, name="other")
        assert not other.done()
        assert other in asyncio.all_tasks()
        assert seen == [other]
        await other
        assert seen == [other, other]
        assert asyncio.current_task() is me

    loop.run_until_complete(main())
    task = classes.Task(child(), loop=loop, eager_start=True)  # the loop does not run
    assert not task.done()
    assert loop.run_until_complete(task) == "done"


@pytest.mark.skipif(sys.version_info < (3, 12), reason="eager tasks came with 3.12")
def test_what_eager_tasks_wait_for_wakes_them(loop, classes):
    event: Any = rulip.Event() if isinstance(loop, rulip.Loop) else asyncio.Event()
    sleep = rulip.sleep if isinstance(loop, rulip.Loop) else asyncio.sleep

    async def waiting() -> str:
        await sleep(0.001)
        await event.wait()
        return "woken"

    async def main() -> None:
        first = classes.Task(waiting(), loop=loop, eager_start=True)
        second = classes.Task(event.wait(), loop=loop, eager_start=True)
        await asyncio.sleep(0.01)
        assert not first.done()
        assert not second.done()
        event.set()
        assert await first == "woken"
        assert await second is True

    loop.run_until_complete(asyncio.wait_for(main(), 30))


@pytest.mark.skipif(sys.version_info >= (3, 12), reason="3.12 brought it")
def test_there_are_no_eager_tasks_yet(loop, classes):
    coroutine = asyncio.sleep(0)
    with pytest.raises(TypeError):
        classes.Task(coroutine, loop=loop, eager_start=True)
    loop.run_until_complete(coroutine)


@pytest.mark.skipif(sys.version_info < (3, 12), reason="eager tasks came with 3.12")
@pytest.mark.parametrize("factory", [rulip, asyncio], ids=["native-factory", "stock-factory"])
def test_an_eager_task_factory(loop, factory):
    started: list[str] = []

    async def child(name: str) -> str:
        started.append(name)
        return name

    async def main() -> None:
        loop.set_task_factory(factory.eager_task_factory)
        task = loop.create_task(child("one"), name="named")
        assert started == ["one"]
        assert task.get_name() == "named"
        assert await task == "one"
        async with asyncio.TaskGroup() as group:
            group.create_task(child("two"))
            assert started == ["one", "two"]
        with pytest.raises(TypeError):
            loop.create_task(coroutine := child("three"), nmae="wrong")
        coroutine.close()
        loop.set_task_factory(None)
        later = loop.create_task(child("four"))
        assert started == ["one", "two"]
        await later

    loop.run_until_complete(main())
    assert loop.get_task_factory() is None


# What is replaced on a loop is called


def test_a_replaced_call_soon_is_called(loop, classes):
    calls: list[Any] = []
    stock = loop.call_soon

    def call_soon(callback: Any, *args: Any, context: Any = None) -> Any:
        calls.append(callback)
        return stock(callback, *args, context=context)

    async def child() -> None:
        await asyncio.sleep(0)

    future = classes.Future(loop=loop)
    seen: list[Any] = []
    loop.call_soon = call_soon
    try:
        future.add_done_callback(seen.append)
        future.set_result(1)
        assert calls == [seen.append]
        task = classes.Task(child(), loop=loop)
        assert len(calls) == 2
        loop.run_until_complete(task)
        assert seen == [future]
        assert len(calls) >= 4  # the task's first and second step, and run_until_complete()'s
    finally:
        del loop.call_soon
    calls.clear()
    loop.run_until_complete(classes.Task(child(), loop=loop))
    assert calls == []


def test_a_call_soon_that_raises_leaves_the_task_unstarted(loop, classes):
    reports = collect_reports(loop)

    def call_soon(*args: Any, **kwargs: Any) -> Any:
        raise ValueError("no")

    loop.call_soon = call_soon
    coroutine = asyncio.sleep(0)
    with pytest.raises(ValueError, match="no"):
        classes.Task(coroutine, loop=loop)
    gc.collect()
    del loop.call_soon
    assert [report["message"] for report in reports] == ["Task was destroyed but it is pending!"]
    loop.run_until_complete(coroutine)


def test_what_a_subclass_of_the_loop_overrides_is_called(loop_factory, classes):
    calls: list[str] = []
    plain = loop_factory()
    plain.close()

    class Own(type(plain)):  # type: ignore[misc]
        def call_soon(self, *args: Any, **kwargs: Any) -> Any:
            calls.append("call_soon")
            return super().call_soon(*args, **kwargs)

        def call_at(self, *args: Any, **kwargs: Any) -> Any:
            calls.append("call_at")
            return super().call_at(*args, **kwargs)

        def create_future(self) -> Any:
            calls.append("create_future")
            return super().create_future()

        def time(self) -> float:
            return float(super().time()) + 1000

    loop = Own()
    try:
        loop.run_until_complete(classes.Task(asyncio.sleep(0.001), loop=loop))
        assert set(calls) == {"call_soon", "call_at", "create_future"}
        calls.clear()
        timer = loop.call_later(1, callback)
        assert calls == ["call_at"]
        assert timer.when() > loop.time()
        timer.cancel()
        spin(loop, 1)
    finally:
        loop.close()
