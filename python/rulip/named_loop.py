"""The loop that a program asks for by name, `asyncio.SelectorEventLoop()`, under `python -m rulip`.

Lives here: the class that takes the name's place. Does not live here: the exchange of names
(installation.py), and who asks for it (command_line.py).
Thread: any. Invariant: only the bare call changes its meaning. With a selector, and as the base of
a class, it is asyncio's own; isinstance() still knows asyncio's loops.
"""

from asyncio.unix_events import _UnixSelectorEventLoop
from typing import Any

from .event_loop import Loop, new_event_loop


class _NamedLoop(type):
    """isinstance() knows what the call gives."""

    def __instancecheck__(cls, instance: object) -> bool:
        if cls is SelectorEventLoop:
            return isinstance(instance, (Loop, _UnixSelectorEventLoop))
        return super().__instancecheck__(instance)


class SelectorEventLoop(_UnixSelectorEventLoop, metaclass=_NamedLoop):
    """This platform's event loop: rulip's, unless a selector of the caller's own is to drive it."""

    def __new__(cls, *arguments: Any, **named: Any) -> Any:
        given = [*arguments, *named.values()]
        if cls is SelectorEventLoop and given in ([], [None]):
            return new_event_loop()
        return super().__new__(cls)
