"""HTTP rows: an unmodified server of the field on one core, the compiled client on another.

Not here: the servers (`web_server.py`), the client (`client/`). Thread: the main thread of
`run.py`. Invariant: as for the TCP rows; every response that counts was a 200 of the right length.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tcp
from processes import HERE, Cores

CONNECTIONS = 64
PIPELINED = 24
UVICORN = ("uvicorn", "httptools")


@dataclass(frozen=True, slots=True)
class Scenario:
    """A row: which server, and how many requests each connection sends at once."""

    server: str
    what: str
    pipelined: int = 1
    # Modules that must be importable.
    modules: tuple[str, ...] = ()
    # Runs only when asked for.
    full: bool = False

    @property
    def name(self) -> str:
        return f"http_{self.server}" + (f"_{self.pipelined}" if self.pipelined > 1 else "")

    def lacks(self) -> str | None:
        """Which module is not there that the server needs."""
        for module in self.modules:
            if importlib.util.find_spec(module) is None:
                return f"the module {module} is not installed"
        return None

    @property
    def operation(self) -> str:
        how = f", {self.pipelined} pipelined" if self.pipelined > 1 else ""
        return f"{self.what}, {CONNECTIONS} connections{how}"


SCENARIOS: dict[str, Scenario] = {
    scenario.name: scenario
    for scenario in (
        Scenario("aiohttp", "aiohttp, hello world", modules=("aiohttp",)),
        Scenario("uvicorn", "uvicorn with httptools, raw ASGI hello world", modules=UVICORN),
        Scenario(
            "fastapi", "FastAPI under uvicorn, JSON", modules=("fastapi", *UVICORN), full=True
        ),
        Scenario("protocol", "Protocol with httptools, hello world", modules=("httptools",)),
        Scenario("protocol", "Protocol with httptools, hello world", PIPELINED, ("httptools",)),
    )
}


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
    port = tcp.free_port()
    server = [sys.executable, str(HERE / "web_server.py"), contender, scenario.server, str(port)]
    return tcp.drive(
        server,
        [
            *("--port", str(port), "--connections", str(CONNECTIONS)),
            *("--http", str(scenario.pipelined)),
        ],
        client,
        cores,
        warm_up=warm_up,
        duration=duration,
        environment=environment,
    )
