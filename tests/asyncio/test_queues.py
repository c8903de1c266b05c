"""Queue, PriorityQueue, LifoQueue: what comes out, who waits, and what subclasses replace.

Not here: that nothing is lost wherever a task is cancelled (test_no_loss.py).
Runs in the main thread, on asyncio, on rulip, and with the parts of both.
Invariant: a test waits for turns of the loop, never for time.
"""

from __future__ import annotations

import asyncio
import copy
import gc
import heapq
import pickle
import re
import warnings
from collections import deque
from typing import Any

import pytest

pytestmark = pytest.mark.crossings

KINDS = ("Queue", "PriorityQueue", "LifoQueue")
SHUTS_DOWN = hasattr(asyncio.Queue, "shutdown")
needs_shutdown = pytest.mark.skipif(not SHUTS_DOWN, reason="queues shut down from 3.13 on")


async def turns(count: int) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


@pytest.mark.parametrize(
    ("kind", "order"),
    [("Queue", [2, 1, 3]), ("PriorityQueue", [1, 2, 3]), ("LifoQueue", [3, 1, 2])],
)
def test_the_order_of_items(run: Any, aio: Any, kind: str, order: list[int]) -> None:
    async def main() -> None:
        queue = getattr(aio, kind)()
        for item in (2, 1, 3):
            await queue.put(item)
        assert isinstance(queue, getattr(asyncio, kind))
        assert (queue.qsize(), queue.empty(), queue.full(), queue.maxsize) == (3, False, False, 0)
        assert [await queue.get() for _ in range(3)] == order
        assert queue.empty()
        with pytest.raises(asyncio.QueueEmpty) as empty:
            queue.get_nowait()
        assert empty.value.args == ()

    run(main())


def test_putters_and_getters_take_turns(run: Any, aio: Any) -> None:
    trace: list[Any] = []

    async def put(queue: Any, name: str) -> None:
        for number in range(4):
            trace.append((await queue.put((name, number)), name, number, str(queue)))

    async def get(queue: Any, name: str) -> None:
        for _ in range(4):
            trace.append((name, await queue.get(), str(queue)))
            queue.task_done()

    async def main(queue: Any) -> list[Any]:
        trace.clear()
        tasks = [put(queue, "a"), get(queue, "c"), put(queue, "b"), get(queue, "d")]
        await asyncio.gather(*tasks)
        await queue.join()
        trace.append(str(queue))
        return list(trace)

    assert run(main(aio.Queue(1))) == run(main(asyncio.Queue(1)))


def test_texts(run: Any, aio: Any) -> None:
    async def main() -> None:
        queue = aio.Queue(2)
        assert re.fullmatch(r"<Queue at 0x[0-9a-f]+ maxsize=2>", repr(queue))
        queue.put_nowait(1)
        queue.put_nowait("x")
        putter = asyncio.create_task(queue.put(3))
        await asyncio.sleep(0)
        assert str(queue) == "<Queue maxsize=2 _queue=[1, 'x'] _putters[1] tasks=2>"
        assert queue._format() == str(queue)[7:-1]
        queue.get_nowait()
        await putter
        other = aio.LifoQueue()
        getter = asyncio.create_task(other.get())
        await asyncio.sleep(0)
        assert str(other) == "<LifoQueue maxsize=0 _getters[1]>"
        getter.cancel()
        await asyncio.wait([getter])
        assert str(other) == "<LifoQueue maxsize=0>"

    run(main())


def test_full_and_done(run: Any, aio: Any) -> None:
    async def main() -> None:
        queue = aio.Queue(maxsize=1)
        queue.put_nowait(None)
        assert queue.full()
        with pytest.raises(asyncio.QueueFull) as full:
            queue.put_nowait(None)
        assert full.value.args == ()
        joined = asyncio.create_task(queue.join())
        await turns(2)
        assert not joined.done()
        queue.task_done()
        await joined
        with pytest.raises(ValueError, match=r"^task_done\(\) called too many times$"):
            queue.task_done()
        assert await queue.join() is None

    run(main())


def test_a_queue_belongs_to_the_loop_that_waited_for_it(run: Any, aio: Any) -> None:
    queue = aio.Queue()

    async def get() -> str:
        task = asyncio.create_task(queue.get())
        await turns(2)
        task.cancel()
        try:
            await task
        except asyncio.CancelledError:
            return "cancelled"
        except RuntimeError as error:
            return re.sub(r" at 0x[0-9a-f]+", "", str(error))
        return "got one"

    assert run(get()) == "cancelled"
    assert run(get()) == "<Queue maxsize=0> is bound to a different event loop"
    run(queue.put(1))
    assert run(queue.get()) == 1


@pytest.mark.parametrize("kind", KINDS)
def test_arguments_and_copies(aio: Any, kind: str) -> None:
    make = getattr(aio, kind)
    with pytest.raises(TypeError, match=r"Queue\.__init__\(\) got an unexpected keyword .* 'loop'"):
        make(loop=None)
    queue = make(3)
    queue.put_nowait(1)
    assert str(pickle.loads(pickle.dumps(queue))) == str(queue)
    assert str(copy.copy(queue)) == str(queue)
    assert str(make[int]).endswith(f"{kind}[int]")
    queue.label = "x"
    assert copy.copy(queue).label == "x"


def test_sizes_that_are_no_small_ints(run: Any, aio: Any) -> None:
    async def main() -> None:
        for size in (float("inf"), 1 << 70, 1.5, True):
            queue = aio.Queue(size)
            assert queue.maxsize is size
            queue.put_nowait(0)
            assert queue.full() is (size is True)
        with pytest.raises(TypeError, match="'<=' not supported between instances of 'NoneType'"):
            aio.Queue(None).full()

    run(main())


class Rank:
    """Compares by its number only; counts, and may raise or interfere."""

    compared = 0

    def __init__(self, number: int, name: str = "", act: Any = None) -> None:
        self.number, self.name, self.act = number, name, act

    def __lt__(self, other: Rank) -> bool:
        Rank.compared += 1
        if self.act is not None:
            self.act()
        return self.number < other.number


def test_equal_priorities_come_out_as_from_heapq(run: Any, aio: Any) -> None:
    ranks = [Rank(number % 4, str(number)) for number in range(50)]

    async def main() -> list[str]:
        queue = aio.PriorityQueue()
        for rank in ranks:
            await queue.put(rank)
        return [(await queue.get()).name for _ in ranks]

    Rank.compared = 0
    heap: list[Rank] = []
    for rank in ranks:
        heapq.heappush(heap, rank)
    expected = [heapq.heappop(heap).name for _ in ranks]
    comparisons, Rank.compared = Rank.compared, 0
    assert run(main()) == expected
    assert Rank.compared == comparisons


def test_comparisons_may_raise_and_interfere(run: Any, aio: Any) -> None:
    async def main() -> None:
        queue = aio.PriorityQueue()
        queue.put_nowait(Rank(1))
        with pytest.raises(ZeroDivisionError):
            queue.put_nowait(Rank(0, act=lambda: 1 // 0))
        assert (queue.qsize(), queue._unfinished_tasks) == (2, 1)
        queue = aio.PriorityQueue()
        for number in range(5):
            queue.put_nowait(Rank(number))
        with pytest.raises(RuntimeError, match="changed size"):
            queue.put_nowait(Rank(-1, act=queue._queue.clear))
        queue = aio.PriorityQueue()
        queue.put_nowait(Rank(2))
        nested: list[int] = []

        def act() -> None:
            if not nested:
                nested.append(queue.qsize())

        queue.put_nowait(Rank(1, act=act))
        assert nested == [2]

    run(main())


@needs_shutdown
@pytest.mark.parametrize("immediate", [False, True])
def test_shutdown(run: Any, aio: Any, immediate: bool) -> None:
    async def main() -> list[str]:
        trace: list[str] = []

        async def tell(name: str, waiting: Any) -> None:
            try:
                trace.append(f"{name} {await waiting}")
            except asyncio.QueueShutDown as error:
                trace.append(f"{name} shut down {error.args}")

        queue, empty = aio.Queue(1), aio.Queue()
        await queue.put(1)
        names = ("put", "join", "get")
        waits = (queue.put(2), queue.join(), empty.get())
        tasks = [asyncio.create_task(tell(*pair)) for pair in zip(names, waits, strict=True)]
        await turns(2)
        queue.shutdown(immediate=immediate)
        empty.shutdown()
        trace.append(str(queue))
        await turns(3)
        await tell("late put", queue.put(3))
        await tell("late get", queue.get())
        if not immediate:
            queue.task_done()
        await asyncio.gather(*tasks)
        return trace

    async def stock() -> list[str]:
        nonlocal aio
        ours, aio = aio, asyncio
        try:
            return await main()
        finally:
            aio = ours

    assert run(main()) == run(stock())


def test_a_subclass_that_keeps_its_items_elsewhere(run: Any, aio: Any) -> None:
    class UniqueQueue(aio.Queue):
        def _init(self, maxsize: int) -> None:
            self.asked = maxsize
            self._queue: Any = {}

        def _put(self, item: Any) -> None:
            self._queue[item] = None

        def _get(self) -> Any:
            item = next(iter(self._queue))
            del self._queue[item]
            return item

    async def main() -> None:
        queue = UniqueQueue(2)
        assert queue.asked == 2
        for item in (1, 1, 1, 2):
            await queue.put(item)
        assert queue.full()
        assert str(queue) == "<UniqueQueue maxsize=2 _queue=[1, 2] tasks=4>"
        putter = asyncio.create_task(queue.put(3))
        await turns(2)
        assert [await queue.get() for _ in range(2)] == [1, 2]
        await putter
        assert await queue.get() == 3

    run(main())


def test_a_subclass_that_asks_the_class_above(run: Any, aio: Any) -> None:
    calls: list[str] = []

    class Noting(aio.PriorityQueue):
        def _put(self, item: Any) -> None:
            calls.append("_put")
            super()._put(-item)

        def _get(self) -> Any:
            calls.append("_get")
            return -super()._get()

        def put_nowait(self, item: Any) -> None:
            calls.append("put_nowait")
            super().put_nowait(item)

        def get_nowait(self) -> Any:
            calls.append("get_nowait")
            return super().get_nowait()

        def full(self) -> bool:
            calls.append("full")
            return super().full()

        def empty(self) -> bool:
            calls.append("empty")
            return super().empty()

        def qsize(self) -> int:
            calls.append("qsize")
            return super().qsize()

        def _wakeup_next(self, waiters: Any) -> None:
            calls.append(f"wake {len(waiters)}")
            super()._wakeup_next(waiters)

        def _format(self) -> str:
            return "noted"

    async def main() -> None:
        queue = Noting(5)
        for item in (1, 3, 2):
            await queue.put(item)
        getter = asyncio.create_task(queue.get())
        assert [await queue.get(), await getter, await queue.get()] == [3, 2, 1]
        waiting = asyncio.create_task(queue.get())
        await turns(2)
        await queue.put(4)
        assert await waiting == 4
        assert str(queue) == "<Noting noted>"

    run(main())
    per_put = ["full", "qsize", "put_nowait", "full", "qsize", "_put"]
    per_get = ["empty", "get_nowait", "empty", "_get", "wake 0"]
    assert calls[: len(per_put) + 1] == [*per_put, "wake 0"]
    assert calls[3 * 7 : 3 * 7 + 5] == per_get
    assert calls[-5:] == per_get
    assert calls[-12:-5] == [*per_put, "wake 1"]


def test_items_and_waiters_are_there_for_all(run: Any, aio: Any) -> None:
    async def main() -> None:
        queue = aio.Queue()
        queue.put_nowait(1)
        assert isinstance(queue._queue, deque)
        queue._queue.appendleft(0)
        queue._queue.extend([2, 3])
        queue._queue.remove(2)
        assert [queue.get_nowait() for _ in range(3)] == [0, 1, 3]
        queue._queue = deque([7])
        assert await queue.get() == 7
        heap = aio.PriorityQueue()
        heap._queue.append(5)
        assert heap.get_nowait() == 5
        getter = asyncio.create_task(queue.get())
        await asyncio.sleep(0)
        assert isinstance(queue._getters, deque)
        assert len(queue._getters) == 1
        own = asyncio.get_running_loop().create_future()
        queue._getters.appendleft(own)
        queue.put_nowait(8)
        assert await own is None
        queue.put_nowait(9)
        assert await getter == 8
        assert queue._unfinished_tasks == 3
        queue._unfinished_tasks = 0
        queue._finished.set()
        await queue.join()

    run(main())


def test_awaitables_are_coroutines(run: Any, aio: Any) -> None:
    async def main() -> None:
        queue = aio.Queue()
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(queue.get(), 0.001)
        assert not queue._getters
        task = asyncio.create_task(queue.get(), name="getter")
        await asyncio.sleep(0)
        await asyncio.create_task(queue.put("x"))
        assert await task == "x"
        waiting = queue.get()
        waiting.send(None)
        waiting.close()
        assert not queue._getters
        with warnings.catch_warnings(record=True) as seen:
            warnings.simplefilter("always")
            queue.get()
            queue.put(1)
            queue.join()
            gc.collect()
        assert [str(warning.message) for warning in seen] == [
            f"coroutine 'Queue.{name}' was never awaited" for name in ("get", "put", "join")
        ]
        assert queue.empty()

    run(main())


def test_a_tuple_and_an_exception_are_items_too(run: Any, aio: Any) -> None:
    async def main() -> None:
        queue = aio.Queue()
        for item in ((1, 2), ValueError("x"), StopIteration(3), None, ()):
            await queue.put(item)
            assert await queue.get() is item

    run(main())
