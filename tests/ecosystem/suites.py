"""Which suites there are: suites.toml, read and checked.

Lives here: the data. Does not live here: environments (environment.py), verdicts (judging.py).
Thread: any. Invariant: every exception from "all tests pass" carries a reason.
"""

from __future__ import annotations

import os
import tomllib
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
LOOPS = ("asyncio", "rulip", "install")


@dataclass(frozen=True)
class Exemption:
    """Tests (a pattern of node ids) that are left out, or may fail, and why."""

    test: str
    reason: str
    loops: tuple[str, ...] = LOOPS
    when: str = "always"

    def holds(self, test: str, loop: str) -> bool:
        """Whether it speaks of this test, on this loop, here."""
        if self.when == "root" and os.geteuid() != 0:
            return False
        return loop in self.loops and fnmatchcase(test, self.test.replace("[", "[[]"))


@dataclass(frozen=True)
class Suite:
    """One project's tests."""

    name: str
    source: str  # a requirement whose source distribution holds the tests, or a git address
    requires: tuple[str, ...]
    files: tuple[str, ...]
    arguments: tuple[str, ...]
    passed: int  # on asyncio, for comparison; 0: not counted yet
    environment: dict[str, str] = field(default_factory=dict)
    servers: tuple[str, ...] = ()
    parallel: bool = False
    runner: str = "pytest"  # or "unittest": the first argument is the module to run
    left_out: tuple[Exemption, ...] = ()
    may_fail: tuple[Exemption, ...] = ()

    def exemption(self, test: str, loop: str) -> Exemption | None:
        """What allows this test to fail on this loop."""
        return next((one for one in self.may_fail if one.holds(test, loop)), None)


def _exemptions(rows: list[dict[str, Any]]) -> tuple[Exemption, ...]:
    for row in rows:
        if not row.get("reason"):
            raise ValueError(f"{row}: a reason is required")
    return tuple(Exemption(**{**row, "loops": tuple(row.get("loops", LOOPS))}) for row in rows)


def load(path: Path = HERE / "suites.toml") -> dict[str, Suite]:
    """All suites by name."""
    found = {}
    for name, row in tomllib.loads(path.read_text()).items():
        lists = {
            key: tuple(row.pop(key, ())) for key in ("requires", "files", "arguments", "servers")
        }
        exemptions = {key: _exemptions(row.pop(key, [])) for key in ("left_out", "may_fail")}
        found[name] = Suite(name=name, **lists, **exemptions, **row)
    return found
