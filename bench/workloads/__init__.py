"""The workloads of one process: each an async function that knows asyncio and nothing else.

Not here: TCP (two processes, see `tcp.py`), the clock (`measured.py`), the contenders.
Thread: the loop's. Invariant: a workload does exactly the operations it was asked for (rounded up
to whole groups), waits until the last one happened, and leaves no task or timer behind.
"""

from __future__ import annotations

from . import (
    applications,
    callbacks,
    children,
    endpoints,
    locks,
    memory,
    queues,
    streams,
    tasks,
    threads,
    timers,
)
from .registry import Workload

WORKLOADS: dict[str, Workload] = {
    workload.name: workload
    for module in (
        callbacks,
        tasks,
        queues,
        locks,
        timers,
        threads,
        endpoints,
        streams,
        children,
        memory,
        applications,
    )
    for workload in module.WORKLOADS
}

__all__ = ["WORKLOADS", "Workload"]
