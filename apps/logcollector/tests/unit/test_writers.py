"""Writers and a sink that fails in every way it may."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from collecting import Run
from logcollector.block import Batch, Block
from logcollector.metrics import Metrics
from logcollector.sinks.base import RefusedError, Stored, UnavailableError
from logcollector.writers import Writer, WriterPool


class Store:
    """What all sinks of a test write into."""

    def __init__(self) -> None:
        self.lines: list[bytes] = []
        self.ids: set[object] = set()
        self.dead: list[tuple[bytes, str]] = []
        self.opened = 0
        self.closed = 0
        self.plan: list[Callable[[], None]] = []  # what the next calls do
        self.poison = b"poison"


class FakeSink:
    def __init__(self, store: Store) -> None:
        self.store = store

    async def open(self) -> None:
        self.store.opened += 1

    async def write_batch(self, batch: Batch) -> Stored:
        await asyncio.sleep(0)
        if self.store.plan:
            self.store.plan.pop(0)()
        lines = [line for block in batch.blocks for line in block.lines()]
        if any(self.store.poison in line for line in lines):
            raise RefusedError("poison")
        if batch.id not in self.store.ids:
            self.store.ids.add(batch.id)
            self.store.lines += lines
        return Stored()

    async def write_dead(self, batch: Batch, reason: str) -> None:
        self.store.dead += [(line, reason) for block in batch.blocks for line in block.lines()]

    async def close(self) -> None:
        self.store.closed += 1

    async def health(self) -> None:
        pass


class Queue:
    def __init__(self, *batches: Batch) -> None:
        self.batches = list(batches)
        self.finished: list[Batch] = []

    async def take(self) -> Batch | None:
        return self.batches.pop(0) if self.batches else None

    def done(self, batch: Batch) -> None:
        self.finished.append(batch)


def batch(*blocks: bytes) -> Batch:
    return Batch([Block(data, data.count(b"\n"), 0.0, "") for data in blocks])


def work(queue: Queue, store: Store, *, timeout: float = 5.0, writers: int = 1) -> WriterPool:
    return WriterPool(
        [
            Writer(n, queue, FakeSink(store), Metrics(), timeout=timeout, longest_delay=0.01)
            for n in range(writers)
        ]
    )


async def finish(pool: WriterPool) -> None:
    pool.start()
    await pool.wait()


def fail(error: Exception) -> Callable[[], None]:
    def action() -> None:
        raise error

    return action


def test_the_same_batch_is_repeated_until_it_is_stored(run: Run) -> None:
    async def main() -> None:
        store = Store()
        store.plan = [fail(UnavailableError("down")), fail(OSError("reset")), fail(TimeoutError())]
        queue = Queue(batch(b"a\nb\n"), batch(b"c\n"))
        first = queue.batches[0]
        pool = work(queue, store)
        await finish(pool)
        assert store.lines == [b"a", b"b", b"c"]
        assert queue.finished[0] is first
        assert store.opened == store.closed == 4
        assert pool.troubles == []

    run(main())


def test_a_commit_without_answer_is_not_repeated(run: Run) -> None:
    async def main() -> None:
        store = Store()
        queue = Queue(batch(b"a\n"))
        one = queue.batches[0]

        def committed_and_lost() -> None:
            store.ids.add(one.id)
            store.lines.append(b"a")
            raise UnavailableError("connection lost")

        store.plan = [committed_and_lost]
        await finish(work(queue, store))
        assert store.lines == [b"a"]

    run(main())


def test_a_hanging_sink_is_given_up_and_tried_again(run: Run) -> None:
    async def main() -> None:
        store = Store()

        class Hanging(FakeSink):
            async def write_batch(self, batch: Batch) -> Stored:
                if store.opened == 1:
                    await asyncio.get_running_loop().create_future()
                return await super().write_batch(batch)

        queue = Queue(batch(b"a\n"))
        metrics = Metrics()
        writer = Writer(0, queue, Hanging(store), metrics, timeout=0.02, longest_delay=0.01)
        await finish(WriterPool([writer]))
        assert store.lines == [b"a"]
        assert metrics.retries == 1

    run(main())


def test_refused_lines_are_found_and_buried_alone(run: Run) -> None:
    async def main() -> None:
        store = Store()
        lines = [b"%d\n" % n for n in range(100)]
        lines[37] = b"poison 37\n"
        lines[38] = b"poison 38\n"
        blocks = [b"".join(lines[at : at + 25]) for at in range(0, 100, 25)]
        queue = Queue(batch(*blocks))
        whole = queue.batches[0]
        await finish(work(queue, store))
        assert store.lines == [b"%d" % n for n in range(100) if n not in (37, 38)]
        assert store.dead == [(b"poison 37", "poison"), (b"poison 38", "poison")]
        assert queue.finished == [whole]

    run(main())


def test_halves_have_the_same_ids_each_time() -> None:
    whole = batch(b"a\nb\n", b"c\n")
    first, second = whole.halves()
    again = Batch(whole.blocks, whole.id).halves()
    assert [half.id for half in again] == [first.id, second.id]
    assert len({whole.id, first.id, second.id}) == 3
    assert [block.data for half in first.halves() for block in half.blocks] == [b"a\n", b"b\n"]


def test_an_error_nobody_expects_is_survived(run: Run) -> None:
    async def main() -> None:
        store = Store()
        store.plan = [fail(ZeroDivisionError("a bug in a driver"))]
        await finish(work(Queue(batch(b"a\n")), store))
        assert store.lines == [b"a"]
        assert store.opened == 2

    run(main())


def test_a_sink_that_cannot_even_close_is_survived(run: Run) -> None:
    async def main() -> None:
        store = Store()
        store.plan = [fail(OSError("reset"))]

        class Stuck(FakeSink):
            async def close(self) -> None:
                raise RuntimeError("no")

        writer = Writer(
            0, Queue(batch(b"a\n")), Stuck(store), Metrics(), timeout=5, longest_delay=0.01
        )
        await finish(WriterPool([writer]))
        assert store.lines == [b"a"]

    run(main())
