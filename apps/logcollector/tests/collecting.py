"""A collector within the test's own loop.

Here: its configuration, its life. Not here: senders (peers.py), fixtures (conftest.py).
Thread: the loop's. Invariant: the collector is drained when the context ends.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

from logcollector.config import Config
from logcollector.service import Service
from logcollector.settings import build

Run = Callable[[Coroutine[Any, Any, None]], None]


def configure(**values: object) -> Config:
    """A configuration from texts, as a user would write them."""
    return build({name: (str(value), name) for name, value in values.items()})


@contextlib.asynccontextmanager
async def collecting(settings: dict[str, object], **more: object) -> AsyncIterator[Service]:
    """A running collector; drained at the end."""
    service = Service(configure(**{**settings, **more}))
    await service.open()
    task = asyncio.create_task(service.run())
    try:
        yield service
    finally:
        service.stopping.set()
        await task
