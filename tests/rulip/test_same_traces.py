"""Random programs leave the same trace on asyncio and on rulip.

Tasks, futures, callbacks, timers, queues, locks, groups and time limits in random order, turn by
turn on a clock that the test moves. No two deadlines are equal: their order is a documented
difference.
Runs in the main thread.
Invariant: what happens, in which turn and in which order, is the same on both loops.
"""

from __future__ import annotations

import asyncio
import contextvars
import random
import types
from collections.abc import Callable
from typing import Any

import pytest
from tests.loopback import spin

import rulip
from rulip import installation

#: asyncio's names with rulip's own among them, as install() would leave them.
OURS = types.SimpleNamespace(
    **vars(asyncio) | {name: own for name, _, own in installation._exchanges()}
)

var: contextvars.ContextVar[int] = contextvars.ContextVar("var", default=-1)

ACTORS = 6
STEPS = 20
TURNS = 150


class Program:
    """One random program; the seed decides everything."""

    def __init__(self, loop: asyncio.AbstractEventLoop, seed: int, aio: Any) -> None:
        self.loop = loop
        self.aio = aio
        self.pick = random.Random(seed)
        self.now = 1000.0
        self.turn = 0
        self.unique = 0
        self.trace: list[Any] = []
        self.tasks: list[asyncio.Task[Any]] = []
        self.futures: list[asyncio.Future[Any]] = []
        self.handles: list[asyncio.Handle] = []
        loop.time = lambda: self.now  # type: ignore[method-assign]
        loop.set_exception_handler(self.report)
        self.queue: asyncio.Queue[int] = asyncio.Queue(2)
        self.lock = asyncio.Lock()
        self.event = asyncio.Event()
        self.semaphore = asyncio.Semaphore(2)
        self.condition = asyncio.Condition()

    def note(self, *what: Any) -> None:
        self.trace.append((self.turn, *what))

    def report(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        exc = context.get("exception")
        self.note("reported", context["message"].split(" at ")[0].split("(")[0], type(exc).__name__)

    def delay(self) -> float:
        """A delay that no other timer has."""
        self.unique += 1
        return self.pick.randrange(8) * 0.001 + self.unique * 1e-7

    def number(self, task: asyncio.Task[Any] | None) -> int:
        return self.tasks.index(task) if task in self.tasks else -1

    def callback(self, name: str) -> Callable[..., None]:
        number = self.pick.randrange(1000)

        def called(*args: Any) -> None:
            self.note(name, number, len(args), var.get())
            act = self.pick.randrange(8)
            if act == 0:
                raise ZeroDivisionError
            if act == 1:
                self.handles.append(self.loop.call_soon(self.callback("nested")))
            if act == 2 and self.tasks:
                self.note("cancels", self.pick.choice(self.tasks).cancel(f"by {number}"))
            if act == 3 and self.futures:
                self.settle(self.pick.choice(self.futures))
            if act == 4 and self.handles:
                self.pick.choice(self.handles).cancel()

        return called

    def settle(self, future: asyncio.Future[Any]) -> None:
        if future.done():
            return
        how = self.pick.randrange(3)
        if how == 0:
            future.set_result(self.pick.randrange(100))
        elif how == 1:
            future.set_exception(LookupError("settled"))
        else:
            future.cancel("settled")

    def start(self, coroutine: Any) -> asyncio.Task[Any]:
        task = self.loop.create_task(coroutine)
        self.tasks.append(task)
        if self.pick.randrange(2):
            task.add_done_callback(self.callback("done"))
        return task

    async def child(self, depth: int) -> Any:
        for _ in range(self.pick.randrange(3)):
            await asyncio.sleep(self.delay() if self.pick.randrange(2) else 0)
        how = self.pick.randrange(6)
        if how == 0:
            raise KeyError(depth)
        if how == 1 and depth:
            return await self.start(self.child(depth - 1))
        return how

    async def actor(self, name: int) -> Any:
        var.set(name)
        for step in range(STEPS):
            action = self.pick.choice(ACTIONS)
            self.note("begins", name, step, action.__name__)
            try:
                result = await action(self)
            except asyncio.CancelledError as exc:
                me = asyncio.current_task()
                assert me is not None
                self.note("cancelled", name, step, exc.args, me.cancelling(), var.get())
                if self.pick.randrange(6) == 0:
                    raise
                if self.pick.randrange(2):
                    self.note("uncancel", me.uncancel())
            except BaseExceptionGroup as exc:
                self.note("group", name, step, [type(each).__name__ for each in exc.exceptions])
            except Exception as exc:
                self.note("raised", name, step, type(exc).__name__)
            else:
                self.note("ends", name, step, repr(result)[:40], var.get())
        return name

    def run(self) -> list[Any]:
        for name in range(ACTORS):
            self.start(self.actor(name))
        for self.turn in range(TURNS):
            self.now += 0.0007
            if self.turn % 5 == 4:  # or too many would wait for each other
                self.event.set()
                self.event.clear()
                for future in self.futures[-3:]:
                    self.settle(future)
            spin(self.loop)
        for round_ in range(40):
            left = [task for task in self.tasks if not task.done()]
            if not left:
                break
            self.note("left", len(left), round_)
            for task in left:
                task.cancel("at the end")
            self.event.set()
            for _ in range(4):
                self.turn += 1
                self.now += 1
                spin(self.loop)
        for task in self.tasks:
            if task.done() and not task.cancelled():
                self.note("outcome", type(task.exception()).__name__)
        for future in self.futures:
            if future.done() and not future.cancelled():
                future.exception()
        return self.trace


async def sleeps(program: Program) -> Any:
    return await asyncio.sleep(program.delay(), "slept")


async def yields(program: Program) -> Any:
    for _ in range(program.pick.randrange(1, 4)):
        await asyncio.sleep(0)


async def waits_for_a_future(program: Program) -> Any:
    future = program.loop.create_future()
    program.futures.append(future)
    for _ in range(program.pick.randrange(3)):
        future.add_done_callback(program.callback("settled"))
    if program.pick.randrange(4):
        program.loop.call_later(program.delay(), program.settle, future)
    return await future


async def waits_for_an_old_future(program: Program) -> Any:
    return await program.pick.choice(program.futures) if program.futures else None


async def settles(program: Program) -> Any:
    if program.futures:
        program.settle(program.pick.choice(program.futures))


async def calls(program: Program) -> Any:
    way = program.pick.randrange(4)
    callback = program.callback("called")
    if way == 0:
        program.handles.append(program.loop.call_soon(callback))
    elif way == 1:
        program.handles.append(program.loop.call_later(program.delay(), callback, 1))
    elif way == 2:
        when = program.now + program.delay()
        program.handles.append(program.loop.call_at(when, callback, 1, 2))
    else:
        program.handles.append(program.loop.call_soon_threadsafe(callback))


async def cancels(program: Program) -> Any:
    return program.pick.choice(program.tasks).cancel("by an actor")


async def cancels_a_handle(program: Program) -> Any:
    if program.handles:
        program.pick.choice(program.handles).cancel()


async def spawns(program: Program) -> Any:
    task = program.start(program.child(2))
    return await task if program.pick.randrange(2) else None


async def awaits_a_task(program: Program) -> Any:
    task = program.pick.choice(program.tasks)
    if task is asyncio.current_task() or not task.done():
        return None
    return await task


async def gathers(program: Program) -> Any:
    children = [program.child(1) for _ in range(program.pick.randrange(4))]
    return await program.aio.gather(*children, return_exceptions=bool(program.pick.randrange(2)))


async def gathers_what_is_there(program: Program) -> Any:
    me = asyncio.current_task()
    others = [task for task in program.tasks[-3:] if task is not me and task.done()]
    given = [*program.futures[-2:], *others, program.child(1)]
    program.pick.shuffle(given)
    outer = program.aio.gather(
        *given, *given[:1], return_exceptions=bool(program.pick.randrange(2))
    )
    if program.pick.randrange(2):
        program.loop.call_later(program.delay(), outer.cancel, "outer")
    inner = program.aio.gather(outer, program.child(0), return_exceptions=True)
    return await program.aio.wait_for(inner, program.delay())


async def groups(program: Program) -> Any:
    async with program.aio.TaskGroup() as group:
        tasks = [group.create_task(program.child(1)) for _ in range(program.pick.randrange(1, 4))]
    return [task.result() for task in tasks]


async def groups_in_a_group(program: Program) -> Any:
    async def inner() -> Any:
        async with program.aio.TaskGroup() as group:
            group.create_task(program.child(0))
            await program.child(1)

    async with program.aio.TaskGroup() as group:
        group.create_task(inner())
        if program.pick.randrange(3) == 0:
            raise LookupError("in the block")
        await program.child(0)
        task = group.create_task(program.child(0))
        if program.pick.randrange(3) == 0:
            task.cancel()
    return repr(group)


async def limits(program: Program) -> Any:
    async with program.aio.timeout(program.delay()):
        return await program.child(1)


async def limits_in_limits(program: Program) -> Any:
    me = asyncio.current_task()
    assert me is not None
    async with program.aio.timeout(program.delay()) as outer:
        try:
            async with program.aio.timeout_at(program.now + program.delay()) as inner:
                if program.pick.randrange(3) == 0:
                    outer.reschedule(program.now + program.delay())
                await program.child(1)
                inner.reschedule(None)
                await program.child(0)
        finally:
            program.note("limits", outer.expired(), inner.expired(), me.cancelling())
    return repr(outer), repr(inner)


async def waits_for(program: Program) -> Any:
    return await program.aio.wait_for(program.child(1), program.delay())


async def waits_for_a_shield(program: Program) -> Any:
    future = program.loop.create_future()
    program.futures.append(future)
    shielded = program.aio.shield(future)
    if program.pick.randrange(2):
        program.loop.call_later(program.delay(), program.settle, shielded)
    return await program.aio.wait_for(shielded, program.delay())


async def waits(program: Program) -> Any:
    tasks = [program.start(program.child(1)) for _ in range(program.pick.randrange(1, 4))]
    when = program.pick.choice(
        [asyncio.FIRST_COMPLETED, asyncio.FIRST_EXCEPTION, asyncio.ALL_COMPLETED]
    )
    done, pending = await program.aio.wait(tasks, timeout=program.delay(), return_when=when)
    return len(done), len(pending)


async def shields(program: Program) -> Any:
    return await program.aio.shield(program.start(program.child(1)))


async def puts(program: Program) -> Any:
    await program.queue.put(program.pick.randrange(100))


async def gets(program: Program) -> Any:
    return await program.queue.get()


async def locks(program: Program) -> Any:
    async with program.lock:
        await asyncio.sleep(0)
        return "locked"


async def enters(program: Program) -> Any:
    async with program.semaphore:
        return await program.child(0)


async def waits_for_an_event(program: Program) -> Any:
    if program.pick.randrange(2):
        program.event.set()
        program.event.clear()
    return await program.aio.wait_for(program.event.wait(), program.delay())


async def notifies(program: Program) -> Any:
    async with program.condition:
        if program.pick.randrange(2):
            program.condition.notify(2)
        else:
            await program.aio.wait_for(program.condition.wait(), program.delay())


async def iterates(program: Program) -> Any:
    async def generate() -> Any:
        try:
            for number in range(5):
                await asyncio.sleep(0)
                yield number
        finally:
            program.note("generator ends")
            await asyncio.sleep(0)

    async for number in generate():
        if program.pick.randrange(3) == 0:
            return number
    return None


ACTIONS = [
    sleeps,
    yields,
    waits_for_a_future,
    waits_for_an_old_future,
    settles,
    calls,
    cancels,
    cancels_a_handle,
    spawns,
    awaits_a_task,
    gathers,
    gathers_what_is_there,
    groups,
    groups_in_a_group,
    limits,
    limits_in_limits,
    waits_for,
    waits_for_a_shield,
    waits,
    shields,
    puts,
    gets,
    locks,
    enters,
    waits_for_an_event,
    notifies,
    iterates,
]


def trace_of(
    make: Callable[[], asyncio.AbstractEventLoop], seed: int, aio: Any = asyncio
) -> list[Any]:
    loop = make()
    try:
        trace = Program(loop, seed, aio).run()
        del loop.time
        loop.set_exception_handler(lambda loop, context: None)
        for task in asyncio.all_tasks(loop):
            task.cancel()
        spin(loop, 5)
        loop.run_until_complete(loop.shutdown_asyncgens())
        return trace
    finally:
        loop.close()


@pytest.mark.parametrize("block", range(6))
def test_random_programs_leave_the_same_trace(block):
    size = 25
    for seed in range(block * size, (block + 1) * size):
        expected = trace_of(asyncio.SelectorEventLoop, seed)
        assert len(expected) > 20
        for aio in (asyncio, OURS):
            got = trace_of(rulip.new_event_loop, seed, aio)
            for number, (theirs, ours) in enumerate(zip(expected, got, strict=False)):
                assert theirs == ours, (seed, number, expected[max(0, number - 5) : number])
            assert len(expected) == len(got), seed
