"""The spool's place in the collector: batches go to the disk, are answered, and go on to the sink.

Here: appending with retries, reading on for the writers, when the cursor moves.
Not here: files (files.py), storing (writers.py).
Thread: the loop's; the files are used in a thread of their own, one call at a time.
Invariant: a batch is settled only after it is synced; it is read again until the sink has it, in
the order it was received; at any time only the batches being stored are in memory.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
import uuid
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from ..block import Batch
from ..config import Config
from ..intake import Intake
from ..metrics import Metrics
from . import record
from .files import FullError, Position, SpoolFiles

log = logging.getLogger("logcollector.spool")

T = TypeVar("T")

LONGEST_DELAY = 2.0
CURSOR_AGE = 1.0  # seconds; a crash reads so much again, and the sink knows the batches


class SpoolStage:
    """Takes batches from the intake; a source of batches for writers."""

    def __init__(
        self,
        config: Config,
        metrics: Metrics,
        intake: Intake,
        settle: Callable[[Batch], None] | None,
    ) -> None:
        self._files = SpoolFiles(
            config.spool, limit=config.spool_bytes, segment_size=config.spool_segment
        )
        self._metrics = metrics
        self._intake = intake
        self._settle = settle  # None: nothing new comes, what was left is replayed
        self._thread = ThreadPoolExecutor(1, "spool")
        self._news = asyncio.Event()  # there may be something to read
        self._room = asyncio.Event()  # there may be room to append
        self._turn = asyncio.Lock()
        self._next = Position(0, 0)
        self._flying: deque[tuple[Position, uuid.UUID, int]] = deque()
        self._landed: set[Position] = set()
        self._settled: list[uuid.UUID] = []  # stored, and the cursor is not past them yet
        self._forget: list[uuid.UUID] = []  # the cursor is past them, on the disk
        self._cursor = Position(0, 0)
        self._saved_at = 0.0
        self._saving: asyncio.Task[None] | None = None
        self.trouble: str | None = None
        self.pending_lines = 0
        self.tasks: list[asyncio.Task[None]] = []

    @property
    def size(self) -> int:
        """Bytes on the disk."""
        return self._files.size

    async def open(self) -> None:
        """Recover the folder; OSError if it cannot be used."""
        self.pending_lines = await self._call(self._files.open)
        self._next = self._cursor = self._files.cursor
        if self.pending_lines:
            log.info("replaying the spool", extra={"lines": self.pending_lines})
        if self._settle is not None:
            self.tasks = [asyncio.create_task(self._append_all(self._settle), name="spool")]

    async def drain(self) -> None:
        """Until everything the intake held is on the disk."""
        await asyncio.gather(*self.tasks)

    async def close(self) -> None:
        """Save the cursor and let go of the folder; the writers have stopped."""
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        if self._saving is not None:
            await asyncio.wait((self._saving,))
        if self._cursor != self._files.cursor:
            try:
                await self._call(lambda: self._files.advance(self._cursor))
            except OSError as error:
                log.warning("cursor of the spool not saved", extra={"reason": str(error)})
        await self._call(self._files.close)
        self._thread.shutdown()

    # Towards the disk.

    async def _append_all(self, settle: Callable[[Batch], None]) -> None:
        while (batch := await self._intake.take()) is not None:
            await self._append(record.encode(batch))
            self._metrics.spooled_lines += batch.lines
            self.pending_lines += batch.lines
            self._news.set()
            settle(batch)

    async def _append(self, data: bytes) -> None:
        delay = 0.05
        while True:
            self._room.clear()
            try:
                await self._call(lambda: self._files.append(data))
            except FullError:
                if self.trouble is None:
                    log.warning("spool is full", extra={"bytes": self.size})
                self.trouble = "spool is full"
                self._save_soon()
                try:
                    async with asyncio.timeout(CURSOR_AGE):
                        await self._room.wait()
                except TimeoutError:
                    pass
            except OSError as error:
                self._metrics.spool_failures += 1
                if self.trouble is None:
                    log.warning("spool fails", extra={"reason": str(error)})
                self.trouble = f"spool: {error.strerror or error}"
                await asyncio.sleep(delay * random.uniform(0.5, 1.0))
                delay = min(delay * 2, LONGEST_DELAY)
            else:
                if self.trouble is not None:
                    log.info("spool works")
                    self.trouble = None
                return

    # Towards the sink.

    async def take(self) -> Batch | None:
        """The next batch that was not handed out since the start."""
        async with self._turn:
            while True:
                self._news.clear()
                found = await self._call(lambda: self._files.read(self._next))
                if found is not None:
                    break
                await self._news.wait()
            batch, self._next = found
            assert isinstance(batch.position, Position)
            self._flying.append((batch.position, batch.id, batch.lines))
            batch.forget, self._forget = self._forget, []
            return batch

    def done(self, batch: Batch) -> None:
        """The sink has it."""
        assert isinstance(batch.position, Position)
        self._landed.add(batch.position)
        self.pending_lines -= batch.lines
        while self._flying and self._flying[0][0] in self._landed:
            position, batch_id, _ = self._flying.popleft()
            self._landed.discard(position)
            self._settled.append(batch_id)
            self._cursor = self._flying[0][0] if self._flying else self._next
        moved = self._cursor.segment > self._files.cursor.segment
        if moved or time.monotonic() - self._saved_at > CURSOR_AGE:
            self._save_soon()

    def _save_soon(self) -> None:
        if self._saving is None and self._cursor != self._files.cursor:
            self._saved_at = time.monotonic()
            self._saving = asyncio.create_task(self._save())

    async def _save(self) -> None:
        cursor, settled = self._cursor, self._settled
        self._settled = []
        try:
            await self._call(lambda: self._files.advance(cursor))
        except OSError as error:
            self._settled = settled + self._settled
            log.warning("cursor of the spool not saved", extra={"reason": str(error)})
        else:
            self._forget += settled
            self._room.set()
        finally:
            self._saving = None

    async def _call(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)
