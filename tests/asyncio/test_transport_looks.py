"""Stream transports as seen from outside: protocols changed, extra information, kinds, looks.

Not here: data and its flow (test_transports.py, test_flow_control.py).
Runs in the main thread; the other end is a plain socket.
Invariant: one body for both loops; stock asyncio passes every test.
"""

from __future__ import annotations

import asyncio
import inspect
import socket
import weakref
from asyncio import trsock
from unittest import mock

from tests.loopback import (
    BufferedRecorder,
    Recorder,
    connection,
    recv_exactly,
    turns,
    unix_sockets,
    within,
)

# Protocols


def test_the_protocol_can_be_changed(run, sockets):
    async def main():
        loop = asyncio.get_running_loop()
        async with connection(Recorder, sockets) as (transport, first, peer):
            assert transport.get_protocol() is first
            await loop.sock_sendall(peer, b"one")
            await first.wait_received(3)
            second = BufferedRecorder()
            second.calls.append("set")
            transport.set_protocol(second)
            assert transport.get_protocol() is second
            await loop.sock_sendall(peer, b"two")
            await second.wait_received(3)
            third = Recorder()
            third.calls.append("set")
            transport.set_protocol(third)
            await loop.sock_sendall(peer, b"three")
            await third.wait_received(5)
            transport.close()
            await within(third.lost)
            assert first.calls == ["connection_made", "data_received"]
            assert second.calls == ["set", "buffer_updated"]
            assert third.calls == ["set", "data_received", "connection_lost"]

    run(main())


def test_the_protocol_can_be_changed_within_a_callback(run, sockets):
    async def main():
        loop = asyncio.get_running_loop()
        second = BufferedRecorder()
        second.calls.append("set")

        class Switch(Recorder):
            def data_received(self, data):
                super().data_received(data)
                self.transport.set_protocol(second)

        async with connection(Switch, sockets) as (_, first, peer):
            await loop.sock_sendall(peer, b"one")
            await first.wait_received(3)
            await loop.sock_sendall(peer, b"two")
            await second.wait_received(3)
            assert bytes(first.received + second.received) == b"onetwo"

    run(main())


def test_a_bare_protocol_is_enough(run, sockets):
    """asyncio.Protocol's own empty methods, and connection_made left alone."""

    async def main():
        async with connection(asyncio.Protocol, sockets) as (transport, _, peer):
            peer.send(b"ignored")
            await turns(3)
            peer.close()
            await turns(5)
            assert transport.is_closing()

    run(main())


# Information


def test_extra_information_of_tcp(run):
    async def main():
        async with connection() as (transport, _, peer):
            sock = transport.get_extra_info("socket")
            assert isinstance(sock, trsock.TransportSocket)
            assert sock.family == socket.AF_INET
            assert sock.type == socket.SOCK_STREAM
            assert sock.gettimeout() == 0
            assert transport.get_extra_info("peername") == peer.getsockname()
            assert transport.get_extra_info("sockname") == peer.getpeername()
            assert transport.get_extra_info("nothing") is None
            assert transport.get_extra_info("nothing", "default") == "default"
            assert transport.get_extra_info("sslcontext") is None
            names = transport.get_extra_info("peername"), transport.get_extra_info("sockname")
            transport.close()
            await turns(3)
            assert names == (
                transport.get_extra_info("peername"),
                transport.get_extra_info("sockname"),
            )

    run(main())


def test_extra_information_of_a_unix_socket(run):
    async def main():
        async with connection(Recorder, unix_sockets) as (transport, _, _):
            assert transport.get_extra_info("socket").family == socket.AF_UNIX
            assert transport.get_extra_info("peername") == ""
            assert transport.get_extra_info("sockname") == ""

    run(main())


def test_options_can_be_set_through_the_socket(run):
    async def main():
        async with connection() as (transport, _, _):
            sock = transport.get_extra_info("socket")
            assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) != 0
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1

    run(main())


def test_kinds(run, sockets):
    async def main():
        async with connection(Recorder, sockets) as (transport, protocol, _):
            assert isinstance(transport, asyncio.Transport)
            assert isinstance(transport, asyncio.BaseTransport)
            assert transport._protocol is protocol
            assert transport._loop is asyncio.get_running_loop()
            assert transport._start_tls_compatible is True
            assert weakref.ref(transport)() is transport
            assert {transport: 1}[transport] == 1

    run(main())


def test_arguments_have_names(run):
    """By which they can be given, and which `inspect` tells."""

    async def main():
        async with connection(Recorder) as (transport, protocol, peer):
            given = {
                "write": {"data": b"one"},
                "writelines": {"list_of_data": [b"two", b"three"]},
                "set_protocol": {"protocol": protocol},
                "get_extra_info": {"name": "nothing", "default": 7},
                "set_write_buffer_limits": {"high": 10, "low": 5},
            }
            for name, arguments in given.items():
                method = getattr(transport, name)
                assert list(inspect.signature(method).parameters) == list(arguments)
                method(**arguments)
            assert transport.get_write_buffer_limits() == (5, 10)
            assert await within(recv_exactly(peer, 11)) == b"onetwothree"

    run(main())


def test_methods_can_be_replaced_on_an_instance(run):
    """Test suites do `transport.write = ...`."""

    async def main():
        async with connection() as (transport, _, _):
            written: list[bytes] = []
            transport.write = written.append
            transport.write(b"caught")
            assert written == [b"caught"]
            transport.anything = 1
            del transport.write

    run(main())


def test_repr_tells_descriptor_and_state(run):
    async def main():
        async with connection() as (transport, protocol, _):
            descriptor = transport.get_extra_info("socket").fileno()
            assert f"fd={descriptor}" in repr(transport)
            assert "read=polling" in repr(transport)
            transport.pause_reading()
            assert "read=idle" in repr(transport)
            assert "write=<idle, bufsize=0>" in repr(transport)
            transport.write(b"x" * 8_000_000)
            size = transport.get_write_buffer_size()
            assert f"write=<polling, bufsize={size}>" in repr(transport)
            transport.abort()
            assert "clos" in repr(transport)
            await within(protocol.lost)
            await turns(1)
            assert " closed" in repr(transport)

    run(main())


def test_extra_info_replaced_on_a_class(run, sockets, monkeypatch):
    """As tests do that want a connection to have another address."""

    async def main():
        loop = asyncio.get_running_loop()
        datagrams, _ = await loop.create_datagram_endpoint(
            asyncio.DatagramProtocol, local_addr=("127.0.0.1", 0)
        )
        async with connection(Recorder, sockets) as (transport, _, _):
            name = transport.get_extra_info("sockname")
            with mock.patch("asyncio.Transport.get_extra_info") as replaced:
                replaced.return_value = ("sock", 1234)
                assert transport.get_extra_info("sockname") == ("sock", 1234)
                assert datagrams.get_extra_info("sockname", default=0) == ("sock", 1234)
            assert replaced.call_args_list == [
                mock.call("sockname"),
                mock.call("sockname", default=0),
            ]
            assert transport.get_extra_info("sockname") == name
            asked = []

            def method(self, name, default=None):
                asked.append((self, name, default))
                return "answer"

            monkeypatch.setattr(asyncio.BaseTransport, "get_extra_info", method)
            assert transport.get_extra_info("peername", 5) == "answer"
            assert asked == [(transport, "peername", 5)]
            monkeypatch.undo()
            assert transport.get_extra_info("sockname") == name
        datagrams.close()
        await turns(2)

    run(main())
