"""What the tour times: one workload, on the loop that this process runs, printed as JSON.

    python [-m rulip] tour_workloads.py WORKLOAD [--seconds LENGTH]

Each workload is written against asyncio alone and is the same for every loop; `tour.py` starts a
process per sample and compares. One thread; the clock counts the whole process's CPU time (user
and system, all threads). A workload does as many operations as it was asked for, no fewer.
"""

import argparse
import asyncio
import json
import time
from collections.abc import Awaitable, Callable

MESSAGE = b"x" * 1024
CONNECTIONS = 10

Workload = Callable[[int], Awaitable[float]]


def timed(body: Callable[[int], Awaitable[None]]) -> Workload:
    """A workload without preparations: all of it is timed."""

    async def workload(operations: int) -> float:
        start = time.process_time()
        await body(operations)
        return time.process_time() - start

    return workload


async def call_soon(operations: int) -> None:
    """A callback that schedules itself again: one handle per turn of the loop."""
    loop = asyncio.get_running_loop()
    done = loop.create_future()
    left = operations

    def again() -> None:
        nonlocal left
        left -= 1
        if left:
            loop.call_soon(again)
        else:
            done.set_result(None)

    loop.call_soon(again)
    await done


async def sleep_zero(operations: int) -> None:
    """A task that gives way to the loop, again and again."""
    for _ in range(operations):
        await asyncio.sleep(0)


async def create_task(operations: int) -> None:
    """Start a task that does nothing, and await it."""

    async def nothing() -> None:
        pass

    for _ in range(operations):
        await asyncio.create_task(nothing())


async def ping_pong(operations: int) -> None:
    """Two tasks wake each other in turn, through a new future each time."""
    loop = asyncio.get_running_loop()
    courts: list[asyncio.Future[None]] = [loop.create_future(), loop.create_future()]

    async def play(mine: int, theirs: int) -> None:
        for _ in range(operations // 2):
            await courts[mine]
            courts[mine] = loop.create_future()
            courts[theirs].set_result(None)

    courts[0].set_result(None)
    await asyncio.gather(play(0, 1), play(1, 0))


class EchoServer(asyncio.Protocol):
    """Sends back what it gets."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.transport.write(data)


class EchoClient(asyncio.Protocol):
    """Sends a message, waits until all of it is back, and so on; `done` after the last."""

    def __init__(self, messages: int) -> None:
        self.messages = messages
        self.missing = 0
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def send(self) -> None:
        """Send the next message."""
        self.missing = len(MESSAGE)
        self.transport.write(MESSAGE)

    def data_received(self, data: bytes) -> None:
        self.missing -= len(data)
        if self.missing == 0:
            self.messages -= 1
            if self.messages:
                self.send()
            else:
                self.done.set_result(None)


async def echo(operations: int) -> float:
    """TCP over loopback, client and server on this one loop; connecting is not timed."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(EchoServer, "127.0.0.1", 0)
    address = server.sockets[0].getsockname()
    per_client = operations // CONNECTIONS
    clients = []
    for _ in range(CONNECTIONS):
        clients.append((await loop.create_connection(lambda: EchoClient(per_client), *address))[1])
    start = time.process_time()
    for client in clients:
        client.send()
    await asyncio.gather(*(client.done for client in clients))
    spent = time.process_time() - start
    for client in clients:
        client.transport.close()
    server.close()
    await server.wait_closed()
    return spent


WORKLOADS: dict[str, Workload] = {
    "call_soon": timed(call_soon),
    "sleep(0)": timed(sleep_zero),
    "create_task": timed(create_task),
    "ping-pong": timed(ping_pong),
    "echo": echo,
}


async def measure(workload: Workload, seconds: float) -> dict[str, object]:
    """Double the operations until they take `seconds` of CPU; report the last, longest run."""
    operations = 20 * CONNECTIONS
    while (spent := await workload(operations)) < seconds:
        operations *= 2
    loop = type(asyncio.get_running_loop())
    return {
        "loop": f"{loop.__module__}.{loop.__qualname__}",
        "operations": operations,
        "ns": spent / operations * 1e9,
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="time one workload")
    parser.add_argument("workload", choices=WORKLOADS)
    parser.add_argument("--seconds", type=float, default=0.1, help="CPU time to spend at least")
    args = parser.parse_args()
    print(json.dumps(asyncio.run(measure(WORKLOADS[args.workload], args.seconds))))
