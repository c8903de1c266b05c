"""A blocked loop is told of without debug mode.

Row of docs/compat.md: a task that blocks the loop.
Runs in the main thread.
Invariant: half a second without a turn leaves one warning that names the culprit.
"""

from __future__ import annotations

import asyncio
import logging
import time

import pytest
from tests.loopback import spin

pytestmark = pytest.mark.loops("rulip")


unreported = pytest.mark.xfail(strict=True, reason="a blocked loop is not reported yet")


def warnings_in(caplog: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
    return [record for record in caplog.records if record.levelno == logging.WARNING]


@unreported
def test_a_task_that_blocks_for_half_a_second_is_named(loop, caplog):
    async def culprit():
        time.sleep(0.55)

    loop.set_debug(False)
    loop.run_until_complete(loop.create_task(culprit(), name="the culprit"))
    [record] = warnings_in(caplog)
    assert record.name == "asyncio"
    assert "the culprit" in record.getMessage()


@unreported
def test_a_callback_that_blocks_is_named(loop, caplog):
    def culprit():
        time.sleep(0.55)

    loop.set_debug(False)
    loop.call_soon(culprit)
    spin(loop)
    [record] = warnings_in(caplog)
    assert "culprit" in record.getMessage()


def test_waiting_is_not_blocking(loop, caplog):
    loop.run_until_complete(asyncio.sleep(0.6))
    assert warnings_in(caplog) == []
