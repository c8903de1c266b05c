"""The names rulip exports: they exist, they are documented, and there are no others.

Here: the package's surface. Not here: what the names do (tests/rulip, tests/asyncio), whether the
stub tells the truth (tests/typing). Thread: main.
Invariant: `__all__` is the whole public surface.
"""

from __future__ import annotations

import importlib.metadata
import inspect
import pathlib
import types

import pytest

import rulip

PACKAGE = pathlib.Path(rulip.__file__).parent
NAMES = sorted(rulip.__all__)


def test_the_names_the_readme_promises_are_exported() -> None:
    promised = {
        "EventLoopPolicy",
        "Future",
        "Handle",
        "Loop",
        "Runner",
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


@pytest.mark.parametrize("name", NAMES)
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
    for name in NAMES:
        value = getattr(rulip, name)
        if inspect.isclass(value):
            assert value.__module__.partition(".")[0] == "rulip", name
            assert value.__name__ == name


def test_public_methods_of_the_loop_are_documented_or_asyncios() -> None:
    import asyncio

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
    import asyncio

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
