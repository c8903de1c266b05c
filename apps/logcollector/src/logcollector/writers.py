"""The workers that store batches, and never give one up.

Here: retrying with backoff and jitter, dividing a refused batch down to the line at fault.
Not here: how a batch is stored (sinks/), where it comes from and who is told (a `Source`).
Thread: the loop's.
Invariant: a batch taken from the source is either reported as done, after the sink has stored all
its lines or put them into the dead-letter table, or the writer was cancelled.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable
from typing import Protocol, TypeVar

from .block import Batch
from .metrics import Metrics
from .sinks.base import RefusedError, Sink, SinkError, UnavailableError

log = logging.getLogger("logcollector.writers")

T = TypeVar("T")

FIRST_DELAY = 0.05
IDLE_CHECK = 5.0


class Source(Protocol):
    """Where batches come from."""

    async def take(self) -> Batch | None:
        """The next batch, None at the end."""

    def done(self, batch: Batch) -> None:
        """The batch is stored."""


class Writer:
    """One worker with a sink of its own."""

    def __init__(
        self,
        number: int,
        source: Source,
        sink: Sink,
        metrics: Metrics,
        *,
        timeout: float,
        longest_delay: float,
    ) -> None:
        self.number = number
        self.trouble: str | None = "not connected yet"
        self.current: Batch | None = None
        self.since = 0.0  # since when it works on the current batch
        self._source = source
        self._sink = sink
        self._metrics = metrics
        self._timeout = timeout
        self._longest_delay = longest_delay
        self._open = False
        self._delay = FIRST_DELAY
        self._said = ""

    async def run(self) -> None:
        """Work until the source ends."""
        try:
            await self._until_done(self._ensure_open)
            while (batch := await self._take()) is not None:
                self.current = batch
                self.since = time.monotonic()
                await self._store(batch)
                self._metrics.commit_seconds.observe(time.monotonic() - self.since)
                self._metrics.batches += 1
                self.current = None
                self._source.done(batch)
        finally:
            await self._close()

    async def _take(self) -> Batch | None:
        """The next batch; while there is none, see now and then that the sink is well."""
        waiting = asyncio.ensure_future(self._source.take())
        try:
            while True:
                await asyncio.wait((waiting,), timeout=IDLE_CHECK)
                if waiting.done():
                    return waiting.result()
                await self._until_done(self._check)
        except asyncio.CancelledError:
            waiting.cancel()
            raise

    async def _store(self, batch: Batch) -> None:
        """Store it, in parts if the sink refuses some of it."""

        async def write() -> None:
            await self._ensure_open()
            stored = await self._sink.write_batch(batch)
            self._metrics.stored_lines += batch.lines - stored.duplicates
            self._metrics.duplicate_lines += stored.duplicates

        try:
            await self._until_done(write)
            return
        except RefusedError as error:
            reason = str(error)
        if batch.lines > 1:
            self._metrics.splits += 1
            for half in batch.halves():
                await self._store(half)
            return

        async def bury() -> None:
            await self._ensure_open()
            await self._sink.write_dead(batch, reason)
            self._metrics.dead_lines += batch.lines

        log.warning("line refused", extra={"writer": self.number, "reason": reason})
        while True:
            try:
                await self._until_done(bury)
                return
            except RefusedError as error:
                await self._failed(
                    UnavailableError(f"the dead-letter table refuses a line: {error}")
                )

    async def _until_done(self, action: Callable[[], Awaitable[T]]) -> T:
        """Repeat until it succeeds; what is refused is raised."""
        while True:
            try:
                async with asyncio.timeout(self._timeout):
                    result = await action()
            except RefusedError:
                self._well()
                raise
            except (SinkError, OSError, TimeoutError) as error:
                await self._failed(error)
            except Exception as error:
                # Drivers raise what they like when a server goes away under them.
                log.exception("sink fails in a way nobody foresaw", extra={"writer": self.number})
                await self._failed(error)
            else:
                self._well()
                return result

    async def _ensure_open(self) -> None:
        if not self._open:
            await self._sink.open()
            self._open = True

    async def _check(self) -> None:
        await self._ensure_open()
        await self._sink.health()

    def _well(self) -> None:
        self._delay = FIRST_DELAY
        if self.trouble is not None:
            self.trouble = None
            self._said = ""
            log.info("sink works", extra={"writer": self.number})

    async def _failed(self, error: BaseException) -> None:
        self._metrics.retries += 1
        timed_out = isinstance(error, TimeoutError) and not str(error)
        self.trouble = "no answer in time" if timed_out else str(error) or type(error).__name__
        delay = self._delay * random.uniform(0.5, 1.0)
        self._delay = min(self._delay * 2, self._longest_delay)
        if self.trouble != self._said:  # not once per attempt
            self._said = self.trouble
            log.warning("sink fails", extra={"writer": self.number, "reason": self.trouble})
        await self._close()
        await asyncio.sleep(delay)

    async def _close(self) -> None:
        self._open = False
        try:
            await self._sink.close()
        except Exception:
            log.exception("sink does not close", extra={"writer": self.number})


class WriterPool:
    """All writers of one source."""

    def __init__(self, writers: list[Writer]) -> None:
        self.writers = writers
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Begin; the loop must run."""
        self._tasks = [
            asyncio.create_task(writer.run(), name=f"writer {writer.number}")
            for writer in self.writers
        ]

    async def wait(self) -> None:
        """Until the source has ended and every batch is stored; raises what ended a writer."""
        await asyncio.gather(*self._tasks)

    async def stop(self) -> None:
        """End the writers now."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    @property
    def tasks(self) -> list[asyncio.Task[None]]:
        """The running writers."""
        return self._tasks

    @property
    def troubles(self) -> list[str]:
        """What keeps writers from storing."""
        return [writer.trouble for writer in self.writers if writer.trouble is not None]

    @property
    def oldest(self) -> float | None:
        """When the first of the lines being stored was received."""
        return min((w.current.oldest for w in self.writers if w.current is not None), default=None)
