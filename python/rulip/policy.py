"""The process-wide switch: EventLoopPolicy, install() and uninstall().

Lives here: what makes asyncio.run() and new_event_loop() use rulip, and its undoing.
Does not live here: anything that works without being asked to (importing this changes nothing).
Thread: the main one, before loops run.
Invariant: uninstall() leaves asyncio as install() found it; both may be called twice.
"""

import asyncio
import sys
import threading
from asyncio import events
from typing import Any

from ._compat import POLICIES_ARE_DEPRECATED
from ._rulip import create_task, sleep
from .event_loop import new_event_loop

_lock = threading.Lock()
_policy_class: type[Any] | None = None
_installed: "_Installed | None" = None


class _Installed:
    """What install() replaced."""

    def __init__(self) -> None:
        self.policy = policy_class()()
        # None stands for "not made yet": asking asyncio for it would make one.
        self.outer_policy: Any = vars(events)["_event_loop_policy"]
        # Name -> (asyncio's own, ours), for what is native and plain to put in its place.
        self.functions = {
            "create_task": (asyncio.create_task, create_task),
            "sleep": (asyncio.sleep, sleep),
        }
        self.replaced: list[tuple[Any, str]] = []


def policy_class() -> type[Any]:
    """The class EventLoopPolicy, made when first asked for.

    Its base class is deprecated in 3.14 and later; nobody who doesn't use policies need know.
    """
    global _policy_class
    if _policy_class is None:
        if POLICIES_ARE_DEPRECATED:
            from asyncio import unix_events

            default_policy: Any = vars(unix_events)["_DefaultEventLoopPolicy"]
        else:
            default_policy = asyncio.DefaultEventLoopPolicy

        class EventLoopPolicy(default_policy):  # type: ignore[misc]
            """asyncio's default policy, but its loops are rulip's."""

            _loop_factory = staticmethod(new_event_loop)

        EventLoopPolicy.__module__ = "rulip"
        EventLoopPolicy.__qualname__ = "EventLoopPolicy"
        _policy_class = EventLoopPolicy
    return _policy_class


def _set_policy(policy: Any) -> None:
    if POLICIES_ARE_DEPRECATED:
        vars(events)["_set_event_loop_policy"](policy)
    else:
        asyncio.set_event_loop_policy(policy)


def _modules_with(name: str, value: object) -> list[Any]:
    """asyncio and those of its modules in which a name stands for a value."""
    return [
        module
        for module_name, module in list(sys.modules.items())
        if module_name.split(".", 1)[0] == "asyncio" and getattr(module, name, None) is value
    ]


def install() -> None:
    """Make asyncio use rulip from now on: new loops, asyncio.run(), sleep() and create_task()."""
    global _installed
    with _lock:
        if _installed is None:
            _installed = _Installed()
        state = _installed
        for name, (stock, ours) in state.functions.items():
            for module in _modules_with(name, stock):
                setattr(module, name, ours)
                state.replaced.append((module, name))
        if vars(events)["_event_loop_policy"] is not state.policy:
            _set_policy(state.policy)


def is_installed() -> bool:
    """Whether install() was called and not undone."""
    return _installed is not None


def uninstall() -> None:
    """Undo install(). What others have changed since then stays."""
    global _installed
    with _lock:
        state, _installed = _installed, None
        if state is None:
            return
        for module, name in state.replaced:
            stock, ours = state.functions[name]
            if getattr(module, name) is ours:
                setattr(module, name, stock)
        if vars(events)["_event_loop_policy"] is state.policy:
            _set_policy(state.outer_policy)
