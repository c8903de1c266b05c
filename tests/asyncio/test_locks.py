"""Lock, Event, Condition, Semaphore: who gets what, in which order, and what a cancellation does.

Not here: barriers, queues; that nothing is lost wherever a task is cancelled (test_no_loss.py).
Runs in the main thread, on asyncio, on rulip, and with the parts of both.
Invariant: a test waits for turns of the loop, never for time.
"""

from __future__ import annotations

import asyncio
import copy
import gc
import pickle
import re
import warnings
import weakref
from collections import deque
from typing import Any

import pytest
from tests.loopback import spin

pytestmark = pytest.mark.crossings


async def turns(count: int) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


def looks(primitive: object) -> str:
    """Its repr() without what differs: the address."""
    return re.sub(r" at 0x[0-9a-f]+", "", repr(primitive))


def test_a_lock_goes_round_in_the_order_it_was_asked_for(run: Any, aio: Any) -> None:
    trace: list[Any] = []

    async def take(lock: Any, number: int) -> None:
        trace.append((await lock.acquire(), number, looks(lock)))
        await asyncio.sleep(0)
        lock.release()

    async def main() -> None:
        lock = aio.Lock()
        await asyncio.gather(*(take(lock, number) for number in range(3)))
        trace.append(looks(lock))

    run(main())
    assert trace == [
        (True, 0, "<asyncio.locks.Lock object [locked]>"),
        (True, 1, "<asyncio.locks.Lock object [locked, waiters:1]>"),
        (True, 2, "<asyncio.locks.Lock object [locked]>"),
        "<asyncio.locks.Lock object [unlocked]>",
    ]


def test_who_comes_after_the_release_stands_behind(run: Any, aio: Any) -> None:
    trace: list[str] = []

    async def take(lock: Any, name: str) -> None:
        async with lock:
            trace.append(name)

    async def main() -> None:
        lock = aio.Lock()
        await lock.acquire()
        first = asyncio.create_task(take(lock, "first"))
        await asyncio.sleep(0)
        lock.release()
        assert not lock.locked()
        await take(lock, "late")
        await first

    run(main())
    assert trace == ["first", "late"]


def test_a_cancelled_waiter_hands_the_lock_on(run: Any, aio: Any) -> None:
    async def main() -> list[str]:
        lock = aio.Lock()
        await lock.acquire()
        tasks = [asyncio.create_task(lock.acquire()) for _ in range(3)]
        await asyncio.sleep(0)
        lock.release()
        assert tasks[0].cancel()
        _done, _ = await asyncio.wait(tasks[:2])
        assert lock.locked()
        lock.release()
        await tasks[2]
        return sorted("cancelled" if task.cancelled() else repr(task.result()) for task in tasks)

    assert run(main()) == ["True", "True", "cancelled"]


def test_a_lock_that_all_gave_up_on_is_free(run: Any, aio: Any) -> None:
    async def main() -> None:
        lock = aio.Lock()
        await lock.acquire()
        task = asyncio.create_task(lock.acquire())
        await asyncio.sleep(0)
        task.cancel()
        lock.release()
        assert await lock.acquire()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert looks(lock) == "<asyncio.locks.Lock object [locked]>"

    run(main())


def test_a_wait_that_cannot_begin_keeps_the_lock(aio: Any) -> None:
    """Without a loop, as in the finalizer of a task that was left."""
    conditions = []

    async def main() -> None:
        condition = aio.Condition()
        conditions.append(condition)
        async with condition:
            try:
                await condition.wait()
            finally:
                conditions.append(condition.locked())

    with pytest.raises(
        AttributeError, match=r"^'NoneType' object has no attribute 'create_future'"
    ):
        main().send(None)
    condition, locked = conditions
    assert locked
    assert not condition.locked()


def test_a_condition_whose_lock_cannot_be_released_does_not_wait(run: Any, aio: Any) -> None:
    """Its lock is somebody else's, and raises."""

    class Broken(aio.Lock):  # type: ignore[name-defined, misc]
        def release(self) -> None:
            raise ValueError("broken")

    async def main() -> None:
        condition = aio.Condition(Broken())
        await condition.acquire()
        with pytest.raises(ValueError, match=r"^broken$"):
            await condition.wait()
        condition.notify()
        await asyncio.sleep(0)
        assert condition.locked()

    run(main())


def test_releasing_what_is_free_is_an_error(run: Any, aio: Any) -> None:
    async def main() -> None:
        with pytest.raises(RuntimeError, match=r"^Lock is not acquired\.$"):
            aio.Lock().release()
        with pytest.raises(RuntimeError, match=r"^cannot notify on un-acquired lock$"):
            aio.Condition().notify()
        with pytest.raises(RuntimeError, match=r"^cannot wait on un-acquired lock$"):
            await aio.Condition().wait()
        semaphore = aio.BoundedSemaphore(1)
        with pytest.raises(ValueError, match=r"^BoundedSemaphore released too many times$"):
            semaphore.release()

    run(main())


@pytest.mark.parametrize("kind", ["Lock", "Event", "Condition", "Semaphore", "BoundedSemaphore"])
def test_arguments(aio: Any, kind: str) -> None:
    make = getattr(aio, kind)
    with pytest.raises(TypeError, match=r"__init__\(\) got an unexpected keyword argument 'loop'"):
        make(loop=None)
    if kind in ("Lock", "Event"):
        with pytest.raises(TypeError, match="takes 1 positional argument but 2 were given"):
            make(1)
    elif kind != "Condition":
        with pytest.raises(ValueError, match=r"^Semaphore initial value must be >= 0$"):
            make(-1)
        assert make(value=3)._value == 3


@pytest.mark.parametrize("kind", ["Lock", "Event", "Condition", "Semaphore", "BoundedSemaphore"])
def test_it_passes_for_asyncios_class(aio: Any, kind: str) -> None:
    made = getattr(aio, kind)()
    stock = getattr(asyncio, kind)
    assert isinstance(made, stock)
    assert issubclass(type(made), stock)
    assert type(made).__name__ == kind
    assert looks(copy.copy(made)) == looks(made)
    assert looks(pickle.loads(pickle.dumps(made))) == looks(made)
    made.anything = 1
    assert vars(made)["anything"] == 1


def test_a_primitive_belongs_to_the_loop_that_waited_for_it(run: Any, aio: Any) -> None:
    lock, event, semaphore = aio.Lock(), aio.Event(), aio.Semaphore(0)

    async def wait() -> list[str]:
        texts = []
        for waiting in (lock.acquire(), event.wait(), semaphore.acquire()):
            task = asyncio.create_task(waiting)
            await asyncio.sleep(0)
            task.cancel()
            try:
                await task
            except asyncio.CancelledError:
                texts.append("cancelled")
            except RuntimeError as error:
                texts.append(re.sub(r" at 0x[0-9a-f]+", "", str(error)))
        return texts

    run(lock.acquire())
    assert run(wait()) == ["cancelled"] * 3
    bound = "is bound to a different event loop"
    assert run(wait()) == [
        f"<asyncio.locks.Lock object [locked]> {bound}",
        f"<asyncio.locks.Event object [unset]> {bound}",
        f"<asyncio.locks.Semaphore object [locked]> {bound}",
    ]


def test_an_event_wakes_all_in_order_and_once(run: Any, aio: Any) -> None:
    trace: list[Any] = []

    async def wait(event: Any, number: int) -> None:
        trace.append((await event.wait(), number))

    async def main() -> None:
        event = aio.Event()
        tasks = [asyncio.create_task(wait(event, number)) for number in range(3)]
        await asyncio.sleep(0)
        tasks[1].cancel()
        trace.append(looks(event))
        event.set()
        event.set()
        event.clear()
        await asyncio.wait(tasks)
        trace.append(looks(event))

    run(main())
    assert trace == [
        "<asyncio.locks.Event object [unset, waiters:3]>",
        (True, 0),
        (True, 2),
        "<asyncio.locks.Event object [unset]>",
    ]


def test_a_condition_wakes_as_many_as_told(run: Any, aio: Any) -> None:
    trace: list[Any] = []

    async def wait(condition: Any, number: int) -> None:
        async with condition:
            trace.append((await condition.wait(), number))

    async def main() -> None:
        condition = aio.Condition()
        tasks = [asyncio.create_task(wait(condition, number)) for number in range(5)]
        await turns(2)
        for how_many in (1, 2, 0):
            async with condition:
                condition.notify(how_many)
                trace.append(looks(condition))
            await turns(3)
            trace.append(len(trace))
        async with condition:
            condition.notify_all()
        await asyncio.gather(*tasks)

    run(main())
    text = "<asyncio.locks.Condition object [locked, waiters:{}]>"
    assert trace == [
        *(text.format(5), (True, 0), 2),
        *(text.format(4), (True, 1), (True, 2), 6),
        *(text.format(2), 8),
        *((True, 3), (True, 4)),
    ]


def test_a_cancelled_wait_ends_with_the_lock(run: Any, aio: Any) -> None:
    async def wait(condition: Any) -> None:
        async with condition:
            try:
                await condition.wait()
            finally:
                assert condition.locked()

    async def main() -> None:
        condition = aio.Condition()
        task = asyncio.create_task(wait(condition))
        await asyncio.sleep(0)
        await condition.acquire()
        task.cancel("once")
        await turns(2)
        assert not task.done()
        task.cancel("twice")
        await turns(2)
        assert not task.done()
        condition.release()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert not condition.locked()

    run(main())


def test_wait_for_returns_what_the_predicate_said(run: Any, aio: Any) -> None:
    values: list[Any] = [None, 0, "", "at last"]

    async def main() -> Any:
        condition = aio.Condition()

        async def notify() -> None:
            for _ in range(3):
                async with condition:
                    condition.notify()
                await turns(2)

        async with condition:
            task = asyncio.create_task(notify())
            found = await condition.wait_for(lambda: values.pop(0))
        await task
        return found

    assert run(main()) == "at last"


def test_a_predicate_that_raises_leaves_the_lock_held(run: Any, aio: Any) -> None:
    async def main() -> None:
        condition = aio.Condition()
        async with condition:
            with pytest.raises(ZeroDivisionError):
                await condition.wait_for(lambda: 1 // 0)
            assert condition.locked()

    run(main())


def test_a_condition_takes_the_lock_it_is_given(run: Any, aio: Any) -> None:
    class Counting(asyncio.Lock):
        taken = 0

        async def acquire(self) -> Any:
            self.taken += 1
            return await super().acquire()

    async def main() -> None:
        for lock in (aio.Lock(), Counting()):
            condition = aio.Condition(lock)
            assert condition._lock is lock
            async with condition:
                assert lock.locked()
                assert condition.locked()
                task = asyncio.create_task(condition.wait())
                await asyncio.sleep(0)
                assert not lock.locked()
                async with lock:
                    condition.notify_all()
                assert await task
            assert not lock.locked()
            assert getattr(lock, "taken", 3) == 3

    run(main())


def test_permits_go_to_those_who_wait_longest(run: Any, aio: Any) -> None:
    trace: list[Any] = []

    async def take(semaphore: Any, number: int) -> None:
        async with semaphore:
            trace.append((number, semaphore._value, looks(semaphore)))
            await turns(number)

    async def main() -> None:
        semaphore = aio.Semaphore(2)
        await asyncio.gather(*(take(semaphore, number) for number in range(5)))
        trace.append(looks(semaphore))

    run(main())
    assert [entry[0] for entry in trace[:-1]] == [0, 1, 2, 3, 4]
    assert trace[-1] == "<asyncio.locks.Semaphore object [unlocked, value:2]>"


def test_a_woken_waiter_that_is_cancelled_gives_its_permit_back(run: Any, aio: Any) -> None:
    async def main() -> None:
        semaphore = aio.Semaphore(0)
        tasks = [asyncio.create_task(semaphore.acquire()) for _ in range(3)]
        await asyncio.sleep(0)
        semaphore.release()
        assert semaphore._value == 0
        tasks[0].cancel()
        await turns(3)
        assert [task.done() for task in tasks] == [True, True, False]
        assert tasks[0].cancelled()
        assert semaphore._value == 0
        semaphore.release()
        await tasks[2]

    run(main())


def test_numbers_that_are_no_small_ints(run: Any, aio: Any) -> None:
    async def main() -> None:
        endless = aio.Semaphore(float("inf"))
        for _ in range(3):
            await endless.acquire()
        assert endless._value == float("inf")
        assert looks(endless) == "<asyncio.locks.Semaphore object [unlocked, value:inf]>"
        big = aio.BoundedSemaphore(1 << 70)
        async with big:
            assert big._value == (1 << 70) - 1
        with pytest.raises(ValueError, match="too many times"):
            big.release()

    run(main())


def test_awaitables_are_coroutines(run: Any, aio: Any) -> None:
    async def main() -> None:
        lock, event = aio.Lock(), aio.Event()
        coroutine = lock.acquire()
        assert asyncio.iscoroutine(coroutine)
        assert coroutine.__qualname__ == "Lock.acquire"
        with pytest.raises(StopIteration) as stopped:
            coroutine.send(None)
        assert stopped.value.value is True
        with pytest.raises(RuntimeError, match=r"^cannot reuse already awaited coroutine$"):
            await coroutine
        waiting = event.wait()
        waiting.send(None)
        with pytest.raises(ZeroDivisionError):
            waiting.throw(ZeroDivisionError())
        assert not event._waiters
        waiting = event.wait()
        waiting.send(None)
        assert len(event._waiters) == 1
        waiting.close()
        assert not event._waiters
        event.wait().close()
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(event.wait(), 0.001)
        assert not event._waiters

    run(main())


def test_one_that_is_never_awaited_says_so(run: Any, aio: Any) -> None:
    async def main() -> list[str]:
        with warnings.catch_warnings(record=True) as seen:
            warnings.simplefilter("always")
            aio.Lock().acquire()
            aio.Event().wait()
            aio.Semaphore().acquire()
            aio.Condition().wait()
            gc.collect()
        assert {warning.category for warning in seen} == {RuntimeWarning}
        return [str(warning.message) for warning in seen]

    assert run(main()) == [
        f"coroutine '{name}' was never awaited"
        for name in ("Lock.acquire", "Event.wait", "Semaphore.acquire", "Condition.wait")
    ]


def test_subclasses_replace_what_asyncio_calls(run: Any, aio: Any) -> None:
    calls: list[str] = []

    class Lock(aio.Lock):
        async def acquire(self) -> Any:
            calls.append("acquire")
            return await super().acquire()

        def release(self) -> None:
            calls.append("release")
            super().release()

        def _wake_up_first(self) -> None:
            calls.append("wake")
            super()._wake_up_first()

    class Semaphore(aio.Semaphore):
        limit = 1

        def locked(self) -> bool:
            return super().locked() or self._value <= self.limit

    async def main() -> None:
        lock = Lock()
        async with lock:
            other = asyncio.create_task(lock.acquire())
            await asyncio.sleep(0)
        await other
        assert looks(lock).endswith("Lock object [locked]>")
        semaphore = Semaphore(2)
        await semaphore.acquire()
        waiting = asyncio.create_task(semaphore.acquire())
        await turns(2)
        assert not waiting.done()
        semaphore.release()
        await waiting

    run(main())
    assert calls == ["acquire", "acquire", "release", "wake"]


def test_methods_replaced_on_class_and_instance_are_called(
    run: Any, aio: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []

    async def main() -> None:
        lock = aio.Lock()
        async with lock:
            pass
        release = aio.Lock.release

        def noted(self: Any) -> None:
            calls.append("class")
            release(self)

        with monkeypatch.context() as patch:
            patch.setattr(aio.Lock, "release", noted)
            async with lock:
                pass
        async with lock:
            pass
        lock.release = lambda: (calls.append("instance"), release(lock))
        async with lock:
            pass

    run(main())
    assert calls == ["class", "instance"]


def test_the_lists_of_waiters_are_there_for_all(run: Any, aio: Any) -> None:
    async def main() -> None:
        semaphore = aio.Semaphore(0)
        assert semaphore._waiters is None
        task = asyncio.create_task(semaphore.acquire())
        await asyncio.sleep(0)
        assert isinstance(semaphore._waiters, deque)
        assert len(semaphore._waiters) == 1
        assert not semaphore._waiters[0].done()
        own = asyncio.get_running_loop().create_future()
        semaphore._waiters.appendleft(own)
        semaphore.release()
        assert own.done()
        assert not task.done()
        semaphore._waiters.remove(own)
        semaphore.release()
        await task
        assert not semaphore._waiters
        event = aio.Event()
        event._waiters.append(asyncio.get_running_loop().create_future())
        event.set()
        assert await event._waiters.pop() is True

    run(main())


@pytest.mark.loops("rulip")
def test_a_cycle_with_a_waiting_task_is_collected(
    loop: asyncio.AbstractEventLoop, aio: Any
) -> None:
    class Holder:
        lock: Any
        task: Any

    async def wait(holder: Holder) -> None:
        await holder.lock.acquire()

    reports: list[str] = []
    loop.set_exception_handler(lambda loop, context: reports.append(context["message"]))
    holder = Holder()
    holder.lock = aio.Lock()
    spin(loop, 1)
    loop.run_until_complete(holder.lock.acquire())
    holder.task = loop.create_task(wait(holder))
    spin(loop, 2)
    ref = weakref.ref(holder)
    del holder
    gc.collect()
    assert ref() is None
    assert reports == ["Task was destroyed but it is pending!"]
