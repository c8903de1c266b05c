"""Puts a loop into every interpreter of a suite, and counts the loops that are really made.

Lives here: what must happen before the suite's own code is imported, in each of its processes.
Does not live here: which suites there are (suites.toml), how they are run (run.py).
Thread: the main one, as the interpreter starts.
Invariant: without ECOSYSTEM_LOOP nothing is changed; each loop made adds one letter to the file
ECOSYSTEM_COUNT: `s` for the standard library's, `r` for rulip's.
"""

import os

LOOP = os.environ.get("ECOSYSTEM_LOOP")
COUNT = os.environ.get("ECOSYSTEM_COUNT")


def _count(kind: type, letter: bytes) -> None:
    """Have each new instance of a class noted. A short append is one atomic write."""
    make = kind.__init__

    def __init__(self, *args, **kwargs):
        with open(COUNT, "ab", 0) as file:
            file.write(letter)
        make(self, *args, **kwargs)

    kind.__init__ = __init__


def _put_in() -> None:
    import asyncio
    import warnings
    from asyncio import base_events
    from importlib.util import find_spec

    _count(base_events.BaseEventLoop, b"s")
    if os.environ.get("ECOSYSTEM_UVLOOP") and find_spec("uvloop") is not None:
        from in_place_of_uvloop import put_in

        put_in(LOOP)
    if LOOP == "asyncio":
        return

    import rulip

    _count(rulip.Loop, b"r")
    if LOOP == "install":
        rulip.install()
        return
    with warnings.catch_warnings():  # policies are deprecated from 3.14 on, and still obeyed
        warnings.simplefilter("ignore")
        asyncio.set_event_loop_policy(rulip.EventLoopPolicy())


if LOOP and COUNT:
    _put_in()
