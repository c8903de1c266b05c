"""create_datagram_endpoint: UDP over IPv4 and IPv6, Unix datagrams, errors, limits, the end.

Not here: sock_sendto() and its kin (test_sockets.py).
Runs in the main thread; peers are plain sockets where an endpoint would hide something.
Invariant: no datagram is lost or reordered on the way between a socket and a protocol; one body for
both loops.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import sys
from typing import Any

import pytest
from tests.loopback import (
    collect_reports,
    no_fd_leak,
    resource_warnings,
    turns,
    until,
    within,
)

HAS_HEADERS = sys.version_info >= (3, 13)
SENDS_EMPTY = sys.version_info >= (3, 13)


class Recorder(asyncio.DatagramProtocol):
    def __init__(self) -> None:
        self.calls: list[Any] = []
        self.lost = asyncio.get_running_loop().create_future()
        self.transport: Any = None

    def connection_made(self, transport):
        self.transport = transport
        self.calls.append("made")

    def datagram_received(self, data, addr):
        self.calls.append((data, addr))

    def error_received(self, exc):
        self.calls.append(exc)

    def pause_writing(self):
        self.calls.append("pause")

    def resume_writing(self):
        self.calls.append("resume")

    def connection_lost(self, exc):
        self.calls.append("lost")
        if not self.lost.done():
            self.lost.set_result(exc)

    @property
    def data(self):
        return [call[0] for call in self.calls if isinstance(call, tuple)]


async def finish(*protocols):
    for protocol in protocols:
        protocol.transport.close()
    for protocol in protocols:
        assert await within(protocol.lost) is None


def local_udp(family=socket.AF_INET):
    sock = socket.socket(family, socket.SOCK_DGRAM)
    sock.bind(("127.0.0.1" if family == socket.AF_INET else "::1", 0))
    sock.settimeout(10)
    return sock


ENDPOINTS = {"v4": ("127.0.0.1", 0), "v6": ("::1", 0)}


@pytest.mark.parametrize("address", ENDPOINTS.values(), ids=ENDPOINTS)
def test_there_and_back(run, address):
    async def main():
        loop = asyncio.get_running_loop()
        server, one = await loop.create_datagram_endpoint(Recorder, local_addr=address)
        client, two = await loop.create_datagram_endpoint(
            Recorder, remote_addr=server.get_extra_info("sockname")[:2]
        )
        client.sendto(b"hello")
        await until(lambda: one.data)
        ((data, addr),) = (call for call in one.calls if isinstance(call, tuple))
        assert data == b"hello"
        assert addr == client.get_extra_info("sockname")
        assert type(addr) is tuple
        assert len(addr) == (2 if address[0] == "127.0.0.1" else 4)
        server.sendto(b"back", addr)
        server.sendto(memoryview(b"again"), tuple(addr))
        server.sendto(bytearray(b"short"), addr[:2])
        await until(lambda: len(two.data) == 3)
        assert two.data == [b"back", b"again", b"short"]
        assert client.get_extra_info("peername") == server.get_extra_info("sockname")
        assert server.get_extra_info("peername") is None
        assert server.get_extra_info("missing", 5) == 5
        await finish(one, two)
        assert one.calls[0] == "made"
        assert one.calls[-1] == "lost"

    with no_fd_leak():
        run(main())


def test_what_an_endpoint_is(run, on_rulip):
    async def main():
        loop = asyncio.get_running_loop()
        transport, protocol = await loop.create_datagram_endpoint(
            Recorder, local_addr=("127.0.0.1", 0)
        )
        assert isinstance(transport, asyncio.Transport)
        if on_rulip or sys.version_info >= (3, 12):
            assert isinstance(transport, asyncio.DatagramTransport)
        assert transport.get_protocol() is protocol
        sock = transport.get_extra_info("socket")
        assert isinstance(sock, asyncio.trsock.TransportSocket)
        assert sock.getsockname() == transport.get_extra_info("sockname")
        fd = sock.fileno()
        assert f"fd={fd} read=polling write=<idle, bufsize=0>" in repr(transport)
        transport.pause_reading()
        assert f"fd={fd} read=idle write=<idle, bufsize=0>" in repr(transport)
        assert not transport.is_reading()
        transport.resume_reading()
        assert transport.is_reading()
        assert not transport.is_closing()
        other = Recorder()
        transport.set_protocol(other)
        with local_udp() as peer:
            peer.sendto(b"x", transport.get_extra_info("sockname"))
            await until(lambda: other.data)
            with pytest.raises(RuntimeError, match=f"File descriptor {fd} is used by transport"):
                loop.add_reader(fd, print)
        transport.close()
        assert transport.is_closing()
        assert not transport.is_reading()
        assert "closing" in repr(transport)
        assert await within(other.lost) is None
        await turns(1)
        assert "closed" in repr(transport)
        assert f"fd={fd}" in repr(transport)
        assert protocol.calls == ["made"]

    with no_fd_leak():
        run(main())


def test_empty_datagrams(run):
    async def main():
        loop = asyncio.get_running_loop()
        server, one = await loop.create_datagram_endpoint(Recorder, local_addr=("127.0.0.1", 0))
        with local_udp() as peer:
            peer.sendto(b"", server.get_extra_info("sockname"))
            await until(lambda: one.data)
            assert one.calls[1] == (b"", peer.getsockname())
            server.sendto(b"", peer.getsockname())
            server.sendto(b"end", peer.getsockname())
            answers = [peer.recv(10)]
            while answers[-1] != b"end":
                answers.append(peer.recv(10))
            assert answers == ([b"", b"end"] if SENDS_EMPTY else [b"end"])
        await finish(one)

    with no_fd_leak():
        run(main())


def test_large_datagrams_arrive_whole(run, tmp_path):
    async def main():
        loop = asyncio.get_running_loop()
        server, one = await loop.create_datagram_endpoint(Recorder, local_addr=("127.0.0.1", 0))
        with local_udp() as peer:
            data = os.urandom(65_507)
            peer.sendto(data, server.get_extra_info("sockname"))
            await until(lambda: one.data)
            assert one.data == [data]
        path = str(tmp_path / "socket")
        unix, two = await loop.create_datagram_endpoint(
            Recorder, local_addr=path, family=socket.AF_UNIX
        )
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as peer:
            data = os.urandom(100_000)
            peer.sendto(data, path)
            await until(lambda: two.data)
            assert two.calls[1] == (data, None)
        assert unix.get_extra_info("sockname") == path
        await finish(one, two)

    with no_fd_leak():
        run(main())


def test_unix_endpoints(run, tmp_path):
    async def main():
        loop = asyncio.get_running_loop()
        paths = [str(tmp_path / name) for name in ("one", "two")]
        (first, one), (_second, two) = [
            await loop.create_datagram_endpoint(Recorder, local_addr=path, family=socket.AF_UNIX)
            for path in paths
        ]
        first.sendto(b"there", paths[1])
        await until(lambda: two.data)
        assert two.calls[1] == (b"there", paths[0])
        two.transport.sendto(b"back", two.calls[1][1])
        await until(lambda: one.data)
        assert one.calls[1] == (b"back", paths[1])
        first.sendto(b"", b"\0nobody-listens-here" + os.urandom(4).hex().encode())
        first.sendto(b"lost", str(tmp_path / "nowhere"))
        errors = [call for call in one.calls if isinstance(call, Exception)]
        assert isinstance(errors[-1], FileNotFoundError)
        third, three = await loop.create_datagram_endpoint(
            Recorder, remote_addr=paths[0], family=socket.AF_UNIX
        )
        third.sendto(b"connected")
        await until(lambda: len(one.data) == 2)
        assert one.calls[-1] == (b"connected", None)
        await finish(one, two, three)
        for path in paths:
            os.unlink(path)

    with no_fd_leak():
        run(main())


def test_a_full_unix_receiver(run, tmp_path, on_rulip):
    """Neither lost nor reordered, although the receiver's queue holds but a few."""
    # asyncio 3.13 never takes the headers off again (docs/compat.md).
    resumes = on_rulip or sys.version_info[:2] != (3, 13)

    async def main(connected):
        loop = asyncio.get_running_loop()
        path = str(tmp_path / f"full-{connected}")
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
            receiver.bind(path)
            receiver.settimeout(10)
            sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            if connected:
                sock.connect(path)
            transport, protocol = await loop.create_datagram_endpoint(Recorder, sock=sock)
            transport.set_write_buffer_limits(high=2000, low=500)
            count = 0
            while "pause" not in protocol.calls:
                transport.sendto(b"%06d" % count, None if connected else path)
                count += 1
            queued = transport.get_write_buffer_size()
            assert queued > 2000
            assert queued % (14 if HAS_HEADERS else 6) == 0
            assert "write=<polling" in repr(transport)
            got = []
            receiver.setblocking(False)

            def read():
                with contextlib.suppress(BlockingIOError):
                    while True:
                        got.append(receiver.recv(100))

            loop.add_reader(receiver, read)
            await until(lambda: len(got) == count)
            loop.remove_reader(receiver)
            assert got == [b"%06d" % number for number in range(count)]
            if resumes:
                await until(lambda: "resume" in protocol.calls)
                assert protocol.calls == ["made", "pause", "resume"]
                assert transport.get_write_buffer_size() == 0
            await finish(protocol)
        os.unlink(path)

    with no_fd_leak():
        for connected in (True, False):
            run(main(connected))


def test_closing_sends_what_is_queued_and_aborting_does_not(run, tmp_path, on_rulip):
    async def main(end):
        loop = asyncio.get_running_loop()
        path = str(tmp_path / end)
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
            receiver.bind(path)
            receiver.setblocking(False)
            sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            sock.connect(path)
            transport, protocol = await loop.create_datagram_endpoint(Recorder, sock=sock)
            count = 0
            while not transport.get_write_buffer_size():
                transport.sendto(b"%d" % count)
                count += 1
            getattr(transport, end)()
            assert transport.is_closing()
            if end == "abort" and on_rulip:  # asyncio goes on counting what it has dropped
                assert transport.get_write_buffer_size() == 0
            got = []
            while not protocol.lost.done() or len(got) < count - (end == "abort"):
                with contextlib.suppress(BlockingIOError):
                    got.append(receiver.recv(100))
                await turns(1)
            assert protocol.lost.result() is None
            assert got == [b"%d" % number for number in range(count - (end == "abort"))]
            if on_rulip:  # an AttributeError on asyncio
                transport.sendto(b"ignored")
        os.unlink(path)

    with no_fd_leak():
        run(main("close"))
        run(main("abort"))


def test_a_refused_datagram_is_told(run):
    async def main():
        loop = asyncio.get_running_loop()
        with local_udp() as closed:
            address = closed.getsockname()
        transport, protocol = await loop.create_datagram_endpoint(Recorder, remote_addr=address)
        transport.sendto(b"x")
        await until(lambda: len(protocol.calls) == 2)
        assert isinstance(protocol.calls[1], ConnectionRefusedError)
        # A pending refusal is told by the next send.
        transport.pause_reading()
        transport.sendto(b"x")
        await until(lambda: transport.sendto(b"y") or len(protocol.calls) > 2)
        assert isinstance(protocol.calls[2], ConnectionRefusedError)
        assert not transport.is_closing()
        await finish(protocol)

    with no_fd_leak():
        run(main())


def test_a_datagram_that_cannot_be_sent_is_told(run):
    async def main():
        loop = asyncio.get_running_loop()
        transport, protocol = await loop.create_datagram_endpoint(
            Recorder, local_addr=("127.0.0.1", 0)
        )
        target = transport.get_extra_info("sockname")
        transport.sendto(bytes(70_000), target)
        assert isinstance(protocol.calls[-1], OSError)
        transport.sendto(b"x", ("host.invalid", 1))
        assert isinstance(protocol.calls[-1], socket.gaierror)
        transport.sendto(b"x", ("::1", 1))
        assert isinstance(protocol.calls[-1], OSError)
        transport.sendto(b"short form", ("127.1", target[1]))
        transport.sendto(b"by name", ("localhost", target[1]))
        await until(lambda: len(protocol.data) == 2)
        assert sorted(protocol.data) == [b"by name", b"short form"]
        assert not transport.is_closing()
        await finish(protocol)

    with no_fd_leak():
        run(main())


@pytest.mark.parametrize(
    "address",
    [None, ("127.0.0.1",), ("127.0.0.1", -1), ("127.0.0.1", 1 << 40), 5, ("1.2.3.4", "x")],
)
def test_an_address_that_is_none_ends_the_endpoint(run, address):
    async def main():
        loop = asyncio.get_running_loop()
        reports = collect_reports(loop)
        transport, protocol = await loop.create_datagram_endpoint(
            Recorder, local_addr=("127.0.0.1", 0)
        )
        transport.sendto(b"x", address)
        (report,) = reports
        assert report["message"] == "Fatal write error on datagram transport"
        assert report["transport"] is transport
        assert report["protocol"] is protocol
        assert transport.is_closing()
        exc = await within(protocol.lost)
        assert exc is report["exception"]
        with contextlib.closing(local_udp()) as sock, pytest.raises(type(exc)) as same:
            sock.sendto(b"x", address)
        assert str(same.value) == str(exc)

    with no_fd_leak():
        run(main())


def test_rules_of_sendto(run):
    async def main():
        loop = asyncio.get_running_loop()
        with local_udp() as peer:
            address = peer.getsockname()
            transport, protocol = await loop.create_datagram_endpoint(Recorder, remote_addr=address)
            for wrong in ("text", 5, None, [1]):
                with pytest.raises(TypeError) as refused:
                    transport.sendto(wrong)
                assert str(refused.value) == (
                    f"data argument must be a bytes-like object, not {type(wrong).__name__!r}"
                )
            with pytest.raises(ValueError) as refused:
                transport.sendto(b"x", ("127.0.0.1", 9))
            assert str(refused.value) == f"Invalid address: must be None or {address}"
            transport.sendto(b"one", address)
            transport.sendto(data=b"two", addr=None)
            assert [peer.recv(9), peer.recv(9)] == [b"one", b"two"]
            await finish(protocol)
            for _ in range(3):
                transport.sendto(b"late")

    with no_fd_leak():
        run(main())


def test_late_datagrams_are_warned_about(run, caplog):
    async def main():
        loop = asyncio.get_running_loop()
        with local_udp() as peer:
            transport, protocol = await loop.create_datagram_endpoint(
                Recorder, remote_addr=peer.getsockname()
            )
            transport.close()
            for _ in range(4):
                transport.sendto(b"late")
            assert not caplog.records
            transport.sendto(b"late")
            assert [record.message for record in caplog.records] == [
                "socket.send() raised exception."
            ]
            await within(protocol.lost)

    with no_fd_leak():
        run(main())


def test_many_datagrams_keep_their_order(run):
    """Bursts are received in one go, but neither timers nor other endpoints starve."""

    async def main():
        loop = asyncio.get_running_loop()
        server, one = await loop.create_datagram_endpoint(Recorder, local_addr=("127.0.0.1", 0))
        target = server.get_extra_info("sockname")
        with local_udp() as peer:
            for burst in range(50):
                for number in range(burst * 100, burst * 100 + 100):
                    peer.sendto(b"%d" % number, target)
                last = b"%d" % (burst * 100 + 99)
                while one.data[-1:] != [last]:
                    await turns(1)
        assert one.data == [b"%d" % number for number in range(5000)]
        await finish(one)

    with no_fd_leak():
        run(main())


def test_pausing_and_closing_within_a_burst(run):
    class Stopping(Recorder):
        def datagram_received(self, data, addr):
            super().datagram_received(data, addr)
            if len(self.data) == 7:
                self.transport.pause_reading()
            if len(self.data) == 11:
                self.transport.close()

    async def main():
        loop = asyncio.get_running_loop()
        server, one = await loop.create_datagram_endpoint(Stopping, local_addr=("127.0.0.1", 0))
        with local_udp() as peer:
            for number in range(20):
                peer.sendto(b"%d" % number, server.get_extra_info("sockname"))
            await until(lambda: len(one.data) == 7)
            await turns(5)
            assert len(one.data) == 7
            server.resume_reading()
            assert await within(one.lost) is None
            assert one.data == [b"%d" % number for number in range(11)]

    with no_fd_leak():
        run(main())


def test_callbacks_that_raise_are_reported_and_the_endpoint_lives(run):
    class Bombed(Recorder):
        def connection_made(self, transport):
            super().connection_made(transport)
            raise ZeroDivisionError("made")

        def datagram_received(self, data, addr):
            super().datagram_received(data, addr)
            raise ZeroDivisionError("received")

        def connection_lost(self, exc):
            super().connection_lost(exc)
            raise ZeroDivisionError("lost")

    async def main():
        loop = asyncio.get_running_loop()
        reports = collect_reports(loop)
        server, one = await loop.create_datagram_endpoint(Bombed, local_addr=("127.0.0.1", 0))
        with local_udp() as peer:
            for _ in range(2):
                peer.sendto(b"x", server.get_extra_info("sockname"))
            await until(lambda: len(one.data) == 2)
        await finish(one)
        await turns(1)
        assert [str(report["exception"]) for report in reports] == [
            "made",
            "received",
            "received",
            "lost",
        ]

    with no_fd_leak():
        run(main())


def test_an_error_callback_that_raises_reaches_the_sender(run):
    class Bombed(Recorder):
        def error_received(self, exc):
            raise ZeroDivisionError

    async def main():
        loop = asyncio.get_running_loop()
        server, one = await loop.create_datagram_endpoint(Bombed, local_addr=("127.0.0.1", 0))
        with pytest.raises(ZeroDivisionError):
            server.sendto(bytes(70_000), server.get_extra_info("sockname"))
        await finish(one)

    run(main())


@pytest.mark.parametrize("leaving", [SystemExit, KeyboardInterrupt])
def test_what_leaves_the_loop(loop, leaving):
    class Leaving(Recorder):
        def datagram_received(self, data, addr):
            super().datagram_received(data, addr)
            if data == b"1":
                raise leaving

    async def main():
        return await loop.create_datagram_endpoint(Leaving, local_addr=("127.0.0.1", 0))

    server, one = loop.run_until_complete(main())
    with local_udp() as peer:
        for number in range(4):
            peer.sendto(b"%d" % number, server.get_extra_info("sockname"))
        with pytest.raises(leaving):
            loop.run_forever()
        loop.run_until_complete(until(lambda: len(one.data) == 4))
        assert one.data == [b"0", b"1", b"2", b"3"]
        loop.run_until_complete(finish(one))


def test_closing_in_connection_made(run):
    class Closing(Recorder):
        def connection_made(self, transport):
            super().connection_made(transport)
            transport.close()
            transport.close()

    async def main():
        loop = asyncio.get_running_loop()
        _, protocol = await loop.create_datagram_endpoint(Closing, local_addr=("127.0.0.1", 0))
        assert await within(protocol.lost) is None
        assert protocol.calls == ["made", "lost"]

    with no_fd_leak():
        run(main())


def test_options(run):
    async def main():
        loop = asyncio.get_running_loop()
        transport, one = await loop.create_datagram_endpoint(
            Recorder, local_addr=("127.0.0.1", 0), reuse_port=True, allow_broadcast=True
        )
        sock = transport.get_extra_info("socket")
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT)
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST)
        again, two = await loop.create_datagram_endpoint(
            Recorder, local_addr=transport.get_extra_info("sockname"), reuse_port=True
        )
        assert again.get_extra_info("sockname") == transport.get_extra_info("sockname")
        # Broadcasting leaves the socket unconnected, and restricts whom it may send to.
        with local_udp() as peer:
            address = peer.getsockname()
            third, three = await loop.create_datagram_endpoint(
                Recorder, remote_addr=address, allow_broadcast=True
            )
            assert third.get_extra_info("peername") is None
            third.sendto(b"x")
            assert peer.recv(5) == b"x"
            with pytest.raises(ValueError, match="Invalid address"):
                third.sendto(b"x", ("127.0.0.1", 9))
        unbound, four = await loop.create_datagram_endpoint(Recorder, family=socket.AF_INET)
        assert unbound.get_extra_info("sockname") == ("0.0.0.0", 0)
        await finish(one, two, three, four)

    with no_fd_leak():
        run(main())


REFUSED = [
    (ValueError, {}, "unexpected address family"),
    (TypeError, {"reuse_address": True, "local_addr": ("127.0.0.1", 0)}, "reuse_address"),
    (TypeError, {"local_addr": "127.0.0.1"}, "2-tuple is expected"),
    (TypeError, {"local_addr": ("127.0.0.1", 0), "family": socket.AF_UNIX}, "string is expected"),
    (
        ValueError,
        {"local_addr": ("127.0.0.1", 0), "remote_addr": ("::1", 1)},
        "can not get address information",
    ),
    (OSError, {"local_addr": ("1.2.3.4", 0)}, None),
]


@pytest.mark.parametrize(("kind", "options", "text"), REFUSED)
def test_what_is_refused(run, kind, options, text):
    async def main():
        loop = asyncio.get_running_loop()
        with pytest.raises(kind, match=text):
            await loop.create_datagram_endpoint(Recorder, **options)

    with no_fd_leak():
        run(main())


def test_sockets_that_are_refused(run):
    async def main():
        loop = asyncio.get_running_loop()
        with socket.socket() as stream, local_udp() as udp:
            with pytest.raises(ValueError, match="was expected, got"):
                await loop.create_datagram_endpoint(Recorder, sock=stream)
            with pytest.raises(ValueError) as refused:
                await loop.create_datagram_endpoint(
                    Recorder, sock=udp, reuse_port=True, family=socket.AF_INET
                )
            assert "socket modifier keyword arguments can not be used" in str(refused.value)
            assert "reuse_port=True" in str(refused.value)

    with no_fd_leak():
        run(main())


@pytest.mark.loops("rulip")  # asyncio leaves the socket to the collector
def test_a_factory_that_raises_leaves_nothing(run):
    def bomb():
        raise ZeroDivisionError

    async def main():
        loop = asyncio.get_running_loop()
        with pytest.raises(ZeroDivisionError):
            await loop.create_datagram_endpoint(bomb, local_addr=("127.0.0.1", 0))

    with no_fd_leak():
        run(main())


def test_cancelled_at_every_step(run):
    async def attempt(step):
        loop = asyncio.get_running_loop()
        protocols = []

        def factory():
            protocols.append(Recorder())
            return protocols[-1]

        task = loop.create_task(loop.create_datagram_endpoint(factory, local_addr=("127.0.0.1", 0)))
        await turns(step)
        over = task.done()
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            transport, _ = await within(task)
            transport.close()
        for protocol in protocols:
            if protocol.calls:
                await within(protocol.lost)
        await turns(2)
        return over

    for step in range(20):
        with no_fd_leak():
            if run(attempt(step)):
                return
    pytest.fail("never over")


def test_an_endpoint_left_open_at_the_end_of_its_loop_is_reported(loop):
    async def main():
        await loop.create_datagram_endpoint(asyncio.DatagramProtocol, local_addr=("127.0.0.1", 0))

    with resource_warnings() as texts:
        loop.run_until_complete(main())
        loop.close()
    assert any(text.startswith("unclosed transport") for text in texts), texts


def test_raw_families_go_through_python(run):
    """A family whose addresses we do not read ourselves."""

    async def main():
        loop = asyncio.get_running_loop()
        sock = socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM, 0)
        sock.bind((0, 0))
        transport, protocol = await loop.create_datagram_endpoint(Recorder, sock=sock)
        # A message that does nothing, and asks for an acknowledgement.
        transport.sendto(b"\x10\0\0\0\x01\0\x05\0\x01\0\0\0\0\0\0\0", (0, 0))
        await until(lambda: protocol.data)
        assert protocol.calls[1][1] == (0, 0)
        await finish(protocol)

    if not hasattr(socket, "AF_NETLINK"):
        pytest.skip("Linux only")
    with no_fd_leak():
        run(main())
