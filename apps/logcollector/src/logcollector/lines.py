"""Cutting a stream of bytes into lines, in bulk: no Python code runs per line on the usual path.

Here: framing (line feeds, CRLF, the longest line) and sorting lines by what sinks must know.
Not here: sockets, acknowledgements, storage.
Thread: the loop's.
Invariant: every byte that came in is in a piece, in the tail, or belongs to a line that was
reported as too long; the tail is never longer than the longest line and its line end.
"""

from __future__ import annotations

from itertools import groupby
from typing import NamedTuple

from .block import KEY

# As numbers: `in` finds those several times faster than bytes of length one.
NUL, CARRIAGE_RETURN, AT = b"\0\r@"


class Piece(NamedTuple):
    """Lines of one kind, in order; no `lines` stand for one line that was too long."""

    data: bytes
    lines: int
    keyed: bool = False
    raw: bool = False


TOO_LONG = Piece(b"", 0)


class LineCutter:
    """The framing state of one connection."""

    __slots__ = ("_discarding", "_longest", "tail")

    def __init__(self, longest: int) -> None:
        self._longest = longest
        self._discarding = False  # inside a line that was reported as too long
        self.tail = bytearray()  # the beginning of a line whose end has not come

    def feed(self, buffer: bytearray, length: int) -> list[Piece]:
        """Take in the first `length` bytes of `buffer`; return the complete lines."""
        start = 0
        if self._discarding:
            start = buffer.find(b"\n", 0, length) + 1
            if start == 0:
                return []
            self._discarding = False
        end = buffer.rfind(b"\n", start, length) + 1
        pieces: list[Piece] = []
        tail = self.tail
        if end:
            with memoryview(buffer) as view:
                if tail:
                    tail += view[start:end]
                    chunk = bytes(tail)
                    tail.clear()
                else:
                    chunk = bytes(view[start:end])
            pieces = self._complete(chunk)
            start = end
        if start < length:
            with memoryview(buffer) as view:
                tail += view[start:length]
            # One byte more: the line end may turn out to be CRLF.
            if len(tail) > self._longest and (len(tail) > self._longest + 1 or tail[-1] != 13):
                tail.clear()
                self._discarding = True
                pieces.append(TOO_LONG)
        return pieces

    def finish(self) -> list[Piece]:
        """The stream has ended: a last line may lack its line feed."""
        if not self.tail:
            return []
        chunk = bytes(self.tail.removesuffix(b"\r")) + b"\n"
        self.tail.clear()
        return self._complete(chunk)

    def _complete(self, chunk: bytes) -> list[Piece]:
        if CARRIAGE_RETURN in chunk:  # one byte is found much faster than two
            chunk = chunk.replace(b"\r\n", b"\n")
        if len(chunk) > self._longest + 1:
            return self._measured(chunk)
        return sort_lines(chunk)

    def _measured(self, chunk: bytes) -> list[Piece]:
        """Take out lines that are too long, looking at one line feed per longest line."""
        pieces: list[Piece] = []
        reach = self._longest + 1
        start = at = 0
        while len(chunk) - at > reach:
            end = chunk.rfind(b"\n", at, at + reach) + 1
            if end:
                at = end
                continue
            if start < at:
                pieces += sort_lines(chunk[start:at])
            pieces.append(TOO_LONG)
            start = at = chunk.index(b"\n", at) + 1
        if start < len(chunk):
            pieces += sort_lines(chunk[start:] if start else chunk)
        return pieces


def sort_lines(chunk: bytes) -> list[Piece]:
    """Divide complete lines into pieces of one kind each; nearly always that is one piece."""
    count = count_lines(chunk)
    raw = NUL in chunk or not is_utf8(chunk)
    keyed = AT in chunk and (chunk.startswith(b"@") or b"\n@" in chunk)
    if not raw:
        if not keyed:
            return [Piece(chunk, count)]
        if len(KEY.findall(chunk)) == count:
            return [Piece(chunk, count, keyed=True)]
    pieces = []
    for (key, odd), group in groupby(chunk[:-1].split(b"\n"), _kind):
        lines = list(group)
        pieces.append(Piece(b"\n".join(lines) + b"\n", len(lines), key, odd))
    return pieces


def count_lines(chunk: bytes) -> int:
    """The line feeds in it: bytes.count() looks at each byte, this leaps from one to the next."""
    return len(chunk) - len(chunk.replace(b"\n", b""))


def is_utf8(data: bytes) -> bool:
    """Whether all of it is valid UTF-8."""
    if data.isascii():
        return True
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _kind(line: bytes) -> tuple[bool, bool]:
    return KEY.match(line) is not None, NUL in line or not is_utf8(line)
