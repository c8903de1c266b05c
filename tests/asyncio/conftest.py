"""Fixtures of these tests: which sockets, protocols and task types a test runs over.

Not here: loops (the conftest.py above), peers and recorders (loopback.py).
Runs in the main thread.
Invariant: a test that takes several runs over every combination.
"""

from __future__ import annotations

import asyncio
from asyncio.tasks import _PyTask
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from tests.loopback import (
    BufferedRecorder,
    Recorder,
    Recording,
    SocketPair,
    tcp_sockets,
    unix_sockets,
)

SOCKETS = {"tcp": tcp_sockets, "unix": unix_sockets}
RECORDERS = {"plain": Recorder, "buffered": BufferedRecorder}


@pytest.fixture(params=SOCKETS)
def sockets(request: pytest.FixtureRequest) -> SocketPair:
    """Makes connected socket pairs: TCP, Unix."""
    return SOCKETS[request.param]


@pytest.fixture(params=RECORDERS)
def recorder(request: pytest.FixtureRequest) -> type[Recording]:
    """A recording protocol class: Protocol, BufferedProtocol."""
    return RECORDERS[request.param]


@pytest.fixture(params=["openssl", "memory_bio"])
def tls_way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Both ways that rulip's TLS data may go; asyncio has one (see below)."""
    way: str = request.param
    monkeypatch.setenv("RULIP_TLS", way)
    return way


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    def is_twin(item: pytest.Item) -> bool:
        params = getattr(getattr(item, "callspec", None), "params", {})
        return params.get("loop_name") == "asyncio" and params.get("tls_way") == "memory_bio"

    items[:] = [item for item in items if not is_twin(item)]


@pytest.fixture(params=["stock", "native"])
def stream_classes(request: pytest.FixtureRequest) -> Iterator[str]:
    """Whose streams stand in asyncio: its own, or rulip's. Either kind runs on either loop."""
    if request.param == "stock":
        yield "stock"
        return
    import rulip

    rulip.install()
    try:
        assert asyncio.StreamReader is rulip.StreamReader
        yield "native"
    finally:
        rulip.uninstall()


@pytest.fixture(params=["own", "stock", "python"])
def make_task(
    request: pytest.FixtureRequest, loop: asyncio.AbstractEventLoop
) -> Callable[..., asyncio.Task[Any]]:
    """Makes a task on the loop: the loop's own kind, asyncio's compiled one, its Python one."""
    kinds: dict[str, Callable[..., asyncio.Task[Any]]] = {
        "own": loop.create_task,
        "stock": lambda coro, **keywords: asyncio.Task(coro, loop=loop, **keywords),
        "python": lambda coro, **keywords: _PyTask(coro, loop=loop, **keywords),
    }
    return kinds[request.param]
