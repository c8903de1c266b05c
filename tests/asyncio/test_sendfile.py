"""sendfile() and sock_sendfile(): by the kernel, by reading and writing, and what is refused.

Not here: plain writes. TLS only as far as the fallback goes.
Runs in the main thread; the fallback reads in the executor's threads.
Invariant: the peer gets exactly the bytes asked for, and the file's position tells how many; one
body for both loops.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import os
import socket
from typing import Any

import pytest
from tests.loopback import no_fd_leak, turns, within

DATA = os.urandom(1_500_000)


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(DATA)
    return path


class Unmappable(io.BytesIO):
    """A file without a descriptor."""


@contextlib.contextmanager
def pair(nonblocking=True):
    near, far = socket.socketpair()
    with near, far:
        near.setblocking(not nonblocking)
        far.setblocking(False)
        yield near, far


async def everything(sock: socket.socket) -> bytes:
    loop = asyncio.get_running_loop()
    chunks = []
    while chunk := await within(loop.sock_recv(sock, 1 << 18)):
        chunks.append(chunk)
    return b"".join(chunks)


RANGES = [
    (0, None),
    (0, 10),
    (100, None),
    (1_000_000, 400_000),
    (len(DATA), None),
    (len(DATA) + 5, 3),
]


@pytest.mark.parametrize(("offset", "count"), RANGES)
@pytest.mark.parametrize("mapped", [True, False], ids=["kernel", "fallback"])
def test_to_a_socket(run, path, offset, count, mapped):
    expected = DATA[offset:] if count is None else DATA[offset : offset + count]

    async def main():
        loop = asyncio.get_running_loop()
        with pair() as (near, far), open(path, "rb") as real:
            file: Any = real if mapped else Unmappable(DATA)
            receiving = asyncio.create_task(everything(far))
            sent = await within(loop.sock_sendfile(near, file, offset, count), 30)
            near.close()
            assert sent == len(expected)
            assert await receiving == expected
            if expected:
                assert file.tell() == offset + len(expected)

    with no_fd_leak():
        run(main())


class Sink(asyncio.Protocol):
    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        self.data = bytearray()
        self.lost = loop.create_future()
        self.transport: Any = None

    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, data):
        self.data += data

    def connection_lost(self, exc):
        self.lost.set_result(exc)


@contextlib.asynccontextmanager
async def connected():
    """A client's transport with its protocol, and the protocol at the other end."""
    loop = asyncio.get_running_loop()
    sinks: list[Sink] = []

    def factory():
        sinks.append(Sink())
        return sinks[-1]

    server = await loop.create_server(factory, "127.0.0.1", 0)
    transport, protocol = await loop.create_connection(Sink, *server.sockets[0].getsockname())
    while not (sinks and sinks[0].transport):
        await turns(1)
    # The kernel is not to hold all of it.
    for end, option in ((transport, socket.SO_SNDBUF), (sinks[0].transport, socket.SO_RCVBUF)):
        end.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, option, 16384)
    try:
        yield transport, protocol, sinks[0]
    finally:
        transport.close()
        await within(protocol.lost)
        await within(sinks[0].lost)
        server.close()
        await server.wait_closed()


@pytest.mark.parametrize(("offset", "count"), RANGES)
@pytest.mark.parametrize("mapped", [True, False], ids=["kernel", "fallback"])
def test_to_a_transport_among_other_writes(run, path, offset, count, mapped):
    expected = DATA[offset:] if count is None else DATA[offset : offset + count]

    async def main():
        loop = asyncio.get_running_loop()
        async with connected() as (transport, protocol, sink):
            with open(path, "rb") as real:
                file: Any = real if mapped else Unmappable(DATA)
                transport.write(b"before" * 50_000)
                sent = await within(loop.sendfile(transport, file, offset, count), 30)
                transport.write(b"after")
                assert sent == len(expected)
                assert transport.get_protocol() is protocol
                assert transport.is_reading()
            transport.close()
            await within(sink.lost)
            assert bytes(sink.data) == b"before" * 50_000 + expected + b"after"

    with no_fd_leak():
        run(main())


def test_the_peers_data_waits_meanwhile(run, path):
    async def main():
        loop = asyncio.get_running_loop()
        async with connected() as (transport, protocol, sink):
            sink.transport.write(b"question")
            sink.transport.pause_reading()
            with open(path, "rb") as file:
                sending = asyncio.create_task(loop.sendfile(transport, file))
                await turns(20)
                sink.transport.resume_reading()
                await within(sending, 30)
            while protocol.data != b"question":
                await turns(1)

    with no_fd_leak():
        run(main())


def test_a_paused_transport_stays_paused(run, path):
    async def main():
        loop = asyncio.get_running_loop()
        async with connected() as (transport, _protocol, _sink):
            transport.pause_reading()
            with open(path, "rb") as file:
                await within(loop.sendfile(transport, file), 30)
            assert not transport.is_reading()
            transport.resume_reading()

    with no_fd_leak():
        run(main())


def test_a_peer_that_goes_away(run, path):
    async def main():
        loop = asyncio.get_running_loop()
        async with connected() as (transport, _protocol, sink):
            sink.transport.pause_reading()
            with open(path, "rb") as file:
                sending = asyncio.create_task(loop.sendfile(transport, file))
                await turns(20)
                sink.transport.abort()
                with pytest.raises(OSError):
                    await within(sending, 30)

    with no_fd_leak():
        run(main())


@pytest.mark.loops("rulip")  # asyncio leaves the file where it was
def test_cancelling_tells_how_far_it_came(run, path):
    async def main():
        loop = asyncio.get_running_loop()
        with pair() as (near, far), open(path, "rb") as file:
            sending = asyncio.create_task(loop.sock_sendfile(near, file))
            while True:
                await turns(10)
                with contextlib.suppress(BlockingIOError):
                    far.recv(1, socket.MSG_PEEK)
                    break
            await turns(50)
            sending.cancel()
            with pytest.raises(asyncio.CancelledError):
                await sending
            near.close()
            assert await everything(far) == DATA[: file.tell()]
            assert 0 < file.tell() < len(DATA)

    with no_fd_leak():
        run(main())


def test_what_is_refused(run, path):
    async def main():
        loop = asyncio.get_running_loop()
        with pair() as (near, _far), open(path, "rb") as file, open(path) as text:
            with pytest.raises(ValueError, match="binary mode"):
                await loop.sock_sendfile(near, text)
            for count, kind in (
                (0, ValueError),
                (-1, ValueError),
                ("1", TypeError),
                (1.5, TypeError),
            ):
                with pytest.raises(kind, match="count must be a positive integer"):
                    await loop.sock_sendfile(near, file, 0, count)
            for offset, kind in ((-1, ValueError), ("1", TypeError), (None, TypeError)):
                with pytest.raises(kind, match="offset must be a non-negative integer"):
                    await loop.sock_sendfile(near, file, offset)
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
                udp.setblocking(False)
                with pytest.raises(ValueError, match="only SOCK_STREAM type sockets are supported"):
                    await loop.sock_sendfile(udp, file)
            with pytest.raises(asyncio.SendfileNotAvailableError):
                await loop.sock_sendfile(near, Unmappable(b"x"), fallback=False)

    with no_fd_leak():
        run(main())


def test_transports_that_are_refused(run, path):
    async def main():
        loop = asyncio.get_running_loop()
        udp, _ = await loop.create_datagram_endpoint(
            asyncio.DatagramProtocol, local_addr=("127.0.0.1", 0)
        )
        with open(path, "rb") as file:
            with pytest.raises(RuntimeError, match="sendfile is not supported for transport"):
                await loop.sendfile(udp, file)
            async with connected() as (transport, _protocol, _sink):
                with pytest.raises(asyncio.SendfileNotAvailableError):
                    await loop.sendfile(transport, Unmappable(b"x"), fallback=False)
                transport.close()
                with pytest.raises(RuntimeError, match="Transport is closing"):
                    await loop.sendfile(transport, file)
        udp.close()
        await turns(2)

    with no_fd_leak():
        run(main())


def test_writes_are_refused_while_the_kernel_sends(run, path):
    async def main():
        loop = asyncio.get_running_loop()
        async with connected() as (transport, _protocol, sink):
            sink.transport.pause_reading()
            with open(path, "rb") as file:
                sending = asyncio.create_task(loop.sendfile(transport, file))
                await turns(20)
                with pytest.raises(RuntimeError, match="sendfile is in progress"):
                    transport.write(b"x")
                sink.transport.resume_reading()
                assert await within(sending, 30) == len(DATA)

    with no_fd_leak():
        run(main())


@pytest.mark.parametrize("where", ["socket", "transport"])
def test_offsets_beyond_four_gigabytes(run, tmp_path, where):
    offset = (5 << 30) + 3
    (tmp_path / "sparse").write_bytes(b"")

    async def main():
        loop = asyncio.get_running_loop()
        with pair() as (near, far), open(tmp_path / "sparse", "r+b") as file:
            os.pwrite(file.fileno(), b"far out", offset)
            if where == "socket":
                sent = await within(loop.sock_sendfile(near, file, offset, 1 << 40))
                near.close()
            else:
                transport, protocol = await loop.create_connection(Sink, sock=near)
                sent = await within(loop.sendfile(transport, file, offset, 1 << 40))
                transport.close()
                await within(protocol.lost)
            assert sent == len(b"far out")
            assert await everything(far) == b"far out"
            assert file.tell() == offset + sent

    with no_fd_leak():
        run(main())


def test_others_run_while_a_large_file_is_read_as_fast_as_it_is_sent(run, tmp_path):
    size = 256 << 20
    path = tmp_path / "sparse"
    path.write_bytes(b"")
    os.truncate(path, size)

    def drain(sock):
        buffer, received = bytearray(1 << 20), 0
        while n := sock.recv_into(buffer):
            received += n
        return received

    async def main():
        loop = asyncio.get_running_loop()
        with pair() as (near, far), open(path, "rb") as file:
            far.setblocking(True)
            draining = loop.run_in_executor(None, drain, far)
            sending = asyncio.ensure_future(loop.sock_sendfile(near, file))
            passed = 0
            while not sending.done():
                await turns(1)
                passed += 1
            near.close()
            assert sending.result() == await draining == size
            assert passed >= 64

    with no_fd_leak():
        run(main())


def test_a_socket_with_a_timeout(run, path):
    async def main():
        loop = asyncio.get_running_loop()
        with pair() as (near, far), open(path, "rb") as file:
            near.settimeout(5)
            receiving = asyncio.create_task(everything(far))
            assert await within(loop.sock_sendfile(near, file), 30) == len(DATA)
            near.close()
            assert await receiving == DATA

    with no_fd_leak():
        run(main())


def test_a_file_that_grows_meanwhile(run, path):
    async def main():
        loop = asyncio.get_running_loop()
        with pair() as (near, far), open(path, "rb") as file:
            sending = asyncio.create_task(loop.sock_sendfile(near, file))
            await turns(20)
            with open(path, "ab") as more:
                more.write(b"more")
            receiving = asyncio.create_task(everything(far))
            assert await within(sending, 30) == len(DATA) + 4
            near.close()
            assert await receiving == DATA + b"more"

    with no_fd_leak():
        run(main())


def test_the_socket_of_a_transport_is_refused(run, path):
    async def main():
        loop = asyncio.get_running_loop()
        async with connected() as (transport, _protocol, _sink):
            sock = transport.get_extra_info("socket")
            with open(path, "rb") as file, pytest.raises(RuntimeError, match="used by transport"):
                await loop.sock_sendfile(sock, file)

    with no_fd_leak():
        run(main())


def test_a_second_file_is_refused_and_does_not_disturb_the_first(run, on_rulip, path):
    async def main():
        loop = asyncio.get_running_loop()
        async with connected() as (transport, protocol, sink):
            sink.transport.pause_reading()
            with open(path, "rb") as file, open(path, "rb") as other:
                sending = asyncio.create_task(loop.sendfile(transport, file))
                await turns(20)
                # asyncio has forgotten the transport meanwhile.
                with pytest.raises(RuntimeError if on_rulip else KeyError):
                    await loop.sendfile(transport, other)
                with pytest.raises(RuntimeError, match="sendfile is in progress"):
                    transport.write(b"x")
                assert not transport.is_reading()
                sink.transport.resume_reading()
                assert await within(sending, 30) == len(DATA)
            assert transport.is_reading()
            assert transport.get_protocol() is protocol
            transport.close()
            await within(sink.lost)
            assert bytes(sink.data) == DATA

    with no_fd_leak():
        run(main())


@pytest.mark.loops("rulip")  # asyncio refuses writes and watches nothing from then on
def test_cancelled_while_earlier_writes_wait(run, path):
    async def main():
        loop = asyncio.get_running_loop()
        async with connected() as (transport, _protocol, sink):
            sink.transport.pause_reading()
            transport.write(b"before" * 500_000)
            with open(path, "rb") as file:
                sending = asyncio.create_task(loop.sendfile(transport, file))
                await turns(20)
                sending.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await sending
                assert file.tell() == 0
            assert transport.is_reading()
            transport.write(b"after")
            sink.transport.resume_reading()
            transport.close()
            await within(sink.lost)
            assert bytes(sink.data) == b"before" * 500_000 + b"after"

    with no_fd_leak():
        run(main())


def test_a_file_that_fails_to_tell_its_number(run):
    class Failing(io.BytesIO):
        def fileno(self):
            raise OSError(5, "broken")

    async def main():
        loop = asyncio.get_running_loop()
        with pair() as (near, _far), pytest.raises(OSError, match="broken"):
            await loop.sock_sendfile(near, Failing(b"x"))

    with no_fd_leak():
        run(main())
