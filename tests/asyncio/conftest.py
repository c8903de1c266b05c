"""Fixtures of the transport tests: which sockets and which kind of protocol a test runs over.

Not here: loops (the conftest.py above), peers and recorders (loopback.py).
Runs in the main thread.
Invariant: a test that takes both runs over every combination.
"""

from __future__ import annotations

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
