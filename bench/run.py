"""`run.py`: measure all contenders on all workloads, interleaved, and print who costs what.

Not here: what is measured (`workloads/`, `tcp.py`) and how it looks (`table.py`).
Thread: main; it sleeps while a child measures. Invariant: one child measures at a time; in each
round every contender has its turn at a workload before the next workload comes.
"""

from __future__ import annotations

import argparse
import datetime
import os
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import environment
import tcp
import web
from contenders import DEFAULT, FLOOR, SUBJECT, WHERE_INSTALLED, is_installed
from processes import HERE, ChildError, Cores, run_json
from results import Results, Row
from table import render
from worker import ABSENT, START
from workloads import WORKLOADS

LOCAL_RESULTS = HERE / "results" / "local"
UNTRIMMED = {"MALLOC_TOP_PAD_": str(256 << 20)}


@dataclass(frozen=True, slots=True)
class Lengths:
    """Seconds that a sample takes."""

    scheduling: float
    warm_up: float
    tcp: float


USUAL = Lengths(scheduling=0.3, warm_up=0.4, tcp=1.0)
QUICK = Lengths(scheduling=0.08, warm_up=0.1, tcp=0.3)


@dataclass(slots=True)
class Campaign:
    """A run under way."""

    results: Results
    lengths: Lengths
    cores: Cores
    child_environment: dict[str, str]
    client: Path | None
    # (row, contender) that hung once: another minute would teach nothing.
    hung: set[tuple[str, str]] = field(default_factory=set)

    def round(self) -> None:
        """Each contender once at each workload."""
        for row in self.results.rows:
            for contender in self.results.contenders:
                if contender in self.results.missing or (row.name, contender) in self.hung:
                    continue
                if contender == FLOOR and not tcp.has_floor(row.name):
                    continue
                progress(f"{row.name} {contender}")
                try:
                    sample = self.sample(row, contender)
                except ChildError as error:
                    row.failures.setdefault(contender, []).append(str(error))
                    if error.hung:
                        self.hung.add((row.name, contender))
                else:
                    self.note_versions(sample)
                    row.samples.setdefault(contender, []).append(sample)

    def sample(self, row: Row, contender: str) -> dict[str, Any]:
        if row.kind == "tcp":
            if self.client is None:
                raise ChildError("the client is not built")
            return tcp.measure(
                contender,
                tcp.SCENARIOS[row.name],
                self.client,
                self.cores,
                warm_up=self.lengths.warm_up,
                duration=self.lengths.tcp,
                environment=self.child_environment,
            )
        if row.kind == "http":
            if self.client is None:
                raise ChildError("the client is not built")
            return web.measure(
                contender,
                web.SCENARIOS[row.name],
                self.client,
                self.cores,
                warm_up=self.lengths.warm_up,
                duration=self.lengths.tcp,
                environment=self.child_environment,
            )
        workload = WORKLOADS[row.name]
        return self.worker(
            contender,
            row.name,
            workload.operations,
            self.lengths.scheduling,
            timeout=600 if workload.full else 60,
        )

    def worker(
        self, contender: str, workload: str, operations: int, seconds: float, *, timeout: float
    ) -> dict[str, Any]:
        command = [sys.executable, str(HERE / "worker.py"), contender, workload, str(operations)]
        return run_json(
            [*command, "--seconds", str(seconds)],
            self.cores.tested,
            timeout=timeout,
            environment=self.child_environment,
            absent_status=ABSENT,
        )

    def note_versions(self, sample: dict[str, Any]) -> None:
        self.results.versions.update(sample.pop("versions"))
        sample.pop("malloc", None)

    def try_contenders(self) -> None:
        """Set aside, with the reason, every contender that cannot even start."""
        for contender in self.results.contenders:
            if contender == FLOOR:
                continue
            try:
                self.note_versions(self.worker(contender, START, 1, 0, timeout=30))
            except ChildError as error:
                if not is_installed(contender):
                    reason = "not installed"
                else:
                    reason = f"does not start: {error}"
                self.results.missing[contender] = reason


def progress(text: str) -> None:
    """A line on stderr that the next one replaces; nothing when nobody watches."""
    if sys.stderr.isatty():
        sys.stderr.write(f"\r\x1b[K{text}")
        sys.stderr.flush()


def chosen_rows(pattern: str, *, full: bool) -> list[Row]:
    """The rows whose name the pattern is found in."""
    wanted = re.compile(pattern)
    rows = [
        Row(workload.name, workload.operation, workload.kind)
        for workload in WORKLOADS.values()
        if wanted.search(workload.name) and (full or not workload.full)
    ]
    rows += [
        Row(scenario.name, scenario.operation, "tcp")
        for scenario in tcp.SCENARIOS.values()
        if wanted.search(scenario.name) and (full or not scenario.full)
    ]
    rows += [
        Row(scenario.name, scenario.operation, "http")
        for scenario in web.SCENARIOS.values()
        if wanted.search(scenario.name) and (full or not scenario.full)
    ]
    return rows


def lacks(row: Row) -> str | None:
    """Why a row cannot be measured here at all, if so."""
    if row.name in WORKLOADS:
        return WORKLOADS[row.name].lacks()
    if row.name in web.SCENARIOS:
        return web.SCENARIOS[row.name].lacks()
    return None


def chosen_contenders(text: str | None) -> list[str]:
    if text is not None:
        return list(dict.fromkeys(name for name in text.split(",") if name))
    return [*DEFAULT, *(name for name in WHERE_INSTALLED if is_installed(name)), FLOOR]


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="Compare event loops by the CPU time they spend per operation."
    )
    parser.add_argument("--only", default="", metavar="PATTERN", help="rows matching this regex")
    parser.add_argument("--rounds", type=int, default=3, help="samples per figure (default 3)")
    parser.add_argument("--quick", action="store_true", help="shorter samples, noisier figures")
    parser.add_argument(
        "--full", action="store_true", help="also growth with N, and applications; an hour"
    )
    parser.add_argument(
        "--contenders", metavar="A,B,...", help="which loops, `module:function` too"
    )
    parser.add_argument(
        "--untrimmed-heap",
        action="store_true",
        help=f"run every contender with MALLOC_TOP_PAD_={UNTRIMMED['MALLOC_TOP_PAD_']}",
    )
    parser.add_argument("--output", type=Path, help="result file (default: results/local/<date>)")
    parser.add_argument("--list", action="store_true", help="show the rows and leave")
    options = parser.parse_args(arguments)
    if options.rounds < 1:
        parser.error("--rounds must be at least 1")
    return options


def start(options: argparse.Namespace, rows: list[Row]) -> Campaign:
    """Everything that happens before the first sample."""
    added = UNTRIMMED if options.untrimmed_heap else {}
    child_environment = dict(os.environ) | added
    malloc = {
        name: value
        for name, value in child_environment.items()
        if name.startswith("MALLOC_") or name == "GLIBC_TUNABLES"
    }
    cores = Cores.available()
    now = datetime.datetime.now().astimezone()
    results = Results(
        date=now.isoformat(timespec="seconds"),
        environment=environment.describe(),
        settings={
            "rounds": options.rounds,
            "quick": options.quick,
            "malloc": malloc,
            "tested_core": cores.tested,
            "client_core": cores.client,
        },
        contenders=chosen_contenders(options.contenders),
        rows=rows,
    )
    client = None
    if any(row.kind in ("tcp", "http") for row in rows):
        progress("building the client")
        try:
            client = tcp.built_client()
        except ChildError as error:
            results.missing[FLOOR] = str(error)
    lengths = QUICK if options.quick else USUAL
    return Campaign(results, lengths, cores, child_environment, client)


def main(arguments: Sequence[str] | None = None) -> int:
    options = parse(arguments)
    rows = chosen_rows(options.only, full=options.full)
    if options.list or not rows:
        for row in rows or chosen_rows("", full=True):
            print(f"{row.name:24}{row.operation}")
        return 0 if rows else 1
    lacking = {row.name: lack for row in rows if (lack := lacks(row))}
    campaign = start(options, [row for row in rows if row.name not in lacking])
    results = campaign.results
    results.left_out = lacking
    campaign.try_contenders()
    interrupted = False
    try:
        for number in range(options.rounds):
            print(f"round {number + 1} of {options.rounds}", file=sys.stderr)
            campaign.round()
            progress("")
    except KeyboardInterrupt:
        interrupted = True
    results.environment["load_after"] = environment.load_average()
    results.settings["interrupted"] = interrupted
    stamp = datetime.datetime.fromisoformat(results.date).strftime("%Y-%m-%d-%H%M%S")
    path = options.output or LOCAL_RESULTS / f"{stamp}.json"
    results.write(path)
    print(render(results))
    print(f"\nwritten to {path}")
    if interrupted:
        return 130
    # A rival that fails is told; only rulip's failure fails the run.
    failed = SUBJECT in results.missing or any(SUBJECT in row.failures for row in rows)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
