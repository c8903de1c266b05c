"""Steps about queues of the three kinds.

Thread: the one of the run. Invariant: items are numbers, which a PriorityQueue can compare.
"""

from __future__ import annotations

from typing import Any

from ..grammar import flag, number, one_of, step
from ..interpreter import Interpreter

queue = one_of(0, 0, 0, 1, 2)


@step(queue, number)
async def put(run: Interpreter, index: int, item: int) -> Any:
    return await run.queues[index].put(item)


@step(queue)
async def get(run: Interpreter, index: int) -> Any:
    return await run.queues[index].get()


@step(queue, number)
def put_nowait(run: Interpreter, index: int, item: int) -> Any:
    return run.queues[index].put_nowait(item)


@step(queue)
def get_nowait(run: Interpreter, index: int) -> Any:
    return run.queues[index].get_nowait()


@step(queue)
def task_done(run: Interpreter, index: int) -> Any:
    return run.queues[index].task_done()


@step(queue)
async def join(run: Interpreter, index: int) -> Any:
    return await run.queues[index].join()


@step(queue)
def ask_queue(run: Interpreter, index: int) -> Any:
    queue = run.queues[index]
    return (queue.qsize(), queue.empty(), queue.full(), queue.maxsize)


@step(queue, flag, since=(3, 13))
def shut_down(run: Interpreter, index: int, immediate: bool) -> Any:
    return run.queues[index].shutdown(immediate)
