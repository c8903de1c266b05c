"""One sender: bytes in, blocks out to the queue, acknowledgements back in order.

Here: the protocol spoken on a connection, and that connection's own limits.
Not here: framing (lines.py), the limit of all connections together (gate.py), listeners and
time-outs (receiver.py).
Thread: the loop's.
Invariant: the answers leave in the order of the lines, each after its line is settled; a line that
was answered `ok` has been settled by the stage `--ack` names. A connection reads only while no
reason to hold it is set.

States: open -> ending (the sender ended its half, or the collector drains: answers still go out)
-> lost.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from typing import TYPE_CHECKING, cast

from .block import OVERHEAD, Block
from .lines import LineCutter, Piece

if TYPE_CHECKING:
    from .receiver import Receiver

TOO_LONG = b"err too long\n"
OK = b"ok\n"


class Hold:
    """Why a connection does not read: bits; an enum's cost a call, and each read looks."""

    OWN = 1  # too much of it is queued
    GATE = 2  # too much of everybody's is queued
    ANSWERS = 4  # it does not read its answers
    DRAIN = 8  # the collector is stopping


class Connection(asyncio.BufferedProtocol):
    """The server's side of one connection."""

    __slots__ = (
        "_answers",
        "_cutter",
        "_held",
        "_own_lines",
        "_own_size",
        "_receiver",
        "_sender_ended",
        "_transport",
        "began_line",
        "ending",
        "heard",
        "lost",
        "peer",
    )

    def __init__(self, receiver: Receiver) -> None:
        self._receiver = receiver
        self._cutter = LineCutter(receiver.max_line)
        self._answers: deque[Block | bytes] = deque()
        self._held = 0
        self._own_lines = 0
        self._own_size = 0
        self._sender_ended = False
        self.peer = ""
        self.heard = 0.0  # when bytes last came
        self.began_line = 0.0  # since when the tail holds an unfinished line; 0: it is empty
        self.ending = False
        self.lost = False

    # What the loop calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self.peer = peer_name(transport.get_extra_info("peername"))
        self.heard = time.time()
        self._receiver.connected(self)

    def get_buffer(self, sizehint: int) -> memoryview:
        # Shared by all connections: buffer_updated() is called before anybody else reads.
        return self._receiver.view

    def buffer_updated(self, nbytes: int) -> None:
        now = time.time()
        self.heard = now
        if self.ending:
            return  # read to its end only so that closing does not reset the connection
        cutter = self._cutter
        pieces = cutter.feed(self._receiver.buffer, nbytes)
        if cutter.tail:
            if pieces or not self.began_line:
                self.began_line = now
        else:
            self.began_line = 0.0
        if pieces:
            self._take(pieces, now)

    def eof_received(self) -> bool:
        # asyncio may say it again after reading was paused and resumed.
        self._sender_ended = True
        if not self.ending:
            pieces = self._cutter.finish()
            if pieces:
                self._take(pieces, time.time())
            self.ending = True
            self.began_line = 0.0
        if self._transport.get_extra_info("sslcontext") is not None:
            return False  # TLS has no half-closed state
        self._close_if_answered()
        return True

    def pause_writing(self) -> None:
        self.hold(Hold.ANSWERS)

    def resume_writing(self) -> None:
        self.unhold(Hold.ANSWERS)

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost = True
        if self._cutter.tail:
            self._receiver.metrics.unfinished_lines += 1
        self._answers.clear()
        self._receiver.disconnected(self)

    # Lines in.

    def _take(self, pieces: list[Piece], now: float) -> None:
        receiver = self._receiver
        metrics = receiver.metrics
        answer_now = receiver.answer_on_receipt
        answers = b""
        lines = size = 0
        for data, count, keyed, raw in pieces:
            if not count:
                metrics.too_long_lines += 1
                if answer_now:
                    answers += TOO_LONG
                else:
                    self._answers.append(TOO_LONG)
                    self._own_size += OVERHEAD
                continue
            if raw:
                metrics.raw_lines += count
            block = Block(data, count, now, self.peer, keyed=keyed, raw=raw, owner=self)
            lines += count
            size += len(data) + OVERHEAD
            if answer_now:
                answers += OK * count
                metrics.acknowledged_lines += count
            else:
                self._answers.append(block)
            receiver.deliver(block)
        metrics.received_lines += lines
        metrics.received_bytes += size
        self._own_lines += lines
        self._own_size += size
        if (
            self._own_lines >= receiver.connection_lines
            or self._own_size >= receiver.connection_bytes
        ):
            self.hold(Hold.OWN)
        if lines:
            receiver.gate.add(self, lines, size)
        if answers:
            self._transport.write(answers)
        elif not lines:
            self.release()

    # Answers out.

    def settled(self, lines: int, size: int) -> None:
        """So much of what this connection queued is settled."""
        self._own_lines -= lines
        self._own_size -= size
        receiver = self._receiver
        if (
            self._held & Hold.OWN
            and self._own_lines <= receiver.connection_lines // 2
            and self._own_size <= receiver.connection_bytes // 2
        ):
            self.unhold(Hold.OWN)

    def release(self) -> None:
        answers = self._answers
        ready = 0
        parts: list[bytes] = []
        while answers:
            head = answers[0]
            if isinstance(head, bytes):
                parts.append(OK * ready + head)
                self._receiver.metrics.acknowledged_lines += ready
                ready = 0
                self.settled(0, OVERHEAD)
            elif head.settled:
                ready += head.count
            else:
                break
            answers.popleft()
        if ready:
            self._receiver.metrics.acknowledged_lines += ready
            parts.append(OK * ready)
        if parts and not self.lost:
            self._transport.write(b"".join(parts))
        if self.ending:
            self._close_if_answered()

    def refuse(self, answer: bytes) -> None:
        """Take no more; once everything before is answered, say why, and close."""
        self.hold(Hold.DRAIN)
        self.ending = True
        self._answers.append(answer)
        self._own_size += OVERHEAD
        self.release()

    def end(self) -> None:
        """The collector is stopping: what is queued is still answered, nothing more is taken."""
        if self.lost or self.ending:
            return
        self.ending = True
        self._close_if_answered()

    def abort(self) -> None:
        """Close at once."""
        if not self.lost:
            self._transport.abort()

    @property
    def unanswered(self) -> int:
        """Lines not answered yet."""
        return sum(b.count for b in self._answers if isinstance(b, Block))

    def _close_if_answered(self) -> None:
        if self._answers or self.lost or self._transport.is_closing():
            return
        if self._receiver.draining and not self._sender_ended and self._transport.can_write_eof():
            # Closing with unread bytes would reset the connection and could take the answers with
            # it: end our half, read on without taking anything in, until the sender closes.
            self._transport.write_eof()
            self.unhold(Hold.OWN | Hold.GATE | Hold.DRAIN)
        else:
            self._transport.close()

    # Who may read.

    def gate_closed(self) -> None:
        self.hold(Hold.GATE)

    def gate_opened(self) -> None:
        self.unhold(Hold.GATE)

    @property
    def held(self) -> bool:
        """Whether it is the collector that does not read."""
        return self._held != 0

    def hold(self, reason: int) -> None:
        """Do not read, for this reason."""
        if not self._held and not self.lost:
            self._transport.pause_reading()
        self._held |= reason

    def unhold(self, reason: int) -> None:
        """This reason is gone."""
        if not self._held & reason:
            return
        self._held &= ~reason
        if not self._held and not self.lost:
            self.heard = time.time()
            if self.began_line:
                self.began_line = self.heard
            self._transport.resume_reading()


def peer_name(address: object) -> str:
    """The sender's IP address, "" when there is none (a Unix socket)."""
    if not isinstance(address, tuple) or not address:
        return ""
    return str(address[0]).partition("%")[0].removeprefix("::ffff:")
