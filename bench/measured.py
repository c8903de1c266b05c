"""The clock around the measured part of a workload: CPU time, wall time and resident memory.

Not here: the workloads, and how often they run. Thread: the loop's, in the worker process.
Invariant: garbage is collected before the clock starts, and nothing but the workload's own
operations runs between its start and its end.
"""

from __future__ import annotations

import gc
import resource
import time
from pathlib import Path
from types import TracebackType
from typing import Self


def resident_bytes() -> int:
    """Resident set of this process."""
    pages = Path("/proc/self/statm").read_text(encoding="ascii").split()[1]
    return int(pages) * resource.getpagesize()


class Measured:
    """Called with the number of operations, it gives the context that surrounds them."""

    def __init__(self) -> None:
        self.operations = 0
        self.user_seconds = 0.0
        self.system_seconds = 0.0
        self.wall_seconds = 0.0
        self.grown_bytes = 0
        self.preempted = 0

    def __call__(self, operations: int) -> Self:
        if self.operations or operations < 1:
            raise RuntimeError("a workload measures once, and at least one operation")
        self.operations = operations
        return self

    def __enter__(self) -> None:
        gc.collect()
        self._resident = resident_bytes()
        self._wall = time.perf_counter()
        self._usage = resource.getrusage(resource.RUSAGE_SELF)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        usage = resource.getrusage(resource.RUSAGE_SELF)
        self.wall_seconds = time.perf_counter() - self._wall
        self.user_seconds = usage.ru_utime - self._usage.ru_utime
        self.system_seconds = usage.ru_stime - self._usage.ru_stime
        self.preempted = usage.ru_nivcsw - self._usage.ru_nivcsw
        self.grown_bytes = resident_bytes() - self._resident
