"""A task that is cancelled again: which message it sees, and what its exception came after.

Not here: how often a task may be cancelled, and counts of it (test_task_cancelling.py).
Runs in the main thread, on asyncio, on rulip, and with the parts of both.
Invariant: a test waits for turns of the loop, never for time.
"""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from tests.loopback import spin

pytestmark = pytest.mark.crossings

WAITS = {
    "sleep": lambda aio: aio.sleep(60),
    "get": lambda aio: aio.Queue().get(),
    "wait": lambda aio: aio.Event().wait(),
    "future": lambda aio: asyncio.get_running_loop().create_future(),
    "gather": lambda aio: aio.gather(aio.sleep(60)),
    "shield": lambda aio: aio.shield(asyncio.get_running_loop().create_future()),
}


@pytest.mark.parametrize("what", WAITS)
def test_the_first_message_stays(loop: asyncio.AbstractEventLoop, aio: Any, what: str) -> None:
    async def wait() -> None:
        await WAITS[what](aio)

    task = loop.create_task(wait())
    spin(loop)
    assert task.cancel("first")
    assert task.cancel("second")
    with pytest.raises(asyncio.CancelledError) as raised:
        loop.run_until_complete(task)
    # gather() ends a turn after its child did: its own error is the later one.
    assert raised.value.args == (("second",) if what == "gather" else ("first",))
    spin(loop, 3)


@pytest.mark.parametrize("what", WAITS)
def test_cancelled_while_it_answers_a_cancellation(
    loop: asyncio.AbstractEventLoop, aio: Any, what: str
) -> None:
    """The exception is not tied to what an outer frame handles before it gets there."""
    seen: list[Any] = []

    async def wait() -> None:
        try:
            await WAITS[what](aio)
        except BaseException as error:
            seen.append((error.args, error.__context__))
            raise

    async def main() -> None:
        try:
            await wait()
        except asyncio.CancelledError:
            await wait()

    task = loop.create_task(main())
    spin(loop)
    task.cancel("one")
    spin(loop, 4)
    task.cancel("two")
    spin(loop, 4)
    assert task.cancelled()
    assert [args for args, _ in seen] == [("one",), ("two",)]
    assert [context for _, context in seen] == [None, None]


@pytest.mark.parametrize("notified", [False, True])
def test_what_a_condition_was_cancelled_after(run: Any, aio: Any, notified: bool) -> None:
    """Cancellations while it takes its lock again follow what ended the wait, not each other."""

    async def main(names: Any) -> list[Any]:
        condition = names.Condition()
        seen: list[Any] = []

        async def wait() -> None:
            async with condition:
                try:
                    await condition.wait()
                except asyncio.CancelledError as error:
                    context = error.__context__
                    seen.append((error.args, context and context.args))
                    raise

        task = asyncio.create_task(wait())
        await asyncio.sleep(0)
        await condition.acquire()
        if notified:
            condition.notify()
        else:
            task.cancel("a")
        for message in ("b", "c"):
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            task.cancel(message)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        condition.release()
        await asyncio.wait([task])
        return seen

    # asyncio's own, which differs between versions.
    assert run(main(aio)) == run(main(asyncio)) != []
