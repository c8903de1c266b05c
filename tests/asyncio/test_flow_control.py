"""Flow control: water marks, the write buffer, and that gathering writes cannot be noticed.

Here: pause_writing, resume_writing, get_write_buffer_size, limits, drain, partial writes.
Not here: pausing the read side (test_transport_closing.py).
Runs in the main thread; the other end is a plain socket that reads only when it is told to.
Invariant: one body for both loops, for TCP and Unix sockets; stock asyncio passes every test.
"""

from __future__ import annotations

import asyncio
import random
import socket
import struct
from typing import Any

import pytest
from tests.loopback import (
    Recorder,
    SocketPair,
    collect_reports,
    connection,
    readable,
    recv_exactly,
    recv_to_end,
    turns,
    until,
    within,
)


def small(sockets: SocketPair) -> SocketPair:
    """Socket pairs whose sending kernel buffer holds little."""

    def make() -> tuple[socket.socket, socket.socket]:
        near, far = sockets()
        near.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        return near, far

    return make


class Watching(Recorder):
    """Notes how full the write buffer was at each pause and resume."""

    def __init__(self) -> None:
        super().__init__()
        self.sizes: list[tuple[str, int]] = []

    def pause_writing(self) -> None:
        super().pause_writing()
        self.sizes.append(("pause", self.transport.get_write_buffer_size()))

    def resume_writing(self) -> None:
        super().resume_writing()
        self.sizes.append(("resume", self.transport.get_write_buffer_size()))


# Numbers


def test_default_limits(run, sockets):
    async def main():
        async with connection(Recorder, sockets) as (transport, _, _):
            assert transport.get_write_buffer_limits() == (16384, 65536)
            assert transport.get_write_buffer_size() == 0

    run(main())


@pytest.mark.parametrize(
    ("keywords", "limits"),
    [
        ({}, (16384, 65536)),
        ({"high": 1000}, (250, 1000)),
        ({"low": 1000}, (1000, 4000)),
        ({"high": 1000, "low": 10}, (10, 1000)),
        ({"high": 0}, (0, 0)),
        ({"low": 0}, (0, 0)),
        ({"high": 7, "low": 7}, (7, 7)),
        ({"high": None, "low": None}, (16384, 65536)),
        ({"high": 1 << 40}, (1 << 38, 1 << 40)),
        ({"high": 1e6}, (250_000, 1_000_000)),
        ({"high": 2**20 / 2, "low": 10.0}, (10, 2**19)),
    ],
)
def test_limits_follow_from_each_other(run, keywords, limits):
    async def main():
        async with connection() as (transport, _, _):
            transport.set_write_buffer_limits(**keywords)
            assert transport.get_write_buffer_limits() == limits

    run(main())


@pytest.mark.parametrize(
    "keywords", [{"high": -1}, {"low": -1}, {"high": 1, "low": 2}, {"high": float("nan")}]
)
def test_limits_that_make_no_sense_are_refused(run, keywords):
    async def main():
        async with connection() as (transport, _, _):
            with pytest.raises(ValueError, match=r"high \(.*\) must be >= low \(.*\) must be >= 0"):
                transport.set_write_buffer_limits(**keywords)
            assert transport.get_write_buffer_limits() == (16384, 65536)

    run(main())


@pytest.mark.parametrize("high", [float("inf"), 1 << 70])
def test_a_limit_past_all_memory(run, high):
    async def main():
        async with connection(Watching) as (transport, protocol, _):
            transport.set_write_buffer_limits(high=high, low=0)
            transport.write(b"x" * 8_000_000)
            assert "pause_writing" not in protocol.calls

    run(main())


@pytest.mark.parametrize("high", [None, 0, 1, 100_000, 1_000_000])
def test_pausing_above_high_and_resuming_at_low(run, sockets, high):
    async def main():
        async with connection(Watching, sockets) as (transport, protocol, peer):
            if high is not None:
                transport.set_write_buffer_limits(high=high)
            low, above = transport.get_write_buffer_limits()
            transport.write(b"x" * 8_000_000)
            assert protocol.calls[-1] == "pause_writing"
            assert protocol.sizes == [("pause", transport.get_write_buffer_size())]
            assert protocol.sizes[0][1] > above
            transport.write(b"y" * 1000)
            await turns(5)
            assert protocol.calls.count("pause_writing") == 1
            assert len(await recv_exactly(peer, 8_001_000)) == 8_001_000
            await until(lambda: len(protocol.sizes) == 2)
            name, size = protocol.sizes[1]
            assert name == "resume"
            assert size <= low
            assert protocol.calls == ["connection_made", "pause_writing", "resume_writing"]

    run(main())


def test_writelines_counts_as_write_does(run, sockets):
    async def main():
        async with connection(Watching, sockets) as (transport, protocol, peer):
            transport.writelines([b"x" * 10_000] * 800)
            assert transport.get_write_buffer_size() > 65536
            transport.write(b"z")  # asyncio's writelines forgets to pause in some versions
            assert protocol.calls[-1] == "pause_writing"
            assert len(await recv_exactly(peer, 8_000_001)) == 8_000_001
            await until(lambda: protocol.calls[-1] == "resume_writing")

    run(main())


def test_small_writes_pause_at_the_write_that_crosses(run, sockets):
    """A loop that writes until it is paused ends, within one callback."""

    async def main():
        async with connection(Watching, small(sockets)) as (transport, protocol, peer):
            written = 0
            while not protocol.sizes:
                transport.write(b"x" * 1000)
                written += 1000
                assert written < 50_000_000
            assert 65536 < protocol.sizes[0][1] <= 65536 + 1000
            assert len(await recv_exactly(peer, written)) == written
            await until(lambda: len(protocol.sizes) == 2)

    run(main())


def test_raising_the_limit_does_not_matter_until_the_next_write(run, sockets):
    async def main():
        async with connection(Watching, small(sockets)) as (transport, protocol, peer):
            transport.write(b"x" * 1_000_000)
            assert [name for name, _ in protocol.sizes] == ["pause"]
            transport.set_write_buffer_limits(high=10_000_000)
            await turns(3)
            transport.write(b"x")
            assert await recv_exactly(peer, 1_000_001) == b"x" * 1_000_001
            await until(lambda: len(protocol.sizes) == 2)

    run(main())


@pytest.mark.parametrize("high", [0, 1, 100])
def test_what_the_kernel_takes_at_once_never_pauses(run, sockets, high):
    async def main():
        async with connection(Watching, sockets) as (transport, protocol, peer):
            transport.set_write_buffer_limits(high=high)
            for _ in range(5):
                for _ in range(10):
                    transport.write(b"x" * 200)
                    assert transport.get_write_buffer_size() == 0
                transport.writelines([b"y" * 100] * 20)
                assert transport.get_write_buffer_size() == 0
                assert len(await recv_exactly(peer, 4000)) == 4000
            assert protocol.calls == ["connection_made"]

    run(main())


def test_drain_waits_exactly_while_writing_is_paused(run, sockets):
    async def main():
        loop = asyncio.get_running_loop()
        near, far = small(sockets)()
        with far:
            opener = (
                asyncio.open_connection
                if near.family == socket.AF_INET
                else asyncio.open_unix_connection
            )
            _, writer = await opener(sock=near)
            writer.transport.set_write_buffer_limits(high=0)
            writer.write(b"x" * 1_000_000)
            draining = asyncio.ensure_future(writer.drain())
            await turns(5)
            assert not draining.done()
            receiving = asyncio.ensure_future(recv_exactly(far, 1_000_000))
            await within(draining)
            assert writer.transport.get_write_buffer_size() == 0
            assert await receiving == b"x" * 1_000_000
            assert loop.is_running()
            writer.close()
            await writer.wait_closed()

    run(main())


def test_drain_with_a_high_mark_of_zero_means_the_kernel_has_it_all(run, sockets):
    async def main():
        near, far = small(sockets)()
        opener = (
            asyncio.open_connection
            if near.family == socket.AF_INET
            else asyncio.open_unix_connection
        )
        with far:
            _, writer = await opener(sock=near)
            writer.transport.set_write_buffer_limits(high=0)
            receiving = asyncio.ensure_future(recv_to_end(far))
            for number in range(100):
                writer.write(bytes([number]) * 20_000)
                await within(writer.drain())
                assert writer.transport.get_write_buffer_size() == 0
            writer.close()
            assert len(await receiving) == 2_000_000
            await writer.wait_closed()

    run(main())


# The buffer


def test_a_small_write_leaves_nothing_buffered(run, sockets):
    async def main():
        async with connection(Recorder, sockets) as (transport, _, peer):
            transport.write(b"x" * 100)
            assert transport.get_write_buffer_size() == 0
            assert await recv_exactly(peer, 100) == b"x" * 100

    run(main())


def test_the_buffer_size_counts_what_the_kernel_has_not_taken(run, sockets):
    async def main():
        async with connection(Recorder, small(sockets)) as (transport, _, peer):
            transport.write(b"x" * 1_000_000)
            first = transport.get_write_buffer_size()
            assert 0 < first < 1_000_000
            transport.write(b"y" * 10)
            assert transport.get_write_buffer_size() == first + 10
            transport.writelines([b"z", b"z" * 9])
            assert 0 < transport.get_write_buffer_size() <= first + 20
            assert len(await recv_exactly(peer, 500_000)) == 500_000
            await turns(3)
            assert transport.get_write_buffer_size() < first
            assert len(await recv_exactly(peer, 500_020)) == 500_020
            await until(lambda: transport.get_write_buffer_size() == 0)

    run(main())


def test_partial_writes_keep_the_stream_exact(run, sockets):
    """A tiny kernel buffer takes every write in bits."""
    pick = random.Random(9)
    data = pick.randbytes(2_000_000)

    async def main():
        async with connection(Recorder, small(sockets)) as (transport, _, peer):
            receiving = asyncio.ensure_future(recv_to_end(peer))
            position = 0
            while position < len(data):
                size = pick.choice((1, 10, 1000, 30_000, 100_000))
                chunk = data[position : position + size]
                if pick.randrange(2):
                    transport.write(chunk)
                else:
                    cut = pick.randrange(len(chunk) + 1)
                    transport.writelines([chunk[:cut], chunk[cut:]])
                position += size
                if pick.randrange(3) == 0:
                    await turns(1)
            transport.close()
            assert await receiving == data

    run(main())


def test_changing_protocol_while_paused_resumes_the_new_one(run, sockets):
    async def main():
        async with connection(Recorder, small(sockets)) as (transport, first, peer):
            transport.write(b"x" * 500_000)
            assert first.calls[-1] == "pause_writing"
            second = Recorder()
            transport.set_protocol(second)
            assert len(await recv_exactly(peer, 500_000)) == 500_000
            await until(lambda: second.calls)
            assert second.calls == ["resume_writing"]
            assert first.calls[-1] == "pause_writing"

    run(main())


def test_closing_while_paused_flushes_without_a_resume_being_needed(run, sockets):
    async def main():
        async with connection(Recorder, small(sockets)) as (transport, protocol, peer):
            transport.write(b"x" * 500_000)
            transport.close()
            assert len(await recv_to_end(peer)) == 500_000
            assert await within(protocol.lost) is None

    run(main())


def test_a_stalled_peer_is_noticed_and_its_memory_given_back(run):
    """60 MB queued to a peer that does not read: pause_writing came, abort drops it all."""

    def resident() -> int:
        with open("/proc/self/statm", encoding="ascii") as statm:
            return int(statm.read().split()[1]) * 4096

    async def main():
        async with connection(Recorder) as (transport, protocol, _):
            chunk = bytes(1_000_000)
            transport.write(chunk)
            before = resident()
            for number in range(60):
                transport.write(bytes([number]) * 1_000_000)
            assert "pause_writing" in protocol.calls
            assert transport.get_write_buffer_size() > 50_000_000
            transport.abort()
            assert transport.get_write_buffer_size() == 0
            await within(protocol.lost)
            await turns(2)
            assert resident() < before + 30_000_000

    run(main())


def test_a_paused_reader_bounds_what_is_taken_from_a_firehose(run, sockets, recorder):
    """Nothing is read while paused; what was sent meanwhile arrives whole after resuming."""

    async def main():
        loop = asyncio.get_running_loop()
        async with connection(recorder, small(sockets)) as (transport, protocol, peer):
            transport.pause_reading()
            sending = asyncio.ensure_future(loop.sock_sendall(peer, b"x" * 5_000_000))
            await turns(20)
            assert protocol.received == b""
            assert not sending.done()
            transport.resume_reading()
            await protocol.wait_received(5_000_000)
            await within(sending)

    run(main())


# Gathered writes cannot be noticed


def test_writes_to_several_transports_keep_each_streams_order(run, sockets):
    async def main():
        async with (
            connection(Recorder, sockets) as (first, _, first_peer),
            connection(Recorder, sockets) as (second, _, second_peer),
        ):
            for number in range(500):
                first.write(b"a%d;" % number)
                second.writelines([b"b%d" % number, b";"])
            expected_first = b"".join(b"a%d;" % number for number in range(500))
            expected_second = b"".join(b"b%d;" % number for number in range(500))
            assert await recv_exactly(first_peer, len(expected_first)) == expected_first
            assert await recv_exactly(second_peer, len(expected_second)) == expected_second

    run(main())


def test_small_and_large_writes_in_one_turn_keep_their_order(run, sockets):
    pick = random.Random(10)

    async def main():
        async with connection(Recorder, sockets) as (transport, _, peer):
            expected = bytearray()
            receiving = asyncio.ensure_future(recv_to_end(peer))
            for _ in range(40):
                for _ in range(pick.randrange(1, 6)):
                    data = pick.randbytes(pick.choice((0, 1, 50, 65_536, 65_537, 300_000)))
                    transport.write(data)
                    expected += data
                await turns(pick.randrange(2))
            transport.write_eof()
            assert await receiving == expected

    run(main())


@pytest.mark.parametrize("ending", ["close", "abort", "write_eof"])
def test_a_small_write_before_the_end_is_sent(run, sockets, ending):
    async def main():
        async with connection(Recorder, sockets) as (transport, _, peer):
            transport.write(b"small")
            transport.write(b" words")
            getattr(transport, ending)()
            assert await recv_to_end(peer) == b"small words"

    run(main())


def test_a_write_is_sent_before_the_loop_blocks(run, sockets):
    """The reply leaves although nothing else ever happens on the loop."""

    async def main():
        async with connection(Recorder, sockets) as (transport, protocol, peer):
            for number in range(50):
                transport.write(b"ping")
                assert await recv_exactly(peer, 4) == b"ping"
                peer.send(b"pong")
                await protocol.wait_received(4 * (number + 1))

    run(main())


@pytest.mark.parametrize("where", ["soon", "timer", "reader", "data", "done", "task"])
def test_a_write_from_any_kind_of_callback_is_sent(run, sockets, where):
    class Answering(Recorder):
        def data_received(self, data):
            super().data_received(data)
            if where == "data":
                self.transport.write(b"answer")

    async def main():
        loop = asyncio.get_running_loop()
        async with connection(Answering, sockets) as (transport, _, peer):
            left, right = socket.socketpair()
            with left, right:
                left.setblocking(False)
                if where == "soon":
                    loop.call_soon(transport.write, b"answer")
                elif where == "timer":
                    loop.call_later(0.001, transport.write, b"answer")
                elif where == "reader":
                    right.send(b"x")
                    loop.add_reader(left, lambda: (left.recv(1), transport.write(b"answer")))
                elif where == "data":
                    peer.send(b"question")
                elif where == "done":
                    future = loop.create_future()
                    future.add_done_callback(lambda _: transport.write(b"answer"))
                    future.set_result(None)
                else:

                    async def task():
                        await asyncio.sleep(0)
                        transport.write(b"answer")

                    await asyncio.ensure_future(task())
                assert await recv_exactly(peer, 6) == b"answer"
                loop.remove_reader(left)

    run(main())


def test_a_write_and_the_peers_answer_in_the_next_turns(run, sockets):
    """What one turn writes is with the peer a turn later."""

    async def main():
        async with connection(Recorder, sockets) as (transport, _, peer):
            transport.write(b"x")
            await turns(2)
            assert readable(peer, 0)
            assert peer.recv(10) == b"x"

    run(main())


def test_a_write_error_is_told_once(run, caplog):
    """The peer reset the connection; several writes of one turn end in one connection_lost."""

    async def main():
        reports = collect_reports(asyncio.get_running_loop())
        async with connection(Recorder) as (transport, protocol, peer):
            transport.pause_reading()
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            peer.close()
            for _ in range(4):
                transport.write(b"x")
            exc: Any = await within(protocol.lost)
            assert isinstance(exc, (ConnectionResetError, BrokenPipeError))
            await turns(3)
            assert protocol.calls == ["connection_made", "connection_lost"]
        assert reports == []

    run(main())
