"""Three queues: first in first out, by priority, last in first out; producers and consumers.

A bounded queue makes fast producers wait at `put`. Each `get` is answered with `task_done` once
the item is worked off; `join` waits until all are. The consumers never end by themselves: they
are cancelled when there is nothing left to do.
"""

import argparse
import asyncio
from typing import Any

JOBS = [(2, "sweep"), (1, "cook"), (3, "read"), (1, "eat"), (2, "wash up")]


async def worked_off(queue: asyncio.Queue[Any], items: list[Any]) -> list[Any]:
    """Put all items in, then take them out in the order this kind of queue gives."""
    for item in items:
        queue.put_nowait(item)
    order: list[Any] = []

    async def consume() -> None:
        while True:
            order.append(await queue.get())
            queue.task_done()

    consumer = asyncio.create_task(consume())
    await queue.join()
    consumer.cancel()
    return order


async def produce(name: str, queue: asyncio.Queue[str], count: int) -> None:
    """Put `count` items; waits whenever the queue is full."""
    for number in range(count):
        await queue.put(f"{name}{number}")


async def consume(queue: asyncio.Queue[str], results: dict[str, str], seconds: float) -> None:
    """Work items off, one at a time, for as long as nobody cancels."""
    while True:
        item = await queue.get()
        await asyncio.sleep(seconds)
        results[item] = item.upper()
        queue.task_done()


async def main(seconds: float) -> None:
    """Show the order of each kind, then two producers and three consumers on one queue."""
    print("fifo:    ", *(job for _, job in await worked_off(asyncio.Queue(), JOBS)), sep="  ")
    print("priority:", *await worked_off(asyncio.PriorityQueue(), JOBS), sep="  ")
    print("lifo:    ", *(job for _, job in await worked_off(asyncio.LifoQueue(), JOBS)), sep="  ")

    queue: asyncio.Queue[str] = asyncio.Queue(maxsize=4)
    results: dict[str, str] = {}
    consumers = [asyncio.create_task(consume(queue, results, seconds)) for _ in range(3)]
    async with asyncio.TaskGroup() as producers:
        producers.create_task(produce("a", queue, 6))
        producers.create_task(produce("b", queue, 6))
    await queue.join()
    for consumer in consumers:
        consumer.cancel()
    ended = await asyncio.gather(*consumers, return_exceptions=True)

    print(f"results: {len(results)}: {' '.join(results[item] for item in sorted(results))}")
    print(f"consumers cancelled: {sum(isinstance(e, asyncio.CancelledError) for e in ended)}")
    print(f"left in the queue: {queue.qsize()}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="FIFO, priority and LIFO queues")
    parser.add_argument("--seconds", type=float, default=0.2, help="how long one item takes")
    asyncio.run(main(parser.parse_args().seconds))
