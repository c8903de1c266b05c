"""The stub of the native module and the built module agree.

Here: mypy's stubtest on rulip._rulip, with its list of exceptions, and programs that mypy accepts
or refuses. Not here: the types of the Python package, which mypy checks by itself. Thread: main;
mypy is a subprocess.
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
# `import rulip as asyncio`: asyncio's names with asyncio's types, but for those that are ours.
TYPED_AS_ASYNCIO = """
import rulip as asyncio
from typing import assert_type

async def number() -> int:
    await asyncio.sleep(0)
    return 1

async def main() -> int:
    loop: asyncio.AbstractEventLoop = asyncio.get_running_loop()
    task = asyncio.create_task(number())
    done, pending = await asyncio.wait({task}, return_when=asyncio.FIRST_COMPLETED)
    process = await asyncio.create_subprocess_exec("true", stdout=asyncio.subprocess.PIPE)
    try:
        assert_type(await asyncio.shield(number()), int)
        assert_type(await asyncio.to_thread(len, "one"), int)
    except (asyncio.TimeoutError, asyncio.exceptions.CancelledError):
        pass
    assert_type(await process.wait(), int)
    loop.call_soon(print)
    return len(done) + len(pending)

class Echo(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None: ...

assert_type(asyncio.run(main()), int)
with asyncio.Runner(loop_factory=asyncio.EventLoop) as runner:
    assert_type(runner.run(main()), int)
asyncio.absent
"""
# What the stub says of the native classes, and that their objects pass for asyncio's.
TYPED_NATIVE_PROGRAM = """
import asyncio
from collections.abc import Coroutine
from typing import Any, assert_type
import rulip

async def number() -> int:
    return 1

def show(count: int, text: str) -> None: ...

async def main(loop: rulip.Loop) -> None:
    assert_type(loop.create_task(number()), rulip.Task[int])
    assert_type(await loop.create_task(number()), int)
    assert_type(rulip.Task(number(), loop=loop).get_coro() is None, bool)
    assert_type(await rulip.sleep(0), None)
    assert_type(await rulip.sleep(0, "awake"), str)
    assert_type(asyncio.create_task(rulip.sleep(0, 1)), asyncio.Task[int])
    assert_type(await asyncio.gather(rulip.sleep(0, 1), number()), tuple[int, int])
    coroutine: Coroutine[Any, Any, None] = rulip.sleep(0)
    await coroutine
    future: rulip.Future[int] = loop.create_future()
    future.add_done_callback(lambda done: show(done.result(), ""))
    asyncios: asyncio.Future[int] = future
    assert_type(await asyncio.wait_for(asyncios, 1), int)
    assert_type(loop.call_soon(show, 1, "now"), rulip.Handle)
    timer: asyncio.TimerHandle = loop.call_later(1, show, 1, "later")
    handle: rulip.Handle = loop.call_at(loop.time() + 1, show, 1, "then")
    assert_type(timer.when(), float)
    loop.set_task_factory(asyncio.eager_task_factory)
    assert_type(loop.remove_reader(0), bool)
"""
# One mistake each: the error that mypy must find.
MISTAKES = {
    "loop.call_soon(show, 'one', 1)": "arg-type",
    "loop.call_later('soon', show, 1, '')": "arg-type",
    "loop.call_soon(future.set_result, 'text')": "arg-type",
    "loop.create_task(1)": "arg-type",
    "loop.add_reader(0, show, 1)": "arg-type",
    "future.set_result('text')": "arg-type",
    "future.absent": "attr-defined",
    "rulip.sleep('long')": "call-overload",
    "rulip.Task(number(), nmae='')": "call-arg",
}


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


@pytest.mark.timeout(180)
def test_rulip_taken_for_asyncio_is_typed(tmp_path: pathlib.Path) -> None:
    pytest.importorskip("mypy", reason="mypy is not installed")
    program = tmp_path / "program.py"
    program.write_text(TYPED_AS_ASYNCIO)
    done = check("mypy", "--strict", str(program))
    last = TYPED_AS_ASYNCIO.count("\n")
    assert f"program.py:{last}: error: Module has no attribute" in done.stdout
    assert "Found 1 error" in done.stdout, done.stdout + done.stderr


@pytest.mark.timeout(180)
def test_native_classes_are_typed_and_pass_for_asyncios(tmp_path: pathlib.Path) -> None:
    pytest.importorskip("mypy", reason="mypy is not installed")
    program = tmp_path / "program.py"
    program.write_text(TYPED_NATIVE_PROGRAM)
    # eager_task_factory came with 3.12
    done = check("mypy", "--strict", "--python-version", "3.12", str(program))
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.timeout(180)
def test_mistakes_are_found(tmp_path: pathlib.Path) -> None:
    pytest.importorskip("mypy", reason="mypy is not installed")
    program = tmp_path / "program.py"
    head = (
        "import rulip\n"
        "async def number() -> int: ...\n"
        "def show(count: int, text: str) -> None: ...\n"
        "def main(loop: rulip.Loop, future: rulip.Future[int]) -> None:\n"
    )
    program.write_text(head + "".join(f"    {mistake}\n" for mistake in MISTAKES))
    done = check("mypy", "--strict", "--disable-error-code", "empty-body", str(program))
    found = re.findall(r"^[^:]+:(\d+): error: .*\[([\w-]+)\]$", done.stdout, re.MULTILINE)
    first = head.count("\n") + 1
    assert found == [(str(first + i), code) for i, code in enumerate(MISTAKES.values())], (
        done.stdout
    )


def test_exceptions_give_a_reason() -> None:
    for line in ALLOWED.read_text().splitlines():
        if line and not line.startswith("#"):
            assert re.fullmatch(r"rulip\._rulip\.[\w.]+  # \S.{10,}", line), line
