"""Judges a run: floors.toml (how many must pass) and expected.toml (what may fail, and why).

Here: the two lists, what a run must satisfy, and the summary. Not here: tests that do not apply
(rules.py). Thread: any.
Invariant: both lists only ever move towards asyncio. A failure that is not listed, a listed test
that passes, a crash, a hang and a count below the floor each fail the run.
"""

from __future__ import annotations

import dataclasses
import pathlib
import tomllib
from typing import Any

from outcomes import BAD, NEVER_ALLOWED, OUTCOMES, Options, Results, count, every, row
from rules import in_range, minor


@dataclasses.dataclass
class Expectations:
    """What a run of one loop on one version of Python must look like."""

    failing: dict[str, str]  # test id -> reason
    floor: int | None


def expectations(
    loop: str,
    version: str,
    expected: pathlib.Path,
    floors: pathlib.Path,
    *,
    install: bool = False,
) -> Expectations:
    """The lists' entries for a loop; a loop that is not in them has to pass everything.

    A run with --install has floors of its own.
    """
    name = loop.partition(":")[0]
    failing: dict[str, str] = {}
    entries: list[dict[str, Any]] = _read(expected).get(name, [])
    for entry in entries:
        if not entry.get("reason"):
            raise ValueError(f"{expected.name}: entry without a reason: {entry!r}")
        if in_range(entry, minor(version)):
            failing.update(dict.fromkeys(entry["tests"], entry["reason"]))
    least = _read(floors).get(f"{name}-install" if install else name, {})
    floor: int | None = least.get("{}.{}".format(*minor(version)))
    return Expectations(failing, floor)


def _read(path: pathlib.Path) -> dict[str, Any]:
    with path.open("rb") as fp:
        return tomllib.load(fp)


def judge(results: Results, expected: Expectations, opts: Options) -> list[str]:
    """Everything wrong with the run, one line each; an empty list is a pass."""
    records = every(results)
    passed = sum(r.outcome == "passed" for r in records)
    wrong: list[str] = []
    for r in records:
        listed = r.id in expected.failing
        if r.outcome in NEVER_ALLOWED or (r.outcome in BAD and not listed):
            wrong.append(f"{r.outcome.upper():8} {r.id}: {r.cause()}")
        elif r.outcome not in BAD and listed:
            wrong.append(f"LISTED   {r.id}: now {r.outcome}; remove it from expected.toml")
    if not passed:
        wrong.append("NOTHING  no test passed")
    if not opts.select and expected.floor is not None and passed < expected.floor:
        wrong.append(f"FLOOR    {passed} passed, floors.toml asks for {expected.floor}")
    return wrong


def summarise(results: Results, expected: Expectations, opts: Options, version: str) -> int:
    """Print totals and all that is wrong; return the exit status."""
    records = every(results)
    total = count(records)
    print(row("TOTAL", [total[outcome] for outcome in OUTCOMES]))
    allowed = sum(r.outcome in BAD - NEVER_ALLOWED and r.id in expected.failing for r in records)
    wrong = judge(results, expected, opts)
    for line in wrong:
        print(line)
    flaky = [r.id for r in records if r.flaky]
    if flaky:
        print(f"flaky (passed when run again): {', '.join(flaky)}")
    floor = "" if opts.select or expected.floor is None else f" (at least {expected.floor})"
    idle = sum(r.outcome == "passed" and not r.loops for r in records)
    print(
        f"{opts.loop} on Python {version}: {total['passed']} passed{floor}, {idle} of them without "
        f"making a loop; {allowed} known failures, {total['n/a']} not applicable, "
        f"{total['skipped']} skipped: {'NOT OK' if wrong else 'ok'}",
        flush=True,
    )
    return 1 if wrong else 0
