"""Servers and clients on the two sides of a link that loses, delays, reorders and doubles packets,
and that goes away.

Here: what runs over the link. Not here: the link (lossy_link.py).
Each program runs in a process, and a network namespace, of its own.
Invariant: every byte comes once and in order; what is given a time ends at that time.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.faults.conftest import PATIENCE, check, ended, program_text

Start = Callable[..., "subprocess.Popen[str]"]

SIDES = ("here", "there")

COMMON = """
    import random
    from tests.tls_peer import client_context, server_context
    TLS = {tls}
"""

SERVER = """
    async def handle(reader, writer):
        while data := await reader.read(5000):
            writer.write(data)
            await writer.drain()
        writer.close()
        await writer.wait_closed()

    async def main():
        context = server_context() if TLS else None
        async with await asyncio.start_server(handle, "10.213.0.1", 9000, ssl=context):
            print("serving", flush=True)
            await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)

    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(main())
"""

CLIENT = """
    SIZE = 300_000

    async def exchange(number):
        over = dict(ssl=client_context(), server_hostname="localhost") if TLS else dict()
        reader, writer = await asyncio.open_connection("10.213.0.1", 9000, **over)
        sent = random.Random(number).randbytes(SIZE)

        async def send():
            for start in range(0, SIZE, 7000):
                writer.write(sent[start : start + 7000])
                await writer.drain()
            if not TLS:
                writer.write_eof()

        sending = asyncio.ensure_future(send())
        got = await reader.readexactly(SIZE)
        await sending
        assert got == sent, "the bytes differ"
        writer.close()
        await writer.wait_closed()

    def retransmitted():
        with open("/proc/net/snmp") as file:
            names, values = [line.split() for line in file if line.startswith("Tcp:")]
        return int(values[names.index("RetransSegs")])

    async def main():
        async with asyncio.timeout(30):
            await asyncio.gather(*map(exchange, range(6)))
        assert retransmitted() > 0, "the link lost nothing"

    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(main())
"""


@pytest.fixture
def start(loop_name: str) -> Iterator[Start]:
    """`start(side, text)`: the program, on that side of the link."""
    if os.geteuid() or shutil.which("ip") is None or not os.path.exists("/dev/net/tun"):
        pytest.skip("network namespaces need root, ip and /dev/net/tun")
    names = [f"rulip-{side}-{os.getpid()}" for side in SIDES]
    programs: list[subprocess.Popen[str]] = []

    def popen(*command: str) -> subprocess.Popen[str]:
        programs.append(
            subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        )
        return programs[-1]

    def start(side: str, text: str, *, tls: bool = False) -> subprocess.Popen[str]:
        program = program_text(loop_name, COMMON.format(tls=tls) + text)
        name = names[SIDES.index(side)]
        return popen("ip", "netns", "exec", name, sys.executable, "-c", program)

    try:
        for name in names:
            added = ended(["ip", "netns", "add", name])
            if added.returncode:
                pytest.skip(f"no network namespaces here: {added.stderr.strip()}")
        relay = popen(sys.executable, str(Path(__file__).with_name("lossy_link.py")), *names, "7")
        assert relay.stdout is not None
        assert relay.stdout.readline() == "ready\n", relay.communicate()
        yield start
    finally:
        for program in programs:
            program.kill()
            program.communicate()
        for name in names:
            subprocess.run(["ip", "netns", "del", name], check=False)


def done(program: subprocess.Popen[str]) -> subprocess.CompletedProcess[str]:
    out, err = program.communicate(timeout=PATIENCE)
    return subprocess.CompletedProcess("", program.returncode, out, err)


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
def test_every_byte_comes_through(start: Start, tls: bool) -> None:
    server = start("here", SERVER, tls=tls)
    assert server.stdout is not None
    assert server.stdout.readline() == "serving\n", server.communicate()
    check(done(start("there", CLIENT, tls=tls)))
    check(done(server))


def test_a_link_that_goes_away(start: Start) -> None:
    """Who waits is told at the time that was asked for, connecting too."""
    server = start("here", SERVER)
    assert server.stdout is not None
    assert server.stdout.readline() == "serving\n", server.communicate()
    client = start(
        "there",
        """
    import subprocess

    async def timed(awaitable):
        start = loop.time()
        try:
            await asyncio.wait_for(awaitable, 0.4)
        except TimeoutError:
            return 0.39 < loop.time() - start < 3
        return "no timeout"

    async def main():
        global loop
        loop = asyncio.get_running_loop()
        reader, writer = await asyncio.open_connection("10.213.0.1", 9000)
        writer.write(b"before")
        assert await reader.readexactly(6) == b"before"
        # Nobody answers for this address, and no router says so.
        assert await timed(asyncio.open_connection("10.213.0.77", 9000)) is True
        assert await timed(reader.read(1)) is True
        subprocess.run(["ip", "link", "set", "lossy", "down"], check=True)
        writer.write(b"lost")
        assert await timed(reader.read(1)) is True
        writer.transport.abort()
        try:
            await writer.wait_closed()
        except OSError as exc:
            # The kernel may have told of the missing route.
            assert exc.errno in (errno.ENETUNREACH, errno.EHOSTUNREACH), exc

    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(main())
    """,
    )
    check(done(client))
    server.kill()
