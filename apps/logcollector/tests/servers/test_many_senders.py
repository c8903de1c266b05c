"""Many senders, a tenfold peak, hostile clients: memory stays below its bound, nobody starves."""

from __future__ import annotations

import contextlib
import os
import socket
import time
from pathlib import Path

import pytest

from collector_processes import Collector, Postgres, running, until
from loads import Load, nothing_lost

SENDERS = int(os.environ.get("COLLECTOR_SENDERS", "2000"))
PEAK = float(os.environ.get("COLLECTOR_PEAK", "10"))  # seconds
PROGRAM = 96 << 20  # what Python, the driver and the loop may take by themselves


@pytest.mark.timeout(400)
def test_a_tenfold_peak_from_many_senders(postgres: Postgres, tmp_path: Path) -> None:
    url = postgres.fresh()
    limits = {"queue_bytes": "32MiB", "max_connections": SENDERS + 100, "max_line": "4KiB"}
    server = Collector(tmp_path / "collector", url, loop="rulip", **limits)
    with running(server):
        with Load(server, PEAK * 2, senders=SENDERS, rate=8_000, window=500) as base:
            time.sleep(PEAK / 2)
            with Load(server, PEAK, senders=100, rate=80_000, window=2000) as peak:
                high = peak.verify(peak.wait(), url)
            low = base.verify(base.wait(), url)
        bound = int(
            next(
                part.partition("=")[2]
                for part in (server.folder / "log").read_text().split()
                if part.startswith("memory_bound=")
            )
        )
        print("memory", server.memory() >> 20, "MiB, bound", bound >> 20, "MiB and", PROGRAM >> 20)
        assert server.memory() < bound + PROGRAM
        gauges = server.get("/stats.json")["gauges"]
        assert gauges["most_queued_bytes"] < (32 << 20) + (1 << 20)
    for report in (low, high):
        nothing_lost(report, duplicates=0)
        assert report["reconnects"] == 0
        assert report["least_of_a_sender"] > report["most_of_a_sender"] / 4


@pytest.mark.timeout(200)
def test_everybody_at_once_is_served_alike(postgres: Postgres, tmp_path: Path) -> None:
    url = postgres.fresh()
    server = Collector(
        tmp_path / "collector", url, loop="rulip", queue_bytes="8MiB", queue_lines=20_000
    )
    with running(server), Load(server, PEAK, senders=500, window=400) as load:
        report = load.verify(load.wait(), url)
        assert server.get("/stats.json")["gauges"]["most_queued_bytes"] < 10 << 20
    nothing_lost(report, duplicates=0)
    assert report["least_of_a_sender"] > report["most_of_a_sender"] / 4


@pytest.mark.timeout(200)
def test_hostile_clients_cost_little(tmp_path: Path) -> None:
    """Endless lines, dripping bytes, thousands of connections: honest senders hardly notice."""
    url = f"sqlite:{tmp_path}/lines.db"
    limits = {"max_connections": 300, "line_timeout": "2s"}
    server = Collector(tmp_path / "collector", url, loop="rulip", **limits)
    with running(server), contextlib.ExitStack() as sockets:
        before = server.memory()

        def connect() -> socket.socket:
            peer = socket.create_connection(("127.0.0.1", server.port), 10)
            peer.setblocking(False)
            return sockets.enter_context(peer)

        with Load(server, 6.0, senders=10, window=100) as load:
            until(lambda: server.counters()["acknowledged_lines"] > 0, "the load")
            flood = [connect() for _ in range(100)]
            drip = [connect() for _ in range(150)]
            crowd = [connect() for _ in range(400)]
            end = time.monotonic() + 4
            while time.monotonic() < end:
                for peer in flood:
                    with contextlib.suppress(OSError):
                        peer.send(b"x" * 65536)
                for peer in drip:
                    with contextlib.suppress(OSError):
                        peer.send(b"y")
            report = load.verify(load.wait(), url)
        counted = server.counters()
        assert counted["too_long_lines"] >= 100
        assert counted["slow_connections"] >= 100
        assert counted["refused_connections"] >= len(crowd) - 100
        assert server.memory() - before < 300 * (64 << 10) + (48 << 20)
    nothing_lost(report, duplicates=0)
    assert report["reconnects"] == 0
