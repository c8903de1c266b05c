#!/usr/bin/env python3
"""Build rulip for each Python on this machine and run CPython's asyncio tests, or ours, on it.

    matrix.py [--suite] [--jobs N] [3.11 3.14 python3.15 /path/to/python ...]

Here: finding interpreters, one environment and the runs for each: with asyncio as it is, and with
rulip installed into it. Not here: a single run (run.py).
Thread: main. Invariant: exit status 0 only if at least one interpreter was found and each one found
passed; those that were not found are named.
"""

from __future__ import annotations

import argparse
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
VERSIONS = ["3.11", "3.12", "3.13", "3.14", "3.15"]
PROBE = "import sys, venv, ensurepip; print('%d.%d' % sys.version_info[:2])"


def main() -> int:
    assert __doc__ is not None
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("pythons", nargs="*", default=VERSIONS, help="versions, names or paths")
    parser.add_argument("--suite", action="store_true", help="run this project's tests instead")
    parser.add_argument("--jobs", "-j", type=int, default=2, help="test modules at a time")
    parser.add_argument("--loop", default="rulip:new_event_loop")
    args = parser.parse_args()
    lines: list[str] = []
    found = failed = 0
    for asked in args.pythons:
        python = find(asked)
        if python is None:
            lines.append(f"{asked}: not found on this machine")
        elif not args.suite and not runs(python, "import test.test_asyncio"):
            lines.append(f"{asked}: {python} comes without its test suite (test.test_asyncio)")
        else:
            found += 1
            began = time.monotonic()
            version = subprocess.check_output([python, "-c", PROBE], text=True).strip()
            print(f"\n== Python {version} ({python})", flush=True)
            if args.suite:
                what = run_suite(version, python)
            else:
                what = check(version, python, args.loop, args.jobs)
            failed += what != "ok"
            lines.append(f"{asked}: {what} ({time.monotonic() - began:.0f} s)")
    title = "The tests of this project" if args.suite else "CPython's asyncio tests"
    print(f"\n{title}:", *lines, sep="\n  ")
    if not found:
        print("No interpreter to test with.", file=sys.stderr)
    return 1 if failed or not found else 0


def make(target: str, version: str, python: str) -> int:
    """Run a target of the Makefile in .venv-<version>, made with this interpreter."""
    command = [os.environ.get("MAKE", "make"), "--no-print-directory", target]
    command += [f"VENV=.venv-{version}", f"PYTHON={python}"]
    return subprocess.run(command, cwd=ROOT, stdin=subprocess.DEVNULL, check=False).returncode


def run_suite(version: str, python: str) -> str:
    """This project's Python tests; says how that went."""
    return "FAILED" if make("test-python", version, python) else "ok"


def check(version: str, python: str, loop: str, jobs: int) -> str:
    """Build into .venv-<version> and run CPython's tests there, twice; says how that went."""
    if make("build", version, python):
        return "does not build"
    failed: list[str] = []
    with tempfile.TemporaryDirectory(prefix="rulip-venv-") as tmp:
        # Some of CPython's tests hand sys.executable to a shell as it is: no spaces on the way.
        link = pathlib.Path(tmp, "venv")
        link.symlink_to(ROOT / f".venv-{version}", target_is_directory=True)
        for install in ([], ["--install"]):
            run = [str(HERE / "run.py"), "--python", str(link / "bin" / "python"), *install]
            run += ["--loop", loop, "--jobs", str(jobs), "--reruns", "1"]
            if subprocess.run([sys.executable, *run], check=False).returncode:
                failed.append(install[0] if install else "without --install")
    return f"FAILED {' and '.join(failed)}" if failed else "ok"


def find(asked: str) -> str | None:
    """An interpreter that really runs: a path, a name on PATH, or a version: then pyenv's, too."""
    if not asked[0].isdigit():
        named = shutil.which(asked)
        return named if named and runs(named, PROBE) else None
    name = f"python{asked}"
    on_path = shutil.which(name)
    candidates = [on_path] if on_path else []
    if shutil.which("pyenv"):
        root = subprocess.run(["pyenv", "root"], capture_output=True, text=True, check=False)
        folder = pathlib.Path(root.stdout.strip() or ".", "versions")
        installed = folder.glob(f"{asked}.*/bin/{name}")
        candidates += [str(path) for path in sorted(installed, key=patch, reverse=True)]
    for candidate in candidates:
        if runs(candidate, PROBE, expect=asked):
            return candidate
    return None


def patch(path: pathlib.Path) -> int:
    """The 7 of .../versions/3.11.7/bin/python3.11."""
    digits = path.parts[-3].rpartition(".")[2]
    return int(digits) if digits.isdigit() else -1


def runs(python: str, code: str, expect: str | None = None) -> bool:
    done = subprocess.run([python, "-c", code], capture_output=True, text=True, check=False)
    return done.returncode == 0 and (expect is None or done.stdout.strip() == expect)


if __name__ == "__main__":
    sys.exit(main())
