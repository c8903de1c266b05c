"""Claims at their full size: ten thousand connections, a hundred thousand cancellations, a memory
limit, a long run; and how late a timer is beside the kernel's own waits.

Here: what takes minutes, or a limit from outside. Not here: the same claims at the size that every
run of the tests can afford (tests/rulip, tests/stress, tests/asyncio).
Each program runs in a process of its own. SOAK_SECONDS in the environment lengthens the long run.
Invariant: nothing is lost, nothing grows.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.faults.conftest import check, ended, program_text

MINUTES = 600
SOAK_SECONDS = int(os.environ.get("SOAK_SECONDS", "40"))

pytestmark = [pytest.mark.timeout(MINUTES + SOAK_SECONDS), pytest.mark.loops("rulip")]

MEASURES = """
    import gc, random

    def resident():
        with open("/proc/self/statm") as statm:
            return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    def descriptors():
        return len(os.listdir("/proc/self/fd"))

    async def turns(count):
        for _ in range(count):
            await asyncio.sleep(0)

    def run(main):
        with asyncio.Runner(loop_factory=factory) as runner:
            runner.run(main)
"""

RunProgram = Callable[..., None]


@pytest.fixture
def play(loop_name: str) -> RunProgram:
    """`play(body)`: run the program; `preexec` runs in the child before it."""

    def play(body: str, preexec: Callable[[], None] | None = None) -> None:
        command = [sys.executable, "-c", program_text(loop_name, MEASURES + body)]
        check(ended(command, MINUTES + SOAK_SECONDS, preexec_fn=preexec))

    return play


def test_ten_thousand_connections_leave_nothing(play: RunProgram) -> None:
    play(
        """
    class Echo(asyncio.Protocol):
        def connection_made(self, transport):
            self.transport = transport

        def data_received(self, data):
            self.transport.write(data)
            self.transport.close()

    async def main():
        loop = asyncio.get_running_loop()
        server = await loop.create_server(Echo, "127.0.0.1", 0, backlog=200)
        where = server.sockets[0].getsockname()

        async def call(number):
            reader, writer = await asyncio.open_connection(*where)
            writer.write(b"%6d" % number)
            assert await reader.read() == b"%6d" % number
            writer.close()
            await writer.wait_closed()

        async def rounds(count):
            for _ in range(count):
                await asyncio.gather(*map(call, range(50)))
            await turns(10)
            gc.collect()
            return descriptors(), resident()

        before = await rounds(100)
        after = await rounds(100)
        assert after[0] == before[0], (before, after)
        assert after[1] < before[1] + 1_000_000, (before, after)
        server.close()

    run(main())
    """
    )


CANCELLED = """
    ROUNDS = 100_000

    async def race(start, arrive, received):
        # Each operation is cancelled in the turn in which its item comes, before or after it.
        pick = random.Random(10)
        for number in range(ROUNDS):
            task = asyncio.ensure_future(start())
            for _ in range(pick.randrange(3)):
                await asyncio.sleep(0)
            if pick.randrange(2):
                arrive(number)
                if pick.randrange(2):
                    await asyncio.sleep(0)
                task.cancel()
            else:
                task.cancel()
                if pick.randrange(2):
                    await asyncio.sleep(0)
                arrive(number)
            try:
                received(await task)
            except asyncio.CancelledError:
                pass
"""

ENDINGS = {
    "queue": """
    async def main():
        queue, got = asyncio.Queue(), []
        await race(queue.get, queue.put_nowait, got.append)
        while not queue.empty():
            got.append(queue.get_nowait())
        assert got == list(range(ROUNDS))
    """,
    "streams": """
    async def main():
        near, far = socket.socketpair()
        reader, writer = await asyncio.open_connection(sock=near)
        got = bytearray()
        await race(
            lambda: reader.read(3), lambda number: far.send(bytes([number & 255])), got.extend)
        far.close()
        got += await reader.read()
        assert got == bytes(number & 255 for number in range(ROUNDS))
        writer.close()
    """,
    "sock_recv": """
    async def main():
        loop = asyncio.get_running_loop()
        near, far = socket.socketpair()
        near.setblocking(False)
        got = bytearray()
        await race(
            lambda: loop.sock_recv(near, 3),
            lambda number: far.send(bytes([number & 255])),
            got.extend)
        far.close()
        while data := await loop.sock_recv(near, 1 << 16):
            got += data
        assert got == bytes(number & 255 for number in range(ROUNDS))
        near.close()
    """,
    "datagrams": """
    async def main():
        loop = asyncio.get_running_loop()
        near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        near.setblocking(False)
        got = []

        def arrive(number):
            far.send(b"%d" % number)
            if number % 50 == 49:  # before the queue of the kernel is full
                with contextlib.suppress(BlockingIOError):
                    while True:
                        got.append(int(near.recv(100)))

        await race(
            lambda: loop.sock_recvfrom(near, 100), arrive, lambda item: got.append(int(item[0])))
        with contextlib.suppress(BlockingIOError):
            while True:
                got.append(int(near.recv(100)))
        assert sorted(got) == list(range(ROUNDS))
        near.close(), far.close()
    """,
}


@pytest.mark.parametrize("what", ENDINGS)
def test_a_hundred_thousand_cancellations_lose_nothing(play: RunProgram, what: str) -> None:
    play(CANCELLED + ENDINGS[what] + "\n    run(main())\n")


def test_fifty_megabytes_through_a_child(play: RunProgram) -> None:
    play(
        """
    async def main():
        sent = random.Random(19).randbytes(50_000_000)
        for _ in range(2):
            child = await asyncio.create_subprocess_exec(
                "/bin/cat", stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE)
            got, _ = await child.communicate(sent)
            assert got == sent
            assert child.returncode == 0

    run(main())
    """
    )


def test_a_timer_is_hardly_later_than_the_kernels_own_wait(play: RunProgram) -> None:
    """Turn about with epoll's wait of the same length: what is late here is the machine's."""
    play(
        """
    import select

    async def main():
        loop = asyncio.get_running_loop()
        poll = select.epoll()
        ours, kernels = [], []
        pick = random.Random(12)
        for _ in range(1500):
            delay = pick.randrange(1, 4) / 1000
            start = time.monotonic()
            poll.poll(delay)
            kernels.append(time.monotonic() - start - delay)
            done = loop.create_future()
            when = loop.time() + delay
            loop.call_at(when, lambda: done.set_result(loop.time()))
            late = await done - when
            assert late >= 0
            ours.append(late)
        poll.close()
        ours.sort(), kernels.sort()
        place = len(ours) * 99 // 100
        assert ours[place] < kernels[place] + 0.0002, (ours[place], kernels[place])

    run(main())
    """
    )


@contextlib.contextmanager
def memory_group(limit: int) -> Iterator[Path]:
    """A control group with that many bytes of memory."""
    root = Path("/sys/fs/cgroup")
    first = (root / "memory").is_dir()
    group = (root / "memory" if first else root) / f"rulip-{os.getpid()}"
    try:
        group.mkdir()
    except OSError as exc:
        pytest.skip(f"no control group can be made: {exc}")
    try:
        try:
            (group / ("memory.limit_in_bytes" if first else "memory.max")).write_text(str(limit))
        except OSError as exc:
            pytest.skip(f"no memory controller here: {exc}")
        yield group
    finally:
        group.rmdir()


def test_clients_that_never_read_do_not_reach_the_memory_limit(play: RunProgram) -> None:
    """A hundred of them ask for gigabytes of answers; a server that drains stays within 60 MB."""
    with memory_group(60_000_000) as group:
        play(
            """
    async def answer(reader, writer):
        try:
            while request := await reader.readline():
                writer.write(request * 4000)
                await writer.drain()
        except ConnectionError:
            pass
        finally:
            writer.close()

    async def main():
        loop = asyncio.get_running_loop()
        server = await asyncio.start_server(answer, "127.0.0.1", 0, backlog=200)
        where = server.sockets[0].getsockname()
        clients = [socket.create_connection(where) for _ in range(100)]
        asked = 0
        for client in clients:
            client.setblocking(False)
        quiet = 0
        while quiet < 200:
            quiet += 1
            for client in clients:
                try:
                    asked += client.send(b"again\\n" * 1000)
                    quiet = 0
                except BlockingIOError:
                    pass
            await asyncio.sleep(0.001)
        # What was asked for, had it all been answered at once, is far past the limit.
        assert asked * 4000 > 1_000_000_000, asked
        for client in clients:
            client.close()
        server.close()

    run(main())
    """,
            lambda: (group / "cgroup.procs").write_text(str(os.getpid())) and None,
        )


def test_a_long_run_grows_nothing(play: RunProgram) -> None:
    """A bit of everything, again and again: it weighs as much at the end as in the middle."""
    play(
        f"""
    SECONDS = {SOAK_SECONDS}
    """
        """
    class Datagrams(asyncio.DatagramProtocol):
        def datagram_received(self, data, addr):
            arrived.set()

    async def echo(reader, writer):
        while line := await reader.readline():
            writer.write(line)
            await writer.drain()
        writer.close()

    async def talk(where, lines):
        reader, writer = await asyncio.open_connection(*where)
        for number in range(lines):
            writer.write(b"line %d\\n" % number)
            assert await reader.readline() == b"line %d\\n" % number
        writer.close()
        await writer.wait_closed()

    async def fails(number):
        await asyncio.sleep(number / 10_000)
        raise ValueError(number)

    async def everything(where):
        global arrived
        loop = asyncio.get_running_loop()
        await asyncio.gather(*(talk(where, number) for number in range(20)))
        await asyncio.gather(*map(fails, range(50)), return_exceptions=True)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0.001):
                await asyncio.Event().wait()
        timers = [loop.call_later(60, print) for _ in range(500)]
        for timer in timers:
            timer.cancel()
        arrived = asyncio.Event()
        transport, _ = await loop.create_datagram_endpoint(
            Datagrams, local_addr=("127.0.0.1", 0))
        transport.sendto(b"x", transport.get_extra_info("sockname"))
        await asyncio.wait_for(arrived.wait(), 20)
        transport.close()
        child = await asyncio.create_subprocess_exec("/bin/true")
        assert await child.wait() == 0
        assert await loop.run_in_executor(None, len, "four") == 4
        await loop.getaddrinfo("localhost", 80)

    async def main():
        loop = asyncio.get_running_loop()
        server = await asyncio.start_server(echo, "127.0.0.1", 0)
        where = server.sockets[0].getsockname()

        async def play(seconds):
            end = loop.time() + seconds
            count = 0
            while loop.time() < end:
                await everything(where)
                count += 1
            await turns(10)
            gc.collect()
            return descriptors(), threading.active_count(), len(gc.get_objects()), resident(), count

        await play(SECONDS / 4)
        before = await play(SECONDS * 3 / 8)
        after = await play(SECONDS * 3 / 8)
        assert after[:2] == before[:2], (before, after)
        assert after[2] < before[2] + 200, (before, after)
        assert after[3] < before[3] + 1_000_000, (before, after)
        server.close()

    run(main())
    """
    )
