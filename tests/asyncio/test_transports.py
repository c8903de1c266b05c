"""Stream transports: data both ways, and how either end ends its half.

Here: what a protocol sees from connection_made to the peer's end.
Not here: closing (test_transport_closing.py), looks (test_transport_looks.py), flow control
(test_flow_control.py), failures (test_transport_failures.py).
Runs in the main thread; the other end is a plain socket.
Invariant: one body for both loops, for TCP and Unix sockets, for Protocol and BufferedProtocol;
stock asyncio passes every test.
"""

from __future__ import annotations

import array
import asyncio
import random
import socket
from typing import Any

import pytest
from tests.loopback import (
    BufferedRecorder,
    Recorder,
    connection,
    recv_exactly,
    recv_to_end,
    turns,
    within,
)


def received_call(protocol: Any) -> str:
    return "buffer_updated" if isinstance(protocol, BufferedRecorder) else "data_received"


# Data


def test_the_life_of_a_connection(run, sockets, recorder):
    async def main():
        loop = asyncio.get_running_loop()
        async with connection(recorder, sockets) as (transport, protocol, peer):
            assert protocol.calls == ["connection_made"]
            assert protocol.transport is transport
            await loop.sock_sendall(peer, b"hello")
            await protocol.wait_received(5)
            assert bytes(protocol.received) == b"hello"
            transport.write(b"goodbye")
            assert await recv_exactly(peer, 7) == b"goodbye"
            transport.close()
            assert await within(protocol.lost) is None
            assert await recv_to_end(peer) == b""
            assert protocol.calls == ["connection_made", received_call(protocol), "connection_lost"]

    run(main())


def test_connection_made_comes_before_the_call_returns_and_before_any_data(run, sockets, recorder):
    async def main():
        near, far = sockets()
        far.send(b"early")
        with far:
            loop = asyncio.get_running_loop()
            create = (
                loop.create_connection
                if near.family == socket.AF_INET
                else loop.create_unix_connection
            )
            transport, protocol = await create(recorder, sock=near)
            assert protocol.calls[0] == "connection_made"
            await protocol.wait_received(5)
            assert bytes(protocol.received) == b"early"
            transport.close()
            await within(protocol.lost)

    run(main())


def test_a_large_stream_arrives_byte_for_byte_both_ways(run, sockets, recorder):
    pick = random.Random(4)
    there, back = pick.randbytes(3_000_000), pick.randbytes(2_000_000)

    async def main():
        loop = asyncio.get_running_loop()
        async with connection(recorder, sockets) as (transport, protocol, peer):
            position = 0
            while position < len(there):
                size = pick.choice((1, 100, 5_000, 70_000, 300_000))
                transport.write(there[position : position + size])
                position += size
            transport.write_eof()
            _, received = await asyncio.gather(loop.sock_sendall(peer, back), recv_to_end(peer))
            await protocol.wait_received(len(back))
            assert received == there
            assert bytes(protocol.received) == back

    run(main())


def test_an_echo_of_many_small_messages(run, sockets, recorder):
    class Echo(Recorder):
        def data_received(self, data):
            super().data_received(data)
            self.transport.write(data)

    async def main():
        near, far = sockets()
        loop = asyncio.get_running_loop()
        async with connection(Echo, lambda: (near, far)) as (_, _, peer):
            for number in range(300):
                message = b"%d" % number
                await loop.sock_sendall(peer, message)
                assert await recv_exactly(peer, len(message)) == message

    run(main())


@pytest.mark.parametrize("size", [1, 100, 16 * 1024 + 1, 1 << 18])
def test_a_buffered_protocol_with_buffers_of_any_size(run, sockets, size):
    class Sized(BufferedRecorder):
        pass

    Sized.size = size
    data = random.Random(5).randbytes(3000 if size < 100 else 300_000)

    async def main():
        loop = asyncio.get_running_loop()
        async with connection(Sized, sockets) as (_, protocol, peer):
            await loop.sock_sendall(peer, data)
            await protocol.wait_received(len(data))
            assert bytes(protocol.received) == data
            assert set(protocol.hints) == {-1}

    run(main())


@pytest.mark.parametrize("kind", [bytearray, memoryview, "slice"])
def test_get_buffer_may_return_any_writable_buffer(run, kind):
    class Kind(BufferedRecorder):
        def get_buffer(self, sizehint):
            if kind == "slice":
                return memoryview(self.buffer)[:10]
            return kind(self.buffer) if kind is memoryview else self.buffer

    async def main():
        loop = asyncio.get_running_loop()
        async with connection(Kind) as (_, protocol, peer):
            await loop.sock_sendall(peer, b"x" * 2345)
            await protocol.wait_received(2345)
            assert bytes(protocol.received) == b"x" * 2345

    run(main())


def test_what_data_received_gets_is_bytes_of_its_own(run, sockets):
    """The objects handed out stay as they were although the buffer is used again."""
    kept: list[bytes] = []

    class Keep(Recorder):
        def data_received(self, data):
            kept.append(data)
            super().data_received(data)

    async def main():
        loop = asyncio.get_running_loop()
        async with connection(Keep, sockets) as (_, protocol, peer):
            total = 0
            for number in range(50):
                message = bytes([number]) * (1 + number * 97)
                await loop.sock_sendall(peer, message)
                total += len(message)
                await protocol.wait_received(total)
            assert all(type(data) is bytes for data in kept)
            assert b"".join(kept) == bytes(protocol.received)

    run(main())


# What may be written


@pytest.mark.parametrize(
    "data",
    [b"data", bytearray(b"data"), memoryview(b"data"), memoryview(b"xdatax")[1:5]],
    ids=["bytes", "bytearray", "memoryview", "slice"],
)
def test_bytes_like_things_can_be_written(run, sockets, data):
    async def main():
        async with connection(Recorder, sockets) as (transport, _, peer):
            transport.write(data)
            assert await recv_exactly(peer, 4) == b"data"

    run(main())


@pytest.mark.parametrize("data", ["text", 42, None, [1], object(), array.array("b", b"data")])
def test_other_things_cannot_be_written(run, data):
    async def main():
        async with connection() as (transport, _, peer):
            with pytest.raises(TypeError):
                transport.write(data)
            transport.write(b"alive")
            assert await recv_exactly(peer, 5) == b"alive"

    run(main())


def test_a_released_view_cannot_be_written(run):
    async def main():
        async with connection() as (transport, _, peer):
            view = memoryview(b"data")
            view.release()
            with pytest.raises(ValueError, match="released memoryview"):
                transport.write(view)
            transport.write(b"alive")
            assert await recv_exactly(peer, 5) == b"alive"

    run(main())


@pytest.mark.loops("rulip")  # asyncio: the connection is lost with this error
def test_a_view_with_gaps_cannot_be_written(run):
    async def main():
        async with connection() as (transport, _, peer):
            with pytest.raises(BufferError, match="not C-contiguous"):
                transport.write(memoryview(b"abcdef")[::2])
            with pytest.raises(BufferError, match="not C-contiguous"):
                transport.writelines([b"x", memoryview(b"abcdef")[::2]])
            transport.write(b"alive")
            assert await recv_exactly(peer, 5) == b"alive"

    run(main())


def test_the_text_of_a_wrong_type(run):
    async def main():
        async with connection() as (transport, _, _):
            with pytest.raises(
                TypeError, match=r"data argument must be a bytes.*-like object, not '?str'?|str"
            ):
                transport.write("text")

    run(main())


def test_writing_nothing_is_nothing(run, sockets):
    async def main():
        async with connection(Recorder, sockets) as (transport, protocol, peer):
            transport.write(b"")
            transport.write(bytearray())
            transport.writelines([])
            transport.writelines([b"", b""])
            assert transport.get_write_buffer_size() == 0
            transport.write(b"end")
            assert await recv_exactly(peer, 3) == b"end"
            assert protocol.calls == ["connection_made"]

    run(main())


def test_writelines_keeps_order_among_writes(run, sockets):
    async def main():
        async with connection(Recorder, sockets) as (transport, _, peer):
            transport.write(b"a")
            transport.writelines([b"b", bytearray(b"c"), memoryview(b"d")])
            transport.write(b"e")
            transport.writelines(iter([b"f", b"g"]))
            transport.writelines(part for part in (b"h", b"i"))
            assert await recv_exactly(peer, 9) == b"abcdefghi"

    run(main())


def test_more_parts_than_one_system_call_takes(run, sockets):
    """5,000 parts in one writelines: byte for byte."""
    parts = [b"%d;" % number for number in range(5000)]

    async def main():
        async with connection(Recorder, sockets) as (transport, _, peer):
            transport.writelines(parts)
            expected = b"".join(parts)
            assert await recv_exactly(peer, len(expected)) == expected
            for part in parts:
                transport.write(part)
            assert await recv_exactly(peer, len(expected)) == expected

    run(main())


# The end of a stream


def test_the_peers_end_closes_the_transport(run, sockets, recorder):
    async def main():
        async with connection(recorder, sockets) as (transport, protocol, peer):
            peer.close()
            assert await within(protocol.lost) is None
            assert protocol.calls == ["connection_made", "eof_received", "connection_lost"]
            assert transport.is_closing()

    run(main())


def test_data_before_the_end_comes_first(run, sockets, recorder):
    async def main():
        async with connection(recorder, sockets) as (_, protocol, peer):
            peer.send(b"last words")
            peer.close()
            assert await within(protocol.lost) is None
            assert bytes(protocol.received) == b"last words"
            assert protocol.calls == [
                "connection_made",
                received_call(protocol),
                "eof_received",
                "connection_lost",
            ]

    run(main())


def test_eof_received_may_keep_the_transport_open_for_writing(run, sockets, recorder):
    """The peer ends its half first and still gets the whole reply; eof_received comes once."""
    reply = random.Random(6).randbytes(2_000_000)

    class Keeping(recorder):
        keep_open = True

    async def main():
        async with connection(Keeping, sockets) as (transport, protocol, peer):
            peer.send(b"request")
            peer.shutdown(socket.SHUT_WR)
            await within(protocol.ended)
            await turns(5)
            assert not transport.is_closing()
            assert bytes(protocol.received) == b"request"
            transport.write(reply)
            transport.close()
            assert await recv_to_end(peer) == reply
            assert await within(protocol.lost) is None
            assert protocol.calls.count("eof_received") == 1

    run(main())


def test_a_reply_from_within_eof_received_is_flushed(run, sockets, recorder):
    """The transport that closes itself after the peer's end first sends what was written."""

    class Replying(recorder):
        def eof_received(self):
            super().eof_received()
            self.transport.write(b"reply" * 1000)

    async def main():
        async with connection(Replying, sockets) as (_, protocol, peer):
            peer.shutdown(socket.SHUT_WR)
            assert await recv_to_end(peer) == b"reply" * 1000
            assert await within(protocol.lost) is None

    run(main())


def test_write_eof_ends_our_half_only(run, sockets, recorder):
    """We end our half first, and still receive the whole reply."""

    async def main():
        async with connection(recorder, sockets) as (transport, protocol, peer):
            assert transport.can_write_eof() is True
            transport.write(b"request")
            transport.write_eof()
            transport.write_eof()
            assert await recv_to_end(peer) == b"request"
            assert not transport.is_closing()
            peer.send(b"reply")
            await protocol.wait_received(5)
            peer.close()
            assert await within(protocol.lost) is None
            assert bytes(protocol.received) == b"reply"

    run(main())


def test_write_eof_waits_for_what_is_buffered(run, sockets):
    # More than both ends' kernel buffers can grow to.
    data = random.Random(7).randbytes(16_000_000)

    async def main():
        async with connection(Recorder, sockets) as (transport, _, peer):
            transport.write(data)
            assert transport.get_write_buffer_size() > 0
            transport.write_eof()
            assert await recv_to_end(peer) == data

    run(main())


def test_writing_after_write_eof_is_refused(run):
    async def main():
        async with connection() as (transport, _, peer):
            transport.write_eof()
            with pytest.raises(RuntimeError, match=r"Cannot call write\(\) after write_eof\(\)"):
                transport.write(b"x")
            with pytest.raises(RuntimeError, match=r"Cannot call write(lines)?\(\) after"):
                transport.writelines([b"x"])
            assert await recv_to_end(peer) == b""
            transport.close()
            with pytest.raises(RuntimeError, match=r"Cannot call write\(\) after write_eof\(\)"):
                transport.write(b"x")

    run(main())


def test_both_ends_end_their_half(run, sockets, recorder):
    class Keeping(recorder):
        keep_open = True

    async def main():
        async with connection(Keeping, sockets) as (transport, protocol, peer):
            transport.write_eof()
            peer.shutdown(socket.SHUT_WR)
            await within(protocol.ended)
            await turns(5)
            assert "connection_lost" not in protocol.calls
            transport.close()
            assert await within(protocol.lost) is None

    run(main())
