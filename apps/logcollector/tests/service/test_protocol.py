"""What a sender sees: answers in order, each after its line is stored."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import pytest

from collecting import Run, collecting
from logcollector.block import Batch
from logcollector.sinks.base import Stored
from logcollector.sinks.sqlite import SqliteSink
from peers import Peer, rows, until

Settings = dict[str, object]


def test_each_line_is_stored_when_its_answer_comes(run: Run, settings: Settings) -> None:
    async def main() -> None:
        async with collecting(settings) as service, Peer(service) as peer:
            for number in range(5):
                peer.send(b"line %d\n" % number)
                assert await peer.answers(1) == [b"ok\n"]
                assert rows(settings)[-1] == f"line {number}"

    run(main())


def test_many_lines_in_any_pieces(run: Run, settings: Settings) -> None:
    async def main() -> None:
        lines = [f"line {n} {'x' * (n % 300)}" for n in range(3000)]
        data = "\n".join(lines).encode() + b"\n"
        async with collecting(settings, batch_lines=100) as service, Peer(service) as peer:
            for at in range(0, len(data), 7001):
                peer.send(data[at : at + 7001])
            assert await peer.answers(3000) == [b"ok\n"] * 3000
        assert rows(settings) == lines

    run(main())


def test_line_ends_and_empty_lines(run: Run, settings: Settings) -> None:
    async def main() -> None:
        async with collecting(settings) as service, Peer(service) as peer:
            peer.send(b"a\r\n\nb\rc\n\r\n")
            assert await peer.answers(4) == [b"ok\n"] * 4
        assert rows(settings) == ["a", "", "b\rc", ""]

    run(main())


def test_a_long_line_is_refused_in_its_place(run: Run, settings: Settings) -> None:
    async def main() -> None:
        async with collecting(settings, max_line=100) as service, Peer(service) as peer:
            peer.send(b"one\n" + b"x" * 101 + b"\n" + b"y" * 100 + b"\n")
            assert await peer.answers(3) == [b"ok\n", b"err too long\n", b"ok\n"]
            peer.send(b"z" * 1_000_000)
            assert await peer.answers(1) == [b"err too long\n"]
            peer.send(b"z\nlast\n")
            assert await peer.answers(1) == [b"ok\n"]
            assert service.metrics.too_long_lines == 2
        assert rows(settings) == ["one", "y" * 100, "last"]

    run(main())


@pytest.mark.parametrize("keep", [True, False])
def test_bytes_that_are_no_text_are_kept(run: Run, settings: Settings, keep: bool) -> None:
    async def main() -> None:
        settings["invalid"] = "keep" if keep else "replace"
        async with collecting(settings) as service, Peer(service) as peer:
            peer.send("gr\u00fcn\n".encode() + b"caf\xe9\nnul\0l\n@a:1 \xff\n")
            assert await peer.answers(4) == [b"ok\n"] * 4
            assert service.metrics.raw_lines == 3
        found = rows(settings, "SELECT line, raw FROM log ORDER BY id")
        raw: list[Any] = [None, b"caf\xe9", b"nul\0l", b"\xff"] if keep else [None] * 4
        shown = ["gr\u00fcn", "caf\ufffd", "nul\ufffdl", "\ufffd"]
        assert found == list(zip(shown, raw, strict=True))

    run(main())


def test_a_key_is_stored_once_and_acknowledged_again(run: Run, settings: Settings) -> None:
    async def main() -> None:
        async with collecting(settings) as service:
            for _ in range(2):
                async with Peer(service) as peer:
                    peer.send(b"@web:1 a\n@web:2 b\n@db:1 c\n@web:2 b\nplain\n")
                    assert await peer.answers(5) == [b"ok\n"] * 5
            assert service.metrics.duplicate_lines == 5
        found = rows(
            settings, "SELECT sender, seq, line FROM log WHERE sender NOT NULL ORDER BY id"
        )
        assert found == [("web", 1, "a"), ("web", 2, "b"), ("db", 1, "c")]

    run(main())


def test_ending_ones_half_brings_the_rest_of_the_answers(run: Run, settings: Settings) -> None:
    async def main() -> None:
        async with collecting(settings) as service, Peer(service) as peer:
            peer.send(b"a\nb\nthe last has no end")
            peer.writer.write_eof()
            assert await peer.rest() == b"ok\n" * 3
        assert rows(settings) == ["a", "b", "the last has no end"]

    run(main())


def test_a_line_cut_off_by_a_reset_is_counted_not_stored(run: Run, settings: Settings) -> None:
    async def main() -> None:
        async with collecting(settings) as service:
            async with Peer(service) as peer:
                peer.send(b"whole\nhalf")
                await peer.answers(1)
                sock = peer.writer.get_extra_info("socket")
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
                peer.writer.transport.abort()
            await until(lambda: not service.receiver.connections)
            assert service.metrics.unfinished_lines == 1
        assert rows(settings) == ["whole"]

    run(main())


def test_answers_stay_in_order_when_batches_overtake(
    run: Run, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With two writers the second batch may be stored first; answers keep their order."""

    async def main() -> None:
        stored: list[str] = []
        gates: dict[str, asyncio.Event] = {}

        async def write(sink: object, batch: Batch) -> Stored:
            text = batch.blocks[0].lines()[0].decode()
            await gates.setdefault(text, asyncio.Event()).wait()
            stored.append(text)
            return Stored()

        monkeypatch.setattr(SqliteSink, "write_batch", write)
        monkeypatch.setattr("logcollector.config.Config.writer_count", 2)
        async with collecting(settings, batch_lines=1) as service:
            async with Peer(service) as peer, Peer(service) as other:
                peer.send(b"first\n")
                await until(lambda: "first" in gates)
                peer.send(b"second\n")
                await until(lambda: "second" in gates)
                other.send(b"else\n")
                gates["second"].set()
                gates.setdefault("else", asyncio.Event()).set()
                assert await other.answers(1) == [b"ok\n"]
                assert stored == ["second", "else"]
                assert service.metrics.acknowledged_lines == 1
                gates["first"].set()
                assert await peer.answers(2) == [b"ok\n"] * 2

    run(main())


def test_on_receipt_answers_do_not_wait(
    run: Run, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> None:
        gate = asyncio.Event()
        original = SqliteSink.write_batch

        async def write(sink: SqliteSink, batch: Batch) -> Stored:
            await gate.wait()
            return await original(sink, batch)

        monkeypatch.setattr(SqliteSink, "write_batch", write)
        async with collecting(settings, ack="none", max_line=10) as service:
            async with Peer(service) as peer:
                peer.send(b"a\n" + b"x" * 11 + b"\nb\n")
                assert await peer.answers(3) == [b"ok\n", b"err too long\n", b"ok\n"]
                gate.set()
        assert rows(settings) == ["a", "b"]

    run(main())
