"""Steps about futures: settling, awaiting, asking, their callbacks.

Thread: the one of the run. Invariant: there are always as many futures; one that is replaced may
be garbage before anybody asked for its exception.
"""

from __future__ import annotations

import contextvars
import functools
from typing import Any

from ..grammar import Step, action, flag, number, one_of, step
from ..interpreter import Boom, Interpreter, made


def future_of(run: Interpreter, index: int) -> Any:
    return run.futures[index % 4]


@step(number, one_of("result", "result", "exception", "cancel", "told", "class", "stop", "no error",
                     "base"))  # fmt: skip
def settle(run: Interpreter, index: int, how: str) -> Any:
    future = future_of(run, index)
    match how:
        case "result":
            return future.set_result(len(run.trace))
        case "cancel":
            return future.cancel()
        case "told":
            return future.cancel("told")
        case "class":
            return future.set_exception(Boom)
        case "stop":
            return future.set_exception(StopIteration("on purpose"))
        case "no error":
            return future.set_exception(1)
        case "base":
            return future.set_exception(made("Base"))
    return future.set_exception(Boom("settled"))


@step(number)
async def await_future(run: Interpreter, index: int) -> Any:
    return await future_of(run, index)


@step(number, one_of("done", "cancelled", "result", "exception"))
def ask_future(run: Interpreter, index: int, what: str) -> Any:
    return repr(getattr(future_of(run, index), what)())


@step(number)
def renew_future(run: Interpreter, index: int) -> Any:
    run.dropped.append(run.futures[index % 4])
    run.futures[index % 4] = run.new_future(index % 4)


@step(number, flag, action)
def add_callback(run: Interpreter, index: int, apart: bool, action: Step) -> Any:
    """To a future, in a context of its own or in the one of whoever adds it."""
    future, callback = future_of(run, index), functools.partial(run.callback, action)
    run.callbacks.append((future, callback))
    future.add_done_callback(callback, context=contextvars.Context() if apart else None)


@step(number, action)
def add_task_callback(run: Interpreter, index: int, action: Step) -> Any:
    task = run.task(index)
    if task is not None:
        callback = functools.partial(run.callback, action)
        run.callbacks.append((task, callback))
        task.add_done_callback(callback)


@step(number)
def add_again(run: Interpreter, index: int) -> Any:
    """A callback that was added before, to the same future."""
    if run.callbacks:
        future, callback = run.callbacks[index % len(run.callbacks)]
        future.add_done_callback(callback)


@step(number)
def remove_callback(run: Interpreter, index: int) -> Any:
    if not run.callbacks:
        return None
    future, callback = run.callbacks[index % len(run.callbacks)]
    return future.remove_done_callback(callback)
