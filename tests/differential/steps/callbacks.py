"""Steps about callbacks: scheduling, cancelling, and stopping the loop.

Thread: the one of the run. Invariant: no two timers have one deadline.
"""

from __future__ import annotations

import contextvars
from typing import Any

from ..grammar import Step, action, delay, flag, number, step
from ..interpreter import Interpreter


@step(action, flag)
def call_soon(run: Interpreter, action: Step, apart: bool) -> Any:
    context = contextvars.Context() if apart else None
    run.handles.append(run.loop.call_soon(run.callback, action, context=context))


@step(action)
def call_soon_threadsafe(run: Interpreter, action: Step) -> Any:
    run.handles.append(run.loop.call_soon_threadsafe(run.callback, action))


@step(delay, action)
def call_later(run: Interpreter, milliseconds: int, action: Step) -> Any:
    delay = run.delay(milliseconds)
    run.handles.append(run.loop.call_later(delay, run.callback, action))


@step(delay, action)
def call_at(run: Interpreter, milliseconds: int, action: Step) -> Any:
    """Sometimes at a time that has passed."""
    when = run.now + run.delay(milliseconds - 2)
    run.handles.append(run.loop.call_at(when, run.callback, action))


@step(number)
def cancel_handle(run: Interpreter, index: int) -> Any:
    if not run.handles:
        return None
    handle = run.handles[index % len(run.handles)]
    return (handle.cancelled(), handle.cancel(), handle.cancelled())


@step()
def stop(run: Interpreter) -> Any:
    return run.loop.stop()


@step(action)
def report(run: Interpreter, action: Step) -> Any:
    return run.loop.call_exception_handler({"message": "by hand", "action": action[0]})
