"""A read that waits, looked at, driven by hand and ended at each point of its wait.

Not here: what reads return (test_stream_reader.py). Runs in the main thread, on both loops.
Invariant: whoever looks sees a future where asyncio has one, and looking changes nothing.
"""

from __future__ import annotations

import asyncio
import gc
import types
from collections.abc import Callable, Coroutine, Generator
from typing import Any

import pytest
from tests.loopback import spin, within

pytestmark = pytest.mark.usefixtures("stream_classes")

Looks = dict[str, Callable[[asyncio.StreamReader, Any], Any]]
LOOKS: Looks = {
    "nobody": lambda reader, task: None,
    "reader": lambda reader, task: reader._waiter,  # type: ignore[attr-defined]
    "task": lambda reader, task: task._fut_waiter,
    "text": lambda reader, task: repr(task) + repr(reader),
}


@pytest.fixture
def reader(loop: asyncio.AbstractEventLoop) -> asyncio.StreamReader:
    return asyncio.StreamReader(loop=loop)


@pytest.fixture(params=LOOKS)
def look(request: pytest.FixtureRequest) -> Callable[[asyncio.StreamReader, Any], Any]:
    return LOOKS[request.param]


def test_looking_while_it_waits(loop, reader, make_task, look):
    task = make_task(reader.readline())
    spin(loop)
    look(reader, task)
    reader.feed_data(b"li")
    look(reader, task)
    reader.feed_data(b"ne\nrest")
    look(reader, task)
    assert not task.done()
    assert reader._waiter is None
    spin(loop)
    assert task.result() == b"line\n"
    assert reader._buffer == b"rest"


def test_what_is_seen_is_one_future(loop, reader, make_task):
    task = make_task(reader.readexactly(2))
    spin(loop)
    waiter = reader._waiter
    assert isinstance(waiter, asyncio.Future)
    assert asyncio.isfuture(waiter)
    assert reader._waiter is waiter
    assert task._fut_waiter is waiter
    assert waiter.get_loop() is loop
    assert not waiter.done()
    reader.feed_data(b"ab")
    assert waiter.done()
    assert waiter.result() is None
    spin(loop)
    assert task.result() == b"ab"


def test_what_is_seen_once_it_is_woken(loop, reader, make_task):
    task = make_task(reader.readexactly(2))
    spin(loop)
    reader.feed_data(b"ab")
    waiter = task._fut_waiter
    assert (waiter.done(), waiter.cancelled(), waiter.result()) == (True, False, None)
    assert not task.done()
    spin(loop)
    assert task._fut_waiter is None
    assert task.result() == b"ab"


def test_what_is_seen_once_it_is_cancelled(loop, reader, make_task):
    task = make_task(reader.readexactly(2))
    spin(loop)
    assert task.cancel("enough")
    assert reader._waiter.cancelled()
    assert task._fut_waiter is reader._waiter
    reader.feed_data(b"ab")
    assert reader._waiter is None
    assert task._fut_waiter.cancelled()
    spin(loop)
    with pytest.raises(asyncio.CancelledError, match="enough"):
        task.result()
    assert reader._buffer == b"ab"


def test_whoever_has_the_future_wakes_the_read(loop, reader, make_task):
    for wake in (lambda waiter: waiter.set_result(None), lambda waiter: waiter.cancel("so")):
        task = make_task(reader.readline())
        spin(loop)
        wake(reader._waiter)
        spin(loop)
        if task.done():
            assert task.cancelled()
        else:
            # Nothing is there: it waits on.
            assert not reader._waiter.done()
            task.cancel()
            spin(loop)
        assert reader._waiter is None


def test_callbacks_of_the_future(loop, reader, make_task):
    seen = []
    task = make_task(reader.readline())
    spin(loop)
    reader._waiter.add_done_callback(lambda waiter: seen.append(("waiter", task.done())))
    task.add_done_callback(lambda task: seen.append(("task", task.result())))
    reader.feed_data(b"line\n")
    assert seen == []
    spin(loop)
    # The task came first; its callbacks are called in the next turn.
    assert seen == [("waiter", True)]
    spin(loop)
    assert seen == [("waiter", True), ("task", b"line\n")]


@pytest.mark.parametrize("turns", [0, 1])
def test_an_exception_after_looking(loop, reader, make_task, look, turns):
    task = make_task(reader.readline())
    spin(loop)
    look(reader, task)
    error = OSError("gone")
    reader.set_exception(error)
    look(reader, task)
    spin(loop, turns)
    if not turns:
        task.cancel("too late")
        spin(loop)
        with pytest.raises(asyncio.CancelledError):
            task.result()
    else:
        assert task.exception() is error
    assert reader._waiter is None


def test_the_end_after_looking(loop, reader, make_task, look):
    task = make_task(reader.readline())
    spin(loop)
    look(reader, task)
    reader.feed_eof()
    look(reader, task)
    spin(loop)
    assert task.result() == b""


@pytest.mark.parametrize("fed_first", [False, True])
def test_woken_and_cancelled_in_one_turn(loop, reader, make_task, look, fed_first):
    task = make_task(reader.readline())
    spin(loop)
    for act in (reader.feed_data, task.cancel)[:: 1 if fed_first else -1]:
        act(*[b"line\n"] if act == reader.feed_data else [])
        look(reader, task)
    spin(loop, 2)
    assert task.cancelled()
    assert reader._waiter is None
    assert loop.run_until_complete(reader.readline()) == b"line\n"


def test_a_name_taken_from_it(loop, reader, make_task):
    """Somebody puts another future in its place: what it had wakes it."""
    task = make_task(reader.readline())
    spin(loop)
    waiter = reader._waiter
    reader._waiter = None
    reader.feed_data(b"line\n")
    spin(loop, 2)
    assert not task.done()
    waiter.set_result(None)
    spin(loop)
    assert task.result() == b"line\n"


def test_driven_by_hand_inside_a_task(loop, reader):
    """What was sent into by hand wakes nobody who waits for something else."""

    async def main() -> list[Any]:
        read: Any = reader.readline()
        read.send(None)
        told: list[Any] = []
        other = loop.create_future()
        loop.call_soon(reader.feed_data, b"line\n")
        for _ in range(2):
            loop.call_soon(told.append, "turn")
        loop.call_later(0.01, other.set_result, "other")
        told.append(await other)
        try:
            read.send(None)
        except StopIteration as stop:
            told.append(stop.value)
        return told

    assert loop.run_until_complete(within(main())) == ["turn", "turn", "other", b"line\n"]


def test_sent_into_too_early_inside_a_task(loop, reader):
    async def main() -> None:
        read: Any = reader.readline()
        read.send(None)
        assert reader._waiter is not None
        with pytest.raises(RuntimeError, match="await wasn't used with future"):
            read.send(None)
        assert reader._waiter is None

    loop.run_until_complete(within(main()))


def test_dropped_inside_a_task(loop, reader):
    async def main() -> bytes:
        read: Any = reader.readline()
        read.send(None)
        del read
        gc.collect()
        assert reader._waiter is None
        loop.call_soon(reader.feed_data, b"line\n")
        return await reader.readline()

    assert loop.run_until_complete(within(main())) == b"line\n"


@types.coroutine
def handing_on(
    coro: Coroutine[Any, Any, Any], between: Callable[[], Any]
) -> Generator[Any, Any, Any]:
    """`coro`, with something done between what it yields and the loop's hearing of it."""
    while True:
        try:
            waited = coro.send(None)
        except StopIteration as stop:
            return stop.value
        between()
        yield waited


def test_woken_between_the_yield_and_the_loop(loop, reader, make_task):
    async def main() -> bytes:
        return await handing_on(reader.readline(), lambda: reader.feed_data(b"line\n"))

    task = make_task(main())
    spin(loop)
    assert not task.done()
    spin(loop)
    assert task.result() == b"line\n"


def test_seen_between_the_yield_and_the_loop(loop, reader, make_task, look):
    async def main() -> bytes:
        return await handing_on(reader.readline(), lambda: look(reader, task))

    task = make_task(main())
    spin(loop)
    reader.feed_data(b"line\n")
    spin(loop)
    assert task.result() == b"line\n"


def test_yielded_by_another_task(loop, reader, make_task):
    """One task sends into the read, another one waits for what it yielded."""
    yielded: list[Any] = []
    read: Any = reader.readline()

    async def first() -> None:
        yielded.append(read.send(None))

    @types.coroutine
    def waiting() -> Generator[Any, Any, Any]:
        yield yielded[0]

    async def second() -> Any:
        await waiting()
        with pytest.raises(StopIteration) as stop:
            read.send(None)
        return stop.value.value

    one, two = make_task(first()), make_task(second())
    spin(loop)
    assert one.done()
    assert not two.done()
    reader.feed_data(b"line\n")
    spin(loop)
    assert two.result() == b"line\n"


def test_a_reader_of_another_loop(loop, make_task):
    other = asyncio.new_event_loop()
    try:
        reader = asyncio.StreamReader(loop=other)
        task = make_task(reader.readline())
        spin(loop, 2)
        with pytest.raises(RuntimeError, match="attached to a different loop"):
            task.result()
    finally:
        other.close()


def test_many_reads_one_after_the_other(loop, reader):
    """A read that is over may be the next one: none of them sees another's state."""

    async def main() -> None:
        kept: list[Any] = []
        makers = [reader.readline, lambda: reader.readexactly(2), reader.readuntil]
        for number in range(30):
            read: Any = makers[number % 3]()
            if number % 5:
                loop.call_soon(reader.feed_data, b"x\n")
            else:
                reader.feed_data(b"x\n")
            assert await read == b"x\n"
            if number % 2:
                kept.append(read)
            with pytest.raises(RuntimeError, match="cannot reuse already awaited coroutine"):
                read.send(None)
        for read in kept:
            with pytest.raises(RuntimeError, match="cannot reuse already awaited coroutine"):
                read.send(None)

    loop.run_until_complete(within(main()))
