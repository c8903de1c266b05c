"""Steps about a StreamReader that is fed by hand.

Thread: the one of the run. Its limit is 8 bytes.
Invariant: separators are single bytes or short; what is fed comes in chunks of up to 6 bytes.
"""

from __future__ import annotations

from typing import Any

from ..grammar import Draw, number, one_of, step
from ..interpreter import Interpreter, made


def chunk(draw: Draw) -> bytes:
    return bytes(draw.pick(b"ab\n;\x00") for _ in range(int(draw.random() * 7)))


#: Ends every kind of read below. asyncio wakes who reads with each chunk, rulip once it can go on:
#: who got less would be cancelled in another turn.
ENOUGH = b"aab\x00\n;\n"


@step(number, chunk)
def feed(run: Interpreter, more: int, data: bytes) -> Any:
    data *= 1 + more // 3
    return run.reader.feed_data(data + ENOUGH if run.reading.locked() else data)


@step()
def feed_eof(run: Interpreter) -> Any:
    return run.reader.feed_eof()


@step()
def break_reader(run: Interpreter) -> Any:
    return run.reader.set_exception(made("Boom"))


@step()
def ask_reader(run: Interpreter) -> Any:
    return (run.reader.at_eof(), run.reader.exception())


async def read_one(run: Interpreter, how: str, count: int) -> Any:
    match how:
        case "line":
            return await run.reader.readline()
        case "exactly":
            return await run.reader.readexactly(count * 2 - 1)
        case "until":
            return await run.reader.readuntil(b"\x00")
        case "long":
            return await run.reader.readuntil(b"\n;"[: 1 + count % 2])
    return await run.reader.read(count)


@step(one_of("line", "exactly", "until", "long", "some", "some"), number)
async def read(run: Interpreter, how: str, count: int) -> Any:
    async with run.reading:
        return await read_one(run, how, count)


@step(one_of((b"\n", b";"), (b"ab", b"a"), (b"\x00", b"\n;"), ()), since=(3, 13))
async def read_until_any(run: Interpreter, separators: tuple[bytes, ...]) -> Any:
    async with run.reading:
        return await run.reader.readuntil(separators)


@step()
async def read_lines(run: Interpreter) -> Any:
    async with run.reading:
        return [line async for line in run.reader]
