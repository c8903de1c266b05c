"""rulip.Future, rulip.Task and their kin used directly: made by hand, subclassed, mistreated.

Not here: what the loop's own futures and tasks do (tests/asyncio/).
Runs in the main thread; the mistreatment in a process of its own.
Invariant: they behave as asyncio's classes do, and no misuse ends in a crash or a panic.
"""

from __future__ import annotations

import asyncio
import contextvars
import gc
import pickle
import subprocess
import sys
import textwrap
import weakref
from typing import Any

import pytest
from tests.loopback import spin

import rulip

pytestmark = pytest.mark.loops("rulip")

FUTURES = {"own": rulip.Future, "stock": asyncio.Future}
TASKS = {"own": rulip.Task, "stock": asyncio.Task}


async def answer(value: Any = 42) -> Any:
    await asyncio.sleep(0)
    return value


@pytest.fixture(params=FUTURES)
def future_type(request):
    return FUTURES[request.param]


@pytest.fixture(params=TASKS)
def task_type(request):
    return TASKS[request.param]


# Made by hand


@pytest.mark.parametrize("task", [False, True])
def test_what_skipped_its_init_says_so(run, future_type, task_type, task):
    kind: Any = task_type if task else future_type
    text = r"Future object is not initialized\."

    class Blank(kind):
        def __init__(self) -> None:
            pass

    async def main():
        blank = Blank()
        with pytest.raises(RuntimeError, match=text):
            await blank
        for look in (repr, iter, lambda it: it.get_loop(), lambda it: it._state):
            with pytest.raises(RuntimeError, match=text):
                look(blank)
        for ask in (blank.result, blank.exception):
            with pytest.raises(asyncio.InvalidStateError, match=text):
                ask()
        assert not blank.done()
        assert not blank.cancelled()

    run(main())


def test_a_future_of_a_given_loop(loop, future_type):
    future = future_type(loop=loop)
    assert future.get_loop() is loop
    loop.call_soon(future.set_result, 1)
    assert loop.run_until_complete(future) == 1
    with pytest.raises(TypeError):
        future_type(loop)


def test_a_future_of_the_running_loop(loop, future_type):
    async def main():
        return future_type().get_loop() is loop

    assert loop.run_until_complete(main())


def test_a_task_of_a_given_loop(loop, task_type):
    context = contextvars.copy_context()
    task = task_type(answer(), loop=loop, name="mine", context=context)
    assert task.get_name() == "mine"
    assert task in asyncio.all_tasks(loop)
    assert loop.run_until_complete(task) == 42
    with pytest.raises(TypeError, match="a coroutine was expected, got 42"):
        task_type(42, loop=loop)


@pytest.mark.skipif(sys.version_info < (3, 12), reason="eager tasks came in 3.12")
def test_an_eager_task_made_by_hand(loop, task_type):
    async def body():
        return asyncio.current_task()

    async def blocking():
        await asyncio.sleep(0)
        return "later"

    async def main():
        task = task_type(body(), loop=loop, eager_start=True)
        assert task.done()
        assert task.result() is task
        task = task_type(blocking(), loop=loop, eager_start=True)
        assert not task.done()
        assert task in asyncio.all_tasks()
        return await task

    assert loop.run_until_complete(main()) == "later"


# Subclasses


def test_a_subclass_of_future(loop, future_type):
    calls: list[str] = []

    class Sub(future_type):
        def __init__(self, *, loop, label):
            super().__init__(loop=loop)
            self.label = label

        def set_result(self, result):
            calls.append("set_result")
            super().set_result(result)

        def cancel(self, msg=None):
            calls.append("cancel")
            return super().cancel(msg=msg)

    future = Sub(loop=loop, label="mine")
    assert future.label == "mine"
    assert asyncio.isfuture(future)

    async def wait():
        return await future

    loop.call_soon(loop.call_soon, future.set_result, "result")
    assert loop.run_until_complete(wait()) == "result"
    pending = Sub(loop=loop, label="other")

    async def wait_other():
        await pending

    task = loop.create_task(wait_other())
    spin(loop)
    task.cancel()
    spin(loop, 2)
    assert task.cancelled()
    assert calls == ["set_result", "cancel"]


def test_a_future_whose_result_is_computed(loop, future_type):
    """The value of an await is what result() says, also where a subclass overrides it."""

    class Sub(future_type):
        def result(self):
            return "overridden"

    future = Sub(loop=loop)

    async def wait():
        return await future

    loop.call_soon(loop.call_soon, future.set_result, "plain")
    task = loop.create_task(wait())
    stock = asyncio.Task(wait(), loop=loop)
    loop.run_until_complete(asyncio.wait([task, stock]))
    assert task.result() == stock.result()


def test_a_subclass_of_task_as_the_factory(loop, task_type):
    class Sub(task_type):
        def __init__(self, coro, **keywords):
            super().__init__(coro, **keywords)
            self.made = True

    loop.set_task_factory(lambda loop, coro, **keywords: Sub(coro, loop=loop, **keywords))

    async def main():
        task = asyncio.create_task(answer())
        assert type(task) is Sub
        assert task.made
        assert asyncio.current_task().made
        return await task

    assert loop.run_until_complete(main()) == 42


def test_subclasses_are_collected(loop, future_type, task_type):
    class Sub(future_type):
        pass

    class SubTask(task_type):
        pass

    future, task = Sub(loop=loop), SubTask(answer(), loop=loop)
    future.me, task.me = future, task
    spin(loop, 3)
    refs = weakref.ref(future), weakref.ref(task)
    del future, task
    gc.collect()
    assert [ref() for ref in refs] == [None, None]


# Mistreatment


def in_process(body: str) -> None:
    done = subprocess.run(
        [sys.executable, "-X", "faulthandler", "-c", textwrap.dedent(body) + "\nprint('passed')"],
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.splitlines()[-1:] == ["passed"], done.stdout[-2000:]


def test_things_whose_init_never_ran_or_ran_twice():
    in_process(
        """
        import asyncio, gc, rulip
        loop = rulip.new_event_loop()

        async def body():
            await asyncio.sleep(0)

        for kind in (rulip.Future, rulip.Task):
            for make in (kind.__new__, type("Sub", (kind,), {"__init__": lambda self: None})):
                thing = make(kind) if make is kind.__new__ else make()
                for name in ("result", "exception", "done", "cancelled", "cancel", "get_loop",
                             "__await__", "get_name", "get_coro", "get_stack", "uncancel",
                             "__repr__"):
                    try:
                        getattr(thing, name)()
                    except (RuntimeError, AttributeError, asyncio.InvalidStateError) as exc:
                        pass
                    except asyncio.CancelledError:
                        pass
                for name in ("add_done_callback", "remove_done_callback", "set_result"):
                    try:
                        getattr(thing, name)(print)
                    except (RuntimeError, AttributeError, asyncio.InvalidStateError):
                        pass
                del thing
                gc.collect()

        def begin_again(thing, *args):
            try:
                thing.__init__(*args, loop=loop)
            except RuntimeError as exc:  # from 3.15 on
                assert str(exc) == f"{type(thing).__name__} object is already initialized"

        future = rulip.Future(loop=loop)
        future.add_done_callback(print)
        begin_again(future)
        future.set_exception(ZeroDivisionError())
        begin_again(future)
        coroutines = [body() for _ in range(3)]
        task = rulip.Task(coroutines[0], loop=loop)
        for coroutine in coroutines[1:]:
            begin_again(task, coroutine)
        loop.stop()
        loop.run_forever()
        loop.stop()
        loop.run_forever()
        task._log_destroy_pending = False
        del task, future
        gc.collect()
        loop.close()
        """
    )


def test_odd_arguments_to_everything():
    """Every method and attribute of every native type with every kind of odd value."""
    in_process(
        """
        import asyncio, copy, gc, inspect, io, itertools, logging, pickle, sys, warnings, weakref
        import rulip
        from rulip import _rulip

        logging.disable(logging.CRITICAL)
        warnings.simplefilter("ignore")
        sys.unraisablehook = lambda unraisable: None
        out = sys.stdout
        sys.stdout = io.StringIO()
        loop = rulip.new_event_loop()
        odd = [None, 0, -1, 2**70, -(2**70), float("nan"), "x", b"x", (), {}, loop, print, object(),
               type, lambda *args: None]
        left_alone = {"__class__", "_run", "run_forever", "run_until_complete", "close",
                      "_shutdown", "__init_subclass__", "__subclasshook__", "__reduce__",
                      "__reduce_ex__"}
        bad = []

        def attempt(label, function, *args):
            try:
                result = function(*args)
                if inspect.iscoroutine(result):
                    result.close()
            except SystemError as exc:
                bad.append((label, args, repr(exc)))
            except BaseException as exc:
                if type(exc).__name__ == "PanicException":
                    bad.append((label, args, repr(exc)))

        def mistreat(thing, label):
            names = set(dir(thing)) - left_alone
            for name in sorted(names):
                try:
                    value = getattr(thing, name)
                except BaseException:
                    continue
                if (label, name) == ("TaskGroup", "create_task"):
                    continue  # closes what it refuses: here, the loop
                if callable(value):
                    attempt(f"{label}.{name}", value)
                    for one in odd:
                        attempt(f"{label}.{name}", value, one)
                    for two in itertools.product(odd[:8:2], odd[1::3]):
                        attempt(f"{label}.{name}", value, *two)
            for name in sorted(set(dir(type(thing))) - {"__class__"}):
                for one in (None, 1, "x"):
                    attempt(f"{label}.{name} =", setattr, thing, name, one)
                attempt(f"del {label}.{name}", delattr, thing, name)
            for function in (repr, str, hash, copy.copy, copy.deepcopy, pickle.dumps, weakref.ref,
                             iter, len, bool):
                attempt(label, function, thing)

        async def body():
            await asyncio.sleep(0)

        async def waits():
            return [
                rulip.gather(loop.create_future(), body()), rulip.shield(loop.create_future()),
                rulip.wait_for(loop.create_future(), 1), rulip.timeout(1), rulip.TaskGroup(),
                rulip.timeout(1).__aenter__(), rulip.TaskGroup().__aenter__(),
                rulip.TaskGroup().__aexit__(None, None, None),
            ]

        for name, kind in sorted(vars(_rulip).items()):
            if isinstance(kind, type):
                for make in (kind, lambda: kind.__new__(kind), lambda: kind(loop=loop)):
                    try:
                        thing = make()
                    except BaseException:
                        continue
                    mistreat(thing, name)
                    del thing
        for thing in (
            loop.create_task(body()), loop.create_future(), loop.call_soon(print),
            loop.call_later(1, print), loop.create_future().__await__(), rulip.sleep(0),
            rulip.sleep(1), *loop.run_until_complete(waits()), loop,
        ):
            mistreat(thing, type(thing).__name__)
        del thing
        gc.collect()
        sys.stdout = out
        for each in bad[:10]:
            print(each)
        assert not bad
        """
    )


@pytest.mark.parametrize(
    "name",
    [
        *("create_task", "gather", "sleep", "timeout"),
        pytest.param(
            "wait_for",
            marks=pytest.mark.skipif(sys.version_info < (3, 12), reason="asyncio's own until 3.12"),
        ),
    ],
)
def test_functions_say_where_they_are_from(name):
    function = getattr(rulip, name)
    assert (function.__module__, function.__qualname__) == ("rulip", name)
    assert pickle.loads(pickle.dumps(function)) is function
