"""The PostgreSQL schema: versions, daily partitions.

Here: what the tables are, and bringing a database of any earlier version up to date.
Not here: storing lines (postgres.py). Thread: the loop's.
Invariant: one process at a time changes the schema (an advisory lock); a migration and its version
number are one transaction. Days are UTC days.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import asyncpg

from ..block import Batch
from .base import UnavailableError

LOCK = 0x6C6F6763  # any number all collectors agree on
KEPT_BATCHES = "7 days"  # a spool that is older is replayed at least once

MIGRATIONS = (
    """
    CREATE TABLE log (
        id bigint GENERATED ALWAYS AS IDENTITY, received timestamptz NOT NULL, peer inet,
        line text NOT NULL, raw bytea, sender text, seq bigint)
        PARTITION BY RANGE (received);
    CREATE INDEX log_received ON log USING brin (received);
    CREATE TABLE log_key (sender text, seq bigint, PRIMARY KEY (sender, seq));
    CREATE TABLE logcollector_batch (
        id uuid PRIMARY KEY, stored timestamptz NOT NULL DEFAULT now());
    """,
    """
    CREATE TABLE log_dead (
        id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, received timestamptz NOT NULL,
        peer inet, line bytea NOT NULL, reason text NOT NULL);
    """,
)


async def bring_up_to_date(link: asyncpg.Connection) -> None:
    """Create or migrate the schema."""
    await link.execute("SELECT pg_advisory_lock($1)", LOCK)
    try:
        await link.execute(
            "CREATE TABLE IF NOT EXISTS logcollector_schema (version int NOT NULL)"
            if await link.fetchval("SELECT to_regclass('logcollector_schema') IS NULL")
            else "SELECT 1"
        )
        version = await link.fetchval("SELECT max(version) FROM logcollector_schema") or 0
        if version > len(MIGRATIONS):
            raise UnavailableError(
                f"the schema has version {version}, this program knows {len(MIGRATIONS)}"
            )
        for number in range(version, len(MIGRATIONS)):
            async with link.transaction():
                await link.execute(MIGRATIONS[number])
                await link.execute("DELETE FROM logcollector_schema")
                await link.execute("INSERT INTO logcollector_schema VALUES ($1)", number + 1)
        await link.execute(
            f"DELETE FROM logcollector_batch WHERE stored < now() - interval '{KEPT_BATCHES}'"
        )
    finally:
        if not link.is_closed():
            await link.execute("SELECT pg_advisory_unlock($1)", LOCK)


class Partitions:
    """The daily partitions this connection knows to exist."""

    def __init__(self) -> None:
        self._days: set[date] = set()

    async def ensure(self, link: asyncpg.Connection, batch: Batch) -> None:
        """Make the partitions a batch needs, and those of the day after."""
        days = {datetime.fromtimestamp(block.received, UTC).date() for block in batch.blocks}
        for day in days - self._days:
            for wanted in (day, day + timedelta(days=1)):
                await self._create(link, wanted)
            self._days.add(day)

    async def _create(self, link: asyncpg.Connection, day: date) -> None:
        name = f"log_{day:%Y%m%d}"
        if await link.fetchval("SELECT to_regclass($1) IS NOT NULL", name):
            return
        after = day + timedelta(days=1)
        async with link.transaction():
            await link.execute("SELECT pg_advisory_xact_lock($1)", LOCK)
            await link.execute(
                f"CREATE TABLE IF NOT EXISTS {name} PARTITION OF log "
                f"FOR VALUES FROM ('{day} 00:00+00') TO ('{after} 00:00+00')"
            )
