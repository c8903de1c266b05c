"""Real servers for suites and smoke tests: PostgreSQL and Redis, from the system's packages.

Lives here: starting them on loopback, in a temporary folder, and ending them.
Does not live here: clients. Thread: the main one.
Invariant: a server started here is ended here, and leaves nothing behind.
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
from collections.abc import Iterator
from pathlib import Path

PATIENCE = 60.0  # seconds until a server must answer


class MissingServer(Exception):
    """The program is not installed; the text says which."""


def free_port() -> int:
    """A port on which nobody listens just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def _program(name: str, *patterns: str) -> str:
    """Where a program is: on PATH, or where the distribution keeps it."""
    if found := shutil.which(name):
        return found
    for pattern in patterns:
        for path in sorted(Path("/").glob(pattern), reverse=True):
            return str(path)
    raise MissingServer(f"{name} is not installed")


def _wait_for(process: subprocess.Popen[bytes], ready: object) -> None:
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise RuntimeError(f"{process.args!r} ended with status {process.returncode}")
        with contextlib.suppress(OSError):
            if ready():  # type: ignore[operator]
                return
        time.sleep(0.05)
    raise RuntimeError(f"{process.args!r} does not answer")


def _answers(port: int, question: bytes, answer: bytes) -> bool:
    with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
        connection.sendall(question)
        return connection.recv(len(answer)).startswith(answer)


@contextlib.contextmanager
def _running(command: list[str], **kwargs: object) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        **kwargs,  # type: ignore[call-overload]
    )  # fmt: skip
    with process:
        try:
            yield process
        finally:
            process.send_signal(signal.SIGINT)  # both: end now, letting go of clients
            try:
                process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                process.kill()


def _major_version(program: str) -> int:
    """Of "Redis server v=7.0.15 ..."."""
    told = subprocess.run([program, "--version"], check=True, capture_output=True, text=True)
    return int(told.stdout.partition("v=")[2].partition(".")[0] or 0)


@contextlib.contextmanager
def redis(
    port: int | None = None, tls: tuple[Path, Path] | None = None
) -> Iterator[dict[str, str]]:
    """A Redis (or Valkey) server; `tls` is (certificate, key) for a second port.

    Yields PORT and TLS_PORT.
    """
    try:
        program = _program("redis-server")
    except MissingServer:
        program = _program("valkey-server")
    port = port or free_port()
    with tempfile.TemporaryDirectory() as folder:
        command = [
            program,
            "--port",
            str(port),
            "--bind",
            "127.0.0.1",
            "--dir",
            folder,
            "--save",
            "",
        ]
        if _major_version(program) >= 7:
            command += ["--enable-debug-command", "local"]  # suites make it fail with that
        tls_port = free_port()
        if tls is not None:
            command += ["--tls-port", str(tls_port), "--tls-cert-file", str(tls[0])]
            command += ["--tls-key-file", str(tls[1]), "--tls-auth-clients", "no"]
        with _running(command) as process:
            _wait_for(process, lambda: _answers(port, b"PING\r\n", b"+PONG"))
            yield {"PORT": str(port), "TLS_PORT": str(tls_port)}


@contextlib.contextmanager
def postgres(tls: tuple[Path, Path] | None = None) -> Iterator[dict[str, str]]:
    """A PostgreSQL server; `tls` (certificate, key) is offered. Yields PGHOST, PGPORT, PGUSER."""
    initdb = _program("initdb", "usr/lib/postgresql/*/bin/initdb")
    program = _program("postgres", "usr/lib/postgresql/*/bin/postgres")
    owner: dict[str, object] = {}
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder, "data")
        if os.geteuid() == 0:  # it refuses to run as root
            try:
                account = pwd.getpwnam("postgres")
            except KeyError:
                raise MissingServer("no account 'postgres' to run PostgreSQL under") from None
            os.chown(folder, account.pw_uid, account.pw_gid)
            owner = {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}
        made = subprocess.run(
            [initdb, "-A", "trust", "-U", "postgres", "-E", "UTF8", "--no-sync", "-D", str(data)],
            check=False, capture_output=True, text=True, cwd=folder, **owner,  # type: ignore[call-overload]
        )  # fmt: skip
        if made.returncode != 0:
            raise RuntimeError(f"initdb: {made.stderr}")
        port = free_port()
        command = [program, "-D", str(data), "-p", str(port), "-h", "127.0.0.1", "-k", folder, "-F"]
        if tls is not None:
            for source, name in zip(tls, ("server.crt", "server.key"), strict=True):
                copy = data / name
                copy.write_bytes(source.read_bytes())
                copy.chmod(0o600)
                if owner:
                    os.chown(copy, owner["user"], owner["group"])  # type: ignore[arg-type]
            command += ["-c", "ssl=on"]
        with _running(command, cwd=folder, **owner) as process:
            _wait_for(process, lambda: _accepts(port))
            yield {"PGHOST": "127.0.0.1", "PGPORT": str(port), "PGUSER": "postgres"}


def _accepts(port: int) -> bool:
    """It asks for encryption; any answer but silence means that it is up."""
    ssl_request = b"\x00\x00\x00\x08\x04\xd2\x16\x2f"
    return _answers(port, ssl_request, b"S") or _answers(port, ssl_request, b"N")


#: What a suite may ask for by name: how to start it, as environment variables for its run.
NAMED = {"postgres": postgres, "redis": lambda: redis(port=6379)}
