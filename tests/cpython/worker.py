"""The worker: points test.test_asyncio.<module> of this interpreter at another event loop.

Here: which names of asyncio and of its tests are replaced, and by what. Not here: running and
reporting the tests (reporting.py), which tests are left out (skips.toml).
Thread: the worker's main thread. Invariant: for a loop derived from asyncio.BaseEventLoop nothing
but the making of loops is replaced.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import json
import pathlib
import sys
import types
from collections.abc import Callable
from typing import Any

import twins
from reporting import serve

HERE = pathlib.Path(__file__).resolve().parent


class Target:
    """The module under test: makes its loops and counts them."""

    def __init__(self, spec: str) -> None:
        name, _, attr = spec.partition(":")
        self.module: types.ModuleType = importlib.import_module(name)
        self.stdlib = name == "asyncio"
        make: Any = self.module
        for part in (attr or "new_event_loop").split("."):
            make = getattr(make, part)
        if self.stdlib and not attr:  # new_event_loop() would come back to us
            make = asyncio.SelectorEventLoop
        self._make: Callable[[], asyncio.AbstractEventLoop] = make
        probe = make()
        probe.close()
        self.loop_class = type(probe)
        self.stock = isinstance(probe, asyncio.BaseEventLoop)
        self.created = 0

    def new_loop(self, *_selector: object) -> Any:
        self.created += 1
        return self._make()


def install(target: Target) -> None:
    """Make asyncio use the module's classes: by its own install(), if it has one."""
    if target.stdlib:
        return
    if hasattr(target.module, "install"):
        target.module.install()
        return
    spaces = [m for name, m in sys.modules.items() if name.partition(".")[0] == "asyncio"]
    for name in asyncio.__all__:
        new, old = vars(target.module).get(name), getattr(asyncio, name)
        if isinstance(new, type) and isinstance(old, type) and new is not old:
            for space in spaces:
                if vars(space).get(name) is old:
                    setattr(space, name, new)


def redirect(target: Target) -> None:
    """Every 'give me a real loop' in the tests now yields the loop under test."""
    test_utils: Any = importlib.import_module("test.test_asyncio.utils")
    spaces: list[Any] = [asyncio, importlib.import_module("asyncio.unix_events")]

    class Redirect(type):
        def __call__(cls, selector: object = None) -> Any:
            return target.new_loop(selector)

        def __instancecheck__(cls, obj: object) -> bool:
            return isinstance(obj, target.loop_class)

    class SelectorEventLoop(metaclass=Redirect):
        """Stands for asyncio.SelectorEventLoop."""

    # 3.14 deprecates the public names; a policy is still what makes loops, up to 3.15.
    deprecated = hasattr(spaces[1], "_DefaultEventLoopPolicy")
    policy_name = "_DefaultEventLoopPolicy" if deprecated else "DefaultEventLoopPolicy"
    stock_policy: Any = getattr(spaces[1], policy_name)

    class Policy(stock_policy):  # type: ignore[misc]
        _loop_factory = staticmethod(target.new_loop)

    for space in spaces:
        space.SelectorEventLoop = SelectorEventLoop
        if policy_name in vars(space):
            setattr(space, policy_name, Policy)
        if hasattr(space, "EventLoop"):
            space.EventLoop = SelectorEventLoop
    events: Any = importlib.import_module("asyncio.events")
    (events._set_event_loop_policy if deprecated else asyncio.set_event_loop_policy)(None)

    # Pre-3.14 child watchers poke SIGCHLD handlers into the loop; a loop that reaps
    # children by itself need not allow that.
    for name in ("SafeChildWatcher", "FastChildWatcher"):
        watcher = getattr(asyncio, name, None)
        if watcher is not None and not target.stock:
            stock_attach = watcher.attach_loop

            def attach_loop(self: Any, loop: Any, stock: Any = stock_attach) -> None:
                if all(isinstance(x, asyncio.BaseEventLoop | None) for x in (loop, self._loop)):
                    stock(self, loop)
                else:
                    self._loop = loop

            watcher.attach_loop = attach_loop

    stock_new, stock_close = test_utils.TestCase.new_test_loop, test_utils.TestCase.close_loop

    def new_test_loop(self: Any, gen: Any = None) -> Any:
        """A mocked clock needs TestLoop; otherwise the loop under test will do."""
        if gen is not None or {type(self).__name__, self._testMethodName} & NEEDS_TEST_LOOP:
            return stock_new(self, gen)
        loop = target.new_loop()
        self.set_event_loop(loop)
        return loop

    def close_loop(loop: Any) -> None:
        """The stock one reads loop._default_executor, which is private."""
        if hasattr(loop, "_default_executor"):
            stock_close(loop)
            return
        if not loop.is_closed():
            with contextlib.suppress(Exception):  # the test may have broken it on purpose
                loop.run_until_complete(loop.shutdown_default_executor())
        loop.close()

    if not target.stock:
        bridge_logger()
    test_utils.TestCase.new_test_loop = new_test_loop
    test_utils.TestCase.close_loop = staticmethod(close_loop)


def bridge_logger() -> None:
    """Tests swap asyncio.base_events.logger for a mock; show it what other code logs."""
    from asyncio.log import logger

    base_events: Any = importlib.import_module("asyncio.base_events")

    for name in ("debug", "info", "warning", "error", "exception", "critical", "log"):
        stock = getattr(logger, name)

        def call(*args: Any, _name: str = name, _stock: Any = stock, **kwargs: Any) -> None:
            mocked = base_events.logger is not logger
            (getattr(base_events.logger, _name) if mocked else _stock)(*args, **kwargs)

        setattr(logger, name, call)


# Classes and tests that need the stock TestLoop even without a mocked clock.
NEEDS_TEST_LOOP = {
    "test_log_destroyed_pending_task",
    "SelectorTransportTests",
    "SelectorSocketTransportTests",
    "SelectorSocketTransportBufferedProtocolTests",
    "SelectorDatagramTransportTests",
    "UnixReadPipeTransportTests",
    "UnixWritePipeTransportTests",
    "SubprocessTransportTests",
    "SafeChildWatcherTests",
    "FastChildWatcherTests",
}


def hook_module(target: Target, module: types.ModuleType) -> None:
    """Replace fixtures that hard-wire BaseEventLoop with mocked internals."""
    short = module.__name__.rpartition(".")[2]
    if target.stock:
        return
    if short == "test_runners":

        def new_loop(self: Any) -> Any:
            loop = target.new_loop()
            loop.shutdown_ag_run = False

            async def shutdown_asyncgens() -> None:
                loop.shutdown_ag_run = True

            loop.shutdown_asyncgens = shutdown_asyncgens
            return loop

        module.BaseTest.new_loop = new_loop
    elif short == "test_base_events":

        def setUp(self: Any) -> None:
            super(module.BaseEventLoopTests, self).setUp()
            self.loop = target.new_loop()
            self.set_event_loop(self.loop)

        module.BaseEventLoopTests.setUp = setUp
    elif short == "test_tasks":

        def _run_loop(self: Any, loop: Any) -> None:
            for _ in range(10):  # stock: while loop._ready
                module.test_utils.run_briefly(loop)

        module.GatherTestsBase._run_loop = _run_loop


def main() -> None:
    brief = json.loads(pathlib.Path(sys.argv[1]).read_text())
    target = Target(brief["loop"])

    def load() -> types.ModuleType:
        if brief["install"]:
            install(target)
        redirect(target)
        module = importlib.import_module(f"test.test_asyncio.{brief['module']}")
        hook_module(target, module)
        if brief["install"]:
            twins.add_to(module, target.module)
        return module

    serve(
        brief, HERE / "skips.toml", load, prefix="test.test_asyncio.", loops=lambda: target.created
    )


if __name__ == "__main__":
    main()
