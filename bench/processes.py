"""Processes of the suite: started on one core, bounded in time, and their end told in words.

Not here: what they measure. Thread: the main thread of `run.py`.
Invariant: no child outlives the call or the context that started it; a child that fails is an
exception that says how, never an empty result.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent


class ChildError(Exception):
    """A child ended badly; `absent` when its contender is not installed."""

    def __init__(self, reason: str, *, absent: bool = False, hung: bool = False) -> None:
        super().__init__(reason)
        self.absent = absent
        self.hung = hung


@dataclass(frozen=True, slots=True)
class Cores:
    """Where the process under test and its client run; the same core when there is but one."""

    tested: int
    client: int

    @classmethod
    def available(cls) -> Cores:
        """The last and the first core this process may use: the first one gets most interrupts."""
        cores = sorted(os.sched_getaffinity(0))
        return cls(tested=cores[-1], client=cores[0])


@contextlib.contextmanager
def pinned(core: int) -> Iterator[None]:
    """Children started within this context stay on `core`: they inherit where this process is."""
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, allowed)


def ending(status: int, stderr: str) -> str:
    """How a process ended: its signal, or its status and the last thing it said."""
    # Lines that begin so are valgrind's account of a crash: too long to tell here.
    lines = [line.strip() for line in stderr.splitlines() if not line.startswith("==")]
    lines = [line for line in lines if line]
    said = f": {lines[-1][:200]}" if lines else ""
    if status < 0:
        return f"killed by {signal.Signals(-status).name}{said}"
    return f"exit status {status}{said}"


def run_json(
    command: Sequence[str],
    core: int,
    *,
    timeout: float,
    environment: Mapping[str, str] | None = None,
    absent_status: int | None = None,
) -> dict[str, Any]:
    """Run a program to its end and return the JSON object on the last line of its output."""
    with pinned(core):
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
        )
    with process:
        try:
            output, errors = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            raise ChildError(f"not done after {timeout:.0f} s", hung=True) from None
        finally:
            if process.poll() is None:
                process.kill()
    if process.returncode:
        absent = process.returncode == absent_status
        raise ChildError(ending(process.returncode, errors), absent=absent)
    try:
        result = json.loads(output.splitlines()[-1])
    except (IndexError, ValueError):
        raise ChildError(f"printed no result: {output[-200:]!r}") from None
    if not isinstance(result, dict):
        raise ChildError(f"printed no result: {output[-200:]!r}")
    return result


@dataclass(slots=True)
class Server:
    """A running server and the JSON it announced itself with."""

    process: subprocess.Popen[bytes]
    announced: dict[str, Any]


@contextlib.contextmanager
def running_server(
    command: Sequence[str],
    core: int,
    *,
    timeout: float,
    environment: Mapping[str, str] | None = None,
    absent_status: int | None = None,
) -> Iterator[Server]:
    """Start a server, wait for its line, end it with SIGTERM; its own death is a failure."""
    with tempfile.TemporaryFile() as errors:
        with pinned(core):
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=errors,
                env=environment,
            )

        def failure() -> ChildError:
            errors.seek(0)
            status = process.wait()
            text = errors.read().decode(errors="replace")
            return ChildError(f"server: {ending(status, text)}", absent=status == absent_status)

        try:
            line = first_line(process, timeout)
            if not line:
                raise failure()
            yield Server(process, json.loads(line))
            if process.poll() is not None:
                raise failure()
        except ChildError as error:
            # A client's complaint is the echo of its server's death, when there was one.
            if process.poll() is not None and not str(error).startswith("server:"):
                raise failure() from error
            raise
        finally:
            stop(process)


def first_line(process: subprocess.Popen[bytes], timeout: float) -> bytes:
    """The first line of a child's output; empty when it ended without one."""
    if process.stdout is None:
        raise ChildError("the server has no output")
    deadline = time.monotonic() + timeout
    line = b""
    while not line.endswith(b"\n"):
        readable, _, _ = select.select(
            [process.stdout], [], [], max(0.0, deadline - time.monotonic())
        )
        if not readable:
            raise ChildError(f"server: silent for {timeout:.0f} s", hung=True)
        chunk = os.read(process.stdout.fileno(), 65_536)
        if not chunk:
            return b""
        line += chunk
    return line


def stop(process: subprocess.Popen[bytes]) -> None:
    """End a server that is still running, and collect it."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    if process.stdout is not None:
        process.stdout.close()
