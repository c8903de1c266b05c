"""Sockets of classes that bring their own recv() and send(): proxies, counters, tests.

Runs in the main thread, on loopback.
Invariant: what a class overrides is called for every byte; one body for both loops.
"""

from __future__ import annotations

import asyncio
import io
import socket

import pytest
from tests.loopback import Recorder, collect_reports, tcp_sockets, within


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
