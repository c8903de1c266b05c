"""Barrier: rounds, resets, aborts, cancellations.

Not here: the other primitives (test_locks.py).
Runs in the main thread, on asyncio, on rulip, and with the parts of both.
Invariant: a test waits for turns of the loop, never for time.
"""

from __future__ import annotations

import asyncio
import re
from typing import Any

import pytest

pytestmark = pytest.mark.crossings


async def turns(count: int) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


def looks(barrier: object) -> str:
    return re.sub(r" at 0x[0-9a-f]+", "", repr(barrier))


def text(state: str) -> str:
    return f"<asyncio.locks.Barrier object [{state}]>"


def test_rounds(run: Any, aio: Any) -> None:
    trace: list[Any] = []

    async def go(barrier: Any, name: int) -> None:
        for _ in range(3):
            trace.append((await barrier.wait(), name, looks(barrier)))

    async def main(barrier: Any) -> list[Any]:
        trace.clear()
        await asyncio.gather(*(go(barrier, name) for name in range(3)))
        trace.append((barrier.parties, barrier.n_waiting, barrier.broken, looks(barrier)))
        return list(trace)

    assert run(main(aio.Barrier(3))) == run(main(asyncio.Barrier(3)))


def test_more_tasks_than_parties(run: Any, aio: Any) -> None:
    async def main(barrier: Any) -> list[Any]:
        trace: list[Any] = []

        async def go(name: int) -> None:
            async with barrier as index:
                trace.append((name, index, looks(barrier)))

        await asyncio.gather(*(go(name) for name in range(12)))
        return trace

    assert run(main(aio.Barrier(4))) == run(main(asyncio.Barrier(4)))


def test_one_party_never_waits(run: Any, aio: Any) -> None:
    async def main() -> None:
        barrier = aio.Barrier(1)
        assert [await barrier.wait() for _ in range(3)] == [0, 0, 0]
        assert looks(barrier) == text("filling, waiters:0/1")

    run(main())


def test_arguments(aio: Any) -> None:
    with pytest.raises(TypeError, match="missing 1 required positional argument: 'parties'"):
        aio.Barrier()
    with pytest.raises(ValueError, match=r"^parties must be >") as wrong:
        aio.Barrier(0)
    with pytest.raises(ValueError, match=r"^parties must be >") as stock:
        asyncio.Barrier(0)
    assert str(wrong.value) == str(stock.value)
    assert isinstance(aio.Barrier(1), asyncio.Barrier)


def test_reset_and_abort(run: Any, aio: Any) -> None:
    async def main(barrier: Any) -> list[str]:
        trace: list[str] = []

        async def go(name: str) -> None:
            try:
                trace.append(f"{name} {await barrier.wait()}")
            except asyncio.BrokenBarrierError as error:
                trace.append(f"{name} {error} {barrier._count}")

        async def start(*names: str) -> list[asyncio.Task[None]]:
            tasks = [asyncio.create_task(go(name)) for name in names]
            await turns(3)
            trace.append(looks(barrier))
            return tasks

        await barrier.reset()
        tasks = await start("a", "b")
        await barrier.reset()
        trace.append(looks(barrier))
        tasks += await start("c")
        tasks += await start("d", "e")
        await asyncio.wait(tasks)
        tasks = await start("f")
        await barrier.abort()
        tasks += await start("g")
        await asyncio.wait(tasks)
        trace.append(looks(barrier))
        await barrier.reset()
        tasks = await start("h", "i", "j")
        await asyncio.wait(tasks)
        return trace

    assert run(main(aio.Barrier(3))) == run(main(asyncio.Barrier(3)))


@pytest.mark.parametrize("step", range(6))
def test_a_cancelled_task_leaves_the_barrier(run: Any, aio: Any, step: int) -> None:
    async def main(barrier: Any) -> list[Any]:
        async def go() -> Any:
            return await barrier.wait()

        trace: list[Any] = []
        tasks = [asyncio.create_task(go()) for _ in range(4)]
        for turn in range(6):
            if turn == step:
                trace.append(tasks[1].cancel())
            await asyncio.sleep(0)
            trace.append((looks(barrier), barrier._count, [task.done() for task in tasks]))
        tasks += [asyncio.create_task(go()) for _ in range(2)]
        await turns(8)
        trace.append((looks(barrier), barrier._count))
        for task in tasks:
            task.cancel()
        trace += [
            "cancelled" if isinstance(result, asyncio.CancelledError) else result
            for result in await asyncio.gather(*tasks, return_exceptions=True)
        ]
        return trace

    assert run(main(aio.Barrier(3))) == run(main(asyncio.Barrier(3)))
