"""`asyncio.all_tasks()` sees native tasks, and asyncio's call graphs see who awaits them.

Lives here: the view of every loop's native tasks that asyncio's own registry is given when the
first loop is made. Does not live here: the registry itself (native; a slab in each loop).
Thread: any; all_tasks() may be asked for another thread's loop.
Invariant: asyncio's registry goes on holding its own tasks, weakly, as before.

asyncio adds every task to a WeakSet, at a microsecond a task. Native tasks stand in their loop
already, so the set's inner set of references is given an iterator that goes on with them.

asyncio's gather(), TaskGroup and their like declare who awaits a task (3.14 on) by two compiled
functions, which ignore classes that are not asyncio's. Ours do the same, and know native tasks.
"""

import _asyncio
import asyncio.futures
import asyncio.tasks
import functools
import sys
import weakref
from collections.abc import Callable, Iterator
from typing import Any

from .. import _rulip
from .._rulip import EventLoop, _pending_tasks

_loops: "weakref.WeakSet[EventLoop]" = weakref.WeakSet()


def _itself(task: Any) -> Any:
    return task


class _References(set[Any]):
    """A WeakSet's inner set: its own references, then one per pending native task."""

    def __iter__(self) -> Iterator[Callable[[], Any]]:
        yield from super().__iter__()
        for loop in list(_loops):
            for task in _pending_tasks(loop):
                yield functools.partial(_itself, task)

    def copy(self) -> "_References":
        return _References(super().__iter__())


class _Probe:
    """Something to register: it leads to the registry that took it."""

    __slots__ = ("__weakref__",)


def _registries() -> Iterator[Any]:
    """asyncio's WeakSets of tasks: those of its Python code, and the compiled code's own."""
    for name in ("_scheduled_tasks", "_all_tasks"):
        registry = getattr(asyncio.tasks, name, None)
        if registry is not None:
            yield registry
    # Since 3.14 the compiled code's set has no name; its references know it, though.
    probe = _Probe()
    asyncio.tasks._register_task(probe)  # type: ignore[arg-type]
    try:
        for reference in weakref.getweakrefs(probe):
            for default in getattr(reference.__callback__, "__defaults__", None) or ():
                if isinstance(default, weakref.ref):
                    yield default()
    finally:
        asyncio.tasks._unregister_task(probe)  # type: ignore[arg-type]


def _show_native_tasks() -> None:
    for registry in _registries():
        references = getattr(registry, "data", None)
        if isinstance(references, set) and not isinstance(references, _References):
            registry.data = _References(references)


def _declare_who_awaits_native_tasks() -> None:
    for name in ("future_add_to_awaited_by", "future_discard_from_awaited_by"):
        compiled = getattr(_asyncio, name, None)
        if compiled is None or vars(asyncio.futures).get(f"_c_{name}") is not compiled:
            continue
        for module_name, module in list(sys.modules.items()):
            if module_name.partition(".")[0] == "asyncio":
                for alias in (name, f"_c_{name}"):
                    if vars(module).get(alias) is compiled:
                        setattr(module, alias, getattr(_rulip, name))


def add_loop(loop: EventLoop) -> None:
    """From now on all_tasks() finds this loop's native tasks, and call graphs know them."""
    _show_native_tasks()
    _declare_who_awaits_native_tasks()
    _loops.add(loop)


def loops() -> list[Any]:
    """The loops there are."""
    return list(_loops)
