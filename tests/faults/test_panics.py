"""A panic in native code costs what it hit, is told, and the loop goes on.

Here: a build with failpoints, and a panic at each of them. Not here: exceptions of the program's
own code (tests/asyncio). Needs cargo; the build takes a minute.
Each program runs in a process of its own.
Invariant: after the panic the same loop does everything as before.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.faults.conftest import ended, program_text

import rulip

pytestmark = [pytest.mark.loops("rulip"), pytest.mark.timeout(600)]

ROOT = Path(__file__).parents[2]

RunProgram = Callable[[str], None]


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a rulip that can be made to panic."""
    cargo = shutil.which("cargo")
    if cargo is None:
        pytest.skip("cargo is not installed")
    target = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "failpoints"
    features = ["--profile", "quick", "--package", "rulip-py", "--features", "failpoints"]
    subprocess.run(
        [cargo, "build", "--quiet", *features],
        cwd=ROOT,
        env={**os.environ, "PYO3_PYTHON": sys.executable, "CARGO_TARGET_DIR": str(target)},
        check=True,
    )
    folder = tmp_path_factory.mktemp("package")
    shutil.copytree(
        Path(rulip.__file__).parent,
        folder / "rulip",
        ignore=shutil.ignore_patterns("*.so", "__pycache__"),
    )
    name = f"_rulip{sysconfig.get_config_var('EXT_SUFFIX')}"
    shutil.copy(target / "quick" / "lib_rulip.so", folder / "rulip" / name)
    return folder


PROLOGUE = """
    from rulip._rulip import _arm
    reports = []
    BROKEN = "internal error in rulip (please report it): failpoint "

    class Recorder(asyncio.Protocol):
        def __init__(self):
            self.received, self.lost = b"", asyncio.get_running_loop().create_future()

        def connection_made(self, transport):
            self.transport = transport

        def data_received(self, data):
            self.received += data
            self.transport.write(data.upper())

        def connection_lost(self, exc):
            self.lost.set_result(exc)

    async def works():
        # What works on a loop that is whole.
        loop = asyncio.get_running_loop()
        protocols = []

        def factory():
            protocols.append(Recorder())
            return protocols[-1]

        async with await loop.create_server(factory, "127.0.0.1", 0) as server:
            reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
            writer.write(b"echo")
            assert await reader.readexactly(4) == b"ECHO"
            writer.close()
            await writer.wait_closed()
            assert await protocols[0].lost is None
        await asyncio.gather(*(asyncio.sleep(number / 10_000) for number in range(20)))
        assert asyncio.current_task() in asyncio.all_tasks()

    async def entry(main):
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda loop, context: reports.append(context))
        await works()
        await asyncio.wait_for(main(loop), 20)
        await works()
        _arm("")
        assert {task.get_name() for task in asyncio.all_tasks()} == {"Task-1"}

    def run(main):
        with asyncio.Runner(loop_factory=factory) as runner:
            runner.run(entry(main))

    def told(number=1):
        assert len(reports) == number, reports
        return [(report["message"], str(report["exception"])) for report in reports]
"""


@pytest.fixture
def play(package: Path, loop_name: str) -> RunProgram:
    def play(body: str) -> None:
        done = ended(
            [sys.executable, "-c", program_text(loop_name, PROLOGUE + body)],
            env={**os.environ, "PYTHONPATH": str(package), "RUST_BACKTRACE": "0"},
        )
        assert (done.stdout, done.returncode) == ("passed\n", 0), done.stderr
        # Rust tells of it too, and nobody else.
        assert done.stderr.count("panicked at") == 1, done.stderr
        assert "Traceback" not in done.stderr, done.stderr
        assert "Warning" not in done.stderr, done.stderr

    return play


def test_a_task_ends_with_it(play: RunProgram) -> None:
    """Who awaits the task is told; nobody else is touched."""
    play(
        """
    async def victim():
        while True:
            await asyncio.sleep(0)

    async def main(loop):
        task = loop.create_task(victim())
        await asyncio.sleep(0)
        _arm("step")
        try:
            await task
        except RuntimeError as exc:
            assert str(exc) == BROKEN + "step", exc
        else:
            raise AssertionError("no panic")
        assert task.done()
        assert not reports

    run(main)
    """
    )


def test_a_callback_is_lost_and_told(play: RunProgram) -> None:
    play(
        """
    async def main(loop):
        ran = []
        loop.call_soon(ran.append, "lost")
        loop.call_soon(ran.append, "next")
        _arm("job")
        await asyncio.sleep(0)
        assert ran == ["next"], ran
        assert told() == [("Exception in the event loop", BROKEN + "job")], reports

    run(main)
    """
    )


@pytest.mark.parametrize("place", ["readiness", "flush"])
def test_a_connection_is_lost_and_told(play: RunProgram, place: str) -> None:
    """The one that it hit: another one of the same server lives."""
    play(
        f"""
    PLACE = {place!r}
    """
        """
    async def main(loop):
        near, far = tcp()
        other, distant = tcp()
        _, lives = await loop.create_connection(Recorder, sock=other)
        _, dies = await loop.create_connection(Recorder, sock=near)
        _arm(PLACE)
        far.send(b"x")
        exc = await dies.lost
        assert isinstance(exc, RuntimeError)
        assert str(exc) == BROKEN + PLACE
        assert told() == [("Fatal error: internal error in rulip", BROKEN + PLACE)], reports
        assert await in_thread(everything_of, far) == b""
        distant.send(b"y")
        assert await in_thread(distant.recv, 10) == b"Y"
        assert not lives.transport.is_closing()
        lives.transport.close()
        assert await lives.lost is None
        far.close(), distant.close()

    def everything_of(sock):
        try:
            return everything(sock)
        except ConnectionResetError:
            return b""

    run(main)
    """
    )


def test_a_listener_goes_on(play: RunProgram) -> None:
    play(
        """
    async def main(loop):
        async with await loop.create_server(Recorder, "127.0.0.1", 0) as server:
            _arm("accept")
            with socket.create_connection(server.sockets[0].getsockname()) as client:
                client.settimeout(10)
                client.send(b"served")
                assert await in_thread(client.recv, 10) == b"SERVED"
        assert told() == [("Exception in the event loop", BROKEN + "accept")], reports

    run(main)
    """
    )
