"""Runs a program and tells what happened: in which turn, to whom, in which order, with what result.

Here: what each step does, and the trace. Not here: which programs there are (programs.py).
Thread: one. The clock is the interpreter's: each turn of the loop takes a millisecond, and no two
deadlines are equal, whose order is a documented difference.
Invariant: what is in a trace depends on the program and on asyncio's semantics, on nothing else.
"""

from __future__ import annotations

import asyncio
import contextvars
import gc
import re
import sys
import warnings
from collections.abc import AsyncIterator, Callable
from typing import Any

from .programs import PRIMITIVES, Program, Step, Steps

TURNS = 60
TURNS_TO_END = 40
MILLISECOND = 0.001

Trace = list[Any]

#: The number of the task of the program that runs, or that made the one that runs.
root: contextvars.ContextVar[int] = contextvars.ContextVar("root", default=-1)


class Boom(Exception):
    """What a program raises on purpose."""


def told(error: BaseException | None) -> Any:
    """An exception as a comparable value."""
    if isinstance(error, BaseExceptionGroup):
        return (type(error).__name__, error.message, [told(inner) for inner in error.exceptions])
    if error is None:
        return None
    return (type(error).__name__, plain(str(error)))


def plain(text: str) -> str:
    """Without addresses, generated names, and what stands for the same thing."""
    text = re.sub(r" at 0x[0-9a-f]+", "", text)
    text = re.sub(r"Task-\d+", "Task-N", text)
    return re.sub(r"<(?:Task|Future|_GatheringFuture|Timer|Handle|coroutine)\b.*", "<...>", text)


class InOrder(dict[Any, None]):
    """A set that yields its items in the order they came."""

    def add(self, item: Any) -> None:
        self[item] = None

    def discard(self, item: Any) -> None:
        self.pop(item, None)


class Interpreter:
    """One run of one program."""

    def __init__(self, loop: asyncio.AbstractEventLoop, aio: Any) -> None:
        self.loop, self.aio = loop, aio
        self.now, self.turn, self.deadlines = 100.0, 0, 0
        self.trace: Trace = []
        self.tasks: list[asyncio.Task[Any]] = []
        loop.time = lambda: self.now  # type: ignore[method-assign]
        loop.set_exception_handler(self.report)
        count = range(PRIMITIVES)
        self.queues = [aio.Queue(1), aio.PriorityQueue()]
        self.locks = [aio.Lock() for _ in count]
        self.events = [aio.Event() for _ in count]
        self.semaphores = [aio.Semaphore(1), aio.BoundedSemaphore(2)]
        self.conditions = [aio.Condition(), aio.Condition(self.locks[1])]
        self.barriers = [aio.Barrier(2), aio.Barrier(3)]
        self.futures = [loop.create_future() for _ in range(4)]
        self.reader = aio.StreamReader(limit=8, loop=loop)

    # -- the trace

    def note(self, *what: Any) -> None:
        task = asyncio.current_task(self.loop) if self.loop.is_running() else None
        who = None if task is None else plain(task.get_name())
        self.trace.append((self.turn, who, *what))

    def report(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        message = re.sub(r"[ (].*0x.*", "", plain(context["message"]))
        self.trace.append((self.turn, "reported", message.split("Gathering")[0], told(error)))

    def look(self) -> None:
        task = asyncio.current_task(self.loop)
        names = sorted(plain(task.get_name()) for task in asyncio.all_tasks(self.loop))
        primitives = (self.queues, self.locks, self.events, self.semaphores, self.conditions)
        looks = [plain(str(primitive)) for several in primitives for primitive in several]
        looks += [plain(repr(barrier)) for barrier in self.barriers]
        self.note("look", names, task and task.cancelling(), looks)

    # -- running

    def delay(self, milliseconds: int) -> float:
        """A delay, so many turns long, whose end is nobody else's."""
        self.deadlines += 1
        return milliseconds * MILLISECOND + self.deadlines * 1e-7

    def spin(self) -> None:
        self.loop.stop()
        self.loop.run_forever()
        self.turn += 1
        self.now += MILLISECOND

    def play(self, program: Program) -> Trace:
        unraisable: list[Any] = []
        hook, sys.unraisablehook = sys.unraisablehook, unraisable.append
        try:
            return self.play_watched(program, unraisable)
        finally:
            sys.unraisablehook = hook

    def play_watched(self, program: Program, unraisable: list[Any]) -> Trace:
        with warnings.catch_warnings(record=True) as seen:
            warnings.simplefilter("always")
            for number, steps in enumerate(program):
                self.spawn(steps, f"t{number}")
            self.spin_until_done(TURNS)
            self.finish()
        self.trace.append(sorted(plain(str(warning.message)) for warning in seen))
        self.trace.append(sorted(str(told(entry.exc_value)) for entry in unraisable))
        return list(self.trace)

    def spin_until_done(self, turns: int) -> None:
        for _ in range(turns):
            self.spin()
            if not asyncio.all_tasks(self.loop):
                return

    def finish(self) -> None:
        for _ in range(4):
            left = sorted(asyncio.all_tasks(self.loop), key=self.age)
            self.trace.append([plain(task.get_name()) for task in left])
            for task in left:
                task.cancel("the end")
            self.spin_until_done(TURNS_TO_END)
        for task in self.tasks:
            self.trace.append((task.get_name(), self.outcome(task)))
        for future in self.futures:
            self.trace.append(self.outcome(future))
        self.tasks.clear()
        self.futures.clear()
        gc.collect()

    def age(self, task: asyncio.Task[Any]) -> tuple[int, int]:
        """By number: the program's own tasks, then those made for it."""
        if task in self.tasks:
            return (0, self.tasks.index(task))
        number = task.get_name().rpartition("-")[2]
        # A task factory's are not all named: it numbers them.
        return (1, int(number) if number.isdecimal() else getattr(task, "number", 0))

    def outcome(self, future: asyncio.Future[Any]) -> Any:
        if not future.done():
            return "pending"
        if future.cancelled():
            return "cancelled"
        error = future.exception()
        return told(error) if error is not None else plain(repr(future.result()))

    def spawn(self, steps: Steps, name: str | None = None) -> asyncio.Task[Any]:
        number = len(self.tasks)
        context = contextvars.copy_context()
        context.run(root.set, number)
        name = name or f"s{number}"
        task = self.loop.create_task(self.body(steps), name=name, context=context)
        self.tasks.append(task)
        return task

    # -- steps

    def act(self, step: Step) -> Any:
        """A step that does not await."""
        match step:
            case ("cancel", index, message):
                task = self.tasks[index % len(self.tasks)]
                return task.cancel(message) if message else task.cancel()
            case ("set_event", index):
                return self.events[index].set()
            case ("clear_event", index):
                return self.events[index].clear()
            case ("settle", index, how):
                return self.settle(self.futures[index], how)
            case ("put_nowait", index, item):
                return self.queues[index].put_nowait(item)
            case ("get_nowait", index):
                return self.queues[index].get_nowait()
            case ("task_done", index):
                return self.queues[index].task_done()
            case ("release", index):
                return self.semaphores[index].release()
            case ("feed", data):
                return self.reader.feed_data(data)
            case ("feed_eof",):
                return self.reader.feed_eof()
            case ("fail" | "raise",):
                raise Boom("on purpose")
            case ("look",):
                return self.look()
            case ("call_soon", action):
                self.loop.call_soon(self.callback, action)
                return None
            case ("call_later", milliseconds, action):
                self.loop.call_later(self.delay(milliseconds), self.callback, action)
                return None
            case ("uncancel",):
                task = asyncio.current_task(self.loop)
                return task and task.uncancel()
        return NotImplemented

    def settle(self, future: asyncio.Future[Any], how: str) -> Any:
        if how == "cancel":
            return future.cancel()
        if how == "result":
            return future.set_result(len(self.trace))
        return future.set_exception(Boom("settled"))

    def callback(self, action: Step) -> None:
        try:
            self.note("callback", action, self.act(action))
        except Exception as error:
            self.note("callback", action, told(error))
            raise

    async def body(self, steps: Steps) -> int:
        for count, step in enumerate(steps):
            try:
                result = await self.do(step)
            except BaseException as error:
                self.note(count, step[0], "raised", told(error))
                raise
            self.note(count, step[0], plain(repr(result)))
        return len(steps)

    async def do(self, step: Step) -> Any:
        result = self.act(step)
        if result is not NotImplemented:
            return result
        method: Callable[..., Any] = getattr(self, f"do_{step[0]}")
        return await method(*step[1:])

    async def do_sleep(self, milliseconds: int) -> Any:
        return await self.aio.sleep(self.delay(milliseconds) if milliseconds else 0, "slept")

    async def do_put(self, index: int, item: int) -> Any:
        return await self.queues[index].put(item)

    async def do_get(self, index: int) -> Any:
        return await self.queues[index].get()

    async def do_join(self, index: int) -> Any:
        return await self.queues[index].join()

    async def do_acquire(self, index: int) -> Any:
        return await self.semaphores[index].acquire()

    async def do_wait_event(self, index: int) -> Any:
        return await self.events[index].wait()

    async def do_notify(self, index: int, count: int) -> Any:
        async with self.conditions[index]:
            self.conditions[index].notify(count)

    async def do_wait_condition(self, index: int) -> Any:
        async with self.conditions[index]:
            return await self.conditions[index].wait()

    async def do_barrier(self, index: int) -> Any:
        return await self.barriers[index].wait()

    async def do_await_future(self, index: int) -> Any:
        return await self.futures[index]

    async def do_await_task(self, index: int) -> Any:
        task = self.tasks[index % len(self.tasks)]
        if self.tasks.index(task) > root.get():
            return await task
        # Tasks that await each other in a ring cannot be cancelled, nor end.
        done, _ = await self.aio.wait([task], timeout=self.delay(index))
        return len(done)

    async def do_read(self, how: str, count: int) -> Any:
        match how:
            case "line":
                return await self.reader.readline()
            case "exactly":
                return await self.reader.readexactly(count)
            case "until":
                return await self.reader.readuntil(b"\x00")
        return await self.reader.read(count)

    async def do_with_lock(self, index: int, steps: Steps) -> Any:
        async with self.locks[index]:
            return await self.body(steps)

    async def do_with_semaphore(self, index: int, steps: Steps) -> Any:
        async with self.semaphores[index]:
            return await self.body(steps)

    async def do_with_condition(self, index: int, steps: Steps) -> Any:
        async with self.conditions[index] as entered:
            assert entered is None
            return await self.body(steps)

    async def do_timeout(self, milliseconds: int, steps: Steps) -> Any:
        async with self.aio.timeout(self.delay(milliseconds)) as limit:
            await self.body(steps)
        return limit.expired()

    async def do_wait_for(self, milliseconds: int, steps: Steps) -> Any:
        return await self.aio.wait_for(self.body(steps), self.delay(milliseconds))

    async def do_gather(self, return_exceptions: bool, bodies: list[Steps]) -> Any:
        coroutines = [self.body(steps) for steps in bodies]
        results = await self.aio.gather(*coroutines, return_exceptions=return_exceptions)
        return [told(item) if isinstance(item, BaseException) else item for item in results]

    async def do_wait(self, mode: str, milliseconds: int | None, bodies: list[Steps]) -> Any:
        tasks = [self.spawn(steps) for steps in bodies]
        limit = None if milliseconds is None else self.delay(milliseconds)
        done, left = await self.aio.wait(tasks, timeout=limit, return_when=mode)
        return [sorted(task.get_name() for task in several) for several in (done, left)]

    async def do_shield(self, steps: Steps) -> Any:
        return await self.aio.shield(self.spawn(steps))

    async def do_group(self, bodies: list[Steps]) -> Any:
        async with self.aio.TaskGroup() as group:
            if type(group) is asyncio.TaskGroup:
                # It cancels its tasks in the order of their addresses; ours in the order they came.
                group._tasks = InOrder()  # type: ignore[attr-defined]
            tasks = [group.create_task(self.body(steps)) for steps in bodies]
        return [task.result() for task in tasks]

    async def do_spawn(self, steps: Steps) -> Any:
        return self.spawn(steps).get_name()

    async def do_generator(self, to_the_end: bool, steps: Steps) -> Any:
        async def generate() -> AsyncIterator[int]:
            try:
                for step in steps:
                    await self.do(step)
                    yield 1
            finally:
                self.note("generator closes")
                await self.aio.sleep(0)

        generator = generate()
        async for _ in generator:
            if not to_the_end:
                break
        await generator.aclose()  # type: ignore[attr-defined]
        return "generated"

    async def do_try(self, how: str, steps: Steps, others: Steps) -> Any:
        try:
            return await self.body(steps)
        except (Exception, asyncio.CancelledError) as error:
            if how == "swallow":
                return await self.body(others)
            self.note("caught", told(error))
            raise
        finally:
            if how == "finally":
                await self.body(others)
