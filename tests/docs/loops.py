"""What event loops can do, asked of themselves: the table in docs/loops.md.

Here: one small program per row, run on each loop in a process of its own with a time limit; and the
table made of the outcomes. Not here: speed (bench/), and everything that asyncio does not promise.
Thread: the main one of each process.
Invariant: a row is `yes` only if its program came to its end within the limit.

    python tests/docs/loops.py asyncio uvloop rloop rulip
"""

from __future__ import annotations

import asyncio
import importlib
import os
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

CERTIFICATE = Path(__file__).parents[1] / "certificates" / "localhost.pem"
PATIENCE = 80.0  # seconds, for a process; a busy machine may need them to start one
LIMIT = 15.0  # seconds, for a row's program
LOCAL = "127.0.0.1"
Probe = Callable[[asyncio.AbstractEventLoop], Any]
PROBES: dict[str, tuple[Probe, tuple[int, int]]] = {}


def probe(text: str, since: tuple[int, int] = (3, 11)) -> Callable[[Probe], Probe]:
    """A row of the table, and the Python whose asyncio has it first."""

    def enter(function: Probe) -> Probe:
        PROBES[text] = (function, since)
        return function

    return enter


class Ears(asyncio.Protocol, asyncio.DatagramProtocol):
    """Remembers what it was told; works for streams and datagrams."""

    def __init__(self) -> None:
        self.heard: asyncio.Queue[object] = asyncio.Queue()
        self.lost: asyncio.Future[object] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.heard.put_nowait(data)

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self.heard.put_nowait(data)

    def connection_lost(self, exc: BaseException | None) -> None:
        if not self.lost.done():
            self.lost.set_result(exc)


async def served(loop: Any, factory: Any = Ears, **options: Any) -> tuple[Any, int]:
    server = await loop.create_server(factory, LOCAL, 0, **options)
    return server, server.sockets[0].getsockname()[1]


@probe("a new loop in a forked child")
def forked_child(loop: Any) -> None:
    loop.run_until_complete(asyncio.sleep(0))
    if (child := os.fork()) == 0:
        other = new_loop(sys.argv[1])
        other.run_until_complete(asyncio.sleep(0.01))
        other.close()
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0


@probe("an exception of `KeyboardInterrupt`'s kind leaves `run_forever()`")
def keyboard_interrupt(loop: Any) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    loop.call_soon(interrupt)
    loop.call_later(1, loop.stop)
    try:
        loop.run_forever()
    except KeyboardInterrupt:
        return
    raise AssertionError("swallowed")


@probe("`call_soon()` on a closed loop is an error")
def closed(loop: Any) -> None:
    other = new_loop(sys.argv[1])
    other.close()
    try:
        other.call_soon(print)
    except RuntimeError:
        return
    raise AssertionError("accepted")


@probe("a timer never runs before its time")
async def timers(loop: Any) -> None:
    early = []
    for number in range(200):
        delay = 0.001 + number / 200_000
        due = time.monotonic() + delay
        ran = loop.create_future()
        loop.call_later(delay, lambda ran=ran: ran.set_result(time.monotonic()))
        early.append(due - await ran)
    assert max(early) <= 0, max(early)


@probe("debug mode reports calls from a wrong thread")
async def wrong_thread(loop: Any) -> None:
    loop.set_debug(True)
    refused = []

    def call() -> None:
        try:
            loop.call_soon(print)
        except RuntimeError as exc:
            refused.append(exc)

    thread = threading.Thread(target=call)
    thread.start()
    thread.join()
    assert refused


@probe("`set_task_factory(asyncio.eager_task_factory)`", since=(3, 12))
async def eager(loop: Any) -> None:
    loop.set_task_factory(asyncio.eager_task_factory)
    begun = []

    async def begin() -> None:
        begun.append(True)

    task = loop.create_task(begin())
    assert begun
    await task


@probe("`create_task(coro, eager_start=True)`", since=(3, 14))
async def eager_start(loop: Any) -> None:
    begun = []

    async def begin() -> None:
        begun.append(True)

    await loop.create_task(begin(), eager_start=True)
    assert begun


@probe("native tasks and futures")
async def native_tasks(loop: Any) -> None:
    task = loop.create_task(asyncio.sleep(0))
    assert type(task).__module__ not in ("_asyncio", "asyncio.tasks")
    assert isinstance(task, asyncio.Task)
    await task


@probe("a transport is an `asyncio.Transport`")
async def transport_class(loop: Any) -> None:
    server, port = await served(loop)
    transport, _ = await loop.create_connection(Ears, LOCAL, port)
    assert isinstance(transport, asyncio.Transport)
    transport.abort()
    server.close()


@probe("`create_connection(happy_eyeballs_delay=...)`")
async def happy_eyeballs(loop: Any) -> None:
    server, port = await served(loop)
    transport, _ = await loop.create_connection(Ears, "localhost", port, happy_eyeballs_delay=0.2)
    transport.abort()
    server.close()


@probe("`create_connection(all_errors=True)`", since=(3, 12))
async def all_errors(loop: Any) -> None:
    with socket.socket() as closed_port:
        closed_port.bind((LOCAL, 0))
        try:
            await loop.create_connection(Ears, LOCAL, closed_port.getsockname()[1], all_errors=True)
        except ExceptionGroup:
            return
    raise AssertionError("no group")


@probe("a `protocol_factory` that raises leaves the server alive")
async def raising_factory(loop: Any) -> None:
    loop.set_exception_handler(lambda *_: None)
    calls = []

    def factory() -> Ears:
        calls.append(True)
        if len(calls) == 1:
            raise ValueError("refused")
        return Ears()

    server, port = await served(loop, factory)
    for _ in range(2):
        await loop.create_connection(Ears, LOCAL, port)
    while len(calls) < 2:
        await asyncio.sleep(0.01)
    server.close()


@probe("`server.wait_closed()` waits for clients", since=(3, 12))
async def wait_closed(loop: Any) -> None:
    server, port = await served(loop)
    transport, _ = await loop.create_connection(Ears, LOCAL, port)
    await asyncio.sleep(0.05)
    server.close()
    waiting = asyncio.ensure_future(server.wait_closed())
    await asyncio.wait([waiting], timeout=0.1)
    assert not waiting.done()
    transport.close()
    await waiting


@probe("`server.close_clients()`", since=(3, 13))
async def close_clients(loop: Any) -> None:
    server, port = await served(loop)
    _, protocol = await loop.create_connection(Ears, LOCAL, port)
    await asyncio.sleep(0.05)
    server.close_clients()
    assert await protocol.lost is None
    server.close()


@probe("a reset reaches `connection_lost(exc)`")
async def reset(loop: Any) -> None:
    with socket.create_server((LOCAL, 0)) as listener:
        _, protocol = await loop.create_connection(Ears, *listener.getsockname())
        accepted, _ = listener.accept()
        accepted.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        accepted.close()
        assert isinstance(await protocol.lost, ConnectionResetError)


@probe("half-close: `write_eof()`")
async def half_close(loop: Any) -> None:
    async def answer(reader: Any, writer: Any) -> None:
        writer.write(await reader.read())
        writer.close()

    server = await asyncio.start_server(answer, LOCAL, 0)
    reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
    writer.write(b"all")
    writer.write_eof()
    assert await reader.read() == b"all"
    writer.close()
    server.close()


@probe("TLS, server and client, on an `ssl.SSLContext`")
async def tls(loop: Any) -> None:
    ours, theirs = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH), ssl.create_default_context()
    ours.load_cert_chain(CERTIFICATE)
    theirs.check_hostname, theirs.verify_mode = False, ssl.CERT_NONE

    async def echo(reader: Any, writer: Any) -> None:
        writer.write(await reader.readline())
        writer.close()

    server = await asyncio.start_server(echo, LOCAL, 0, ssl=ours)
    port = server.sockets[0].getsockname()[1]
    reader, writer = await asyncio.open_connection(LOCAL, port, ssl=theirs)
    assert writer.get_extra_info("ssl_object").version().startswith("TLS")
    writer.write(b"hello\n")
    assert await reader.readline() == b"hello\n"
    writer.close()
    server.close()


@probe("Unix sockets")
async def unix_sockets(loop: Any) -> None:
    with tempfile.TemporaryDirectory() as folder:
        server = await loop.create_unix_server(Ears, f"{folder}/socket")
        transport, _ = await loop.create_unix_connection(Ears, f"{folder}/socket")
        transport.abort()
        server.close()


@probe("`loop.sendfile()` without a copy in Python")
async def sendfile(loop: Any) -> None:
    server, port = await served(loop)
    transport, _ = await loop.create_connection(Ears, LOCAL, port)
    with tempfile.TemporaryFile() as file:
        file.write(b"x" * 1000)
        file.flush()
        assert await loop.sendfile(transport, file, 0, 1000, fallback=False) == 1000
    transport.abort()
    server.close()


@probe("`sock_recvfrom()`, `sock_sendto()`")
async def sock_datagrams(loop: Any) -> None:
    with socket.socket(type=socket.SOCK_DGRAM) as one, socket.socket(type=socket.SOCK_DGRAM) as two:
        for end in (one, two):
            end.setblocking(False)
            end.bind((LOCAL, 0))
        await loop.sock_sendto(one, b"hello", two.getsockname())
        assert (await loop.sock_recvfrom(two, 100))[0] == b"hello"


async def send_datagrams(loop: Any, *sent: bytes) -> None:
    _, one = await loop.create_datagram_endpoint(Ears, local_addr=(LOCAL, 0))
    address = one.transport.get_extra_info("sockname")
    _, two = await loop.create_datagram_endpoint(Ears, (LOCAL, 0), address)
    for data in sent:
        two.transport.sendto(data)
        assert await one.heard.get() == data
    one.transport.close()
    two.transport.close()


@probe("datagrams with `local_addr` and `remote_addr`")
async def datagrams(loop: Any) -> None:
    await send_datagrams(loop, b"hello")


@probe("empty datagrams", since=(3, 13))
async def empty_datagrams(loop: Any) -> None:
    await send_datagrams(loop, b"hello", b"", b"end")


@probe("child processes")
async def children(loop: Any) -> None:
    pipe = asyncio.subprocess.PIPE
    child = await asyncio.create_subprocess_exec("cat", stdin=pipe, stdout=pipe)
    assert (await child.communicate(b"hello"))[0] == b"hello"
    assert child.returncode == 0


@probe("`create_subprocess_exec(umask=..., process_group=...)`")
async def child_options(loop: Any) -> None:
    child = await asyncio.create_subprocess_exec("true", umask=0o77, process_group=0)
    assert await child.wait() == 0


@probe("`add_signal_handler()`, `remove_signal_handler()`")
async def signals(loop: Any) -> None:
    import signal

    came = asyncio.Event()
    loop.add_signal_handler(signal.SIGUSR1, came.set)
    os.kill(os.getpid(), signal.SIGUSR1)
    await came.wait()
    assert loop.remove_signal_handler(signal.SIGUSR1) is True


def new_loop(name: str) -> asyncio.AbstractEventLoop:
    """A loop by the name of its package."""
    if name == "asyncio":
        return asyncio.SelectorEventLoop()
    made: asyncio.AbstractEventLoop = importlib.import_module(name).new_event_loop()
    return made


def run_one(name: str, text: str) -> None:
    """One row on one loop, in this process."""
    function, _ = PROBES[text]
    loop = new_loop(name)
    asyncio.set_event_loop(loop)
    outcome = function(loop)
    if outcome is not None:
        loop.run_until_complete(asyncio.wait_for(outcome, LIMIT))
    os._exit(0)  # what the loop says as it is torn down is not asked here


def ask(name: str, text: str) -> str:
    """`yes`, `no`, or the Python that has it first."""
    since = PROBES[text][1]
    if sys.version_info < since:
        return f"from {since[0]}.{since[1]}"
    try:
        done = subprocess.run(
            [sys.executable, __file__, "--one", name, text],
            stdin=subprocess.DEVNULL, capture_output=True, timeout=PATIENCE, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return "no"
    return "yes" if done.returncode == 0 else "no"


def table(names: list[str]) -> list[str]:
    """The lines of the page's table."""
    head = [f"{name} {version(name)}" for name in names]
    lines = [f"| | {' | '.join(head)} |", "|---" * (len(names) + 1) + "|"]
    for text in PROBES:
        lines.append(f"| {text} | {' | '.join(ask(name, text) for name in names)} |")
    return lines


def version(name: str) -> str:
    """The package's, or Python's own."""
    if name == "asyncio":
        return sys.version.split()[0]
    found: str | None = getattr(importlib.import_module(name), "__version__", None)
    return found or metadata.version(name)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        sys.argv.pop(1)
        run_one(sys.argv[1], sys.argv[2])
    else:
        print("\n".join(table(sys.argv[1:])))
