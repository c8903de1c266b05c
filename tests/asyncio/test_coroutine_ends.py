"""What a coroutine of asyncio's says once it is over: awaited, closed, thrown into.

Not here: what each of them does (test_locks.py, test_stream_reader.py and so on). Runs in the main
thread. Invariant: one body for asyncio and for rulip's own functions.
"""

from __future__ import annotations

import asyncio
import functools

import pytest

REUSED = "cannot reuse already awaited coroutine"


MAKERS = {
    "sleep": lambda aio: functools.partial(aio.sleep, 0),
    "StreamReader.readexactly": lambda aio: functools.partial(filled(aio).readexactly, 1),
    "Lock.acquire": lambda aio: aio.Lock().acquire,
    "Event.wait": lambda aio: set_event(aio).wait,
    "Queue.put": lambda aio: functools.partial(aio.Queue().put, 1),
    "wait_for": lambda aio: functools.partial(aio.wait_for, turn(), 60),
}


async def turn():
    await asyncio.sleep(0)


def filled(aio):
    reader = aio.StreamReader()
    reader.feed_data(b"x")
    return reader


def set_event(aio):
    event = aio.Event()
    event.set()
    return event


@pytest.fixture(params=MAKERS)
def maker(request):
    return request.param, MAKERS[request.param]


def is_over(coroutine):
    with pytest.raises(RuntimeError, match=REUSED):
        coroutine.send(None)
    with pytest.raises(RuntimeError, match=REUSED):
        coroutine.throw(KeyError())
    assert coroutine.close() is None


def test_awaited(run, aio, maker):
    async def main():
        coroutine = maker[1](aio)()
        await coroutine
        is_over(coroutine)

    run(main())


@pytest.mark.filterwarnings("ignore:coroutine 'turn' was never awaited")
def test_closed(run, aio, maker):
    async def main():
        coroutine = maker[1](aio)()
        assert coroutine.close() is None
        is_over(coroutine)

    run(main())


@pytest.mark.filterwarnings("ignore:coroutine 'turn' was never awaited")
def test_thrown_into(run, aio, maker):
    async def main():
        coroutine = maker[1](aio)()
        with pytest.raises(KeyError):
            coroutine.throw(KeyError())
        is_over(coroutine)

    run(main())


@pytest.mark.filterwarnings("ignore:coroutine 'turn' was never awaited")
def test_names(run, aio, maker):
    async def main():
        coroutine = maker[1](aio)()
        assert coroutine.__qualname__ == maker[0]
        assert coroutine.__name__ == maker[0].rpartition(".")[2]
        assert coroutine.cr_await is None
        assert coroutine.cr_running is False
        coroutine.close()

    run(main())
