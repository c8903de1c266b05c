"""`__aenter__` and `__aexit__` of native classes, bound by hand: used again, and nobody notices.

Not here: what entering and leaving does (tests/asyncio/).
Runs in the main thread. Invariant: what is bound holds its object, and only while it is held.
"""

from __future__ import annotations

import copy
import functools
import gc
import inspect
import pickle
import types
import weakref
from typing import Any

import pytest

import rulip

pytestmark = pytest.mark.loops("rulip")

CLASSES = ["Lock", "Semaphore", "BoundedSemaphore", "Condition", "TaskGroup"]


@pytest.fixture(params=CLASSES)
def kind(request: Any) -> Any:
    return getattr(rulip, request.param)


def test_they_look_like_methods_written_in_c(kind: Any) -> None:
    made = kind()
    for name in ("__aenter__", "__aexit__"):
        unbound, bound = getattr(kind, name), getattr(made, name)
        assert isinstance(unbound, types.MethodDescriptorType)
        assert isinstance(bound, types.BuiltinFunctionType)
        assert inspect.isroutine(unbound)
        assert inspect.isbuiltin(bound)
        assert unbound.__name__ == bound.__name__ == name
        assert bound.__qualname__.endswith(name)
        assert unbound.__doc__ == bound.__doc__
        assert bound.__self__ is made
        assert issubclass(kind, unbound.__objclass__)
        assert f"method {name} of" in repr(bound)
        assert repr(name) in repr(unbound)
        assert [*inspect.signature(unbound).parameters][1:] == [
            *inspect.signature(bound).parameters
        ]
        assert copy.copy(unbound) is unbound
        assert pickle.loads(pickle.dumps(unbound)) is unbound
        with pytest.raises(AttributeError):
            bound.other = 1


def test_those_of_one_object_are_equal(kind: Any) -> None:
    made, other = kind(), kind()
    assert made.__aenter__ == made.__aenter__
    assert made.__aenter__ is not made.__aenter__
    assert hash(made.__aexit__) == hash(made.__aexit__)
    assert made.__aenter__ != other.__aenter__
    assert made.__aenter__ != made.__aexit__
    assert made.__aenter__ != 1
    assert {made.__aenter__: 2}[made.__aenter__] == 2


def test_wrong_calls_are_refused(kind: Any) -> None:
    made = kind()
    with pytest.raises(TypeError, match=r"__aenter__\(\) takes no arguments \(1 given\)"):
        made.__aenter__(1)
    with pytest.raises(TypeError, match=r"__aenter__\(\) takes no keyword arguments"):
        made.__aenter__(first=1)
    with pytest.raises(TypeError, match="needs an argument"):
        kind.__aenter__()
    with pytest.raises(TypeError, match="doesn't apply to a 'int' object"):
        kind.__aexit__(1, None, None, None)
    with pytest.raises(TypeError, match="doesn't apply to a 'int' object"):
        vars(kind.__mro__[0]).get("__aenter__", kind.__aenter__).__get__(1)


def test_one_that_is_kept_is_called_again_and_again(run: Any) -> None:
    async def main() -> None:
        lock, other = rulip.Lock(), rulip.Lock()
        enter, leave = lock.__aenter__, functools.partial(lock.__aexit__, None, None, None)
        for _ in range(3):
            assert await enter() is None
            assert lock.locked()
            assert not other.locked()
            async with other:
                assert other.locked()
            assert await leave() is None
            assert not lock.locked()
        again = functools.partial(rulip.Semaphore(3).__aenter__)
        assert [await again(), await again()] == [None, None]
        await rulip.Lock.__aenter__(lock)
        await rulip.Lock.__aexit__(lock, None, None, None)
        assert not lock.locked()

    run(main())


def test_what_is_bound_holds_its_object_and_only_while_it_is_held(run: Any) -> None:
    async def main() -> None:
        lock = rulip.Lock()
        gone = weakref.ref(lock)
        async with lock:
            kept = lock.__aenter__
        del lock
        assert kept.__self__ is gone()
        del kept
        assert gone() is None
        async with rulip.Lock() as nothing, rulip.Semaphore() as either:
            assert nothing is either is None

    run(main())


def test_a_method_in_a_cycle_is_collected() -> None:
    lock: Any = rulip.Lock()
    lock.mine = [lock.__aenter__, lock.__aexit__]
    gone = weakref.ref(lock)
    method = weakref.ref(lock.mine[0])
    assert method() is lock.mine[0]
    del lock
    gc.collect()
    assert gone() is None
    assert method() is None


def test_an_object_that_ends_with_its_method_may_bind_others() -> None:
    ended: list[Any] = []

    class Chained(rulip.Lock):
        next: Any = None

        def __del__(self) -> None:
            ended.append(rulip.Lock().__aenter__.__name__)

    first: Any = None
    for _ in range(5000):
        lock = Chained()
        lock.next = first and first.__aenter__
        first = lock
    del lock, first
    assert ended == ["__aenter__"] * 5000


def test_subclasses_and_replaced_methods_are_called(run: Any, monkeypatch: Any) -> None:
    trace: list[str] = []

    class Traced(rulip.Lock):
        async def __aenter__(self) -> None:
            trace.append("enter")
            await super().__aenter__()

        async def __aexit__(self, *exc: Any) -> None:
            trace.append("leave")
            await super().__aexit__(*exc)

    class Plain(rulip.Lock):
        pass

    async def replaced(self: Any) -> None:
        trace.append("replaced")

    async def main() -> None:
        lock, plain = Traced(), Plain()
        async with lock, plain:
            assert lock.locked()
            assert plain.locked()
        assert not lock.locked()
        assert not plain.locked()
        monkeypatch.setattr(rulip.Lock, "__aenter__", replaced)
        with pytest.raises(RuntimeError, match="not acquired"):
            async with plain:
                trace.append("inside")
        monkeypatch.undo()
        async with plain:
            assert plain.locked()

    run(main())
    assert trace == ["enter", "leave", "replaced", "inside"]


def test_one_that_rests_is_bound_to_nothing(run: Any) -> None:
    async def main() -> None:
        lock = rulip.Lock()
        async with lock:
            assert lock.locked()

    run(main())
    for found in gc.get_objects():
        # From Python 3.14 on there is none.
        if type(found).__name__ == "bound_special_method":
            assert isinstance(found, types.MethodDescriptorType)
            assert repr(found.__name__) in repr(found)
            assert found == found
            assert isinstance(hash(found), int)
            with pytest.raises(TypeError, match="needs an argument"):
                found()
    run(main())
