"""The loops that are compared, and how each is put in charge of a process.

Not here: their processes. Thread: the main thread of a worker or server, before any loop exists.
Invariant: a contender is set up as its own documentation says, and in a process of its own.
"""

from __future__ import annotations

import asyncio
import importlib
import importlib.metadata
import importlib.util
import platform
import sys
from collections.abc import Callable

LoopFactory = Callable[[], asyncio.AbstractEventLoop]

# The raw epoll server: it only takes part in TCP rows.
FLOOR = "floor"
# Whose cost the others' are divided by.
SUBJECT = "rulip"
DEFAULT = ("asyncio", "uvloop", "rloop", SUBJECT)
# Measured besides the default ones wherever they are installed.
WHERE_INSTALLED = ("zuvloop", "rsloop")


def is_installed(name: str) -> bool:
    """Whether the contender's module is there; says nothing about its working."""
    return importlib.util.find_spec(module_of(name)) is not None


def version_of(name: str) -> str | None:
    """The contender's version (Python's own for asyncio), as far as it tells one."""
    module = module_of(name)
    if module == "asyncio":
        return platform.python_version()
    try:
        return importlib.metadata.version(module)
    except importlib.metadata.PackageNotFoundError:
        return getattr(sys.modules.get(module), "__version__", None)


def module_of(name: str) -> str:
    """The module behind a contender's name: `rulip-bare` and `rulip:new_event_loop` are rulip's."""
    return name.partition(":")[0].removesuffix("-bare")


def loop_factory(name: str) -> LoopFactory:
    """Set the contender up in this process and return what makes its loops.

    `asyncio`: the standard library's selector loop. `rulip`: installed, so that its own `sleep`
    stands in asyncio too. `rulip-bare`: its loop alone. `module:function`: that function.
    Any other name: `new_event_loop` of the module of that name.
    """
    if name == "asyncio":
        return asyncio.SelectorEventLoop
    _, _, attribute = name.partition(":")
    module = importlib.import_module(module_of(name))
    if name == SUBJECT:
        module.install()
    factory: LoopFactory = getattr(module, attribute or "new_event_loop")
    return factory
