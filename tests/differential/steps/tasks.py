"""Steps about tasks: sleeping, raising, cancelling, starting others, awaiting what is no future.

Thread: the one of the run. Invariant: a task awaits only tasks that do not wait for it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Generator
from typing import Any

from ..grammar import Steps, body, delay, error, message, number, one_of, step
from ..interpreter import Interpreter, made, plain, told, variable


@step(delay)
async def sleep(run: Interpreter, milliseconds: int) -> Any:
    return await run.aio.sleep(run.delay_or_none(milliseconds), "slept")


@step()
async def yield_once(run: Interpreter) -> Any:
    return await run.aio.sleep(0)


@step(error)
def fail(run: Interpreter, kind: str) -> Any:
    raise made(kind)


@step(one_of("Boom", "CancelledError"))
def fail_plainly(run: Interpreter, kind: str) -> Any:
    raise made(kind)


@step()
def look(run: Interpreter) -> Any:
    task = asyncio.current_task(run.loop)
    # Of tasks that are collected while they are looked for, asyncio lists those not yet seen to.
    tasks = asyncio.all_tasks(run.loop) if run.loop.is_running() else ()
    names = sorted(plain(task.get_name()) for task in tasks)
    made = vars(run)
    several = ("queues", "locks", "events", "semaphores", "conditions", "barriers")
    looks = [plain(repr(one)) for name in several for one in made.get(name, ())]
    return (names, task and task.cancelling(), looks)


def cancelled(task: Any, message: str | None) -> Any:
    if task is None:
        return None
    return task.cancel(message) if message else task.cancel()


@step(number, message)
def cancel(run: Interpreter, index: int, message: str | None) -> Any:
    return cancelled(run.task(index), message)


@step(message)
def cancel_self(run: Interpreter, message: str | None) -> Any:
    return cancelled(asyncio.current_task(run.loop), message)


@step()
def uncancel(run: Interpreter) -> Any:
    task = asyncio.current_task(run.loop)
    return task and task.uncancel()


@step(number)
def uncancel_task(run: Interpreter, index: int) -> Any:
    task = run.task(index)
    return task and (task.cancelling(), task.uncancel())


@step(number)
def ask_task(run: Interpreter, index: int) -> Any:
    task = run.task(index)
    return task and (task.done(), task.cancelled(), task.cancelling(), run.outcome(task))


@step(number, one_of("result", "exception", "set_result", "set_exception"))
def misuse_task(run: Interpreter, index: int, how: str) -> Any:
    """Those that raise of a task that runs, or of any."""
    task: Any = run.task(index)
    if task is None:
        return None
    return getattr(task, how)(*([made("Boom")] if how.startswith("set") else []))


@step(body)
def spawn(run: Interpreter, steps: Steps) -> Any:
    return run.spawn(steps).get_name()


@step(number)
async def await_task(run: Interpreter, index: int) -> Any:
    task = run.waitable(index)
    if task is not None:
        return await task
    task = run.task(index)
    if task is None:
        return None
    done, _ = await run.aio.wait([task], timeout=run.delay(2))
    return len(done)


@step(body)
def forget_coroutine(run: Interpreter, steps: Steps) -> Any:
    run.body(steps)


@step()
async def wait_for_nobody(run: Interpreter) -> Any:
    """For a future that nobody else has: the task may be garbage before it ends."""
    return await run.loop.create_future()


class Yields:
    """Awaitable by what `await` is made of."""

    def __init__(self, *what: Any) -> None:
        self.what = what

    def __await__(self) -> Generator[Any, Any, Any]:
        for one in self.what:
            received = yield one
            assert received is None
        return "yielded"


#: Futures of another loop, which never runs.
elsewhere = asyncio.SelectorEventLoop()


@step(one_of("none", "twice", "number", "self", "future", "task", "elsewhere"))
async def yield_what(run: Interpreter, what: str) -> Any:
    """What a task gets from its coroutine, and may not like."""
    task = asyncio.current_task(run.loop)
    offered: dict[str, Any] = {
        "none": (None,),
        "twice": (None, None),
        "number": (1,),
        "self": (task,),
        "future": (run.futures[0],),
        "task": (run.task(0),),
        "elsewhere": (asyncio.Future(loop=elsewhere),),
    }
    return await Yields(*offered[what])


@step()
async def await_self(run: Interpreter) -> Any:
    task = asyncio.current_task(run.loop)
    assert task is not None
    return await task


@step()
async def await_elsewhere(run: Interpreter) -> Any:
    return await run.aio.Future(loop=elsewhere)


@step(number)
def set_variable(run: Interpreter, value: int) -> Any:
    run.tokens.append(variable.set(value))


@step()
def get_variable(run: Interpreter) -> Any:
    return variable.get()


@step()
def reset_variable(run: Interpreter) -> Any:
    return run.tokens and variable.reset(run.tokens.pop())


@step(one_of("swallow", "reraise", "finally", "else"), body, body)
async def guard(run: Interpreter, how: str, steps: Steps, others: Steps) -> Any:
    """A `try` statement."""
    try:
        return await run.body(steps)
    except (Exception, asyncio.CancelledError) as error:
        if how == "swallow":
            return await run.body(others)
        run.note("caught", told(error))
        raise
    finally:
        if how == "finally":
            await run.body(others)


@step(body)
async def suppress(run: Interpreter, steps: Steps) -> Any:
    """Swallows cancellation as asyncio's own code does: with uncancel()."""
    try:
        return await run.body(steps)
    except asyncio.CancelledError as error:
        task = asyncio.current_task(run.loop)
        return told(error), task and task.uncancel()
