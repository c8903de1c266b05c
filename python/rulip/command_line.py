"""`python -m rulip app.py`: a Python program, unchanged, on rulip's loop.

Lives here: the command line, and the program's start as python itself would start it.
Does not live here: the switch (installation.py).
Thread: the main one.
Invariant: the program sees what `python app.py` would show it: `__main__`, sys.argv, sys.path,
exit statuses, and tracebacks that begin in its own code.
"""

import functools
import io
import os
import runpy
import sys
import types
from collections.abc import Callable
from importlib.machinery import SourceFileLoader
from types import TracebackType
from typing import Any, NoReturn

from ._rulip import __version__
from .installation import install_for_program

USAGE = (
    "usage: python -m rulip [-h] [--version] [--info] [--legacy] "
    "(-c CODE | -m MODULE | FILE | -) [ARG ...]\n"
    "       python -m rulip (ps | pstree) PID"
)
HELP = f"""{USAGE}

Run a Python program with rulip as asyncio's event loop.

program:
  FILE           a script, a directory or a zip file with a __main__.py
  -m MODULE      a module, as python -m would find it
  -c CODE        a program given as a string
  -              a program read from standard input
  ARG ...        the program's own arguments

a process that runs on rulip (Python 3.14 or later):
  ps PID         show its tasks in a table
  pstree PID     show its tasks as a tree: who awaits whom

options:
  -h, --help     show this help message and exit
  --version      show rulip's version and exit
  --info         show what a bug report needs and exit
  --legacy       the program is as asyncio's first years wrote them: @asyncio.coroutine,
                 asyncio.async(), loop= arguments, asyncio.wait() of bare coroutines
"""

#: Files whose frames are ours or the interpreter's start-up: not the program's.
STARTUP_FILES = frozenset(
    {
        __file__,
        os.path.join(os.path.dirname(__file__), "legacy", "source.py"),
        runpy.__file__,
        "<frozen runpy>",
    }
)


def main() -> None:
    """Read the command line and run what it asks for."""
    arguments = sys.argv[1:]
    legacy = arguments[:1] == ["--legacy"]
    if legacy:
        del arguments[0]
    if not arguments:
        _fail_usage("a program is required: FILE, -m MODULE, -c CODE or -")
    first, rest = arguments[0], arguments[1:]
    if first in ("-h", "--help"):
        sys.stdout.write(HELP)
        return
    if first == "--version":
        sys.stdout.write(f"rulip {__version__}\n")
        return
    if first == "--info":
        from .bug_report import describe

        sys.stdout.write(describe())
        return
    if first in ("ps", "pstree") and not legacy:
        _show_process(first, rest)
        return
    install_for_program()
    if legacy:
        _use_legacy(first, rest)
    if first.startswith("-c"):
        code, rest = _option_value(first, rest, "-c", "CODE")
        _run(_run_code, code, ["-c", *rest])
    elif first.startswith("-m"):
        module, rest = _option_value(first, rest, "-m", "MODULE")
        _run(_run_module, module, ["-m", *rest])
    elif first == "-":
        _run(_run_stdin, first, arguments)
    elif first == "--":
        if not rest:
            _fail_usage("a program is required: FILE, -m MODULE, -c CODE or -")
        _run(_run_file, rest[0], rest)
    elif first.startswith("-"):
        _fail_usage(f"unrecognized option: {first}")
    else:
        _run(_run_file, first, arguments)


def _show_process(command: str, arguments: list[str]) -> None:
    """`ps PID` and `pstree PID`; a program of that name is run as `./ps`."""
    from . import remote_tasks

    if len(arguments) != 1 or not arguments[0].isdecimal():
        _fail_usage(
            f"{command} takes the number of a process (a program of that name: ./{command})"
        )
    show = remote_tasks.ps if command == "ps" else remote_tasks.pstree
    try:
        sys.stdout.write(show(int(arguments[0])))
    except remote_tasks.NoAnswerError as exc:
        sys.stderr.write(f"python -m rulip {command}: {exc}\n")
        sys.exit(1)


#: How the program's source becomes code.
_compile: Callable[[str | bytes, str], types.CodeType] = functools.partial(
    compile, mode="exec", dont_inherit=True
)


def _use_legacy(first: str, rest: list[str]) -> None:
    """Read the program, and the modules beside it, as old source."""
    global _compile
    from .legacy import enable

    path = rest[0] if first == "--" and rest else first
    if first.startswith("-") and first != "--":
        _compile = enable(os.getcwd())
        return
    absolute = os.path.abspath(path)
    if _is_zip(absolute):
        _fail_usage("--legacy reads files and folders, not zip files")
    real = os.path.realpath(absolute)
    _compile = enable(real if os.path.isdir(real) else os.path.dirname(real))


def _option_value(first: str, rest: list[str], option: str, name: str) -> tuple[str, list[str]]:
    """The value of `-c CODE` or `-cCODE`, and what follows it."""
    if first != option:
        return first.removeprefix(option), rest
    if not rest:
        _fail_usage(f"argument {name} expected for the {option} option")
    return rest[0], rest[1:]


def _fail_usage(message: str) -> NoReturn:
    sys.stderr.write(f"{USAGE}\npython -m rulip: error: {message}\n")
    sys.exit(2)


def _run(start: Any, target: str, argv: list[str]) -> None:
    """Start the program; our frames are left out of its traceback."""
    sys.argv[:] = argv
    try:
        start(target)
    except SystemExit:
        raise
    except BaseException:
        _hide_startup_frames()
        raise


def _hide_startup_frames() -> None:
    """Show the uncaught exception as python would, from the program's first frame on."""
    show = sys.excepthook

    def excepthook(kind: type[BaseException], exc: BaseException, tb: TracebackType | None) -> None:
        while tb is not None and tb.tb_frame.f_code.co_filename in (*STARTUP_FILES, MAIN_FILE):
            tb = tb.tb_next
        show(kind, exc.with_traceback(tb), tb)

    sys.excepthook = excepthook


MAIN_FILE = os.path.join(os.path.dirname(__file__), "__main__.py")


def _new_main(**attributes: Any) -> types.ModuleType:
    """A fresh `__main__`: the program's, and no longer ours."""
    module = types.ModuleType("__main__")
    vars(module).update(
        __builtins__=__builtins__, __annotations__={}, __loader__=None, __spec__=None
    )
    vars(module).update(attributes)
    sys.modules["__main__"] = module
    return module


def _set_first_path(entry: str) -> None:
    """sys.path[0]: where the program's own modules are."""
    if sys.flags.safe_path:
        return
    # `python -m` has put the current folder there.
    sys.path[0] = entry


def _run_code(code: str) -> None:
    _set_first_path("")
    module = _new_main()
    exec(_compile(code, "<string>"), vars(module))


def _run_stdin(_name: str) -> None:
    _set_first_path("")
    source = sys.stdin.read()
    module = _new_main()
    exec(_compile(source, "<stdin>"), vars(module))


def _run_module(name: str) -> None:
    _new_main()
    # What the interpreter itself calls for -m: it reports a missing module as python does.
    vars(runpy)["_run_module_as_main"](name)


def _run_file(path: str) -> None:
    absolute = os.path.abspath(path)
    if os.path.isdir(absolute) or _is_zip(absolute):
        if not sys.flags.safe_path:
            del sys.path[0]
        sys.path.insert(0, absolute)
        _new_main()
        vars(runpy)["_run_module_as_main"]("__main__", False)
        return
    try:
        with io.open_code(absolute) as file:
            source = file.read()
    except OSError as exc:
        program = sys.orig_argv[0] if sys.orig_argv else sys.executable
        sys.stderr.write(
            f"{program}: can't open file {absolute!r}: [Errno {exc.errno}] {exc.strerror}\n"
        )
        sys.exit(2)
    _set_first_path(os.path.dirname(os.path.realpath(absolute)))
    module = _new_main(
        __file__=absolute, __cached__=None, __loader__=SourceFileLoader("__main__", absolute)
    )
    exec(_compile(source, absolute), vars(module))


def _is_zip(path: str) -> bool:
    import zipimport

    try:
        zipimport.zipimporter(path)
    except zipimport.ZipImportError:
        return False
    return True
