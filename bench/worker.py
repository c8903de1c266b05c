"""One sample: `worker.py LOOP WORKLOAD N` runs N operations and prints one JSON object.

Not here: repetition, comparison, pinning (`run.py`). Thread: main, with the loop in it.
Invariant: the contender is in charge before a workload is imported, the warm-up has a fixed length,
and the JSON comes only after the loop was closed without an error.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import sys
from typing import TYPE_CHECKING, Any

from contenders import loop_factory, version_of
from measured import Measured

if TYPE_CHECKING:
    from workloads import Workload

# Exit status that says "this contender cannot be imported here".
ABSENT = 3
MOST_OPERATIONS = 20_000_000
START = "start"


async def sample(workload: Workload, operations: int, seconds: float) -> Measured:
    """Warm up, find the length that takes about `seconds`, measure."""
    await workload.run(workload.warm_up, Measured())
    if seconds and not workload.fixed:
        rehearsal = Measured()
        await workload.run(operations, rehearsal)
        pace = rehearsal.operations / max(rehearsal.wall_seconds, 1e-6)
        operations = min(max(operations, int(pace * seconds)), MOST_OPERATIONS)
    measured = Measured()
    await workload.run(operations, measured)
    if not measured.operations:
        raise RuntimeError(f"{workload.name} measured nothing")
    return measured


def as_json(measured: Measured, loop: asyncio.AbstractEventLoop) -> dict[str, Any]:
    """Per operation: nanoseconds of CPU, user and system apart, and bytes of resident memory."""
    user = measured.user_seconds * 1e9 / measured.operations
    system = measured.system_seconds * 1e9 / measured.operations
    return {
        "operations": measured.operations,
        "cpu_ns": user + system,
        "user_ns": user,
        "system_ns": system,
        "wall_ns": measured.wall_seconds * 1e9 / measured.operations,
        "bytes": measured.grown_bytes / measured.operations,
        "preempted": measured.preempted,
        "loop": f"{type(loop).__module__}.{type(loop).__qualname__}",
    }


def about_process(contender: str) -> dict[str, Any]:
    """What the figures depend on besides the workload."""
    malloc = {
        name: value
        for name, value in sorted(os.environ.items())
        if name.startswith("MALLOC_") or name in ("GLIBC_TUNABLES", "LD_PRELOAD", "PYTHONMALLOC")
    }
    return {
        "versions": {"python": platform.python_version(), contender: version_of(contender)},
        "malloc": malloc,
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("loop", help="asyncio, uvloop, rloop, rulip, module or module:function")
    parser.add_argument("workload", help=f"a name from workloads/, or {START!r} to try the loop")
    parser.add_argument("operations", type=int, help="how many operations to measure")
    parser.add_argument("--seconds", type=float, default=0, help="stretch the run to this time")
    options = parser.parse_args()
    try:
        factory = loop_factory(options.loop)
    except ImportError as error:
        print(f"{options.loop} cannot be imported: {error}", file=sys.stderr)
        return ABSENT

    result: dict[str, Any] = about_process(options.loop)
    with asyncio.Runner(loop_factory=factory) as runner:
        loop = runner.get_loop()
        if options.workload == START:
            runner.run(asyncio.sleep(0))
        else:
            from workloads import WORKLOADS

            workload = WORKLOADS[options.workload]
            measured = runner.run(sample(workload, options.operations, options.seconds))
            result |= as_json(measured, loop)
    print(json.dumps(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
