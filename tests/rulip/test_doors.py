"""The doors into rulip: `python -m rulip`, run, Runner, install, the policy, the import itself.

Here: what each door promises, mostly in interpreters of its own, compared with plain python.
Not here: what the loop does once it runs (tests/asyncio).
Thread: each program runs in its own process.
Invariant: a program can't tell `python -m rulip app.py` from `python app.py`, but by its loop.
"""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import textwrap
import zipfile
from collections.abc import AsyncIterator
from importlib import resources
from pathlib import Path

import pytest

import rulip

PYTHON = [sys.executable, "-W", "error"]
RULIP = [*PYTHON, "-m", "rulip"]
PATIENCE = 30.0


def call(
    command: list[str], *arguments: object, stdin: str = "", cwd: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a program to its end and return what it said."""
    return subprocess.run(
        [*command, *map(str, arguments)],
        input=stdin,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        cwd=cwd,
        check=False,
    )


def call_both(
    *arguments: object, stdin: str = "", cwd: Path | None = None
) -> tuple[subprocess.CompletedProcess[str], subprocess.CompletedProcess[str]]:
    """The same arguments for python and for `python -m rulip`."""
    return (
        call(PYTHON, *arguments, stdin=stdin, cwd=cwd),
        call(RULIP, *arguments, stdin=stdin, cwd=cwd),
    )


def python_says(code: str) -> str:
    """The standard output of a piece of code in an interpreter of its own."""
    done = call(PYTHON, "-c", textwrap.dedent(code))
    assert done.returncode == 0, done.stderr
    return done.stdout


def write(path: Path, code: str) -> Path:
    path.write_text(textwrap.dedent(code))
    return path


# -- python -m rulip ------------------------------------------------------------------------


LOOK_AROUND = """
    import sys

    print(__name__, sys.argv, sys.path[0])
    print(globals().get("__file__"), __spec__ and __spec__.name, sys.modules["__main__"].__name__)
    print(vars(sys.modules["__main__"]) is globals(), sorted(n for n in globals() if n[0] != "_"))
    print(sys.stdin.read())
    sys.exit(len(sys.argv))
"""


def test_a_script_runs_as_under_python(tmp_path: Path) -> None:
    script = write(tmp_path / "app.py", LOOK_AROUND)
    plain, ours = call_both(script, "one", "-m", "--help", stdin="a line\n")
    assert ours.stdout == plain.stdout
    assert ours.stderr == plain.stderr == ""
    assert ours.returncode == plain.returncode == 4


def test_a_script_given_by_a_relative_path_and_a_link(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    write(tmp_path / "real" / "app.py", LOOK_AROUND)
    (tmp_path / "link.py").symlink_to("real/app.py")
    plain, ours = call_both("link.py", cwd=tmp_path)
    assert ours.stdout == plain.stdout
    assert str(tmp_path / "real") in ours.stdout
    assert ours.returncode == plain.returncode == 1


def test_a_module_runs_as_under_python(tmp_path: Path) -> None:
    package = tmp_path / "shop"
    package.mkdir()
    write(package / "__init__.py", "")
    write(package / "till.py", LOOK_AROUND)
    write(package / "__main__.py", LOOK_AROUND)
    for module in ("shop", "shop.till"):
        plain, ours = call_both("-m", module, "-x", cwd=tmp_path)
        assert ours.stdout == plain.stdout
        assert ours.stderr == plain.stderr == ""
        assert ours.returncode == plain.returncode == 2


def test_code_runs_as_under_python(tmp_path: Path) -> None:
    code = textwrap.dedent(LOOK_AROUND)
    for arguments, status in ((["-c", code, "a", "b"], 3), (["-c" + code], 1)):
        plain, ours = call_both(*arguments, cwd=tmp_path)
        assert ours.stdout == plain.stdout
        assert ours.stderr == plain.stderr == ""
        assert ours.returncode == plain.returncode == status


def test_a_program_on_standard_input(tmp_path: Path) -> None:
    program = "import sys\nprint(__name__, sys.argv, repr(sys.path[0]))\n"
    plain, ours = call_both("-", "a", stdin=program, cwd=tmp_path)
    assert ours.stdout == plain.stdout
    assert ours.returncode == plain.returncode == 0


def test_a_folder_and_a_zip_file(tmp_path: Path) -> None:
    folder = tmp_path / "app"
    folder.mkdir()
    write(folder / "__main__.py", "import part, sys\nprint(__name__, sys.argv, sys.path[0])\n")
    write(folder / "part.py", "print('part')\n")
    archive = tmp_path / "app.zip"
    with zipfile.ZipFile(archive, "w") as file:
        for part in folder.glob("*.py"):
            file.write(part, part.name)
    for target in (folder, archive):
        plain, ours = call_both(target, "a")
        assert ours.stdout == plain.stdout
        assert ours.stderr == plain.stderr == ""
        assert ours.returncode == plain.returncode == 0


def test_the_program_has_rulips_loop_by_every_way_of_asyncio(tmp_path: Path) -> None:
    script = write(
        tmp_path / "app.py",
        """
        import asyncio

        async def main():
            await asyncio.sleep(0)
            return type(asyncio.get_running_loop()).__module__.split(".")[0]

        print(asyncio.run(main()))
        with asyncio.Runner() as runner:
            print(runner.run(main()))
        loop = asyncio.new_event_loop()
        print(loop.run_until_complete(main()))
        loop.close()
        """,
    )
    plain, ours = call_both(script)
    assert plain.stdout.split() == ["asyncio"] * 3
    assert ours.stdout.split() == ["rulip"] * 3
    assert ours.stderr == ""


def test_the_loop_that_a_program_names_is_rulips(tmp_path: Path) -> None:
    """But for one on a selector of its own, for one of its own class, and once uninstalled."""
    script = write(
        tmp_path / "app.py",
        """
        import asyncio
        import selectors

        class Own(asyncio.SelectorEventLoop):
            def __init__(self, selector=None):
                super().__init__(selector)

        async def main():
            await asyncio.sleep(0)
            return asyncio.Lock.__module__

        def show(factory):
            with asyncio.Runner(loop_factory=factory) as runner:
                loop = runner.get_loop()
                runner.run(main())
                print(type(loop).__module__.split(".")[0], end=" ")
                print(isinstance(loop, asyncio.SelectorEventLoop), isinstance(loop, Own), end=" ")
                print(type(getattr(loop, "_selector", None)).__name__)

        def selecting():
            return asyncio.SelectorEventLoop(selectors.SelectSelector())

        show(asyncio.SelectorEventLoop)
        show(asyncio.unix_events.SelectorEventLoop)
        show(selecting)
        show(Own)
        print(isinstance(object(), asyncio.SelectorEventLoop))
        """,
    )
    plain, ours = call_both(script)
    assert plain.stdout.splitlines() == [
        "asyncio True False EpollSelector",
        "asyncio True False EpollSelector",
        "asyncio True False SelectSelector",
        "__main__ True True EpollSelector",
        "False",
    ]
    assert ours.stdout.splitlines() == [
        "rulip True False NoneType",
        "rulip True False NoneType",
        "rulip True False SelectSelector",
        "__main__ True True EpollSelector",
        "False",
    ]
    assert ours.stderr == plain.stderr == ""


def test_the_named_loop_is_asyncios_again_after_uninstall() -> None:
    code = """
        import asyncio, sys
        before = asyncio.SelectorEventLoop
        from rulip.installation import install_for_program
        import rulip
        install_for_program()
        rulip.install()
        print(asyncio.SelectorEventLoop is not before)
        rulip.uninstall()
        print(asyncio.SelectorEventLoop is before, asyncio.unix_events.SelectorEventLoop is before)
        rulip.install()
        print(asyncio.SelectorEventLoop is before)
    """
    assert python_says(code).split() == ["True", "True", "True", "True"]


def test_missing_programs_are_reported_as_by_python(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for arguments, status in (
        (["missing.py"], 2),
        (["missing.py", "-m", "x"], 2),
        (["-m", "no_such_module"], 1),
        (["-m", "json.no_such_part"], 1),
        (["empty"], 1),
    ):
        plain, ours = call_both(*arguments, cwd=tmp_path)
        assert ours.stderr == plain.stderr
        assert ours.stdout == ""
        assert ours.returncode == plain.returncode == status


def test_an_uncaught_exception_shows_the_programs_frames_only(tmp_path: Path) -> None:
    script = write(
        tmp_path / "app.py",
        """
        def fail():
            try:
                {}["missing"]
            except KeyError as exc:
                raise ValueError("a reason") from exc

        fail()
        """,
    )
    package = tmp_path / "pack"
    package.mkdir()
    write(package / "__main__.py", "raise SystemExit('a last word')\n")
    write(tmp_path / "broken.py", "print(1\n")
    for arguments in ([script], ["-m", "pack"], ["broken.py"], ["-m", "broken"]):
        plain, ours = call_both(*arguments, cwd=tmp_path)
        plain_lines = [line for line in plain.stderr.splitlines() if "runpy" not in line]
        our_lines = [line for line in ours.stderr.splitlines() if "runpy" not in line]
        assert our_lines == plain_lines
        assert "rulip" not in ours.stderr
        assert ours.returncode == plain.returncode == 1


def test_a_programs_own_excepthook_is_called(tmp_path: Path) -> None:
    script = write(
        tmp_path / "app.py",
        """
        import sys, traceback

        assert sys.excepthook is sys.__excepthook__
        sys.excepthook = lambda kind, exc, tb: print(kind, exc, len(traceback.extract_tb(tb)))
        raise ValueError("mine")
        """,
    )
    plain, ours = call_both(script)
    assert ours.stdout == plain.stdout == "<class 'ValueError'> mine 1\n"
    assert ours.returncode == plain.returncode == 1


@pytest.mark.parametrize("status", ["0", "3", "None", "'text'", "True"])
def test_exit_statuses(status: str) -> None:
    plain, ours = call_both("-c", f"import sys; sys.exit({status})")
    assert (ours.returncode, ours.stderr) == (plain.returncode, plain.stderr)


def test_ctrl_c_ends_it_as_it_ends_python(tmp_path: Path) -> None:
    script = write(
        tmp_path / "app.py",
        """
        import asyncio

        async def main():
            print("ready", flush=True)
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                print("cancelled", flush=True)
                raise

        asyncio.run(main())
        """,
    )
    for command in (PYTHON, RULIP):
        with subprocess.Popen(
            [*command, str(script)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            process.send_signal(signal.SIGINT)
            output, errors = process.communicate(timeout=PATIENCE)
        assert output == "cancelled\n"
        assert errors.splitlines()[-1] == "KeyboardInterrupt"
        assert process.returncode == -signal.SIGINT


def test_main_outlives_the_program_for_threads_and_exit_handlers(tmp_path: Path) -> None:
    script = write(
        tmp_path / "app.py",
        """
        import atexit, pickle, threading

        class Thing:
            pass

        def check(where):
            same = type(pickle.loads(pickle.dumps(Thing()))) is Thing
            print(where, same, flush=True)

        def later():
            main_thread.join()
            check("thread")

        main_thread = threading.main_thread()
        threading.Thread(target=later).start()
        atexit.register(check, "exit")
        """,
    )
    plain, ours = call_both(script)
    assert ours.stdout == plain.stdout
    assert ours.stdout.split() == ["thread", "True", "exit", "True"]
    assert ours.stderr == plain.stderr == ""


def test_processes_started_by_multiprocessing(tmp_path: Path) -> None:
    script = write(
        tmp_path / "app.py",
        """
        import multiprocessing

        def double(n):
            return 2 * n

        if __name__ == "__main__":
            with multiprocessing.get_context("spawn").Pool(1) as pool:
                print(pool.map(double, [1, 2, 3]))
        """,
    )
    ours = call(RULIP, script)
    assert (ours.stdout, ours.stderr, ours.returncode) == ("[2, 4, 6]\n", "", 0)


def test_help_version_and_wrong_options() -> None:
    shown = call(RULIP, "--help")
    assert shown.returncode == 0
    assert shown.stdout.startswith("usage: python -m rulip ")
    assert all(option in shown.stdout for option in ("FILE", "-m MODULE", "-c CODE", "--version"))
    assert call(RULIP, "-h").stdout == shown.stdout
    version = call(RULIP, "--version")
    assert (version.returncode, version.stdout) == (0, f"rulip {rulip.__version__}\n")
    for arguments, text in (
        ([], "a program is required"),
        (["--no-such-option"], "unrecognized option: --no-such-option"),
        (["-c"], "argument CODE expected for the -c option"),
        (["-m"], "argument MODULE expected for the -m option"),
    ):
        refused = call(RULIP, *arguments)
        assert refused.returncode == 2
        assert refused.stdout == ""
        assert text in refused.stderr


def test_safe_path_is_respected(tmp_path: Path) -> None:
    script = write(tmp_path / "app.py", "import sys\nprint(sys.path)\n")
    plain = call([*PYTHON, "-P"], script)
    ours = call([*PYTHON, "-P", "-m", "rulip"], script)
    assert ours.stdout == plain.stdout
    assert ours.returncode == 0


# -- run, Runner, new_event_loop ------------------------------------------------------------


async def answer(value: object) -> tuple[object, type]:
    await asyncio.sleep(0)
    return value, type(asyncio.get_running_loop())


def test_run_returns_the_result_on_a_loop_of_ours() -> None:
    assert rulip.run(answer(42)) == (42, rulip.Loop)


def test_run_raises_what_main_raises() -> None:
    async def fail() -> None:
        raise LookupError("gone")

    with pytest.raises(LookupError, match=r"^gone$"):
        rulip.run(fail())


def test_run_takes_debug_and_another_factory() -> None:
    async def look() -> tuple[bool, bool]:
        loop = asyncio.get_running_loop()
        return loop.get_debug(), isinstance(loop, rulip.Loop)

    assert rulip.run(look(), debug=True) == (True, True)
    assert rulip.run(look(), debug=False) == (False, True)
    assert rulip.run(look(), loop_factory=asyncio.SelectorEventLoop)[1] is False


def test_run_refuses_to_nest() -> None:
    async def main() -> None:
        inner = answer(1)
        with pytest.raises(RuntimeError, match=r"rulip\.run\(\) cannot be called from a running"):
            rulip.run(inner)
        inner.close()
        assert isinstance(asyncio.get_running_loop(), rulip.Loop)

    rulip.run(main())


def test_run_finishes_what_main_left() -> None:
    ended: list[str] = []

    async def linger() -> None:
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            ended.append("task")

    async def numbers() -> AsyncIterator[int]:
        try:
            yield 1
        finally:
            ended.append("generator")

    kept: list[object] = []

    async def main() -> None:
        kept.append(asyncio.create_task(linger()))
        generator = numbers()
        kept.append(generator)
        await anext(generator)

    rulip.run(main())
    assert ended == ["task", "generator"]


def test_runner_runs_several_times_on_one_loop() -> None:
    with rulip.Runner() as runner:
        loop = runner.get_loop()
        assert type(loop) is rulip.Loop
        assert runner.run(answer(1)) == (1, rulip.Loop)
        assert runner.run(answer(2)) == (2, rulip.Loop)
        assert runner.get_loop() is loop
    assert loop.is_closed()
    assert isinstance(runner, asyncio.Runner)


@pytest.mark.parametrize("factory", [rulip.new_event_loop, rulip.Loop])
def test_both_factories_serve_asyncios_runner(factory: object) -> None:
    with asyncio.Runner(loop_factory=factory) as runner:  # type: ignore[arg-type]
        assert runner.run(answer(3)) == (3, rulip.Loop)


def test_a_loop_is_an_event_loop_to_asyncio() -> None:
    loop = rulip.new_event_loop()
    try:
        assert isinstance(loop, asyncio.AbstractEventLoop)
        assert repr(loop) == "<Loop running=False closed=False debug=False>"
        assert [name for name in dir(asyncio.AbstractEventLoop) if not hasattr(loop, name)] == []
    finally:
        loop.close()
    assert repr(loop) == "<Loop running=False closed=True debug=False>"


def test_a_subclass_takes_its_own_arguments() -> None:
    class Named(rulip.Loop):
        def __init__(self, name: str, *, colour: str) -> None:
            super().__init__()
            self.name, self.colour = name, colour

    loop = Named("a", colour="blue")
    try:
        assert (loop.name, loop.colour) == ("a", "blue")
        assert loop.run_until_complete(answer(4)) == (4, Named)
    finally:
        loop.close()


# -- install, uninstall, the policy, the import ---------------------------------------------


LOOK_AT_ASYNCIO = """
    import asyncio, importlib, pkgutil, sys

    for module in pkgutil.iter_modules(asyncio.__path__):
        if not module.name.startswith(("windows", "proactor", "__")):
            importlib.import_module("asyncio." + module.name)

    def names():
        return {
            (module_name, name): value
            for module_name, module in sys.modules.items()
            if module_name.split(".")[0] in ("asyncio", "_asyncio")
            for name, value in vars(module).items()
        }

    def changed(before):
        after = names()
        assert before.keys() == after.keys(), before.keys() ^ after.keys()
        return sorted(".".join(key) for key in before if before[key] is not after[key])

    def runs_a_loop(before):
        # From the first loop on asyncio's call graphs know native tasks (docs/compat.md).
        return before | {key: value for key, value in names().items()
                         if key[1].endswith("_awaited_by")}

    before = names()
"""


def test_importing_changes_nothing_in_asyncio() -> None:
    said = python_says(
        LOOK_AT_ASYNCIO
        + """
    import rulip
    print(changed(before), asyncio.events._event_loop_policy)
    """
    )
    assert said == "[] None\n"


def test_running_changes_nothing_in_asyncio_but_what_asyncio_run_does() -> None:
    program = (
        LOOK_AT_ASYNCIO
        + """
    import rulip
    async def main():
        await asyncio.sleep(0)
        await rulip.sleep(0)
    RUNNER.run(main())
    before = runs_a_loop(before)
    print(changed(before), type(asyncio.events._event_loop_policy))
    """
    )
    ours = python_says(program.replace("RUNNER", "rulip"))
    assert ours == python_says(program.replace("RUNNER", "asyncio"))


def test_the_runners_loop_is_the_current_one_until_it_is_closed() -> None:
    said = python_says(
        """
        import asyncio, rulip
        with rulip.Runner() as runner:
            print(asyncio.get_event_loop() is runner.get_loop())
        try:
            asyncio.get_event_loop()
        except RuntimeError as exc:
            print(exc)
        """
    ).splitlines()
    assert said == ["True", "There is no current event loop in thread 'MainThread'."]


def test_install_replaces_functions_and_the_policy_and_uninstall_restores_them() -> None:
    said = python_says(
        LOOK_AT_ASYNCIO
        + """
    import rulip
    from rulip.installation import TABLE
    rulip.new_event_loop().close()
    before = runs_a_loop(before)
    replaced = {
        (name, id(before[module, name]))
        for module, ours, names in TABLE
        for name in names
        if (module, name) in before
        and getattr(importlib.import_module(ours), name) is not before[module, name]
    }
    native = {
        ".".join(key)
        for key, value in before.items()
        if (key[1], id(value)) in replaced and key[0] != "_asyncio"
    }
    for _ in range(2):
        rulip.install()
        rulip.install()
        print(changed(before) == sorted({*native, "asyncio.events._event_loop_policy"}))
        print(asyncio.sleep is rulip.sleep is asyncio.tasks.sleep is asyncio.streams.sleep)
        print(asyncio.create_task is rulip.create_task is asyncio.tasks.create_task)
        async def main():
            await asyncio.sleep(0)
            return type(asyncio.get_running_loop()) is rulip.Loop
        print(asyncio.run(main()))
        loop = asyncio.new_event_loop()
        print(type(loop) is rulip.Loop)
        loop.close()
        rulip.uninstall()
        rulip.uninstall()
        print(changed(before))
        async def stock():
            return type(asyncio.get_running_loop()) is rulip.Loop
    print(asyncio.run(stock()))
    """
    ).splitlines()
    assert said == ["True", "True", "True", "True", "True", "[]"] * 2 + ["False"]


def test_uninstall_leaves_what_others_changed_meanwhile() -> None:
    said = python_says(
        """
        import asyncio, warnings
        import rulip
        warnings.simplefilter("ignore")
        stock = asyncio.sleep
        mine = asyncio.DefaultEventLoopPolicy()
        rulip.install()
        asyncio.set_event_loop_policy(mine)
        def my_sleep(): ...
        asyncio.sleep = my_sleep
        rulip.uninstall()
        print(asyncio.get_event_loop_policy() is mine, asyncio.sleep is my_sleep)
        print(asyncio.tasks.sleep is stock)
        """
    )
    assert said == "True True\nTrue\n"


def test_a_policy_set_before_install_comes_back() -> None:
    said = python_says(
        """
        import asyncio, warnings
        import rulip
        warnings.simplefilter("ignore")
        mine = asyncio.DefaultEventLoopPolicy()
        asyncio.set_event_loop_policy(mine)
        rulip.install()
        print(type(asyncio.get_event_loop_policy()) is rulip.EventLoopPolicy)
        rulip.uninstall()
        print(asyncio.get_event_loop_policy() is mine)
        """
    )
    assert said == "True\nTrue\n"


def test_the_policy_makes_rulips_loops() -> None:
    said = python_says(
        """
        import asyncio, threading, warnings
        import rulip
        warnings.simplefilter("ignore")
        print(rulip.EventLoopPolicy is rulip.EventLoopPolicy, rulip.EventLoopPolicy.__module__)
        asyncio.set_event_loop_policy(rulip.EventLoopPolicy())
        loop = asyncio.new_event_loop()
        print(type(loop) is rulip.Loop)
        asyncio.set_event_loop(loop)
        print(asyncio.get_event_loop() is loop)
        def other():
            try:
                asyncio.get_event_loop()
            except RuntimeError as exc:
                print(exc)
        thread = threading.Thread(target=other, name="other")
        thread.start()
        thread.join()
        loop.close()
        """
    )
    assert said.splitlines() == [
        "True rulip",
        "True",
        "True",
        "There is no current event loop in thread 'other'.",
    ]


def test_public_names_exist_and_are_all() -> None:
    said = python_says(
        """
        import warnings
        warnings.simplefilter("ignore")
        import rulip
        print([name for name in rulip.__all__ if not hasattr(rulip, name)])
        print(sorted(set(dir(rulip)) & set(rulip.__all__)) == sorted(rulip.__all__))
        others = [name for name in vars(rulip) if name[0] != "_" and name not in rulip.__all__]
        print([name for name in others if type(getattr(rulip, name)) is not type(rulip)])
        try:
            rulip.no_such_name
        except AttributeError as exc:
            print(exc)
        """
    ).splitlines()
    assert said[:2] == ["[]", "True"]
    # Submodules are attributes of their package; nothing else is.
    assert said[2] == "[]"
    assert said[3] == "module 'rulip' has no attribute 'no_such_name'"


def test_a_machine_that_cannot_run_it_is_told_so() -> None:
    said = python_says(
        """
        import sys
        sys.platform = "darwin"
        try:
            import rulip
        except ImportError as exc:
            print(exc)
        """
    )
    assert "Linux only" in said
    assert "darwin" in said


def test_a_free_threaded_python_is_told_so() -> None:
    said = python_says(
        """
        import sys
        sys.abiflags = "t"
        try:
            import rulip
        except ImportError as exc:
            print(exc)
        """
    )
    assert "free-threaded" in said


def test_idle_imports_start_no_thread_and_open_no_descriptor() -> None:
    said = python_says(
        """
        import asyncio, os, threading
        count = lambda: (len(os.listdir("/proc/self/fd")), threading.active_count())
        before = count()
        import rulip
        print(count() == before)
        loop = rulip.new_event_loop()
        loop.close()
        print(count() == before)
        """
    )
    assert said == "True\nTrue\n"


def test_the_package_says_that_it_is_typed() -> None:
    assert (resources.files("rulip") / "py.typed").is_file()


# -- python -m rulip --info -----------------------------------------------------------------


def test_info_says_what_a_bug_report_needs():
    done = call(RULIP, "--info")
    assert (done.returncode, done.stderr) == (0, "")
    facts = dict(line.split("  ", 1) for line in done.stdout.splitlines())
    facts = {name.strip(): value.strip() for name, value in facts.items()}
    assert facts["rulip"] == rulip.__version__
    assert facts["Python"].startswith("CPython " + sys.version.split()[0])
    assert {"system", "OpenSSL", "processors", "open files", "debug mode"} <= facts.keys()
    assert "sleep" in facts["natively replaced by install()"]
    assert str(Path.home()) not in done.stdout


@pytest.mark.skipif(sys.version_info < (3, 12), reason="eager tasks came in 3.12")
def test_the_installed_eager_factory_is_known_by_its_code():
    """anyio reads it when it is imported, and takes the constructor from the closure."""
    assert python_says("""
        import asyncio, rulip
        stock = asyncio.eager_task_factory
        rulip.install()
        factory = asyncio.eager_task_factory
        made = factory.__closure__[0].cell_contents
        print(factory.__code__ is stock.__code__, made is rulip.Task)

        async def main():
            loop = asyncio.get_running_loop()
            loop.set_task_factory(factory)
            done = asyncio.create_task(asyncio.sleep(0, 1))
            begun = []
            loop.create_task(begin(begun))
            print(loop.get_task_factory() is factory, begun, type(done) is rulip.Task, await done)

        async def begin(begun):
            begun.append('at once')

        asyncio.run(main())
        rulip.uninstall()
        print(asyncio.eager_task_factory is stock)
    """).splitlines() == ["True True", "True ['at once'] True 1", "True"]
