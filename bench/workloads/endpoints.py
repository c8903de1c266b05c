"""Messages to and fro on datagram sockets, Unix streams and pipes, both ends on one loop.

Not here: TCP (`tcp.py`). Thread: the loop's. Invariant: every message comes back whole before the
next one of its lane is sent; what is measured is both ends' work.
"""

from __future__ import annotations

import asyncio
import functools
import os
import resource
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from measured import Measured

from .registry import Workload, groups_of

LANES = 16
MESSAGE = bytes(1024)


class Lanes:
    """So many messages under way at once, until all were sent and came back."""

    def __init__(self, operations: int) -> None:
        self.left = operations
        self.under_way = 0
        self.done = asyncio.get_running_loop().create_future()

    def start(self, send: Callable[[], object]) -> None:
        self.left -= 1
        self.under_way += 1
        send()

    def came_back(self, send: Callable[[], object]) -> None:
        self.under_way -= 1
        if self.left > 0:
            self.start(send)
        elif not self.under_way:
            self.done.set_result(None)


class DatagramEcho(asyncio.DatagramProtocol):
    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self.transport.sendto(data, addr)


class DatagramClient(asyncio.DatagramProtocol):
    lanes: Lanes

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def send(self) -> None:
        self.transport.sendto(MESSAGE)

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self.lanes.came_back(self.send)


async def udp_echo(operations: int, measured: Measured) -> None:
    loop = asyncio.get_running_loop()
    server, _ = await loop.create_datagram_endpoint(DatagramEcho, local_addr=("127.0.0.1", 0))
    client, protocol = await loop.create_datagram_endpoint(
        DatagramClient, remote_addr=server.get_extra_info("sockname")
    )
    protocol.lanes = lanes = Lanes(operations)
    with measured(operations):
        for _ in range(min(LANES, operations)):
            lanes.start(protocol.send)
        await lanes.done
    client.close()
    server.close()
    await asyncio.sleep(0)
    await asyncio.sleep(0)


async def unix_streams(operations: int, measured: Measured) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            writer.write(line)
            await writer.drain()
        writer.close()
        await writer.wait_closed()

    async def ask(path: str, count: int) -> None:
        reader, writer = await asyncio.open_unix_connection(path)
        ready.append(None)
        await go.wait()
        for _ in range(count):
            writer.write(line)
            await reader.readline()
        writer.close()
        await writer.wait_closed()

    line = MESSAGE[:-1].replace(b"\0", b"x") + b"\n"
    count = groups_of(LANES, operations)
    ready: list[None] = []
    go = asyncio.Event()
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "socket")
        server = await asyncio.start_unix_server(serve, path)
        askers = [asyncio.create_task(ask(path, count)) for _ in range(LANES)]
        while len(ready) < LANES:
            await asyncio.sleep(0)
        with measured(count * LANES):
            go.set()
            await asyncio.gather(*askers)
        server.close()
        await server.wait_closed()


class PipeEcho(asyncio.Protocol):
    writer: Any

    def data_received(self, data: bytes) -> None:
        self.writer.write(data)


class PipeClient(asyncio.Protocol):
    lanes: Lanes
    writer: Any

    def __init__(self) -> None:
        self.received = 0

    def send(self) -> None:
        self.writer.write(MESSAGE)

    def data_received(self, data: bytes) -> None:
        self.received += len(data)
        while self.received >= len(MESSAGE):
            self.received -= len(MESSAGE)
            self.lanes.came_back(self.send)


async def pipe_echo(operations: int, measured: Measured) -> None:
    loop = asyncio.get_running_loop()
    lanes = Lanes(operations)
    transports: list[Any] = []
    clients: list[PipeClient] = []
    for _ in range(LANES):
        there, back = os.pipe(), os.pipe()
        ends = (("rb", there[0]), ("wb", back[1]), ("rb", back[0]), ("wb", there[1]))
        files = [os.fdopen(fd, mode, 0) for mode, fd in ends]
        reader, echo = await loop.connect_read_pipe(PipeEcho, files[0])
        echo.writer, _ = await loop.connect_write_pipe(asyncio.BaseProtocol, files[1])
        other, client = await loop.connect_read_pipe(PipeClient, files[2])
        client.writer, _ = await loop.connect_write_pipe(asyncio.BaseProtocol, files[3])
        client.lanes = lanes
        clients.append(client)
        transports += [reader, echo.writer, other, client.writer]
    with measured(operations):
        for client in clients[:operations]:
            lanes.start(client.send)
        await lanes.done
    for transport in transports:
        transport.close()
    await asyncio.sleep(0)
    await asyncio.sleep(0)


class Echo(asyncio.Protocol):
    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.transport.write(data)


class Client(asyncio.Protocol):
    lanes: Lanes

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def send(self) -> None:
        self.transport.write(MESSAGE)

    def data_received(self, data: bytes) -> None:
        self.lanes.came_back(self.send)


async def beside_idle(idle: int, operations: int, measured: Measured) -> None:
    """A few connections talk beside many ends that do not."""
    loop = asyncio.get_running_loop()
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    transports: list[Any] = []
    clients: list[Client] = []
    for number in range(idle // 2 + LANES):
        left, right = socket.socketpair()
        transport, _ = await loop.connect_accepted_socket(Echo, left)
        other, client = await loop.connect_accepted_socket(Client, right)
        transports += [transport, other]
        if number >= idle // 2:
            clients.append(client)
    lanes = Lanes(operations)
    for client in clients:
        client.lanes = lanes
    with measured(operations):
        for client in clients[:operations]:
            lanes.start(client.send)
        await lanes.done
    for transport in transports:
        transport.abort()
    await asyncio.sleep(0)
    await asyncio.sleep(0)


async def churn(operations: int, measured: Measured) -> None:
    """Connect, say a word, hear it back, close."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Echo, "127.0.0.1", 0, backlog=200)
    port = server.sockets[0].getsockname()[1]

    class Caller(asyncio.Protocol):
        def connection_made(self, transport: Any) -> None:
            self.transport = transport
            transport.write(b"word")

        def data_received(self, data: bytes) -> None:
            self.transport.close()

        def connection_lost(self, exc: BaseException | None) -> None:
            self.lost.set_result(None)

        def __init__(self) -> None:
            self.lost = loop.create_future()

    async def call(count: int) -> None:
        for _ in range(count):
            _, protocol = await loop.create_connection(Caller, "127.0.0.1", port)
            await protocol.lost

    count = groups_of(LANES, operations)
    with measured(count * LANES):
        await asyncio.gather(*(call(count) for _ in range(LANES)))
    server.close()
    await server.wait_closed()


#: A program that takes what comes on its standard input, a socket.
DRAIN = """
import socket
with socket.socket(fileno=0) as peer:
    buffer = bytearray(1 << 20)
    while peer.recv_into(buffer):
        pass
"""


async def send_files(size: int, operations: int, measured: Measured) -> None:
    """Files to a connection whose other end is another process, one after the other."""
    loop = asyncio.get_running_loop()

    async def send() -> None:
        try:
            sent = await loop.sendfile(transport, file)
            if sent != size:
                peer.kill()
                raise RuntimeError(f"sendfile() sent {sent} of {size} bytes")
        except NotImplementedError:
            # What a program does on a loop without it.
            file.seek(0)
            while chunk := file.read(1 << 16):
                transport.write(chunk)
                await drained.wait()

    drained = Gate()
    with socket.create_server(("127.0.0.1", 0)) as listener, tempfile.TemporaryFile() as file:
        near = socket.create_connection(listener.getsockname())
        far, _ = listener.accept()
        file.write(os.urandom(size))
        file.flush()
        with subprocess.Popen([sys.executable, "-c", DRAIN], stdin=far) as peer:
            far.close()
            transport, _ = await loop.create_connection(lambda: drained, sock=near)
            await send()
            with measured(operations):
                for _ in range(operations):
                    await send()
            transport.close()
            await drained.lost.wait()
            peer.wait()


class Gate(asyncio.Protocol):
    """Open while there is room to write."""

    def __init__(self) -> None:
        self.lost = asyncio.Event()
        self.room = asyncio.Event()
        self.room.set()

    def connection_lost(self, exc: BaseException | None) -> None:
        self.lost.set()

    def pause_writing(self) -> None:
        self.room.clear()

    def resume_writing(self) -> None:
        self.room.set()

    async def wait(self) -> None:
        await self.room.wait()
        await asyncio.sleep(0)


def beside(idle: int, name: str, *, full: bool = True) -> Workload:
    """The row with so many idle ends."""
    return Workload(
        f"idle_{name}",
        functools.partial(beside_idle, idle),
        f"Protocol echo of 1 KiB beside {idle:,} idle ones",
        16,
        2_000,
        full=full,
        kind="growth" if full else "scheduling",
    )


WORKLOADS = (
    Workload("udp_echo", udp_echo, "UDP echo of 1 KiB, 16 under way", 200, 2_000),
    Workload("unix_streams", unix_streams, "Unix stream echo of 1 KiB, 16 connections", 200, 2_000),
    Workload("pipe_echo", pipe_echo, "echo of 1 KiB over two pipes, 16 pairs", 200, 2_000),
    Workload("connect_close", churn, "connect, echo of 4 bytes, close", 64, 512),
    Workload(
        "sendfile_4k",
        functools.partial(send_files, 4 << 10),
        "loop.sendfile() of 4 KiB to another process",
        20,
        200,
    ),
    Workload(
        "sendfile_50m",
        functools.partial(send_files, 50_000_000),
        "loop.sendfile() of 50 MB to another process",
        1,
        4,
    ),
    beside(10, "10"),
    beside(100, "100"),
    beside(1_000, "1k"),
    beside(10_000, "10k", full=False),
)
