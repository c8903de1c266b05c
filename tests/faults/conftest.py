"""Programs run with faults injected from outside: by strace into system calls, by libfaketime into
the clocks.

Here: the runners, and why a test is skipped where a tool is missing.
Not here: faults that a test can bring about by itself (tests/asyncio/, tests/rulip/).
Each program runs in a process of its own.
Invariant: a program ends by printing "passed", or its test fails with everything it printed.
"""

from __future__ import annotations

import glob
import os
import pathlib
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Callable, Sequence
from typing import Any

import pytest

PATIENCE = 40.0

PROLOGUE = """
import asyncio, contextlib, errno, os, resource, signal, socket, sys, threading, time
{make}

def tcp():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        near = socket.create_connection(listener.getsockname())
        far, _ = listener.accept()
    near.setblocking(False)
    far.settimeout(10)
    return near, far

def everything(sock):
    # With read(2): the faults are put into the loop's system calls, not into these.
    data = b""
    while chunk := os.read(sock.fileno(), 1 << 18):
        data += chunk
    return data

async def in_thread(function, *args):
    # Not through the executor: asyncio wakes its loop with send(2), where faults are put.
    results = []

    def body():
        try:
            results.append(function(*args))
        except OSError as exc:
            results.append(exc)

    thread = threading.Thread(target=body, daemon=True)
    thread.start()
    async with asyncio.timeout(15):
        while not results:
            await asyncio.sleep(0.001)
    if isinstance(results[0], OSError):
        raise results[0]
    return results[0]
"""

MAKE = {
    "asyncio": "factory = asyncio.SelectorEventLoop",
    "rulip": "import rulip; factory = rulip.new_event_loop",
}

RunProgram = Callable[..., None]


def program_text(loop_name: str, body: str) -> str:
    prologue = PROLOGUE.format(make=MAKE[loop_name])
    return prologue + textwrap.dedent(body) + "\nprint('passed', flush=True)\n"


def ended(
    command: Sequence[str], patience: float = PATIENCE, **given: Any
) -> subprocess.CompletedProcess[str]:
    """Run a program to its end, or for so many seconds."""
    return subprocess.run(
        command, capture_output=True, text=True, timeout=patience, check=False, **given
    )


def check(done: subprocess.CompletedProcess[str]) -> None:
    assert (done.stdout, done.stderr, done.returncode) == ("passed\n", "", 0)


@pytest.fixture(scope="session")
def strace() -> str:
    """The tracer, where it exists and may trace."""
    path = shutil.which("strace")
    if path is None:
        pytest.skip("strace is not installed")
    probe = subprocess.run(
        [path, "-f", "-qqq", "-o", os.devnull, "-e", "trace=none", "true"],
        capture_output=True,
        check=False,
        timeout=PATIENCE,
    )
    if probe.returncode:
        pytest.skip("strace may not trace here")
    return path


@pytest.fixture
def inject(strace: str, loop_name: str) -> RunProgram:
    """`inject(body, *faults, calls=...)`: run under strace, with these system calls tampered with.

    A fault is what strace's inject= takes after the names of the calls: "error=EINTR:when=1+2".
    """

    def run(body: str, *faults: str, calls: str, path: str | None = None) -> None:
        command = [strace, "-f", "-qqq", "-o", os.devnull, "-e", f"trace={calls}"]
        for fault in faults:
            command += ["-e", f"inject={calls}:{fault}"]
        if path is not None:
            command += ["-P", path]
        else:
            command.insert(2, "--seccomp-bpf")
        command += [sys.executable, "-c", program_text(loop_name, body)]
        check(ended(command))

    return run


@pytest.fixture
def count_calls(
    strace: str, loop_name: str, tmp_path: pathlib.Path
) -> Callable[[str, str, str], int]:
    """`count_calls(body, call, mark)`: how often `call` happens before the first `mark`."""

    def run(body: str, call: str, mark: str) -> int:
        trace = tmp_path / "trace"
        command = [strace, "-f", "-qqq", "-o", str(trace), "-e", f"trace={call},{mark}"]
        command += [sys.executable, "-c", program_text(loop_name, body)]
        check(ended(command))
        count = 0
        for line in trace.read_text().splitlines():
            if f"{mark}(" in line:
                return count
            count += f"{call}(" in line
        raise AssertionError(f"no {mark} among the calls")

    return run


@pytest.fixture
def on_false_clocks(loop_name: str, tmp_path: pathlib.Path) -> RunProgram:
    """`on_false_clocks(body, start, monotonic=...)`: run with clocks that the program can bend.

    The program calls `bend(offset)`; the offset is in libfaketime's notation: "+3600", "-3600".
    """
    found = [
        name
        for pattern in ("/usr/lib*/faketime", "/usr/lib/*/faketime")
        for name in glob.glob(f"{pattern}/libfaketime.so.1")
    ]
    if not found:
        pytest.skip("libfaketime is not installed")

    def run(body: str, start: str = "+0", *, monotonic: bool) -> None:
        offset = tmp_path / "offset"
        offset.write_text(start)
        bend = (
            f"def bend(offset):\n    with open({str(offset)!r}, 'w') as file:\n"
            "        file.write(offset)\n"
        )
        environment = {
            **os.environ,
            "LD_PRELOAD": found[0],
            "FAKETIME_TIMESTAMP_FILE": str(offset),
            "FAKETIME_NO_CACHE": "1",
        }
        if not monotonic:
            environment["FAKETIME_DONT_FAKE_MONOTONIC"] = "1"
        text = program_text(loop_name, bend + textwrap.dedent(body))
        check(ended([sys.executable, "-c", text], env=environment))

    return run
