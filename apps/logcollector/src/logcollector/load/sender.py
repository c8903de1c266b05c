"""One sender of the load generator.

Here: keeping a window of unanswered lines full, checking the answers, measuring.
Not here: how many senders there are, what is printed (__main__.py).
Thread: the loop's.
Invariant: `acknowledged` counts the first lines of `written`, in order: a bare ok names no line. A
line is sent again, on a new connection, until it is acknowledged.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from dataclasses import dataclass, field

OK = b"ok\n"
OKS = OK * 100_000


@dataclass
class Plan:
    """What each sender does."""

    host: str
    port: int
    window: int = 500
    line_size: int = 200
    keyed: bool = False
    run: str = "run"
    chunk: int = 0  # lines written at a time; 0: what the window allows
    rate: float = 0.0  # lines per second of each sender; 0: as fast as the answers come


@dataclass
class Tally:
    """What all senders saw."""

    acknowledged: int = 0
    resent: int = 0
    reconnects: int = 0
    wrong: list[str] = field(default_factory=list)
    latencies: list[float] = field(default_factory=list)  # one per written chunk


class Sender(asyncio.Protocol):
    """A connection that sends until it is told to stop."""

    def __init__(self, plan: Plan, tally: Tally, number: int) -> None:
        self.plan = plan
        self.tally = tally
        self.number = number
        self.name = f"{plan.run}-{number}"
        self.acknowledged = 0
        self.written = 0
        self.stopping = False
        self.finished: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._chunks: deque[tuple[int, float]] = deque()  # last line of a chunk, time it left
        self._rest = 0  # bytes of an ok that came in part
        self._writable = True
        self._transport: asyncio.Transport | None = None
        self._began = time.monotonic()
        self._due: asyncio.TimerHandle | None = None

    async def run(self) -> None:
        """Connect, and again whenever the connection is lost; until stopped and answered."""
        try:
            while not self.finished.done():
                await self._connected()
        finally:
            if self._due is not None:
                self._due.cancel()
            if self._transport is not None:
                self._transport.close()

    async def _connected(self) -> None:
        """Connect, and stay until the connection or the work ends."""
        loop = asyncio.get_running_loop()
        try:
            await loop.create_connection(lambda: self, self.plan.host, self.plan.port)
        except OSError:
            await asyncio.sleep(0.05)
            return
        await asyncio.wait((self.lost, self.finished), return_when=asyncio.FIRST_COMPLETED)
        if not self.finished.done():
            self.tally.reconnects += 1
            await asyncio.sleep(0.02)

    def stop(self) -> None:
        """Send nothing new; finish when all is acknowledged."""
        self.stopping = True
        if self.acknowledged >= self.written:
            self._finish()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self.lost = asyncio.get_running_loop().create_future()
        self._writable = True
        self._rest = 0
        self._chunks.clear()
        unanswered = self.written - self.acknowledged
        self.tally.resent += unanswered
        if unanswered:
            self._send(self.acknowledged, unanswered)
        self._fill()

    def data_received(self, data: bytes) -> None:
        rest = self._rest
        length = rest + len(data)
        if OKS[rest:length] != data:
            self.tally.wrong.append(f"sender {self.number}: expected ok, got {data[:80]!r}")
            self._finish()
            return
        lines, self._rest = divmod(length, 3)
        self.acknowledged += lines
        self.tally.acknowledged += lines
        if self.acknowledged > self.written:
            self.tally.wrong.append(f"sender {self.number}: more answers than lines")
            self._finish()
            return
        now = time.monotonic()
        chunks = self._chunks
        while chunks and chunks[0][0] <= self.acknowledged:
            self.tally.latencies.append(now - chunks.popleft()[1])
        if self.stopping and self.acknowledged >= self.written:
            self._finish()
        else:
            self._fill()

    def pause_writing(self) -> None:
        self._writable = False

    def resume_writing(self) -> None:
        self._writable = True
        self._fill()

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        if not self.lost.done():
            self.lost.set_result(None)

    def _fill(self) -> None:
        if self.stopping or not self._writable or self._transport is None:
            return
        plan = self.plan
        room = plan.window - (self.written - self.acknowledged)
        if plan.rate:
            due = int((time.monotonic() - self._began) * plan.rate) - self.written
            if self._due is None:
                self._due = asyncio.get_running_loop().call_later(
                    max(0.01, 1 / plan.rate), self._tick
                )
            room = min(room, due)
        if room <= 0 or (plan.chunk and room < plan.chunk):
            return
        first = self.written
        self.written += room
        self._send(first, room)

    def _tick(self) -> None:
        self._due = None
        self._fill()

    def _send(self, first: int, count: int) -> None:
        assert self._transport is not None
        size = self.plan.line_size
        if self.plan.keyed:
            form = f"@{self.name}:%012d {self.name} %012d ".encode()
            lines = [
                (form % (n, n)).ljust(size - 1, b"x") + b"\n" for n in range(first, first + count)
            ]
        else:
            # One formatting call per line and none for the padding, which all lines share.
            head = f"{self.name} ".encode()
            end = b" ".ljust(max(1, size - 1 - len(head) - 12), b"x") + b"\n"
            form = head + b"%012d" + end
            lines = [form % n for n in range(first, first + count)]
        self._chunks.append((first + count, time.monotonic()))
        self._transport.write(b"".join(lines))

    def _finish(self) -> None:
        if not self.finished.done():
            self.finished.set_result(None)
