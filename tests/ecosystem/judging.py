"""What a run's outcomes mean, beside the suite's list of exceptions.

Lives here: counting and judging. Does not live here: running (run.py).
Thread: any. Invariant: a run is good only if its loops were the ones asked for and each failure has
a reason in suites.toml.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from suites import Exemption, Suite


@dataclass
class Verdict:
    """One suite on one loop."""

    suite: Suite
    loop: str
    counts: Counter[str] = field(default_factory=Counter)
    loops: Counter[str] = field(default_factory=Counter)
    failed: dict[str, str] = field(default_factory=dict)  # test -> text
    excused: dict[str, Exemption] = field(default_factory=dict)
    second_try: list[str] = field(default_factory=list)  # failed at first, passed when run again
    cut_short: str = ""  # what ended the run before the last test
    seconds: float = 0.0

    @property
    def is_vacuous(self) -> bool:
        """Whether hardly any loop was of the kind asked for."""
        return self.loops["s" if self.loop == "asyncio" else "r"] == 0

    @property
    def is_good(self) -> bool:
        """Whether nothing is left to explain."""
        ran = not self.cut_short and sum(self.counts.values()) > 0
        return ran and not self.failed and not self.is_vacuous


def read_outcomes(path: Path) -> dict[str, tuple[str, str]]:
    """Test -> outcome and text; of a test that ran twice, the last."""
    if not path.exists():
        return {}
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    return {row["test"]: (row["outcome"], row["text"]) for row in rows}


def judge(suite: Suite, loop: str, outcomes: dict[str, tuple[str, str]], loops: bytes) -> Verdict:
    """Sort the failures into those with a reason and those without."""
    verdict = Verdict(suite, loop, Counter(outcome for outcome, _ in outcomes.values()))
    verdict.loops.update(loops.decode())
    for test, (outcome, text) in outcomes.items():
        if outcome != "failed":
            continue
        if exemption := suite.exemption(test, loop):
            verdict.excused[test] = exemption
        else:
            verdict.failed[test] = text
    return verdict


HEADER = (
    "suite           loop      passed skipped  known  again  failed  asyncio   loops r+s      s"
)


def row(verdict: Verdict) -> str:
    """A line of the table."""
    counts, loops = verdict.counts, verdict.loops
    made = f"{loops['r']}+{loops['s']}"
    return (
        f"{verdict.suite.name:<16}{verdict.loop:<9}{counts['passed']:>7}{counts['skipped']:>8}"
        f"{len(verdict.excused):>7}{len(verdict.second_try):>7}{len(verdict.failed):>8}"
        f"{verdict.suite.passed or '-':>9}{made:>14}{verdict.seconds:>7.0f}"
    )
