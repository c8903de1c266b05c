#!/usr/bin/env python
"""Other projects' own test suites, on rulip.

    run.py [SUITE ...] [--loop rulip --loop install --loop asyncio] [-n 2]

Lives here: the command line and the running. Does not live here: which suites (suites.toml), what
their outcomes mean (judging.py).
Thread: the main one; the suites are processes of their own.
Invariant: exit status 0 means that every suite ran, on the loop asked for, and each failure has a
reason in suites.toml.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path

from environment import Unavailable, prepare_environment, prepare_tests, variables
from judging import HEADER, Verdict, judge, read_outcomes, row
from servers import NAMED, MissingServer
from suites import LOOPS, Suite, load

LIMIT = 7200.0  # seconds for a suite
MOST_TRIED_AGAIN = 60
RUNNERS = {
    "pytest": (
        *("pytest", "-p", "ecosystem_report", "-p", "no:cacheprovider"),
        *("-q", "--tb=short", "-rfE"),
    ),
    "unittest": ("ecosystem_unittest",),
}


def main() -> int:
    suites = load()
    parser = argparse.ArgumentParser(description="Other projects' own test suites, on rulip.")
    parser.add_argument("suites", nargs="*", metavar="SUITE", help=", ".join(suites))
    parser.add_argument("--loop", action="append", choices=LOOPS, help="default: rulip")
    parser.add_argument(
        "-n", type=int, default=2, metavar="N", help="processes, where a suite allows"
    )
    parser.add_argument("-k", default="", help="only these tests (pytest's -k)")
    parser.add_argument(
        "--cache", type=Path, default=Path(".ecosystem"), help="environments and sources"
    )
    parser.add_argument("--sources", type=Path, help="folder with git clones, by suite name")
    parser.add_argument("--python", default=sys.executable)
    arguments = parser.parse_args()
    if unknown := set(arguments.suites) - set(suites):
        parser.error(f"no such suite: {', '.join(sorted(unknown))}")
    cache = arguments.cache.resolve()
    cache.mkdir(parents=True, exist_ok=True)
    good = True
    print(HEADER, flush=True)
    for name in arguments.suites or suites:
        for loop in arguments.loop or ["rulip"]:
            good = _run_one(suites[name], loop, cache, arguments) and good
    return 0 if good else 1


def _run_one(suite: Suite, loop: str, cache: Path, arguments: argparse.Namespace) -> bool:
    """Run a suite, print its row and what needs explaining."""
    try:
        interpreter = prepare_environment(suite, cache, arguments.python)
        tests = prepare_tests(suite, cache, interpreter, arguments.sources)
        with contextlib.ExitStack() as stack:
            extra = dict(suite.environment)
            for server in suite.servers:
                extra |= stack.enter_context(NAMED[server]())
            verdict = _verdict(suite, loop, cache, interpreter, tests, extra, arguments)
    except (Unavailable, MissingServer, RuntimeError) as exc:
        print(f"{suite.name:<16}{loop:<9}not run: {exc}", flush=True)
        return False
    print(row(verdict), flush=True)
    for test, text in verdict.failed.items():
        last = text.strip().splitlines()[-1:] or [""]
        print(f"    {test}\n        {last[0][:150]}")
    for test in verdict.second_try:
        print(f"    {test}: passed when run again")
    if verdict.is_vacuous:
        print("    no loop of the kind asked for was made: the run says nothing")
    if verdict.cut_short:
        print(f"    {verdict.cut_short}: the tests behind that did not run")
    sys.stdout.flush()
    return verdict.is_good


def _verdict(
    suite: Suite,
    loop: str,
    cache: Path,
    interpreter: Path,
    tests: Path,
    extra: dict[str, str],
    arguments: argparse.Namespace,
) -> Verdict:
    results = cache / "results" / f"{suite.name}-{loop}"
    results.mkdir(parents=True, exist_ok=True)
    count, first, again = (results / name for name in ("loops", "outcomes", "outcomes-again"))
    for path in (count, first, again):
        path.unlink(missing_ok=True)
    command = [str(interpreter), "-m", *RUNNERS[suite.runner]]
    chosen = list(suite.arguments)
    if suite.runner == "pytest":
        chosen += ["-n", str(arguments.n)] if suite.parallel and arguments.n > 1 else []
        chosen += [
            part
            for one in suite.left_out
            for part in ("--deselect", one.test)
            if one.holds(one.test, loop)
        ]
    chosen += ["-k", arguments.k] if arguments.k else []
    began = time.monotonic()
    cut_short = _run(
        [*command, *chosen], tests, variables(loop, count, first, extra), results / "log"
    )
    outcomes = read_outcomes(first)
    loops = count.read_bytes() if count.exists() else b""
    verdict = judge(suite, loop, outcomes, loops)
    if 0 < len(verdict.failed) <= MOST_TRIED_AGAIN:
        # A machine that is busy elsewhere breaks tests that measure time: a second, quiet chance.
        _run(
            [*command, *_without_paths(suite), *_paths(suite, verdict.failed)],
            tests, variables(loop, count, again, extra), results / "log-again",
        )  # fmt: skip
        second = read_outcomes(again)
        better = [test for test in verdict.failed if second.get(test, ("",))[0] == "passed"]
        verdict = judge(suite, loop, {**outcomes, **{test: second[test] for test in better}}, loops)
        verdict.second_try = better
    verdict.cut_short = cut_short
    verdict.seconds = time.monotonic() - began
    return verdict


def _without_paths(suite: Suite) -> list[str]:
    """A suite's arguments end with its tests, but for the module that runs unittest ones."""
    return list(suite.arguments[:-1] if suite.runner == "pytest" else suite.arguments)


def _paths(suite: Suite, tests: Iterable[str]) -> list[str]:
    """Tests as pytest takes them: ours are named from a folder below."""
    folder = f"{suite.arguments[-1]}/" if suite.source == "." else ""
    return [f"{folder}{test}" for test in tests]


def _notice_signals() -> None:
    """What a shell or nohup starts in the background ignores these; tests send them."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


def _run(command: list[str], folder: Path, environment: dict[str, str], log: Path) -> str:
    """Run it to its end; what ended it earlier, if anything did."""
    with log.open("wb") as output:
        try:
            done = subprocess.run(
                command, check=False, cwd=folder, env=environment, timeout=LIMIT,
                stdin=subprocess.DEVNULL, stdout=output, stderr=output,
                preexec_fn=_notice_signals,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            return "the suite did not end in time"
    # Some tests failed, or none. Anything else is a crash, or the end of the runner itself.
    return "" if done.returncode in (0, 1) else f"the suite ended with status {done.returncode}"


if __name__ == "__main__":
    os.nice(5)
    sys.exit(main())
