"""The queue between connections and writers, and the making of batches.

Here: when a batch is complete: by lines, by bytes, by time, or because nobody is busy.
Not here: limits and pausing (gate.py), what a writer does with a batch (writers.py).
Thread: the loop's.
Invariant: blocks leave in the order they came; each is handed to exactly one writer; while a full
batch is queued no writer waits.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections import deque

from .block import Batch, Block


class Intake:
    """Blocks go in one by one, batches come out."""

    def __init__(self, *, lines: int, size: int, linger: float, takers: int) -> None:
        self._loop = asyncio.get_running_loop()
        self._batch_lines = lines
        self._batch_size = size
        self._linger = linger
        self._takers = takers
        self._blocks: deque[Block] = deque()
        self._waiting: deque[asyncio.Future[Batch | None]] = deque()
        self._due: asyncio.TimerHandle | asyncio.Handle | None = None
        self._finished = False
        self._stored: list[uuid.UUID] = []
        self.lines = 0
        self.size = 0

    @property
    def oldest(self) -> float | None:
        """When the first queued block was received."""
        return self._blocks[0].received if self._blocks else None

    def put(self, block: Block) -> None:
        """Queue a block."""
        self._blocks.append(block)
        self.lines += block.count
        self.size += len(block.data)
        if not self._waiting:
            return
        if self.lines >= self._batch_lines or self.size >= self._batch_size:
            self._hand_out()
        elif self._due is None:
            self._set_due()

    async def take(self) -> Batch | None:
        """The next batch; None once the queue is finished and empty."""
        full = self.lines >= self._batch_lines or self.size >= self._batch_size
        if not self._waiting and (full or (self._finished and self._blocks)):
            return self._make()
        if self._finished:
            return None
        waiter: asyncio.Future[Batch | None] = self._loop.create_future()
        self._waiting.append(waiter)
        if self._blocks and (self._due is None or len(self._waiting) == self._takers):
            self._set_due()
        try:
            return await waiter
        except asyncio.CancelledError:
            if not waiter.cancelled() and (batch := waiter.result()) is not None:
                self._blocks.extendleft(reversed(batch.blocks))
                self.lines += batch.lines
                self.size += batch.size
                self._stored += batch.forget
            elif waiter in self._waiting:
                self._waiting.remove(waiter)
            raise

    def done(self, batch: Batch) -> None:
        """The batch is stored: its id has served."""
        self._stored.append(batch.id)

    def finish(self) -> None:
        """Nothing more will come: hand out what there is."""
        self._finished = True
        self._flush()
        while self._waiting:
            waiter = self._waiting.popleft()
            if not waiter.done():
                waiter.set_result(None)

    def _set_due(self) -> None:
        """A batch is due at the end of this turn if all writers are idle, soon if some are."""
        if self._due is not None:
            self._due.cancel()
        if len(self._waiting) == self._takers:
            self._due = self._loop.call_soon(self._flush)
            return
        waited = min(max(0.0, time.time() - self._blocks[0].received), self._linger)
        self._due = self._loop.call_later(self._linger - waited, self._flush)

    def _flush(self) -> None:
        self._due = None
        if self._blocks and self._waiting:
            self._hand_out()

    def _hand_out(self) -> None:
        if self._due is not None:
            self._due.cancel()
            self._due = None
        while self._waiting and self._blocks:
            waiter = self._waiting.popleft()
            if not waiter.done():
                waiter.set_result(self._make())
            if self.lines < self._batch_lines and self.size < self._batch_size:
                break
        if self._blocks and self._waiting:
            self._set_due()

    def _make(self) -> Batch:
        blocks = []
        lines = size = 0
        while self._blocks and lines < self._batch_lines and size < self._batch_size:
            block = self._blocks.popleft()
            blocks.append(block)
            lines += block.count
            size += len(block.data)
        self.lines -= lines
        self.size -= size
        batch = Batch(blocks)
        batch.forget, self._stored = self._stored, []
        return batch
