"""The listening side: sockets, connections as a set, and what bounds them.

Here: accepting, refusing, time-outs, settling blocks with the connections they came from.
Not here: one connection's protocol (connection.py), storing (writers.py).
Thread: the loop's.
Invariant: every connection is in `connections` from its first callback to its last; what the gate
counts is what was delivered and not yet settled.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
import time
from collections import Counter
from collections.abc import Callable, Iterable

from .block import Batch, Block
from .config import Config
from .connection import Connection, Hold
from .gate import Gate
from .metrics import Metrics

log = logging.getLogger("logcollector.receiver")

READ_SIZE = 256 * 1024
SWEEP = 1.0  # seconds between looks for slow and idle connections
BUSY = b"err busy\n"
TIMEOUT = b"err timeout\n"


class Receiver:
    """All connections, and the listeners they come from."""

    def __init__(self, config: Config, metrics: Metrics, deliver: Callable[[Block], None]) -> None:
        self.config = config
        self.metrics = metrics
        self.deliver = deliver
        self.buffer = bytearray(READ_SIZE)
        self.view = memoryview(self.buffer)
        self.max_line = config.max_line
        self.connection_lines = config.connection_lines
        self.connection_bytes = config.connection_bytes
        self.answer_on_receipt = config.ack == "none"
        self.gate = Gate(config.queue_lines, config.queue_bytes)
        self.connections: set[Connection] = set()
        self.draining = False
        self._per_peer: Counter[str] = Counter()
        self._servers: list[asyncio.Server] = []
        self._empty = asyncio.Event()
        self._empty.set()
        self._sweep: asyncio.TimerHandle | None = None

    @property
    def addresses(self) -> list[tuple[str, int]]:
        """Where it listens."""
        names = [sock.getsockname()[:2] for server in self._servers for sock in server.sockets]
        return [(str(host), int(port)) for host, port in names]

    async def open(self) -> None:
        """Listen on every address of the configuration."""
        loop = asyncio.get_running_loop()
        context = tls_context(self.config)
        for address in self.config.listen:
            server = await loop.create_server(
                lambda: Connection(self),
                address.host,
                address.port,
                ssl=context,
                ssl_handshake_timeout=10.0 if context else None,
                backlog=1024,
            )
            self._servers.append(server)
        self._schedule_sweep()

    def connected(self, connection: Connection) -> None:
        """A connection begins."""
        self.connections.add(connection)
        self._empty.clear()
        peer = connection.peer
        self._per_peer[peer] += 1
        limit, per_peer = self.config.max_connections, self.config.max_connections_per_peer
        if (
            len(self.connections) > limit
            or (per_peer and self._per_peer[peer] > per_peer)
            or self.draining
        ):
            self.metrics.refused_connections += 1
            connection.refuse(BUSY)
            return
        self.metrics.accepted_connections += 1
        self.gate.join(connection)

    def disconnected(self, connection: Connection) -> None:
        """A connection has ended."""
        self.connections.discard(connection)
        self.gate.leave(connection)
        self._per_peer[connection.peer] -= 1
        if not self._per_peer[connection.peer]:
            del self._per_peer[connection.peer]
        if not self.connections:
            self._empty.set()

    def settle(self, batch: Batch) -> None:
        """The batch is stored as safely as acknowledging asks for."""
        owners: dict[Connection, None] = {}
        lines = size = 0
        for block in batch.blocks:
            block.settled = True
            lines += block.count
            size += block.cost
            owner = block.owner
            if isinstance(owner, Connection):
                owner.settled(block.count, block.cost)
                owners[owner] = None
        if not self.answer_on_receipt:
            for owner in owners:
                owner.release()
        self.gate.remove(lines, size)

    # The end.

    def stop_accepting(self) -> None:
        """Close the listeners, and stop reading everywhere."""
        self.draining = True
        for server in self._servers:
            server.close()
        for connection in self.connections:
            connection.hold(Hold.DRAIN)

    async def finish(self, grace: float) -> None:
        """Let the connections go once they have their answers; wait `grace` for senders to see."""
        for connection in list(self.connections):
            connection.end()
        try:
            async with asyncio.timeout(grace):
                await self._empty.wait()
        except TimeoutError:
            pass
        for connection in list(self.connections):
            connection.abort()
        if self._sweep is not None:
            self._sweep.cancel()

    @property
    def unanswered(self) -> int:
        """Lines that were received and not answered, of connections that are still there."""
        return sum(connection.unanswered for connection in self.connections)

    # Senders that take their time.

    def _schedule_sweep(self) -> None:
        loop = asyncio.get_running_loop()
        self._sweep = loop.call_later(SWEEP, self._sweep_connections)

    def _sweep_connections(self) -> None:
        self._schedule_sweep()
        now = time.time()
        line_timeout, idle_timeout = self.config.line_timeout, self.config.idle_timeout
        for connection in list(self.connections):
            if connection.held or connection.ending or connection.lost:
                continue
            if connection.began_line and now - connection.began_line > line_timeout:
                self.metrics.slow_connections += 1
                connection.refuse(TIMEOUT)
            elif (
                idle_timeout and now - connection.heard > idle_timeout and not connection.unanswered
            ):
                self.metrics.idle_connections += 1
                connection.refuse(TIMEOUT)


def tls_context(config: Config) -> ssl.SSLContext | None:
    """The server's TLS context; None when the configuration names no certificate."""
    if not config.tls_cert:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(config.tls_cert, config.tls_key or None)
    if config.tls_client_ca:
        context.load_verify_locations(config.tls_client_ca)
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def bind_error(error: OSError, addresses: Iterable[object]) -> str:
    """Why listening failed, in one line."""
    places = ", ".join(str(address) for address in addresses)
    return f"cannot listen on {places}: {error.strerror or error}"


def raise_descriptor_limit() -> int:
    """As many descriptors as the system lets this process have; returns the number."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def local_name() -> str:
    """This machine's name, for logs."""
    return socket.gethostname()
