"""A blocked loop is told of without debug mode.

Row of docs/compat.md: a task that blocks the loop.
Runs in the main thread.
Invariant: half a second without a turn leaves one warning that names the culprit.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import subprocess
import sys
import time

import pytest
from tests.loopback import spin

from rulip._compat import UNIX_SERVER_CLEANS_UP

pytestmark = pytest.mark.loops("rulip")


def warnings_in(caplog: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
    return [record for record in caplog.records if record.levelno == logging.WARNING]


def test_a_task_that_blocks_for_half_a_second_is_named(loop, caplog):
    async def culprit():
        time.sleep(0.55)

    loop.set_debug(False)
    loop.run_until_complete(loop.create_task(culprit(), name="the culprit"))
    [record] = warnings_in(caplog)
    assert record.name == "asyncio"
    assert "the culprit" in record.getMessage()


def test_a_callback_that_blocks_is_named(loop, caplog):
    def culprit():
        time.sleep(0.55)

    loop.set_debug(False)
    loop.call_soon(culprit)
    spin(loop)
    [record] = warnings_in(caplog)
    assert "culprit" in record.getMessage()


def test_a_kept_timer_that_blocks_is_named(loop, caplog):
    def culprit():
        time.sleep(0.55)
        loop.stop()

    kept = loop.call_later(0, culprit)
    loop.run_forever()
    [record] = warnings_in(caplog)
    assert "culprit" in record.getMessage()
    assert not kept.cancelled()


def test_a_protocol_that_blocks_is_named(loop, caplog):
    class Culprit(asyncio.Protocol):
        def data_received(self, data):
            time.sleep(0.55)

        def connection_lost(self, exc):
            loop.stop()

    ours, theirs = socket.socketpair()
    with theirs:
        loop.run_until_complete(loop.create_unix_connection(Culprit, sock=ours))
        theirs.sendall(b"x")
        theirs.shutdown(socket.SHUT_WR)
        loop.run_forever()
    records = warnings_in(caplog)
    assert records, "nothing was reported"
    assert "Transport" in records[0].getMessage()


def test_a_slow_callback_duration_above_half_a_second_is_kept(loop, caplog):
    loop.slow_callback_duration = 5.0
    loop.call_soon(time.sleep, 0.55)
    spin(loop)
    assert warnings_in(caplog) == []


@pytest.fixture
def crowded_processor():
    """This thread shares one processor with four programs that never rest."""
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(allowed)})
    with contextlib.ExitStack() as stack:
        stack.callback(os.sched_setaffinity, 0, allowed)
        for _ in range(4):
            rival = subprocess.Popen(
                [sys.executable, "-SEc", "print(flush=True)\nwhile True: pass"],
                stdout=subprocess.PIPE,
            )
            stack.callback(rival.wait)
            stack.callback(rival.kill)
            stack.enter_context(rival.stdout)
            rival.stdout.readline()
        yield


@pytest.mark.skipif(
    not os.access("/proc/thread-self/schedstat", os.R_OK), reason="the kernel does not tell"
)
def test_a_crowded_processor_is_not_the_callbacks_fault(loop, caplog, crowded_processor):
    own = []

    def innocent():
        began, spent = time.monotonic(), time.thread_time()
        while time.monotonic() - began < 1.0:
            pass
        own.append(time.thread_time() - spent)

    loop.call_soon(innocent)
    spin(loop)
    assert own[0] < 0.4
    assert warnings_in(caplog) == []


def test_computing_is_blocking(loop, caplog, crowded_processor):
    def culprit():
        began = time.thread_time()
        while time.thread_time() - began < 0.55:
            pass

    loop.call_soon(culprit)
    spin(loop)
    [record] = warnings_in(caplog)
    assert "culprit" in record.getMessage()


def test_waiting_is_not_blocking(loop, caplog):
    loop.run_until_complete(asyncio.sleep(0.6))
    assert warnings_in(caplog) == []


def test_tools_that_forbid_blocking_calls_do_not_mean_the_loops_own(run, monkeypatch, tmp_path):
    """They wrap `os.stat()` and its like, and forgive asyncio's files: ours are others."""
    path = tmp_path / "socket"

    def forbidden(*args, **kwargs):
        raise AssertionError("a blocking call")

    async def main():
        loop = asyncio.get_running_loop()
        monkeypatch.setattr(os, "stat", forbidden)
        monkeypatch.setattr(os, "unlink", forbidden)
        server = await loop.create_unix_server(asyncio.Protocol, path)
        server.close()
        monkeypatch.undo()
        assert path.exists() is not UNIX_SERVER_CLEANS_UP

    run(main())
