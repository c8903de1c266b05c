"""TaskGroup: results, failures, cancellation from inside and outside, whose turn it is.

Not here: random programs (tests/rulip). Runs in the main thread.
Invariant: one body for asyncio and for rulip's own class; where Python's releases differ, the test
asks asyncio's class in the same run.
"""

from __future__ import annotations

import asyncio
import contextvars
import gc
import inspect
import weakref

import pytest
from tests.loopback import spin

import rulip

STOCK = asyncio.TaskGroup
HAS_CANCEL = hasattr(STOCK, "cancel")
var: contextvars.ContextVar[int] = contextvars.ContextVar("var", default=0)


class Custom(Exception):
    """Raised by children."""


async def value(result, turns=1):
    for _ in range(turns):
        await asyncio.sleep(0)
    return result


async def failure(turns=1, error=Custom):
    for _ in range(turns):
        await asyncio.sleep(0)
    raise error(turns)


async def forever():
    await asyncio.get_running_loop().create_future()


def kinds(group):
    return [type(error) for error in group.exceptions]


@pytest.mark.parametrize("count", [0, 1, 2, 100])
def test_all_end_well(run, aio, count):
    async def main():
        async with aio.TaskGroup() as group:
            tasks = [group.create_task(value(n, n % 4)) for n in range(count)]
        return [task.result() for task in tasks]

    assert run(main()) == list(range(count))


def test_children_that_end_before_the_block(run, aio):
    async def main():
        async with aio.TaskGroup() as group:
            task = group.create_task(value(1))
            await asyncio.sleep(0.001)
            assert task.done()
            assert len(group._tasks) == 0
            group.create_task(value(2))
        return task.result()

    assert run(main()) == 1


def test_children_of_children(run, aio):
    async def main():
        seen = []

        async def child(depth):
            seen.append(depth)
            if depth:
                group.create_task(child(depth - 1))

        async with aio.TaskGroup() as group:
            group.create_task(child(5))
        return seen

    assert run(main()) == [5, 4, 3, 2, 1, 0]


def test_a_failure_cancels_the_others_and_the_block(run, aio):
    async def main():
        with pytest.raises(ExceptionGroup) as caught:
            async with aio.TaskGroup() as group:
                other = group.create_task(forever())
                group.create_task(failure())
                await forever()
        assert other.cancelled()
        assert str(caught.value) == "unhandled errors in a TaskGroup (1 sub-exception)"
        assert caught.value.__cause__ is None
        assert caught.value.__suppress_context__
        assert isinstance(caught.value.__context__, asyncio.CancelledError)
        assert asyncio.current_task().cancelling() == 0
        return kinds(caught.value)

    assert run(main()) == [Custom]


@pytest.mark.loops("rulip")
@pytest.mark.crossings
@pytest.mark.parametrize("tasks", ["the loop's", "asyncio's", "both"])
def test_tasks_are_cancelled_in_the_order_they_came(run, aio, tasks):
    """Also when others have ended meanwhile. asyncio's come in the order of a set."""
    if aio.TaskGroup is STOCK:
        pytest.skip("asyncio's own group")

    async def main():
        order = []
        made = iter(range(100))

        def factory(loop, coro, **options):
            kind = asyncio.Task if next(made) % 2 or tasks == "asyncio's" else rulip.Task
            return kind(coro, loop=loop, **options)

        async def child(name):
            try:
                await asyncio.get_running_loop().create_future()
            finally:
                order.append(name)

        if tasks != "the loop's":
            asyncio.get_running_loop().set_task_factory(factory)
        with pytest.raises(ExceptionGroup):
            async with aio.TaskGroup() as group:
                for name in range(4):
                    group.create_task(value(name, name))
                for name in range(8):
                    group.create_task(child(name))
                    await asyncio.sleep(0)
                group.create_task(failure())
        assert order == list(range(8))

    run(main())


def test_a_failure_while_leaving(run, aio):
    async def main():
        with pytest.raises(ExceptionGroup) as caught:
            async with aio.TaskGroup() as group:
                group.create_task(forever())
                group.create_task(failure(3))
                group.create_task(failure(1))
        return kinds(caught.value), asyncio.current_task().cancelling()

    def stock():
        async def main():
            try:
                async with STOCK() as group:
                    group.create_task(failure(1))
            except ExceptionGroup:
                return asyncio.current_task().cancelling()

        return run(main())

    assert run(main()) == ([Custom], stock())


def test_several_failures(run, aio):
    async def answers():
        try:
            await forever()
        except asyncio.CancelledError:
            raise KeyError from None

    async def main():
        with pytest.raises(ExceptionGroup) as caught:
            async with aio.TaskGroup() as group:
                group.create_task(answers())
                group.create_task(failure(1))
                group.create_task(answers())
                await asyncio.sleep(0)
                raise ValueError
        return kinds(caught.value)

    got = run(main())
    assert sorted(kind.__name__ for kind in got) == ["KeyError", "KeyError", "ValueError"]
    assert got[-1] is ValueError


def test_the_block_fails(run, aio):
    async def main():
        with pytest.raises(ExceptionGroup) as caught:
            async with aio.TaskGroup() as group:
                task = group.create_task(forever())
                raise Custom("block")
        assert task.cancelled()
        assert isinstance(caught.value.__context__, Custom)
        return kinds(caught.value), asyncio.current_task().cancelling()

    assert run(main()) == ([Custom], 0)


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("where", ["block", "child"])
def test_base_errors_are_raised_as_they_are(loop, aio, error, where):
    async def main():
        async with aio.TaskGroup() as group:
            group.create_task(failure(0, error) if where == "child" else forever())
            if where == "block":
                await asyncio.sleep(0)
                raise error("block")
            await forever()

    task = loop.create_task(main())
    with pytest.raises(error):
        loop.run_until_complete(task)
    while not task.done():  # the child's has left the loop: go on
        try:
            spin(loop)
        except error:
            pass
    with pytest.raises(error):
        task.result()


def test_cancelled_from_outside(run, aio):
    async def main():
        children = []

        async def parent(wait):
            async with aio.TaskGroup() as group:
                children.append(group.create_task(forever()))
                if wait:
                    await forever()

        for wait in (False, True):
            task = asyncio.create_task(parent(wait))
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            task.cancel("outside")
            with pytest.raises(asyncio.CancelledError) as caught:
                await task
            assert caught.value.args == ("outside",)
            assert task.cancelling() == 1
        return [child.cancelled() for child in children]

    assert run(main()) == [True, True]


def test_cancelled_again_and_again(run, aio):
    async def main():
        async def stubborn():
            for _ in range(2):
                try:
                    await forever()
                except asyncio.CancelledError:
                    pass
            return "gave in"

        async def parent():
            async with aio.TaskGroup() as group:
                children.append(group.create_task(stubborn()))

        children = []
        task = asyncio.create_task(parent())
        for number in range(2):
            await value(None, 3)
            task.cancel(number)
        await value(None, 3)
        assert not task.done()
        children[0].cancel()
        with pytest.raises(asyncio.CancelledError) as caught:
            await task
        return children[0].result(), caught.value.args, task.cancelling()

    assert run(main()) == ("gave in", (0,), 2)


def test_cancelled_and_failed(run, aio):
    """Cancelled from outside while the group fails: the count is what asyncio's is."""

    async def story(kind):
        async def answers():
            try:
                await forever()
            except asyncio.CancelledError:
                raise Custom from None

        async def parent():
            try:
                async with kind() as group:
                    group.create_task(answers())
                    group.create_task(failure(2))
            finally:
                notes.append(asyncio.current_task().cancelling())

        notes = []
        task = asyncio.create_task(parent())
        for turn in range(8):
            if turn == when:
                notes.append(task.cancel())
            await asyncio.sleep(0)
        try:
            await task
        except BaseException as error:
            notes.append((type(error), task.cancelling(), task.cancelled()))
        return notes

    async def main():
        nonlocal when
        for when in range(8):
            assert await story(aio.TaskGroup) == await story(STOCK), when

    when = 0
    run(main())


def test_a_child_that_is_cancelled_is_no_failure(run, aio):
    async def main():
        async with aio.TaskGroup() as group:
            task = group.create_task(forever())
            other = group.create_task(value(1, 3))
            await asyncio.sleep(0)
            task.cancel()
        return task.cancelled(), other.result()

    assert run(main()) == (True, 1)


def test_nested(run, aio):
    async def story(kind):
        with pytest.raises(ExceptionGroup) as caught:
            async with kind() as outer:
                outer.create_task(forever())
                async with kind() as inner:
                    inner.create_task(forever())
                    inner.create_task(failure(1))
        [group] = caught.value.exceptions
        return type(group), kinds(group), asyncio.current_task().cancelling()

    async def main():
        return await asyncio.create_task(story(aio.TaskGroup)), await story(STOCK)

    ours, stock = run(main())
    assert ours == stock
    assert ours[:2] == (ExceptionGroup, [Custom])


def test_the_outer_fails_while_the_inner_waits(run, aio):
    async def story(kind):
        notes = []
        try:
            async with kind() as outer:
                outer.create_task(failure(1))
                try:
                    async with kind() as inner:
                        inner.create_task(forever())
                except BaseException as error:
                    notes.append(type(error))
                    raise
        except BaseException as error:
            notes.append((type(error), kinds(error)))
        return notes, asyncio.current_task().cancelling()

    async def main():
        return await story(aio.TaskGroup), await story(STOCK)

    ours, stock = run(main())
    assert ours == stock


def test_joining_too_late(run, aio):
    async def main():
        group = aio.TaskGroup()
        texts = []
        for when in ("before", "finished", "aborting"):
            coroutine = value(1)
            try:
                if when == "finished":
                    async with group:
                        pass
                if when == "aborting":
                    group = aio.TaskGroup()
                    await group.__aenter__()
                    group._abort()
                    task = asyncio.create_task(value(1))
                    await task
                group.create_task(coroutine)
            except RuntimeError as error:
                texts.append(str(error))
            finally:
                closed = inspect.getcoroutinestate(coroutine) == inspect.CORO_CLOSED
                coroutine.close()
            texts.append(closed)
        await group.__aexit__(None, None, None)
        return texts

    got = run(main())
    assert got[::2] == [
        "TaskGroup <TaskGroup> has not been entered",
        "TaskGroup <TaskGroup entered> is finished",
        "TaskGroup <TaskGroup cancelling> is shutting down",
    ]
    closes = "close" in STOCK.create_task.__code__.co_names
    assert got[1::2] == [closes] * 3


def test_entering_wrongly(run, aio, loop):
    async def main():
        async with aio.TaskGroup() as group:
            with pytest.raises(RuntimeError, match="<TaskGroup entered> has already been entered"):
                await group.__aenter__()

    run(main())
    caught = []

    def callback():
        try:
            aio.TaskGroup().__aenter__().send(None)
        except RuntimeError as error:
            caught.append(str(error))

    loop.call_soon(callback)
    spin(loop)
    assert caught == ["TaskGroup <TaskGroup> cannot determine the parent task"]
    with pytest.raises(RuntimeError, match="no running event loop"):
        aio.TaskGroup().__aenter__().send(None)
    with pytest.raises(TypeError):
        aio.TaskGroup(1)
    with pytest.raises(TypeError):
        aio.TaskGroup(no=1)


def test_names_and_contexts(run, aio):
    async def main():
        context = contextvars.copy_context()
        context.run(var.set, 7)

        async def child():
            return var.get()

        async with aio.TaskGroup() as group:
            named = group.create_task(child(), name="named", context=context)
            plain = group.create_task(coro=child())
            with pytest.raises(TypeError):
                group.create_task()
            with pytest.raises(TypeError):
                group.create_task(1, 2)
            late = child()
            with pytest.raises(TypeError):
                group.create_task(late, no_such=1)
            late.close()
            with pytest.raises(TypeError):
                group.create_task(1)
        assert named.get_name() == "named"
        assert plain.get_name().startswith("Task-")
        return named.result(), plain.result()

    assert run(main()) == (7, 0)


def test_looks(run, aio):
    async def main():
        group = aio.TaskGroup()
        assert isinstance(group, STOCK)
        assert isinstance(group, aio.TaskGroup)
        assert repr(group) == "<TaskGroup>"
        assert group._errors == []
        assert group._tasks == set()
        assert (group._entered, group._exiting, group._aborting) == (False, False, False)
        assert group._loop is None
        assert group._parent_task is None
        assert group._base_error is None
        async with group:
            task = group.create_task(value(1))
            assert repr(group) == "<TaskGroup tasks=1 entered>"
            assert group._tasks == {task}
            assert group._parent_task is asyncio.current_task()
            assert group._loop is asyncio.get_running_loop()
            assert group._on_completed_fut is None
            assert not group._is_base_error(KeyError())
            assert group._is_base_error(SystemExit())
        group.note = 1
        assert weakref.ref(group)() is group
        with pytest.raises(ExceptionGroup):
            async with aio.TaskGroup() as group:
                group.create_task(forever())
                group.create_task(failure(0))
                try:
                    await forever()
                finally:
                    text = repr(group)
        return text

    assert run(main()) == "<TaskGroup tasks=1 errors=1 cancelling>"


def test_after_the_block(run, aio):
    async def look(kind):
        async with kind() as group:
            group.create_task(value(1))
        kept = [group._parent_task is None, group._errors is None, group._base_error is None]
        try:
            async with kind() as group:
                raise Custom
        except ExceptionGroup:
            kept += [group._parent_task is None, group._errors is None]
        return kept

    async def main():
        return await look(aio.TaskGroup), await look(STOCK)

    ours, stock = run(main())
    assert ours == stock


def test_a_group_of_another_task_factory(run, aio):
    async def main():
        loop = asyncio.get_running_loop()
        names = []

        def factory(loop, coro, **keywords):
            names.append(sorted(keywords))
            return asyncio.Task(coro, loop=loop, **keywords)

        loop.set_task_factory(factory)
        try:
            async with aio.TaskGroup() as group:
                tasks = [group.create_task(value(n, n), name=f"t{n}") for n in range(3)]
                assert group._tasks == set(tasks)
            with pytest.raises(ExceptionGroup):
                async with aio.TaskGroup() as group:
                    group.create_task(failure(2))
                    group.create_task(forever())
            stock = []
            names, stock = stock, names
            async with STOCK() as group:
                group.create_task(value(1), name="t1")
        finally:
            loop.set_task_factory(None)
        assert stock[0] == names[0]
        return [(task.result(), task.get_name()) for task in tasks]

    assert run(main()) == [(0, "t0"), (1, "t1"), (2, "t2")]


def test_eager_tasks(run, aio):
    if not hasattr(asyncio, "eager_task_factory"):
        return  # since 3.12

    async def story(kind):
        notes = []

        async def child(number):
            notes.append(number)
            return number

        try:
            async with kind() as group:
                tasks = [group.create_task(child(n)) for n in range(2)]
                notes.append([task.done() for task in tasks])
                group.create_task(value(1, 2))
                bad = group.create_task(failure(0))
                notes.append((bad.done(), group._aborting, repr(group)))
                await asyncio.sleep(0)
                notes.append("on")
                await asyncio.sleep(0)
                notes.append("further on")
        except ExceptionGroup as group:
            notes.append(kinds(group))
        return notes, asyncio.current_task().cancelling()

    async def main():
        loop = asyncio.get_running_loop()
        loop.set_task_factory(asyncio.eager_task_factory)
        try:
            return await story(aio.TaskGroup), await story(STOCK)
        finally:
            loop.set_task_factory(None)

    ours, stock = run(main())
    assert ours == stock


def test_an_eager_task_whose_child_fails_at_once_is_cancelled(run, aio):
    if not hasattr(asyncio, "eager_task_factory"):
        return  # since 3.12
    if "done" in STOCK.create_task.__code__.co_names and "cancel" not in (
        STOCK.create_task.__code__.co_names
    ):
        return  # up to 3.13.1 a failure is counted at once, and missed

    async def main():
        asyncio.get_running_loop().set_task_factory(asyncio.eager_task_factory)
        notes = []
        with pytest.raises(ExceptionGroup) as info:
            async with aio.TaskGroup() as group:

                async def parent():
                    group.create_task(failure(0))
                    try:
                        await asyncio.sleep(0)
                        await asyncio.sleep(0)
                    except asyncio.CancelledError:
                        notes.append("cancelled")
                        raise

                group.create_task(parent())
        return notes, kinds(info.value)

    assert run(main()) == (["cancelled"], [Custom])


def test_a_failed_group_leaves_no_cycles(run, aio):
    if not hasattr(STOCK, "_aexit"):
        return  # up to 3.13.0 they are left

    async def main():
        inner = aio.TaskGroup()

        async def fail():
            async with inner:
                raise Custom

        gc.collect()
        gc.disable()
        try:
            try:
                async with aio.TaskGroup() as outer:
                    task = weakref.ref(outer.create_task(fail()))
            except ExceptionGroup as group:
                [inner_group] = group.exceptions
                del inner_group
            return task()
        finally:
            gc.enable()

    assert run(main()) is None


def test_a_derived_class(run, aio):
    class Counting(aio.TaskGroup):
        def __init__(self, note):
            super().__init__()
            self.note = note

        async def __aenter__(self):
            self.note("enter")
            return await super().__aenter__()

        async def __aexit__(self, *exc):
            self.note("exit")
            return await super().__aexit__(*exc)

        def create_task(self, coro, **keywords):
            self.note("create")
            return super().create_task(coro, **keywords)

    class Watching(aio.TaskGroup):
        ended = 0

        def _on_task_done(self, task):
            self.ended += 1
            super()._on_task_done(task)

        def _abort(self):
            self.aborted = True
            super()._abort()

    async def main():
        notes = []
        async with Counting(notes.append) as group:
            group.create_task(value(1))
        with pytest.raises(ExceptionGroup):
            async with Watching() as watching:
                for turns in range(3):
                    watching.create_task(value(turns, turns))
                watching.create_task(failure(5))
        assert watching.aborted
        return notes, watching.ended, type(group).__name__

    assert run(main()) == (["enter", "create", "exit"], 4, "Counting")


def test_members_are_kept_and_let_go(run, aio):
    class Thing:
        pass

    async def make(turns):
        thing = Thing()
        things.append(weakref.ref(thing))
        await value(None, turns)
        return thing

    things = []

    async def main():
        async with aio.TaskGroup() as group:
            for turns in range(4):
                group.create_task(make(turns + 1))
            group.create_task(value(None, 12))
            await asyncio.sleep(0)
            gc.collect()
            assert len(group._tasks) == 5
            await value(None, 9)
            gc.collect()
            return [thing() for thing in things]

    assert run(main()) == [None] * 4


def test_a_parent_that_is_done(run, aio):
    """The group outlives the task that entered it: its failures are reported."""
    reported = []

    async def main():
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda loop, context: reported.append(context))
        group = aio.TaskGroup()

        async def parent():
            await group.__aenter__()
            group.create_task(failure(3))

        await asyncio.create_task(parent())
        await value(None, 8)

    run(main())
    [context] = reported
    assert type(context["exception"]) is Custom
    assert "has errored out but its parent task" in context["message"]
    assert context["message"].endswith("is already completed")


def test_exit_is_a_coroutine(run, aio):
    async def main():
        group = aio.TaskGroup()
        await group.__aenter__()
        with pytest.warns(
            RuntimeWarning, match=r"coroutine 'TaskGroup.__aexit__' was never awaited"
        ):
            group.__aexit__(None, None, None)
            gc.collect()
        leaving = group.__aexit__(None, None, None)
        assert asyncio.iscoroutine(leaving)
        leaving.close()
        with pytest.raises(RuntimeError, match="cannot reuse already awaited coroutine"):
            await leaving
        group.create_task(forever())
        leaving = group.__aexit__(None, None, None)
        future = leaving.send(None)
        assert asyncio.isfuture(future)
        assert group._on_completed_fut is future
        future._asyncio_future_blocking = False
        with pytest.raises(KeyError):
            leaving.throw(KeyError())
        group._abort()

    run(main())


def test_turns(loop, aio):
    """In which turn each thing happens, whoever ends first and however."""
    for ends in ("rrr", "rer", "rcr", "eee", "ccc", "err", "ec", "er", "ce", "r", ""):
        for wait in (0, 1, 2, 5):
            trace = turns_of(loop, aio.TaskGroup, ends, wait)
            assert trace == turns_of(loop, STOCK, ends, wait), (ends, wait)


def turns_of(loop, kind, ends, wait):
    trace = []
    futures = [loop.create_future() for _ in ends]
    turn = 0

    def note(*what):
        trace.append((turn, *what))

    async def child(number):
        note("begins", number)
        try:
            await futures[number]
        finally:
            note("ends", number)

    async def parent():
        try:
            async with kind() as group:
                tasks = [group.create_task(child(number)) for number in range(len(ends))]
                for task in tasks:
                    task.add_done_callback(lambda task: note("done", tasks.index(task)))
                await value(None, wait)
                note("leaves", len(group._tasks) > 0)
            note("left")
        except BaseException as error:
            note("raised", type(error), asyncio.current_task().cancelling())

    task = loop.create_task(parent())
    spin(loop, 2)
    for number, end in enumerate(ends):
        turn += 1
        if futures[number].done():
            continue
        if end == "r":
            futures[number].set_result(None)
        elif end == "e":
            futures[number].set_exception(Custom())
        else:
            futures[number].cancel()
        if number % 2:
            spin(loop)
    for _ in range(9):
        turn += 1
        spin(loop)
    assert task.done()
    for future in futures:
        if future.done() and not future.cancelled():
            future.exception()
    return trace


def test_cancelled_at_every_turn(loop, aio):
    for turn in range(10):
        ours = cancelled_at(loop, aio.TaskGroup, turn)
        assert ours == cancelled_at(loop, STOCK, turn), turn


def cancelled_at(loop, kind, when):
    notes = []

    async def main():
        try:
            async with kind() as group:
                group.create_task(value(1, 4))
                group.create_task(value(2, 2))
                await value(None, 2)
                async with kind() as inner:
                    inner.create_task(value(3, 3))
                    inner.create_task(failure(5))
        except BaseException as error:
            notes.append((turn, type(error), asyncio.current_task().cancelling()))
            if isinstance(error, asyncio.CancelledError):
                raise
        notes.append((turn, asyncio.current_task().cancelling()))

    task = loop.create_task(main())
    for turn in range(16):
        if turn == when:
            notes.append(task.cancel("k"))
        spin(loop)
    assert task.done()
    notes.append(task.cancelled())
    return notes


@pytest.mark.skipif(not HAS_CANCEL, reason="TaskGroup.cancel() came with 3.15")
def test_cancelling_the_group(run, aio):
    async def story(kind):
        notes = []
        async with kind() as group:
            task = group.create_task(forever())
            await asyncio.sleep(0)
            group.cancel()
            group.cancel()
            notes.append(task.cancelling())
            await forever()
        notes.append(task.cancelled())
        early = kind()
        early.cancel()
        async with early:
            notes.append("runs to its first await")
            await forever()
            notes.append("never")
        early.cancel()
        return notes, asyncio.current_task().cancelling()

    async def main():
        return await story(aio.TaskGroup), await story(STOCK)

    ours, stock = run(main())
    assert ours == stock == ([1, True, "runs to its first await"], 0)


def test_an_asynchronous_generator_that_is_closed(run, aio):
    async def story(kind):
        async def generate():
            async with kind() as group:
                group.create_task(forever())
                yield 1
                yield 2

        generator = generate()
        assert await anext(generator) == 1
        try:
            await generator.aclose()
        except BaseException as error:
            return type(error), kinds(error)
        return "closed"

    async def main():
        return await story(aio.TaskGroup), await story(STOCK)

    ours, stock = run(main())
    assert ours == stock


def test_a_task_of_another_kind_enters(run, aio):
    class Foreign(asyncio.Task):
        pass

    async def body():
        async with aio.TaskGroup() as group:
            task = group.create_task(value(1, 2))
        return task.result()

    async def fails():
        async with aio.TaskGroup() as group:
            group.create_task(failure(1))
            await forever()

    async def main():
        loop = asyncio.get_running_loop()
        assert await Foreign(body(), loop=loop) == 1
        with pytest.raises(ExceptionGroup):
            await Foreign(fails(), loop=loop)

    run(main())
