"""Random dealings with a connection are told to the protocol in the same way on both loops.

Writes small and huge, half-closes, pauses, changes of protocol, closes and aborts, from outside and
from within callbacks, while the peer sends, reads, ends, closes or resets.
Runs in the main thread; the peer is a plain socket.
Invariant: once a connection has come to rest, the protocol has seen the same calls and bytes, and
the peer the same bytes and end, on asyncio and on rulip.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import random
import socket
import struct
import termios
import time
from collections.abc import Callable
from typing import Any

import pytest
from tests.loopback import PATIENCE, spin, tcp_sockets, unix_sockets

import rulip

STEPS = 25
#: Where `struct tcp_info` has the bytes that have come, and its states in which the peer has ended.
TCP_INFO_BYTES_RECEIVED = 128
PEER_ENDED = {6, 7, 8, 9, 11}  # TIME_WAIT, CLOSE, CLOSE_WAIT, LAST_ACK, CLOSING


class Dealings:
    """One random connection; the seed decides everything."""

    def __init__(self, loop: asyncio.AbstractEventLoop, seed: int) -> None:
        self.loop = loop
        self.pick = random.Random(seed)
        self.trace: list[Any] = []
        self.tcp = bool(seed % 2)
        self.near, self.far = tcp_sockets() if self.tcp else unix_sockets()
        self.protocols = 0
        self.received = 0
        self.ended = False
        self.calls_left = 6  # calls from within callbacks
        loop.set_exception_handler(
            lambda _, context: self.note("reported", type(context.get("exception")).__name__)
        )

    def note(self, *what: Any) -> None:
        if self.gone:
            # Who learns first that the peer is gone, and from which call, is a matter of luck.
            if what[1:2] != ("lost",):
                return
            what = ("lost",)
        if what[1:2] == ("data",) and self.trace and self.trace[-1][:2] == what[:2]:
            # How much comes at a time is nobody's business.
            what = (*what[:2], self.trace.pop()[2] + what[2])
        self.trace.append(what)

    def protocol(self) -> Any:
        self.protocols += 1
        return (Plain if self.pick.randrange(2) else Buffered)(self, self.protocols)

    def reenter(self) -> None:
        if self.calls_left and self.pick.randrange(5) == 0:
            self.calls_left -= 1
            self.act(self.pick.choice(OURS))

    def act(self, action: Callable[[Dealings], Any]) -> None:
        try:
            result = action(self)
        except (RuntimeError, OSError) as exc:
            if self.transport.is_closing():
                return
            self.note("refused", action.__name__, type(exc).__name__)
        else:
            if not self.transport.is_closing():
                self.note("did", action.__name__, result)

    def rest(self) -> None:
        """Until nothing moves any more."""
        quiet = 0
        deadline = time.monotonic() + PATIENCE
        while quiet < 4:
            assert time.monotonic() < deadline, "it never comes to rest"
            before = len(self.trace), self.trace[-1:], self.transport.get_write_buffer_size()
            spin(self.loop)
            after = len(self.trace), self.trace[-1:], self.transport.get_write_buffer_size()
            quiet = quiet + 1 if before == after and self.has_arrived() else 0

    def has_arrived(self) -> bool:
        """Whether the peer's bytes and end are at our socket: a busy kernel takes its time."""
        if not self.tcp or self.sock.fileno() < 0:
            return True
        info = self.sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 256)
        (arrived,) = struct.unpack_from("Q", info, TCP_INFO_BYTES_RECEIVED)
        peer_ended = info[0] in PEER_ENDED
        # What was on its way when a reset overtook it never comes.
        return peer_ended or (arrived >= self.sent and not self.peer_is_over)

    def is_under_way(self) -> bool:
        """Whether the peer has more to read than is there yet."""
        if self.sock.fileno() < 0:
            return not self.ended
        (unacknowledged,) = struct.unpack("i", fcntl.ioctl(self.sock, termios.TIOCOUTQ, bytes(4)))
        return bool(unacknowledged)

    def run(self) -> list[Any]:
        create: Any = self.loop.create_connection if self.tcp else self.loop.create_unix_connection
        self.transport, _ = self.loop.run_until_complete(create(self.protocol, sock=self.near))
        sock = self.sock = self.transport.get_extra_info("socket")
        for _ in range(STEPS):
            if self.lost:
                break  # asyncio trips over its own end in several ways then
            self.act(self.pick.choice(OURS if self.pick.randrange(2) else THEIRS))
            if self.pick.randrange(3):
                self.rest()
                self.note(
                    "state",
                    self.transport.is_closing(),
                    self.transport.is_reading(),
                    sock.fileno() < 0,
                )
        self.rest()
        self.act(drains)
        self.rest()
        self.act(drains)
        self.note("peer", self.received if not self.lossy else "some", self.ended)
        self.far.close()
        if sock.fileno() >= 0:
            self.transport.abort()
        self.rest()
        return self.trace

    sent = 0  # by the peer
    peer_is_over = False
    gone = False
    lossy = False
    lost = False
    eof = False


class Recording:
    def __init__(self, dealings: Dealings, number: int) -> None:
        self.dealings, self.number = dealings, number
        self.keep_open = bool(dealings.pick.randrange(2))

    def note(self, *what: Any) -> None:
        self.dealings.note(self.number, *what)

    def connection_made(self, transport: Any) -> None:
        self.note("made")

    def eof_received(self) -> bool:
        if self.dealings.eof:
            return True  # asyncio tells it again after pausing and resuming
        self.dealings.eof = True
        self.note("eof")
        self.dealings.reenter()
        return self.keep_open

    def connection_lost(self, exc: BaseException | None) -> None:
        self.dealings.lost = True
        # Which of the two a reset becomes depends on who looks first.
        broken = isinstance(exc, (ConnectionResetError, BrokenPipeError))
        self.note("lost", "broken" if broken else type(exc).__name__)

    def pause_writing(self) -> None:
        self.note("pause")

    def resume_writing(self) -> None:
        self.note("resume")


class Plain(Recording, asyncio.Protocol):
    def data_received(self, data: bytes) -> None:
        self.note("data", len(data))


class Buffered(Recording, asyncio.BufferedProtocol):
    def get_buffer(self, sizehint: int) -> bytearray:
        self.buffer = bytearray(1000)
        return self.buffer

    def buffer_updated(self, count: int) -> None:
        self.note("data", count)


def writes(dealings: Dealings) -> None:
    dealings.transport.write(b"w" * dealings.pick.randrange(200))


def writes_much(dealings: Dealings) -> None:
    dealings.transport.write(b"W" * 12_000_000)


def writes_parts(dealings: Dealings) -> None:
    dealings.transport.write(b"p")
    dealings.transport.write(b"p" * dealings.pick.randrange(50))


def ends_writing(dealings: Dealings) -> None:
    dealings.transport.write_eof()


def closes(dealings: Dealings) -> None:
    dealings.transport.close()


def aborts(dealings: Dealings) -> None:
    # What is on its way is lost, or not: the kernel's affair.
    dealings.lossy = True
    dealings.transport.abort()


def pauses(dealings: Dealings) -> None:
    dealings.transport.pause_reading()


def resumes(dealings: Dealings) -> None:
    dealings.transport.resume_reading()


def changes_protocol(dealings: Dealings) -> None:
    dealings.transport.set_protocol(dealings.protocol())


def sets_limits(dealings: Dealings) -> Any:
    dealings.transport.set_write_buffer_limits(high=dealings.pick.choice([0, 1000, 5_000_000]))
    return dealings.transport.get_write_buffer_limits()


def sends(dealings: Dealings) -> int:
    count = dealings.far.send(b"s" * dealings.pick.randrange(1, 3000))
    dealings.sent += count
    return count


def drains(dealings: Dealings) -> None:
    """Read all that comes until nothing does."""
    idle = 0
    deadline = time.monotonic() + PATIENCE
    while idle < 4 and not dealings.ended:
        assert time.monotonic() < deadline, "it never comes to an end"
        try:
            data = dealings.far.recv(1 << 20)
        except BlockingIOError:
            if dealings.tcp:
                dealings.far.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
            spin(dealings.loop)
            idle = 0 if dealings.is_under_way() else idle + 1
        except OSError:
            dealings.lossy = dealings.ended = True
        else:
            idle = 0
            dealings.received += len(data)
            dealings.ended = not data


def ends(dealings: Dealings) -> None:
    dealings.far.shutdown(socket.SHUT_WR)
    dealings.peer_is_over = True


def hangs_up(dealings: Dealings) -> None:
    dealings.gone = dealings.lossy = dealings.peer_is_over = True
    dealings.far.close()


def resets(dealings: Dealings) -> None:
    dealings.gone = dealings.lossy = dealings.peer_is_over = True
    with contextlib.suppress(OSError):
        dealings.far.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    dealings.far.close()


OURS = [
    writes,
    writes,
    writes,
    writes_parts,
    writes_much,
    ends_writing,
    closes,
    aborts,
    pauses,
    pauses,
    resumes,
    resumes,
    resumes,
    changes_protocol,
    sets_limits,
]
THEIRS = [sends, sends, sends, sends, drains, drains, drains, ends, hangs_up, resets]


def trace_of(make: Callable[[], asyncio.AbstractEventLoop], seed: int) -> list[Any]:
    loop = make()
    try:
        return Dealings(loop, seed).run()
    finally:
        loop.close()


@pytest.mark.parametrize("block", range(5))
def test_random_dealings_are_told_in_the_same_way(block):
    size = 40
    for seed in range(block * size, (block + 1) * size):
        expected = trace_of(asyncio.SelectorEventLoop, seed)
        got = trace_of(rulip.new_event_loop, seed)
        for number, (theirs, ours) in enumerate(zip(expected, got, strict=False)):
            assert theirs == ours, (seed, number, expected[: number + 1], got[: number + 1])
        assert len(expected) == len(got), (seed, expected, got)
