"""Every call to a datagram or pipe transport from every callback of its protocol.

Not here: streams (test_transport_failures.py).
Runs in the main thread.
Invariant: connection_lost comes exactly once, from a later turn than the call that asked for it;
nothing crashes, the loop lives, no descriptor stays open; one body for both loops.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from typing import Any

import pytest
from tests.loopback import collect_reports, no_fd_leak, turns, until, within


class Acting(asyncio.DatagramProtocol, asyncio.Protocol):
    """Acts on its transport in one of its callbacks, once."""

    def __init__(self, place: str, action: str) -> None:
        self.place, self.action = place, action
        self.transport: Any = None
        self.calls: list[str] = []
        self.inside = False
        self.acted = False
        self.lost = asyncio.get_running_loop().create_future()

    def called(self, name: str) -> None:
        self.calls.append(name)
        if name != self.place or self.acted:
            return
        self.acted = True
        self.inside = True
        transport = self.transport
        try:
            with contextlib.suppress(AttributeError):  # of a transport that is closed, on asyncio
                ACTIONS[self.action](transport, self)
        finally:
            self.inside = False

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.called("connection_made")

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self.called("received")

    def data_received(self, data: bytes) -> None:
        self.called("received")

    def error_received(self, exc: Exception) -> None:
        self.called("error_received")

    def eof_received(self) -> None:
        self.called("eof_received")

    def pause_writing(self) -> None:
        self.called("pause_writing")

    def resume_writing(self) -> None:
        self.called("resume_writing")

    def connection_lost(self, exc: BaseException | None) -> None:
        assert not self.inside, "connection_lost from within a call"
        if not self.lost.done():
            self.lost.set_result(exc)
        self.called("connection_lost")


def switch(transport: Any, protocol: Acting) -> None:
    transport.set_protocol(protocol)
    assert transport.get_protocol() is protocol


def pause_and_resume(transport: Any, protocol: Acting) -> None:
    transport.pause_reading()
    transport.resume_reading()


def send(transport: Any, protocol: Acting) -> None:
    if hasattr(transport, "sendto"):
        transport.sendto(b"more")
    elif hasattr(transport, "write"):
        transport.write(b"more")


def end(transport: Any, protocol: Acting) -> None:
    transport.close()
    transport.close()


def abort(transport: Any, protocol: Acting) -> None:
    (transport.abort if hasattr(transport, "abort") else transport.close)()


def shrink(transport: Any, protocol: Acting) -> None:
    if hasattr(transport, "set_write_buffer_limits"):
        transport.set_write_buffer_limits(0)


def raise_error(transport: Any, protocol: Acting) -> None:
    raise ZeroDivisionError


ACTIONS = {
    "close": end,
    "abort": abort,
    "pause_and_resume": pause_and_resume,
    "send": send,
    "switch": switch,
    "shrink": shrink,
    "raise": raise_error,
}


@pytest.mark.parametrize("action", ACTIONS)
@pytest.mark.parametrize(
    "place", ["connection_made", "received", "error_received", "pause_writing", "connection_lost"]
)
def test_datagrams(run, tmp_path, place, action):
    async def main():
        loop = asyncio.get_running_loop()
        reports = collect_reports(loop)
        peer = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        peer.bind(str(tmp_path / "peer"))
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        sock.bind(str(tmp_path / "own"))
        sock.connect(str(tmp_path / "peer"))
        with peer:
            transport, protocol = await loop.create_datagram_endpoint(
                lambda: Acting(place, action), sock=sock
            )
            transport.set_write_buffer_limits(100)
            with contextlib.suppress(OSError):  # closed already
                for _ in range(3):
                    peer.sendto(b"x", str(tmp_path / "own"))
            await turns(5)
            if place == "pause_writing":
                for _ in range(1000):
                    if "pause_writing" in protocol.calls or transport.is_closing():
                        break
                    transport.sendto(bytes(50))
            if place == "error_received":
                peer.close()
                for _ in range(3):
                    # What error_received raises reaches whoever called sendto().
                    with contextlib.suppress(AttributeError, ZeroDivisionError):
                        transport.sendto(b"x")
            await turns(5)
            # What is queued for a receiver that does not read would wait for ever.
            transport.abort()
            await within(protocol.lost)
            await turns(5)
        assert protocol.calls.count("connection_lost") == 1
        assert protocol.acted
        kinds = {type(report["exception"]) for report in reports}
        assert kinds <= {ZeroDivisionError, AttributeError}

    with no_fd_leak():
        run(main())


@pytest.mark.parametrize("action", [name for name in ACTIONS if name not in ("send", "shrink")])
@pytest.mark.parametrize(
    "place", ["connection_made", "received", "eof_received", "connection_lost"]
)
def test_reading_ends(run, place, action):
    async def main():
        loop = asyncio.get_running_loop()
        reports = collect_reports(loop)
        reading, writing = os.pipe()
        os.write(writing, b"x")
        _, protocol = await loop.connect_read_pipe(
            lambda: Acting(place, action), os.fdopen(reading, "rb", 0)
        )
        await turns(3)
        os.close(writing)
        await within(protocol.lost)
        await turns(5)
        assert protocol.calls.count("connection_lost") == 1
        assert protocol.acted or place not in protocol.calls
        kinds = {type(report["exception"]) for report in reports}
        assert kinds <= {ZeroDivisionError, AttributeError}

    with no_fd_leak():
        run(main())


@pytest.mark.loops("rulip")  # asyncio's abort() twice calls connection_lost() twice
@pytest.mark.parametrize("action", [name for name in ACTIONS if name != "pause_and_resume"])
@pytest.mark.parametrize(
    "place", ["connection_made", "pause_writing", "resume_writing", "connection_lost"]
)
def test_writing_ends(run, place, action):
    async def main():
        loop = asyncio.get_running_loop()
        reports = collect_reports(loop)
        reading, writing = os.pipe()
        os.set_blocking(reading, False)
        transport, protocol = await loop.connect_write_pipe(
            lambda: Acting(place, action), os.fdopen(writing, "wb", 0)
        )
        transport.set_write_buffer_limits(10)
        transport.write(bytes(100_000))

        def drained():
            with contextlib.suppress(BlockingIOError):
                os.read(reading, 1 << 20)
            return transport.is_closing() or not transport.get_write_buffer_size()

        await until(drained)
        transport.abort()
        transport.abort()
        await within(protocol.lost)
        await turns(5)
        os.close(reading)
        assert protocol.calls.count("connection_lost") == 1
        assert protocol.acted or place not in protocol.calls
        assert {type(report["exception"]) for report in reports} <= {ZeroDivisionError}

    with no_fd_leak():
        run(main())
