"""Runs a program and tells what happened: in which turn, to whom, in which order, with what result.

Here: the clock, the turns, tasks and callbacks of a program, the trace, the end. Not here: what
each step does (steps/), and which programs there are (grammar.py).
Thread: one. The clock is the interpreter's: each turn of the loop takes a millisecond, and no two
deadlines are equal, whose order is a documented difference.
Invariant: what is in a trace depends on the program and on asyncio's semantics, on nothing else.
"""

from __future__ import annotations

import asyncio
import contextvars
import gc
import itertools
import re
import sys
import warnings
from functools import cached_property
from typing import Any

from .grammar import KINDS, Program, Step, Steps

#: A program ends after so many turns in which nothing happens, or so many in all.
QUIET = 9
TURNS = 80
MILLISECOND = 0.001

Trace = list[Any]

#: The number of the task of the program that runs, or that made the one that runs.
root: contextvars.ContextVar[int] = contextvars.ContextVar("root", default=-1)
#: One that programs set and reset.
variable: contextvars.ContextVar[int] = contextvars.ContextVar("variable", default=-1)


class Boom(Exception):
    """What a program raises on purpose."""


class Base(BaseException):
    """What it raises that is no Exception."""


def made(kind: str) -> BaseException:
    """An exception by name."""
    if kind == "CancelledError":
        return asyncio.CancelledError("by hand")
    known: dict[str, type[BaseException]] = {"Boom": Boom, "Base": Base}
    return (known.get(kind) or getattr(__import__("builtins"), kind))("on purpose")


def told(error: Any) -> Any:
    """An exception as a comparable value: what it says, and why it came about."""
    if not isinstance(error, BaseException):
        return repr(error)  # none, or what a future written in Python takes for one
    inner = [told(one) for one in getattr(error, "exceptions", ())]
    why = [type(error.__cause__).__name__, type(error.__context__).__name__]
    text = error.message if isinstance(error, BaseExceptionGroup) else plain(str(error))
    return (type(error).__name__, text, inner, why, error.__suppress_context__)


ADDRESS = re.compile(r" at 0x[0-9a-f]+")
NUMBERED = re.compile(r"Task-\d+")
SHOWN = re.compile(
    r"<(?:\w*(?:Task|Future)\b|_GatheringFuture|TaskGroup|Timer|Handle|coroutine|Token|"
    r"tests\.|object).*",
    re.DOTALL,
)


def plain(text: str) -> str:
    """Without addresses, generated names, and what stands for the same thing."""
    if "<" in text:
        text = SHOWN.sub("<...>", ADDRESS.sub("", text))
    return NUMBERED.sub("Task-N", text) if "Task-" in text else text


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
        self.ended, self.last_turn, self.heard, self.quiet = False, 0, 0, 0
        self.trace: Trace = []
        self.tasks: list[tuple[int, asyncio.Task[Any]]] = []
        self.count = itertools.count()
        loop.time = lambda: self.now  # type: ignore[method-assign]
        loop.set_exception_handler(self.report)

    # -- what programs share; made when a step asks

    @cached_property
    def queues(self) -> list[Any]:
        return [self.aio.Queue(1), self.aio.PriorityQueue(), self.aio.LifoQueue(2)]

    @cached_property
    def locks(self) -> list[Any]:
        return [self.aio.Lock(), self.aio.Lock()]

    @cached_property
    def events(self) -> list[Any]:
        return [self.aio.Event(), self.aio.Event()]

    @cached_property
    def semaphores(self) -> list[Any]:
        return [self.aio.Semaphore(1), self.aio.BoundedSemaphore(2)]

    @cached_property
    def conditions(self) -> list[Any]:
        return [self.aio.Condition(), self.aio.Condition(self.locks[1])]

    @cached_property
    def barriers(self) -> list[Any]:
        return [self.aio.Barrier(2), self.aio.Barrier(3)]

    @cached_property
    def reader(self) -> Any:
        return self.aio.StreamReader(limit=8, loop=self.loop)

    @cached_property
    def reading(self) -> Any:
        """Held by whoever reads: two that read at once are documented differences."""
        return self.aio.Lock()

    @cached_property
    def futures(self) -> list[Any]:
        return [self.new_future(index) for index in range(4)]

    def new_future(self, index: int) -> Any:
        """The loop's, the class's that programs name, asyncio's, and one written in Python."""
        if index == 0:
            return self.loop.create_future()
        if index == 1:
            return self.aio.Future(loop=self.loop)
        return (asyncio.Future, asyncio.futures._PyFuture)[index % 2](loop=self.loop)  # type: ignore[attr-defined]

    @cached_property
    def kept(self) -> list[Any]:
        """What is kept to the end: generators left unfinished."""
        return []

    @cached_property
    def handles(self) -> list[asyncio.Handle]:
        return []

    @cached_property
    def callbacks(self) -> list[Any]:
        """Callbacks that were added: (future, function)."""
        return []

    @cached_property
    def limits(self) -> list[Any]:
        return []

    @cached_property
    def groups(self) -> list[Any]:
        return []

    @cached_property
    def gatherings(self) -> list[Any]:
        return []

    @cached_property
    def coroutines(self) -> list[Any]:
        return []

    @cached_property
    def dropped(self) -> list[Any]:
        """What goes at the end: a step may hold what it awaited until it ends."""
        return []

    @cached_property
    def tokens(self) -> list[Any]:
        return []

    # -- the trace

    def note(self, *what: Any) -> None:
        task = asyncio.current_task(self.loop)
        who = None if task is None else plain(task.get_name())
        self.trace.append((self.turn, who, *what))

    def report(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        message = re.sub(r"[ (].*0x.*", "", plain(context["message"])).split("Gathering")[0]
        self.trace.append((self.turn, "reported", message, told(error), list(context)))

    def warned(self, message: Warning | str, category: type[Warning], *where: Any) -> None:
        text = plain(str(message).partition("\n")[0])
        self.trace.append((self.turn, "warned", category.__name__, text))

    def unraisable(self, entry: Any) -> None:
        self.trace.append((self.turn, "unraisable", told(entry.exc_value)))

    # -- running

    def delay(self, milliseconds: int) -> float:
        """A delay, so many turns long, whose end is nobody else's."""
        self.deadlines += 1
        return milliseconds * MILLISECOND + self.deadlines * 1e-7

    def delay_or_none(self, milliseconds: int) -> float:
        """The same, or none at all."""
        return self.delay(milliseconds) if milliseconds else 0

    def tick(self) -> None:
        """The first and the last of each turn."""
        self.turn += 1
        self.now += MILLISECOND
        self.quiet = self.quiet + 1 if len(self.trace) == self.heard else 0
        self.heard = len(self.trace)
        if self.quiet > QUIET or self.turn > self.last_turn:
            self.ended = True
            self.loop.stop()
        else:
            self.loop.call_soon(self.tick)

    def spin(self, turns: int) -> None:
        """Until nothing happens any more. What stops the loop does not stop the program."""
        self.ended, self.quiet, self.last_turn = False, 0, self.turn + turns
        self.loop.call_soon(self.tick, context=contextvars.Context())
        while not self.ended:
            try:
                self.loop.run_forever()
            except BaseException as error:
                self.trace.append((self.turn, "escaped", told(error)))
            else:
                self.trace.append((self.turn, "stopped"))

    def play(self, program: Program) -> Trace:
        hook, sys.unraisablehook = sys.unraisablehook, self.unraisable
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("always")
                warnings.showwarning = self.warned
                for number, steps in enumerate(program):
                    self.spawn(steps, f"t{number}")
                self.spin(TURNS)
                self.end()
                self.outcomes()
                self.forget()
                self.loop.close()
        finally:
            sys.unraisablehook = hook
        return self.trace

    def end(self) -> None:
        """Cancel what is left, and again what does not listen."""
        for _ in range(4):
            left = sorted(asyncio.all_tasks(self.loop), key=self.age)
            if not left:
                break
            self.trace.append([plain(task.get_name()) for task in left])
            for task in left:
                task.cancel("the end")
            del task, left
            self.spin(TURNS)

    def outcomes(self) -> None:
        for number, task in self.tasks:
            self.trace.append((number, task.get_name(), task.cancelling(), self.outcome(task)))
        self.trace += [self.outcome(future) for future in vars(self).get("futures", ())]
        if "kept" in vars(self):
            self.end_generators()

    def end_generators(self) -> None:
        """In the order of a set of weak references: what is told has none."""
        start = len(self.trace)
        ending = self.loop.create_task(self.loop.shutdown_asyncgens())
        self.spin(TURNS)
        self.trace.append((ending.done(), ending.cancel()))
        self.trace[start:] = sorted(map(repr, self.trace[start:]))

    def forget(self) -> None:
        """What is garbage is told of in no order."""
        start = len(self.trace)
        for name in [*vars(self)]:
            if name not in ("loop", "aio", "trace", "turn", "now"):
                delattr(self, name)
        gc.collect()
        self.trace[start:] = sorted(map(repr, self.trace[start:]))

    def age(self, task: asyncio.Task[Any]) -> tuple[int, int]:
        """By number: the program's own tasks, then those made for it."""
        for number, one in self.tasks:
            if one is task:
                return (0, number)
        # A task factory numbers its own: they are not all named, or by two counters.
        if (made := getattr(task, "number", None)) is not None:
            return (1, made)
        number = task.get_name().rpartition("-")[2]
        return (1, int(number) if number.isdecimal() else 0)

    def outcome(self, future: asyncio.Future[Any]) -> Any:
        if not future.done():
            return "pending"
        if future.cancelled():
            return "cancelled"
        error = future.exception()
        return told(error) if error is not None else plain(repr(future.result()))

    # -- tasks and callbacks

    def spawn(self, steps: Steps, name: str | None = None, group: Any = None) -> Any:
        number = next(self.count)
        context = contextvars.copy_context()
        context.run(root.set, number)
        create = self.loop.create_task if group is None else group.create_task
        coroutine = self.body(steps)
        # Up to 3.12 a group that refuses one does not close it, and Python's frames keep it.
        self.coroutines.append(coroutine)
        task = create(coroutine, name=name or f"s{number}", context=context)
        self.tasks.append((number, task))
        return task

    def task(self, index: int) -> asyncio.Task[Any] | None:
        return self.tasks[index % len(self.tasks)][1] if self.tasks else None

    def waitable(self, index: int) -> asyncio.Task[Any] | None:
        """A task, unless whoever runs is one that it may wait for: a ring cannot be cancelled."""
        if not self.tasks:
            return None
        number, task = self.tasks[index % len(self.tasks)]
        return task if number > root.get() else None

    def callback(self, action: Step, *future: Any) -> None:
        try:
            self.note("callback", action[0], plain(repr(self.act(action))))
        except BaseException as error:
            self.note("callback", action[0], told(error))
            raise

    def act(self, action: Step) -> Any:
        """A step that does not await."""
        return KINDS[action[0]].function(self, *action[1:])

    async def body(self, steps: Steps) -> int:
        for count, step in enumerate(steps):
            kind = KINDS[step[0]]
            try:
                result = kind.function(self, *step[1:])
                if kind.awaits:
                    result = await result
            except BaseException as error:
                self.note(count, step[0], "raised", told(error))
                raise
            self.note(count, step[0], plain(repr(result)))
        return len(steps)
