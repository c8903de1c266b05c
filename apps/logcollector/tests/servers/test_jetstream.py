"""The JetStream sink on a cluster of three servers on this machine."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from collecting import Run, collecting
from collector_processes import MissingProgramError, Nats, free_port, program
from logcollector.block import Batch, Block
from logcollector.sinks.base import UnavailableError
from logcollector.sinks.jetstream import JetStreamSink, messages, parts
from peers import Peer, until

Settings = dict[str, object]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Nats]]:
    try:
        program("nats-server")
    except MissingProgramError as error:
        pytest.skip(f"{error}: apt-get install nats-server")
    routes = [free_port() for _ in range(3)]
    folder = tmp_path_factory.mktemp("nats")
    servers = [Nats(folder / f"n{n}", f"n{n}", routes, routes[n]) for n in range(3)]
    for server in servers:
        server.start()
    yield servers
    for server in servers:
        server.end(signal.SIGKILL)


def urls(cluster: list[Nats]) -> str:
    return ",".join(server.url for server in cluster)


async def stored(cluster: list[Nats], stream: str) -> list[tuple[str, bytes]]:
    """Every message of a stream."""
    import nats

    client = await nats.connect(servers=[server.url for server in cluster])
    try:
        context: Any = client.jetstream()
        info = await context.stream_info(stream)
        found = []
        for number in range(1, info.state.messages + 1):
            message = await context.get_msg(stream, number)
            found.append((message.subject, message.data))
        return found
    finally:
        await client.close()


def test_lines_outlive_a_server_of_three(run: Run, cluster: list[Nats], settings: Settings) -> None:
    name = f"L{time.monotonic_ns()}"

    async def main() -> None:
        settings["sink"] = urls(cluster)
        settings["sink_timeout"] = "3s"
        async with collecting(settings, nats_stream=name, nats_replicas=3) as service:
            await until(lambda: not service.troubles)
            async with Peer(service) as peer:
                peer.send(b"one\ntwo\n@a:1 three\n@a:1 three\n")
                assert await peer.answers(4) == [b"ok\n"] * 4
                victim = cluster[0]
                await asyncio.to_thread(victim.end, signal.SIGKILL)
                try:
                    peer.send(b"four\n")
                    assert await peer.answers(1) == [b"ok\n"]
                finally:
                    await asyncio.to_thread(victim.start)
                assert service.metrics.duplicate_lines == 1
        found = await stored(cluster, name)
        assert {subject for subject, _ in found} == {f"{name}.lines"}
        lines = sorted(line for _, data in found for line in data.split(b"\n") if line)
        assert lines == [b"four", b"one", b"three", b"two"]

    run(main())


@contextlib.asynccontextmanager
async def opened(sink: JetStreamSink) -> AsyncIterator[JetStreamSink]:
    """As the writer does it: a cluster that a server came back to may be choosing its leader."""
    try:
        while True:
            try:
                await sink.open()
                break
            except UnavailableError:
                await sink.close()
        yield sink
    finally:
        await sink.close()


def test_a_repeated_batch_is_recognised(run: Run, cluster: list[Nats]) -> None:
    name = f"L{time.monotonic_ns()}"

    async def main() -> None:
        async with opened(JetStreamSink(urls(cluster), stream=name, replicas=1)) as sink:
            batch = Batch([Block(b"a\nb\n", 2, 1.0, "::1"), Block(b"c\n", 1, 1.0, "")])
            await sink.write_batch(batch)
            await sink.write_batch(batch)
            await sink.write_dead(batch, "no\nreason")
            await sink.health()
        found = await stored(cluster, name)
        lines = [data for subject, data in found if subject.endswith(".lines")]
        assert lines == [b"a\nb\n", b"c\n"]

    run(main())


def test_messages_hold_whole_lines() -> None:
    block = Block(b"aaaa\nbb\ncccccccccccc\nd\n", 4, 1.0, "")
    assert list(parts(block, 8)) == [b"aaaa\nbb\n", b"cccccccccccc\n", b"d\n"]
    batch = Batch([block, block])
    ids = [message.id for message in messages(batch, 8)]
    assert len(set(ids)) == 6
    assert ids == [message.id for message in messages(batch, 8)]
