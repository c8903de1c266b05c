"""uvloop's own tests, on another loop: its names mean the loop under test.

Lives here: what `uvloop` and the base classes of its tests (`uvloop._testbase`) are taken to mean.
Does not live here: when (sitecustomize.py, told by ECOSYSTEM_UVLOOP).
Thread: the main one, as the interpreter starts.
Invariant: each test runs twice, as those tests want it: in its `UV` class it holds the loop to what
uvloop promises, in its `AIO` class to what asyncio does. Both are on the loop asked for.
"""

import asyncio


def put_in(loop: str) -> None:
    """Have uvloop's names mean rulip's, or asyncio's."""
    import uvloop
    import uvloop._testbase as base

    if loop == "asyncio":
        names = {
            "new_event_loop": asyncio.new_event_loop,
            "run": asyncio.run,
            "Loop": asyncio.SelectorEventLoop,
            "EventLoopPolicy": asyncio.DefaultEventLoopPolicy,
        }
    else:
        import rulip

        names = {name: getattr(rulip, name) for name in ("new_event_loop", "run", "Loop")}
        names["EventLoopPolicy"] = rulip.EventLoopPolicy
    for name, value in names.items():
        setattr(uvloop, name, value)
    for kind in (base.UVTestCase, base.AIOTestCase):
        kind.new_loop = lambda self: names["new_event_loop"]()
        kind.new_policy = lambda self: names["EventLoopPolicy"]()
    base.BaseTestCase.is_asyncio_loop = lambda self: self.implementation == "asyncio"
