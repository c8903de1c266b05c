"""A pytest plugin: what became of each test, one JSON line per test, for run.py to read.

Lives here: the writing. Does not live here: the judging (verdict.py).
Thread: pytest's main one; under xdist the controlling process, which sees every report.
Invariant: a test has one line, written when its teardown is over, with its worst phase.
"""

import json
import os

WORSE = ("passed", "skipped", "xfailed", "xpassed", "failed")

_so_far: dict[str, tuple[str, str]] = {}


def _outcome(report) -> str:
    if hasattr(report, "wasxfail"):
        return "xfailed" if report.skipped else "xpassed"
    return report.outcome


def pytest_runtest_logreport(report) -> None:
    """Keep the worst of setup, call and teardown; write it with the last of them."""
    if type(report).__name__ != "TestReport":  # a subtest's: the test's own report follows
        return
    outcome = _outcome(report)
    before = _so_far.get(report.nodeid, ("passed", ""))
    text = str(report.longrepr or "")[-2000:] if outcome == "failed" else ""
    worst = max(before, (outcome, text), key=lambda one: WORSE.index(one[0]))
    _so_far[report.nodeid] = worst
    if report.when == "teardown":
        _write(report.nodeid, *_so_far.pop(report.nodeid))


def pytest_collectreport(report) -> None:
    """A file that can't be imported is a failure under its own name."""
    if report.failed:
        _write(report.nodeid, "failed", str(report.longrepr)[-2000:])


def pytest_sessionfinish() -> None:
    """A test whose worker died before its teardown was reported."""
    for nodeid, (outcome, text) in _so_far.items():
        _write(nodeid, outcome, text)
    _so_far.clear()


def _write(nodeid: str, outcome: str, text: str) -> None:
    if "PYTEST_XDIST_WORKER" in os.environ:
        return
    with open(os.environ["ECOSYSTEM_OUTCOMES"], "a") as file:
        file.write(json.dumps({"test": nodeid, "outcome": outcome, "text": text}) + "\n")
