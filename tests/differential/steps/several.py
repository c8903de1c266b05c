"""Steps about many futures as one: gather(), wait(), as_completed(), shield(), task groups.

Thread: the one of the run.
Invariant: nothing depends on the order of a set, in which asyncio keeps what it waits for.
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any

from ..grammar import Steps, bodies, body, delay, flag, message, number, one_of, several, step
from ..interpreter import InOrder, Interpreter, told

MODES = ("ALL_COMPLETED", "FIRST_COMPLETED", "FIRST_EXCEPTION")
thing = several(one_of(("future", 0), ("future", 1), ("future", 2), ("future", 3), ("task", 0),
                       ("task", 1), ("task", 2), ("task", 3), ("sleep", 0)))  # fmt: skip


def things(run: Interpreter, specifications: list[tuple[str, int]]) -> list[Any]:
    """Futures, tasks and coroutines that the program names, some of them twice."""
    found: list[Any] = []
    for what, index in specifications:
        if what == "sleep":
            found.append(run.aio.sleep(0))
        else:
            found.append(run.futures[index] if what == "future" else run.waitable(index))
    return [one for one in found if one is not None]


def told_each(results: list[Any]) -> list[Any]:
    return [told(item) if isinstance(item, BaseException) else item for item in results]


@step(flag, bodies)
async def gather(run: Interpreter, return_exceptions: bool, bodies: list[Steps]) -> Any:
    gathering = run.aio.gather(
        *[run.body(steps) for steps in bodies], return_exceptions=return_exceptions
    )
    run.gatherings.append(gathering)
    return told_each(await gathering)


@step(flag, thing)
async def gather_things(run: Interpreter, return_exceptions: bool, which: Any) -> Any:
    gathering = run.aio.gather(*things(run, which), return_exceptions=return_exceptions)
    run.gatherings.append(gathering)
    return told_each(await gathering)


@step(flag, bodies)
async def gather_aside(run: Interpreter, return_exceptions: bool, bodies: list[Steps]) -> Any:
    """Begun, and awaited by nobody, or by another step."""
    children = [run.spawn(steps) for steps in bodies]
    run.gatherings.append(run.aio.gather(*children, return_exceptions=return_exceptions))


@step(number, message)
def cancel_gathering(run: Interpreter, index: int, message: str | None) -> Any:
    if not run.gatherings:
        return None
    gathering = run.gatherings[index % len(run.gatherings)]
    return gathering.cancel(message) if message else gathering.cancel()


@step(number)
def ask_gathering(run: Interpreter, index: int) -> Any:
    if not run.gatherings:
        return None
    gathering = run.gatherings[index % len(run.gatherings)]
    if gathering.done() and not gathering.cancelled() and gathering.exception() is None:
        return told_each(gathering.result())
    return run.outcome(gathering)


@step(one_of(*MODES), delay, bodies)
async def wait(run: Interpreter, mode: str, milliseconds: int, bodies: list[Steps]) -> Any:
    tasks = [run.spawn(steps) for steps in bodies]
    limit = None if milliseconds == 1 else run.delay(milliseconds)
    done, left = await run.aio.wait(tasks, timeout=limit, return_when=mode)
    return [sorted(task.get_name() for task in several) for several in (done, left)]


@step(one_of(*MODES), delay, thing)
async def wait_things(run: Interpreter, mode: str, milliseconds: int, which: Any) -> Any:
    waited = [one for one in things(run, which) if asyncio.isfuture(one)]
    limit = run.delay(milliseconds)
    done, left = await run.aio.wait(waited, timeout=limit, return_when=mode)
    return [sorted(waited.index(one) for one in several) for several in (done, left)]


@step(delay, bodies)
async def as_completed(run: Interpreter, milliseconds: int, bodies: list[Steps]) -> Any:
    tasks = [run.spawn(steps) for steps in bodies]
    if any(task.done() for task in tasks):  # eager: then asyncio begins with those, as in a set
        return None
    limit = None if milliseconds == 1 else run.delay(milliseconds)
    for earliest in run.aio.as_completed(tasks, timeout=limit):
        try:
            run.note("earliest", await earliest)
        except Exception as error:
            run.note("earliest", told(error))


@step(delay, bodies, since=(3, 13))
async def as_completed_async(run: Interpreter, milliseconds: int, bodies: list[Steps]) -> Any:
    tasks = [run.spawn(steps) for steps in bodies]
    if any(task.done() for task in tasks):
        return
    limit = None if milliseconds == 1 else run.delay(milliseconds)
    async for earliest in run.aio.as_completed(tasks, timeout=limit):
        run.note("earliest", tasks.index(earliest), run.outcome(earliest))


@step(body)
async def shield(run: Interpreter, steps: Steps) -> Any:
    return await run.aio.shield(run.spawn(steps))


@step(number)
async def shield_future(run: Interpreter, index: int) -> Any:
    return await run.aio.shield(run.futures[index % 4])


def in_order(group: Any) -> Any:
    """asyncio's cancels its tasks in the order of a set, ours in the order they came."""
    if type(group) is asyncio.TaskGroup:
        group._tasks = InOrder()  # type: ignore[attr-defined]
    return group


@step(bodies, body)
async def group(run: Interpreter, bodies: list[Steps], steps: Steps) -> Any:
    group = in_order(run.aio.TaskGroup())
    run.groups.append(group)
    async with group:
        tasks = [run.spawn(child, group=group) for child in bodies]
        await run.body(steps)
    return [task.result() for task in tasks]


@step(number, body)
def join_group(run: Interpreter, index: int, steps: Steps) -> Any:
    """A task for a group in whatever state."""
    if not run.groups:
        return None
    return run.spawn(steps, group=run.groups[-1 - index % len(run.groups)]).get_name()


@step(flag)
async def enter_group_again(run: Interpreter, entered: bool) -> Any:
    if entered and run.groups:
        return await run.groups[-1].__aenter__()
    return await in_order(run.aio.TaskGroup()).__aexit__(None, None, None)


assert sys.version_info >= (3, 11)  # which has task groups
