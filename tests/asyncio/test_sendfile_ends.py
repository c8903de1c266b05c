"""sendfile() disturbed: closed, cancelled, half-read files, other protocols, TLS.

Here: what a file being sent does to its transport, its protocol and its file when it does not go
smoothly. Not here: the plain course, and what is refused (test_sendfile.py).
Runs in the main thread; the fallback reads in the executor's threads.
Invariant: the peer never gets a byte twice or out of order, and nobody waits for ever; one body
for both loops.
"""

from __future__ import annotations

import asyncio
import io
import os
import socket
import sys
from typing import Any

import pytest
from tests.loopback import (
    Recorder,
    collect_reports,
    connection,
    no_fd_leak,
    recv_to_end,
    reset,
    tcp_sockets,
    turns,
    unix_sockets,
    until,
    within,
)
from tests.tls_peer import tls_connection

DATA = os.urandom(3_000_000)
# From 3.14 on the file's position is set even if nothing was sent, and a pipe has none.
PIPE_REFUSED = OSError if sys.version_info >= (3, 14) else asyncio.SendfileNotAvailableError


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(DATA)
    return path


class InMemory(io.BytesIO):
    """A file that the kernel cannot send."""


def opened(path, mapped: bool) -> Any:
    return open(path, "rb") if mapped else InMemory(DATA)


WAYS = pytest.mark.parametrize("mapped", [True, False], ids=["kernel", "fallback"])


def small_tcp_sockets() -> tuple[socket.socket, socket.socket]:
    """A TCP connection whose kernel buffers hold less than the file."""
    near, far = tcp_sockets()
    near.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65536)
    far.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
    return near, far


async def stuck(sending: asyncio.Task[int], peer: socket.socket) -> None:
    """Until the peer has something to read and the sender waits for it to do so."""

    def waiting() -> bool:
        try:
            return bool(peer.recv(1, socket.MSG_PEEK))
        except BlockingIOError:
            return False

    await until(waiting)
    await turns(50)
    assert not sending.done()


@WAYS
def test_writes_of_the_same_turn_go_first(run, path, mapped):
    async def main():
        loop = asyncio.get_running_loop()
        async with connection(Recorder, unix_sockets) as (transport, _protocol, peer):
            receiving = asyncio.ensure_future(recv_to_end(peer))
            with opened(path, mapped) as file:
                for number in range(3):
                    transport.write(b"head %d" % number)
                    transport.writelines([b"a", b"b"])
                    await within(loop.sendfile(transport, file, number, 1000))
                    transport.write(b"tail")
            transport.close()
            expected = b"".join(
                b"head %dab" % number + DATA[number : number + 1000] + b"tail"
                for number in range(3)
            )
            assert await receiving == expected

    with no_fd_leak():
        run(main())


@WAYS
def test_a_large_file_behind_a_write_of_the_same_turn(run, path, mapped):
    async def main():
        loop = asyncio.get_running_loop()
        async with connection(Recorder, unix_sockets) as (transport, _protocol, peer):
            receiving = asyncio.ensure_future(recv_to_end(peer))
            for _ in range(2):
                with opened(path, mapped) as file:
                    transport.write(b"head")
                    assert await within(loop.sendfile(transport, file)) == len(DATA)
            transport.close()
            assert await receiving == (b"head" + DATA) * 2

    with no_fd_leak():
        run(main())


@WAYS
@pytest.mark.parametrize("end", ["abort", "close"])
def test_closing_ends_it(run, on_rulip, path, mapped, end):
    """The connection ends although the peer does not read; the sender is told."""
    if mapped and not on_rulip:
        pytest.skip("asyncio waits for ever: docs/compat.md")
    if not (mapped or on_rulip) and end == "close":
        pytest.skip("asyncio may write to the socket that it has closed, and raise AttributeError")

    async def main():
        loop = asyncio.get_running_loop()
        async with connection(Recorder, unix_sockets) as (transport, protocol, peer):
            with opened(path, mapped) as file:
                sending = asyncio.create_task(loop.sendfile(transport, file))
                await stuck(sending, peer)
                getattr(transport, end)()
                receiving = asyncio.ensure_future(recv_to_end(peer))
                with pytest.raises(ConnectionError):
                    await within(sending)
                assert await within(protocol.lost) is None
                received = await receiving
                if mapped or on_rulip:
                    # asyncio's fallback goes on reading into memory that waits to be sent.
                    assert DATA.startswith(received)

    with no_fd_leak():
        run(main())


@WAYS
def test_the_peer_resets(run, path, mapped):
    async def main():
        loop = asyncio.get_running_loop()
        reports = collect_reports(loop)
        async with connection(Recorder, small_tcp_sockets) as (transport, protocol, peer):
            with opened(path, mapped) as file:
                sending = asyncio.create_task(loop.sendfile(transport, file))
                await stuck(sending, peer)
                reset(peer)
                with pytest.raises(ConnectionError):
                    await within(sending)
                await within(protocol.lost)
                assert protocol.calls[-1] == "connection_lost"
        assert reports == []

    with no_fd_leak():
        run(main())


@WAYS
def test_cancelled_the_transport_lives_on(run, on_rulip, path, mapped):
    """What was sent is the beginning of the file; writing and reading go on."""

    async def main():
        loop = asyncio.get_running_loop()
        async with connection(Recorder, unix_sockets) as (transport, protocol, peer):
            with opened(path, mapped) as file:
                sending = asyncio.create_task(loop.sendfile(transport, file))
                await stuck(sending, peer)
                sending.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await sending
                assert transport.get_protocol() is protocol
                assert transport.is_reading()
                receiving = asyncio.ensure_future(recv_to_end(peer))
                transport.write(b"the end")
                await loop.sock_sendall(peer, b"still there?")
                await protocol.wait_received(12)
                transport.close()
                received = await receiving
                assert received.endswith(b"the end")
                if mapped or on_rulip:
                    # asyncio's fallback goes on reading into memory that waits to be sent.
                    assert DATA.startswith(received[:-7])
                assert 0 < len(received) - 7 < len(DATA)

    with no_fd_leak():
        run(main())


@WAYS
def test_the_protocol_may_be_changed_meanwhile_and_hears_of_the_end(run, path, mapped):
    async def main():
        loop = asyncio.get_running_loop()
        async with connection(Recorder, unix_sockets) as (transport, _protocol, peer):
            with opened(path, mapped) as file:
                sending = asyncio.create_task(loop.sendfile(transport, file, 0, 1000))
                assert await within(sending) == 1000
            other = Recorder()
            other.connection_made(transport)
            transport.set_protocol(other)
            with opened(path, mapped) as file:
                sending = asyncio.create_task(loop.sendfile(transport, file))
                await stuck(sending, peer)
                peer.close()
                with pytest.raises(ConnectionError):
                    await within(sending)
                await within(other.lost)

    with no_fd_leak():
        run(main())


def test_a_protocol_set_meanwhile_stays(run, path):
    async def main():
        loop = asyncio.get_running_loop()
        async with connection(Recorder, unix_sockets) as (transport, first, peer):
            second = Recorder()
            second.connection_made(transport)
            with open(path, "rb") as file:
                sending = asyncio.create_task(loop.sendfile(transport, file))
                await stuck(sending, peer)
                transport.set_protocol(second)
                receiving = asyncio.ensure_future(recv_to_end(peer))
                assert await within(sending) == len(DATA)
            assert transport.get_protocol() is second
            await loop.sock_sendall(peer, b"for the second")
            await second.wait_received(14)
            transport.close()
            assert await within(second.lost) is None
            assert await receiving == DATA
            assert first.calls == ["connection_made"]

    with no_fd_leak():
        run(main())


@WAYS
def test_a_writer_that_was_paused_is_resumed(run, path, mapped):
    """The buffer drains before or while the file goes: its protocol may write again afterwards."""

    async def main():
        loop = asyncio.get_running_loop()
        async with connection(Recorder, unix_sockets) as (transport, protocol, peer):
            transport.write(b"x" * 3_000_000)
            assert protocol.calls[-1] == "pause_writing"
            receiving = asyncio.ensure_future(recv_to_end(peer))
            with opened(path, mapped) as file:
                assert await within(loop.sendfile(transport, file)) == len(DATA)
            await until(lambda: not transport.get_write_buffer_size())
            assert protocol.calls[-1] == "resume_writing"
            assert protocol.calls.count("pause_writing") == 1
            transport.close()
            assert await receiving == b"x" * 3_000_000 + DATA

    with no_fd_leak():
        run(main())


def test_files_that_end_early_or_grow(run, tmp_path):
    async def main():
        loop = asyncio.get_running_loop()
        path = tmp_path / "small"
        path.write_bytes(b"0123456789")
        async with connection(Recorder, unix_sockets) as (transport, _protocol, peer):
            with open(path, "r+b") as file:
                assert await within(loop.sendfile(transport, file, 4, 100)) == 6
                assert file.tell() == 10
                assert await within(loop.sendfile(transport, file, 10)) == 0
                assert await within(loop.sendfile(transport, file, 50, 5)) == 0
                file.truncate(0)
                assert await within(loop.sendfile(transport, file)) == 0
            transport.close()
            assert await recv_to_end(peer) == b"456789"

    with no_fd_leak():
        run(main())


def test_a_pipe_is_read_instead(run):
    """The kernel sends from files only; a count says how much to wait for."""

    async def main():
        loop = asyncio.get_running_loop()
        read_end, write_end = os.pipe()
        os.write(write_end, b"through a pipe")
        os.close(write_end)
        async with connection(Recorder, unix_sockets) as (transport, _protocol, peer):
            with open(read_end, "rb") as file:
                with pytest.raises(PIPE_REFUSED):
                    await within(loop.sendfile(transport, file, 0, 100, fallback=False))
                # It cannot be told where to go on from, which both loops try.
                with pytest.raises(OSError):
                    await within(loop.sendfile(transport, file, 0, 100))
            transport.close()
            await recv_to_end(peer)

    with no_fd_leak():
        run(main())


@pytest.mark.parametrize("mapped", [True, False], ids=["file", "memory"])
def test_over_tls_it_is_read_and_encrypted(run, path, mapped):
    async def main():
        loop = asyncio.get_running_loop()
        async with tls_connection(Recorder) as (transport, protocol, peer):
            with opened(path, mapped) as file:
                with pytest.raises(RuntimeError, match="fallback is disabled"):
                    await loop.sendfile(transport, file, fallback=False)
                transport.write(b"before")
                receiving = asyncio.ensure_future(peer.receive(len(DATA) - 5 + 11))
                assert await within(loop.sendfile(transport, file, 5), 30) == len(DATA) - 5
                assert file.tell() == len(DATA)
                transport.write(b"after")
            assert await receiving == b"before" + DATA[5:] + b"after"
            assert transport.get_protocol() is protocol
            await peer.send(b"and back")
            await protocol.wait_received(8)

    with no_fd_leak():
        run(main())


def test_over_tls_the_peer_goes_away(run, path):
    async def main():
        loop = asyncio.get_running_loop()
        async with tls_connection(Recorder) as (transport, protocol, peer):
            with open(path, "rb") as file:
                sending = asyncio.create_task(loop.sendfile(transport, file))
                await turns(50)
                reset(peer.sock)
                with pytest.raises(ConnectionError):
                    await within(sending)
            await within(protocol.lost)

    with no_fd_leak():
        run(main())
