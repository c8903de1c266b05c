"""Fixtures that run one test body on the standard library's loop and on rulip's.

Here: which loops a test runs on, fresh loops, and the check for what a test leaves behind.
Not here: anything that knows a subject (servers, certificates); that stands beside its tests.
Thread: everything runs in pytest's main thread.
Invariant: a test that passed left no open loop, pending task, live thread or descriptor.

A behaviour test takes one of these and nothing else from this file:

    def test_a(loop): ...                    a fresh loop, current, closed afterwards
    def test_b(run):                         asyncio.run() on the loop under test
        async def main(): ...
        run(main())
    def test_c(loop_factory): ...            makes and closes its own loops
    def test_d(loop, on_rulip): ...          where docs/compat.md records a difference
    def test_e(run, aio): ...                aio.gather() etc.: asyncio's names, or rulip's own

`@pytest.mark.loops("rulip")` restricts a test (or, as `pytestmark`, a module) to one loop.
`@pytest.mark.crossings` adds two: rulip's own names on asyncio's loop ("crossed"), and asyncio's
tasks on rulip's loop ("foreign").
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import signal
import threading
import time
import types
import weakref
from collections.abc import Callable, Coroutine, Generator, Iterator
from typing import Any, TypeVar

import pytest

T = TypeVar("T")
LoopFactory = Callable[[], asyncio.AbstractEventLoop]
LOOPS = ("asyncio", "rulip")
CROSSINGS = ("crossed", "foreign")
THREAD_PATIENCE = 10.0  # seconds; a worker told to stop may still be on its way out

_call_passed = pytest.StashKey[bool]()


def pytest_configure() -> None:
    # A shell that starts a command in the background has it, and its children, ignore Ctrl-C.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "loop_name" not in metafunc.fixturenames:
        return
    marker = metafunc.definition.get_closest_marker("loops")
    names = marker.args if marker is not None else LOOPS
    if not names or not set(names) <= set(LOOPS):
        raise pytest.UsageError(f"{metafunc.definition.nodeid}: loops{names!r}: pick from {LOOPS}")
    if metafunc.definition.get_closest_marker("crossings") is not None:
        names += CROSSINGS
    metafunc.parametrize("loop_name", names, indirect=True)


def pytest_collection_finish() -> None:
    # Each test ends with a collection: let it look at what the tests made, not at all of pytest.
    gc.collect()
    gc.freeze()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.when == "call":
        item.stash[_call_passed] = report.passed
    return report


@pytest.fixture
def loop_name(request: pytest.FixtureRequest) -> str:
    """ "asyncio" or "rulip": the loop this run of the test is about."""
    name: str = request.param
    return name


@pytest.fixture
def on_rulip(loop_name: str) -> bool:
    """True on rulip. For documented differences only."""
    return loop_name == "rulip"


def _with_asyncios_tasks(loop: asyncio.AbstractEventLoop) -> asyncio.AbstractEventLoop:
    loop.set_task_factory(lambda loop, coro, **options: asyncio.Task(coro, loop=loop, **options))
    return loop


@pytest.fixture
def aio(loop_name: str) -> Any:
    """asyncio's names: the module itself, or as install() would leave it, without installing."""
    if loop_name == "asyncio":
        return asyncio
    from rulip import installation

    ours = {name: own for name, _, own in installation._exchanges()}
    return types.SimpleNamespace(**vars(asyncio) | ours)


@pytest.fixture
def loop_factory(request: pytest.FixtureRequest, loop_name: str) -> Iterator[LoopFactory]:
    """Makes loops of the kind under test; whoever calls it closes what it gets."""
    new_loop: LoopFactory
    if loop_name in ("rulip", "foreign"):
        import rulip

        new_loop = rulip.new_event_loop
        if loop_name == "foreign":
            new_loop = lambda: _with_asyncios_tasks(rulip.new_event_loop())  # noqa: E731
    else:
        new_loop = asyncio.SelectorEventLoop

    made: list[weakref.ref[asyncio.AbstractEventLoop]] = []  # weak: a test may want it collected

    def make() -> asyncio.AbstractEventLoop:
        loop = new_loop()
        made.append(weakref.ref(loop))
        return loop

    gc.collect()
    descriptors, threads = open_descriptors(), set(threading.enumerate())
    yield make
    asyncio.set_event_loop(None)
    gc.collect()
    left: list[str] = []
    for ref in made:
        loop = ref()
        if loop is not None and not loop.is_closed():
            left.append(f"open loop {loop!r}")
            with contextlib.suppress(RuntimeError):  # still running: nothing more to do here
                loop.close()
        del loop
    left += [f"live thread {t.name!r}" for t in lingering_threads(threads)]
    left += [f"open descriptor {fd} -> {what}" for fd, what in lingering_descriptors(descriptors)]
    # A failed test's traceback keeps its locals alive: what it left says nothing.
    if left and request.node.stash.get(_call_passed, False):
        pytest.fail("the test left behind: " + "; ".join(left), pytrace=False)


@pytest.fixture
def loop(
    request: pytest.FixtureRequest, loop_factory: LoopFactory
) -> Iterator[asyncio.AbstractEventLoop]:
    """A fresh loop, current in this thread; closed afterwards if the test did not."""
    loop = loop_factory()
    asyncio.set_event_loop(loop)
    yield loop
    left = [repr(t) for t in asyncio.all_tasks(loop) if not t.done()]
    if not loop.is_closed() and not loop.is_running():
        finish(loop)
    if left and request.node.stash.get(_call_passed, False):
        pytest.fail("the test left pending: " + "; ".join(left), pytrace=False)


@pytest.fixture
def run(loop_factory: LoopFactory) -> Callable[..., Any]:
    """`run(coro, debug=None)`: asyncio.run() on a fresh loop of the kind under test."""

    def run(coro: Coroutine[Any, Any, T], *, debug: bool | None = None) -> T:
        with asyncio.Runner(debug=debug, loop_factory=loop_factory) as runner:
            return runner.run(coro)

    return run


def finish(loop: asyncio.AbstractEventLoop) -> None:
    """Close a loop as asyncio.run() does: tasks, generators, executor, loop."""
    try:
        tasks = asyncio.all_tasks(loop)
        for task in tasks:
            task.cancel()
        if tasks:
            loop.run_until_complete(asyncio.wait(tasks))
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.run_until_complete(loop.shutdown_default_executor())
    finally:
        loop.close()


def open_descriptors() -> dict[int, str]:
    """Descriptor numbers of this process, each with what it refers to."""
    found: dict[int, str] = {}
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(FileNotFoundError):  # the listing's own descriptor
            found[int(name)] = os.readlink(f"/proc/self/fd/{name}")
    return found


def lingering_descriptors(before: dict[int, str]) -> list[tuple[int, str]]:
    """Descriptors that were not open before; a reused number counts as a new one."""
    return sorted(open_descriptors().items() - before.items())


def lingering_threads(before: set[threading.Thread]) -> list[threading.Thread]:
    """Threads started since, after the time it takes a stopping one to end."""
    deadline = time.monotonic() + THREAD_PATIENCE
    started = [t for t in threading.enumerate() if t not in before]
    for thread in started:
        thread.join(max(0.0, deadline - time.monotonic()))
    return [t for t in started if t.is_alive()]
