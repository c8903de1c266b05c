"""What a suite runs in: a virtual environment of its own, and a folder with its tests.

Lives here: venv, pip, source archives. Does not live here: what to run there (run.py).
Thread: the main one.
Invariant: the package under the tests is the installed one; its source folder is never copied, for
it would be imported instead. Nothing is downloaded twice.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

from suites import Suite

HERE = Path(__file__).parent
RULIP = Path(__file__).parents[2] / "python"


class Unavailable(Exception):
    """The suite can't be had on this machine; the text says why."""


def _call(command: list[str], log: Path, **kwargs: object) -> None:
    with log.open("ab") as output:
        done = subprocess.run(command, check=False, stdout=output, stderr=output, **kwargs)  # type: ignore[call-overload]
    if done.returncode != 0:
        last = log.read_text(errors="replace").strip().splitlines()[-1:]
        raise Unavailable(f"{' '.join(command[:6])}: {''.join(last)} (see {log})")


def prepare_environment(suite: Suite, cache: Path, python: str = sys.executable) -> Path:
    """The suite's interpreter, with its requirements and rulip as it stands in this tree."""
    tag = subprocess.run(
        [python, "-c", "import sys; print(sys.implementation.cache_tag)"],
        check=True, capture_output=True, text=True,
    ).stdout.strip()  # fmt: skip
    key = hashlib.sha256("\n".join(suite.requires).encode()).hexdigest()[:8]
    folder = cache / f"{suite.name}-{tag}-{key}"
    interpreter = folder / "bin" / "python"
    if not (folder / ".complete").exists():
        shutil.rmtree(folder, ignore_errors=True)
        log = cache / f"{folder.name}.log"
        _call([python, "-m", "venv", str(folder)], log)
        _call([str(interpreter), "-m", "pip", "install", "--quiet", *suite.requires], log)
        (folder / ".complete").touch()
    packages = next((folder / "lib").glob("python3*/site-packages"))
    (packages / "rulip-in-this-tree.pth").write_text(f"{RULIP}\n")
    return interpreter


def prepare_tests(suite: Suite, cache: Path, interpreter: Path, given: Path | None) -> Path:
    """A folder with the suite's tests and what they read."""
    if suite.source == ".":  # ours
        return HERE
    folder = cache / "tests" / suite.name
    if (folder / ".complete").exists():
        return folder
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    if suite.files:
        top = _sources(suite, cache, interpreter, given)
        for pattern in suite.files:
            for found in top.glob(pattern):
                if found.is_dir():
                    shutil.copytree(found, folder / found.name)
                else:
                    shutil.copy(found, folder)
    (folder / ".complete").touch()
    return folder


def _sources(suite: Suite, cache: Path, interpreter: Path, given: Path | None) -> Path:
    unpacked = cache / "sources" / suite.name
    shutil.rmtree(unpacked, ignore_errors=True)
    unpacked.mkdir(parents=True)
    log = cache / f"{suite.name}-sources.log"
    if suite.source.startswith("https://"):
        address, _, tag = suite.source.rpartition("@")
        if given is not None and (given / suite.name).exists():
            address = str(given / suite.name)
        _call(
            ["git", "clone", "--quiet", "--depth=1", f"--branch={tag}", address, str(unpacked)], log
        )
        return unpacked
    project = suite.source.partition("==")[0]
    command = [
        str(interpreter),
        "-m",
        "pip",
        "download",
        "--quiet",
        "--no-deps",
        "--no-binary",
        project,
    ]
    _call([*command, "--dest", str(unpacked), suite.source], log)
    archive = next(unpacked.glob("*.tar.gz"))
    with tarfile.open(archive) as tar:
        tar.extractall(unpacked, filter="data")
    return next(one for one in unpacked.iterdir() if one.is_dir())


def variables(loop: str, count: Path, outcomes: Path, extra: dict[str, str]) -> dict[str, str]:
    """The environment variables of a run."""
    kept = {
        key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "PYTEST"))
    }
    return {
        **kept,
        "PYTHONPATH": str(HERE / "site"),
        "PYTHONDONTWRITEBYTECODE": "1",
        "ECOSYSTEM_LOOP": loop,
        "ECOSYSTEM_COUNT": str(count),
        "ECOSYSTEM_OUTCOMES": str(outcomes),
        **extra,
    }
