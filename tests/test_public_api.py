"""The names rulip exports: they exist, they are documented, there are no others, and asyncio's are
among them.

Here: the package's surface. Not here: what the names do (tests/rulip, tests/asyncio), whether the
stub tells the truth (tests/typing). Thread: main.
Invariant: `__all__` is the whole public surface.
"""

from __future__ import annotations

import asyncio
import importlib
import importlib.metadata
import inspect
import pathlib
import pkgutil
import subprocess
import sys
import textwrap
import types
from collections.abc import Iterator

import pytest

import rulip

PACKAGE = pathlib.Path(rulip.__file__).parent
NAMES = sorted(rulip.__all__)
#: Those that rulip has of its own.
OWN = [
    name
    for name in NAMES
    if not hasattr(asyncio, name) or getattr(rulip, name) is not getattr(asyncio, name)
]
MODULES = sorted(
    module.name
    for module in pkgutil.iter_modules(asyncio.__path__)
    if hasattr(asyncio, module.name) and hasattr(getattr(asyncio, module.name), "__all__")
)


def test_the_names_the_readme_promises_are_exported() -> None:
    promised = {
        "EventLoopPolicy",
        "Future",
        "Handle",
        "Loop",
        "Runner",
        "StreamReader",
        "StreamReaderProtocol",
        "StreamWriter",
        "Task",
        "TimerHandle",
        "__version__",
        "install",
        "new_event_loop",
        "run",
        "sleep",
        "uninstall",
    }
    assert promised <= set(NAMES)


def test_no_name_is_listed_twice() -> None:
    assert len(NAMES) == len(set(NAMES))


@pytest.mark.parametrize("name", OWN)
def test_each_name_exists_and_says_what_it_is(name: str) -> None:
    value = getattr(rulip, name)
    if name == "__version__":
        assert isinstance(value, str)
        return
    doc = inspect.getdoc(value)
    assert doc, f"rulip.{name} has no docstring"
    if not inspect.isclass(value):
        assert callable(value)


def test_everything_public_is_listed() -> None:
    public = {
        name
        for name, value in vars(rulip).items()
        if not name.startswith("_") and not isinstance(value, types.ModuleType)
    }
    public.discard("annotations")  # from __future__
    assert public <= set(NAMES)


def test_dir_shows_what_is_listed() -> None:
    assert set(NAMES) <= set(dir(rulip))


def test_classes_present_themselves_as_part_of_rulip() -> None:
    for name in OWN:
        value = getattr(rulip, name)
        if inspect.isclass(value):
            assert value.__module__.partition(".")[0] == "rulip", name
            assert value.__name__ == name or (value is rulip.Loop and name == "EventLoop")


@pytest.mark.parametrize("name", sorted({*asyncio.__all__, "TaskGroup"}))
def test_each_name_of_asyncio_is_there(name: str) -> None:
    ours, stock = getattr(rulip, name), getattr(asyncio, name)
    assert type(ours) is type(stock) or callable(ours) is callable(stock)
    assert name in rulip.__all__


@pytest.mark.parametrize("module", MODULES)
def test_each_module_of_asyncio_is_there(module: str) -> None:
    ours, stock = getattr(rulip, module), getattr(asyncio, module)
    assert isinstance(ours, types.ModuleType)
    assert [name for name in stock.__all__ if not hasattr(ours, name)] == []


def test_what_is_native_is_the_same_by_both_ways() -> None:
    from rulip.installation import TABLE

    for stock_module, our_module, names in TABLE:
        stock = importlib.import_module(stock_module)
        ours = importlib.import_module(our_module)
        for name in names:
            if name in vars(stock) and name in rulip.__all__:
                assert getattr(rulip, name) is getattr(ours, name), name


def test_a_program_that_takes_rulip_for_asyncio() -> None:
    program = """
        import rulip as asyncio
        from rulip import *

        async def child(number):
            await asyncio.sleep(0)
            return number

        async def main():
            queue = asyncio.Queue()
            async with asyncio.timeout(10), asyncio.Lock():
                await queue.put(1)
            numbers = await asyncio.gather(child(2), asyncio.wait_for(child(3), 10))
            async with asyncio.TaskGroup() as group:
                task = group.create_task(child(4))
            process = await asyncio.create_subprocess_exec(
                "true", stdout=asyncio.subprocess.DEVNULL
            )
            try:
                await asyncio.shield(asyncio.get_running_loop().create_task(cancel_myself()))
            except asyncio.exceptions.CancelledError:
                numbers.append(5)
            loop = get_running_loop()
            assert type(loop) is asyncio.EventLoop is asyncio.Loop
            return [await queue.get(), *numbers, task.result(), await process.wait()]

        async def cancel_myself():
            asyncio.current_task().cancel()
            await asyncio.sleep(1)

        print(run(main()))
        """
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(program)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.stdout, done.stderr) == ("[1, 2, 3, 5, 4, 0]\n", "")


#: Where the signature tells more than asyncio's, or there is less to tell.
OTHER_SIGNATURES = {
    "EventLoop": "there is no selector",
    # 3.13.3 and later say **kwargs, and pass on everything.
    "EventLoop.create_task": "the keywords by name",
    "create_task": "the keywords by name",
}
if sys.version_info < (3, 12):
    OTHER_SIGNATURES["EventLoop.shutdown_default_executor"] = "the timeout of 3.12"
Parameters = list[tuple[str, inspect._ParameterKind, object]]


def parameters(value: object) -> Parameters | None:
    """What can be given, if that can be asked; annotations are not part of it."""
    try:
        signature = inspect.signature(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return None
    return [(p.name, p.kind, p.default) for p in signature.parameters.values() if p.name != "self"]


def agrees(ours: object, stock: object) -> bool:
    """The same parameters; keywords of newer Pythons may be taken on each."""
    expected, found = parameters(stock), parameters(ours)
    if expected is None or found is None:
        return expected is None
    names = {name for name, _, _ in expected}
    extra = [entry for entry in found if entry[0] not in names]
    return [entry for entry in found if entry not in extra] == expected and all(
        kind is inspect.Parameter.KEYWORD_ONLY and default is not inspect.Parameter.empty
        for _, kind, default in extra
    )


def with_methods(name: str, ours: object, stock: object) -> Iterator[tuple[str, object, object]]:
    """A name of asyncio and its methods: what rulip has, what asyncio has."""
    yield name, ours, stock
    if inspect.isclass(stock):
        for method in dir(stock):
            # A special method's parameters have names that nobody can use.
            if not method.startswith("_") or method in ("__aenter__", "__aexit__"):
                yield f"{name}.{method}", getattr(ours, method), getattr(stock, method)


@pytest.mark.parametrize("name", [name for name in OWN if hasattr(asyncio, name)])
def test_signatures_are_asyncios(name: str) -> None:
    different = [
        full
        for full, ours, stock in with_methods(name, getattr(rulip, name), getattr(asyncio, name))
        if callable(stock) and full not in OTHER_SIGNATURES and not agrees(ours, stock)
    ]
    assert different == []


def test_signatures_of_the_loop_are_asyncios() -> None:
    # Before 3.13 asyncio has no EventLoop.
    different = [
        full
        for full, ours, stock in with_methods("EventLoop", rulip.Loop, asyncio.SelectorEventLoop)
        if callable(stock) and full not in OTHER_SIGNATURES and not agrees(ours, stock)
    ]
    assert different == []


def test_functions_of_ours_say_so() -> None:
    for name in ("create_task", "sleep", "run", "new_event_loop"):
        assert parameters(getattr(rulip, name)) is not None, name
        assert getattr(rulip, name).__module__.partition(".")[0] == "rulip"


def test_public_methods_of_the_loop_are_documented_or_asyncios() -> None:
    bare = [
        name
        for name in dir(rulip.Loop)
        if not name.startswith("_")
        and callable(getattr(rulip.Loop, name))
        and not hasattr(asyncio.AbstractEventLoop, name)
        and not inspect.getdoc(getattr(rulip.Loop, name))
    ]
    assert bare == []


def test_the_loop_has_every_method_of_asyncios() -> None:
    missing = [
        name
        for name in dir(asyncio.SelectorEventLoop)
        if not name.startswith("_") and not hasattr(rulip.Loop, name)
    ]
    assert missing == []
    # and implements, rather than inherits the abstract class's NotImplementedError
    abstract = [
        name
        for name in dir(asyncio.AbstractEventLoop)
        if not name.startswith("_")
        and getattr(rulip.Loop, name) is getattr(asyncio.AbstractEventLoop, name)
        and getattr(asyncio.SelectorEventLoop, name) is not getattr(asyncio.AbstractEventLoop, name)
    ]
    assert abstract == []


def test_the_version_is_the_distributions() -> None:
    assert importlib.metadata.version("rulip") == rulip.__version__


def test_the_package_is_marked_as_typed() -> None:
    assert (PACKAGE / "py.typed").is_file()
    assert (PACKAGE / "_rulip.pyi").is_file()
