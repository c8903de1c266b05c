"""The MySQL and MariaDB sink: each batch is one transaction of multi-row inserts, made in bulk.

Here: storing a batch, telling a retry from news, what an error means.
Not here: the schema (mysql_schema.py), retrying (writers.py).
Thread: the loop's; asyncmy runs on it.
Invariant: the batch's id is inserted in the batch's own transaction. If the outcome of a commit is
unknown, the next attempt waits at that id for the first one to end, and then knows. A statement is
shorter than the server's max_allowed_packet.
"""

from __future__ import annotations

from collections.abc import Awaitable, Iterator
from typing import Any, TypeVar
from urllib.parse import unquote, urlsplit

import asyncmy
from asyncmy import errors

from ..block import Batch, Block, readable, utc
from ..config import Config
from .base import RefusedError, Stored, UnavailableError
from .mysql_schema import bring_up_to_date

T = TypeVar("T")

# Data the server does not take: constraints, values out of range or too long or of the wrong
# form, a packet too large, what a trigger signals.
REFUSALS = {1048, 1062, 1153, 1216, 1264, 1292, 1364, 1366, 1406, 1452, 1644, 3819, 4025}
STATEMENT = 4 << 20  # bytes at most, even if the server would take more
PLAIN = "INSERT INTO log (received, peer, line) VALUES "
FULL = "INSERT INTO log (received, peer, line, raw, sender, seq) VALUES "
# An upsert that changes nothing, because INSERT IGNORE would swallow other errors as well.
KEEP_FIRST = " ON DUPLICATE KEY UPDATE seq = seq"


class MysqlSink:
    """One connection to MySQL or MariaDB."""

    def __init__(self, url: str, *, keep_raw: bool) -> None:
        self._url = url
        self._keep_raw = keep_raw
        self._link: Any = None
        self._statement = STATEMENT

    async def open(self) -> None:
        await self._guarded(self._open())

    async def write_batch(self, batch: Batch) -> Stored:
        return Stored(await self._guarded(self._write(batch)))

    async def write_dead(self, batch: Batch, reason: str) -> None:
        await self._guarded(self._bury(batch, reason))

    async def close(self) -> None:
        link, self._link = self._link, None
        if link is not None:
            link.close()

    async def health(self) -> None:
        await self._guarded(self._run("SELECT 1"))

    async def _guarded(self, work: Awaitable[T]) -> T:
        """Errors as the writer understands them; a refusal leaves the connection usable."""
        try:
            return await work
        except errors.MySQLError as error:
            number = error.args[0] if error.args else 0
            text = f"{error.args[-1] if error.args else error} [{number}]"
            if number not in REFUSALS:
                raise UnavailableError(text) from error
            try:
                await self._run("ROLLBACK")
            except errors.MySQLError as worse:
                raise UnavailableError(str(worse)) from error
            raise RefusedError(text) from error
        except (RuntimeError, AttributeError, EOFError) as error:
            # What the driver raises when a connection ends under a query.
            raise UnavailableError(f"connection lost: {error}") from error

    async def _open(self) -> None:
        parts = urlsplit(self._url)
        self._link = await asyncmy.connect(
            host=parts.hostname or "127.0.0.1",
            port=parts.port or 3306,
            user=unquote(parts.username or ""),
            password=unquote(parts.password or ""),
            db=parts.path.strip("/"),
            charset="utf8mb4",
            autocommit=True,
            init_command="SET SESSION sql_mode = 'STRICT_ALL_TABLES', time_zone = '+00:00'",
        )
        await bring_up_to_date(self._run)
        ((packet,),) = await self._run("SELECT @@max_allowed_packet")
        self._statement = min(STATEMENT, int(packet) - 64 * 1024)

    async def _run(self, query: str) -> list[tuple[Any, ...]]:
        if self._link is None:
            raise UnavailableError("not connected")
        async with self._link.cursor() as cursor:
            await cursor.execute(query)
            return list(await cursor.fetchall() or ())

    async def _affected(self, query: str) -> int:
        async with self._link.cursor() as cursor:
            await cursor.execute(query)
            return int(cursor.rowcount)

    async def _begin(self, batch: Batch) -> bool:
        """Open the transaction; False if the batch was stored before."""
        await self._run("START TRANSACTION")
        # The ids are hexadecimal: nothing in them needs quoting.
        if batch.forget:
            ids = ",".join(f"x'{stored.hex}'" for stored in batch.forget)
            await self._run(f"DELETE FROM logcollector_batch WHERE id IN ({ids})")
        fresh = await self._affected(
            f"INSERT IGNORE INTO logcollector_batch (id) VALUES (x'{batch.id.hex}')"
        )
        return fresh == 1

    async def _write(self, batch: Batch) -> int:
        if self._link is None:
            raise UnavailableError("not connected")
        duplicates = 0
        if await self._begin(batch):
            for statement in self._plain(batch):
                await self._run(statement)
            for rows, statement in self._keyed(batch):
                duplicates += rows - await self._affected(statement)
        await self._run("COMMIT")
        return duplicates

    async def _bury(self, batch: Batch, reason: str) -> None:
        if self._link is None:
            raise UnavailableError("not connected")
        if await self._begin(batch):
            why = quoted(reason.encode("utf-8", "replace")).decode()
            for block in batch.blocks:
                begin = (
                    f"INSERT INTO log_dead (received, peer, line, reason) VALUES ({head(block)},"
                )
                for line in block.lines():
                    await self._run(f"{begin}{binary(line)},{why})")
        await self._run("COMMIT")

    def _plain(self, batch: Batch) -> Iterator[str]:
        """Statements for the blocks whose lines need no look."""
        pieces: list[bytes] = []
        size = 0
        for block in batch.blocks:
            if block.keyed or block.raw:
                continue
            for rows in in_bulk(block, self._statement):
                if pieces and size + len(rows) > self._statement:
                    yield PLAIN + b",".join(pieces).decode()
                    pieces.clear()
                    size = 0
                pieces.append(rows)
                size += len(rows) + 1
        if pieces:
            yield PLAIN + b",".join(pieces).decode()

    def _keyed(self, batch: Batch) -> Iterator[tuple[int, str]]:
        """The number of rows and the statement, for lines with keys or raw bytes."""
        pieces: list[str] = []
        size = 0
        for block in batch.blocks:
            if not (block.keyed or block.raw):
                continue
            for row in one_by_one(block, keep_raw=self._keep_raw):
                if pieces and size + len(row) * 4 > self._statement:
                    yield len(pieces), FULL + ",".join(pieces) + KEEP_FIRST
                    pieces.clear()
                    size = 0
                pieces.append(row)
                size += len(row) * 4  # as UTF-8, at most
        if pieces:
            yield len(pieces), FULL + ",".join(pieces) + KEEP_FIRST


def escape(data: bytes) -> bytes:
    """Inside single quotes, with backslash escapes on."""
    return data.replace(b"\\", b"\\\\").replace(b"'", b"\\'")


def quoted(data: bytes) -> bytes:
    """A text literal."""
    return b"'" + escape(data.replace(b"\0", b"")) + b"'"


def binary(data: bytes) -> str:
    """A literal of any bytes."""
    return f"x'{data.hex()}'"


def head(block: Block) -> str:
    """The first two columns, which all lines of a block share."""
    peer = f"'{block.peer}'" if block.peer else "NULL"
    return f"'{utc(block.received)}',{peer}"


def in_bulk(block: Block, limit: int) -> Iterator[bytes]:
    """The rows of a block of plain lines, in pieces shorter than `limit`."""
    begin = f"({head(block)},'".encode()
    if len(block.data) * 2 + block.count * (len(begin) + 3) < limit:
        yield begin + escape(block.data[:-1]).replace(b"\n", b"')," + begin) + b"')"
        return
    for line in block.lines():
        yield begin + escape(line) + b"')"


def one_by_one(block: Block, *, keep_raw: bool) -> Iterator[str]:
    """The rows of a block with keys or raw bytes."""
    begin = head(block)
    keep = block.raw and keep_raw
    for sender, seq, line in (
        block.keyed_lines() if block.keyed else ((None, 0, line) for line in block.lines())
    ):
        text = quoted(readable(line).encode()).decode()
        raw = binary(line) if keep else "NULL"
        key = "NULL,NULL" if sender is None else f"'{sender}',{seq}"
        yield f"({begin},{text},{raw},{key})"


def make(config: Config) -> MysqlSink:
    """The sink the configuration names."""
    return MysqlSink(config.sink.url, keep_raw=config.invalid == "keep")
