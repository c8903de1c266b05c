#!/usr/bin/env python3
"""Run CPython's own asyncio tests against an event loop, on one interpreter.

    run.py --loop rulip:new_event_loop [--python EXE] [--install] [--select test_streams ...]

Here: the command line. Not here: several interpreters at once (matrix.py).
Thread: main. Invariant: exit status 0 only if the run is as floors.toml and expected.toml say.
"""

from __future__ import annotations

import argparse
import os
import pathlib
import shutil
import subprocess
import sys

import guard
import verdict
from outcomes import Options, version_of, write_json
from rules import matches

HERE = pathlib.Path(__file__).resolve().parent
LIST_MODULES = """
import pathlib, test.test_asyncio as t
print(*sorted(p.stem for p in pathlib.Path(t.__path__[0]).glob('test_*.py')))
"""


def main() -> int:
    args = parse(sys.argv[1:])
    python = os.path.abspath(shutil.which(args.python) or args.python)  # workers change folder
    listed = subprocess.run(
        [python, "-c", LIST_MODULES], text=True, capture_output=True, check=False
    )
    if listed.returncode:
        print(f"{python} has no usable test.test_asyncio:\n{listed.stderr}", file=sys.stderr)
        return 2
    modules = listed.stdout.split()
    if args.select:  # leave out the modules that no pattern can reach
        heads = [pattern.split(".")[0] for pattern in args.select]
        modules = [module for module in modules if matches(module, heads)]
    version = version_of(python)
    expected = verdict.expectations(
        args.loop, version, args.expected, args.floors, install=args.install
    )
    opts = Options(
        python=python,
        loop=args.loop,
        install=args.install,
        select=tuple(args.select),
        timeout=args.timeout,
        module_timeout=args.module_timeout,
        jobs=args.jobs,
        reruns=args.reruns,
        no_rerun=frozenset(expected.failing),
        run_na=args.run_na,
    )
    results = guard.run_modules(modules, opts)
    if args.json:
        write_json(args.json, results, opts, version)
    return verdict.summarise(results, expected, opts, version)


def parse(argv: list[str]) -> argparse.Namespace:
    assert __doc__ is not None
    parser = argparse.ArgumentParser(
        description=__doc__.partition("\n\nHere:")[0],
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--loop", default="rulip:new_event_loop", metavar="MODULE[:FACTORY]")
    add("--python", default=sys.executable, help="interpreter to test with")
    add("--install", action="store_true", help="also put the module's own classes into asyncio")
    add("--select", nargs="+", default=[], metavar="PATTERN", help="module[.Class[.test]] (globs)")
    add("--json", metavar="FILE", help="write the outcome of each test here")
    add("--timeout", type=float, default=60, help="seconds without progress that make a hang")
    add("--module-timeout", type=float, default=900, help="seconds for a module, restarts included")
    add("--jobs", "-j", type=int, default=1, help="modules at a time")
    add("--reruns", type=int, default=0, help="run what failed again, so many times")
    add("--expected", type=pathlib.Path, default=HERE / "expected.toml", help="known failures")
    add("--floors", type=pathlib.Path, default=HERE / "floors.toml", help="least numbers passed")
    add("--run-na", action="store_true", help="run the tests of skips.toml too")
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(main())
