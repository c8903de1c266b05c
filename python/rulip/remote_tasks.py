"""`python -m rulip ps PID` and `pstree PID`: the tasks of a running process (Python 3.14 on).

Lives here: asking the process, what it answers, and the two ways of showing that.
Does not live here: the command line (command_line.py); running code in another process, which is
Python's own `sys.remote_exec()`.
Thread: `answer()` runs in the main thread of the process that is asked, between two bytecodes or
two turns of its loop; the rest in the process that asks.
Invariant: the process that is asked goes on as before, and no file stays: a question that nobody
waits for any more is a script that removes its own folder.
"""

import asyncio
import json
import os
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

from ._rulip import _ring

#: How long the process may take until its main thread runs Python code.
PATIENCE = 5.0

_QUESTION = "from rulip.remote_tasks import answer\nanswer({folder!r})\n"
_WITHDRAWN = "import shutil\nshutil.rmtree({folder!r}, ignore_errors=True)\n"

#: What /proc tells of an epoll instance's registration of a rulip loop's waker.
_WAKER = "ffffffffffffffff"


class Frame(NamedTuple):
    """Where a coroutine stands; a native one has no file."""

    function: str
    file: str | None
    line: int | None

    def __str__(self) -> str:
        return self.function if self.file is None else f"{self.function} {self.file}:{self.line}"


class Task(NamedTuple):
    """A task of the other process, its coroutines from the innermost out."""

    thread: int | None
    id: int
    name: str
    stack: list[Frame]
    awaited_by: list[int]


class NoAnswerError(Exception):
    """Why the process cannot be shown."""


def ps(pid: int) -> str:
    """A table: one row for each task and each task that awaits it."""
    tasks = _ask(pid)
    names = {task.id: task.name for task in tasks}
    rows = []
    for task in tasks:
        stack = " -> ".join(frame.function for frame in task.stack)
        head = [str(task.thread or ""), f"{task.id:#x}", task.name, stack]
        rows += [[*head, names.get(other, ""), f"{other:#x}"] for other in task.awaited_by]
        if not task.awaited_by:
            rows.append([*head, "", ""])
    columns = ["tid", "task id", "task name", "coroutine stack", "awaiter name", "awaiter id"]
    widths = [max(map(len, column)) for column in zip(columns, *rows, strict=True)]
    lines = [columns, ["-" * width for width in widths], *rows]
    return "".join("  ".join(map(str.ljust, line, widths)).rstrip() + "\n" for line in lines)


def pstree(pid: int) -> str:
    """A tree: what a task awaits hangs below the coroutine that awaits it."""
    tasks = _ask(pid)
    listed = {task.id for task in tasks}
    awaited: dict[int, list[Task]] = {}
    for task in tasks:
        for awaiter in task.awaited_by:
            awaited.setdefault(awaiter, []).append(task)
    roots = [task for task in tasks if listed.isdisjoint(task.awaited_by)]
    shown: set[int] = set()
    lines: list[str] = []
    # Those that await each other in a circle have no root: they come last.
    for root in [*roots, *tasks]:
        if root.id not in shown:
            lines += _branch(root, awaited, shown)
    return "".join(line + "\n" for line in lines)


def _branch(root: Task, awaited: dict[int, list[Task]], shown: set[int]) -> Iterator[str]:
    """A task's lines: its coroutines from the outermost in, then what it awaits."""
    # What is still to be printed: the indentation, whether it is the last there, the task, and
    # which of its coroutines (none: the task itself).
    waiting: list[tuple[str, bool, Task, int | None]] = [("", True, root, None)]
    while waiting:
        indent, last, task, depth = waiting.pop()
        branch = indent + ("└── " if last else "├── ")
        inner = indent + ("    " if last else "│   ")
        if depth is not None:
            yield f"{branch}{task.stack[depth]}"
        elif task.id in shown:
            yield f"{branch}(T) {task.name} (see above)"
            continue
        else:
            shown.add(task.id)
            yield f"{branch}(T) {task.name}"
            depth = len(task.stack)
        if depth:
            waiting.append((inner, True, task, depth - 1))
            continue
        below = awaited.get(task.id, [])
        waiting += [(inner, child is below[-1], child, None) for child in reversed(below)]


def _ask(pid: int) -> list[Task]:
    """The tasks of a process, as it tells them itself."""
    if not hasattr(sys, "remote_exec"):
        raise NoAnswerError("Python 3.14 or later is needed, here and there")
    try:
        uses_rulip = "/_rulip." in Path(f"/proc/{pid}/maps").read_text(errors="replace")
        owner = os.stat(f"/proc/{pid}")
    except (FileNotFoundError, ProcessLookupError):
        raise NoAnswerError(f"there is no process {pid}") from None
    except PermissionError:
        _refused(pid)
    if not uses_rulip:
        raise NoAnswerError(f"process {pid} does not use rulip; try: python -m asyncio ps {pid}")
    folder = tempfile.mkdtemp(prefix="rulip-ps-")
    script = Path(folder, "question.py")
    script.write_text(_QUESTION.format(folder=folder))
    if owner.st_uid != os.geteuid():
        for path in (folder, script):
            os.chown(path, owner.st_uid, owner.st_gid)
    try:
        sys.remote_exec(pid, str(script))
    except BaseException as exc:
        shutil.rmtree(folder)
        if isinstance(exc, PermissionError):
            _refused(pid)
        if isinstance(exc, (RuntimeError, OSError)):
            raise NoAnswerError(str(exc)) from None
        raise
    try:
        answer = _wait_for_answer(pid, Path(folder, "answer"))
    except BaseException:
        # The process may still get to it.
        withdrawn = Path(folder, "withdrawn.py")
        withdrawn.write_text(_WITHDRAWN.format(folder=folder))
        withdrawn.replace(script)
        raise
    shutil.rmtree(folder)
    if "error" in answer:
        raise NoAnswerError(f"process {pid} failed to answer: {answer['error']}")
    return [
        Task(thread, task_id, name, [Frame(*frame) for frame in stack], awaited_by)
        for thread, task_id, name, stack, awaited_by in answer["tasks"]
    ]


def _refused(pid: int) -> NoReturn:
    raise NoAnswerError(
        f"not allowed to read process {pid}: that takes what a debugger needs, see "
        "https://docs.python.org/3/howto/remote_debugging.html#permission-requirements"
    ) from None


def _wait_for_answer(pid: int, path: Path) -> dict[str, Any]:
    deadline = time.monotonic() + PATIENCE
    # An idle loop is inside a system call: it gets to the question at its next turn.
    _wake_loops(pid)
    while not path.exists():
        if not os.path.exists(f"/proc/{pid}"):
            raise NoAnswerError(f"process {pid} has ended")
        if time.monotonic() > deadline:
            raise NoAnswerError(
                f"process {pid} did not answer within {PATIENCE:g} seconds: its main thread runs "
                "neither Python code nor a rulip loop"
            )
        time.sleep(0.01)
    answer: dict[str, Any] = json.loads(path.read_text())
    return answer


def _wake_loops(pid: int) -> None:
    """A turn for each rulip loop of a process."""
    for number in os.listdir(f"/proc/{pid}/fd"):
        try:
            if os.readlink(f"/proc/{pid}/fd/{number}") != "anon_inode:[eventpoll]":
                continue
            registrations = Path(f"/proc/{pid}/fdinfo/{number}").read_text().splitlines()
        except OSError:
            continue  # closed meanwhile
        for words in map(str.split, registrations):
            if words[:1] == ["tfd:"] and _WAKER in words:
                try:
                    _ring(pid, int(words[1]))
                except OSError:
                    continue  # closed meanwhile


def answer(folder: str) -> None:
    """Write down this process's tasks. Runs where `sys.remote_exec()` was called for."""
    if not os.path.isdir(folder):
        return
    try:
        found: dict[str, Any] = {"tasks": list(_tasks())}
    except Exception as exc:
        found = {"error": f"{type(exc).__name__}: {exc}"}
    part = Path(folder, "answer.part")
    part.write_text(json.dumps(found))
    part.replace(Path(folder, "answer"))


def _tasks() -> Iterator[tuple[int | None, int, str, list[Frame], list[int]]]:
    from .event_loop.task_registry import loops

    threads = {thread.ident: thread.native_id for thread in threading.enumerate()}
    for loop in loops():
        thread = threads.get(loop._thread_id)
        tasks = [(task.get_name(), id(task), task) for task in asyncio.all_tasks(loop)]
        for name, address, task in sorted(tasks, key=lambda item: (len(item[0]), *item[:2])):
            awaiters = getattr(task, "_asyncio_awaited_by", None) or ()
            awaited_by = sorted(id(awaiter) for awaiter in awaiters)
            yield thread, address, name, list(_stack(task.get_coro())), awaited_by


def _stack(coro: Any) -> Iterator[Frame]:
    """From the innermost coroutine out."""
    frames: list[Frame] = []
    while coro is not None:
        frame = _first(coro, "cr_frame", "gi_frame", "ag_frame")
        if frame is not None:
            code = frame.f_code
            frames.append(Frame(code.co_qualname, code.co_filename, frame.f_lineno))
        elif asyncio.iscoroutine(coro):
            frames.append(Frame(getattr(coro, "__qualname__", type(coro).__name__), None, None))
        else:
            break
        coro = _first(coro, "cr_await", "gi_yieldfrom", "ag_await")
    return reversed(frames)


def _first(coro: Any, *names: str) -> Any:
    """The first of these attributes that there is."""
    return next((found for name in names if (found := getattr(coro, name, None)) is not None), None)
