"""The embedded sink: one SQLite file, nothing to set up.

Here: its schema, its migrations, storing a batch.
Not here: retrying. Thread: a thread of its own per sink does all the work, so the loop never
waits for the disk; the connection is used by that thread alone.
Invariant: WAL with synchronous=FULL: a committed batch survives the loss of power. A batch's id is
stored in its own transaction.
"""

from __future__ import annotations

import asyncio
import json
import sqlite3
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from ..block import Batch, Block, readable
from ..config import Config
from .base import RefusedError, Stored, UnavailableError

T = TypeVar("T")

# Times are seconds since 1970. Each entry brings the schema one version up.
MIGRATIONS = (
    """
    CREATE TABLE log (
        id INTEGER PRIMARY KEY, received REAL NOT NULL, peer TEXT, line TEXT NOT NULL, raw BLOB,
        sender TEXT, seq INTEGER);
    CREATE INDEX log_received ON log (received);
    CREATE UNIQUE INDEX log_key ON log (sender, seq) WHERE sender IS NOT NULL;
    CREATE TABLE logcollector_batch (id BLOB PRIMARY KEY, stored REAL NOT NULL) WITHOUT ROWID;
    """,
    """
    CREATE TABLE log_dead (
        id INTEGER PRIMARY KEY, received REAL NOT NULL, peer TEXT, line BLOB NOT NULL,
        reason TEXT NOT NULL);
    """,
)
KEPT_BATCHES = 7 * 86400.0  # seconds; a spool that is older is replayed at least once

# One statement per block: the rows are made inside SQLite, without the interpreter's lock.
BULK = "INSERT INTO log (received, peer, line) SELECT ?, ?, value FROM json_each(?)"
ONE = (
    "INSERT INTO log (received, peer, line, raw, sender, seq) VALUES (?, ?, ?, ?, ?, ?) "
    "ON CONFLICT (sender, seq) WHERE sender IS NOT NULL DO NOTHING"
)
BATCH = "INSERT OR IGNORE INTO logcollector_batch VALUES (?, ?)"


class SqliteSink:
    """A sink that is a file."""

    def __init__(self, path: str, *, keep_raw: bool) -> None:
        self._path = path
        self._keep_raw = keep_raw
        self._database: Database | None = None

    async def open(self) -> None:
        if self._database is None:
            self._database = Database(self._path, keep_raw=self._keep_raw)
        await self._call(self._database.open)

    async def write_batch(self, batch: Batch) -> Stored:
        database = self._opened()
        return Stored(await self._call(lambda: database.store(batch, database.write)))

    async def write_dead(self, batch: Batch, reason: str) -> None:
        database = self._opened()
        await self._call(lambda: database.store(batch, lambda it: database.bury(it, reason)))

    async def close(self) -> None:
        # The thread may still be at work on a batch that was given up: it closes after that.
        database, self._database = self._database, None
        if database is not None:
            database.abandoned = True
            database.thread.submit(database.close)
            database.thread.shutdown(wait=False)

    async def health(self) -> None:
        await self._call(self._opened().check)

    def _opened(self) -> Database:
        if self._database is None:
            raise UnavailableError("not open")
        return self._database

    async def _call(self, work: Callable[[], T]) -> T:
        thread = self._opened().thread
        try:
            return await asyncio.get_running_loop().run_in_executor(thread, work)
        except (sqlite3.IntegrityError, sqlite3.DataError) as error:
            raise RefusedError(str(error)) from error
        except sqlite3.Error as error:
            raise UnavailableError(str(error)) from error


class Database:
    """One connection to the file; every method but the constructor runs in `thread`."""

    def __init__(self, path: str, *, keep_raw: bool) -> None:
        self.thread = ThreadPoolExecutor(1, "sqlite")
        self.abandoned = False
        self._path = path
        self._keep_raw = keep_raw
        self._db: sqlite3.Connection | None = None

    def open(self) -> None:
        """Connect and bring the schema up to date."""
        if self._db is not None:
            return
        db = sqlite3.connect(
            self._path, timeout=10.0, isolation_level=None, check_same_thread=False
        )
        try:
            db.execute("PRAGMA journal_mode = WAL")
            db.execute("PRAGMA synchronous = FULL")
            db.execute("PRAGMA wal_autocheckpoint = 4000")
            migrate(db)
            db.execute(
                "DELETE FROM logcollector_batch WHERE stored < ?", (time.time() - KEPT_BATCHES,)
            )
        except BaseException:
            db.close()
            raise
        self._db = db

    def close(self) -> None:
        """Drop the connection."""
        if self._db is not None:
            self._db.close()
            self._db = None

    def check(self) -> None:
        """Fail if the connection does not work."""
        self._opened().execute("SELECT count(*) FROM logcollector_batch").fetchone()

    def _opened(self) -> sqlite3.Connection:
        if self._db is None:
            raise sqlite3.OperationalError("not open")
        return self._db

    def store(self, batch: Batch, work: Callable[[Batch], int]) -> int:
        """Run `work` unless the batch is there already; commit both or nothing."""
        db = self._opened()
        db.execute("BEGIN IMMEDIATE")
        try:
            if self.abandoned:
                # It waited for the lock until it was given up: by now another connection may have
                # stored the batch, and even forgotten its id.
                raise sqlite3.OperationalError("given up")
            if batch.forget:
                ids = [(forgotten.bytes,) for forgotten in batch.forget]
                db.executemany("DELETE FROM logcollector_batch WHERE id = ?", ids)
            fresh = db.execute(BATCH, (batch.id.bytes, time.time())).rowcount
            result = work(batch) if fresh else 0
            db.execute("COMMIT")
        except BaseException:
            if db.in_transaction:
                db.execute("ROLLBACK")
            raise
        return result

    def write(self, batch: Batch) -> int:
        """Insert the lines; returns how many were there already."""
        db = self._opened()
        stored = 0
        for block in batch.blocks:
            if block.keyed or block.raw:
                before = db.total_changes
                db.executemany(ONE, block_rows(block, keep_raw=self._keep_raw))
                stored += db.total_changes - before
            else:
                lines = block.data.decode().split("\n")
                lines.pop()
                array = json.dumps(lines, ensure_ascii=False)
                db.execute(BULK, (block.received, block.peer, array))
                stored += block.count
        return batch.lines - stored

    def bury(self, batch: Batch, reason: str) -> int:
        """Insert the lines into the dead-letter table."""
        for block in batch.blocks:
            self._opened().executemany(
                "INSERT INTO log_dead (received, peer, line, reason) VALUES (?, ?, ?, ?)",
                [(block.received, block.peer, line, reason) for line in block.lines()],
            )
        return 0


def block_rows(block: Block, *, keep_raw: bool) -> list[tuple[object, ...]]:
    """The rows of a block that cannot be inserted in bulk."""
    received, peer = block.received, block.peer
    keep = block.raw and keep_raw
    if block.keyed:
        return [
            (received, peer, readable(line), line if keep else None, sender, seq)
            for sender, seq, line in block.keyed_lines()
        ]
    return [
        (received, peer, readable(line), line if keep else None, None, None)
        for line in block.lines()
    ]


def migrate(db: sqlite3.Connection) -> None:
    """Bring the schema up to date; several processes may try at once."""
    db.execute("BEGIN IMMEDIATE")
    try:
        (version,) = db.execute("PRAGMA user_version").fetchone()
        if version > len(MIGRATIONS):
            raise sqlite3.OperationalError(
                f"the schema has version {version}, this program knows {len(MIGRATIONS)}"
            )
        for script in MIGRATIONS[version:]:
            for statement in script.split(";"):
                if statement.strip():
                    db.execute(statement)
        db.execute(f"PRAGMA user_version = {len(MIGRATIONS)}")
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise


def make(config: Config) -> SqliteSink:
    """The sink the configuration names."""
    path = config.sink.url.removeprefix("sqlite:")
    if path.startswith("//"):
        path = path[2:]
    return SqliteSink(path, keep_raw=config.invalid == "keep")
