"""The event loop policy: EventLoopPolicy, and setting one on each Python.

Lives here: the policy class whose loops are rulip's. Does not live here: when it is set
(installation.py).
Thread: any. Invariant: importing this makes no policy, and no class of a deprecated base.
"""

import asyncio
from asyncio import events
from typing import Any

from ._compat import POLICIES_ARE_DEPRECATED
from .event_loop import new_event_loop

_policy_class: type[Any] | None = None


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


def set_policy(policy: Any) -> None:
    """asyncio.set_event_loop_policy(), without the warning of newer Pythons."""
    if POLICIES_ARE_DEPRECATED:
        vars(events)["_set_event_loop_policy"](policy)
    else:
        asyncio.set_event_loop_policy(policy)
