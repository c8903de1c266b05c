"""Steps about locks, events, conditions, semaphores and barriers.

Thread: the one of the run.
Invariant: what is acquired without `with` may stay acquired; programs that wait for it are ended.
"""

from __future__ import annotations

from typing import Any

from ..grammar import Steps, body, number, step, which
from ..interpreter import Interpreter


@step(which)
async def acquire_lock(run: Interpreter, index: int) -> Any:
    return await run.locks[index].acquire()


@step(which)
def release_lock(run: Interpreter, index: int) -> Any:
    return run.locks[index].release()


@step(which, body)
async def with_lock(run: Interpreter, index: int, steps: Steps) -> Any:
    async with run.locks[index] as entered:
        assert entered is None
        return await run.body(steps)


@step(which)
async def acquire(run: Interpreter, index: int) -> Any:
    return await run.semaphores[index].acquire()


@step(which)
def release(run: Interpreter, index: int) -> Any:
    return run.semaphores[index].release()


@step(which)
def is_locked(run: Interpreter, index: int) -> Any:
    return (run.semaphores[index].locked(), run.locks[index].locked())


@step(which, body)
async def with_semaphore(run: Interpreter, index: int, steps: Steps) -> Any:
    async with run.semaphores[index]:
        return await run.body(steps)


@step(which)
async def wait_event(run: Interpreter, index: int) -> Any:
    return await run.events[index].wait()


@step(which)
def set_event(run: Interpreter, index: int) -> Any:
    return run.events[index].set()


@step(which)
def clear_event(run: Interpreter, index: int) -> Any:
    return (run.events[index].is_set(), run.events[index].clear())


@step(which, number)
async def notify(run: Interpreter, index: int, count: int) -> Any:
    async with run.conditions[index] as condition:
        assert condition is None
        if count:
            run.conditions[index].notify(count)
        else:
            run.conditions[index].notify_all()


@step(which)
def notify_at_once(run: Interpreter, index: int) -> Any:
    """Which whoever has the lock may do."""
    return run.conditions[index].notify()


@step(which)
async def wait_condition(run: Interpreter, index: int) -> Any:
    async with run.conditions[index]:
        return await run.conditions[index].wait()


@step(which)
async def wait_unlocked(run: Interpreter, index: int) -> Any:
    """Which whoever has the lock may do."""
    return await run.conditions[index].wait()


@step(which, number)
async def wait_until(run: Interpreter, index: int, count: int) -> Any:
    """For a predicate that comes true after so many calls."""
    calls = iter(range(count))
    async with run.conditions[index]:
        return await run.conditions[index].wait_for(lambda: next(calls, "enough"))


@step(which, body)
async def with_condition(run: Interpreter, index: int, steps: Steps) -> Any:
    async with run.conditions[index]:
        return await run.body(steps)


@step(which)
async def barrier(run: Interpreter, index: int) -> Any:
    return await run.barriers[index].wait()


@step(which, body)
async def with_barrier(run: Interpreter, index: int, steps: Steps) -> Any:
    async with run.barriers[index] as position:
        run.note("position", position)
        return await run.body(steps)


@step(which)
async def reset_barrier(run: Interpreter, index: int) -> Any:
    return await run.barriers[index].reset()


@step(which)
async def abort_barrier(run: Interpreter, index: int) -> Any:
    return await run.barriers[index].abort()


@step(which)
def ask_barrier(run: Interpreter, index: int) -> Any:
    barrier = run.barriers[index]
    return (barrier.parties, barrier.n_waiting, barrier.broken)
