"""TCP and TLS rows: an echo server in one process on one core, the compiled client on another.

Not here: the server (`tcp_server.py`) and the client (`client/`) themselves. Thread: the main
thread of `run.py`. Invariant: loopback only, ports below the ephemeral range, at most 10,000
connections and a few seconds; the server's CPU time covers exactly the requests that are counted.
"""

from __future__ import annotations

import os
import random
import shutil
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from contenders import FLOOR
from processes import HERE, ChildError, Cores, run_json, running_server
from worker import ABSENT

PORTS = range(20_000, 30_000)
KIB = 1_024
CERTIFICATES = HERE.parent / "tests" / "certificates"


@dataclass(frozen=True, slots=True)
class Scenario:
    """A row: how the server is written, how long a message is, how many connections there are."""

    mode: str
    size: int
    connections: int
    tls: bool = False
    # Runs only when asked for.
    full: bool = False

    @property
    def name(self) -> str:
        layer = "tls" if self.tls else "tcp"
        return f"{layer}_{self.mode}_{self.size // KIB}k_{self.connections}"

    @property
    def operation(self) -> str:
        server = "Protocol" if self.mode == "protocol" else "readline + drain"
        if self.tls:
            server = f"TLS, {server}"
        return f"{server}, {self.size // KIB} KiB, {self.connections:,} connections"


SCENARIOS: dict[str, Scenario] = (
    {
        scenario.name: scenario
        for scenario in (
            Scenario(mode, size * KIB, connections)
            for mode in ("protocol", "streams")
            for size in (1, 10, 100)
            for connections in (10, 1_000)
        )
    }
    | {
        scenario.name: scenario
        for scenario in (
            Scenario(mode, KIB, connections, full=True)
            for mode in ("protocol", "streams")
            for connections in (1, 100, 10_000)
        )
    }
    | {
        scenario.name: scenario
        for scenario in (
            Scenario(mode, size * KIB, 10, tls=True)
            for mode in ("protocol", "streams")
            for size in (1, 100)
        )
    }
)


def has_floor(name: str) -> bool:
    """Whether the raw server knows the row: it speaks no TLS."""
    return name in SCENARIOS and not SCENARIOS[name].tls


def built_client() -> Path:
    """The client's path; builds it first when Cargo is there (a no-op when nothing changed)."""
    crate = HERE / "client"
    target = Path(os.environ.get("CARGO_TARGET_DIR") or crate / "target")
    client = target / "release" / "echo-load"
    cargo = shutil.which("cargo")
    if cargo is None:
        if client.exists():
            return client
        raise ChildError("the client is not built, and there is no cargo to build it")
    command = [cargo, "build", "--release", "--locked", "--quiet"]
    command += ["--manifest-path", str(crate / "Cargo.toml"), "--target-dir", str(target)]
    built = subprocess.run(command, capture_output=True, text=True, check=False)
    if built.returncode:
        raise ChildError(f"the client does not build:\n{built.stderr.strip()}")
    return client


def free_port() -> int:
    """A port of the range that nobody listens on."""
    for port in random.sample(PORTS, 100):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise ChildError("no free port")


def server_command(contender: str, scenario: Scenario, port: int, client: Path) -> list[str]:
    """The server's command line; the floor serves both modes alike."""
    if contender == FLOOR:
        return [str(client), "floor", "--port", str(port)]
    command = [sys.executable, str(HERE / "tcp_server.py"), contender, scenario.mode, str(port)]
    return [*command, "--tls", str(CERTIFICATES / "localhost.pem")] if scenario.tls else command


def trust(scenario: Scenario) -> list[str]:
    """What the client is told of TLS."""
    return ["--tls", str(CERTIFICATES / "authority.pem")] if scenario.tls else []


def measure(
    contender: str,
    scenario: Scenario,
    client: Path,
    cores: Cores,
    *,
    warm_up: float,
    duration: float,
    environment: Mapping[str, str],
) -> dict[str, Any]:
    """One sample of one contender."""
    port = free_port()
    return drive(
        server_command(contender, scenario, port, client),
        [
            *("--port", str(port), "--connections", str(scenario.connections)),
            *("--size", str(scenario.size)),
            *trust(scenario),
        ],
        client,
        cores,
        warm_up=warm_up,
        duration=duration,
        environment=environment,
    )


def drive(
    server_command: Sequence[str],
    load: Sequence[str],
    client: Path,
    cores: Cores,
    *,
    warm_up: float,
    duration: float,
    environment: Mapping[str, str],
) -> dict[str, Any]:
    """Start a server, put a load on it, and return what a request cost it."""
    with running_server(
        server_command,
        cores.tested,
        timeout=20,
        environment=environment,
        absent_status=ABSENT,
    ) as server:
        report = run_json(
            [
                *(str(client), "load", *load, "--server-pid", str(server.process.pid)),
                *("--warm-up", str(warm_up), "--duration", str(duration)),
            ],
            cores.client,
            timeout=warm_up + duration + 30,
        )
    if not report["requests"]:
        raise ChildError("no request was answered within the time")
    return server.announced | as_sample(report)


def as_sample(load: Mapping[str, Any]) -> dict[str, Any]:
    """CPU nanoseconds per request, and beside them what a user of the server would feel."""
    cpu = load["server_cpu_ns"] / load["requests"]
    ticks = load["server_user_ticks"] + load["server_system_ticks"]
    user = cpu * load["server_user_ticks"] / ticks if ticks else 0.0
    return {
        "operations": load["requests"],
        "cpu_ns": cpu,
        "user_ns": user,
        "system_ns": cpu - user,
        "requests_per_second": load["requests_per_second"],
        "latency_us": load["latency_us"],
        "server_busy": load["server_cpu_ns"] / load["seconds"] / 1e9,
        "client_busy": load["client_cpu_ns"] / load["seconds"] / 1e9,
    }
