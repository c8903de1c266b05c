"""The MySQL and MariaDB schema and its versions.

Here: what the tables are, and bringing a database of any earlier version up to date.
Not here: storing lines (mysql.py). Thread: the loop's.
Invariant: one process at a time changes the schema (a named lock). These servers commit at every
definition, so each statement can be repeated.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from .base import UnavailableError

Run = Callable[[str], Awaitable[list[tuple[Any, ...]]]]

LOCK = "logcollector"
KEPT_BATCHES = "7 DAY"  # a spool that is older is replayed at least once

MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        """
        CREATE TABLE IF NOT EXISTS log (
            id bigint unsigned NOT NULL AUTO_INCREMENT PRIMARY KEY,
            received datetime(6) NOT NULL,
            peer varchar(45) CHARACTER SET ascii,
            line longtext CHARACTER SET utf8mb4 NOT NULL,
            raw longblob,
            sender varchar(64) CHARACTER SET ascii COLLATE ascii_bin,
            seq bigint,
            KEY log_received (received),
            UNIQUE KEY log_key (sender, seq)) ENGINE=InnoDB
        """,
        """
        CREATE TABLE IF NOT EXISTS logcollector_batch (
            id binary(16) NOT NULL PRIMARY KEY,
            stored datetime NOT NULL DEFAULT CURRENT_TIMESTAMP) ENGINE=InnoDB
        """,
    ),
    (
        """
        CREATE TABLE IF NOT EXISTS log_dead (
            id bigint unsigned NOT NULL AUTO_INCREMENT PRIMARY KEY,
            received datetime(6) NOT NULL,
            peer varchar(45) CHARACTER SET ascii,
            line longblob NOT NULL,
            reason text CHARACTER SET utf8mb4 NOT NULL) ENGINE=InnoDB
        """,
    ),
)


async def bring_up_to_date(run: Run) -> None:
    """Create or migrate the schema."""
    ((locked,),) = await run(f"SELECT GET_LOCK('{LOCK}', 20)")
    if locked != 1:
        raise UnavailableError("another collector changes the schema")
    try:
        await run("CREATE TABLE IF NOT EXISTS logcollector_schema (version int NOT NULL)")
        ((version,),) = await run("SELECT coalesce(max(version), 0) FROM logcollector_schema")
        if version > len(MIGRATIONS):
            raise UnavailableError(
                f"the schema has version {version}, this program knows {len(MIGRATIONS)}"
            )
        for number in range(version, len(MIGRATIONS)):
            for statement in MIGRATIONS[number]:
                await run(statement)
            await run(f"INSERT INTO logcollector_schema VALUES ({number + 1})")
        await run(f"DELETE FROM logcollector_batch WHERE stored < now() - INTERVAL {KEPT_BATCHES}")
    finally:
        await run(f"SELECT RELEASE_LOCK('{LOCK}')")
