"""The last lines that came in, for the page to search.

Here: a bounded memory of blocks. Not here: HTTP (pages.py). Thread: the loop's.
Invariant: never more than `limit` bytes of lines, and one block; keeping a block copies nothing.
"""

from __future__ import annotations

from collections import deque
from typing import TypedDict

from .block import Block, readable


class Line(TypedDict):
    """A line as the page shows it."""

    received: float
    peer: str
    line: str


class Recent:
    """A ring of blocks."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._size = 0
        self._blocks: deque[Block] = deque()

    def add(self, block: Block) -> None:
        """Remember a block, forget the oldest ones."""
        self._blocks.append(block)
        self._size += block.cost
        while self._size > self._limit and len(self._blocks) > 1:
            self._size -= self._blocks.popleft().cost

    def search(self, text: str, limit: int) -> list[Line]:
        """The newest lines that contain `text` in any case, newest first."""
        wanted = text.lower()
        found: list[Line] = []
        for block in reversed(self._blocks):
            for line in reversed(block.lines()):
                shown = readable(line)
                if wanted in shown.lower():
                    found.append({"received": block.received, "peer": block.peer, "line": shown})
                    if len(found) >= limit:
                        return found
        return found
