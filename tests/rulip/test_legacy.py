"""`python -m rulip --legacy`: programs as asyncio's first years wrote them.

Here: the old names, arguments and keywords; what can't be carried over; what stays untouched.
Not here: the example (tests/test_examples.py), the other doors (test_doors.py).
Thread: each program runs in its own process.
Invariant: warnings are errors in the programs: none of them sees a deprecation.
"""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

LEGACY = [sys.executable, "-W", "error", "-m", "rulip", "--legacy"]
PATIENCE = 40.0


def call(*arguments: object, cwd: Path, stdin: str = "") -> subprocess.CompletedProcess[str]:
    """Run a program to its end."""
    return subprocess.run(
        [*LEGACY, *map(str, arguments)],
        input=stdin, capture_output=True, text=True, timeout=PATIENCE, cwd=cwd, check=False,
    )  # fmt: skip


class Legacy:
    """A folder with a legacy program, and the way to run it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def write(self, name: str, code: str) -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(code))
        return path

    def says(self, code: str) -> list[str]:
        """What a program prints; it ends well and silently."""
        done = call(self.write("app.py", code), cwd=self.folder)
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout.splitlines()

    def fails(self, code: str) -> str:
        """What a program writes to stderr."""
        done = call(self.write("app.py", code), cwd=self.folder)
        assert done.returncode == 1
        return done.stderr


@pytest.fixture
def legacy(tmp_path: Path) -> Legacy:
    return Legacy(tmp_path)


# -- coroutines -----------------------------------------------------------------------------


def test_generators_are_coroutines(legacy):
    assert legacy.says("""
        import asyncio

        @asyncio.coroutine
        def marked(n):
            value = yield from asyncio.sleep(0.001, n)
            return value + 1

        def unmarked():
            return (yield from marked(2))

        @asyncio.coroutine
        def without_yield():
            return marked(4)

        @asyncio.coroutine
        def just_a_value():
            return 6

        async def native():
            return await marked(6), await asyncio.ensure_future(unmarked())

        class Client:
            @asyncio.coroutine
            def ask(self):
                future = asyncio.Future()
                loop.call_soon(future.set_result, 'asked')
                return (yield from future)

        @asyncio.coroutine
        def main():
            results = []
            for made in marked(0), unmarked(), without_yield(), just_a_value(), native():
                results.append((yield from made))
            results.append((yield from Client().ask()))
            results.append((yield from asyncio.gather(unmarked(), marked(1))))
            results.append((yield from asyncio.wait_for(marked(8), 5)))
            return results

        loop = asyncio.get_event_loop()
        print(loop.run_until_complete(main()))
        print(loop.run_until_complete(asyncio.Task(unmarked())))
        print(loop.run_until_complete(asyncio.async(marked(10))))
        print(asyncio.iscoroutinefunction(marked), asyncio.iscoroutine(made := unmarked()))
        made.close()
    """) == [
        "[1, 3, 5, 6, (7, 3), 'asked', [3, 2], 9]",
        "3",
        "11",
        "True True",
    ]


def test_a_cancelled_generator_sees_it_at_its_yield_from(legacy):
    assert legacy.says("""
        import asyncio

        @asyncio.coroutine
        def worker():
            try:
                yield from asyncio.sleep(3600)
            except asyncio.CancelledError:
                print('cancelled')
                raise
            finally:
                print('finally')

        @asyncio.coroutine
        def main():
            task = asyncio.async(worker())
            yield from asyncio.sleep(0)
            task.cancel()
            done, _ = yield from asyncio.wait([task])
            print(task.cancelled(), len(done))

        asyncio.get_event_loop().run_until_complete(main())
    """) == ["cancelled", "finally", "True 1"]


def test_raise_stop_iteration_returns(legacy):
    assert legacy.says("""
        import asyncio

        @asyncio.coroutine
        def answer():
            yield from asyncio.sleep(0)
            raise StopIteration(42)

        def countdown():
            yield 1
            raise StopIteration

        class Once:
            def __iter__(self): return self
            def __next__(self): raise StopIteration

        loop = asyncio.get_event_loop()
        print(loop.run_until_complete(answer()), list(countdown()), list(Once()))
    """) == ["42 [1] []"]


def test_iterators_stay_iterators(legacy):
    """`__iter__` and `__await__` that delegate are no coroutines: await would refuse them."""
    assert legacy.says("""
        import asyncio

        class Waits:
            def __await__(self):
                yield from asyncio.sleep(0).__await__()
                return 'waited'
            __iter__ = __await__

        async def main():
            return await Waits()

        @asyncio.coroutine
        def old():
            return (yield from Waits())

        loop = asyncio.get_event_loop()
        print(loop.run_until_complete(main()), loop.run_until_complete(old()))
    """) == ["waited waited"]


# -- arguments ------------------------------------------------------------------------------


def test_loop_arguments(legacy):
    assert legacy.says("""
        import asyncio
        import functools
        from asyncio import Queue, sleep

        class Bounded(asyncio.Queue):
            def __init__(self, size, *, loop=None):
                super().__init__(size, loop=loop)

        class Same(asyncio.Queue):
            pass

        class Explicit(asyncio.Event):
            def __init__(self, loop):
                asyncio.Event.__init__(self, loop=loop)

        def takes(*, loop):
            return loop is not None

        @asyncio.coroutine
        def main(loop):
            options = {'loop': loop}
            yield from sleep(0, loop=loop)
            yield from asyncio.sleep(0, **options)
            yield from functools.partial(asyncio.sleep, loop=loop)(0)
            made = [kind(loop=loop) for kind in (
                asyncio.Lock, asyncio.Event, asyncio.Condition, asyncio.Semaphore,
                asyncio.BoundedSemaphore, Queue, asyncio.PriorityQueue, asyncio.LifoQueue,
                asyncio.JoinableQueue, Same, Explicit)]
            made.append(Bounded(3, loop=loop))
            print(len(made), made[-1].maxsize, type(made[-1]).__name__)
            print((yield from asyncio.wait_for(sleep(0, 'in time'), 5, loop=loop)))
            print((yield from asyncio.shield(sleep(0, 'shielded'), loop=loop)))
            for first in asyncio.as_completed([sleep(0, 'completed')], loop=loop):
                print((yield from first))
            print(takes(loop=loop), takes(**options), dict(loop=1))
            done, pending = yield from asyncio.wait([sleep(0, 'waited')], loop=loop, timeout=5)
            print([task.result() for task in done], pending)

        loop = asyncio.get_event_loop()
        loop.run_until_complete(main(loop))
        future = asyncio.Future(loop=loop)
        future.set_result(1)
        print(loop.run_until_complete(asyncio.gather(sleep(0, 2), future, loop=loop)))
        print(loop.run_until_complete(asyncio.Task(sleep(0, 3), loop=loop)))
    """) == [
        "12 3 Bounded",
        "in time",
        "shielded",
        "completed",
        "True True {'loop': 1}",
        "['waited'] set()",
        "[2, 1]",
        "3",
    ]


def test_streams_and_subprocesses_take_a_loop(legacy):
    assert legacy.says("""
        import asyncio
        import sys

        @asyncio.coroutine
        def serve(reader, writer):
            line = yield from reader.readline()
            writer.write(line.upper())
            yield from writer.drain()
            writer.close()

        @asyncio.coroutine
        def main(loop):
            server = yield from asyncio.start_server(serve, '127.0.0.1', 0, loop=loop)
            port = server.sockets[0].getsockname()[1]
            reader, writer = yield from asyncio.open_connection('127.0.0.1', port, loop=loop)
            writer.write(b'hello\\n')
            print((yield from reader.read()))
            writer.close()
            server.close()
            yield from server.wait_closed()
            child = yield from asyncio.create_subprocess_exec(
                sys.executable, '-c', 'print(1)', stdout=-1, loop=loop)
            out, _ = yield from child.communicate()
            print(out, (yield from child.wait()))

        loop = asyncio.get_event_loop()
        loop.run_until_complete(main(loop))
        loop.close()
    """) == ["b'HELLO\\n'", "b'1\\n' 0"]


def test_wait_takes_bare_coroutines_before_the_loop_runs(legacy):
    assert legacy.says("""
        import asyncio
        from asyncio import wait

        @asyncio.coroutine
        def one(n):
            yield from asyncio.sleep(0)
            return n

        async def two():
            return 2

        loop = asyncio.get_event_loop()
        done, pending = loop.run_until_complete(asyncio.wait([one(1), two()]))
        print(sorted(task.result() for task in done), pending)
        done, pending = loop.run_until_complete(
            wait({one(3), two()}, return_when=asyncio.ALL_COMPLETED))
        print(sorted(task.result() for task in done), pending)
        event = asyncio.Event()
        loop.call_soon(event.set)
        print(loop.run_until_complete(event.wait()))
    """) == ["[1, 2] set()", "[2, 3] set()", "True"]


def test_with_yield_from_a_lock(legacy):
    assert legacy.says("""
        import asyncio

        @asyncio.coroutine
        def use(name, lock):
            with (yield from lock):
                print(name, 'in')
                yield from asyncio.sleep(0)
                print(name, 'out')

        @asyncio.coroutine
        def main():
            lock = asyncio.Lock()
            yield from asyncio.wait([use('a', lock)])
            yield from asyncio.gather(use('b', lock), use('c', lock))
            for made in asyncio.Semaphore(2), asyncio.Condition():
                with (yield from made) as nothing:
                    print(made.locked(), nothing)
                print(made.locked())

        asyncio.get_event_loop().run_until_complete(main())
    """) == [
        *("a in", "a out", "b in", "b out", "c in", "c out"),
        *("False None", "False", "True None", "False"),
    ]


# -- names and keywords ---------------------------------------------------------------------


def test_task_class_methods(legacy):
    assert legacy.says("""
        import asyncio

        class Pool:
            all_tasks = 'mine'

        @asyncio.coroutine
        def main():
            other = asyncio.async(asyncio.sleep(0))
            here = asyncio.Task.current_task()
            tasks = asyncio.Task.all_tasks(loop=loop)
            print(len(asyncio.Task.all_tasks()), here in tasks, Pool.all_tasks)
            yield from other

        loop = asyncio.get_event_loop()
        print(asyncio.Task.current_task(), asyncio.Task.all_tasks())
        loop.run_until_complete(main())
    """) == ["None set()", "2 True mine"]


def test_async_and_await_are_names_where_they_were(legacy):
    assert legacy.says("""
        # -*- coding: latin-1 -*-
        import asyncio
        from asyncio import async
        from asyncio import async as spawn

        class Old:
            async = 'a'
            def await(self, async=False):
                return async

        def keywords(**kwargs):
            return kwargs

        async def new():
            async with asyncio.Lock():
                result = await asyncio.sleep(0, 1)
            async def inner():
                yield 'x'
            async for _ in inner():
                result += (await asyncio.sleep(0, 1))
            return [await x for x in [asyncio.sleep(0, result)]]

        loop = asyncio.get_event_loop()
        print(loop.run_until_complete(async(new())), loop.run_until_complete(spawn(new())))
        print(Old.async, Old().await(async=3), keywords(async=1, await=2), 'async: await')
    """) == ["[2] [2]", "a 3 {'async': 1, 'await': 2} async: await"]


def test_tracebacks_point_at_the_right_place(legacy):
    stderr = legacy.fails("""
        import asyncio
        asyncio.async(asyncio.sleep(0).close() or 1, a=1); asyncio.async(1 + '')
    """)
    assert "legacy/names.py" not in stderr
    assert "<module>\n    asyncio.async(asyncio.sleep(0).close() or 1, a=1)" in stderr
    stderr = legacy.fails("""
        import asyncio
        x = 'ª', asyncio.async, 1 + ''
    """)
    assert stderr.splitlines()[2:4] == [
        "    x = 'ª', asyncio.async, 1 + ''",
        f"{'':28}{'~~^~~~'}",
    ]


@pytest.mark.parametrize("how", ["file", "-c", "-m", "-", "folder"])
def test_every_way_to_name_a_program(legacy, how):
    code = """if 1:
        import asyncio, sys, beside
        loop = asyncio.get_event_loop()
        print(loop.run_until_complete(asyncio.async(beside.work())), sys.argv[1:])
    """
    legacy.write("beside.py", """
        import asyncio
        @asyncio.coroutine
        def work():
            return (yield from asyncio.sleep(0, True, loop=None))
    """)  # fmt: skip
    legacy.write("app.py", code)
    legacy.write("__main__.py", code)
    arguments, stdin = {
        "file": (["app.py", "x"], ""),
        "-c": (["-c", code, "x"], ""),
        "-m": (["-m", "app", "x"], ""),
        "-": (["-", "x"], code),
        "folder": ([".", "x"], ""),
    }[how]
    done = call(*arguments, cwd=legacy.folder, stdin=stdin)
    assert (done.stdout, done.stderr, done.returncode) == ("True ['x']\n", "", 0)
    assert not (legacy.folder / "__pycache__").exists()  # rewritten code is for this run only


def test_get_event_loop_is_for_the_main_thread(legacy):
    assert legacy.says("""
        import asyncio, threading

        def elsewhere():
            try:
                asyncio.get_event_loop()
            except RuntimeError as exc:
                print(exc)

        thread = threading.Thread(target=elsewhere, name='other')
        thread.start()
        thread.join()
        loop = asyncio.get_event_loop()
        print(loop is asyncio.get_event_loop(), type(loop).__module__.split('.')[0])
    """) == ["There is no current event loop in thread 'other'.", "True rulip"]


# -- limits ---------------------------------------------------------------------------------


STOP_INSIDE_TRY = """def g():
    try:
        yield
        raise StopIteration
    finally:
        pass
"""


@pytest.mark.parametrize(
    ("code", "line", "text"),
    [
        (
            STOP_INSIDE_TRY,
            4,
            "SyntaxError: 'raise StopIteration' inside 'try' in a generator can't be carried over",
        ),
        (
            "import asyncio\n\nasyncio.test_utils\n",
            3,
            "module 'asyncio' has no attribute 'test_utils', and legacy mode has nothing to put",
        ),
        ("import asyncio\n\n\nprint 'python 2'\n", 4, "SyntaxError: Missing parentheses"),
    ],
    ids=["StopIteration", "a lost name", "Python 2"],
)
def test_what_cannot_be_carried_over_names_its_line(legacy, code, line, text):
    stderr = legacy.fails(code)
    assert f'{legacy.folder}/app.py", line {line}' in stderr
    assert text in stderr
    assert "source.py" not in stderr


def test_only_the_programs_own_source_is_old(legacy):
    """Installed packages inside the folder, and asyncio itself, are what they are."""
    legacy.write("site-packages/modern.py", """
        import asyncio
        try:
            asyncio.sleep(0, loop=None)
        except TypeError as exc:
            print('refused')
    """)  # fmt: skip
    assert legacy.says("""
        import sys
        sys.path.insert(0, 'site-packages')
        before = {}
        import modern
        import asyncio, rulip
        stock = [asyncio.wait, asyncio.gather, asyncio.Lock, asyncio.Queue, asyncio.wait_for]
        print([function.__module__.split('.')[0] in ('asyncio', 'rulip') for function in stock])
        print(asyncio.sleep is rulip.sleep, asyncio.Event().wait.__name__)
    """) == ["refused", "[True, True, True, True, True]", "True wait"]


def test_zip_files_are_refused(legacy, tmp_path):
    import zipfile

    with zipfile.ZipFile(tmp_path / "app.zip", "w") as archive:
        archive.writestr("__main__.py", "print(1)")
    done = call("app.zip", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.endswith("error: --legacy reads files and folders, not zip files\n")
