"""Running a program's main coroutine: run and Runner.

Lives here: asyncio's runner with rulip's loop in it.
Does not live here: the loop; the process-wide switch (policy.py).
Thread: any that has no running loop.
Invariant: a loop made here is closed here, whatever ended the program.
"""

import asyncio
from asyncio import events
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from .event_loop import new_event_loop

Result = TypeVar("Result")
LoopFactory = Callable[[], asyncio.AbstractEventLoop]


class Runner(asyncio.Runner):  # type: ignore[misc]  # final for type checkers only
    """asyncio.Runner whose loops are rulip's, unless another factory is given."""

    def __init__(
        self, *, debug: bool | None = None, loop_factory: LoopFactory | None = None
    ) -> None:
        super().__init__(debug=debug, loop_factory=loop_factory or new_event_loop)


def run(
    main: Coroutine[Any, Any, Result],
    *,
    debug: bool | None = None,
    loop_factory: LoopFactory | None = None,
) -> Result:
    """Run a coroutine on a new loop and return its result, as asyncio.run() does."""
    if events._get_running_loop() is not None:
        raise RuntimeError("rulip.run() cannot be called from a running event loop")
    with Runner(debug=debug, loop_factory=loop_factory) as runner:
        return runner.run(main)
