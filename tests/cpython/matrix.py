#!/usr/bin/env python3
"""Build rulip for each Python on this machine and run CPython's asyncio tests on it.

    matrix.py [--jobs N] [3.11 3.12 3.13 ...]

Here: finding interpreters, one environment and one run for each. Not here: a single run (run.py).
Thread: main. Invariant: exit status 0 only if at least one version was found and each one found
passed; versions that were not found are named.
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
PROBE = "import sys, venv, ensurepip; print('%d.%d' % sys.version_info[:2])"


def main() -> int:
    assert __doc__ is not None
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("versions", nargs="*", default=["3.11", "3.12", "3.13"])
    parser.add_argument("--jobs", "-j", type=int, default=2, help="test modules at a time")
    parser.add_argument("--loop", default="rulip:new_event_loop")
    args = parser.parse_args()
    lines: list[str] = []
    found = failed = 0
    for version in args.versions:
        python = find(version)
        if python is None:
            lines.append(f"{version}: not found on this machine")
        elif not runs(python, "import test.test_asyncio"):
            lines.append(f"{version}: {python} comes without its test suite (test.test_asyncio)")
        else:
            found += 1
            began = time.monotonic()
            what = check(version, python, args.loop, args.jobs)
            failed += what != "ok"
            lines.append(f"{version}: {what} ({time.monotonic() - began:.0f} s)")
    print("\nCPython's asyncio tests:", *lines, sep="\n  ")
    if not found:
        print("No interpreter to test with.", file=sys.stderr)
    return 1 if failed or not found else 0


def check(version: str, python: str, loop: str, jobs: int) -> str:
    """Build into .venv-<version> and run the tests there; says how that went."""
    print(f"\n== Python {version} ({python})", flush=True)
    venv = f".venv-{version}"
    make = os.environ.get("MAKE", "make")
    build = [make, "--no-print-directory", "build", f"VENV={venv}", f"PYTHON={python}"]
    if subprocess.run(build, cwd=ROOT, stdin=subprocess.DEVNULL, check=False).returncode:
        return "does not build"
    with tempfile.TemporaryDirectory(prefix="rulip-venv-") as tmp:
        # Some of CPython's tests hand sys.executable to a shell as it is: no spaces on the way.
        link = pathlib.Path(tmp, "venv")
        link.symlink_to(ROOT / venv, target_is_directory=True)
        run = [str(HERE / "run.py"), "--python", str(link / "bin" / "python")]
        run += ["--loop", loop, "--jobs", str(jobs), "--reruns", "1"]
        status = subprocess.run([sys.executable, *run], check=False).returncode
    return "FAILED" if status else "ok"


def find(version: str) -> str | None:
    """An interpreter of this version that really runs: on PATH, else one of pyenv's."""
    name = f"python{version}"
    on_path = shutil.which(name)
    candidates = [on_path] if on_path else []
    if shutil.which("pyenv"):
        asked = subprocess.run(["pyenv", "root"], capture_output=True, text=True, check=False)
        folder = pathlib.Path(asked.stdout.strip() or ".", "versions")
        installed = folder.glob(f"{version}.*/bin/{name}")
        candidates += [str(path) for path in sorted(installed, key=patch, reverse=True)]
    for candidate in candidates:
        if runs(candidate, PROBE, expect=version):
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
