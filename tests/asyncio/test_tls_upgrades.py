"""Upgrades to TLS: loop.start_tls, StreamWriter.start_tls, connect_accepted_socket, TLS in TLS.

Not here: what a TLS connection does once it is there (test_tls.py).
Runs in the main thread; the other end is a plain socket that speaks TLS by hand.
Invariant: one body for both loops, and on rulip for both ways that data may go; stock asyncio
passes every test, but where a row of docs/compat.md says otherwise.
"""

from __future__ import annotations

import asyncio
import ssl

import pytest
from tests.asyncio.serving import address
from tests.loopback import Recorder, connection, tcp_sockets, turns, within
from tests.tls_peer import Peer, ViewRecorder, client_context, server_context, tls_connection

pytestmark = pytest.mark.usefixtures("tls_way")


@pytest.fixture(params=[Recorder, ViewRecorder], ids=["plain", "buffered"])
def recorder(request):
    return request.param


@pytest.mark.parametrize("server_side", [True, False], ids=["server", "client"])
def test_start_tls(run, recorder, sockets, server_side):
    async def main():
        loop = asyncio.get_running_loop()
        async with connection(recorder, sockets) as (transport, protocol, sock):
            transport.write(b"STARTTLS\r\n")
            assert await within(loop.sock_recv(sock, 100)) == b"STARTTLS\r\n"
            context = server_context() if server_side else client_context()
            other = client_context() if server_side else server_context()
            peer = Peer(sock, other, server_side=not server_side)
            upgrading = asyncio.ensure_future(
                loop.start_tls(
                    transport,
                    protocol,
                    context,
                    server_side=server_side,
                    server_hostname=None if server_side else "localhost",
                )
            )
            await peer.handshake()
            tls = await within(upgrading)
            assert protocol.calls == ["connection_made"]
            tls.write(b"hello")
            assert await peer.receive(5) == b"hello"
            await peer.send_raw(peer.records(b"you") + peer.close_notify())
            assert await within(protocol.lost) is None
            assert protocol.received == b"you"
            assert transport.is_closing()
            assert tls.is_closing()

    run(main())


def test_start_tls_refuses(run):
    async def main():
        loop = asyncio.get_running_loop()
        async with connection() as (transport, protocol, _peer):
            with pytest.raises(TypeError, match="sslcontext is expected to be an instance of"):
                await loop.start_tls(transport, protocol, None)
            with pytest.raises(TypeError, match="is not supported by start_tls"):
                await loop.start_tls(asyncio.Transport(), protocol, server_context())

    run(main())


def test_start_tls_fails(run):
    async def main():
        loop = asyncio.get_running_loop()
        async with connection() as (transport, protocol, sock):
            upgrading = asyncio.ensure_future(
                loop.start_tls(transport, protocol, client_context(), server_hostname="localhost")
            )
            await turns(3)
            await loop.sock_sendall(sock, b"no such command\r\n")
            with pytest.raises(ssl.SSLError):
                await within(upgrading)
            assert isinstance(await within(protocol.lost), ssl.SSLError)

    run(main())


def test_cancelled_start_tls(run):
    async def main():
        loop = asyncio.get_running_loop()
        async with connection() as (transport, protocol, _sock):
            upgrading = asyncio.ensure_future(
                loop.start_tls(transport, protocol, client_context(), server_hostname="localhost")
            )
            await turns(3)
            upgrading.cancel()
            with pytest.raises(asyncio.CancelledError):
                await upgrading
            await turns(3)
            assert transport.is_closing()

    run(main())


def test_stream_writer_start_tls(run):
    async def main():
        done = asyncio.get_running_loop().create_future()

        async def handle(reader, writer):
            assert await reader.readline() == b"STARTTLS\n"
            writer.write(b"go\n")
            await writer.start_tls(server_context())
            writer.write((await reader.readline()).upper())
            await writer.drain()
            assert await reader.read() == b""
            writer.close()
            await writer.wait_closed()
            done.set_result(None)

        server = await asyncio.start_server(handle, "127.0.0.1", 0)
        reader, writer = await asyncio.open_connection(*address(server))
        writer.write(b"STARTTLS\n")
        assert await within(reader.readline()) == b"go\n"
        await within(writer.start_tls(client_context(), server_hostname="localhost"))
        writer.write(b"hello\n")
        assert await within(reader.readline()) == b"HELLO\n"
        assert writer.get_extra_info("cipher")
        writer.close()
        await within(writer.wait_closed())
        await within(done)
        server.close()
        await turns(3)

    run(main())


def test_tls_in_tls(run, recorder):
    """A client whose connection to a proxy is TLS, and within it the connection to the server."""

    async def main():
        loop = asyncio.get_running_loop()
        async with tls_connection(recorder, server_side=False) as (outer, protocol, peer):
            upgrading = asyncio.ensure_future(
                loop.start_tls(outer, protocol, client_context(), server_hostname="localhost")
            )
            incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
            inner = server_context().wrap_bio(incoming, outgoing, server_side=True)

            async def step(method, *args):
                while True:
                    try:
                        result = method(*args)
                    except ssl.SSLWantReadError:
                        if outgoing.pending:
                            await peer.send(outgoing.read())
                        incoming.write(await peer.call(peer.tls.read, 1 << 16))
                    else:
                        if outgoing.pending:
                            await peer.send(outgoing.read())
                        return result

            await step(inner.do_handshake)
            tls = await within(upgrading)
            tls.write(b"hello")
            assert await step(inner.read, 5) == b"hello"
            data = bytes(range(256)) * 1000
            await step(inner.write, data)
            await protocol.wait_received(len(data))
            assert protocol.received == data
            tls.abort()
            await within(protocol.lost)

    run(main())


def test_connect_accepted_socket(run, recorder, sockets):
    async def main():
        async with tls_connection(recorder, sockets=sockets) as (transport, protocol, peer):
            await peer.send(b"hello")
            await protocol.wait_received(5)
            transport.close()
            await peer.receive_to_end()
            await peer.send_raw(peer.close_notify())
            assert await within(protocol.lost) is None

    run(main())


def test_a_transport_that_is_not_the_loops_own(run):
    """start_tls over any transport that claims to be compatible: a recording stand-in."""

    class Standin(asyncio.Transport):
        _start_tls_compatible = True

        def __init__(self):
            super().__init__()
            self.calls = []
            self.sent = bytearray()
            self.protocol = None

        def write(self, data):
            self.sent += data

        def set_protocol(self, protocol):
            self.protocol = protocol

        def is_closing(self):
            return "close" in self.calls

        def __getattribute__(self, name):
            if name in {"pause_reading", "resume_reading", "close", "_force_close"}:
                calls = self.calls
                return lambda *_: calls.append(name)
            return super().__getattribute__(name)

    async def main():
        loop = asyncio.get_running_loop()
        near, far = tcp_sockets()
        near.close()
        lower, protocol = Standin(), Recorder()
        protocol.connection_made(lower)
        upgrading = asyncio.ensure_future(
            loop.start_tls(lower, protocol, server_context(), server_side=True)
        )
        await turns(3)
        assert lower.calls[:2] == ["pause_reading", "resume_reading"]
        peer = Peer(far, client_context(), server_side=False)

        def pump(data):
            buffer = lower.protocol.get_buffer(-1)
            buffer[: len(data)] = data
            lower.protocol.buffer_updated(len(data))

        while True:
            try:
                peer.tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                pump(peer.outgoing.read())
                peer.incoming.write(bytes(lower.sent))
                lower.sent.clear()
        pump(peer.records(b"hello"))
        tls = await within(upgrading)
        await protocol.wait_received(5)
        assert tls.get_protocol() is protocol
        lower.protocol.connection_lost(None)
        assert await within(protocol.lost) is None
        far.close()

    run(main())
