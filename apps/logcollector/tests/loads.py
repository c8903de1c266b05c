"""The load generator as a process, and its verdict.

Here: starting it, waiting, reading the report. Not here: what is done to the servers meanwhile.
Thread: the test's. Invariant: a load that is not waited for is killed.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from types import TracebackType
from typing import Any, Self

from collector_processes import Collector
from logcollector.load.verify import verify

# How often each fault is repeated in a test; a longer campaign sets it higher.
ROUNDS = int(os.environ.get("COLLECTOR_ROUNDS", "3"))


class Load:
    """Senders that run while a test breaks things."""

    def __init__(self, collector: Collector, seconds: float = 600.0, **more: object) -> None:
        self._name = f"load{time.monotonic_ns()}"
        self._journal = collector.folder / self._name
        flags = {
            "connect": f"127.0.0.1:{collector.port}",
            "duration": f"{seconds:g}s",
            "patience": "90s",
            "run": self._name,
            "journal": self._journal,
            **more,
        }
        self._flags = []
        for name, value in flags.items():
            flag = f"--{name.replace('_', '-')}"
            if isinstance(value, bool):
                self._flags += [flag] * value
            else:
                self._flags.append(f"{flag}={value}")
        self._environment = collector.options()["env"]
        self._output = tempfile.TemporaryFile()  # noqa: SIM115
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "logcollector.load", "--json", *self._flags],
            env=self._environment,
            stdout=self._output,
        )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._process is not None
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        self._output.close()

    def wait(self) -> dict[str, Any]:
        """Wait for the end; what the senders saw."""
        assert self._process is not None
        self._process.wait(300)
        self._output.seek(0)
        result: dict[str, Any] = json.loads(self._output.read() or b"{}")
        assert result, f"the load ended with status {self._process.returncode} and no report"
        return result

    def end(self) -> dict[str, Any]:
        """Send nothing more, wait for the last answers."""
        assert self._process is not None
        self._process.send_signal(signal.SIGINT)
        return self.wait()

    def verify(self, report: dict[str, Any], url: str) -> dict[str, Any]:
        """The report with what the sink at `url` holds."""
        counts = json.loads(self._journal.read_text())
        senders = {name: (count, count) for name, count in counts.items()}
        whole = report | asyncio.run(verify(url, self._name, senders))
        print(json.dumps(whole))
        return whole


def nothing_lost(report: dict[str, Any], *, duplicates: int | None = None) -> None:
    """Everything acknowledged is stored; duplicates are resent lines at most, or as given."""
    assert report["wrong_answers"] == []
    assert report["unacknowledged"] == 0
    assert report["acknowledged"] > 0
    assert report["missing"] == 0
    allowed = report["resent"] if duplicates is None else duplicates
    assert report["duplicates"] <= allowed
