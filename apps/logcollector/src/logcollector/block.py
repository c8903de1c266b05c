"""Lines on their way: a block of lines read together, a batch of blocks stored together.

Here: what travels from a connection to a sink and back as an acknowledgement.
Not here: how bytes become blocks (lines.py), who waits for them (intake.py, connection.py).
Thread: a block belongs to the loop's thread; sinks only read it, in whichever thread they work.
Invariant: `data` is `count` lines, each ended by a line feed and holding none inside; it is never
split into lines before a sink has to.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import Protocol

# What a block costs beside its bytes: the objects around it.
OVERHEAD = 512

# `@id:seq text`: the sender's name and number for a line.
KEY = re.compile(rb"^@([A-Za-z0-9_.\-]{1,64}):([0-9]{1,18}) ", re.MULTILINE)


class Owner(Protocol):
    """Whoever is told, in order, that its lines are settled."""

    def release(self) -> None:
        """Acknowledge every settled block at the head of the line."""


class Block:
    """Lines of one connection that were read together."""

    __slots__ = ("cost", "count", "data", "keyed", "owner", "peer", "raw", "received", "settled")

    def __init__(
        self,
        data: bytes,
        count: int,
        received: float,
        peer: str,
        *,
        keyed: bool = False,
        raw: bool = False,
        owner: Owner | None = None,
    ) -> None:
        self.data = data
        self.count = count
        self.cost = len(data) + OVERHEAD  # bytes of memory to account for
        self.received = received
        self.peer = peer
        self.keyed = keyed  # every line begins with `@id:seq `
        self.raw = raw  # every line has a NUL or is no UTF-8
        self.owner = owner
        self.settled = False

    def lines(self) -> list[bytes]:
        """The lines, without their line feeds."""
        return self.data[:-1].split(b"\n")

    def keyed_lines(self) -> Iterator[tuple[str, int, bytes]]:
        """Of a keyed block: sender, number and text of each line."""
        for line in self.lines():
            head, _, text = line.partition(b" ")
            sender, _, number = head[1:].partition(b":")
            yield sender.decode("ascii"), int(number), text

    def part(self, lines: Sequence[bytes]) -> Block:
        """A block of some of these lines, owned by nobody."""
        data = b"\n".join(lines) + b"\n"
        return Block(data, len(lines), self.received, self.peer, keyed=self.keyed, raw=self.raw)


class Batch:
    """Blocks that are stored in one transaction, under an id that tells a retry from news."""

    __slots__ = ("blocks", "forget", "id", "lines", "position", "size")

    def __init__(self, blocks: list[Block], batch_id: uuid.UUID | None = None) -> None:
        self.id = batch_id if batch_id is not None else uuid.uuid4()
        self.blocks = blocks
        self.lines = sum([block.count for block in blocks])
        self.size = sum([len(block.data) for block in blocks])
        # Ids that no retry will come for any more: a sink drops them together with storing this.
        self.forget: list[uuid.UUID] = []
        self.position: object = None  # where a spool keeps it

    @property
    def oldest(self) -> float:
        """When the first of the lines was received."""
        return min([block.received for block in self.blocks])

    def halves(self) -> tuple[Batch, Batch]:
        """Two smaller batches with ids that follow from this one's: a second split is the same."""
        if len(self.blocks) > 1:
            middle = len(self.blocks) // 2
            first, second = self.blocks[:middle], self.blocks[middle:]
        else:
            (block,) = self.blocks
            lines = block.lines()
            middle = len(lines) // 2
            first, second = [block.part(lines[:middle])], [block.part(lines[middle:])]
        return (
            Batch(first, uuid.uuid5(self.id, "first half")),
            Batch(second, uuid.uuid5(self.id, "second half")),
        )


def utc(seconds: float) -> str:
    """A time as databases read it, in UTC and to the microsecond."""
    second, microsecond = divmod(round(seconds * 1e6), 1_000_000)
    return f"{_utc_second(second)}.{microsecond:06d}"


@lru_cache(maxsize=4)  # blocks come by the thousand per second
def _utc_second(second: int) -> str:
    return datetime.fromtimestamp(second, UTC).replace(tzinfo=None).isoformat(" ")


def readable(line: bytes) -> str:
    """A raw line as text that every database takes: what is no UTF-8, and NUL, is replaced."""
    return line.decode("utf-8", "replace").replace("\0", "\N{REPLACEMENT CHARACTER}")
