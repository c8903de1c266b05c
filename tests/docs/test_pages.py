"""Every code block of the documentation and of the README: run, or checked for form with a reason.

Here: Python programs on rulip and, where they do not name it, on asyncio; shell commands; servers;
files that later blocks use; outputs. Not here: reading pages (blocks.py).
Thread: pytest's; every block is a process of its own, in a folder of its own.
Invariant: a block finds the files that its page names before it, and nothing else; nothing is
written elsewhere.

RULIP_DOCS_PYTHON names an interpreter that has what the pages use (tests/docs/requirements.txt);
without it this one is taken, and pages that need more are skipped, saying so.
"""

from __future__ import annotations

import ast
import configparser
import functools
import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import time
import tomllib
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from blocks import PLAIN, PROJECT, Block, pages, parse, read

PYTHON = os.environ.get("RULIP_DOCS_PYTHON", sys.executable)
PATIENCE = 90.0  # less than what pytest grants a test
SERVED = re.compile(r"\brulip\b")
#: What a page needs beyond Python and rulip.
NEEDS = {
    "docs/doors/servers.md": (
        "aiohttp",
        "gunicorn",
        "hypercorn",
        "uvicorn",
        "uvicorn_worker",
        "uvloop",
    ),
    "docs/switching.md": ("IPython", "anyio", "ipykernel", "pytest_aiohttp", "pytest_asyncio"),
}
DOCKER = ("FROM", "RUN", "COPY", "CMD")
PAGES = [str(page.relative_to(PROJECT)) for page in pages()]

pytestmark = pytest.mark.timeout(110)


@functools.cache
def missing(names: tuple[str, ...]) -> list[str]:
    """Those that the pages' interpreter cannot import."""
    code = (
        "import importlib.util as u, sys; print(*[n for n in sys.argv[1:] if not u.find_spec(n)])"
    )
    done = subprocess.run([PYTHON, "-c", code, *names], capture_output=True, text=True, check=True)
    return done.stdout.split()


def environment(folder: Path) -> dict[str, str]:
    """The pages' interpreter first on the PATH, and rulip as it stands in this tree."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("PYTEST", "PYTHON"))
    }
    tools = folder / ".bin"
    tools.mkdir(exist_ok=True)
    python = tools / "python"
    if not python.exists():
        # A script, not a link: an interpreter finds its environment beside its own name.
        python.write_text(f'#!/bin/sh\nexec {shlex.quote(PYTHON)} "$@"\n')
        python.chmod(0o755)
    return {
        **kept,
        "PATH": os.pathsep.join([str(tools), str(Path(PYTHON).parent), os.environ["PATH"]]),
        "PYTHONPATH": str(PROJECT / "python"),
        "PYTHONUTF8": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
        "IPYTHONDIR": str(folder / ".ipython"),
        "JUPYTER_RUNTIME_DIR": str(folder / ".jupyter"),
        "PYDEVD_DISABLE_FILE_VALIDATION": "1",
    }


def call(command: list[str], folder: Path) -> str:
    """Run something to its good end; what it wrote to standard output."""
    done = subprocess.run(
        command,
        cwd=folder,
        env=environment(folder),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == 0, f"exit status {done.returncode}\n{done.stdout}{done.stderr}"
    return done.stdout


def run_python(block: Block, folder: Path) -> list[str]:
    """A program's outputs: by the doors that are open to it."""
    (folder / "program.py").write_text(block.text)
    if block.mark == "rulip":
        doors = [["-m", "rulip"]]
    elif re.search(r"^(import|from) .*\brulip\b", block.text, re.MULTILINE):
        doors = [[]]
    else:
        doors = [[], ["-m", "rulip"]]
    return [call(["python", "-W", "error", *door, "program.py"], folder) for door in doors]


def run_shell(block: Block, folder: Path) -> list[str]:
    """What a block of commands writes, all of them together."""
    return [call(["bash", "-eu", "-o", "pipefail", "-c", block.text], folder)]


def serve(command: str, url: str, folder: Path) -> None:
    """Start a server on a free port; its answer names rulip's loop."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = str(probe.getsockname()[1])
    for path in folder.glob("*.py"):
        path.write_text(path.read_text().replace("8000", port))
    answer = ask(command.replace("8000", port), url.replace("8000", port), folder)
    assert SERVED.search(answer), f"{command}: answered {answer!r}"


def ask(command: str, url: str, folder: Path) -> str:
    """The answer of a server that is started for it, and stopped."""
    log = folder / ".server.log"
    with log.open("w") as output:
        process = subprocess.Popen(
            ["bash", "-c", f"exec {command}"],
            cwd=folder,
            env=environment(folder),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        deadline = time.monotonic() + PATIENCE
        while True:
            assert process.poll() is None, f"{command}: ended\n{log.read_text()}"
            assert time.monotonic() < deadline, f"{command}: no answer\n{log.read_text()}"
            try:
                with urllib.request.urlopen(url, timeout=5) as answer:
                    text: str = answer.read().decode()
                break
            except (urllib.error.URLError, ConnectionError, TimeoutError):
                time.sleep(0.05)
        process.send_signal(signal.SIGTERM)
        process.wait(PATIENCE)
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
    assert "Traceback" not in log.read_text(), f"{command}\n{log.read_text()}"
    return text


def write_file(block: Block, folder: Path) -> None:
    """A file for the blocks that follow."""
    path = folder / block.value
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(block.text)


def check_form(block: Block) -> None:
    """What can be said of a block without running it."""
    match block.language:
        case "python":
            flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT | ast.PyCF_ONLY_AST
            compile(block.text, "block", "exec", flags)
        case "sh":
            check_shell(block.text)
        case "toml":
            assert tomllib.loads(block.text)
        case "json":
            assert json.loads(block.text)
        case "ini":
            found = configparser.ConfigParser(interpolation=None)
            found.read_string(block.text)
            assert found.sections()
        case "dockerfile":
            heads = [line.split()[0] for line in block.text.splitlines() if line.strip()]
            assert set(heads) <= set(DOCKER)
            assert heads[0] == "FROM"
        case other:
            raise AssertionError(f"line {block.line}: nobody knows how to check {other!r}")


def check_shell(text: str) -> None:
    """Commands are well-formed; make's targets, extras and the project's paths exist."""
    subprocess.run(["bash", "-n", "-c", text], check=True)
    targets = set(re.findall(r"^([a-z][\w-]*):", (PROJECT / "Makefile").read_text(), re.MULTILINE))
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
    for line in text.splitlines():
        words = shlex.split(line, comments=True)
        if words[:1] == ["make"]:
            named = {word for word in words[1:] if "=" not in word}
            assert named <= targets, f"make has no {named - targets}"
        for extra in re.findall(r"rulip\[([\w,]+)\]", line):
            assert set(extra.split(",")) <= project["optional-dependencies"].keys()
        for path in re.findall(r"(?<!\S)(?:\./)?((?:apps|examples|tests|bench)/[\w./-]+)", line):
            assert (PROJECT / path).exists(), f"{path} does not exist"


def assert_output(expected: str, written: list[str]) -> None:
    """Each run wrote it; `...` stands for any text."""
    pattern = ".*".join(map(re.escape, expected.strip().split("...")))
    for text in written:
        assert re.fullmatch(pattern, text.strip(), re.DOTALL), f"wrote:\n{text}\nnot:\n{expected}"


@dataclass
class Step:
    """What one test does: a block, the files named before it, the output that it should have."""

    page: str
    block: Block
    files: list[Block]
    output: str | None = None
    #: Of a block of servers: which one.
    command: str = ""

    def __str__(self) -> str:
        number = self.block.text.splitlines().index(self.command) + 1 if self.command else 0
        return f"{self.page}:{self.block.line + number}"


def steps(page: str) -> Iterator[Step]:
    """A page's blocks that are more than shown."""
    files: list[Block] = []
    last: Step | None = None
    for block in read(PROJECT / page):
        if block.mark == "output":
            assert last is not None, f"{page}:{block.line}: nothing runs before it"
            last.output = block.text
            yield last
            last = None
            continue
        if last is not None:
            yield last
        last = None
        if block.mark == "serves":
            for command in block.text.splitlines():
                yield Step(page, block, list(files), command=command)
        elif block.mark == "not run" or (block.mark != "old" and block.language not in PLAIN):
            last = Step(page, block, list(files))
        if block.mark in ("file", "old"):
            files.append(block)
    if last is not None:
        yield last


@pytest.mark.parametrize("step", [step for page in PAGES for step in steps(page)], ids=str)
def test_block(step: Step, tmp_path: Path) -> None:
    block = step.block
    runs = block.mark in ("", "rulip", "serves") and block.language in ("python", "sh")
    if runs and (absent := missing(NEEDS.get(step.page, ()))):
        pytest.skip(f"not installed: {', '.join(absent)} (tests/docs/requirements.txt)")
    for file in step.files:
        write_file(file, tmp_path)
    if not runs:
        check_form(block)
    elif step.command:
        serve(step.command, block.value, tmp_path)
    else:
        run = run_python if block.language == "python" else run_shell
        written = run(block, tmp_path)
        if step.output is not None:
            assert_output(step.output, written)


def test_programs_are_python_or_shell_by_name() -> None:
    """A program in a block without a language would be run by nobody."""
    for page in PAGES:
        for block in read(PROJECT / page):
            where = f"{page}:{block.line}"
            if block.language in PLAIN and block.mark != "output":
                assert not re.search(r"^(import|from|async def|def) ", block.text, re.MULTILINE), (
                    where
                )
                assert not re.search(r"^(pip|make|python) ", block.text, re.MULTILINE), where


def test_outputs_are_compared() -> None:
    assert_output("one ... three", ["one two three\n"])
    with pytest.raises(AssertionError):
        assert_output("one", ["one", "two"])


@pytest.mark.parametrize(
    "text",
    [
        "<!-- test: nonsense -->\n```python\n```\n",
        "<!-- test: output -->\nno block\n",
        "```python\nnever closed\n",
        "<!-- not run: it is the last line -->\n",
        "text\n\n    code by indent\n",
    ],
)
def test_a_mark_that_says_nothing_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"mark|block|fence"):
        parse(text)


@pytest.mark.parametrize(
    "text",
    ["make no-such-target", "pip install 'rulip[nothing]'", "python examples/none.py", "if true"],
)
def test_commands_that_cannot_be_right_are_refused(text: str) -> None:
    with pytest.raises((AssertionError, subprocess.CalledProcessError)):
        check_form(Block(1, "sh", text, "not run", "a test"))
