"""What a sink is, how it fails, and which one an address names.

Here: the protocol, the two kinds of failure, the factory.
Not here: any database; retrying and dividing batches (writers.py).
Thread: the loop's.
Invariant: `write_batch` either stores the whole batch or nothing of it, and stores it once: called
again with the same batch after any failure it finds out whether the first call took effect.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple, Protocol

from ..block import Batch

if TYPE_CHECKING:
    from ..config import Config


class SinkError(Exception):
    """Storing did not succeed."""


class UnavailableError(SinkError):
    """Try the same batch again later: not connected, restarting, full, locked, unknown outcome."""


class RefusedError(SinkError):
    """The sink is well and does not take these lines."""


class Stored(NamedTuple):
    """What a call stored."""

    duplicates: int = 0  # lines with an @id:seq that was there already


class Sink(Protocol):
    """One connection to a store; each writer has its own."""

    async def open(self) -> None:
        """Connect, and bring the schema up to date. Called again after close()."""

    async def write_batch(self, batch: Batch) -> Stored:
        """Store the batch durably, all of it or nothing."""

    async def write_dead(self, batch: Batch, reason: str) -> None:
        """Keep lines the store refuses where an operator finds them; the same rules hold."""

    async def close(self) -> None:
        """Drop the connection; never fails, never waits long."""

    async def health(self) -> None:
        """Raise UnavailableError if the connection does not work."""


class Kind(NamedTuple):
    """A kind of sink: where it is, and what must be installed."""

    module: str
    extra: str | None
    writers: int  # how many make sense by default; 0: by the number of cores
    most_writers: int


KINDS = {
    "sqlite": Kind("sqlite", None, 1, 1),
    "postgresql": Kind("postgres", "postgres", 0, 64),
    "postgres": Kind("postgres", "postgres", 0, 64),
    "mysql": Kind("mysql", "mysql", 0, 64),
    "mariadb": Kind("mysql", "mysql", 0, 64),
    "nats": Kind("jetstream", "nats", 0, 16),
}


def sink_factory(config: Config) -> Callable[[], Sink]:
    """What makes a sink for each writer; ImportError if its driver is not installed."""
    kind = KINDS[config.sink.scheme]
    try:
        module = importlib.import_module(f"..{kind.module}", __name__)
    except ImportError as error:
        raise ImportError(
            f"the sink {config.sink.scheme!r} needs a driver that is not installed ({error.name}): "
            f"pip install 'logcollector[{kind.extra}]'"
        ) from error
    make: Callable[[Config], Sink] = module.make
    return lambda: make(config)
