"""Steps about asynchronous generators and context managers, finished or left.

Thread: the one of the run.
Invariant: a generator that is left unfinished is dropped at once, or kept to the end.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import Any

from ..grammar import Steps, body, error, one_of, several, step
from ..interpreter import Boom, Interpreter, made, told

use = one_of("next", "next", "send", "throw", "close", "cancel")


async def generate(run: Interpreter, steps: Steps) -> Any:
    try:
        for one in steps:
            try:
                sent = yield await run.body([one])
                run.note("sent", sent)
            except Boom as thrown:
                run.note("thrown", told(thrown))
                yield "caught"
    finally:
        run.note("generator closes")
        await run.aio.sleep(0)
        run.note("generator closed")


@step(body, several(use, 4), one_of("close", "drop", "keep"))
async def generator(run: Interpreter, steps: Steps, uses: list[str], end: str) -> Any:
    made_by_hand = generate(run, steps)
    if end == "keep":
        run.kept.append(made_by_hand)
    for how in uses:
        try:
            match how:
                case "next":
                    run.note(how, await anext(made_by_hand))
                case "send":
                    run.note(how, await made_by_hand.asend("sent" if uses[0] != "send" else None))
                case "throw":
                    run.note(how, await made_by_hand.athrow(Boom("thrown")))
                case "close":
                    run.note(how, await made_by_hand.aclose())
        except (StopAsyncIteration, Boom) as ended:
            run.note(how, told(ended))
    if end == "close":
        await made_by_hand.aclose()


@step(body, one_of("break", "through", "fail"))
async def iterate(run: Interpreter, steps: Steps, how: str) -> Any:
    async for result in generate(run, steps):
        run.note("iterated", result)
        if how == "break":
            break
        if how == "fail":
            raise made("Boom")


@step(body, error)
async def with_manager(run: Interpreter, steps: Steps, kind: str) -> Any:
    @contextlib.asynccontextmanager
    async def manager() -> AsyncIterator[None]:
        try:
            await run.aio.sleep(0)
            yield
        finally:
            await run.aio.sleep(0)
            run.note("leaves")

    async with manager():
        await run.body(steps)
        raise made(kind)
