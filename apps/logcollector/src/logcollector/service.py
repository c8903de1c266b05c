"""The collector as a whole: its parts wired together, started, and stopped in order.

Here: which part feeds which, the life of the process, what is reported at the end.
Not here: the parts. Thread: the loop's.
Invariant: parts stop in the order lines travel: listeners, connections' reading, queue, spool,
writers, answers, connections, sinks; no line is answered that was not settled.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
import time
from dataclasses import dataclass

from . import loops
from .allocator import keep_freed_memory
from .block import Batch, Block
from .config import Config, ConfigError
from .intake import Intake
from .metrics import Metrics
from .pages import Pages
from .receiver import Receiver, bind_error, raise_descriptor_limit
from .recent import Recent
from .sinks.base import sink_factory
from .spool.stage import SpoolStage
from .writers import Writer, WriterPool

log = logging.getLogger("logcollector")

GRACE = 1.0  # seconds for senders to read their last answers


@dataclass
class Ending:
    """What stopping came to."""

    drained: bool
    unanswered: int
    spooled: int
    seconds: float


class _Commit:
    """The source of the writers when lines are answered after the commit."""

    def __init__(self, intake: Intake, receiver: Receiver) -> None:
        self.take = intake.take
        self._intake = intake
        self._receiver = receiver

    def done(self, batch: Batch) -> None:
        self._intake.done(batch)
        self._receiver.settle(batch)


class Service:
    """One running collector."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.metrics = Metrics()
        self.recent = Recent(config.recent_bytes)
        self.began = time.time()
        self.stopping = asyncio.Event()
        direct = config.ack != "spool"
        self.intake = Intake(
            lines=config.batch_lines,
            size=config.batch_bytes,
            linger=config.linger,
            takers=config.writer_count if direct else 1,
        )
        self.receiver = Receiver(config, self.metrics, self._deliver)
        self.spool: SpoolStage | None = None
        if config.spool:
            self.spool = SpoolStage(
                config, self.metrics, self.intake, None if direct else self.receiver.settle
            )
        self.pools: list[WriterPool] = []
        make = sink_factory(config)
        if direct:
            self.pools.append(self._pool(_Commit(self.intake, self.receiver), make))
        if self.spool is not None:
            self.pools.append(self._pool(self.spool, make))
        self.pages = Pages(self) if config.http is not None else None
        self._register_gauges()

    async def open(self) -> None:
        """Start every part; OSError if an address cannot be had."""
        if self.spool is not None:
            await self.spool.open()
        await self.receiver.open()
        if self.pages is not None:
            await self.pages.open()
        for pool in self.pools:
            pool.start()
        log.info(
            "listening",
            extra={
                "addresses": ", ".join(f"{host}:{port}" for host, port in self.receiver.addresses),
                "sink": str(self.config.sink),
                "ack": self.config.ack,
                "writers": self.config.writer_count,
                "loop": type(asyncio.get_running_loop()).__module__,
                "memory_bound": self.config.memory_bound,
            },
        )

    async def run(self) -> Ending:
        """Work until `stopping` is set or a part fails, then stop."""
        stop = asyncio.create_task(self.stopping.wait())
        parts = [task for pool in self.pools for task in pool.tasks]
        if self.spool is not None:
            parts += self.spool.tasks
        await asyncio.wait([stop, *parts], return_when=asyncio.FIRST_COMPLETED)
        failed = [part.exception() for part in parts if part.done()]
        stop.cancel()
        ending = await self.close()
        for error in failed:
            if error is not None:
                raise error
        return ending

    async def close(self) -> Ending:
        """Stop: store and answer what was received, within the deadline."""
        began = time.monotonic()
        log.info("stopping", extra={"queued_lines": self.receiver.gate.lines})
        self.receiver.stop_accepting()
        self.intake.finish()
        drained = True
        try:
            async with asyncio.timeout(self.config.drain):
                if self.spool is not None:
                    await self.spool.drain()
                if self.config.ack != "spool":
                    await self.pools[0].wait()
        except TimeoutError:
            drained = False
        for pool in self.pools:
            await pool.stop()
        spooled = 0
        if self.spool is not None:
            await self.spool.close()
            spooled = self.spool.pending_lines
        unanswered = self.receiver.unanswered
        await self.receiver.finish(GRACE)
        if self.pages is not None:
            await self.pages.close()
        return Ending(drained and not unanswered, unanswered, spooled, time.monotonic() - began)

    @property
    def troubles(self) -> list[str]:
        """What is wrong; empty when all is well."""
        found = [trouble for pool in self.pools for trouble in pool.troubles]
        if self.spool is not None and self.spool.trouble is not None:
            found.append(self.spool.trouble)
        if self.stopping.is_set():
            found.append("stopping")
        return found

    @property
    def oldest_age(self) -> float:
        """Seconds since the oldest line not settled yet was received."""
        times = [pool.oldest for pool in self.pools] + [self.intake.oldest]
        return max((time.time() - when for when in times if when is not None), default=0.0)

    def _deliver(self, block: Block) -> None:
        self.recent.add(block)
        self.intake.put(block)

    def _pool(self, source: _Commit | SpoolStage, make: object) -> WriterPool:
        config = self.config
        assert callable(make)
        return WriterPool(
            [
                Writer(
                    number,
                    source,
                    make(),
                    self.metrics,
                    timeout=config.sink_timeout,
                    longest_delay=config.retry_longest,
                )
                for number in range(config.writer_count)
            ]
        )

    def _register_gauges(self) -> None:
        gauge = self.metrics.gauge
        receiver = self.receiver
        gauge("connections", "open connections", lambda: len(receiver.connections))
        gauge("paused_connections", "connections that wait for room", self._paused)
        gauge("queued_lines", "lines received and not settled", lambda: receiver.gate.lines)
        gauge("queued_bytes", "memory of these lines", lambda: receiver.gate.size)
        gauge("most_queued_bytes", "the most it ever was", lambda: receiver.gate.most_size)
        gauge("oldest_seconds", "age of the oldest line not settled", lambda: self.oldest_age)
        gauge("descriptor_limit", "descriptors this process may have", raise_descriptor_limit)
        gauge("up_seconds", "since the collector began", lambda: time.time() - self.began)
        if self.spool is not None:
            spool = self.spool
            gauge("spool_bytes", "size of the spool", lambda: spool.size)
            gauge("spool_lines", "lines in the spool", lambda: spool.pending_lines)

    def _paused(self) -> int:
        return sum(connection.held for connection in self.receiver.connections)


async def serve(config: Config) -> int:
    """Run a collector until SIGTERM or SIGINT; the exit status says whether all was stored."""
    raise_descriptor_limit()
    keep_freed_memory()
    try:
        service = Service(config)
    except ImportError as error:
        raise ConfigError(f"sink: {error}") from error
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, service.stopping.set)
    try:
        await service.open()
    except OSError as error:
        raise ConfigError(bind_error(error, config.listen)) from error
    ending = await service.run()
    log.info(
        "stopped" if ending.drained else "stopped with lines that were not answered",
        extra={
            "unanswered_lines": ending.unanswered,
            "spooled_lines": ending.spooled,
            "seconds": round(ending.seconds, 3),
            "received_lines": service.metrics.received_lines,
            "stored_lines": service.metrics.stored_lines,
            "acknowledged_lines": service.metrics.acknowledged_lines,
            "dead_lines": service.metrics.dead_lines,
        },
    )
    return 0 if ending.drained else 3


def main(config: Config) -> int:
    """Run a collector on the configured loop."""
    try:
        return loops.run(serve(config), config.loop)
    except ConfigError as error:
        print(f"logcollector: {error}", file=sys.stderr)
        return 2
