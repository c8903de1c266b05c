"""TLS connections: their making, what is known about them, data in both directions.

Here: client and server over TCP and Unix sockets, policy, extra info, flow control.
Not here: how they end (test_tls_ends.py); upgrades (test_tls_upgrades.py).
Runs in the main thread; the other end is another transport, or a plain socket that speaks TLS by
hand.
Invariant: one body for both loops, and on rulip for both ways that data may go; stock asyncio
passes every test.
"""

from __future__ import annotations

import asyncio
import logging
import os
import random
import shutil
import socket
import ssl
from typing import Any

import pytest
from tests.asyncio.serving import Factory, address
from tests.loopback import (
    BufferedRecorder,
    Recorder,
    collect_reports,
    tcp_sockets,
    turns,
    unix_sockets,
    until,
    within,
)
from tests.tls_peer import (
    AUTHORITY,
    CLIENT,
    LOCALHOST,
    OTHER,
    Peer,
    ViewRecorder,
    client_context,
    server_context,
    tls_connection,
)

pytestmark = pytest.mark.usefixtures("tls_way")


@pytest.fixture(params=[Recorder, ViewRecorder], ids=["plain", "buffered"])
def recorder(request):
    return request.param


async def serve(server_ssl=None, factory=None, **keywords):
    factory = factory or Factory()
    server = await asyncio.get_running_loop().create_server(
        factory, "127.0.0.1", 0, ssl=server_ssl or server_context(), **keywords
    )
    return server, factory


async def dial(server, client_ssl=None, factory=Recorder, **keywords):
    keywords.setdefault("server_hostname", "localhost")
    opening = asyncio.get_running_loop().create_connection(
        factory, *address(server), ssl=client_ssl or client_context(), **keywords
    )
    return await within(opening)


async def finish(server, *transports):
    for transport in transports:
        transport.abort()
    server.close()
    await turns(4)


# -- data


@pytest.mark.parametrize("size", [1, 1000, 16384, 16385, 100_000, 3_000_000])
def test_echo(run, size):
    data = random.Random(size).randbytes(size)

    async def main():
        server, _factory = await serve()
        transport, protocol = await dial(server)
        transport.write(data)
        await protocol.wait_received(size)
        assert protocol.received == data
        await finish(server, transport)

    run(main())


def test_echo_over_unix_sockets(run, tmp_path):
    async def main():
        loop = asyncio.get_running_loop()
        factory = Factory()
        path = str(tmp_path / "socket")
        server = await loop.create_unix_server(factory, path, ssl=server_context())
        transport, protocol = await within(
            loop.create_unix_connection(
                Recorder, path, ssl=client_context(), server_hostname="localhost"
            )
        )
        transport.writelines([b"a", bytearray(b"b"), memoryview(b"c"), b""])
        await protocol.wait_received(3)
        assert protocol.received == b"abc"
        await finish(server, transport)

    run(main())


@pytest.mark.parametrize("server_side", [True, False], ids=["server", "client"])
def test_both_directions_at_once(run, recorder, sockets, server_side):
    pick = random.Random(5)
    down, up = pick.randbytes(500_000), pick.randbytes(500_000)

    async def main():
        async with tls_connection(recorder, sockets=sockets, server_side=server_side) as (
            transport,
            protocol,
            peer,
        ):
            transport.write(up)
            assert await peer.receive(len(up)) == up
            await peer.send(down)
            await protocol.wait_received(len(down))
            assert protocol.received == down
            assert protocol.calls[0] == "connection_made"

    run(main())


@pytest.mark.parametrize("size", [1, 100, 16 * 1024 + 1])
def test_buffers_of_any_size(run, size):
    class Sized(ViewRecorder):
        pass

    Sized.size = size
    data = random.Random(size).randbytes(3000 if size == 1 else 200_000)

    async def main():
        async with tls_connection(Sized) as (_transport, protocol, peer):
            await peer.send(data)
            await protocol.wait_received(len(data))
            assert protocol.received == data

    run(main())


def test_records_byte_by_byte(run, recorder):
    async def main():
        async with tls_connection(recorder) as (_transport, protocol, peer):
            for byte in peer.records(b"one") + peer.records(b"two"):
                await peer.send_raw(bytes([byte]))
                await turns(1)
            await protocol.wait_received(6)
            assert protocol.received == b"onetwo"

    run(main())


def test_many_small_records_in_one_segment(run, recorder):
    async def main():
        async with tls_connection(recorder) as (_transport, protocol, peer):
            sent = [b"%d," % i for i in range(1000)]
            await peer.send_raw(b"".join(peer.records(each) for each in sent))
            await protocol.wait_received(len(b"".join(sent)))
            assert protocol.received == b"".join(sent)

    run(main())


def test_data_that_came_with_the_handshake(run, recorder):
    """TLS 1.3: a client's first data may stand in one segment with its Finished."""

    async def main():
        loop = asyncio.get_running_loop()
        near, far = tcp_sockets()
        opening = asyncio.ensure_future(
            loop.connect_accepted_socket(recorder, near, ssl=server_context())
        )
        peer = Peer(far, client_context(), server_side=False)
        with pytest.raises(ssl.SSLWantReadError):
            peer.tls.do_handshake()
        await peer.flush()
        await peer._feed()
        while True:
            try:
                peer.tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                await peer._feed()
        await peer.send(b"early bird")
        transport, protocol = await within(opening)
        await protocol.wait_received(10)
        assert protocol.received == b"early bird"
        transport.abort()
        far.close()
        await turns(4)

    run(main())


def test_writes_of_other_things_are_refused(run):
    async def main():
        async with tls_connection() as (transport, _protocol, peer):
            for other in ("text", 5, None, [1]):
                with pytest.raises(TypeError) as caught:
                    transport.write(other)
                kind = type(other).__name__
                assert str(caught.value) == f"data: expecting a bytes-like instance, got {kind}"
            transport.write(b"")
            transport.write(memoryview(b"still ")[:])
            transport.write(bytearray(b"open"))
            assert await peer.receive(10) == b"still open"

    run(main())


def test_there_is_no_half_close(run):
    async def main():
        async with tls_connection() as (transport, _protocol, _peer):
            assert not transport.can_write_eof()
            with pytest.raises(NotImplementedError):
                transport.write_eof()

    run(main())


# -- flow control


def test_pause_and_resume_writing(run):
    async def main():
        async with tls_connection() as (transport, protocol, peer):
            assert transport.get_write_buffer_limits() == (128 * 1024, 512 * 1024)
            chunk = bytes(100_000)
            count = 0
            while not protocol.paused.done():
                transport.write(chunk)
                count += 1
                assert count < 1000
            assert transport.get_write_buffer_size() >= 512 * 1024
            assert transport._protocol_paused
            assert len(await peer.receive(count * len(chunk))) == count * len(chunk)
            await until(lambda: protocol.calls[-1] == "resume_writing")
            assert protocol.calls.count("pause_writing") == 1
            assert transport.get_write_buffer_size() <= 128 * 1024

    run(main())


def test_limits(run):
    async def main():
        async with tls_connection() as (transport, _protocol, _peer):
            transport.set_write_buffer_limits(high=1000)
            assert transport.get_write_buffer_limits() == (250, 1000)
            transport.set_write_buffer_limits(low=10)
            assert transport.get_write_buffer_limits() == (10, 40)
            transport.set_read_buffer_limits(high=4096, low=12)
            assert transport.get_read_buffer_limits() == (12, 4096)
            transport.set_read_buffer_limits()
            assert transport.get_read_buffer_limits() == (64 * 1024, 256 * 1024)
            assert transport.get_read_buffer_size() == 0
            for bad in ({"high": 1, "low": 2}, {"high": -1}, {"low": -1}):
                with pytest.raises(ValueError, match=r"must be >= low .* must be >= 0"):
                    transport.set_write_buffer_limits(**bad)

    run(main())


def test_pause_and_resume_reading(run, recorder):
    data = bytes(2_000_000)

    async def main():
        async with tls_connection(recorder) as (transport, protocol, peer):
            transport.pause_reading()
            assert not transport.is_reading()
            sending = asyncio.ensure_future(peer.send(data))
            await until(lambda: transport.get_read_buffer_size() >= 256 * 1024)
            await turns(5)
            assert not protocol.received
            assert transport.get_read_buffer_size() < 1024 * 1024
            transport.resume_reading()
            assert transport.is_reading()
            await within(sending)
            await protocol.wait_received(len(data))

    run(main())


def test_a_protocol_that_pauses_in_data_received_gets_the_rest_later(run):
    class Shy(Recorder):
        def data_received(self, data):
            super().data_received(data)
            self.transport.pause_reading()

    async def main():
        async with tls_connection(Shy) as (transport, protocol, peer):
            await peer.send(b"one")
            await protocol.wait_received(3)
            await peer.send(b"two")
            await turns(5)
            assert protocol.received == b"one"
            transport.resume_reading()
            await protocol.wait_received(6)
            assert protocol.received == b"onetwo"

    run(main())


def test_set_protocol(run):
    async def main():
        async with tls_connection() as (transport, first, peer):
            second = ViewRecorder()
            second.calls.append("set")
            assert transport.get_protocol() is first
            transport.set_protocol(second)
            assert transport.get_protocol() is second
            await peer.send(b"hello")
            await second.wait_received(5)
            assert not first.received

    run(main())


@pytest.mark.parametrize("first_half", [3, 5, 8000, 16_000])
def test_set_protocol_in_the_middle_of_what_came(run, first_half):
    """Half a record waits within TLS; the protocol that takes the rest has buffers of its own."""

    class Switching(Recorder):
        def data_received(self, data):
            super().data_received(data)
            self.transport.set_protocol(second)

    async def main():
        nonlocal second
        second = ViewRecorder()
        second.calls.append("set")
        reports = collect_reports(asyncio.get_running_loop())
        async with tls_connection(Switching) as (_transport, first, peer):
            data = os.urandom(3 * 16384)
            records = b"".join(
                peer.records(data[i : i + 16384]) for i in range(0, len(data), 16384)
            )
            await peer.send_raw(records[:first_half])
            await turns(20)
            assert not first.received
            await peer.send_raw(records[first_half:])
            await until(lambda: len(first.received) + len(second.received) == len(data))
            assert first.received + second.received == data
            await peer.send(b"behind")
            await second.wait_received(6)
        assert reports == []

    second: Any = None
    run(main())


# -- what is known


@pytest.mark.parametrize("server_side", [True, False], ids=["server", "client"])
def test_extra_info(run, server_side):
    async def main():
        context = server_context() if server_side else client_context()
        async with tls_connection(server_side=server_side, context=context) as (
            transport,
            _protocol,
            peer,
        ):
            info = transport.get_extra_info
            assert info("sslcontext") is context
            assert isinstance(info("ssl_object"), ssl.SSLObject)
            assert info("cipher") == peer.tls.cipher()
            assert info("compression") is None
            assert info("peername") == peer.sock.getsockname()
            assert info("sockname") == peer.sock.getpeername()
            assert info("socket").fileno() >= 0
            assert info("nothing") is None
            assert info("nothing", 5) == 5
            certificate = info("peercert")
            if server_side:
                assert certificate is None
            else:
                assert (("commonName", "localhost"),) in certificate["subject"]
            assert transport._ssl_protocol._sslcontext is context
            assert transport._ssl_protocol._transport.get_extra_info("socket") is info("socket")
            assert transport._ssl_protocol._app_transport is transport
            assert transport._start_tls_compatible

    run(main())


def test_the_classes_are_asyncios(run):
    async def main():
        async with tls_connection() as (transport, _protocol, _peer):
            assert isinstance(transport, asyncio.Transport)
            assert isinstance(transport, asyncio.sslproto._SSLProtocolTransport)
            assert isinstance(transport._ssl_protocol, asyncio.sslproto.SSLProtocol)
            assert repr(transport).startswith("<asyncio.sslproto._SSLProtocolTransport object at")
            transport.colour = "blue"
            assert transport.colour == "blue"

    run(main())


def test_alpn_and_sni(run):
    async def main():
        names = []
        context = server_context()
        context.set_alpn_protocols(["h2", "http/1.1"])
        context.sni_callback = lambda _ssl, name, _context: names.append(name)
        client = client_context()
        client.set_alpn_protocols(["http/1.1"])
        async with tls_connection(context=context, peer_context=client) as (transport, _, peer):
            found = transport.get_extra_info("ssl_object").selected_alpn_protocol()
            assert found == peer.tls.selected_alpn_protocol() == "http/1.1"
            assert names == ["localhost"]

    run(main())


def test_an_sni_callback_may_exchange_the_context(run):
    async def main():
        other = server_context(OTHER)

        def exchange(tls, _name, _context):
            tls.context = other

        context = server_context()
        context.sni_callback = exchange
        client = client_context()
        client.check_hostname = False
        async with tls_connection(context=context, peer_context=client) as (transport, prot, peer):
            assert (("commonName", "other.example"),) in peer.tls.getpeercert()["subject"]
            await peer.send(b"hello")
            await prot.wait_received(5)
            transport.write(b"you")
            assert await peer.receive(3) == b"you"

    run(main())


def test_client_certificates(run):
    async def main():
        context = server_context()
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(AUTHORITY)
        client = client_context()
        client.load_cert_chain(CLIENT)
        async with tls_connection(context=context, peer_context=client) as (transport, _, _peer):
            subject = transport.get_extra_info("peercert")["subject"]
            assert (("commonName", "a client"),) in subject

    run(main())


@pytest.mark.parametrize("shown", [True, False])
def test_optional_client_certificates(run, shown):
    async def main():
        context = server_context()
        context.verify_mode = ssl.CERT_OPTIONAL
        context.load_verify_locations(AUTHORITY)
        client = client_context()
        if shown:
            client.load_cert_chain(CLIENT)
        async with tls_connection(context=context, peer_context=client) as (transport, prot, peer):
            assert bool(transport.get_extra_info("peercert")) == shown
            await peer.send(b"hello")
            await prot.wait_received(5)

    run(main())


def test_certificate_files_that_are_gone_once_loaded(run, tmp_path):
    async def main():
        copies = [tmp_path / "server.pem", tmp_path / "authority.pem"]
        for copy, original in zip(copies, (LOCALHOST, AUTHORITY), strict=True):
            shutil.copy(original, copy)
        context = server_context(str(copies[0]))
        client = ssl.create_default_context(cafile=str(copies[1]))
        for copy in copies:
            copy.unlink()
        for _ in range(2):
            async with tls_connection(context=context, peer_context=client) as (_, prot, peer):
                await peer.send(b"hello")
                await prot.wait_received(5)

    run(main())


@pytest.mark.parametrize("version", ["TLSv1_2", "TLSv1_3"])
def test_versions_and_session_reuse(run, version):
    async def main():
        server, client = server_context(), client_context()
        client.minimum_version = client.maximum_version = ssl.TLSVersion[version]
        keywords = {"context": server, "peer_context": client}
        async with tls_connection(**keywords) as (transport, _protocol, peer):
            assert peer.tls.version() == version.replace("_", ".")
            transport.write(b"x")
            assert await peer.receive(1) == b"x"
            session = peer.tls.session
        loop = asyncio.get_running_loop()
        near, far = tcp_sockets()
        opening = asyncio.ensure_future(loop.connect_accepted_socket(Recorder, near, ssl=server))
        again = Peer(far, client, server_side=False, session=session)
        await again.handshake()
        transport, _protocol = await within(opening)
        assert again.tls.session_reused
        assert transport.get_extra_info("ssl_object").session_reused
        transport.abort()
        far.close()
        await turns(4)

    run(main())


# -- policy


async def refused(server_ssl, client_ssl, kind, **keywords):
    server, factory = await serve(server_ssl)
    with pytest.raises(kind) as caught:
        transport, _protocol = await dial(server, client_ssl, **keywords)
        transport.abort()
    await finish(server)
    assert not any(protocol.calls for protocol in factory.made)
    return caught.value


def test_an_unknown_authority(run):
    async def main():
        exc = await refused(None, ssl.create_default_context(), ssl.SSLCertVerificationError)
        assert exc.verify_message == "unable to get local issuer certificate"

    run(main())


def test_ssl_true_verifies(run):
    async def main():
        server, _factory = await serve()
        with pytest.raises(ssl.SSLCertVerificationError):
            await within(
                asyncio.get_running_loop().create_connection(
                    Recorder, *address(server), ssl=True, server_hostname="localhost"
                )
            )
        await finish(server)

    run(main())


def test_the_wrong_host(run):
    async def main():
        exc = await refused(server_context(OTHER), None, ssl.SSLCertVerificationError)
        assert "Hostname mismatch" in str(exc)

    run(main())


def test_no_common_version(run):
    async def main():
        server, client = server_context(), client_context()
        server.maximum_version = ssl.TLSVersion.TLSv1_2
        client.minimum_version = ssl.TLSVersion.TLSv1_3
        await refused(server, client, (ssl.SSLError, ConnectionResetError))

    run(main())


def test_no_revocation_list(run):
    async def main():
        client = client_context()
        client.verify_flags |= ssl.VERIFY_CRL_CHECK_LEAF
        exc = await refused(None, client, ssl.SSLCertVerificationError)
        assert "unable to get certificate CRL" in str(exc)

    run(main())


def test_a_plaintext_peer(run):
    async def main():
        loop = asyncio.get_running_loop()
        near, far = tcp_sockets()
        far.send(b"220 ready\r\n")
        with pytest.raises(ssl.SSLError) as caught:
            await within(
                loop.create_connection(
                    Recorder, sock=near, ssl=client_context(), server_hostname="localhost"
                )
            )
        assert caught.value.reason in {"WRONG_VERSION_NUMBER", "PACKET_LENGTH_TOO_LONG"}
        far.close()
        await turns(3)

    run(main())


def test_timeouts_must_be_positive(run):
    async def main():
        loop = asyncio.get_running_loop()
        for name in ("ssl_handshake_timeout", "ssl_shutdown_timeout"):
            for value in (0, -1):
                near, far = tcp_sockets()
                with pytest.raises(ValueError) as caught:
                    await loop.create_connection(
                        Recorder,
                        sock=near,
                        ssl=client_context(),
                        server_hostname="localhost",
                        **{name: value},
                    )
                assert str(caught.value) == f"{name} should be a positive number, got {value}"
                near.close()
                far.close()

    run(main())


def test_handshake_timeout(run):
    async def main():
        loop = asyncio.get_running_loop()
        near, far = tcp_sockets()
        with pytest.raises(ConnectionAbortedError) as caught:
            await within(
                loop.create_connection(
                    Recorder,
                    sock=near,
                    ssl=client_context(),
                    server_hostname="localhost",
                    ssl_handshake_timeout=0.05,
                )
            )
        assert str(caught.value) == (
            "SSL handshake is taking longer than 0.05 seconds: aborting the connection"
        )
        far.close()
        await turns(3)

    run(main())


def test_tcp_ends_in_the_handshake(run):
    async def main():
        loop = asyncio.get_running_loop()
        near, far = tcp_sockets()
        far.shutdown(socket.SHUT_WR)
        with pytest.raises(ConnectionResetError):
            await within(
                loop.create_connection(
                    Recorder, sock=near, ssl=client_context(), server_hostname="localhost"
                )
            )
        far.close()
        await turns(3)

    run(main())


def test_cancelled_handshake(run):
    async def main():
        loop = asyncio.get_running_loop()
        near, far = tcp_sockets()
        task = asyncio.ensure_future(
            loop.create_connection(
                Recorder, sock=near, ssl=client_context(), server_hostname="localhost"
            )
        )
        await turns(5)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await turns(3)
        assert near.fileno() == -1
        far.close()

    run(main())


# -- the program's mistakes


def test_connection_made_raises(run):
    class Broken(Recorder):
        def connection_made(self, transport):
            super().connection_made(transport)
            raise ValueError("broken")

    async def main():
        reports = collect_reports(asyncio.get_running_loop())
        server, factory = await serve(factory=Factory(Broken))
        transport, protocol = await dial(server)
        await within(protocol.lost)
        assert isinstance(await within(factory.made[0].lost), ValueError)
        assert [report["message"] for report in reports] == [
            "Fatal error: protocol.buffer_updated() call failed."
        ]
        await finish(server, transport)

    run(main())


@pytest.mark.parametrize(
    "buffer",
    [b"read-only", memoryview(b"read-only"), "text", None, 42, memoryview(bytearray(20))[::2]],
    ids=["bytes", "view", "str", "None", "int", "gaps"],
)
def test_a_buffer_that_cannot_be_filled_ends_the_connection(run, buffer):
    class Wrong(BufferedRecorder):
        def get_buffer(self, sizehint):
            return buffer

    async def main():
        reports = collect_reports(asyncio.get_running_loop())
        async with tls_connection(Wrong) as (_transport, protocol, peer):
            await peer.send(b"data")
            exc = await within(protocol.lost)
            assert isinstance(exc, (TypeError, BufferError))
            assert protocol.calls == ["connection_made", "connection_lost"]
            [report] = reports
            assert report["message"] == "Fatal error on SSL protocol"
            assert report["exception"] is exc

    run(main())


@pytest.mark.parametrize("method", ["get_buffer", "buffer_updated"])
def test_buffer_callbacks_raise(run, method):
    def fail(self, *args):
        raise ZeroDivisionError(method)

    bombed = type("Bombed", (ViewRecorder,), {method: fail})

    async def main():
        reports = collect_reports(asyncio.get_running_loop())
        async with tls_connection(bombed) as (_transport, protocol, peer):
            await peer.send(b"data")
            exc = await within(protocol.lost)
            assert isinstance(exc, ZeroDivisionError)
            assert [report["exception"] for report in reports] == [exc]

    run(main())


def test_data_received_raises(run):
    class Broken(Recorder):
        def data_received(self, data):
            raise ValueError("broken")

    async def main():
        reports = collect_reports(asyncio.get_running_loop())
        async with tls_connection(Broken) as (transport, protocol, peer):
            lower, below = transport._ssl_protocol._transport, transport._ssl_protocol
            await peer.send(b"hello")
            assert isinstance(await within(protocol.lost), ValueError)
            assert [report["message"] for report in reports] == ["Fatal error on SSL protocol"]
            assert reports[0]["transport"] is lower
            assert reports[0]["protocol"] is below
            reports.clear()

    run(main())


@pytest.mark.parametrize("method", ["pause_writing", "resume_writing"])
def test_flow_callbacks_raise(run, method):
    class Broken(Recorder):
        pass

    def broken(self):
        raise ValueError("broken")

    setattr(Broken, method, broken)

    async def main():
        reports = collect_reports(asyncio.get_running_loop())
        async with tls_connection(Broken) as (transport, _protocol, peer):
            count = 0
            while not transport._protocol_paused:
                transport.write(bytes(100_000))
                count += 1
            await peer.receive(count * 100_000)
            await until(lambda: not transport._protocol_paused)
            assert [report["message"] for report in reports] == [f"protocol.{method}() failed"]
            assert reports[0]["transport"] is transport
            reports.clear()

    run(main())


def test_debug_log(run, caplog):
    async def main():
        async with tls_connection() as (_transport, protocol, peer):
            await peer.send_raw(peer.close_notify())
            await within(protocol.lost)

    with caplog.at_level(logging.DEBUG, "asyncio"):
        run(main(), debug=True)
    texts = [record.getMessage() for record in caplog.records]
    assert any(text.endswith("starts SSL handshake") for text in texts)
    assert any(": SSL handshake took" in text and text.endswith(" ms") for text in texts)


def test_streams(run):
    async def main():
        async def handle(reader, writer):
            writer.write((await reader.readline()).upper())
            await writer.drain()
            writer.close()
            await writer.wait_closed()

        server = await asyncio.start_server(handle, "127.0.0.1", 0, ssl=server_context())
        reader, writer = await asyncio.open_connection(
            *address(server), ssl=client_context(), server_hostname="localhost"
        )
        writer.write(b"hello\n")
        assert await within(reader.read()) == b"HELLO\n"
        writer.close()
        await within(writer.wait_closed())
        server.close()
        await turns(3)

    run(main())


def test_unix_socketpairs_are_fine(run):
    async def main():
        async with tls_connection(sockets=unix_sockets) as (_transport, protocol, peer):
            await peer.send(b"hello")
            await protocol.wait_received(5)

    run(main())
