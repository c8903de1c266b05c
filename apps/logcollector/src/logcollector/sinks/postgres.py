"""The PostgreSQL sink: each batch is one transaction with one COPY, made in bulk.

Here: storing a batch, telling a retry from news, what an error means.
Not here: the schema and its partitions (postgres_schema.py), retrying (writers.py).
Thread: the loop's; asyncpg runs on it.
Invariant: the batch's id is inserted in the batch's own transaction. If the outcome of a commit is
unknown, the next attempt waits at that id for the first one to end, and then knows.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime

import asyncpg

from ..block import Batch, Block, readable, utc
from ..config import Config
from .base import RefusedError, Stored, UnavailableError
from .postgres_schema import Partitions, bring_up_to_date

CHUNK = 64 * 1024  # handed to the driver at a time
# Data that the database does not take: exceptions of data and constraints, limits, and what
# triggers raise. Everything else may pass.
REFUSALS = ("22", "23", "54", "P0")

STAGE = (
    "CREATE TEMPORARY TABLE IF NOT EXISTS logcollector_keyed (received timestamptz, peer inet, "
    "line text, raw bytea, sender text, seq bigint) ON COMMIT DELETE ROWS"
)
UNSTAGE = """
WITH first AS (
    SELECT DISTINCT ON (sender, seq) * FROM logcollector_keyed ORDER BY sender, seq
), fresh AS (
    INSERT INTO log_key (sender, seq) SELECT sender, seq FROM first
    ON CONFLICT DO NOTHING RETURNING sender, seq
)
INSERT INTO log (received, peer, line, raw, sender, seq)
SELECT received, peer, line, raw, sender, seq FROM first JOIN fresh USING (sender, seq)
"""


class PostgresSink:
    """One connection to PostgreSQL."""

    def __init__(self, url: str, *, keep_raw: bool) -> None:
        self._url = url
        self._keep_raw = keep_raw
        self._link: asyncpg.Connection | None = None
        self._partitions = Partitions()

    async def open(self) -> None:
        try:
            link = await asyncpg.connect(
                self._url, server_settings={"application_name": "logcollector"}
            )
        except (asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            raise UnavailableError(str(error)) from error
        self._link = link
        try:
            await bring_up_to_date(link)
            self._partitions = Partitions()
        except (asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            raise UnavailableError(str(error)) from error

    async def write_batch(self, batch: Batch) -> Stored:
        try:
            return Stored(await self._write(self._opened(), batch))
        except (asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            raise await self._failure(error) from error

    async def write_dead(self, batch: Batch, reason: str) -> None:
        link = self._opened()
        rows = [
            (datetime.fromtimestamp(block.received, UTC), block.peer or None, line, reason)
            for block in batch.blocks
            for line in block.lines()
        ]
        try:
            if await self._begin(link, batch):
                await link.executemany(
                    "INSERT INTO log_dead (received, peer, line, reason) VALUES ($1, $2, $3, $4)",
                    rows,
                )
            await link.execute("COMMIT")
        except (asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            raise await self._failure(error) from error

    async def close(self) -> None:
        link, self._link = self._link, None
        if link is not None:
            link.terminate()

    async def health(self) -> None:
        try:
            await self._opened().execute("SELECT 1")
        except (asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            raise UnavailableError(str(error)) from error

    def _opened(self) -> asyncpg.Connection:
        if self._link is None or self._link.is_closed():
            raise UnavailableError("not connected")
        return self._link

    async def _failure(self, error: Exception) -> Exception:
        """The error as the writer understands it; a refusal leaves the connection usable."""
        state = getattr(error, "sqlstate", None)
        if not isinstance(state, str) or not state.startswith(REFUSALS):
            return UnavailableError(f"{error} [{state}]" if state else str(error))
        try:
            await self._opened().execute("ROLLBACK")
        except (asyncpg.PostgresError, asyncpg.InterfaceError) as worse:
            return UnavailableError(str(worse))
        return RefusedError(f"{error} [{state}]")

    async def _begin(self, link: asyncpg.Connection, batch: Batch) -> bool:
        """Open the transaction; False if the batch was stored before."""
        # One round trip. The ids are UUIDs: nothing in them needs quoting.
        query = "BEGIN;"
        if batch.forget:
            ids = ",".join(f"'{stored}'" for stored in batch.forget)
            query += f"DELETE FROM logcollector_batch WHERE id IN ({ids});"
        query += f"INSERT INTO logcollector_batch (id) VALUES ('{batch.id}') ON CONFLICT DO NOTHING"
        return bool((await link.execute(query)).endswith(" 1"))

    async def _write(self, link: asyncpg.Connection, batch: Batch) -> int:
        await self._partitions.ensure(link, batch)
        duplicates = 0
        if await self._begin(link, batch):
            plain = [block for block in batch.blocks if not block.keyed]
            if plain:
                await link.copy_to_table(
                    "log",
                    columns=("received", "peer", "line", "raw")
                    if any(block.raw for block in plain)
                    else ("received", "peer", "line"),
                    source=self._chunks(plain),
                )
            if len(plain) < len(batch.blocks):
                duplicates = await self._write_keyed(
                    link, [block for block in batch.blocks if block.keyed]
                )
        await link.execute("COMMIT")
        return duplicates

    async def _write_keyed(self, link: asyncpg.Connection, blocks: list[Block]) -> int:
        await link.execute(STAGE)
        await link.copy_to_table(
            "logcollector_keyed",
            columns=("received", "peer", "line", "raw", "sender", "seq"),
            source=self._chunks(blocks),
        )
        stored = int((await link.execute(UNSTAGE)).rpartition(" ")[2])
        return sum(block.count for block in blocks) - stored

    async def _chunks(self, blocks: list[Block]) -> AsyncIterator[bytes]:
        """The blocks as COPY's text format, in pieces the driver can pass on."""
        with_raw = any(block.raw or block.keyed for block in blocks)
        piece: list[bytes] = []
        size = 0
        for block in blocks:
            if block.raw or block.keyed:
                rows = one_by_one(block, keep_raw=self._keep_raw)
            else:
                rows = in_bulk(block, b"\t\\N\n" if with_raw else b"\n")
            piece.append(rows)
            size += len(rows)
            if size >= CHUNK:
                yield b"".join(piece)
                piece.clear()
                size = 0
        if piece:
            yield b"".join(piece)


def prefix(block: Block) -> bytes:
    """The first two columns, which all lines of a block share."""
    peer = block.peer or "\\N"
    return f"{utc(block.received)}+00\t{peer}\t".encode()


def escape(data: bytes) -> bytes:
    """What COPY's text format asks for; line feeds are left alone."""
    return data.replace(b"\\", b"\\\\").replace(b"\t", b"\\t").replace(b"\r", b"\\r")


def in_bulk(block: Block, end: bytes) -> bytes:
    """The rows of a block of plain lines, without looking at one line."""
    begin = prefix(block)
    return begin + escape(block.data[:-1]).replace(b"\n", end + begin) + end


def one_by_one(block: Block, *, keep_raw: bool) -> bytes:
    """The rows of a block with keys or raw bytes; with keys they have two columns more."""
    begin = prefix(block)
    rows = []
    for sender, seq, line in (
        block.keyed_lines() if block.keyed else ((None, 0, line) for line in block.lines())
    ):
        text = escape(readable(line).encode())
        raw = b"\\\\x" + line.hex().encode() if block.raw and keep_raw else b"\\N"
        key = b"" if sender is None else b"\t%s\t%d" % (sender.encode(), seq)
        rows.append(b"%s%s\t%s%s\n" % (begin, text, raw, key))
    return b"".join(rows)


def make(config: Config) -> PostgresSink:
    """The sink the configuration names."""
    return PostgresSink(config.sink.url, keep_raw=config.invalid == "keep")
