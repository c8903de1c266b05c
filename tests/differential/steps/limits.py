"""Steps about time limits: timeout(), timeout_at(), wait_for(), nested and moved.

Thread: the one of the run. Invariant: no two deadlines are equal, but those that have come.
"""

from __future__ import annotations

from typing import Any

from ..grammar import Steps, body, delay, flag, number, one_of, step
from ..interpreter import Interpreter


@step(delay, body)
async def timeout(run: Interpreter, milliseconds: int, steps: Steps) -> Any:
    async with run.aio.timeout(run.delay_or_none(milliseconds)) as limit:
        run.limits.append(limit)
        await run.body(steps)
    return (limit.expired(), repr(limit).partition(" ")[0])


@step(delay, body)
async def timeout_at(run: Interpreter, milliseconds: int, steps: Steps) -> Any:
    when = run.now + run.delay(milliseconds - 1)
    async with run.aio.timeout_at(when) as limit:
        run.limits.append(limit)
        run.note("at", limit.when() == when)
        await run.body(steps)
    return limit.expired()


@step(body)
async def timeout_never(run: Interpreter, steps: Steps) -> Any:
    limit = run.aio.timeout(None)
    run.limits.append(limit)
    async with limit:
        await run.body(steps)
    return (limit.expired(), limit.when() is None)


@step(number, delay)
def reschedule(run: Interpreter, index: int, milliseconds: int) -> Any:
    """Whoever's limit, in whatever state."""
    if not run.limits:
        return None
    limit = run.limits[-1 - index % len(run.limits)]
    when = None if milliseconds == 1 else run.now + run.delay(milliseconds - 1)
    return (limit.expired(), limit.reschedule(when), limit.when() == when)


@step(flag)
async def enter_again(run: Interpreter, entered: bool) -> Any:
    """A limit that is or was entered; or an end without a beginning."""
    if entered and run.limits:
        return await run.limits[-1].__aenter__()
    return await run.aio.timeout(None).__aexit__(None, None, None)


@step(delay, body)
async def wait_for(run: Interpreter, milliseconds: int, steps: Steps) -> Any:
    return await run.aio.wait_for(run.body(steps), run.delay_or_none(milliseconds))


@step(delay, number, one_of("future", "task", "queue", "event"))
async def wait_for_other(run: Interpreter, milliseconds: int, index: int, what: str) -> Any:
    """For what ends by itself, or does not."""
    limit = run.delay_or_none(milliseconds) if milliseconds != 1 else None
    waited: Any = run.futures[index % 4]
    if what == "task":
        waited = run.waitable(index)
    elif what == "queue":
        waited = run.queues[index % 3].get()
    elif what == "event":
        waited = run.events[index % 2].wait()
    return None if waited is None else await run.aio.wait_for(waited, limit)
