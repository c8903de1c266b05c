"""What asyncio writes with `async def` is a coroutine function to whoever asks.

Not here: what these functions do. Runs in the main thread.
Invariant: one body for asyncio's names and rulip's; stock asyncio passes every test.
"""

from __future__ import annotations

import asyncio
import copy
import functools
import inspect
import pickle
import sys
import types
import weakref
from typing import Any
from unittest import mock

import pytest

FUNCTIONS = ["sleep", "wait", "wait_for", "to_thread", "open_connection", "start_server"]
METHODS = {
    "Lock": ["acquire"],
    "Event": ["wait"],
    "Condition": ["wait", "wait_for"],
    "Semaphore": ["acquire"],
    "BoundedSemaphore": ["acquire"],
    "Barrier": ["wait", "reset", "abort"],
    "Queue": ["put", "get", "join"],
    "PriorityQueue": ["put", "get", "join"],
    "StreamReader": ["read", "readline", "readexactly", "readuntil"],
    "StreamWriter": ["drain", "wait_closed"],
}
PLAIN = {"Queue": ["put_nowait", "qsize"], "Lock": ["release", "locked"], "StreamWriter": ["write"]}


def named(aio: types.ModuleType, table: dict[str, list[str]]) -> list[Any]:
    return [getattr(getattr(aio, kind), name) for kind, names in table.items() for name in names]


def test_functions(aio):
    for name in FUNCTIONS:
        function = getattr(aio, name)
        assert inspect.iscoroutinefunction(function), name
        assert inspect.signature(function).parameters.keys() == (
            inspect.signature(getattr(asyncio, name)).parameters.keys()
        )
        assert function.__name__ == function.__qualname__ == name
        assert callable(function)
        assert inspect.isroutine(function)


def test_methods_of_classes(aio):
    for method in named(aio, METHODS):
        assert inspect.iscoroutinefunction(method), method
        assert next(iter(inspect.signature(method).parameters)) == "self"
        assert inspect.iscoroutinefunction(functools.partial(method))
        assert weakref.ref(method)() is method
        assert copy.deepcopy(method) is method
    for method in named(aio, PLAIN):
        assert not inspect.iscoroutinefunction(method), method


def test_methods_of_objects(aio, run):
    async def main():
        queue = aio.Queue()
        lock = aio.Lock()
        condition = aio.Condition(lock)
        for bound in (queue.put, lock.acquire, condition.wait, aio.Event().wait):
            assert inspect.iscoroutinefunction(bound), bound
            assert inspect.ismethod(bound)
            assert bound.__name__ in repr(bound)
        assert queue.put == queue.put != aio.Queue().put
        assert queue.put.__self__ is queue
        assert queue.put.__func__ is aio.Queue.put
        assert list(inspect.signature(queue.put).parameters) == ["item"]
        # However it is called, it is the same method.
        await queue.put(1)
        await queue.put(item=2)
        await aio.Queue.put(queue, 3)
        put, get = queue.put, queue.get
        await put(4)
        assert [await get() for _ in range(4)] == [1, 2, 3, 4]
        for wrong in (
            lambda: queue.put(),
            lambda: queue.put(1, 2),
            lambda: queue.get(1),
            lambda: queue.get(one=1),
            lambda: aio.Queue.put(),
            lambda: aio.Queue.get(),
        ):
            with pytest.raises(TypeError):
                wrong()

    run(main())


def test_a_method_of_another_class(aio):
    with pytest.raises((TypeError, AttributeError)):
        aio.Queue.put(aio.Lock(), 1).send(None)


def test_in_a_class_they_bind_as_functions_do(aio, run):
    class Waiting:
        sleep = aio.sleep
        free = staticmethod(aio.sleep)

    async def main():
        with pytest.raises(TypeError):
            await Waiting().sleep()
        assert await Waiting().free(0, "slept") == "slept"
        assert inspect.iscoroutinefunction(Waiting().sleep)

    run(main())


def test_mocks_of_them_are_awaited(aio, run):
    async def main():
        with mock.patch.object(aio, "sleep") as sleep:
            assert isinstance(sleep, mock.AsyncMock)
            await aio.sleep(3)
        sleep.assert_awaited_once_with(3)
        with mock.patch.object(aio.Queue, "get", return_value=7):
            assert await aio.Queue().get() == 7
        queue = mock.create_autospec(aio.Queue, instance=True)
        await queue.put(1)
        queue.put.assert_awaited_once_with(1)
        queue.put_nowait(2)
        assert await aio.sleep(0, "again") == "again"

    run(main())


def test_they_are_pickled_by_name(aio, monkeypatch):
    monkeypatch.setattr(asyncio, "sleep", aio.sleep)
    monkeypatch.setattr(sys.modules["asyncio.tasks"], "sleep", aio.sleep)
    assert pickle.loads(pickle.dumps(aio.sleep)) is aio.sleep


def test_a_subclass_replaces_them(aio, run):
    class Noisy(aio.Queue):
        async def put(self, item):
            await super().put((item, "noisy"))

    async def main():
        queue = Noisy()
        await queue.put(1)
        assert inspect.iscoroutinefunction(queue.put)
        assert await queue.get() == (1, "noisy")

    run(main())
