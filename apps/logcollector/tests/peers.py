"""Senders for the tests.

Here: a connection to a collector, with bounded waits. Not here: assertions.
Thread: the loop's. Invariant: every wait ends within PATIENCE.
"""

from __future__ import annotations

import asyncio
import sqlite3
import ssl
from collections.abc import Callable
from typing import Any, Self

from logcollector.service import Service

PATIENCE = 15.0


class Peer:
    """A sender."""

    def __init__(self, service: Service, context: ssl.SSLContext | None = None) -> None:
        self._address = service.receiver.addresses[0]
        self._context = context

    async def __aenter__(self) -> Self:
        self.reader, self.writer = await asyncio.open_connection(
            *self._address,
            ssl=self._context,
            server_hostname="localhost" if self._context else None,
        )
        return self

    async def __aexit__(self, *exc: object) -> None:
        self.writer.close()
        try:
            await self.writer.wait_closed()
        except OSError:
            pass  # the collector may have closed first

    def send(self, data: bytes) -> None:
        """Write."""
        self.writer.write(data)

    async def answers(self, count: int) -> list[bytes]:
        """The next answers."""
        async with asyncio.timeout(PATIENCE):
            return [await self.reader.readline() for _ in range(count)]

    async def rest(self) -> bytes:
        """Everything until the collector closes."""
        async with asyncio.timeout(PATIENCE):
            return await self.reader.read()


async def until(condition: Callable[[], Any]) -> None:
    """Let the loop run until the condition holds."""
    async with asyncio.timeout(PATIENCE):
        while not condition():
            await asyncio.sleep(0.005)


def rows(settings: dict[str, object], query: str = "SELECT line FROM log ORDER BY id") -> list[Any]:
    """What the SQLite file holds: a list of the column, or of tuples."""
    path = str(settings["sink"]).removeprefix("sqlite:")
    db = sqlite3.connect(path)
    try:
        found = db.execute(query).fetchall()
    finally:
        db.close()
    return [row[0] if len(row) == 1 else row for row in found]
