"""Happy eyeballs: connection attempts that start one after another until one succeeds.

Lives here: when the next attempt starts, and the end of those that did not win.
Does not live here: one attempt (connect.py).
Thread: the loop's own.
Invariant: on return or raise every attempt has ended, and each socket but the winner's is
closed.
"""

import asyncio
import socket
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

Attempt = Callable[[], Coroutine[Any, Any, socket.socket]]


async def staggered_race(
    loop: Any, attempts: Sequence[Attempt], delay: float
) -> socket.socket | None:
    """Start the attempts, the next one when the last has failed or `delay` has passed.

    The first socket wins; None if every attempt failed with OSError. Another exception of an
    attempt is raised.
    """
    running: set[Any] = set()
    winner: socket.socket | None = None
    try:
        winner = await _first(loop, attempts, delay, running)
        await _end(running)
        return winner
    except BaseException:
        if winner is not None:
            winner.close()
        await _end(running)
        raise


async def _first(
    loop: Any, attempts: Sequence[Attempt], delay: float, running: set[Any]
) -> socket.socket | None:
    """The race itself; attempts that have not ended are left in `running`."""
    starting = 0
    newest: Any = None
    next_start = loop.time()
    while True:
        pause = None
        if starting < len(attempts):
            pause = next_start - loop.time()
            if newest is None or newest.done() or pause <= 0:
                newest = loop.create_task(attempts[starting]())
                running.add(newest)
                starting += 1
                next_start = loop.time() + delay
                continue
        if not running:
            return None
        done, _ = await asyncio.wait(running, timeout=pause, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            if not task.cancelled() and task.exception() is None:
                # Two at a time: _end() closes the other one.
                running.discard(task)
                return task.result()  # type: ignore[no-any-return]
        for task in done:
            running.discard(task)
            if not task.cancelled() and not isinstance(task.exception(), OSError):
                raise task.exception()


async def _end(running: set[Any]) -> None:
    """Cancel what still runs; close what was connected too late."""
    for task in running:
        task.cancel()
    interrupted: BaseException | None = None
    while pending := {task for task in running if not task.done()}:
        try:
            await asyncio.wait(pending)
        except asyncio.CancelledError as exc:
            # Cancelled attempts end within a turn or two: wait for that all the same.
            interrupted = exc
    while running:
        task = running.pop()
        if not task.cancelled() and task.exception() is None:
            task.result().close()
    if interrupted is not None:
        raise interrupted
