"""When batches are made, and who gets them."""

from __future__ import annotations

import asyncio
import time

from collecting import Run
from logcollector.block import Block
from logcollector.intake import Intake

LINGER = 0.05


def block(count: int = 1) -> Block:
    return Block(b"x\n" * count, count, 0.0, "")


def intake(takers: int = 1, lines: int = 10) -> Intake:
    return Intake(lines=lines, size=1000, linger=LINGER, takers=takers)


def test_an_idle_writer_gets_a_line_in_the_same_turn(run: Run) -> None:
    async def main() -> None:
        queue = intake()
        taking = asyncio.create_task(queue.take())
        await asyncio.sleep(0)
        began = asyncio.get_running_loop().time()
        queue.put(block())
        queue.put(block())
        batch = await taking
        assert batch is not None
        assert batch.lines == 2
        assert asyncio.get_running_loop().time() - began < LINGER

    run(main())


def test_while_a_writer_is_busy_the_other_waits_for_more(run: Run) -> None:
    async def main() -> None:
        queue = intake(takers=2)
        loop = asyncio.get_running_loop()
        taking = asyncio.create_task(queue.take())
        await asyncio.sleep(0)
        began = loop.time()
        first = block()
        first.received = time.time()
        queue.put(first)
        loop.call_later(LINGER / 2, queue.put, block())
        batch = await taking
        assert batch is not None
        assert batch.lines == 2
        assert loop.time() - began >= LINGER * 0.9

    run(main())


def test_full_batches_do_not_wait(run: Run) -> None:
    async def main() -> None:
        queue = intake(takers=3)
        takers = [asyncio.create_task(queue.take()) for _ in range(2)]
        await asyncio.sleep(0)
        for _ in range(25):
            queue.put(block())
        sizes = [batch.lines for taker in takers if (batch := await taker) is not None]
        assert sizes == [10, 10]
        assert queue.lines == 5

    run(main())


def test_bytes_complete_a_batch_too(run: Run) -> None:
    async def main() -> None:
        queue = intake(takers=3, lines=10_000)
        queue.put(block(400))
        queue.put(block(400))
        batch = await queue.take()
        assert batch is not None
        assert batch.lines == 800
        assert queue.lines == 0

    run(main())


def test_finishing_hands_out_the_rest_and_then_nothing(run: Run) -> None:
    async def main() -> None:
        queue = intake(takers=3)
        takers = [asyncio.create_task(queue.take()) for _ in range(2)]
        await asyncio.sleep(0)
        queue.put(block())
        queue.finish()
        batches = [await taker for taker in takers]
        assert [batch.lines if batch else None for batch in batches] == [1, None]
        assert await queue.take() is None

    run(main())


def test_a_cancelled_taker_loses_nothing(run: Run) -> None:
    async def main() -> None:
        queue = intake()
        taking = asyncio.create_task(queue.take())
        await asyncio.sleep(0)
        queue.put(block())
        queue.put(block(9))  # full: handed to the taker, which is cancelled before it runs
        taking.cancel()
        await asyncio.wait((taking,))
        assert taking.cancelled()
        batch = await queue.take()
        assert batch is not None
        assert batch.lines == 10

    run(main())


def test_ids_that_have_served_are_passed_on_once(run: Run) -> None:
    async def main() -> None:
        queue = intake()
        queue.put(block(10))
        first = await queue.take()
        assert first is not None
        assert first.forget == []
        queue.done(first)
        queue.put(block(10))
        second = await queue.take()
        assert second is not None
        assert second.forget == [first.id]

    run(main())
