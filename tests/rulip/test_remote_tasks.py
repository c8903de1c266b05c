"""`python -m rulip ps PID` and `pstree PID`: the tasks of another process.

Here: what the two show, and what they say when there is nothing to show. Not here: what tasks know
of each other within a process (tests/asyncio).
Thread: the processes that are asked have a main thread of their own, and sometimes a second one.
Invariant: whoever was asked goes on; no file stays.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from rulip import remote_tasks

PATIENCE = 30.0

needs_remote_exec = pytest.mark.skipif(
    not hasattr(sys, "remote_exec"), reason="sys.remote_exec() is new in Python 3.14"
)

#: Where the kernel lets only ancestors look into a process, it may be looked into by anybody.
PREAMBLE = """
import asyncio, ctypes, os, sys, threading
import rulip
ctypes.CDLL(None).prctl(0x59616D61, ctypes.c_ulong(-1 % 2**64), 0, 0, 0)
"""
FAMILY = """
async def leaf():
    await asyncio.sleep(3600)

async def child():
    await leaf()

async def consumer(queue):
    await queue.get()

async def main():
    async with asyncio.TaskGroup() as group:
        group.create_task(child(), name="first")
        group.create_task(consumer(asyncio.Queue()), name="second")
        await asyncio.sleep(0.01)
        print("ready", flush=True)
"""

Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts a program and waits until it says that it is ready."""
    started: list[subprocess.Popen[str]] = []

    def start(*parts: str) -> subprocess.Popen[str]:
        program = "".join(map(textwrap.dedent, (PREAMBLE, *parts)))
        process = subprocess.Popen(
            [sys.executable, "-c", program],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def call(*arguments: object) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "rulip", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    if "not allowed" in done.stderr:
        pytest.skip("this machine allows nobody to look into a process")
    return done


def folders() -> set[Path]:
    return set(Path(tempfile.gettempdir()).glob("rulip-ps-*"))


@needs_remote_exec
def test_ps_lists_the_tasks_of_an_idle_process(start):
    before = folders()
    process = start(FAMILY, "rulip.install(); asyncio.run(main())")
    done = call("ps", process.pid)
    assert done.stderr == ""
    header, _, *rows = done.stdout.splitlines()
    assert header.split("  ")[0].strip() == "tid"
    cells = [re.split(r"  +", row) for row in rows]
    assert {row[0] for row in cells} == {str(process.pid)}  # the main thread
    assert [row[2:5] for row in cells] == [
        ["first", "sleep -> leaf -> child", "Task-1"],
        ["Task-1", "TaskGroup.__aexit__ -> main"],
        ["second", "Queue.get -> consumer", "Task-1"],
    ]
    assert cells[0][5] == cells[1][1]  # the awaiter's number
    # It goes on, and can be asked again.
    assert call("ps", process.pid).stdout == done.stdout
    assert process.poll() is None
    assert folders() <= before


@needs_remote_exec
def test_pstree_shows_who_awaits_whom(start):
    process = start(FAMILY, "rulip.install(); asyncio.run(main())")
    done = call("pstree", process.pid)
    assert done.stderr == ""
    assert re.sub(r":\d+$", "", done.stdout, flags=re.MULTILINE) == textwrap.dedent("""\
        └── (T) Task-1
            └── main <string>
                └── TaskGroup.__aexit__
                    ├── (T) first
                    │   └── child <string>
                    │       └── leaf <string>
                    │           └── sleep
                    └── (T) second
                        └── consumer <string>
                            └── Queue.get
        """)


@needs_remote_exec
def test_a_busy_process_answers_too(start):
    process = start(
        """
        async def main():
            print("ready", flush=True)
            while True:
                pass

        rulip.run(main())
        """
    )
    done = call("pstree", process.pid)
    assert re.fullmatch(r"└── \(T\) Task-1\n    └── main <string>:\d+\n", done.stdout), done


@needs_remote_exec
def test_the_loops_of_other_threads_are_asked_as_well(start):
    process = start(
        """
        async def wait(said):
            if said:
                print(said, flush=True)
            await asyncio.sleep(3600)

        async def main():
            thread = threading.Thread(target=rulip.run, args=[wait("ready")], daemon=True)
            thread.start()
            await wait("")

        rulip.run(main())
        """
    )
    done = call("ps", process.pid)
    threads = [row.split()[0] for row in done.stdout.splitlines()[2:]]
    assert len(threads) == len(set(threads)) == 2, done


@needs_remote_exec
def test_those_that_await_each_other_are_shown_once(start):
    process = start(
        """
        async def await_(tasks, number):
            await asyncio.sleep(0)
            await tasks[number]

        async def main():
            tasks = []
            tasks += [asyncio.create_task(await_(tasks, i), name=f"T{i}") for i in (1, 0)]
            await asyncio.sleep(0.01)
            print("ready", flush=True)
            await asyncio.sleep(3600)

        rulip.run(main())
        """
    )
    lines = call("pstree", process.pid).stdout.splitlines()
    tasks = [line.partition("(T) ")[2] for line in lines if "(T)" in line]
    assert tasks == ["Task-1", "T0", "T1", "T0 (see above)"]


@needs_remote_exec
def test_a_main_thread_that_runs_no_python_code_leaves_no_file(start, monkeypatch):
    before = folders()
    process = start(
        """
        threading.Thread(target=rulip.run, args=[asyncio.sleep(3600)], daemon=True).start()
        os.system("echo ready; read line")
        print("goes on", flush=True)
        sys.stdin.readline()
        """
    )
    assert "did not answer within" in refusal_in(process.pid, monkeypatch)
    assert len(folders() - before) == 1
    # The process gets to the question when nobody waits any more: at its next bytecode.
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write("\n")
    process.stdin.flush()
    assert process.stdout.readline() == "goes on\n"
    assert folders() <= before


def refusal_in(pid: int, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(remote_tasks, "PATIENCE", 0.2)
    with pytest.raises(remote_tasks.NoAnswerError) as refused:
        remote_tasks.ps(pid)
    if "not allowed" in str(refused.value):
        pytest.skip("this machine allows nobody to look into a process")
    return str(refused.value)


@needs_remote_exec
def test_processes_that_cannot_answer_are_named():
    gone = subprocess.Popen(["/bin/true"])
    gone.wait()
    done = call("ps", gone.pid)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"python -m rulip ps: there is no process {gone.pid}\n"
    other = subprocess.Popen(["/bin/sleep", "60"])
    try:
        done = call("pstree", other.pid)
    finally:
        other.kill()
        other.wait()
    assert (done.returncode, done.stdout) == (1, "")
    assert f"process {other.pid} does not use rulip" in done.stderr


@pytest.mark.skipif(hasattr(sys, "remote_exec"), reason="what older Pythons say")
def test_older_pythons_say_what_they_lack():
    done = call("ps", 1)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "python -m rulip ps: Python 3.14 or later is needed, here and there\n"


@pytest.mark.parametrize("arguments", [(), ("self",), ("1", "2"), ("-1",)])
def test_one_number_is_expected(arguments):
    done = call("pstree", *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert "pstree takes the number of a process" in done.stderr


def test_a_program_of_that_name_can_be_run(tmp_path):
    (tmp_path / "ps").write_text("import sys; print(sys.argv)")
    for way in (("./ps",), ("--", "ps")):
        done = subprocess.run(
            [sys.executable, "-m", "rulip", *way, "1"],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            timeout=PATIENCE,
            check=False,
        )
        assert done.stdout == f"{[way[-1], '1']}\n", done.stderr
