"""PostgreSQL and Redis for the application rows: real servers, started for one sample.

Not here: their clients (`workloads/applications.py`). Thread: the worker's main thread, before the
clock starts and after it stopped. Invariant: loopback only, everything in a temporary folder, and a
server ends with the context that started it; it may run on every core, so that it does not compete
with the process under test.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

HOST = "127.0.0.1"
PATIENCE = 30.0
# Where distributions keep programs that are not on the path.
POSTGRES = ("initdb", "pg_isready", "postgres")
REDIS = ("redis-cli", "redis-server")
FOLDERS = dict.fromkeys(POSTGRES, "usr/lib/postgresql/*/bin")


def located(program: str) -> str | None:
    """Where a program is."""
    if found := shutil.which(program):
        return found
    if folder := FOLDERS.get(program):
        return next((str(path) for path in sorted(Path("/").glob(f"{folder}/{program}"))), None)
    return None


def is_installed(program: str) -> bool:
    return located(program) is not None


def command(program: str, *arguments: str) -> list[str]:
    """A command line of an installed program."""
    path = located(program)
    if path is None:
        raise FileNotFoundError(f"{program} is not installed")
    return [path, *arguments]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
    return port


@contextlib.contextmanager
def everywhere() -> Iterator[None]:
    """Children started within this context may run on any core but this process's own."""
    own = os.sched_getaffinity(0)
    others = set(range(os.cpu_count() or 1)) - own
    if not others:
        yield
        return
    with contextlib.suppress(OSError):  # cores this process may not use
        os.sched_setaffinity(0, others)
    try:
        yield
    finally:
        os.sched_setaffinity(0, own)


@contextlib.contextmanager
def running(line: Sequence[str], ready: Sequence[str], **options: Any) -> Iterator[None]:
    """A server, from when the command `ready` first succeeds to its end."""
    with everywhere():
        process = subprocess.Popen(
            line,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            **options,
        )
    with process:
        try:
            wait_until(process, ready)
            yield
        finally:
            process.send_signal(signal.SIGINT)  # both: at once, whoever is connected
            try:
                process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                process.kill()


def wait_until(process: subprocess.Popen[bytes], ready: Sequence[str]) -> None:
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise RuntimeError(f"{process.args!r} ended with status {process.returncode}")
        if subprocess.run(ready, check=False, capture_output=True).returncode == 0:
            return
        time.sleep(0.02)
    raise RuntimeError(f"{process.args!r} is not ready")


@contextlib.contextmanager
def redis() -> Iterator[int]:
    """A Redis server that stores nothing; gives its port."""
    port = free_port()
    with tempfile.TemporaryDirectory() as folder:
        line = command("redis-server", "--port", str(port), "--bind", HOST, "--dir", folder)
        with running([*line, "--save", ""], command("redis-cli", "-p", str(port), "ping")):
            yield port


@contextlib.contextmanager
def postgres() -> Iterator[int]:
    """A new PostgreSQL server whose user `postgres` needs no password; gives its port."""
    port = free_port()
    owner: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        data = str(Path(folder, "data"))
        if os.geteuid() == 0:  # it refuses to run as root
            account = pwd.getpwnam("postgres")
            os.chown(folder, account.pw_uid, account.pw_gid)
            owner = {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}
        with everywhere():
            subprocess.run(
                command("initdb", "-A", "trust", "-U", "postgres", "--no-sync", "-D", data),
                check=True,
                capture_output=True,
                cwd=folder,
                **owner,
            )
        line = command("postgres", "-D", data, "-p", str(port), "-h", HOST, "-k", folder, "-F")
        ready = command("pg_isready", "-q", "-h", HOST, "-p", str(port))
        with running(line, ready, cwd=folder, **owner):
            yield port
