"""What senders cannot do to the collector: each limit, and that it is counted."""

from __future__ import annotations

import asyncio

import pytest

from collecting import Run, collecting
from logcollector import receiver
from logcollector.block import Batch
from logcollector.sinks.base import Stored
from logcollector.sinks.sqlite import SqliteSink
from peers import Peer, rows, until

Settings = dict[str, object]


class Valve:
    """Stops every sink until it is opened."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.open = asyncio.Event()
        original = SqliteSink.write_batch

        async def write(sink: SqliteSink, batch: Batch) -> Stored:
            await self.open.wait()
            return await original(sink, batch)

        monkeypatch.setattr(SqliteSink, "write_batch", write)


def test_a_full_queue_stops_the_sender_and_drops_nothing(
    run: Run, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> None:
        valve = Valve(monkeypatch)
        limits = {"connection_bytes": "200KiB", "queue_bytes": "400KiB", "batch_bytes": "100KiB"}
        count = 30_000
        async with collecting(settings, **limits) as service, Peer(service) as peer:
            lines = b"".join(b"%06d %s\n" % (n, b"x" * 900) for n in range(count))
            peer.send(lines)
            await until(lambda: service.receiver.gate.size > 200 * 1024)
            for _ in range(50):
                await asyncio.sleep(0.001)
            (connection,) = service.receiver.connections
            assert connection.held
            assert service.receiver.gate.most_size <= 400 * 1024 + 2 * receiver.READ_SIZE
            assert peer.writer.transport.get_write_buffer_size() > 10_000_000
            valve.open.set()
            assert await peer.answers(count) == [b"ok\n"] * count
            assert service.receiver.gate.size == service.receiver.gate.lines == 0
        assert rows(settings, "SELECT count(*) FROM log") == [count]

    run(main())


def test_one_queue_for_all_is_shared_fairly(
    run: Run, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> None:
        valve = Valve(monkeypatch)
        limits = {
            "queue_lines": 1000,
            "connection_lines": 1000,
            "batch_lines": 100,
            "queue_bytes": "1MiB",
            "connection_bytes": "1MiB",
            "batch_bytes": "64KiB",
        }
        async with collecting(settings, **limits) as service:
            peers = [Peer(service) for _ in range(20)]
            for peer in peers:
                await peer.__aenter__()
                peer.send(b"x" * 50 + b"\n")
            await until(lambda: service.receiver.gate.lines == 20)
            for peer in peers:
                peer.send((b"x" * 50 + b"\n") * 2000)
            await until(lambda: service.receiver.gate.closed)
            assert service.metrics.gauges()["paused_connections"] > 0
            valve.open.set()
            for peer in peers:
                assert await peer.answers(2001) == [b"ok\n"] * 2001
                await peer.__aexit__()
            assert service.receiver.gate.closings >= 1
        assert rows(settings, "SELECT count(*) FROM log") == [20 * 2001]

    run(main())


def test_who_does_not_read_answers_is_not_read(run: Run, settings: Settings) -> None:
    async def main() -> None:
        async with collecting(settings) as service, Peer(service) as peer:
            await until(lambda: service.receiver.connections)
            (connection,) = service.receiver.connections
            connection.pause_writing()
            assert connection.held
            peer.send(b"waits\n")
            await asyncio.sleep(0.01)
            assert service.metrics.received_lines == 0
            connection.resume_writing()
            assert await peer.answers(1) == [b"ok\n"]

    run(main())


def test_pausing_after_the_end_does_not_cost_the_answers(
    run: Run, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> None:
        valve = Valve(monkeypatch)
        async with collecting(settings) as service, Peer(service) as peer:
            peer.send(b"a\nb\n")
            peer.writer.write_eof()
            await until(lambda: service.metrics.received_lines == 2)
            (connection,) = service.receiver.connections
            await until(lambda: connection.ending)
            connection.gate_closed()
            connection.gate_opened()
            async with Peer(service) as other:  # the loop has been around
                other.send(b"x" * 100_000 + b"\n")
                assert await other.answers(1) == [b"err too long\n"]
            assert not connection.lost
            valve.open.set()
            assert await peer.rest() == b"ok\nok\n"

    run(main())


def test_too_many_connections_are_told(run: Run, settings: Settings) -> None:
    async def main() -> None:
        async with collecting(settings, max_connections=2) as service:
            async with Peer(service) as one, Peer(service) as two:
                one.send(b"a\n")
                two.send(b"b\n")
                assert await one.answers(1) + await two.answers(1) == [b"ok\n"] * 2
                async with Peer(service) as third:
                    assert await third.rest() == b"err busy\n"
            await until(lambda: not service.receiver.connections)
            async with Peer(service) as fourth:
                fourth.send(b"c\n")
                assert await fourth.answers(1) == [b"ok\n"]
            assert service.metrics.refused_connections == 1

    run(main())


def test_too_many_from_one_address(run: Run, settings: Settings) -> None:
    async def main() -> None:
        async with collecting(settings, max_connections_per_peer=1) as service:
            async with Peer(service) as one:
                one.send(b"a\n")
                await one.answers(1)
                async with Peer(service) as two:
                    assert await two.rest() == b"err busy\n"

    run(main())


def test_a_line_has_to_arrive_in_time(
    run: Run, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> None:
        monkeypatch.setattr(receiver, "SWEEP", 0.02)
        async with collecting(settings, line_timeout="60ms") as service:
            async with Peer(service) as slow, Peer(service) as quiet:
                slow.send(b"whole\nnever fini")
                assert await slow.rest() == b"ok\nerr timeout\n"
                assert service.metrics.slow_connections == 1
                quiet.send(b"still here\n")
                assert await quiet.answers(1) == [b"ok\n"]

    run(main())


def test_slow_bytes_do_not_count_as_progress(
    run: Run, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> None:
        monkeypatch.setattr(receiver, "SWEEP", 0.02)

        async def drip(peer: Peer) -> None:
            while True:
                peer.send(b"x")
                await asyncio.sleep(0.01)

        async with collecting(settings, line_timeout="60ms") as service, Peer(service) as peer:
            dripping = asyncio.create_task(drip(peer))
            assert await peer.answers(1) == [b"err timeout\n"]
            dripping.cancel()
            await asyncio.wait((dripping,))

    run(main())


def test_idle_connections_end_if_asked_for(
    run: Run, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> None:
        monkeypatch.setattr(receiver, "SWEEP", 0.02)
        async with collecting(settings, idle_timeout="60ms") as service, Peer(service) as peer:
            assert await peer.rest() == b"err timeout\n"
            assert service.metrics.idle_connections == 1

    run(main())
