"""Peers and recorders for the loop tests: real sockets on the loopback interface.

Here: connected socket pairs, protocols that write down every call made to them, and the few ways
in which tests wait.
Not here: fixtures (conftest.py) and assertions about one subject (the test files).
Runs in the thread of the loop under test.
Invariant: every wait is bounded by PATIENCE, and nothing waits by sleeping.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import random
import resource
import select
import signal
import socket
import struct
import threading
import warnings
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any, Self, TypeVar

T = TypeVar("T")

PATIENCE = 10.0

SocketPair = Callable[[], tuple[socket.socket, socket.socket]]


async def within(awaitable: Awaitable[T], seconds: float = PATIENCE) -> T:
    """Await, but never for longer than `seconds`."""
    async with asyncio.timeout(seconds):
        return await awaitable


async def turns(count: int) -> None:
    """Let the running loop make `count` whole turns."""
    loop = asyncio.get_running_loop()
    for _ in range(count):
        turned = loop.create_future()
        loop.call_soon(turned.set_result, None)
        await turned


def spin(loop: asyncio.AbstractEventLoop, count: int = 1) -> None:
    """Run a loop that is not running for exactly `count` turns."""
    for _ in range(count):
        loop.stop()
        loop.run_forever()


def run_until(loop: asyncio.AbstractEventLoop, done: Callable[[], object]) -> None:
    """Run a loop that is not running, turn by turn, until `done()` is true."""
    watchdog = loop.call_later(PATIENCE, lambda: None)
    deadline = watchdog.when()
    try:
        while not done():
            assert loop.time() < deadline, "gave up waiting"
            spin(loop)
    finally:
        watchdog.cancel()


async def until(done: Callable[[], object]) -> None:
    """Make turns until `done()` is true: for states that no callback announces."""
    async with asyncio.timeout(PATIENCE):
        while not done():
            await turns(1)


def collect_reports(loop: asyncio.AbstractEventLoop) -> list[dict[str, Any]]:
    """The contexts that reach the loop's exception handler from now on."""
    reports: list[dict[str, Any]] = []
    loop.set_exception_handler(lambda _, context: reports.append(context))
    return reports


def open_fds() -> dict[int, str]:
    """What each open descriptor of this process refers to."""
    found: dict[int, str] = {}
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            found[int(name)] = os.readlink(f"/proc/self/fd/{name}")
    return found


@contextlib.contextmanager
def resource_warnings() -> Iterator[list[str]]:
    """The texts of the ResourceWarnings given meanwhile, also by finalizers."""
    texts: list[str] = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            yield texts
        finally:
            for _ in range(3):  # a finalizer may bring an object back until the next time
                gc.collect()
            texts += [str(each.message) for each in caught if each.category is ResourceWarning]
            caught.clear()  # the warnings hold what they are about
            gc.collect()


@contextlib.contextmanager
def no_fd_leak() -> Iterator[None]:
    """The body leaves exactly the descriptors open that it found."""
    gc.collect()
    before = open_fds()
    yield
    gc.collect()
    after = open_fds()
    leaked = {fd: what for fd, what in after.items() if before.get(fd) != what}
    closed = {fd: what for fd, what in before.items() if after.get(fd) != what}
    assert (leaked, closed) == ({}, {})


@contextlib.contextmanager
def spare_descriptors(count: int) -> Iterator[None]:
    """Only `count` more descriptors can be opened meanwhile."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    top = max(open_fds())
    fillers = [os.open(os.devnull, os.O_RDONLY)]
    while fillers[-1] < top:
        fillers.append(os.open(os.devnull, os.O_RDONLY))
    resource.setrlimit(resource.RLIMIT_NOFILE, (fillers[-1] + 1 + count, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        for filler in fillers:
            os.close(filler)


def reset(sock: socket.socket) -> None:
    """Close so that the other end sees RST instead of FIN."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


def readable(sock: socket.socket | int, seconds: float = PATIENCE) -> bool:
    """Block until the kernel says that a read would not."""
    poll = select.poll()
    poll.register(sock, select.POLLIN)
    return bool(poll.poll(int(seconds * 1000)))


def tcp_listener(backlog: int = 100) -> socket.socket:
    """A non-blocking listening socket on a free port of 127.0.0.1."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=backlog)
    listener.setblocking(False)
    return listener


def tcp_sockets() -> tuple[socket.socket, socket.socket]:
    """Both ends of a TCP connection, non-blocking."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        near = socket.create_connection(listener.getsockname(), timeout=PATIENCE)
        far, _ = listener.accept()
    near.setblocking(False)
    far.setblocking(False)
    return near, far


def unix_sockets() -> tuple[socket.socket, socket.socket]:
    """Both ends of a Unix stream connection, non-blocking."""
    near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    near.setblocking(False)
    far.setblocking(False)
    return near, far


async def recv_exactly(sock: socket.socket, count: int) -> bytes:
    """The next `count` bytes of a peer's socket; fewer only at its end."""
    loop = asyncio.get_running_loop()
    received = bytearray()
    async with asyncio.timeout(PATIENCE):
        while len(received) < count:
            chunk = await loop.sock_recv(sock, min(1 << 18, count - len(received)))
            if not chunk:
                break
            received += chunk
    return bytes(received)


async def recv_to_end(sock: socket.socket, seconds: float = PATIENCE) -> bytes:
    """All bytes of a peer's socket until it ends."""
    loop = asyncio.get_running_loop()
    received = bytearray()
    async with asyncio.timeout(seconds):
        while chunk := await loop.sock_recv(sock, 1 << 18):
            received += chunk
    return bytes(received)


class Recording:
    """Writes down the calls that every stream protocol gets; `calls` is their order."""

    keep_open: bool | None = None

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        self.calls: list[str] = []
        self.received = bytearray()
        self.transport: Any = None
        self.made: asyncio.Future[None] = loop.create_future()
        self.ended: asyncio.Future[None] = loop.create_future()
        self.lost: asyncio.Future[BaseException | None] = loop.create_future()
        self.paused: asyncio.Future[None] = loop.create_future()
        self._growing: list[tuple[int, asyncio.Future[None]]] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.calls.append("connection_made")
        self.transport = transport
        self.made.set_result(None)

    def take(self, data: bytes | memoryview) -> None:
        self.received += data
        for count, grown in self._growing:
            if count <= len(self.received) and not grown.done():
                grown.set_result(None)

    def eof_received(self) -> bool | None:
        self.calls.append("eof_received")
        if not self.ended.done():
            self.ended.set_result(None)
        return self.keep_open

    def connection_lost(self, exc: BaseException | None) -> None:
        self.calls.append("connection_lost")
        assert not self.lost.done(), "connection_lost called twice"
        self.lost.set_result(exc)

    def pause_writing(self) -> None:
        self.calls.append("pause_writing")
        if not self.paused.done():
            self.paused.set_result(None)

    def resume_writing(self) -> None:
        self.calls.append("resume_writing")
        self.paused = asyncio.get_running_loop().create_future()

    async def wait_received(self, count: int) -> None:
        """Until `count` bytes have come in all."""
        if len(self.received) < count:
            grown = asyncio.get_running_loop().create_future()
            self._growing.append((count, grown))
            await within(grown)


class Recorder(Recording, asyncio.Protocol):
    """A recording Protocol; calls to data_received in a row are written down as one."""

    def data_received(self, data: bytes) -> None:
        if self.calls[-1] != "data_received":
            self.calls.append("data_received")
        self.take(data)


class BufferedRecorder(Recording, asyncio.BufferedProtocol):
    """A recording BufferedProtocol with one fixed buffer."""

    size = 1000

    def __init__(self) -> None:
        super().__init__()
        self.buffer = bytearray(self.size)
        self.hints: list[int] = []

    def get_buffer(self, sizehint: int) -> Any:
        self.hints.append(sizehint)
        return self.buffer

    def buffer_updated(self, nbytes: int) -> None:
        if self.calls[-1] != "buffer_updated":
            self.calls.append("buffer_updated")
        self.take(memoryview(self.buffer)[:nbytes])


P = TypeVar("P", bound=asyncio.BaseProtocol)


@contextlib.asynccontextmanager
async def connection(
    factory: Callable[[], P] = Recorder,  # type: ignore[assignment]
    sockets: SocketPair = tcp_sockets,
) -> AsyncIterator[tuple[Any, P, socket.socket]]:
    """A transport of the running loop, its protocol, and the plain socket at the other end."""
    loop = asyncio.get_running_loop()
    near, far = sockets()
    try:
        open_connection = (
            loop.create_unix_connection if near.family == socket.AF_UNIX else loop.create_connection
        )
        transport, protocol = await within(open_connection(factory, sock=near))
    except BaseException:
        near.close()
        far.close()
        raise
    sock = transport.get_extra_info("socket")
    try:
        yield transport, protocol, far
    finally:
        far.close()
        if sock.fileno() != -1:
            transport.abort()
        await turns(2)


@contextlib.contextmanager
def thread(target: Callable[[], object]) -> Iterator[threading.Thread]:
    """Run `target` in a thread; at the end join it and raise what it raised."""
    failures: list[BaseException] = []

    def body() -> None:
        try:
            target()
        except BaseException as exc:
            failures.append(exc)

    worker = threading.Thread(target=body, daemon=True)
    worker.start()
    try:
        yield worker
    finally:
        worker.join(PATIENCE)
    assert not worker.is_alive(), "the thread did not end"
    if failures:
        raise failures[0]


def send_signal(number: int) -> None:
    """To the main thread (for one that another thread takes: rulip/test_signal_delivery.py)."""
    main = threading.main_thread().ident
    assert main is not None
    signal.pthread_kill(main, number)


class SignalStorm:
    """A thread that signals the main thread again as soon as the last signal was handled.

    One signal at a time: asyncio complains when its descriptor for signals is full. An
    unmeasured storm is in tests/stress/.
    """

    def __init__(self, *numbers: int, jitter: int = 0) -> None:
        self.numbers = numbers
        self.jitter = jitter
        self.handled, self.noted = os.pipe()

    def strike(self) -> None:
        count = 0
        pick = random.Random(count)
        while os.read(self.handled, 1) == b"x":
            for _ in range(pick.randrange(self.jitter + 1)):
                pass
            send_signal(self.numbers[count % len(self.numbers)])
            count += 1

    def note(self) -> None:
        """Called by the handlers: the next signal may come."""
        os.write(self.noted, b"x")

    def __enter__(self) -> Self:
        self.note()
        self.thread = threading.Thread(target=self.strike)
        self.thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        os.write(self.noted, b".")
        self.thread.join(PATIENCE)
        os.close(self.handled)
        os.close(self.noted)
