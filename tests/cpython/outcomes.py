"""What a run of CPython's tests yields: one record per test, and the options of a run.

Here: data and its printing. Not here: running (guard.py), judging (verdict.py).
Thread: any; nothing here is shared. Invariant: every test of a run has exactly one record.
"""

from __future__ import annotations

import collections
import dataclasses
import json
import subprocess
from collections.abc import Iterable
from typing import Any

OUTCOMES = ("passed", "failed", "error", "crashed", "hung", "skipped", "n/a")
BAD = frozenset({"failed", "error", "crashed", "hung"})
NEVER_ALLOWED = frozenset({"crashed", "hung"})
DETAIL_CHARS = 4000


@dataclasses.dataclass
class Record:
    """The outcome of one test."""

    id: str
    outcome: str
    detail: str = ""
    seconds: float = 0.0
    loops: int = 0  # loops under test made while the test ran
    leaked: bool = False  # test.support saw a dangling thread or process
    flaky: bool = False  # failed first, passed when run again

    def cause(self) -> str:
        """One line that says why."""
        lines = self.detail.strip().splitlines() or [""]
        return (lines[0] if self.outcome in NEVER_ALLOWED else lines[-1])[:150]


@dataclasses.dataclass
class Options:
    """What to run, with which interpreter, within which limits."""

    python: str
    loop: str
    install: bool = False
    select: tuple[str, ...] = ()
    timeout: float = 60.0
    module_timeout: float = 900.0
    jobs: int = 1
    reruns: int = 0
    no_rerun: frozenset[str] = frozenset()
    run_na: bool = False


Results = dict[str, list[Record]]


def row(name: str, cells: Iterable[object]) -> str:
    return f"{name:<28}" + "".join(f"{cell!s:>9}" for cell in cells)


def count(records: Iterable[Record]) -> collections.Counter[str]:
    return collections.Counter(r.outcome for r in records)


def every(results: Results) -> list[Record]:
    return [record for records in results.values() for record in records]


def version_of(python: str) -> str:
    """The full version of an interpreter, such as 3.13.0."""
    code = "import platform; print(platform.python_version())"
    done = subprocess.run([python, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def write_json(path: str, results: Results, opts: Options, version: str) -> None:
    total = count(every(results))
    report: dict[str, Any] = {
        "loop": opts.loop,
        "install": opts.install,
        "python": version,
        "totals": {outcome: total[outcome] for outcome in OUTCOMES},
        "modules": {module: dict(count(records)) for module, records in results.items()},
        "tests": [dataclasses.asdict(record) for record in every(results)],
    }
    with open(path, "w", encoding="utf-8") as fp:
        json.dump(report, fp, indent=1)
