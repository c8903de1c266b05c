"""Does the sink hold what was acknowledged? Counted in the sink itself, by sender.

Here: the questions, in each database's SQL. Not here: sending.
Thread: the loop's. Invariant: a line counts as missing unless its very number is there.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import unquote, urlsplit

# Lines are `run-sender number ...`. Per sender: rows, different numbers, the highest number.
POSTGRES = """
SELECT split_part(line, ' ', 1) AS name, count(*), count(DISTINCT split_part(line, ' ', 2)),
       max(split_part(line, ' ', 2)::bigint)
FROM log WHERE line LIKE $1 GROUP BY 1
"""
POSTGRES_NUMBERS = "SELECT DISTINCT split_part(line, ' ', 2)::bigint FROM log WHERE line LIKE $1"
MYSQL = """
SELECT substring_index(line, ' ', 1) AS name, count(*),
       count(DISTINCT substring_index(substring_index(line, ' ', 2), ' ', -1)),
       max(cast(substring_index(substring_index(line, ' ', 2), ' ', -1) AS signed))
FROM log WHERE line LIKE %s GROUP BY 1
"""
MYSQL_NUMBERS = (
    "SELECT DISTINCT cast(substring_index(substring_index(line, ' ', 2), ' ', -1) AS signed) "
    "FROM log WHERE line LIKE %s"
)
SQLITE = """
SELECT substr(line, 1, instr(line, ' ') - 1) AS name, count(*),
       count(DISTINCT substr(line, instr(line, ' ') + 1, 12)),
       max(CAST(substr(line, instr(line, ' ') + 1, 12) AS INTEGER))
FROM log WHERE line LIKE ? GROUP BY 1
"""
SQLITE_NUMBERS = (
    "SELECT DISTINCT CAST(substr(line, instr(line, ' ') + 1, 12) AS INTEGER) "
    "FROM log WHERE line LIKE ?"
)


class Store:
    """A sink that is asked questions."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._link: Any = None

    async def open(self) -> tuple[str, str]:
        """Connect; returns the two questions."""
        scheme = self._url.partition(":")[0]
        if scheme == "sqlite":
            path = self._url.removeprefix("sqlite:").removeprefix("//")
            self._link = sqlite3.connect(path)
            return SQLITE, SQLITE_NUMBERS
        if scheme in ("postgres", "postgresql"):
            import asyncpg

            self._link = await asyncpg.connect(self._url)
            return POSTGRES, POSTGRES_NUMBERS
        import asyncmy

        parts = urlsplit(self._url)
        self._link = await asyncmy.connect(
            host=parts.hostname,
            port=parts.port or 3306,
            user=unquote(parts.username or ""),
            password=unquote(parts.password or ""),
            db=parts.path.strip("/"),
        )
        return MYSQL, MYSQL_NUMBERS

    async def rows(self, query: str, parameter: str) -> Iterable[tuple[Any, ...]]:
        """The answer to a question."""
        if isinstance(self._link, sqlite3.Connection):
            return self._link.execute(query, (parameter,)).fetchall()
        if hasattr(self._link, "fetch"):
            return [tuple(row) for row in await self._link.fetch(query, parameter)]
        async with self._link.cursor() as cursor:
            await cursor.execute(query, (parameter,))
            found: Iterable[tuple[Any, ...]] = await cursor.fetchall()
            return found

    async def close(self) -> None:
        """Disconnect."""
        if isinstance(self._link, sqlite3.Connection):
            self._link.close()
        elif hasattr(self._link, "fetch"):
            await self._link.close()
        elif self._link is not None:
            self._link.close()


async def verify(url: str, run: str, senders: Mapping[str, tuple[int, int]]) -> dict[str, object]:
    """`senders`: of each, how many first lines were acknowledged and how many were written."""
    store = Store(url)
    counts, numbers = await store.open()
    try:
        found = {row[0]: row[1:] for row in await store.rows(counts, f"{run}-%")}
        missing = duplicates = rows = 0
        for name, (acknowledged, _) in senders.items():
            stored, different, highest = found.get(name, (0, 0, -1))
            rows += stored
            duplicates += stored - different
            if different == highest + 1:
                missing += max(0, acknowledged - different)
            else:
                present = {row[0] for row in await store.rows(numbers, f"{name} %")}
                missing += sum(number not in present for number in range(acknowledged))
        return {"rows": rows, "missing": missing, "duplicates": duplicates}
    finally:
        await store.close()
