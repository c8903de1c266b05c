"""Whatever bytes come in whatever pieces: a StreamReader's memory and messages are bounded.

Here: generated streams against one reader, with a transport that stops when it is told to.
Not here: chosen cases (test_stream_reader.py), whole connections (test_streams.py).
Runs in the main thread; a loop of its own for each example.
Invariant: the buffer never holds more than twice the limit and one piece; a message is never
longer than the limit allows, never altered, and none is lost; one body for both loops.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import rulip

KINDS: dict[str, tuple[Callable[[], Any], type[asyncio.StreamReader]]] = {
    "asyncio": (asyncio.SelectorEventLoop, asyncio.StreamReader),
    "rulip": (rulip.new_event_loop, rulip.StreamReader),
    "rulip on asyncio": (asyncio.SelectorEventLoop, rulip.StreamReader),
}

PIECES = st.lists(
    st.one_of(
        st.binary(min_size=1, max_size=80),
        st.text("ab\n", min_size=1, max_size=80).map(str.encode),
        st.integers(1, 300).map(lambda size: b"a" * size),
    ),
    max_size=30,
)
LIMITS = st.integers(1, 64)
SEPARATORS = st.sampled_from([b"\n", b"ab", b"\nb\n", b"aaa"])


class Faucet(asyncio.ReadTransport):
    """Feeds one piece after another, unless it is paused.

    `most` is what the reader may hold and want more.
    """

    def __init__(self, reader: asyncio.StreamReader, pieces: list[bytes], most: int) -> None:
        super().__init__()
        self.reader, self.pieces, self.most = reader, list(pieces), most
        self.paused = False
        reader.set_transport(self)

    def pause_reading(self) -> None:
        assert not self.paused
        self.paused = True

    def resume_reading(self) -> None:
        assert self.paused
        self.paused = False

    def run_once(self) -> bool:
        """Feed a piece; False once the stream has ended."""
        if self.paused:
            return True
        if not self.pieces:
            self.reader.feed_eof()
            return False
        piece = self.pieces.pop(0)
        self.reader.feed_data(piece)
        assert len(self.reader._buffer) <= self.most + len(piece)
        return True

    async def run(self) -> None:
        while self.run_once():
            await asyncio.sleep(0)


async def read_all(
    reader: asyncio.StreamReader, separator: bytes, limit: int
) -> tuple[list[bytes], list[tuple[int, bytes]]]:
    """Messages until the end, and what had to be skipped, with the place of each."""
    messages: list[bytes] = []
    skipped: list[tuple[int, bytes]] = []
    while True:
        try:
            message = await reader.readuntil(separator)
        except asyncio.LimitOverrunError as error:
            part = await reader.readexactly(error.consumed)
            skipped.append((len(messages), part))
            assert part
        except asyncio.IncompleteReadError as error:
            messages.append(error.partial)
            return messages, skipped
        else:
            assert message.endswith(separator)
            assert message.index(separator) == len(message) - len(separator) <= limit
            messages.append(message)


def put_together(messages: list[bytes], skipped: list[tuple[int, bytes]]) -> bytes:
    whole = b""
    for place in range(len(messages) + 1):
        whole += b"".join(part for where, part in skipped if where == place)
        whole += b"".join(messages[place : place + 1])
    return whole


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=60, deadline=None)
@given(pieces=PIECES, limit=LIMITS, separator=SEPARATORS)
def test_readuntil(kind: str, pieces: list[bytes], limit: int, separator: bytes) -> None:
    make_loop, reader_class = KINDS[kind]

    async def main() -> None:
        reader = reader_class(limit=limit)
        # Of a message that is as long as allowed, the separator may still be missing.
        faucet = Faucet(reader, pieces, max(2 * limit, limit + len(separator)))
        reading = read_all(reader, separator, limit)
        _, (messages, skipped) = await asyncio.gather(faucet.run(), reading)
        assert put_together(messages, skipped) == b"".join(pieces)

    run(make_loop, main())


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=60, deadline=None)
@given(pieces=PIECES, limit=LIMITS)
def test_readline(kind: str, pieces: list[bytes], limit: int) -> None:
    """A line that is too long is dropped as far as it is known, and reading goes on."""
    make_loop, reader_class = KINDS[kind]

    async def main() -> None:
        reader = reader_class(limit=limit)
        whole = b"".join(pieces)

        async def read() -> None:
            position = 0
            while True:
                try:
                    line = await reader.readline()
                except ValueError:
                    continue
                if not line:
                    break
                found = whole.find(line, position)
                assert found >= 0
                position = found + len(line)
                assert b"\n" not in line[:-1]
                assert len(line.removesuffix(b"\n")) <= limit or not line.endswith(b"\n")

        await asyncio.gather(Faucet(reader, pieces, 2 * limit).run(), read())
        assert reader.at_eof()

    run(make_loop, main())


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=60, deadline=None)
@given(pieces=PIECES, limit=LIMITS, sizes=st.lists(st.integers(1, 400), min_size=1, max_size=8))
def test_counted_reads(kind: str, pieces: list[bytes], limit: int, sizes: list[int]) -> None:
    """readexactly() may ask for more than the limit; nothing is lost between the reads."""
    make_loop, reader_class = KINDS[kind]

    async def main() -> None:
        reader = reader_class(limit=limit)
        # A read of so many bytes waits until they are there.
        faucet = Faucet(reader, pieces, max(2 * limit, *sizes))

        async def read() -> bytes:
            received = b""
            for size in itertools.cycle(sizes):
                try:
                    received += await reader.readexactly(size)
                except asyncio.IncompleteReadError as error:
                    return received + error.partial
                some = await reader.read(size)
                assert len(some) <= size
                received += some
            return received

        _, received = await asyncio.gather(faucet.run(), read())
        assert received == b"".join(pieces)

    run(make_loop, main())


def run(make_loop: Callable[[], Any], coro: Any) -> None:
    with asyncio.Runner(loop_factory=make_loop) as runner:
        runner.run(asyncio.wait_for(coro, 5))
