"""asyncio.StreamReader fed by hand: what each read takes, waits for, raises and leaves behind.

Not here: readers behind a connection (test_streams.py). Runs in the main thread.
Invariant: one body for asyncio's reader and rulip's, on both loops; whatever is fed is returned by
some read, or is still there.
"""

from __future__ import annotations

import asyncio
import gc
import warnings
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from tests.loopback import resource_warnings, spin

import rulip

pytestmark = pytest.mark.usefixtures("stream_classes")

Reads = dict[str, Callable[[asyncio.StreamReader], Coroutine[Any, Any, bytes]]]
# Each takes exactly b"abc\n" when that comes first.
READS: Reads = {
    "readline": lambda reader: reader.readline(),
    "readuntil": lambda reader: reader.readuntil(b"c\n"),
    "readexactly": lambda reader: reader.readexactly(4),
    "anext": lambda reader: reader.__anext__(),
}


class Transport(asyncio.ReadTransport):
    """Remembers what it was told."""

    def __init__(self) -> None:
        super().__init__()
        self.told: list[str] = []

    def pause_reading(self) -> None:
        self.told.append("pause")

    def resume_reading(self) -> None:
        self.told.append("resume")


class Unpausable(Transport):
    def pause_reading(self) -> None:
        raise NotImplementedError


@pytest.fixture(params=["native", "compiled", "python"])
def spawn(
    request: pytest.FixtureRequest, loop: asyncio.AbstractEventLoop
) -> Callable[[Coroutine[Any, Any, Any]], asyncio.Task[Any]]:
    """Makes a task of each kind there is."""
    from _asyncio import Task as CompiledTask
    from asyncio.tasks import _PyTask

    kind = {"native": rulip.Task, "compiled": CompiledTask, "python": _PyTask}[request.param]
    return lambda coro: kind(coro, loop=loop)


@pytest.fixture(params=READS)
def read(request: pytest.FixtureRequest) -> Callable[[asyncio.StreamReader], Any]:
    return READS[request.param]


@pytest.fixture
def reader(loop: asyncio.AbstractEventLoop) -> asyncio.StreamReader:
    return asyncio.StreamReader(loop=loop)


def finish(loop: asyncio.AbstractEventLoop, awaitable: Any) -> Any:
    """Its result; it needs no more than a few turns."""
    return loop.run_until_complete(asyncio.wait_for(awaitable, 10))


def rest_of(loop: asyncio.AbstractEventLoop, reader: asyncio.StreamReader) -> bytes:
    """What is left in a reader."""
    if not reader._eof:
        reader.feed_eof()
    return finish(loop, reader.read())


def test_what_is_there_is_returned_without_suspending(reader, read):
    reader.feed_data(b"abc\nrest")
    with pytest.raises(StopIteration) as stop:
        read(reader).send(None)
    assert stop.value.value == b"abc\n"
    assert reader._buffer == b"rest"


@pytest.mark.parametrize("chunk", [1, 2, 3, 4, 5, 8])
def test_waiting_reads_with_any_chunking(loop, reader, read, spawn, chunk):
    sent = b"abc\nXYZ"
    waiting = spawn(read(reader))
    for at in range(0, len(sent), chunk):
        spin(loop)
        reader.feed_data(sent[at : at + chunk])
    assert finish(loop, waiting) == b"abc\n"
    assert rest_of(loop, reader) == b"XYZ"


@pytest.mark.parametrize("turns_before", [0, 1, 2, 3])
@pytest.mark.parametrize("first", [b"a", b"abc\n", b"abc\nabc\n"])
def test_a_cancelled_read_loses_nothing(loop, reader, read, spawn, turns_before, first):
    waiting = spawn(read(reader))
    spin(loop, 2)
    reader.feed_data(first)
    spin(loop, turns_before)
    waiting.cancel()
    spin(loop, 2)
    got = b"" if waiting.cancelled() else waiting.result()
    assert waiting.done()
    reader.feed_data(b"tail")
    assert got + rest_of(loop, reader) == first + b"tail"


def test_cancelled_before_it_began(loop, reader, read, spawn):
    reader.feed_data(b"abc\n")
    waiting = spawn(read(reader))
    waiting.cancel()
    spin(loop, 3)
    assert waiting.cancelled()
    assert reader._buffer == b"abc\n"
    assert reader._waiter is None


def test_a_second_read_while_one_waits(loop, reader, spawn):
    waiting = spawn(reader.readline())
    spin(loop)
    for second, name in (
        (reader.readline(), "readuntil"),
        (reader.readuntil(b"--"), "readuntil"),
        (reader.readexactly(3), "readexactly"),
        (reader.read(3), "read"),
        (reader.read(), "read"),
        (reader._wait_for_data("spy"), "spy"),
    ):
        with pytest.raises(RuntimeError) as info:
            finish(loop, second)
        assert str(info.value) == (
            f"{name}() called while another coroutine is already waiting for incoming data"
        )
    reader.feed_data(b"line\n")
    assert finish(loop, waiting) == b"line\n"


def test_another_read_takes_what_a_woken_one_came_for(loop, reader, spawn):
    waiting = spawn(reader.readline())
    spin(loop)
    reader.feed_data(b"one\n")
    taken = reader.readexactly(4)
    with pytest.raises(StopIteration) as stop:
        taken.send(None)
    assert stop.value.value == b"one\n"
    spin(loop, 2)
    assert not waiting.done()
    reader.feed_data(b"two\n")
    assert finish(loop, waiting) == b"two\n"


def test_the_end(loop, reader, spawn):
    for read, kind in ((reader.readuntil(b"--"), None), (reader.readexactly(9), 9)):
        reader._eof = False
        waiting = spawn(read)
        spin(loop)
        reader.feed_data(b"part")
        reader.feed_eof()
        with pytest.raises(asyncio.IncompleteReadError) as info:
            finish(loop, waiting)
        assert info.value.partial == b"part"
        assert info.value.expected == kind
    reader._eof = False
    waiting = spawn(reader.readline())
    spin(loop)
    reader.feed_data(b"part")
    reader.feed_eof()
    assert not reader.at_eof()
    assert finish(loop, waiting) == b"part"
    assert reader.at_eof()
    assert finish(loop, reader.readline()) == b""
    assert finish(loop, reader.read(3)) == b""
    with pytest.raises(AssertionError, match="feed_data after feed_eof"):
        reader.feed_data(b"more")
    with pytest.raises(StopAsyncIteration):
        finish(loop, reader.__anext__())


def test_iterating(loop, reader):
    reader.feed_data(b"one\ntwo\nlast")
    reader.feed_eof()

    async def lines() -> list[bytes]:
        return [line async for line in reader]

    assert finish(loop, lines()) == [b"one\n", b"two\n", b"last"]


@pytest.mark.parametrize("n", [1, 3, 100])
def test_reading_some(loop, reader, spawn, n):
    waiting = spawn(reader.read(n))
    spin(loop)
    reader.feed_data(b"")
    spin(loop)
    assert not waiting.done()
    reader.feed_data(b"abcd")
    assert finish(loop, waiting) == b"abcd"[:n]
    assert rest_of(loop, reader) == b"abcd"[n:]


def test_reading_all(loop, reader, spawn):
    waiting = spawn(reader.read())
    for chunk in (b"one", b"two" * 100_000, b"three"):
        spin(loop, 2)
        reader.feed_data(chunk)
    reader.feed_eof()
    assert finish(loop, waiting) == b"one" + b"two" * 100_000 + b"three"


def test_arguments(loop, reader):
    reader.feed_data(b"abc")
    assert finish(loop, reader.readexactly(0)) == b""
    assert finish(loop, reader.read(0)) == b""
    assert finish(loop, reader.read(n=1)) == b"a"
    assert finish(loop, reader.readexactly(n=1)) == b"b"
    assert finish(loop, reader.readuntil(separator=b"c")) == b"c"
    with pytest.raises(ValueError, match="readexactly size can not be less than zero"):
        finish(loop, reader.readexactly(-1))
    with pytest.raises(ValueError, match="Separator should be at least one-byte string"):
        finish(loop, reader.readuntil(b""))
    reader.feed_data(b"x")
    with pytest.raises(TypeError):
        finish(loop, reader.read("1"))
    with pytest.raises(TypeError):
        finish(loop, reader.readuntil(5))
    for wrong in (lambda: reader.readline(1), lambda: reader.read(1, 2), reader.readexactly):
        with pytest.raises(TypeError):
            wrong()
    assert reader._buffer == b"x"


def test_an_argument_is_looked_at_when_awaited(loop, reader):
    read = reader.readexactly(-1)
    with pytest.raises(ValueError, match="less than zero"):
        finish(loop, read)


def test_separators(loop, reader, spawn):
    for separator in (b"--", bytearray(b"--"), memoryview(b"--")):
        reader.feed_data(b"a-b--c")
        assert finish(loop, reader.readuntil(separator)) == b"a-b--"
        assert finish(loop, reader.readexactly(1)) == b"c"
    waiting = spawn(reader.readuntil(b"\r\n\r\n"))
    for byte in b"head\r\n\r\r\n\r\nbody":
        spin(loop)
        reader.feed_data(bytes([byte]))
    assert finish(loop, waiting) == b"head\r\n\r\r\n\r\n"
    assert rest_of(loop, reader) == b"body"


@pytest.mark.skipif("sys.version_info < (3, 13)", reason="came with 3.13")
def test_several_separators(loop, reader, spawn):
    reader.feed_data(b"one\r\ntwo;three")
    assert finish(loop, reader.readuntil((b"\r\n", b";"))) == b"one\r\n"
    assert finish(loop, reader.readuntil((b"\r\n", b";"))) == b"two;"
    waiting = spawn(reader.readuntil((b"END", b"D")))
    spin(loop)
    reader.feed_data(b"EN")
    spin(loop)
    reader.feed_data(b"D!")
    assert finish(loop, waiting) == b"threeEND"
    for wrong in ((), (b"a", b"")):
        with pytest.raises(ValueError, match="Separator should"):
            finish(loop, reader.readuntil(wrong))


@pytest.mark.parametrize("fed_before", [True, False])
def test_the_limit(loop, spawn, fed_before):
    reader = asyncio.StreamReader(limit=4, loop=loop)

    def attempt(method: Callable[[], Any], data: bytes) -> BaseException:
        if fed_before:
            reader.feed_data(data)
        waiting = spawn(method())
        spin(loop)
        if not fed_before:
            reader.feed_data(data)
        with pytest.raises(Exception) as info:
            finish(loop, waiting)
        return info.value

    error = attempt(lambda: reader.readuntil(b"\n"), b"12345\n6")
    assert isinstance(error, asyncio.LimitOverrunError)
    assert str(error) == "Separator is found, but chunk is longer than limit"
    assert error.consumed == 5
    assert reader._buffer == b"12345\n6"
    # readline drops it, with its line feed
    with pytest.raises(ValueError, match="Separator is found, but chunk is longer") as info:
        finish(loop, reader.readline())
    assert isinstance(info.value.__context__, asyncio.LimitOverrunError)
    assert reader._buffer == b"6"
    error = attempt(lambda: reader.readuntil(b"--"), b"54321")
    assert str(error) == "Separator is not found, and chunk exceed the limit"
    assert error.consumed == 5
    with pytest.raises(ValueError, match="Separator is not found, and chunk exceed the limit"):
        finish(loop, reader.readline())
    assert reader._buffer == b""
    error = attempt(reader.readline, b"123456")
    assert type(error) is ValueError
    assert reader._buffer == b""
    # What is asked for by number has no limit
    assert finish(loop, spawn(reader.read(0))) == b""
    reader.feed_data(b"1234567890")
    assert finish(loop, reader.readexactly(10)) == b"1234567890"


def test_limits_that_are_none(loop):
    for limit in (0, -1):
        with pytest.raises(ValueError, match="Limit cannot be <= 0"):
            asyncio.StreamReader(limit=limit, loop=loop)
    reader = asyncio.StreamReader(limit=float("inf"), loop=loop)
    reader.feed_data(b"x" * 200_000 + b"\n")
    assert len(finish(loop, reader.readline())) == 200_001
    reader = asyncio.StreamReader(2, loop)
    reader._limit = 10
    reader.feed_data(b"12345678\n")
    assert finish(loop, reader.readline()) == b"12345678\n"
    assert reader._limit == 10


def test_the_transport_is_paused_and_resumed(loop, spawn):
    reader = asyncio.StreamReader(limit=10, loop=loop)
    transport = Transport()
    reader.set_transport(transport)
    with pytest.raises(AssertionError, match="Transport already set"):
        reader.set_transport(transport)
    reader.feed_data(b"x" * 20)
    assert transport.told == []
    reader.feed_data(b"\n")
    assert transport.told == ["pause"]
    assert reader._paused
    reader.feed_data(b"y")
    assert transport.told == ["pause"]
    assert finish(loop, reader.readexactly(5)) == b"x" * 5
    assert transport.told == ["pause"]
    assert len(finish(loop, reader.readexactly(10))) == 10
    assert transport.told == ["pause", "resume"]
    assert not reader._paused


def test_waiting_for_more_than_the_transport_may_send_resumes_it(loop, spawn):
    reader = asyncio.StreamReader(limit=10, loop=loop)
    transport = Transport()
    reader.set_transport(transport)
    reader.feed_data(b"x" * 30)
    assert transport.told == ["pause"]
    waiting = spawn(reader.readexactly(1000))
    spin(loop)
    assert transport.told == ["pause", "resume"]
    for _ in range(97):
        reader.feed_data(b"y" * 10)
        spin(loop, 2)
        assert not reader._paused
    assert finish(loop, waiting) == b"x" * 30 + b"y" * 970


def test_a_transport_that_cannot_pause(loop):
    reader = asyncio.StreamReader(limit=1, loop=loop)
    reader.set_transport(Unpausable())
    reader.feed_data(b"xxxx")
    assert reader._transport is None
    assert not reader._paused


def test_an_exception(loop, reader, read, spawn):
    error = ConnectionAbortedError("gone")
    waiting = spawn(read(reader))
    spin(loop)
    reader.set_exception(error)
    with pytest.raises(ConnectionAbortedError) as info:
        finish(loop, waiting)
    assert info.value is error
    assert reader.exception() is error
    reader.feed_data(b"abc\n")
    for again in (reader.read(1), reader.read(), reader.read(0), read(reader)):
        with pytest.raises(ConnectionAbortedError):
            finish(loop, again)
    with pytest.raises(ConnectionAbortedError):
        finish(loop, reader.readexactly(0))
    # Arguments are looked at first
    with pytest.raises(ValueError, match="less than zero"):
        finish(loop, reader.readexactly(-1))


def test_data_then_an_exception_in_one_turn(loop, reader, read, spawn):
    waiting = spawn(read(reader))
    spin(loop)
    reader.feed_data(b"abc\n")
    reader.set_exception(OSError("gone"))
    assert finish(loop, waiting) == b"abc\n"


@pytest.mark.parametrize("kind", ["compiled", "python", "native"])
def test_a_waiter_of_somebody_elses_making(loop, reader, kind):
    import _asyncio
    from asyncio.futures import _PyFuture

    make = {"compiled": _asyncio.Future, "python": _PyFuture, "native": rulip.Future}[kind]
    for wake in (lambda: reader.feed_data(b"x"), reader.feed_eof, reader._wakeup_waiter):
        reader._waiter = waiter = make(loop=loop)
        assert reader._waiter is waiter
        wake()
        assert waiter.done()
        assert reader._waiter is None
    reader._waiter = waiter = make(loop=loop)
    waiter.cancel()
    reader._wakeup_waiter()
    assert waiter.cancelled()
    reader._waiter = waiter = make(loop=loop)
    reader.set_exception(ValueError("no"))
    assert isinstance(waiter.exception(), ValueError)


def test_waiting_for_any_data(loop, reader, spawn):
    for news in (lambda: reader.feed_data(b"no line"), reader.feed_eof):
        waiting = spawn(reader._wait_for_data("spy"))
        spin(loop)
        assert reader._waiter is not None
        news()
        assert finish(loop, waiting) is None
        assert reader._waiter is None


def test_the_buffer_is_a_bytearray_that_can_be_changed(loop, reader, spawn):
    assert type(reader._buffer) is bytearray
    reader.feed_data(b"abcdef\nghi")
    held = reader._buffer
    assert held == b"abcdef\nghi"
    del held[:3]
    assert finish(loop, reader.readline()) == b"def\n"
    assert held == b"ghi"
    reader.feed_data(b"jkl")
    assert held == b"ghijkl"
    waiting = spawn(reader.readexactly(8))
    spin(loop)
    held += b"m"
    reader.feed_data(b"nop")
    assert finish(loop, waiting) == b"ghijklmn"
    assert reader._buffer is held
    assert held == b"op"
    held.clear()
    del held
    reader.feed_data(b"end\n")
    assert finish(loop, reader.readline()) == b"end\n"
    reader._buffer = bytearray(b"given\n")
    assert finish(loop, reader.readline()) == b"given\n"


def test_a_buffer_that_is_looked_at_cannot_change(loop, reader):
    reader.feed_data(b"line\nrest")
    with memoryview(reader._buffer) as view:
        with pytest.raises(BufferError):
            finish(loop, reader.readline())
        assert bytes(view) == b"line\nrest"
    assert finish(loop, reader.readline()) == b"line\n"
    assert finish(loop, reader.readexactly(4)) == b"rest"


def test_looking_between_waking_and_stepping(loop, reader, read, spawn):
    waiting = spawn(read(reader))
    spin(loop)
    reader.feed_data(b"abc\nrest")
    assert not reader.at_eof()
    assert reader._buffer == b"abc\nrest"
    assert "8 bytes" in repr(reader)
    reader.feed_eof()
    assert finish(loop, waiting) == b"abc\n"
    assert reader._buffer == b"rest"


@pytest.mark.parametrize(
    "data", [bytearray(b"abc\n"), memoryview(b"abc\n"), [97, 98, 99, 10], bytes(4)]
)
def test_what_can_be_fed(loop, reader, data):
    reader.feed_data(data)
    assert finish(loop, reader.readexactly(4)) == bytes(data)


def test_feeding_what_is_no_data(reader):
    with pytest.raises(TypeError):
        reader.feed_data("text")
    with pytest.raises(TypeError):
        reader.feed_data(5)
    reader.feed_data(None)
    assert reader._buffer == b""


def test_what_the_texts_say(loop):
    reader = asyncio.StreamReader(loop=loop)
    assert repr(reader) == "<StreamReader>"
    reader.feed_data(b"data")
    assert repr(reader) == "<StreamReader 4 bytes>"
    reader = asyncio.StreamReader(loop=loop, limit=123)
    reader._transport = "a transport"
    reader._paused = True
    reader.set_exception(ValueError("no"))
    reader.feed_eof()
    assert repr(reader) == (
        "<StreamReader eof limit=123 exception=ValueError('no') transport='a transport' paused>"
    )
    reader._waiter = loop.create_future()
    assert repr(reader._waiter) in repr(reader)


def test_a_read_that_nobody_awaits(reader):
    for read in (reader.readline, reader.read):
        with warnings.catch_warnings(record=True) as seen:
            warnings.simplefilter("always")
            read()
            gc.collect()
        assert [str(w.message) for w in seen] == [
            f"coroutine 'StreamReader.{read.__name__}' was never awaited"
        ]


def test_reads_are_coroutines(loop, reader, read):
    coroutine = read(reader)
    assert asyncio.iscoroutine(coroutine)
    assert coroutine.__qualname__.startswith("StreamReader.")
    assert coroutine.cr_running is False
    coroutine.close()
    with pytest.raises(RuntimeError, match="cannot reuse already awaited coroutine"):
        coroutine.send(None)
    reader.feed_data(b"abc\nabc\n")

    async def twice() -> bytes:
        return await asyncio.wait_for(read(reader), 5) + (await asyncio.gather(read(reader)))[0]

    assert finish(loop, twice()) == b"abc\nabc\n"


def test_thrown_into(loop, reader, read):
    waiting = read(reader)
    future = waiting.send(None)
    assert reader._waiter is not None
    with pytest.raises(KeyError):
        waiting.throw(KeyError("x"))
    assert reader._waiter is None
    assert not future.done()
    reader.feed_data(b"abc\n")
    assert finish(loop, read(reader)) == b"abc\n"


def test_a_dropped_wait_lets_others_wait(loop, reader, read):
    waiting = read(reader)
    waiting.send(None)
    del waiting
    gc.collect()
    assert reader._waiter is None


def test_timeouts(loop, reader, read):
    async def main() -> bytes:
        for _ in range(3):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.001):
                    await read(reader)
        reader.feed_data(b"abc\n")
        return await read(reader)

    assert finish(loop, main()) == b"abc\n"


def derived(**methods: Any) -> type[asyncio.StreamReader]:
    return type("Derived", (asyncio.StreamReader,), methods)


def test_a_subclass_with_methods_of_its_own(loop, spawn):
    calls: list[str] = []

    async def readuntil(self: Any, separator: bytes = b"\n") -> bytes:
        calls.append("readuntil")
        return await asyncio.StreamReader.readuntil(self, separator)

    def feed_data(self: Any, data: bytes) -> None:
        calls.append(f"feed {len(data)}")
        asyncio.StreamReader.feed_data(self, data.upper())

    reader = derived(readuntil=readuntil, feed_data=feed_data)(loop=loop)
    assert isinstance(reader, asyncio.StreamReader)
    waiting = spawn(reader.readline())
    spin(loop)
    reader.feed_data(b"abc")
    spin(loop)
    reader.feed_data(b"def\nghi")
    assert finish(loop, waiting) == b"ABCDEF\n"
    assert calls == ["readuntil", "feed 3", "feed 7"]
    reader.feed_eof()
    assert finish(loop, reader.read()) == b"GHI"
    assert reader.at_eof()


def test_a_parser_that_waits_for_data_itself(loop, spawn):
    """As old clients of a database did it: the buffer is theirs."""

    async def read_reply(self: Any) -> bytes:
        while b"+" not in self._buffer:
            await self._wait_for_data("read_reply")
        at = self._buffer.index(b"+") + 1
        reply = bytes(self._buffer[:at])
        del self._buffer[:at]
        self._maybe_resume_transport()
        return reply

    reader = derived(read_reply=read_reply)(loop=loop)
    waiting = spawn(reader.read_reply())
    for chunk in (b"o", b"k", b"+more"):
        spin(loop, 2)
        reader.feed_data(chunk)
    assert finish(loop, waiting) == b"ok+"
    assert reader._buffer == b"more"


def test_a_method_replaced_on_the_instance(loop, spawn):
    reader = asyncio.StreamReader(loop=loop)
    seen: list[bytes] = []
    original = reader.feed_data

    def feed_data(data: bytes) -> None:
        seen.append(data)
        original(data)

    waiting = spawn(reader.readline())
    spin(loop)
    reader.feed_data = feed_data  # type: ignore[method-assign]
    reader.feed_data(b"one\n")
    assert finish(loop, waiting) == b"one\n"
    assert seen == [b"one\n"]


def test_instances_take_attributes_and_weak_references(loop):
    import weakref

    reader = asyncio.StreamReader(loop=loop)
    reader.mine = 5  # type: ignore[attr-defined]
    assert reader.mine == 5  # type: ignore[attr-defined]
    ref = weakref.ref(reader)
    del reader
    gc.collect()
    assert ref() is None


def test_without_a_loop():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        asyncio.set_event_loop(None)
        with pytest.raises(RuntimeError, match="current event loop"):
            asyncio.StreamReader()
        with pytest.raises(RuntimeError, match="current event loop"):
            asyncio.StreamReaderProtocol(None)


def test_debug_mode_says_where_it_was_made(loop):
    loop.set_debug(True)
    reader = asyncio.StreamReader(loop=loop)
    assert reader._source_traceback[-1].name == "test_debug_mode_says_where_it_was_made"
    protocol = asyncio.StreamReaderProtocol(reader, loop=loop)
    assert protocol._source_traceback is reader._source_traceback
    loop.set_debug(False)
    assert asyncio.StreamReader(loop=loop)._source_traceback is None


def test_dropping_a_reader_with_data_says_nothing(loop):
    with resource_warnings() as seen:
        reader = asyncio.StreamReader(loop=loop)
        reader.feed_data(b"data")
        del reader
        gc.collect()
    assert seen == []
