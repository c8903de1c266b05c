"""Backpressure: when too much is queued, connections stop reading, and take turns.

Here: the account of what all connections together have queued, and who reads.
Not here: the limit of one connection (connection.py keeps its own), the queue (intake.py).
Thread: the loop's.
Invariant: `reading` and `waiting` are disjoint, and ordered by who read longest ago; above the
high mark nobody reads, so what is queued exceeds the mark by one read at most.
"""

from __future__ import annotations

from typing import Protocol


class Reader(Protocol):
    """A connection that can be told to stop reading, and to go on."""

    def gate_closed(self) -> None:
        """Stop reading."""

    def gate_opened(self) -> None:
        """Read again."""


class Gate:
    """Counts queued lines and bytes; closes at the high mark, opens at the low one."""

    def __init__(self, lines: int, size: int) -> None:
        self.limit_lines = lines
        self.limit_size = size
        self.lines = 0
        self.size = 0
        self.most_size = 0  # the highest `size` ever was
        self.closings = 0
        self.closed = False
        self._reading: dict[Reader, None] = {}
        self._waiting: dict[Reader, None] = {}

    @property
    def waiting(self) -> int:
        """How many connections wait for the gate."""
        return len(self._waiting)

    def join(self, reader: Reader) -> None:
        """A connection begins; it waits its turn if the gate is closed."""
        if self.closed:
            self._waiting[reader] = None
            reader.gate_closed()
        else:
            self._reading[reader] = None

    def leave(self, reader: Reader) -> None:
        """A connection has ended."""
        self._reading.pop(reader, None)
        self._waiting.pop(reader, None)

    def add(self, reader: Reader, lines: int, size: int) -> None:
        """`reader` has queued something."""
        self.lines += lines
        self.size += size
        if self.size > self.most_size:
            self.most_size = self.size
        # To the end: it is the one that read last.
        if self._reading.pop(reader, reader) is None:
            self._reading[reader] = None
        if not self.closed and (self.lines >= self.limit_lines or self.size >= self.limit_size):
            self.closed = True
            self.closings += 1
            stopped, self._reading = self._reading, {}
            self._waiting.update(stopped)
            for other in stopped:
                other.gate_closed()

    def remove(self, lines: int, size: int) -> None:
        """Something queued is settled."""
        self.lines -= lines
        self.size -= size
        if self.closed and (
            self.lines <= self.limit_lines // 2 and self.size <= self.limit_size // 2
        ):
            self.closed = False
            resumed, self._waiting = self._waiting, {}
            self._reading.update(resumed)
            for reader in resumed:
                reader.gate_opened()
