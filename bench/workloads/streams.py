"""`readline` and `drain`: many lines in one piece, and lines to and fro over Unix sockets.

Not here: streams over TCP (`tcp.py`). Thread: the loop's. Invariant: every line that is sent is
read; what is measured of the Unix sockets is both ends' work.
"""

from __future__ import annotations

import asyncio
import socket

from measured import Measured

from .registry import Workload, groups_of

LANES = 16
PIPELINED = 100
LINE = b"x" * 99 + b"\n"
LONG_LINE = b"x" * 1023 + b"\n"


async def lines_in_one_piece(operations: int, measured: Measured) -> None:
    """A hundred lines are there at once, and are read one by one."""
    rounds = groups_of(PIPELINED, operations)
    reader = asyncio.StreamReader()
    piece = LINE * PIPELINED
    with measured(rounds * PIPELINED):
        for _ in range(rounds):
            reader.feed_data(piece)
            for _ in range(PIPELINED):
                await reader.readline()
    if await reader.read(0):
        raise RuntimeError("a line was left")


async def unix_lines(operations: int, measured: Measured) -> None:
    """Each lane has a connection: a line goes there, and comes back."""
    rounds = groups_of(LANES, operations)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            writer.write(line)
            await writer.drain()
        writer.close()
        await writer.wait_closed()

    async def ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, count: int) -> None:
        for _ in range(count):
            writer.write(LONG_LINE)
            await writer.drain()
            if await reader.readline() != LONG_LINE:
                raise RuntimeError("a line was lost")

    clients = []
    answers = []
    for _ in range(LANES):
        near, far = socket.socketpair()
        clients.append(await asyncio.open_unix_connection(sock=near))
        server = await asyncio.open_unix_connection(sock=far)
        answers.append(asyncio.create_task(answer(*server)))
    with measured(rounds * LANES):
        await asyncio.gather(*(ask(*client, rounds) for client in clients))
    for _, writer in clients:
        writer.close()
        await writer.wait_closed()
    await asyncio.gather(*answers)


WORKLOADS = (
    Workload("readline_pipelined", lines_in_one_piece, "readline, line is there", 2_000, 20_000),
    Workload("unix_streams", unix_lines, "1 KiB line to and fro, Unix streams", 320, 3_200),
)
