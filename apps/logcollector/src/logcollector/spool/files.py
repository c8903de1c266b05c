"""The spool's folder: numbered segments, and a cursor behind which everything is stored.

Here: appending, syncing, reading, recovering, deleting; all of it blocks.
Not here: the format of a record (record.py), asyncio (stage.py).
Thread: one at a time; stage.py uses a thread of its own.
Invariant: a record is readable once `append` has returned, and then survives the loss of power.
What a crash leaves after the last whole record of a segment is cut off or passed over. Segments
before the cursor are deleted only after the cursor is on the disk.
"""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import struct
from collections.abc import Callable
from typing import NamedTuple

from ..block import Batch
from . import record

log = logging.getLogger("logcollector.spool")

CURSOR = struct.Struct("<QQ")
FIRST_READ = record.HEADER.size + record.START.size


class Position(NamedTuple):
    """A place in the spool."""

    segment: int
    offset: int


class FullError(Exception):
    """The spool has reached its size."""


class SpoolFiles:
    """An open spool."""

    def __init__(
        self,
        folder: str,
        *,
        limit: int,
        segment_size: int,
        sync: Callable[[int], None] = os.fdatasync,
    ) -> None:
        self.folder = folder
        self.size = 0
        self.cursor = Position(1, 0)
        self._limit = limit
        self._segment_size = segment_size
        self._sync = sync
        self._ends: dict[int, int] = {}  # of each segment, where its valid records end
        self._lock = -1
        self._append_to = -1
        self._reading = (0, -1)  # a segment and its descriptor

    def open(self) -> int:
        """Recover what is there; returns how many lines wait behind the cursor."""
        os.makedirs(self.folder, mode=0o750, exist_ok=True)
        self._lock = os.open(self._path("lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            self.close()
            raise OSError(errno.EBUSY, "another collector uses this spool", self.folder) from error
        numbers = sorted(
            int(name.removesuffix(".log"))
            for name in os.listdir(self.folder)
            if name.endswith(".log")
        )
        self.cursor = self._read_cursor(numbers)
        lines = 0
        for number in numbers:
            if number < self.cursor.segment:
                os.unlink(self._segment(number))
                continue
            start = self.cursor.offset if number == self.cursor.segment else 0
            end, found = self._scan(number, start)
            lines += found
            self._ends[number] = end
            self.size += end
        # A new segment for new records: what a crash left behind an old one cannot harm them.
        new = self._start_segment(max([self.cursor.segment, *numbers]) + 1)
        if self.cursor.segment not in self._ends:
            later = [number for number in self._ends if number > self.cursor.segment]
            self.cursor = Position(min(later, default=new), 0)
        return lines

    def append(self, data: bytes) -> Position:
        """Write a record and sync it; OSError or FullError leave the spool as it was."""
        if self.size + len(data) > self._limit:
            raise FullError
        last = max(self._ends)
        if self._append_to < 0 or self._ends[last] >= self._segment_size:
            last = self._start_segment(last + 1)
        offset = self._ends[last]
        try:
            written = 0
            view = memoryview(data)
            while written < len(data):
                written += os.pwrite(self._append_to, view[written:], offset + written)
        except OSError:
            self._cut(offset)
            raise
        try:
            self._sync(self._append_to)
        except OSError:
            self._cut(offset)
            self._abandon()
            raise
        self._ends[last] = offset + len(data)
        self.size += len(data)
        return Position(last, offset)

    def read(self, place: Position) -> tuple[Batch, Position] | None:
        """The record at a place or, past the end of a segment, of the next; None at the end."""
        while True:
            end = self._ends.get(place.segment)
            if end is None:
                return None
            if place.offset < end:
                break
            if place.segment >= max(self._ends):
                return None
            place = Position(min(n for n in self._ends if n > place.segment), 0)
        descriptor = self._reader(place.segment)
        start = record.head(os.pread(descriptor, FIRST_READ, place.offset))
        batch = None
        if start is not None:
            batch = record.decode(os.pread(descriptor, start.length, place.offset))
        if start is None or batch is None:
            # The disk changed what was written: nothing behind it in this segment can be found.
            log.error(
                "spool damaged",
                extra={"segment": self._segment(place.segment), "offset": place.offset},
            )
            self._ends[place.segment] = place.offset
            return self.read(Position(place.segment, place.offset))
        batch.position = place
        return batch, Position(place.segment, place.offset + start.length)

    def advance(self, cursor: Position) -> None:
        """Everything before `cursor` is stored: remember it, then drop whole segments."""
        temporary = self._path("cursor.new")
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o640)
        try:
            os.write(descriptor, CURSOR.pack(*cursor))
            self._sync(descriptor)
        finally:
            os.close(descriptor)
        os.rename(temporary, self._path("cursor"))
        self._sync_folder()
        self.cursor = cursor
        last = max(self._ends)
        for number in [n for n in self._ends if n < cursor.segment and n != last]:
            os.unlink(self._segment(number))
            self.size -= self._ends.pop(number)

    def close(self) -> None:
        """Let go of everything."""
        for descriptor in (self._append_to, self._reading[1], self._lock):
            if descriptor >= 0:
                os.close(descriptor)
        self._append_to = self._lock = -1
        self._reading = (0, -1)

    def _path(self, name: str) -> str:
        return os.path.join(self.folder, name)

    def _segment(self, number: int) -> str:
        return self._path(f"{number:016d}.log")

    def _read_cursor(self, numbers: list[int]) -> Position:
        try:
            with open(self._path("cursor"), "rb") as file:
                data = file.read()
        except FileNotFoundError:
            data = b""
        if len(data) == CURSOR.size:
            return Position(*CURSOR.unpack(data))
        return Position(min(numbers, default=1), 0)

    def _scan(self, number: int, offset: int) -> tuple[int, int]:
        """Where the valid records of a segment end, and how many lines they hold."""
        lines = 0
        with open(self._segment(number), "rb") as file:
            length = os.fstat(file.fileno()).st_size
            while True:
                file.seek(offset)
                start = record.head(file.read(FIRST_READ))
                if start is None or offset + start.length > length:
                    break
                file.seek(offset)
                if record.decode(file.read(start.length)) is None:
                    break
                offset += start.length
                lines += start.lines
        if offset < length:
            log.warning(
                "spool ends in a torn record",
                extra={"segment": self._segment(number), "dropped_bytes": length - offset},
            )
        return offset, lines

    def _start_segment(self, number: int) -> int:
        path = self._segment(number)
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
        descriptor = os.open(path, flags, 0o640)
        try:
            self._sync_folder()
        except OSError:
            os.close(descriptor)
            os.unlink(path)
            raise
        self._abandon()
        self._append_to = descriptor
        self._ends[number] = 0
        return number

    def _cut(self, offset: int) -> None:
        """What was written beyond `offset` is not acknowledged; take it back."""
        try:
            os.ftruncate(self._append_to, offset)
        except OSError:
            # Should it survive a crash, its id tells that it was stored already.
            self._abandon()

    def _abandon(self) -> None:
        """Append to this segment no more: after a failed sync nothing tells what is on the disk."""
        if self._append_to >= 0:
            os.close(self._append_to)
            self._append_to = -1

    def _reader(self, number: int) -> int:
        if self._reading[0] != number:
            if self._reading[1] >= 0:
                os.close(self._reading[1])
            self._reading = (0, -1)
            self._reading = (number, os.open(self._segment(number), os.O_RDONLY | os.O_CLOEXEC))
        return self._reading[1]

    def _sync_folder(self) -> None:
        descriptor = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            self._sync(descriptor)
        finally:
            os.close(descriptor)
