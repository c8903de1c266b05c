"""How TLS connections end, whoever begins it, and what is told of it.

Here: close_notify, TCP's end without it, resets, garbage, close() and abort(), deadlines.
Not here: the same of plain transports (test_transport_closing.py, test_transport_failures.py).
Runs in the main thread; the other end is a plain socket that speaks TLS by hand.
Invariant: one body for both loops, and on rulip for both ways that data may go; stock asyncio
passes every test, but where a row of docs/compat.md says otherwise.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import socket
import ssl
import weakref

import pytest
from tests.loopback import (
    Recorder,
    collect_reports,
    no_fd_leak,
    reset,
    resource_warnings,
    tcp_sockets,
    turns,
    within,
)
from tests.tls_peer import (
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


def calls_of(protocol):
    """Its calls, whichever way it takes data."""
    return [call.replace("buffer_updated", "data_received") for call in protocol.calls]


# -- the peer ends it


def test_close_notify(run, recorder):
    async def main():
        async with tls_connection(recorder) as (transport, protocol, peer):
            await peer.send_raw(peer.records(b"last words") + peer.close_notify())
            assert await within(protocol.lost) is None
            assert protocol.received == b"last words"
            assert calls_of(protocol) == [
                "connection_made",
                "data_received",
                "eof_received",
                "connection_lost",
            ]
            assert transport.is_closing()
            await peer.call(peer.tls.unwrap)

    run(main())


def test_close_notify_after_what_was_written_before(run):
    async def main():
        async with tls_connection() as (transport, protocol, peer):
            data = bytes(3_000_000)
            transport.write(data)
            await peer.send_raw(peer.close_notify())
            assert len(await peer.receive_to_end()) == len(data)
            assert await within(protocol.lost) is None

    run(main())


def test_tcp_ends_without_close_notify(run, recorder):
    async def main():
        async with tls_connection(recorder) as (_transport, protocol, peer):
            await peer.send(b"last words")
            peer.sock.shutdown(socket.SHUT_WR)
            assert await within(protocol.lost) is None
            assert protocol.received == b"last words"
            assert calls_of(protocol)[-2:] == ["eof_received", "connection_lost"]

    run(main())


def test_reset(run):
    async def main():
        async with tls_connection() as (_transport, protocol, peer):
            reset(peer.sock)
            assert isinstance(await within(protocol.lost), ConnectionResetError)
            assert "eof_received" not in protocol.calls

    run(main())


def test_garbage(run, recorder, caplog):
    async def main():
        reports = collect_reports(asyncio.get_running_loop())
        async with tls_connection(recorder) as (_transport, protocol, peer):
            await peer.send(b"good")
            await protocol.wait_received(4)
            await peer.send_raw(b"this is no record")
            exc = await within(protocol.lost)
            assert isinstance(exc, ssl.SSLError)
            # From 3.2 on OpenSSL has one reason for them all.
            reasons = {"WRONG_VERSION_NUMBER", "PACKET_LENGTH_TOO_LONG", "RECORD_LAYER_FAILURE"}
            assert exc.reason in reasons
            assert protocol.calls[-1] == "connection_lost"
            assert "eof_received" not in protocol.calls
        assert not reports

    run(main())


def test_a_changed_record(run):
    async def main():
        async with tls_connection() as (_transport, protocol, peer):
            record = bytearray(peer.records(b"hello"))
            record[-1] ^= 1
            await peer.send_raw(record)
            exc = await within(protocol.lost)
            assert isinstance(exc, ssl.SSLError)
            assert exc.library == "SSL"
            reasons = {"DECRYPTION_FAILED_OR_BAD_RECORD_MAC", "RECORD_LAYER_FAILURE"}
            assert exc.reason in reasons
            assert not protocol.received

    run(main())


def test_end_while_reading_is_paused(run):
    async def main():
        async with tls_connection() as (transport, protocol, peer):
            transport.pause_reading()
            await peer.send_raw(peer.records(b"late") + peer.close_notify())
            peer.sock.shutdown(socket.SHUT_WR)
            await turns(10)
            assert protocol.calls == ["connection_made"]
            transport.resume_reading()
            assert await within(protocol.lost) is None
            assert protocol.received == b"late"
            assert protocol.calls[-2:] == ["eof_received", "connection_lost"]

    run(main())


def test_eof_received_cannot_keep_it_open(run, caplog):
    class Keeping(Recorder):
        keep_open = True

    async def main():
        async with tls_connection(Keeping) as (_transport, protocol, peer):
            await peer.send_raw(peer.close_notify())
            assert await within(protocol.lost) is None

    with caplog.at_level(logging.WARNING, "asyncio"):
        run(main())
    assert [record.getMessage() for record in caplog.records] == [
        "returning true from eof_received() has no effect when using ssl"
    ]


def test_eof_received_raises(run):
    class Broken(Recorder):
        def eof_received(self):
            raise ValueError("broken")

    async def main():
        reports = collect_reports(asyncio.get_running_loop())
        async with tls_connection(Broken) as (_transport, protocol, peer):
            await peer.send_raw(peer.close_notify())
            assert isinstance(await within(protocol.lost), ValueError)
            assert [report["message"] for report in reports] == ["Error calling eof_received()"]
            reports.clear()

    run(main())


# -- the program ends it


def test_close_sends_what_was_written(run):
    data = bytes(3_000_000)

    async def main():
        async with tls_connection() as (transport, protocol, peer):
            transport.write(data)
            transport.close()
            assert transport.is_closing()
            assert len(await peer.receive_to_end()) == len(data)
            await peer.send_raw(peer.close_notify())
            assert await within(protocol.lost) is None
            assert protocol.calls[-2:] == ["eof_received", "connection_lost"]

    run(main())


def test_the_peer_does_not_answer(run):
    async def main():
        async with tls_connection(ssl_shutdown_timeout=0.05) as (transport, protocol, peer):
            transport.close()
            assert await peer.receive_to_end() == b""
            exc = await within(protocol.lost)
            assert isinstance(exc, TimeoutError)
            assert str(exc) == "SSL shutdown timed out"

    run(main())


def test_the_peer_goes_on_after_our_close(run):
    async def main():
        async with tls_connection() as (transport, protocol, peer):
            transport.close()
            await peer.send(b"more")
            exc = await within(protocol.lost)
            assert isinstance(exc, ssl.SSLError)
            assert exc.reason == "APPLICATION_DATA_AFTER_CLOSE_NOTIFY"
            assert not protocol.received

    run(main())


def test_abort(run):
    async def main():
        async with tls_connection() as (transport, protocol, _peer):
            transport.abort()
            assert transport.is_closing()
            assert protocol.calls == ["connection_made"]
            assert await within(protocol.lost) is None
            assert protocol.calls == ["connection_made", "connection_lost"]
            transport.abort()

    run(main())


def test_close_then_abort(run):
    async def main():
        async with tls_connection() as (transport, protocol, _peer):
            transport.close()
            transport.abort()
            assert await within(protocol.lost) is None
            assert protocol.calls.count("connection_lost") == 1

    run(main())


@pytest.mark.parametrize("method", ["close", "abort"])
@pytest.mark.parametrize("where", ["connection_made", "data_received", "eof_received"])
def test_ending_inside_a_callback(run, method, where):
    class Ending(Recorder):
        pass

    def callback(self, *args):
        result = getattr(super(Ending, self), where)(*args)
        getattr(self.transport, method)()
        return result

    setattr(Ending, where, callback)

    async def main():
        reports = collect_reports(asyncio.get_running_loop())
        async with tls_connection(Ending) as (_transport, protocol, peer):
            if where != "connection_made":
                await peer.send_raw(peer.records(b"hello") + peer.close_notify())
            elif method == "close":
                await peer.send_raw(peer.close_notify())
            await within(protocol.lost)
            assert protocol.calls.count("connection_lost") == 1
            assert protocol.calls.count("eof_received") <= 1
        assert not reports

    run(main())


def test_writes_after_the_end_are_ignored(run, caplog):
    async def main():
        async with tls_connection() as (transport, protocol, _peer):
            transport.close()
            for _ in range(3):
                transport.write(b"x")
            transport.writelines([b"x", b"y"])
            assert not caplog.records
            for _ in range(5):
                transport.write(b"x")
            transport.abort()
            await within(protocol.lost)

    with caplog.at_level(logging.WARNING, "asyncio"):
        run(main())
    assert {record.getMessage() for record in caplog.records} == {"SSL connection is closed"}


def test_nothing_is_left(run):
    """A connection that is over is not kept by a program that keeps its transport and protocol."""

    async def main():
        context = server_context()
        ref = weakref.ref(context)
        with no_fd_leak():
            async with tls_connection(context=context) as (transport, protocol, peer):
                del context
                await peer.send_raw(peer.close_notify())
                await within(protocol.lost)
                transport.close()
                transport.close()
            kept = [transport, protocol]
            gc.collect()
            assert ref() is None
            assert len(kept) == 2

    run(main())


def test_an_unclosed_transport_says_so(loop_factory):
    async def leave_open():
        loop = asyncio.get_running_loop()
        near, far = tcp_sockets()
        peer = Peer(far, client_context(), server_side=False)
        opening = asyncio.ensure_future(
            loop.connect_accepted_socket(Recorder, near, ssl=server_context())
        )
        await peer.handshake()
        await within(opening)
        return far

    with resource_warnings() as texts:
        loop = loop_factory()
        far = loop.run_until_complete(leave_open())
        loop.close()
        del loop
    far.close()
    assert texts.count("unclosed transport <asyncio._SSLProtocolTransport object>") == 1
