"""TLS where asyncio loses data, hides an end or goes on too long: rows of docs/compat.md.

Not here: what TLS does alike on both loops (tests/asyncio/test_tls*.py).
Runs in the main thread; the other end is a plain socket that speaks TLS by hand.
Invariant: each test holds for both ways that data may go.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import os
import random
import shutil
import socket
import ssl
import subprocess
import sys

import pytest
from tests.asyncio.serving import Factory, address
from tests.loopback import (
    BufferedRecorder,
    Recorder,
    collect_reports,
    reset,
    tcp_sockets,
    turns,
    until,
    within,
)
from tests.tls_peer import AUTHORITY, Peer, client_context, server_context, tls_connection

import rulip
from rulip.event_loop.tls_protocol import tls_way

pytestmark = pytest.mark.loops("rulip")


@pytest.fixture(params=["openssl", "memory_bio"], autouse=True)
def way(request, monkeypatch):
    monkeypatch.setenv("RULIP_TLS", request.param)
    return request.param


@pytest.fixture(params=[Recorder, BufferedRecorder], ids=["plain", "buffered"])
def recorder(request):
    return request.param


@pytest.fixture(params=[asyncio, rulip], ids=["asyncio's streams", "rulip's streams"])
def streams(request):
    """Whose start_server() and open_connection()."""
    return request.param


# -- a cut-off stream can be told from a whole one


async def end_of(transport, protocol):
    await within(protocol.lost)
    transport.close()
    transport.close()
    return transport.get_extra_info("tls_truncated")


def test_a_whole_stream(run):
    async def main():
        async with tls_connection() as (transport, protocol, peer):
            assert transport.get_extra_info("tls_truncated") is None
            await peer.send_raw(peer.records(b"all") + peer.close_notify())
            peer.sock.shutdown(socket.SHUT_WR)
            assert await end_of(transport, protocol) is False

    run(main())


def test_a_truncated_stream(run):
    seen = []

    class Asking(Recorder):
        def eof_received(self):
            seen.append(self.transport.get_extra_info("tls_truncated"))
            return super().eof_received()

    async def main():
        async with tls_connection(Asking) as (transport, protocol, peer):
            await peer.send(b"not all")
            peer.sock.shutdown(socket.SHUT_WR)
            assert await end_of(transport, protocol) is True
            assert seen == [True]

    run(main())


def test_a_reset_stream_is_truncated(run):
    async def main():
        async with tls_connection() as (transport, protocol, peer):
            reset(peer.sock)
            assert await end_of(transport, protocol) is True

    run(main())


def test_a_stream_that_we_ended_is_whole(run):
    async def main():
        async with tls_connection() as (transport, protocol, peer):
            transport.close()
            await peer.receive_to_end()
            await peer.send_raw(peer.close_notify())
            assert await end_of(transport, protocol) is False
        async with tls_connection() as (transport, protocol, peer):
            transport.abort()
            assert await end_of(transport, protocol) is False

    run(main())


# -- no byte is lost


def test_good_data_before_garbage_in_one_segment(run, recorder):
    async def main():
        async with tls_connection(recorder) as (_transport, protocol, peer):
            await peer.send_raw(peer.records(b"good") + b"this is no record")
            assert isinstance(await within(protocol.lost), ssl.SSLError)
            assert protocol.received == b"good"

    run(main())


@pytest.mark.parametrize("size", [1, 100, 1000, 16385, 300_000])
def test_a_buffer_that_is_a_bytearray(run, size):
    class Sized(BufferedRecorder):
        pass

    Sized.size = size
    data = random.Random(size).randbytes(4000 if size == 1 else 400_000)

    async def main():
        async with tls_connection(Sized) as (_transport, protocol, peer):
            await peer.send(data)
            await protocol.wait_received(len(data))
            assert protocol.received == data

    run(main())


def test_a_client_hello_in_one_segment_with_the_command(run, streams):
    async def main():
        async def handle(reader, writer):
            assert await reader.readline() == b"STARTTLS\r\n"
            await writer.start_tls(server_context())
            writer.write((await reader.readline()).upper())
            await writer.drain()
            writer.close()

        server = await streams.start_server(handle, "127.0.0.1", 0)
        loop = asyncio.get_running_loop()
        with socket.socket() as sock:
            sock.setblocking(False)
            await loop.sock_connect(sock, address(server))
            peer = Peer(sock, client_context(), server_side=False)
            with pytest.raises(ssl.SSLWantReadError):
                peer.tls.do_handshake()
            await peer.send_raw(b"STARTTLS\r\n" + peer.outgoing.read())
            await peer.handshake()
            await peer.send(b"hello\n")
            assert await peer.receive(6) == b"HELLO\n"
        server.close()
        await turns(5)

    run(main())


def test_plaintext_behind_the_command_is_never_taken_for_tls(run, streams):
    outcomes = []

    async def main():
        async def handle(reader, writer):
            assert await reader.readline() == b"STARTTLS\r\n"
            try:
                await writer.start_tls(server_context())
                outcomes.append(await reader.read(100))
            except ssl.SSLError as exc:
                outcomes.append(exc)
            writer.close()

        server = await streams.start_server(handle, "127.0.0.1", 0)
        loop = asyncio.get_running_loop()
        with socket.socket() as sock:
            sock.setblocking(False)
            await loop.sock_connect(sock, address(server))
            peer = Peer(sock, client_context(), server_side=False)
            with pytest.raises(ssl.SSLWantReadError):
                peer.tls.do_handshake()
            await peer.send_raw(b"STARTTLS\r\nRSET\r\n" + peer.outgoing.read())
            await until(lambda: outcomes)
        server.close()
        await turns(5)

    run(main())
    assert isinstance(outcomes[0], ssl.SSLError)


def test_a_servers_plaintext_behind_its_go_ahead(run, streams):
    """The same towards a client: what an attacker put behind "go ahead" ends the handshake."""

    async def main():
        loop = asyncio.get_running_loop()
        near, far = tcp_sockets()
        reader, writer = await streams.open_connection(sock=near)
        await loop.sock_sendall(far, b"220 go ahead\r\n250 injected\r\n")
        assert await within(reader.readline()) == b"220 go ahead\r\n"
        with pytest.raises(ssl.SSLError):
            await within(writer.start_tls(client_context(), server_hostname="localhost"))
        with pytest.raises(ssl.SSLError):
            await within(reader.read())
        far.close()
        writer.close()
        await turns(5)

    run(main())


@pytest.mark.parametrize("size", [1, 1000, 16384, 40_000, 300_000])
def test_streams(run, streams, size):
    """Lines and exact counts of any size, in both directions."""
    line = random.Random(size).randbytes(size).replace(b"\n", b" ") + b"\n"

    async def main():
        async def handle(reader, writer):
            while received := await reader.readline():
                writer.write(received)
                await writer.drain()
            writer.close()

        server = await streams.start_server(
            handle, "127.0.0.1", 0, ssl=server_context(), limit=1 << 20
        )
        reader, writer = await streams.open_connection(
            *address(server), ssl=client_context(), server_hostname="localhost", limit=1 << 20
        )
        for _ in range(5):
            writer.writelines([line[: size // 2], line[size // 2 :]])
            await writer.drain()
            assert await within(reader.readexactly(1)) == line[:1]
            assert await within(reader.readuntil(b"\n")) == line[1:]
        writer.write(line)
        writer.write(b"no line")
        assert await within(reader.readline()) == line
        writer.close()
        await within(writer.wait_closed())
        server.close()
        await turns(5)

    run(main())


# -- the end


def test_nothing_is_received_after_close(run):
    class Closing(BufferedRecorder):
        size = 10

        def buffer_updated(self, nbytes):
            super().buffer_updated(nbytes)
            self.transport.close()

    async def main():
        async with tls_connection(Closing) as (_transport, protocol, peer):
            await peer.send_raw(peer.records(b"0123456789abcdef") + peer.close_notify())
            assert await within(protocol.lost) is None
            assert protocol.received == b"0123456789"

    run(main())


def test_close_while_reading_is_paused(run):
    """What nobody will read is dropped, and the connection ends cleanly."""

    async def main():
        async with tls_connection() as (transport, protocol, peer):
            transport.pause_reading()
            await peer.send(b"unread")
            await until(transport.get_read_buffer_size)
            transport.close()
            await peer.receive_to_end()
            await peer.send_raw(peer.close_notify())
            assert await within(protocol.lost) is None
            assert not protocol.received

    run(main())


@pytest.mark.parametrize("data", [b"", b"unread"])
@pytest.mark.parametrize("end", ["shutdown", "close_notify"])
def test_close_after_the_peers_end_while_reading_is_paused(run, data, end):
    async def main():
        async with tls_connection() as (transport, protocol, peer):
            transport.pause_reading()
            if data:
                await peer.send(data)
                await until(transport.get_read_buffer_size)
            if end == "close_notify":
                await peer.send_raw(peer.close_notify())
            peer.sock.shutdown(socket.SHUT_WR)
            await turns(20)
            assert not protocol.lost.done()
            transport.close()
            assert await within(protocol.lost) is None
            assert not protocol.received

    run(main())


def test_a_peer_that_does_not_read_cannot_delay_the_end(run):
    async def main():
        async with tls_connection(ssl_shutdown_timeout=0.1) as (transport, protocol, peer):
            transport.write(bytes(20_000_000))
            await peer.send_raw(peer.close_notify())
            assert isinstance(await within(protocol.lost), TimeoutError)

    run(main())


def test_the_context_is_the_connections_whoever_writes(run):
    variable = contextvars.ContextVar("variable", default="connection")
    seen = []

    class Noting(Recorder):
        def pause_writing(self):
            seen.append(variable.get())

    async def main():
        async with tls_connection(Noting) as (transport, _, _):
            variable.set("task")
            while not seen:
                transport.write(bytes(100_000))
                transport.get_write_buffer_size()  # sends what was written, now
            assert seen == ["connection"]
            transport.abort()

    run(main())


def test_the_context_is_the_connections_whoever_resumes_reading(run):
    variable = contextvars.ContextVar("variable", default="connection")
    seen = []

    class Noting(Recorder):
        def data_received(self, data):
            seen.append(("data", variable.get()))
            super().data_received(data)

        def connection_lost(self, exc):
            seen.append(("lost", variable.get()))
            super().connection_lost(exc)

    async def main():
        async with tls_connection(Noting) as (transport, protocol, peer):
            transport.pause_reading()
            await peer.send_raw(peer.records(b"all") + peer.close_notify())
            peer.sock.shutdown(socket.SHUT_WR)
            variable.set("task")
            await asyncio.sleep(0)
            transport.resume_reading()
            await end_of(transport, protocol)
        assert seen == [("data", "connection"), ("lost", "connection")]

    run(main())


def test_closing_below_is_closing(run):
    async def main():
        async with tls_connection() as (transport, protocol, _peer):
            transport._ssl_protocol._transport.abort()
            assert transport.is_closing()
            await within(protocol.lost)

    run(main())


def test_closed_twice(run):
    async def main():
        async with tls_connection() as (transport, protocol, _peer):
            transport.close()
            transport.close()
            transport.write(b"x")
            transport.writelines([b"x"])
            transport.pause_reading()
            transport.resume_reading()
            assert transport.get_extra_info("cipher")
            assert transport.get_extra_info("peername", 5) == 5
            assert transport.get_write_buffer_size() == 0
            assert transport.get_protocol() is None
            assert transport._ssl_protocol is None
            transport.abort()
        assert protocol.transport is transport

    run(main())


def test_marks_of_zero(run):
    """pause_writing() is not called again and again."""

    async def main():
        async with tls_connection() as (transport, protocol, peer):
            transport.set_write_buffer_limits(high=0)
            for _ in range(5):
                transport.write(b"x")
            assert await peer.receive(5) == b"xxxxx"
            pauses = protocol.calls.count("pause_writing")
            assert pauses == protocol.calls.count("resume_writing")
            transport.close()

    run(main())


def test_writelines_of_other_things_is_refused(run):
    async def main():
        async with tls_connection() as (transport, _protocol, peer):
            with pytest.raises(TypeError):
                transport.writelines([b"a", "b"])
            transport.write(b"c")
            assert await peer.receive(1) == b"c"

    run(main())


def test_a_handshake_that_pauses_reading_is_finished(run):
    """A client that pauses in connection_made() has sent its part of the handshake."""

    class Pausing(Recorder):
        def connection_made(self, transport):
            super().connection_made(transport)
            transport.pause_reading()

    async def main():
        async with tls_connection(Pausing, server_side=False) as (transport, protocol, peer):
            await peer.send(b"hello")
            transport.resume_reading()
            await protocol.wait_received(5)

    run(main())


# -- the ways


def test_the_way_is_as_told(run, way):
    assert tls_way() == way

    async def main():
        async with tls_connection() as (transport, _protocol, _peer):
            assert transport._ssl_protocol._way == way

    run(main())


def test_an_ssl_object_with_methods_of_its_own(run, monkeypatch):
    """Its methods are called: data goes through them."""
    monkeypatch.delenv("RULIP_TLS")
    read, written = [], []

    class Counting(ssl.SSLObject):
        def read(self, len=1024, buffer=None):
            data = super().read(len, buffer) if buffer is not None else super().read(len)
            read.append(data)
            return data

        def write(self, data):
            written.append(bytes(data))
            return super().write(data)

    context = server_context()
    context.sslobject_class = Counting

    async def main():
        async with tls_connection(context=context) as (transport, protocol, peer):
            assert transport._ssl_protocol._way == "memory_bio"
            await peer.send(b"in")
            await protocol.wait_received(2)
            transport.write(b"out")
            assert await peer.receive(3) == b"out"

    run(main())
    assert b"in" in read
    assert written == [b"out"]


def test_a_context_that_watches_messages(run, monkeypatch):
    monkeypatch.delenv("RULIP_TLS")
    messages = []
    context = server_context()
    context._msg_callback = lambda *args: messages.append(args)

    async def main():
        async with tls_connection(context=context) as (transport, protocol, peer):
            assert transport._ssl_protocol._way == "memory_bio"
            await peer.send(b"in")
            await protocol.wait_received(2)

    run(main())
    assert messages


def test_an_unknown_way_is_refused(run, monkeypatch):
    monkeypatch.setenv("RULIP_TLS", "magic")

    async def main():
        near, far = tcp_sockets()
        with pytest.raises(ValueError, match="RULIP_TLS must be openssl or memory_bio, not magic"):
            await asyncio.get_running_loop().connect_accepted_socket(
                Recorder, near, ssl=server_context()
            )
        far.close()

    run(main())


def test_the_ssl_object_outlives_its_connection(run):
    async def main():
        async with tls_connection() as (transport, protocol, _peer):
            tls = transport.get_extra_info("ssl_object")
            transport.abort()
            await within(protocol.lost)
        transport.close()
        del transport
        protocol.transport = None
        await turns(3)
        assert tls.cipher()
        assert tls.version() == "TLSv1.3"
        with pytest.raises(ssl.SSLError):
            tls.read(1)

    run(main())


# -- the wrong bytes


def test_altered_streams_end_in_time(run):
    """Records cut, doubled, dropped, changed at random: data that is a prefix of what was sent, an
    error or an end, and no report."""
    pick = random.Random(1)

    async def main():
        reports = collect_reports(asyncio.get_running_loop())
        for round_ in range(150):
            factory = pick.choice([Recorder, BufferedRecorder])
            async with tls_connection(factory) as (_transport, protocol, peer):
                pieces = [peer.records(b"%03d" % i) for i in range(20)]
                at = pick.randrange(len(pieces))
                match round_ % 5:
                    case 0:
                        piece = bytearray(pieces[at])
                        piece[pick.randrange(len(piece))] ^= 1 << pick.randrange(8)
                        pieces[at] = bytes(piece)
                    case 1:
                        pieces[at] = pieces[at][: pick.randrange(len(pieces[at]))]
                    case 2:
                        pieces.insert(at, pieces[at])
                    case 3:
                        del pieces[at]
                    case 4:
                        pieces[at] = pick.randbytes(pick.randrange(1, 100))
                stream = b"".join(pieces)
                while stream:
                    cut = pick.randrange(1, 200)
                    try:
                        await peer.send_raw(stream[:cut])
                    except OSError:
                        break
                    stream = stream[cut:]
                try:
                    peer.sock.shutdown(socket.SHUT_WR)
                except OSError:
                    assert protocol.lost.done()
                await within(protocol.lost)
                whole = b"".join(b"%03d" % i for i in range(20))
                assert whole.startswith(protocol.received)
        assert not reports

    run(main())


def test_a_flood_for_a_protocol_that_does_not_read(run):
    async def main():
        async with tls_connection() as (transport, _protocol, peer):
            transport.pause_reading()
            sending = asyncio.ensure_future(peer.send(bytes(20_000_000)))
            await turns(300)
            assert not sending.done()
            assert transport.get_read_buffer_size() <= 1024 * 1024
            sending.cancel()

    run(main())


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_session_tickets_and_alerts_are_no_data(run, version):
    async def main():
        context = server_context()
        context.num_tickets = 5
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        client = client_context()
        client.maximum_version = version
        async with tls_connection(server_side=False, context=client, peer_context=context) as (
            _transport,
            protocol,
            peer,
        ):
            await peer.send(b"data")
            await protocol.wait_received(4)
            assert protocol.received == b"data"

    run(main())


class Client:
    """OpenSSL's own client program, told what to do through its standard input."""

    def __init__(self, process):
        self.process = process
        self.output = b""

    async def say(self, line, *, until_output):
        """Send a line and wait for what shows that it was dealt with."""
        self.process.stdin.write(line)
        await self.process.stdin.drain()
        async with asyncio.timeout(10):
            while until_output not in self.output:
                chunk = await self.process.stdout.read(1 << 16)
                assert chunk, self.output
                self.output += chunk
        self.output = self.output.partition(until_output)[2]


@contextlib.asynccontextmanager
async def openssl_client(server, *arguments):
    process = await asyncio.create_subprocess_exec(
        "openssl",
        "s_client",
        "-connect",
        "{}:{}".format(*address(server)),
        "-CAfile",
        AUTHORITY,
        *arguments,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    try:
        yield Client(process)
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


needs_openssl = pytest.mark.skipif(
    shutil.which("openssl") is None, reason="OpenSSL's client program is not installed"
)


@needs_openssl
def test_new_keys(run):
    """The peer changes its keys, and asks for ours to change."""

    async def main():
        factory = Factory()
        server = await asyncio.get_running_loop().create_server(
            factory, "127.0.0.1", 0, ssl=server_context()
        )
        async with openssl_client(server, "-tls1_3") as client:
            await client.say(b"before\n", until_output=b"before\n")
            for _ in range(5):
                await client.say(b"K\n", until_output=b"KEYUPDATE\n")
                await client.say(b"k\n", until_output=b"KEYUPDATE\n")
                await client.say(b"after\n", until_output=b"after\n")
            assert factory.made[0].received == b"before\n" + b"after\n" * 5
        await factory.all_lost()
        server.close()
        await turns(3)

    run(main())


@needs_openssl
def test_a_renegotiation_is_refused(run):
    """OpenSSL allows none by default: the connection goes on, or ends in time."""

    async def main():
        reports = collect_reports(asyncio.get_running_loop())
        factory = Factory()
        server = await asyncio.get_running_loop().create_server(
            factory, "127.0.0.1", 0, ssl=server_context()
        )
        async with openssl_client(server, "-tls1_2") as client:
            await client.say(b"before\n", until_output=b"before\n")
            await client.say(b"R\n", until_output=b"RENEGOTIATING\n")
        await factory.all_lost()
        assert factory.made[0].received == b"before\n"
        assert not reports
        server.close()
        await turns(3)

    run(main())


def test_the_switch_in_the_environment():
    code = "from rulip.event_loop.tls_protocol import tls_way; print(tls_way())"
    for way in ("openssl", "memory_bio"):
        environment = {**os.environ, "RULIP_TLS": way}
        done = subprocess.run(
            [sys.executable, "-W", "error", "-c", code],
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        )
        assert (done.stdout, done.stderr) == (f"{way}\n", "")
