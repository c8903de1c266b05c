"""Programs of two connected streams: the same bytes, ends and errors on asyncio and on rulip.

    python -m tests.differential.streams --count 100000 --seed 0

Here: what each end of a socket pair writes and reads, in pieces that a seed decides, and the run
over many seeds. Not here: fed readers and everything turn by turn (the rest of this folder); what
protocols are told (tests/rulip/test_same_connections.py).
Thread: the main one. The kernel has a say in how much comes at a time: a trace tells per end what
was read, not when.
Invariant: what one end reads is what the other wrote, in order, wherever reads are cancelled.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import socket
import sys
import time
from typing import Any

from .interpreter import told
from .ways import OURS, RULIP, STOCK, NewLoop

ENDS = (0, 1)
#: Reads are no longer than this, so that no limit is met: how far a reader was then is luck.
LIMIT = 1 << 20
PATIENCE = 60.0


def content(start: int, length: int) -> bytes:
    """Of a stream, from an offset: lines of many lengths."""
    return bytes(
        10 if (at * at) % 37 == 1 else 97 + (at * 7 + at // 26) % 26
        for at in range(start, start + length)
    )


def program(seed: int) -> dict[str, Any]:
    """What each end writes and reads."""
    pick = random.Random(seed)
    large = pick.random() < 0.1

    def size() -> int:
        return int(pick.choice((1, 5, 60, 3000, 90_000 if large else 500)) * pick.random() + 1)

    def write() -> tuple[Any, ...]:
        kind = pick.choice(("write", "write", "lines", "drain", "yield", "limits"))
        if kind == "lines":
            return (kind, [size() for _ in range(pick.randrange(1, 4))])
        return (kind, size(), pick.randrange(4))

    def read() -> tuple[Any, ...]:
        kinds = ("exactly", "exactly", "line", "until", "some", "yield", "cancelled", "given up")
        return (pick.choice(kinds), size(), pick.randrange(4))

    return {
        "family": pick.choice(("unix", "tcp")),
        "buffer": pick.choice((None, 4096)),
        "writes": [[write() for _ in range(pick.randrange(1, 8))] for _ in ENDS],
        "reads": [[read() for _ in range(pick.randrange(1, 8))] for _ in ENDS],
    }


def sockets(program: dict[str, Any]) -> tuple[socket.socket, socket.socket]:
    if program["family"] == "unix":
        pair = socket.socketpair()
    else:
        with socket.create_server(("127.0.0.1", 0)) as server:
            near = socket.create_connection(server.getsockname())
            pair = near, server.accept()[0]
    for end in pair:
        if program["buffer"]:
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, program["buffer"])
    return pair


async def write_all(writer: Any, steps: list[Any]) -> bytes:
    """As an end writes; what it wrote."""
    sent = 0
    for step in steps:
        match step:
            case ("write", length, _):
                writer.write(content(sent, length))
                sent += length
            case ("lines", lengths):
                parts = []
                for length in lengths:
                    parts.append(content(sent, length))
                    sent += length
                writer.writelines(parts)
            case ("drain", *_):
                await writer.drain()
            case ("limits", high, _):
                writer.transport.set_write_buffer_limits(high)
            case ("yield", _, turns):
                for _ in range(turns):
                    await asyncio.sleep(0)
    await writer.drain()
    writer.write_eof()
    return content(0, sent)


async def read_one(reader: Any, kind: str, length: int, turns: int) -> bytes:
    match kind:
        case "exactly":
            return await reader.readexactly(length)
        case "line":
            return await reader.readline()
        case "until":
            return await reader.readuntil(b"a")
        case "some":
            parts = bytearray()
            while len(parts) < length and (part := await reader.read(length - len(parts))):
                parts += part
            return bytes(parts)
        case "yield":
            for _ in range(turns):
                await asyncio.sleep(0)
            return b""
    # Cancelled after some turns, or by a limit: it has taken all it returns, or nothing.
    reading = asyncio.ensure_future(reader.readexactly(length))
    if kind == "given up":
        await asyncio.wait([reading], timeout=0.0001 * turns)
    else:
        for _ in range(turns):
            await asyncio.sleep(0)
    reading.cancel()
    try:
        return await reading
    except asyncio.CancelledError:
        return b""


async def read_all(reader: Any, steps: list[Any]) -> tuple[list[Any], bytes]:
    """As an end reads; what each read did, as far as that is no matter of luck, and all it read."""
    trace: list[Any] = []
    got = b""
    certain = True
    for kind, length, turns in steps:
        certain = certain and kind not in ("cancelled", "given up")
        try:
            part = await read_one(reader, kind, length, turns)
            outcome: Any = part
        except asyncio.IncompleteReadError as error:
            part, outcome = error.partial, (told(error), error.partial, error.expected)
        got += part
        if certain:
            trace.append((kind, outcome))
    got += await reader.read()
    return [*trace, reader.at_eof(), await reader.read(1)], got


async def main(program: dict[str, Any], aio: Any) -> list[Any]:
    streams = [await aio.open_connection(sock=end, limit=LIMIT) for end in sockets(program)]
    work = [write_all(streams[end][1], program["writes"][end]) for end in ENDS]
    work += [read_all(streams[end][0], program["reads"][end]) for end in ENDS]
    wrote, also_wrote, (trace, got), (other_trace, also_got) = await aio.gather(*work)
    assert (got, also_got) == (also_wrote, wrote), "bytes were lost"
    for _, writer in streams:
        writer.close()
        await writer.wait_closed()
    return [trace, other_trace, wrote, also_wrote]


def trace_of(program: dict[str, Any], new_loop: NewLoop, names: Any) -> list[Any]:
    with asyncio.Runner(loop_factory=new_loop) as runner:
        return runner.run(asyncio.wait_for(main(program, names), PATIENCE))


def differs(seed: int) -> bool:
    made = program(seed)
    stock = trace_of(made, STOCK, asyncio)
    names = OURS if seed % 2 else asyncio
    return trace_of(made, RULIP, names) != stock


def run(first: int, count: int) -> list[int]:
    different = []
    begun = time.monotonic()
    for seed in range(first, first + count):
        if differs(seed):
            different.append(seed)
            print(f"seed {seed} differs: {program(seed)}", flush=True)
        if seed > first and (seed - first) % 1000 == 0:
            rate = (seed - first) / (time.monotonic() - begun)
            print(f"before seed {seed}: {rate:.0f} programs/s", file=sys.stderr, flush=True)
    print(
        f"Python {sys.version.split()[0]}: {count} programs of streams, seeds {first} to "
        f"{first + count - 1}: {len(different)} differ: {different}"
    )
    return different


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0, help="the first")
    options = parser.parse_args()
    sys.exit(bool(run(options.seed, options.count)))
