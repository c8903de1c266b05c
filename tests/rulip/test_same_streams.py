"""Random dealings with a stream reader are told in the same way by asyncio's and by rulip's.

Feeding, reading, cancelling, looking into the buffer and ending, in random order, turn by turn.
Not here: where rulip's keeps what asyncio's loses (test_native_streams.py).
Runs in the main thread.
Invariant: what each read returns or raises, and in which turn, is the same, and so is what is left.
"""

from __future__ import annotations

import asyncio
import random
import sys
from collections.abc import Callable
from typing import Any

import pytest
from tests.loopback import spin

import rulip

STEPS = 60
SEPARATORS: list[Any] = [b"\n", b"--", b"\r\n", b"a-b"]
if sys.version_info >= (3, 13):
    SEPARATORS += [(b"\n", b"--"), (b"--", b"-"), (b"a\n", b"ba\n", b"\n")]


class Dealings:
    """One random course of events; the seed decides everything."""

    def __init__(
        self,
        seed: int,
        loop: asyncio.AbstractEventLoop,
        reader_class: type[asyncio.StreamReader],
        task_class: type[asyncio.Task[Any]],
    ) -> None:
        self.pick = random.Random(seed)
        self.loop = loop
        self.task_class = task_class
        self.reader = reader_class(limit=self.pick.choice([3, 10, 1000]), loop=loop)
        self.told: list[Any] = []
        self.fed = b""
        self.task: asyncio.Task[Any] | None = None
        self.turn = 0
        # read(n) under way: asyncio's takes any wake-up without data for the end.
        self.reads_some = False

    def note(self, *what: Any) -> None:
        self.told.append((self.turn, *what))

    def feed(self) -> None:
        if not self.reader._eof:
            data = bytes(self.pick.choices(b"aab-\r\n", k=self.pick.choice([0, 1, 2, 3, 7, 30])))
            self.fed += data
            self.reader.feed_data(data)

    def read(self) -> None:
        if self.task is not None:
            return
        n = self.pick.choice([0, 1, 2, 5, 20])
        separator = self.pick.choice(SEPARATORS)
        reads: list[Callable[[], Any]] = [
            self.reader.readline,
            self.reader.readline,
            lambda: self.reader.readuntil(separator),
            lambda: self.reader.readexactly(n),
            lambda: self.reader.read(n),
            self.reader.__anext__,
        ]
        chosen = self.pick.choice(reads)
        self.reads_some = chosen is reads[4]
        self.task = self.task_class(self.follow(chosen), loop=self.loop)
        self.task.add_done_callback(self.ended)

    def ended(self, task: asyncio.Task[Any]) -> None:
        self.note("ended", task.cancelled())
        self.task, self.reads_some = None, False

    async def follow(self, read: Callable[[], Any]) -> None:
        try:
            self.note("read", bytes(await read()))
        except asyncio.IncompleteReadError as error:
            self.note("incomplete", error.partial, error.expected)
        except asyncio.LimitOverrunError as error:
            self.note("overrun", error.consumed, str(error))
        except (ValueError, OSError, StopAsyncIteration) as error:
            self.note(type(error).__name__, str(error))
        except asyncio.CancelledError:
            self.note("cancelled")
            raise

    def cancel(self) -> None:
        if self.task is not None:
            self.task.cancel()

    def look(self) -> None:
        self.note("buffer", bytes(self.reader._buffer), self.reader.at_eof())

    def change(self) -> None:
        # While a read is under way asyncio's remembers a place in the buffer that is gone.
        if self.reader._buffer and self.task is None:
            self.note("dropped", self.reader._buffer.pop(0))

    def wake(self) -> None:
        if not self.reads_some:
            self.reader._wakeup_waiter()

    def end(self) -> None:
        if self.pick.random() < 0.1:
            self.reader.feed_eof()
        elif self.pick.random() < 0.05:
            self.reader.set_exception(OSError("gone"))

    def run(self) -> list[Any]:
        for _ in range(STEPS):
            acts = [self.feed, self.feed, self.read, self.read, self.cancel, self.look]
            acts += [self.change, self.wake, self.end]
            for act in self.pick.choices(acts, k=self.pick.choice([1, 1, 2, 3])):
                act()
            if self.pick.random() < 0.7:
                spin(self.loop)
                self.turn += 1
        self.cancel()
        spin(self.loop, 3)
        self.note("left", bytes(self.reader._buffer))
        return self.told


def told_by(
    seed: int, loop_class: Any, reader_class: Any, task_class: type[asyncio.Task[Any]]
) -> list[Any]:
    loop = loop_class()
    try:
        return Dealings(seed, loop, reader_class, task_class).run()
    finally:
        loop.close()


@pytest.mark.parametrize("base", range(0, 400, 40))
def test_every_kind_of_reader_tells_the_same(base: int) -> None:
    from _asyncio import Task as CompiledTask

    for seed in range(base, base + 40):
        expected = told_by(seed, asyncio.SelectorEventLoop, asyncio.StreamReader, CompiledTask)
        assert len(expected) > 1
        for loop_class in (rulip.Loop, asyncio.SelectorEventLoop):
            for task_class in (rulip.Task, CompiledTask):
                told = told_by(seed, loop_class, rulip.StreamReader, task_class)
                assert told == expected, (seed, loop_class, task_class)
