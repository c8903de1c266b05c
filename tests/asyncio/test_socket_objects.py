"""Sockets of classes that bring their own recv() and send(): proxies, counters, tests.

Runs in the main thread, on loopback.
Invariant: what a class overrides is called for every byte; one body for both loops.
"""

from __future__ import annotations

import asyncio
import io
import socket

import pytest
from tests.loopback import Recorder, collect_reports, tcp_listener, tcp_sockets, within


class Counted(socket.socket):
    """Counts what it carries, as a throttling or logging socket would."""

    received = 0
    sent = 0

    def recv(self, size, *args):
        data = super().recv(size, *args)
        self.received += len(data)
        return data

    def recv_into(self, buffer, *args):
        count = super().recv_into(buffer, *args)
        self.received += count
        return count

    def send(self, data, *args):
        count = super().send(data, *args)
        self.sent += count
        return count

    def sendmsg(self, buffers, *args):
        count = super().sendmsg(buffers, *args)
        self.sent += count
        return count


def counted(sock: socket.socket) -> Counted:
    return Counted(sock.family, sock.type, sock.proto, fileno=sock.detach())


@pytest.mark.parametrize("accepted", [False, True], ids=["create_connection", "connect_accepted"])
def test_own_methods_see_every_byte(run, accepted):
    async def main():
        loop = asyncio.get_running_loop()
        reports = collect_reports(loop)
        ours, peer = tcp_sockets()
        mine = counted(ours)
        reader = asyncio.StreamReader()
        make = lambda: asyncio.StreamReaderProtocol(reader)  # noqa: E731
        if accepted:
            transport, _ = await loop.connect_accepted_socket(make, mine)
        else:
            transport, _ = await loop.create_connection(make, sock=mine)
        assert isinstance(transport, asyncio.Transport)
        assert transport.get_extra_info("peername") == peer.getsockname()
        with peer:
            peer_reader, peer_writer = await asyncio.open_connection(sock=peer)
            transport.write(b"x" * 300_000)
            transport.writelines([b"yy", b"z"])
            assert len(await within(peer_reader.readexactly(300_003))) == 300_003
            peer_writer.write(b"answer\n")
            assert await within(reader.readline()) == b"answer\n"
            assert (mine.sent, mine.received) == (300_003, 7)
            sent = await within(loop.sendfile(transport, io.BytesIO(b"file")))
            assert sent == 4
            assert await within(peer_reader.readexactly(4)) == b"file"
            assert mine.sent == 300_007
            assert str(mine.fileno()) in repr(transport)
            peer_writer.close()
            await peer_writer.wait_closed()
            assert await within(reader.read()) == b""
        transport.close()
        while mine.fileno() != -1:
            await asyncio.sleep(0)
        assert "closed" in repr(transport)
        assert not reports

    run(main())


def test_a_descriptor_belongs_to_one_transport(run):
    async def main():
        loop = asyncio.get_running_loop()
        ours, peer = tcp_sockets()
        mine = counted(ours)
        with peer:
            transport, _ = await loop.create_connection(Recorder, sock=mine)
            with pytest.raises(RuntimeError, match="is used by transport"):
                loop.add_reader(mine, print)
            with pytest.raises(RuntimeError, match="is used by transport"):
                await loop.sock_recv(mine, 1)
            transport.abort()
            await asyncio.sleep(0)
        assert mine.fileno() == -1

    run(main(), debug=True)


class Proxied(Counted):
    """Connects in its own way, as a proxy's socket does."""

    connected_to: object = None

    def connect(self, address):
        self.connected_to = address
        super().connect(address)


def test_own_connect_is_called(run):
    async def main():
        loop = asyncio.get_running_loop()
        with tcp_listener() as listener, Proxied() as mine:
            mine.setblocking(False)
            address = listener.getsockname()
            await within(loop.sock_connect(mine, address))
            assert mine.connected_to == address
            assert mine.getpeername() == address
            listener.accept()[0].close()

    run(main())


def test_own_connect_may_fail(run):
    async def main():
        loop = asyncio.get_running_loop()
        with tcp_listener() as listener:
            address = listener.getsockname()
        with Proxied() as mine:
            mine.setblocking(False)
            with pytest.raises(ConnectionRefusedError, match=r"Connect call failed|refused"):
                await within(loop.sock_connect(mine, address))
            assert mine.connected_to == address

    run(main())


class CountedDatagrams(socket.socket):
    """Counts the datagrams that it carries."""

    received = 0
    sent = 0

    def recvfrom(self, size, *args):
        found = super().recvfrom(size, *args)
        self.received += 1
        return found

    def sendto(self, data, *args):
        self.sent += 1
        return super().sendto(data, *args)

    def send(self, data, *args):
        self.sent += 1
        return super().send(data, *args)


class Datagrams(asyncio.DatagramProtocol):
    def __init__(self):
        self.got = asyncio.get_running_loop().create_future()
        self.lost = asyncio.get_running_loop().create_future()

    def datagram_received(self, data, addr):
        self.got.set_result((data, addr))

    def connection_lost(self, exc):
        self.lost.set_result(exc)


@pytest.mark.parametrize("connected", [False, True], ids=["sendto", "connected"])
def test_own_methods_see_every_datagram(run, connected):
    async def main():
        loop = asyncio.get_running_loop()
        with socket.socket(type=socket.SOCK_DGRAM) as peer:
            peer.bind(("127.0.0.1", 0))
            mine = CountedDatagrams(type=socket.SOCK_DGRAM)
            mine.bind(("127.0.0.1", 0))
            if connected:
                mine.connect(peer.getsockname())
            transport, protocol = await loop.create_datagram_endpoint(Datagrams, sock=mine)
            transport.sendto(b"one", None if connected else peer.getsockname())
            assert peer.recv(10) == b"one"
            peer.sendto(b"two", mine.getsockname())
            assert await within(protocol.got) == (b"two", peer.getsockname())
            assert (mine.sent, mine.received) == (1, 1)
            assert str(mine.fileno()) in repr(transport)
            transport.close()
            assert await within(protocol.lost) is None
        assert mine.fileno() == -1


def test_a_function_in_the_place_of_the_class(run, monkeypatch):
    """As tests do that hand out sockets of their own for some addresses."""
    kind = socket.socket
    monkeypatch.setattr(socket, "socket", lambda *args, **kwargs: kind(*args, **kwargs))

    async def main():
        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(await reader.readline())
            writer.close()

        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        async with server:
            address = server.sockets[0].getsockname()
            reader, writer = await asyncio.open_connection(*address)
            writer.write(b"echo\n")
            assert await within(reader.read()) == b"echo\n"
            writer.close()
            await writer.wait_closed()

    run(main())
