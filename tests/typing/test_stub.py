"""The stub of the native module and the built module agree.

Here: mypy's stubtest on rulip._rulip, with its list of exceptions. Not here: the types of the
Python package, which mypy checks by itself. Thread: main; stubtest is a subprocess.
Invariant: each exception names one object and gives a reason.
"""

from __future__ import annotations

import os
import pathlib
import re
import shutil
import subprocess
import sys

import pytest

import rulip

HERE = pathlib.Path(__file__).resolve().parent
PACKAGE = pathlib.Path(rulip.__file__).parent
SOURCES = PACKAGE.parent
ALLOWED = HERE / "stubtest_allowed.txt"
TYPED_PROGRAM = """
import asyncio
import rulip

async def main() -> int:
    loop: asyncio.AbstractEventLoop = asyncio.get_running_loop()
    future: asyncio.Future[int] = loop.create_future()
    loop.call_soon(future.set_result, 1)
    await rulip.sleep(0)
    return await future

number: int = rulip.run(main())
loop: rulip.Loop = rulip.new_event_loop()
loop.close()
with rulip.Runner(debug=True) as runner:
    number = runner.run(main())
rulip.install()
rulip.uninstall()
"""


def check(*command: str, path: pathlib.Path = SOURCES) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", *command],
        cwd=HERE.parent.parent,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        timeout=170,
        check=False,
        env={**os.environ, "MYPYPATH": str(path)},
    )


@pytest.mark.timeout(180)
def test_stub_and_module_agree() -> None:
    pytest.importorskip("mypy", reason="mypy is not installed")
    assert (PACKAGE / "_rulip.pyi").is_file()  # stubtest skips a private module without a stub
    done = check("mypy.stubtest", "rulip._rulip", "--allowlist", str(ALLOWED))
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.timeout(180)
def test_a_wrong_stub_is_noticed(tmp_path: pathlib.Path) -> None:
    pytest.importorskip("mypy", reason="mypy is not installed")
    wrong = tmp_path / "rulip"
    shutil.copytree(PACKAGE, wrong, ignore=shutil.ignore_patterns("*.so", "__pycache__"))
    with (wrong / "_rulip.pyi").open("a") as stub:
        stub.write("\nclass NotInTheModule: ...\n")
    done = check("mypy.stubtest", "rulip._rulip", "--allowlist", str(ALLOWED), path=tmp_path)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "rulip._rulip.NotInTheModule" in done.stdout


@pytest.mark.timeout(180)
def test_a_typed_program_passes_mypy(tmp_path: pathlib.Path) -> None:
    pytest.importorskip("mypy", reason="mypy is not installed")
    program = tmp_path / "program.py"
    program.write_text(TYPED_PROGRAM)
    done = check("mypy", "--strict", str(program))
    assert done.returncode == 0, done.stdout + done.stderr


def test_exceptions_give_a_reason() -> None:
    for line in ALLOWED.read_text().splitlines():
        if line and not line.startswith("#"):
            assert re.fullmatch(r"rulip\._rulip\.[\w.]+  # \S.{10,}", line), line
