"""The embedded sink where it is by itself: two connections, one file."""

from __future__ import annotations

import asyncio
import sqlite3
from pathlib import Path

import pytest

from collecting import Run
from logcollector.block import Batch, Block
from logcollector.sinks.base import UnavailableError
from logcollector.sinks.sqlite import MIGRATIONS, SqliteSink


def batch(text: bytes) -> Batch:
    return Batch([Block(text + b"\n", 1, 1.0, "::1")])


def count(path: Path, table: str = "log") -> int:
    db = sqlite3.connect(path)
    (found,) = db.execute(f"SELECT count(*) FROM {table}").fetchone()
    db.close()
    return int(found)


def test_an_attempt_that_was_given_up_does_not_store_later(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "lines.db"

    async def main() -> None:
        slow, other = SqliteSink(str(path), keep_raw=True), SqliteSink(str(path), keep_raw=True)
        await slow.open()
        await other.open()
        holder = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        holder.execute("BEGIN IMMEDIATE")
        thread = slow._opened().thread
        one = batch(b"once")
        waiting = asyncio.ensure_future(slow.write_batch(one))  # for the lock
        await asyncio.sleep(0)
        await slow.close()
        holder.execute("COMMIT")
        holder.close()
        # Whoever gets the lock first, the line is stored once and the abandoned attempt fails.
        await other.write_batch(one)
        later = batch(b"later")
        later.forget = [one.id]
        await other.write_batch(later)
        result = (await asyncio.gather(waiting, return_exceptions=True))[0]
        assert isinstance(result, UnavailableError)
        assert "given up" in str(result)
        await asyncio.to_thread(thread.shutdown)
        await other.close()

    run(main())
    assert count(path) == 2


def test_a_file_of_the_first_version_is_migrated(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "lines.db"
    db = sqlite3.connect(path)
    db.executescript(MIGRATIONS[0] + "PRAGMA user_version = 1;")
    db.close()

    async def main() -> None:
        sink = SqliteSink(str(path), keep_raw=True)
        await sink.open()
        await sink.write_dead(batch(b"dead"), "why")
        await sink.write_batch(batch(b"fine"))
        await sink.close()

    run(main())
    assert count(path) == count(path, "log_dead") == 1


def test_a_file_of_a_later_version_is_left_alone(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "lines.db"
    db = sqlite3.connect(path)
    db.execute("PRAGMA user_version = 99")
    db.close()

    async def main() -> None:
        sink = SqliteSink(str(path), keep_raw=True)
        with pytest.raises(UnavailableError, match="version 99"):
            await sink.open()
        await sink.close()

    run(main())
