"""The end: what was received is stored and answered, within the deadline."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from collecting import Run, collecting, configure
from logcollector.block import Batch
from logcollector.service import Ending, Service
from logcollector.sinks.base import Stored
from logcollector.sinks.sqlite import SqliteSink
from peers import Peer, rows, until

Settings = dict[str, object]


@asynccontextmanager
async def started(
    settings: Settings, **more: object
) -> AsyncIterator[tuple[Service, asyncio.Task[Ending]]]:
    service = Service(configure(**{**settings, **more}))
    await service.open()
    task = asyncio.create_task(service.run())
    yield service, task
    await asyncio.wait((task,))


def test_what_is_queued_is_stored_and_answered(
    run: Run, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> None:
        gate = asyncio.Event()
        original = SqliteSink.write_batch

        async def write(sink: SqliteSink, batch: Batch) -> Stored:
            await gate.wait()
            return await original(sink, batch)

        monkeypatch.setattr(SqliteSink, "write_batch", write)
        async with started(settings) as (service, task), Peer(service) as peer:
            peer.send(b"a\nb\n")
            await until(lambda: service.metrics.received_lines == 2)
            service.stopping.set()
            await until(lambda: service.receiver.draining)
            peer.send(b"too late\n")
            gate.set()
            assert await peer.rest() == b"ok\nok\n"
            peer.writer.close()
            ending = await task
            assert ending.drained
            assert ending.unanswered == 0
        assert rows(settings) == ["a", "b"]

    run(main())


def test_the_deadline_ends_waiting_and_says_so(
    run: Run, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> None:
        async def write(sink: SqliteSink, batch: Batch) -> Stored:
            await asyncio.get_running_loop().create_future()
            return Stored()

        monkeypatch.setattr(SqliteSink, "write_batch", write)
        async with started(settings, drain="50ms") as (service, task), Peer(service) as peer:
            peer.send(b"a\nb\n")
            await until(lambda: service.metrics.received_lines == 2)
            service.stopping.set()
            ending = await task
            assert not ending.drained
            assert ending.unanswered == 2
            assert await peer.rest() == b""

    run(main())


def test_nobody_new_is_served(run: Run, settings: Settings) -> None:
    async def main() -> None:
        async with started(settings) as (service, task), Peer(service) as peer:
            address = service.receiver.addresses[0]
            peer.send(b"a\n")
            await peer.answers(1)
            service.stopping.set()
            assert await peer.rest() == b""
            peer.writer.close()
            await task
            with pytest.raises(OSError, match=r"111|refused"):
                await asyncio.open_connection(*address)

    run(main())


def test_a_spool_keeps_what_the_sink_does_not_take(
    run: Run, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> None:
        spool = {"ack": "spool", "spool": str(settings["sink"]).removeprefix("sqlite:") + ".spool"}

        async def write(sink: SqliteSink, batch: Batch) -> Stored:
            await asyncio.get_running_loop().create_future()
            return Stored()

        with monkeypatch.context() as patch:
            patch.setattr(SqliteSink, "write_batch", write)
            async with started(settings, **spool) as (service, task), Peer(service) as peer:
                peer.send(b"a\nb\n@x:1 c\n")
                assert await peer.answers(3) == [b"ok\n"] * 3
                service.stopping.set()
                assert await peer.rest() == b""
                peer.writer.close()
                ending = await task
                assert ending.drained
                assert ending.spooled == 3
        async with collecting(settings, **spool) as service:
            assert service.spool is not None
            await until(lambda: service.metrics.stored_lines == 3)
            async with Peer(service) as peer:
                peer.send(b"d\n")
                assert await peer.answers(1) == [b"ok\n"]
                await until(lambda: service.metrics.stored_lines == 4)
            assert service.spool.pending_lines == 0
        assert sorted(rows(settings)) == ["a", "b", "c", "d"]
        async with collecting(settings, **{**spool, "ack": "commit"}) as service:
            assert service.spool is not None
            assert service.spool.pending_lines == 0

    run(main())
