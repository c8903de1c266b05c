"""Things break under load: no acknowledged line is missing, and it recovers by itself.

A sender counts answers; on a new connection it sends again what was not answered. So a plain line
may be stored twice after a connection was lost, a line with a key never, and trouble between the
collector and its sink leaves no trace at all.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from collector_processes import Collector, MariaDB, Postgres, Server, program, running, until
from loads import ROUNDS, Load, nothing_lost

Database = Postgres | MariaDB
SETTINGS: dict[str, object] = {"sink_timeout": "3s", "retry_longest": "200ms", "loop": "rulip"}
SENDERS: dict[str, Any] = {"senders": 20, "window": 200}
BREATH = 1.0  # seconds between faults: load, not synchronisation


@pytest.fixture
def own(database: Database) -> Iterator[Database]:
    """The database, running again after whatever the test did to it."""
    yield database
    if database.process is None or database.process.poll() is not None:
        database.start()


def collector(folder: Path, sink: str, **more: object) -> Collector:
    return Collector(folder / "collector", sink, **{**SETTINGS, **more})


def pause(server: Server, seconds: float) -> None:
    server.send_signal(signal.SIGSTOP)
    time.sleep(seconds)
    server.send_signal(signal.SIGCONT)


FAULTS: dict[str, Callable[[Database], None]] = {
    "restart": lambda server: server.restart(
        signal.SIGINT if isinstance(server, Postgres) else signal.SIGTERM
    ),
    "immediate stop": lambda server: server.restart(
        signal.SIGQUIT if isinstance(server, Postgres) else signal.SIGABRT
    ),
    "kill": lambda server: server.restart(signal.SIGKILL),
    "short stall": lambda server: pause(server, 1.0),
    "stall beyond the time-out": lambda server: pause(server, 5.0),
}


@pytest.mark.timeout(400)
@pytest.mark.parametrize("fault", FAULTS)
def test_the_database_breaks(own: Database, tmp_path: Path, fault: str) -> None:
    url = own.fresh()
    server = collector(tmp_path, url)
    with running(server), Load(server, **SENDERS) as load:
        for _ in range(ROUNDS):
            time.sleep(BREATH)
            FAULTS[fault](own)
        report = load.verify(load.end(), url)
    nothing_lost(report, duplicates=0)
    assert report["reconnects"] == 0


@pytest.mark.timeout(400)
@pytest.mark.parametrize("keyed", [False, True], ids=["plain", "keyed"])
def test_the_collector_is_killed(own: Database, tmp_path: Path, keyed: bool) -> None:
    url = own.fresh()
    kill_and_check(collector(tmp_path, url), url, keyed)


@pytest.mark.timeout(400)
@pytest.mark.parametrize("keyed", [False, True], ids=["plain", "keyed"])
def test_the_collector_is_killed_on_sqlite(tmp_path: Path, keyed: bool) -> None:
    url = f"sqlite:{tmp_path}/lines.db"
    kill_and_check(collector(tmp_path, url), url, keyed)


@pytest.mark.timeout(400)
@pytest.mark.parametrize("keyed", [False, True], ids=["plain", "keyed"])
def test_the_collector_is_killed_with_a_spool(
    postgres: Postgres, tmp_path: Path, keyed: bool
) -> None:
    url = postgres.fresh()
    server = collector(tmp_path, url, ack="spool", spool=tmp_path / "spool")
    kill_and_check(server, url, keyed, spooled=True)


@pytest.mark.timeout(400)
def test_the_collector_is_stopped_and_started(own: Database, tmp_path: Path) -> None:
    """An orderly stop answers what it stored: nothing is stored twice, even without keys."""
    url = own.fresh()
    server = collector(tmp_path, url)
    with running(server), Load(server, **SENDERS) as load:
        for _ in range(ROUNDS):
            time.sleep(BREATH)
            assert server.end() == 0
            server.start()
        report = load.verify(load.end(), url)
        log = (server.folder / "log").read_text()
    assert log.count(" stopped unanswered_lines=0 ") == ROUNDS
    assert report["reconnects"] > 0
    nothing_lost(report, duplicates=0)


def kill_and_check(server: Collector, url: str, keyed: bool, *, spooled: bool = False) -> None:
    with running(server), Load(server, keyed=keyed, **SENDERS) as load:
        for _ in range(ROUNDS):
            time.sleep(BREATH)
            server.restart(signal.SIGKILL)
        report = load.end()
        if spooled:
            drained(server)
        report = load.verify(report, url)
    assert report["reconnects"] > 0
    nothing_lost(report, duplicates=0 if keyed else None)


def drained(server: Collector) -> None:
    until(lambda: server.get("/stats.json")["gauges"]["spool_lines"] == 0, "an empty spool", 90)


@pytest.fixture
def packet_filter() -> Iterator[Callable[[int, bool], None]]:
    """Drops every packet from and to a port of this machine."""
    if os.geteuid() != 0:
        pytest.skip("dropping packets needs root")
    iptables = program("iptables")
    if subprocess.run([iptables, "-w", "-L", "-n"], capture_output=True, check=False).returncode:
        pytest.skip("iptables does not work here")
    rules: set[int] = set()

    def drop(port: int, on: bool) -> None:
        for chain, side in (("INPUT", "--dport"), ("INPUT", "--sport")):
            action = "-I" if on else "-D"
            rule = [chain, "-i", "lo", "-p", "tcp", side, str(port), "-j", "DROP"]
            subprocess.run([iptables, "-w", action, *rule], check=True)
        (rules.add if on else rules.discard)(port)

    yield drop
    for port in list(rules):
        drop(port, False)


@pytest.mark.timeout(400)
def test_packets_to_the_database_are_dropped(
    own: Database, tmp_path: Path, packet_filter: Callable[[int, bool], None]
) -> None:
    url = own.fresh()
    server = collector(tmp_path, url)
    with running(server), Load(server, **SENDERS) as load:
        for number in range(ROUNDS):
            time.sleep(BREATH)
            packet_filter(own.port, True)
            time.sleep((0.5, 5.0, 2.0)[number % 3])
            packet_filter(own.port, False)
        report = load.verify(load.end(), url)
    nothing_lost(report, duplicates=0)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 6 MiB."""
    if os.geteuid() != 0:
        pytest.skip("mounting needs root")
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs", str(folder)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("mounting does not work here")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.mark.timeout(400)
def test_the_disk_of_the_spool_is_full(
    postgres: Postgres, tmp_path: Path, small_disk: Path
) -> None:
    url = postgres.fresh()
    small = {"batch_bytes": "256KiB", "spool_segment": "2MiB", "ack": "spool"}
    server = collector(tmp_path, url, spool=small_disk / "spool", **small)
    with running(server), Load(server, **SENDERS) as load:
        for _ in range(ROUNDS):
            time.sleep(BREATH)
            pause(postgres, 4.0)  # meanwhile the spool takes all, until nothing fits any more
            assert shutil.disk_usage(small_disk).free < 2 << 20
        report = load.end()
        drained(server)
        assert server.counters()["spool_failures"] > 0
        report = load.verify(report, url)
    nothing_lost(report, duplicates=0)
    assert report["reconnects"] == 0


@pytest.mark.timeout(400)
def test_the_disk_of_the_sink_is_full(tmp_path: Path, small_disk: Path) -> None:
    url = f"sqlite:{small_disk}/lines.db"
    server = collector(tmp_path, url)
    with running(server):
        until(lambda: server.get("/healthz")["ok"], "a working sink")
        filler = small_disk / "filler"
        with open(filler, "wb") as file, contextlib.suppress(OSError):
            file.write(b"x" * (5 << 20))
        with Load(server, senders=5, window=100, rate=2_000) as load:
            until(lambda: server.counters()["retries"] > 0, "a full disk")
            filler.unlink()
            before = server.counters()["stored_lines"]
            until(lambda: server.counters()["stored_lines"] > before + 500, "recovery")
            report = load.verify(load.end(), url)
    nothing_lost(report, duplicates=0)
    assert report["reconnects"] == 0


@pytest.mark.timeout(400)
def test_poisoned_lines_are_set_aside_under_load(own: Database, tmp_path: Path) -> None:
    """A constraint refuses one line in a hundred: the others are stored, those are dead letters."""
    url = own.fresh()
    server = collector(tmp_path, url)
    with running(server):
        until(lambda: server.get("/healthz")["ok"], "the tables")
        own.query("ALTER TABLE log ADD CONSTRAINT rule CHECK (line NOT LIKE '%77 xxx%')", url)
        with Load(server, 3.0, senders=10, window=100, rate=2_000) as load:
            report = load.wait()
    counted = int(own.query("SELECT count(*) FROM log", url))
    dead = int(own.query("SELECT count(*) FROM log_dead", url))
    assert report["unacknowledged"] == 0
    assert report["wrong_answers"] == []
    assert dead > 0
    assert counted + dead == report["acknowledged"]
    if isinstance(own, Postgres):
        poisoned = "SELECT count(*) FROM log_dead WHERE encode(line, 'escape') LIKE '%77 xxx%'"
        assert int(own.query(poisoned, url)) == dead
