"""Real servers and collectors for the tests: started in temporary folders, on loopback ports.

Here: starting, stopping, killing and pausing them. Not here: assertions.
Runs in the test's thread. Invariant: whatever was started is ended by `stop`, and nothing waits
without a limit.
"""

from __future__ import annotations

import contextlib
import glob
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

PATIENCE = 60.0


class MissingProgramError(Exception):
    """A program the test needs is not installed."""


def program(*names: str) -> str:
    """The path of the first of these programs that is installed."""
    for name in names:
        found = shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin:/sbin")
        if found:
            return found
        matches = sorted(glob.glob(f"/usr/lib/postgresql/*/bin/{name}"))
        if matches:
            return matches[-1]
    raise MissingProgramError(f"{names[0]} is not installed")


def free_port() -> int:
    """A port below the ephemeral range, so that no outgoing connection takes it meanwhile."""
    for _ in range(200):
        port = 15000 + int.from_bytes(os.urandom(2)) % 15000
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise OSError("no free port")


def until(condition: Callable[[], object], what: str, patience: float = PATIENCE) -> Any:
    """Ask until the answer is true; the answer."""
    deadline = time.monotonic() + patience
    while not (answer := condition()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"gave up waiting for {what}")
        time.sleep(0.02)
    return answer


def accepts(port: int) -> bool:
    """Whether somebody listens."""
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False


class Server:
    """A process with a folder."""

    user: str | None = None

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self.process: subprocess.Popen[bytes] | None = None
        folder.mkdir(parents=True, exist_ok=True)
        if os.geteuid() == 0 and self.user is not None:
            shutil.chown(folder, self.user)

    def command(self) -> list[str]:
        """What is run."""
        raise NotImplementedError

    def ready(self) -> bool:
        """Whether it serves."""
        return accepts(self.port)

    def options(self) -> dict[str, Any]:
        """How processes of it are started."""
        user = self.user if os.geteuid() == 0 else None
        return {"user": user, "cwd": self.folder, "stdin": subprocess.DEVNULL} | (
            {"group": user, "extra_groups": []} if user else {}
        )

    def start(self) -> None:
        """Run, and wait until it serves."""
        with open(self.folder / "log", "ab") as log:
            self.process = subprocess.Popen(
                self.command(), stdout=log, stderr=log, start_new_session=True, **self.options()
            )
        process = self.process

        def up() -> bool:
            if process.poll() is not None:
                raise RuntimeError(f"ended: {(self.folder / 'log').read_text()[-2000:]}")
            return self.ready()

        until(up, type(self).__name__)

    def send_signal(self, number: int) -> None:
        """Send a signal to every process of it."""
        assert self.process is not None
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, number)

    def end(self, number: int = signal.SIGTERM) -> int | None:
        """Send a signal and wait for the end; the exit status."""
        if self.process is None:
            return None
        self.send_signal(signal.SIGCONT)
        self.send_signal(number)
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.send_signal(signal.SIGKILL)
            self.process.wait(30)
        status, self.process = self.process.returncode, None
        return status

    def restart(self, number: int) -> None:
        """End it in this way, and start it again."""
        self.end(number)
        self.start()


class Postgres(Server):
    """A PostgreSQL server; SIGINT is a fast stop, SIGQUIT an immediate one."""

    user = "postgres"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        # A backend has a session of its own: paused() must find them by their parent.
        self.data = folder / "data"
        initdb = program("initdb")
        arguments = ["-D", str(self.data), "-A", "trust", "-U", "postgres", "--no-sync"]
        subprocess.run(
            [initdb, *arguments, "-E", "UTF8", "--locale=C"],
            check=True,
            capture_output=True,
            **self.options(),
        )

    @property
    def url(self) -> str:
        """The sink's address."""
        return f"postgresql://postgres@127.0.0.1:{self.port}/postgres"

    def command(self) -> list[str]:
        listen = [
            "-c",
            "listen_addresses=127.0.0.1",
            "-c",
            f"unix_socket_directories={self.folder}",
        ]
        return [program("postgres"), "-D", str(self.data), "-p", str(self.port), *listen]

    def ready(self) -> bool:
        check = [program("pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(self.port)]
        return subprocess.run(check, check=False).returncode == 0

    def send_signal(self, number: int) -> None:
        assert self.process is not None
        if number in (signal.SIGSTOP, signal.SIGCONT, signal.SIGKILL):
            for pid in children(self.process.pid):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, number)
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.process.pid, number)

    def end(self, number: int = signal.SIGINT) -> int | None:
        return super().end(number)

    def fresh(self) -> str:
        """Make an empty database; its address."""
        name = f"fresh_{os.urandom(6).hex()}"
        self.query(f"CREATE DATABASE {name}")
        return f"postgresql://postgres@127.0.0.1:{self.port}/{name}"

    def query(self, text: str, url: str | None = None) -> str:
        """Run SQL, return what it prints."""
        psql = [program("psql"), "-qAtX", "-d", url or self.url]
        result = subprocess.run(
            [*psql, "-v", "ON_ERROR_STOP=1", "-c", text], check=True, capture_output=True, text=True
        )
        return result.stdout.strip()


class MariaDB(Server):
    """A MariaDB server."""

    user = "mysql"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        program("mariadbd", "mysqld")
        install = [program("mariadb-install-db", "mysql_install_db"), "--no-defaults"]
        arguments = [f"--datadir={folder}/data", "--auth-root-authentication-method=normal"]
        if os.geteuid() == 0:
            arguments.append("--user=mysql")
        subprocess.run(
            [*install, *arguments, "--skip-test-db"], check=True, capture_output=True, cwd=folder
        )
        self.start()
        self.query("CREATE USER 'log'@'%' IDENTIFIED BY 'secret'")
        self.query("GRANT ALL ON *.* TO 'log'@'%'")

    def fresh(self) -> str:
        """Make an empty database; its address."""
        name = f"fresh_{os.urandom(6).hex()}"
        self.query(f"CREATE DATABASE {name}")
        return f"mysql://log:secret@127.0.0.1:{self.port}/{name}"

    def command(self) -> list[str]:
        return [
            program("mariadbd", "mysqld"),
            "--no-defaults",
            f"--datadir={self.folder}/data",
            "--bind-address=127.0.0.1",
            f"--port={self.port}",
            f"--socket={self.folder}/socket",
            f"--pid-file={self.folder}/pid",
            "--skip-log-bin",
        ]

    def query(self, text: str, url: str = "") -> str:
        """Run SQL, return what it prints."""
        database = url.rpartition("/")[2]
        client = [program("mariadb", "mysql"), "--no-defaults", "-h127.0.0.1", f"-P{self.port}"]
        result = subprocess.run(
            [*client, "-uroot", "-N", "-B", "-e", text, database],
            check=True,
            capture_output=True,
            text=True,
        )
        return result.stdout.strip()


class Nats(Server):
    """One server of a JetStream cluster."""

    def __init__(self, folder: Path, name: str, routes: list[int], route: int) -> None:
        super().__init__(folder)
        self.name = name
        self.routes = routes
        self.route = route

    @property
    def url(self) -> str:
        """The sink's address."""
        return f"nats://127.0.0.1:{self.port}"

    def command(self) -> list[str]:
        routes = ",".join(f"nats://127.0.0.1:{port}" for port in self.routes)
        cluster = ["-cluster_name", "logs", "-cluster", f"nats://127.0.0.1:{self.route}"]
        return [
            *(program("nats-server"), "-a", "127.0.0.1", "-p", str(self.port), "-n", self.name),
            *("-js", "-sd", str(self.folder / "data"), *cluster, "-routes", routes),
        ]


class Collector(Server):
    """A collector as a program."""

    def __init__(self, folder: Path, sink: str, **settings: object) -> None:
        super().__init__(folder)
        self.http = free_port()
        self.sink = sink
        self.settings = settings

    def command(self) -> list[str]:
        flags = {
            "listen": f"127.0.0.1:{self.port}",
            "http": f"127.0.0.1:{self.http}",
            "sink": self.sink,
            **self.settings,
        }
        parts = [f"--{name.replace('_', '-')}={value}" for name, value in flags.items()]
        return [sys.executable, "-m", "logcollector", *parts]

    def options(self) -> dict[str, Any]:
        source = Path(__file__).resolve().parent.parent / "src"
        path = os.pathsep.join(filter(None, [str(source), os.environ.get("PYTHONPATH")]))
        return super().options() | {"env": os.environ | {"PYTHONPATH": path}}

    def ready(self) -> bool:
        return accepts(self.port) and accepts(self.http)

    def get(self, target: str) -> Any:
        """A JSON document of its pages; troubles come as one, too."""
        try:
            answer = urllib.request.urlopen(f"http://127.0.0.1:{self.http}{target}", timeout=30)
        except urllib.error.HTTPError as error:
            answer = error
        with answer:
            return json.load(answer)

    def counters(self) -> dict[str, int]:
        """What it has counted."""
        counted: dict[str, int] = self.get("/stats.json")["counters"]
        return counted

    def memory(self, field: str = "VmHWM") -> int:
        """A figure of /proc/PID/status, in bytes."""
        assert self.process is not None
        return status(self.process.pid, field)


def status(pid: int, field: str) -> int:
    """A size in /proc/PID/status, in bytes."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) * 1024
    raise KeyError(field)


def children(pid: int) -> Iterator[int]:
    """The children of a process."""
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        yield from map(int, task.read_text().split())


@contextlib.contextmanager
def running(server: Server) -> Iterator[None]:
    """Start it, and end it afterwards."""
    server.start()
    try:
        yield
    finally:
        server.end()
