"""Framing, beside an oracle that looks at every byte."""

from __future__ import annotations

import random

import pytest

from logcollector.block import KEY
from logcollector.lines import TOO_LONG, LineCutter, Piece, is_utf8

LONGEST = 40


def feed(cutter: LineCutter, data: bytes) -> list[Piece]:
    buffer = bytearray(data + b"left over\n")
    return cutter.feed(buffer, len(data))


def flat(pieces: list[Piece]) -> list[tuple[bytes | None, bool, bool]]:
    result: list[tuple[bytes | None, bool, bool]] = []
    for piece in pieces:
        if piece == TOO_LONG:
            result.append((None, False, False))
            continue
        lines = piece.data.split(b"\n")
        assert lines.pop() == b""
        assert len(lines) == piece.lines
        result += [(line, piece.keyed, piece.raw) for line in lines]
    return result


def oracle(stream: bytes) -> list[tuple[bytes | None, bool, bool]]:
    result: list[tuple[bytes | None, bool, bool]] = []
    for line in stream.split(b"\n")[:-1]:
        text = line.removesuffix(b"\r")
        if len(text) > LONGEST:
            result.append((None, False, False))
        else:
            raw = b"\0" in text or not is_utf8(text)
            result.append((text, KEY.match(text) is not None, raw))
    return result


@pytest.mark.parametrize("seed", range(60))
def test_any_division_of_a_stream_gives_the_same_lines(seed: int) -> None:
    dice = random.Random(seed)
    parts = [
        b"a",
        b"\n",
        b"\r\n",
        b"\r",
        b"\0",
        b"\xff",
        "\u20ac".encode(),
        b"@id:7 x",
        b"@",
        b"b" * 39,
    ]
    weights = [30, 6, 3, 1, 1, 1, 2, 2, 1, 1]
    stream = b"".join(dice.choices(parts, weights, k=dice.randrange(400))) + b"\n"
    cutter = LineCutter(LONGEST)
    found: list[tuple[bytes | None, bool, bool]] = []
    at = 0
    while at < len(stream):
        size = dice.choice((1, 2, 7, 50, 400))
        found += flat(feed(cutter, stream[at : at + size]))
        assert len(cutter.tail) <= LONGEST + 1
        at += size
    assert found == oracle(stream)
    assert not cutter.tail


def test_the_usual_chunk_stays_in_one_piece() -> None:
    data = b"some line\nand another \xe2\x82\xac\n\n"
    assert feed(LineCutter(LONGEST), data) == [Piece(data, 3)]


def test_lines_with_keys_stay_in_one_piece() -> None:
    data = b"@a.b-c:1 x\n@a.b-c:2 \n"
    assert feed(LineCutter(LONGEST), data) == [Piece(data, 2, keyed=True)]


@pytest.mark.parametrize(
    "text", [b"@", b"@id x", b"@id:x y", b"@:1 y", b"@id:1234567890123456789 y"]
)
def test_what_is_no_key_is_text(text: bytes) -> None:
    assert feed(LineCutter(LONGEST), text + b"\n") == [Piece(text + b"\n", 1)]


def test_a_line_without_end_is_reported_once_and_passed_over() -> None:
    cutter = LineCutter(LONGEST)
    assert feed(cutter, b"x" * 30) == []
    assert feed(cutter, b"x" * 30) == [TOO_LONG]
    assert feed(cutter, b"x" * 1000) == []
    assert not cutter.tail
    assert feed(cutter, b"x\nfine\n") == [Piece(b"fine\n", 1)]


def test_the_longest_line_passes_with_both_line_ends() -> None:
    line = b"x" * LONGEST
    for end in (b"\n", b"\r\n"):
        assert flat(feed(LineCutter(LONGEST), line + end)) == [(line, False, False)]
        cutter = LineCutter(LONGEST)
        assert feed(cutter, line + end[:-1]) == []
        assert flat(feed(cutter, b"\n")) == [(line, False, False)]


def test_a_last_line_may_lack_its_end() -> None:
    cutter = LineCutter(LONGEST)
    feed(cutter, b"a\nlast\r")
    assert cutter.finish() == [Piece(b"last\n", 1)]
    assert cutter.finish() == []
