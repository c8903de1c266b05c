"""The load generator notices what it is there to notice."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from collecting import Run, collecting
from logcollector.load.__main__ import parser, percentiles
from logcollector.load.__main__ import run as run_load
from logcollector.load.verify import verify
from peers import rows

Settings = dict[str, object]
Answer = Callable[[int], bytes]


async def load(port: int, *flags: str) -> dict[str, Any]:
    arguments = [f"--connect=127.0.0.1:{port}", "--quiet", "--run=test", *flags]
    return await run_load(parser().parse_args(arguments))


async def against(answer: Answer, *flags: str) -> dict[str, Any]:
    """The report of a load on a server that answers lines as told."""

    served: list[asyncio.Task[Any]] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        served.append(task)
        number = 0
        while await reader.readline():
            writer.write(answer(number))
            number += 1
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        return await load(server.sockets[0].getsockname()[1], *flags)
    finally:
        server.close()
        await asyncio.gather(*served, return_exceptions=True)


def test_a_collector_passes(run: Run, settings: Settings) -> None:
    async def main() -> None:
        async with collecting(settings) as service:
            port = service.receiver.addresses[0][1]
            flags = ("--senders=5", "--window=50", "--duration=300ms", "--line-size=120")
            report = await load(port, *flags, f"--verify={settings['sink']}")
            assert report["acknowledged"] == report["written"] == report["rows"] > 0
            assert report["missing"] == report["duplicates"] == report["unacknowledged"] == 0
            assert 0 < report["latency_ms"]["p50"] <= report["latency_ms"]["max"]
        assert {len(line) for line in rows(settings)} == {119}

    run(main())


def test_a_rate_is_kept(run: Run) -> None:
    async def main() -> None:
        flags = ("--senders=2", "--rate=200", "--duration=500ms")
        report = await against(lambda _: b"ok\n", *flags)
        assert 20 <= report["acknowledged"] <= 110

    run(main())


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (lambda number: b"err busy\n" if number == 3 else b"ok\n", "expected ok, got"),
        (lambda number: b"ok\nok\n" if number == 3 else b"ok\n", "more answers than lines"),
        (lambda _: b"ok\r\n", "expected ok, got"),
    ],
)
def test_wrong_answers_are_found(run: Run, answer: Answer, text: str) -> None:
    async def main() -> None:
        flags = ("--senders=1", "--window=1", "--duration=5s", "--patience=1s")
        report = await against(answer, *flags)
        assert text in report["wrong_answers"][0]

    run(main())


def test_missing_answers_are_found(run: Run) -> None:
    async def main() -> None:
        flags = ("--senders=1", "--window=10", "--duration=100ms", "--patience=100ms")
        report = await against(lambda number: b"" if number == 5 else b"ok\n", *flags)
        assert report["unacknowledged"] > 0

    run(main())


def test_lost_and_double_lines_are_counted(run: Run, tmp_path: Path) -> None:
    async def main() -> None:
        path = tmp_path / "lines.db"
        db = sqlite3.connect(path)
        db.execute("CREATE TABLE log (line TEXT)")
        numbers = {"run-1": [0, 1, 2, 3], "run-10": [0, 2, 2, 3, 5], "other-1": [7]}
        for name, stored in numbers.items():
            db.executemany(
                "INSERT INTO log VALUES (?)", [(f"{name} {number:012} x",) for number in stored]
            )
        db.commit()
        db.close()
        senders = {"run-1": (4, 4), "run-10": (5, 6), "run-2": (2, 2)}
        found = await verify(f"sqlite:{path}", "run", senders)
        # Of run-10 the lines 1 and 4 are missing, 5 was never acknowledged; of run-2 both.
        assert found == {"rows": 9, "missing": 4, "duplicates": 1}

    run(main())


def test_percentiles() -> None:
    assert percentiles([]) == {}
    figures = percentiles([number / 1000 for number in range(1000, 0, -1)])
    assert figures["p50"] == 500.0
    assert figures["p99"] == 990.0
    assert figures["max"] == 1000.0
