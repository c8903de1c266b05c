"""The process-wide switch: install() and uninstall(), and the table of what they exchange.

Lives here: which of asyncio's names rulip has of its own, and putting them in place and back.
Does not live here: the names (rulip._rulip and its siblings), the policy class (policy.py).
Thread: the main one, before loops run.
Invariant: uninstall() leaves asyncio as install() found it; both may be called twice. What others
have put in place of asyncio's names, before or since, stays.
"""

import importlib
import sys
import threading
from asyncio import events
from collections.abc import Iterator
from typing import Any

from .policy import policy_class, set_policy

_Table = tuple[tuple[str, str, tuple[str, ...]], ...]

#: asyncio's module that defines the names, our module that has them too, the names. Every module of
#: asyncio that holds the same object by the same name gets ours; a name that this Python's asyncio
#: lacks is left out.
TABLE: _Table = (
    ("asyncio.events", "rulip._rulip", ("Handle", "TimerHandle", "_ThreadSafeHandle")),
    ("asyncio.futures", "rulip._rulip", ("Future",)),
    (
        "asyncio.futures",
        "rulip._rulip",
        ("future_add_to_awaited_by", "future_discard_from_awaited_by"),
    ),
    (
        "asyncio.streams",
        "rulip.streams",
        (
            "StreamReader",
            "StreamReaderProtocol",
            "StreamWriter",
            "open_connection",
            "open_unix_connection",
            "start_server",
            "start_unix_server",
        ),
    ),
    ("asyncio.tasks", "rulip._rulip", ("gather", "shield", "wait", "wait_for")),
    ("asyncio.taskgroups", "rulip._rulip", ("TaskGroup",)),
    ("asyncio.timeouts", "rulip._rulip", ("Timeout", "timeout", "timeout_at")),
    (
        "asyncio.locks",
        "rulip._rulip",
        ("Barrier", "BoundedSemaphore", "Condition", "Event", "Lock", "Semaphore"),
    ),
    ("asyncio.queues", "rulip._rulip", ("LifoQueue", "PriorityQueue", "Queue")),
    ("asyncio.unix_events", "rulip", ("EventLoop",)),
    ("asyncio.tasks", "rulip._rulip", ("Task", "create_task", "sleep")),
    ("asyncio.tasks", "rulip.task_factories", ("eager_task_factory",)),
)

#: What the command exchanges besides. Not install(): a program that is its own master may well want
#: asyncio's loop by its name, a server that is handed a program means "the loop of this platform".
NAMED_LOOP = ("asyncio.unix_events", "rulip.named_loop", ("SelectorEventLoop",))

_lock = threading.Lock()
_installed: "_Installed | None" = None


class _Installed:
    """What install() has put in place: its policy, and (name, asyncio's own, ours)."""

    def __init__(self, table: _Table) -> None:
        self.policy = policy_class()()
        # None stands for "not made yet": asking asyncio for it would make one.
        self.outer_policy: Any = vars(events)["_event_loop_policy"]
        self.exchanged = list(_exchanges(table))


def _exchanges(table: _Table = TABLE) -> Iterator[tuple[str, Any, Any]]:
    """(name, asyncio's own, ours) for what this Python's asyncio has."""
    for stock_module, our_module, names in table:
        stock = vars(importlib.import_module(stock_module))
        ours = vars(importlib.import_module(our_module))
        for name in names:
            if name in stock and stock[name] is not ours[name]:
                yield name, stock[name], ours[name]


def _exchange(name: str, old: object, new: object) -> None:
    """Put `new` where `old` stands by this name, in asyncio and all its modules."""
    for module_name, module in list(sys.modules.items()):
        if module_name.partition(".")[0] == "asyncio" and vars(module).get(name) is old:
            setattr(module, name, new)


def install() -> None:
    """Make asyncio use rulip from now on: its loops, and every name that rulip has of its own."""
    _install(TABLE)


def install_for_program() -> None:
    """The same for a program that knows nothing of rulip: the loop that it names is rulip's too."""
    _install((*TABLE, NAMED_LOOP))


def _install(table: _Table) -> None:
    global _installed
    with _lock:
        if _installed is None:
            _installed = _Installed(table)
        for name, stock, ours in _installed.exchanged:
            _exchange(name, stock, ours)
        if vars(events)["_event_loop_policy"] is not _installed.policy:
            set_policy(_installed.policy)


def is_installed() -> bool:
    """Whether install() was called and not undone."""
    return _installed is not None


def uninstall() -> None:
    """Undo install(). What others have changed since then stays."""
    global _installed
    with _lock:
        installed, _installed = _installed, None
        if installed is None:
            return
        for name, stock, ours in installed.exchanged:
            _exchange(name, ours, stock)
        if vars(events)["_event_loop_policy"] is installed.policy:
            set_policy(installed.outer_policy)
