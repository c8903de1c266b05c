"""Running a program's main coroutine: run and Runner.

Lives here: asyncio's runner with rulip's loop in it.
Does not live here: the loop; the process-wide switch (installation.py).
Thread: any that has no running loop.
Invariant: a loop made here is closed here, whatever ended the program.
"""

import asyncio
from asyncio import events
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from .event_loop import new_event_loop
from .installation import is_installed

Result = TypeVar("Result")
LoopFactory = Callable[[], asyncio.AbstractEventLoop]


class _OwnLoopRunner(asyncio.Runner):  # type: ignore[misc]  # final for type checkers only
    """asyncio.Runner whose loops are rulip's, unless another factory is given."""

    def __init__(
        self, *, debug: bool | None = None, loop_factory: LoopFactory | None = None
    ) -> None:
        super().__init__(debug=debug, loop_factory=loop_factory or self._new_current_loop)

    def _new_current_loop(self) -> asyncio.AbstractEventLoop:
        """A loop of ours that is the current one from now on, as asyncio.Runner's own are."""
        loop = new_event_loop()
        events.set_event_loop(loop)
        # close() sets it back.
        self._set_event_loop = True
        return loop


class Runner(_OwnLoopRunner):  # type: ignore[misc]  # final for type checkers only
    """asyncio.Runner whose loops are rulip's, unless another factory is given.

    After install() the policy decides, as it does for asyncio's own: it is rulip's unless the
    program has set another one since.
    """

    def __init__(
        self, *, debug: bool | None = None, loop_factory: LoopFactory | None = None
    ) -> None:
        if loop_factory is None and is_installed():
            super(_OwnLoopRunner, self).__init__(debug=debug)
        else:
            super().__init__(debug=debug, loop_factory=loop_factory)


def run(
    main: Coroutine[Any, Any, Result],
    *,
    debug: bool | None = None,
    loop_factory: LoopFactory | None = None,
) -> Result:
    """Run a coroutine on a new loop and return its result, as asyncio.run() does."""
    if events._get_running_loop() is not None:
        raise RuntimeError("rulip.run() cannot be called from a running event loop")
    with _OwnLoopRunner(debug=debug, loop_factory=loop_factory) as runner:
        return runner.run(main)
