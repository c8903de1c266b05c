"""The collector on each event loop, and rsyslog with ompgsql, into one PostgreSQL: one table.

Here: the order of things and the table. Not here: servers (tests/collector_processes.py), rsyslog
(rsyslog.py). Thread: the main thread.
Invariant: contenders run one after the other in rounds, so that what else the machine does hits
all of them; each starts with empty tables; a run that lost a line or whose answers were wrong is
no figure.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "tests"))

from collector_processes import (  # noqa: E402
    Collector,
    MissingProgramError,
    Postgres,
    running,
)
from rsyslog import Rsyslog, push  # noqa: E402


class Work(NamedTuple):
    """What the senders do."""

    name: str
    flags: tuple[str, ...]


WORKS = (
    Work("50 senders, window 500", ("--senders=50", "--window=500")),
    Work("500 senders, window 20", ("--senders=500", "--window=20")),
    Work("2000 senders, window 5", ("--senders=2000", "--window=5")),
    Work("100 senders, one line at a time", ("--senders=100", "--window=1")),
)
LOOPS = ("rulip", "asyncio", "uvloop")


class Figure(NamedTuple):
    """One run."""

    rate: float  # lines per second, acknowledged after the commit (rsyslog: stored)
    cpu: float  # microseconds of the receiving process per line
    p50: float
    p99: float


def cpu_seconds(pid: int) -> float:
    """CPU time of all threads of a process, to the nanosecond."""
    total = 0
    for task in Path(f"/proc/{pid}/task").iterdir():
        total += int((task / "schedstat").read_text().split()[0])
    return total / 1e9


def collect(folder: Path, url: str, loop: str, work: Work, seconds: float) -> Figure:
    """One run of the collector."""
    server = Collector(folder, url, loop=loop, http="127.0.0.1:0")
    server.ready = lambda: server_listens(server)  # type: ignore[method-assign]
    with running(server):
        assert server.process is not None
        load = [sys.executable, "-m", "logcollector.load", f"--connect=127.0.0.1:{server.port}"]
        more = ["--json", "--line-size=200", "--loop=rulip", *work.flags]
        environment = server.options()["env"]
        warm = subprocess.run(
            [*load, *more, "--duration=1s"], env=environment, capture_output=True, check=True
        )
        assert json.loads(warm.stdout)["unacknowledged"] == 0
        before = cpu_seconds(server.process.pid)
        done = subprocess.run(
            [*load, *more, f"--duration={seconds}s", f"--verify={url}"],
            env=environment,
            capture_output=True,
            check=True,
        )
        spent = cpu_seconds(server.process.pid) - before
    report: dict[str, Any] = json.loads(done.stdout)
    assert report["missing"] == report["duplicates"] == 0, report
    lines, latency = report["acknowledged"], report["latency_ms"]
    return Figure(report["lines_per_second"], spent / lines * 1e6, latency["p50"], latency["p99"])


def server_listens(server: Collector) -> bool:
    """Ready without its pages, which take any port here."""
    from collector_processes import accepts

    return accepts(server.port)


def syslog(folder: Path, postgres: Postgres, url: str, lines: int) -> Figure:
    """One run of rsyslog: lines pushed without answers, until the table holds them."""
    server = Rsyslog(folder, postgres.port, url.rpartition("/")[2])
    with running(server):
        assert server.process is not None
        before = cpu_seconds(server.process.pid)
        seconds = push(
            server.port, 50, lines, lambda: int(postgres.query("SELECT count(*) FROM log", url))
        )
        spent = cpu_seconds(server.process.pid) - before
    return Figure(lines / seconds, spent / lines * 1e6, float("nan"), float("nan"))


def main() -> int:
    """Run everything, print the table."""
    options = argparse.ArgumentParser(description="Compare collectors.")
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--seconds", type=float, default=5.0, help="of each run")
    options.add_argument("--lines", type=int, default=100_000, help="of each run of rsyslog")
    options.add_argument("--only", default="", help="only works with this text in their name")
    chosen = options.parse_args()
    works = [work for work in WORKS if chosen.only in work.name]
    found: dict[tuple[str, str], list[Figure]] = {}
    with tempfile.TemporaryDirectory(prefix="logcollector-bench-") as name:
        folder = Path(name)
        os.chmod(folder, 0o755)
        postgres = Postgres(folder / "postgres")
        with running(postgres):
            url = postgres.fresh()
            # One short run makes the tables that rsyslog writes into as well.
            collect(folder / "first", url, "asyncio", WORKS[0], 0.5)
            for number in range(chosen.rounds):
                for work in works:
                    for loop in LOOPS:
                        clear(postgres, url)
                        at = folder / f"{number}-{works.index(work)}-{loop}"
                        add(found, work.name, loop, collect(at, url, loop, work, chosen.seconds))
                    if work is WORKS[0]:
                        clear(postgres, url)
                        try:
                            figure = syslog(
                                folder / f"{number}-rsyslog", postgres, url, chosen.lines
                            )
                        except MissingProgramError as error:
                            print(f"rsyslog left out: {error}")
                        else:
                            add(found, work.name, "rsyslog", figure)
    show(found)
    return 0


def clear(postgres: Postgres, url: str) -> None:
    """Empty tables, and no vacuum of the last contender's rows during the next one's run."""
    postgres.query("TRUNCATE log, log_key, logcollector_batch", url)
    postgres.query("CHECKPOINT", url)


def add(
    found: dict[tuple[str, str], list[Figure]], work: str, contender: str, figure: Figure
) -> None:
    """Keep and tell a figure."""
    found.setdefault((work, contender), []).append(figure)
    print(
        f"{work:34} {contender:8} {figure.rate:9,.0f} lines/s {figure.cpu:7.2f} us/line "
        f"p50 {figure.p50:7.1f} ms p99 {figure.p99:7.1f} ms",
        file=sys.stderr,
        flush=True,
    )


def show(found: dict[tuple[str, str], list[Figure]]) -> None:
    """The table: medians, and the least CPU time."""
    print(f"load average {os.getloadavg()[0]:.1f} on {len(os.sched_getaffinity(0))} cores")
    print("| work | contender | lines/s | CPU us/line | to rulip's | p50 ms | p99 ms |")
    print("|---|---|---|---|---|---|---|")
    for (work, contender), figures in found.items():
        least = min(figure.cpu for figure in figures)
        ours = min(figure.cpu for figure in found[work, "rulip"])
        rate, p50, p99 = (
            statistics.median([getattr(figure, name) for figure in figures])
            for name in ("rate", "p50", "p99")
        )
        print(
            f"| {work} | {contender} | {rate:,.0f} | {least:.2f} | {least / ours:.2f} "
            f"| {p50:.0f} | {p99:.0f} |"
        )


if __name__ == "__main__":
    sys.exit(main())
