"""Futures made by a loop: states, callbacks, awaiting.

Here: loop.create_future() and how it meets asyncio's own Future classes.
Not here: kinds, looks and reports (test_future_looks.py), tasks (test_tasks.py).
Runs in the main thread.
Invariant: one body for both loops; stock asyncio passes every test.
"""

from __future__ import annotations

import asyncio
import contextvars
import traceback
from asyncio.futures import _PyFuture
from typing import Any

import pytest
from tests.loopback import collect_reports, spin

var: contextvars.ContextVar[str] = contextvars.ContextVar("var", default="unset")

KINDS = {
    "own": lambda loop: loop.create_future(),
    "stock": lambda loop: asyncio.Future(loop=loop),
    "python": lambda loop: _PyFuture(loop=loop),
}


@pytest.fixture(params=KINDS)
def future(request, loop):
    """A pending future of the loop: its own, asyncio's compiled one, asyncio's Python one."""
    return KINDS[request.param](loop)


# States


def test_a_fresh_future_is_pending(loop):
    future = loop.create_future()
    assert not future.done()
    assert not future.cancelled()
    assert future.get_loop() is loop
    assert future._state == "PENDING"
    with pytest.raises(asyncio.InvalidStateError, match=r"Result is not set\."):
        future.result()
    with pytest.raises(asyncio.InvalidStateError, match=r"Exception is not set\."):
        future.exception()


def test_a_result(loop):
    future = loop.create_future()
    assert future.set_result(42) is None
    assert future.done()
    assert not future.cancelled()
    assert future.result() == 42
    assert future.exception() is None
    assert future._state == "FINISHED"
    assert future.cancel() is False


def test_an_exception(loop):
    future = loop.create_future()
    exc = ZeroDivisionError("boom")
    future.set_exception(exc)
    assert future.done()
    assert future.exception() is exc
    for _ in range(2):
        with pytest.raises(ZeroDivisionError) as info:
            future.result()
        assert info.value is exc
    assert future.cancel() is False


def test_an_exception_class_is_called(loop):
    future = loop.create_future()
    future.set_exception(ZeroDivisionError)
    assert type(future.exception()) is ZeroDivisionError


@pytest.mark.parametrize("wrong", [42, "text", object, int])
def test_only_exceptions_can_be_set_as_exceptions(loop, wrong):
    future = loop.create_future()
    with pytest.raises(TypeError):
        future.set_exception(wrong)
    assert not future.done()


def test_stop_iteration_cannot_be_set(loop, on_rulip):
    future, stock = loop.create_future(), asyncio.Future(loop=loop)
    outcomes: list[Any] = []
    for each in (future, stock):
        try:
            each.set_exception(StopIteration(5))
        except TypeError as exc:
            outcomes.append((TypeError, str(exc)))
        else:
            exc = each.exception()
            outcomes.append((type(exc), str(exc), type(exc.__cause__), type(exc.__context__)))
    # Refused until 3.12.1, translated later; rulip translates on all of 3.12.
    translated = outcomes[0][0] is RuntimeError and outcomes[0][2] is StopIteration
    assert outcomes[0] == outcomes[1] or (on_rulip and translated)


def test_a_traceback_grows_no_more_than_asyncios(loop):
    def lengths(future):
        try:
            raise ZeroDivisionError
        except ZeroDivisionError as exc:
            future.set_exception(exc)
        for _ in range(5):
            try:
                future.result()
            except ZeroDivisionError as exc:
                yield len(traceback.extract_tb(exc.__traceback__))

    own = list(lengths(loop.create_future()))
    assert max(own) <= max(lengths(asyncio.Future(loop=loop)))
    assert own[0] == 2, "the first time it shows where it was raised"


def test_cancelling(loop):
    future = loop.create_future()
    assert future.cancel() is True
    assert future.cancelled()
    assert future.done()
    assert future._state == "CANCELLED"
    with pytest.raises(asyncio.CancelledError):
        future.result()
    with pytest.raises(asyncio.CancelledError):
        future.exception()
    assert future.cancel() is False


def test_the_cancel_message_is_kept(loop):
    future = loop.create_future()
    future.cancel("because")
    with pytest.raises(asyncio.CancelledError) as info:
        future.result()
    assert info.value.args == ("because",)
    with pytest.raises(asyncio.CancelledError) as info:
        future.exception()
    by_name = loop.create_future()
    by_name.cancel(msg="named")
    with pytest.raises(asyncio.CancelledError) as info:
        by_name.result()
    assert info.value.args == ("named",)
    unsaid = loop.create_future()
    unsaid.cancel()
    with pytest.raises(asyncio.CancelledError) as info:
        unsaid.result()
    assert info.value.args == ()


@pytest.mark.parametrize("how", ["result", "exception", "cancel"])
def test_a_done_future_cannot_be_set_again(loop, how):
    future = loop.create_future()
    if how == "result":
        future.set_result(1)
    elif how == "exception":
        future.set_exception(ZeroDivisionError())
        future.exception()
    else:
        future.cancel()
    with pytest.raises(asyncio.InvalidStateError):
        future.set_result(2)
    with pytest.raises(asyncio.InvalidStateError):
        future.set_exception(ValueError())


def test_a_future_of_a_closed_loop_can_still_be_read(loop):
    future = loop.create_future()
    future.set_result(1)
    loop.close()
    assert future.result() == 1


# Callbacks


def test_callbacks_run_in_order_in_a_later_turn(loop):
    future = loop.create_future()
    seen: list[Any] = []
    future.add_done_callback(lambda f: seen.append(("first", f)))
    future.add_done_callback(lambda f: seen.append(("second", f)))
    future.set_result(None)
    assert seen == []
    spin(loop)
    assert seen == [("first", future), ("second", future)]


def test_a_callback_added_to_a_done_future_runs_in_the_next_turn(loop):
    future = loop.create_future()
    future.set_result(None)
    seen: list[Any] = []
    assert future.add_done_callback(seen.append) is None
    assert seen == []
    spin(loop)
    assert seen == [future]


def test_callbacks_are_removed_by_equality_all_at_once(loop):
    future = loop.create_future()
    seen: list[Any] = []
    for _ in range(3):
        future.add_done_callback(seen.append)
    future.add_done_callback(lambda _: seen.append("kept"))
    assert future.remove_done_callback(seen.append) == 3
    assert future.remove_done_callback(seen.append) == 0
    future.set_result(None)
    spin(loop)
    assert seen == ["kept"]


@pytest.mark.parametrize("count", [1, 2, 5])
def test_removing_each_of_several_callbacks(loop, count):
    for gone in range(count):
        future = loop.create_future()
        seen: list[int] = []
        note = seen.append
        callbacks = [lambda _, note=note, number=n: note(number) for n in range(count)]
        for callback in callbacks:
            future.add_done_callback(callback)
        assert future.remove_done_callback(callbacks[gone]) == 1
        future.cancel()
        spin(loop)
        assert seen == [number for number in range(count) if number != gone]


def test_removing_survives_comparisons_that_misbehave(loop):
    """An __eq__ that removes other callbacks meanwhile, or raises: no crash, no lost callback."""
    future = loop.create_future()
    seen: list[str] = []
    tricks = [lambda: future.remove_done_callback(plain)]

    class Evil:
        def __eq__(self, other):
            while tricks:
                tricks.pop()()
            return False

        def __hash__(self):
            return 1

        def __call__(self, _):
            seen.append("evil")

    class Broken(Evil):
        def __eq__(self, other):
            raise ZeroDivisionError

        __hash__ = Evil.__hash__

    def plain(_):
        seen.append("plain")

    future.add_done_callback(Evil())
    future.add_done_callback(plain)
    future.add_done_callback(plain)
    future.remove_done_callback(Evil())
    future.add_done_callback(Broken())
    with pytest.raises(ZeroDivisionError):
        future.remove_done_callback(Broken())
    future.set_result(None)
    spin(loop)
    assert seen.count("evil") == 2


def test_callbacks_after_the_result_cannot_be_removed_any_more(loop):
    future = loop.create_future()
    seen: list[Any] = []
    future.add_done_callback(seen.append)
    future.set_result(None)
    assert future.remove_done_callback(seen.append) == 0
    spin(loop)
    assert seen == [future]


def test_a_callback_that_raises_is_reported_and_the_others_run(loop):
    reports = collect_reports(loop)
    future = loop.create_future()
    seen: list[Any] = []

    def fail(_):
        raise ZeroDivisionError

    future.add_done_callback(fail)
    future.add_done_callback(seen.append)
    future.set_result(None)
    spin(loop)
    assert seen == [future]
    assert [type(report["exception"]) for report in reports] == [ZeroDivisionError]


def test_callbacks_run_in_the_context_they_were_added_in(loop):
    future = loop.create_future()
    seen: list[str] = []
    context = contextvars.copy_context()
    context.run(var.set, "given")

    def add():
        var.set("current")
        future.add_done_callback(lambda _: seen.append(var.get()))

    contextvars.copy_context().run(add)
    future.add_done_callback(lambda _: seen.append(var.get()), context=context)
    future.add_done_callback(lambda _: seen.append(var.get()))
    future.set_result(None)
    spin(loop)
    assert seen == ["current", "given", "unset"]


def test_a_callback_may_add_callbacks(loop):
    future = loop.create_future()
    seen: list[str] = []
    future.add_done_callback(
        lambda f: (seen.append("outer"), f.add_done_callback(lambda _: seen.append("inner")))
    )
    future.set_result(None)
    spin(loop)
    assert seen == ["outer"]
    spin(loop)
    assert seen == ["outer", "inner"]


# Awaiting


def test_awaiting_a_future(loop, future):
    async def main():
        return await future

    loop.call_soon(future.set_result, "value")
    assert loop.run_until_complete(main()) == "value"


def test_awaiting_a_future_that_is_done_does_not_yield(loop):
    seen: list[str] = []

    async def main():
        future = loop.create_future()
        future.set_result("value")
        loop.call_soon(seen.append, "turn")
        value = await future
        assert seen == []
        return value

    assert loop.run_until_complete(main()) == "value"


def test_awaiting_an_exception(loop, future):
    async def main():
        with pytest.raises(ZeroDivisionError) as info:
            await future
        return info.value

    exc = ZeroDivisionError()
    loop.call_soon(future.set_exception, exc)
    assert loop.run_until_complete(main()) is exc


def test_awaiting_a_cancelled_future(loop, future):
    async def main():
        with pytest.raises(asyncio.CancelledError) as info:
            await future
        return info.value.args

    loop.call_soon(future.cancel, "because")
    assert loop.run_until_complete(main()) == ("because",)


def test_many_tasks_may_await_one_future(loop, future):
    async def waiter(number):
        return number + await future

    async def main():
        tasks = [asyncio.ensure_future(waiter(number)) for number in range(10)]
        loop.call_soon(future.set_result, 100)
        return await asyncio.gather(*tasks)

    assert loop.run_until_complete(main()) == [100 + number for number in range(10)]


def test_waiters_wake_in_the_order_they_came(loop, future):
    seen: list[int] = []

    async def waiter(number):
        await future
        seen.append(number)

    async def main():
        tasks = [asyncio.ensure_future(waiter(number)) for number in range(10)]
        await asyncio.sleep(0)
        future.set_result(None)
        await asyncio.gather(*tasks)

    loop.run_until_complete(main())
    assert seen == list(range(10))


def test_driving_the_iterator_by_hand(loop):
    future = loop.create_future()
    iterator = future.__await__()
    assert iter(iterator) is iterator
    assert next(iterator) is future
    assert future._asyncio_future_blocking is True
    future._asyncio_future_blocking = False
    future.set_result(42)
    with pytest.raises(StopIteration) as info:
        next(iterator)
    assert info.value.value == 42


@pytest.mark.parametrize("value", [(1, 2), (), None, StopIteration(3), ZeroDivisionError()])
def test_results_that_stop_iteration_could_mistake(loop, value):
    """A tuple or an exception instance as the result comes back unchanged."""
    future = loop.create_future()

    async def main():
        return await future

    loop.call_soon(future.set_result, value)
    result = loop.run_until_complete(main())
    assert result is value


def test_the_iterators_other_methods(loop):
    future = loop.create_future()
    iterator = future.__await__()
    assert iterator.send(None) is future
    with pytest.raises(ZeroDivisionError):
        iterator.throw(ZeroDivisionError())
    future._asyncio_future_blocking = False
    iterator = future.__await__()
    next(iterator)
    with pytest.raises(ZeroDivisionError):
        iterator.throw(ZeroDivisionError)
    future._asyncio_future_blocking = False
    iterator = future.__await__()
    next(iterator)
    assert iterator.close() is None
    with pytest.raises((RuntimeError, StopIteration)):
        next(iterator)
    future.cancel()


def test_an_await_without_the_loop_is_told(loop):
    future = loop.create_future()
    iterator = future.__await__()
    next(iterator)
    with pytest.raises(RuntimeError, match="await wasn't used with future"):
        next(iterator)
