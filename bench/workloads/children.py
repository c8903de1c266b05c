"""Child processes and look-ups: what a program asks of the system besides sockets.

Not here: threads (`threads.py`). Thread: the loop's. Invariant: every child has ended and was
reaped before the clock stops; its own CPU time is not the parent's.
"""

from __future__ import annotations

import asyncio
import subprocess

from measured import Measured

from .registry import Workload


async def spawn(operations: int, measured: Measured) -> None:
    with measured(operations):
        for _ in range(operations):
            child = await asyncio.create_subprocess_exec("/bin/true")
            await child.wait()


async def communicate(operations: int, measured: Measured) -> None:
    with measured(operations):
        for _ in range(operations):
            child = await asyncio.create_subprocess_exec(
                "/bin/cat", stdin=subprocess.PIPE, stdout=subprocess.PIPE
            )
            await child.communicate(b"word")


async def literal(operations: int, measured: Measured) -> None:
    loop = asyncio.get_running_loop()
    await loop.getaddrinfo("127.0.0.1", 80)
    with measured(operations):
        for _ in range(operations):
            await loop.getaddrinfo("127.0.0.1", 80)


WORKLOADS = (
    Workload("spawn", spawn, "create_subprocess_exec of /bin/true + wait", 5, 20),
    Workload("communicate", communicate, "communicate() with /bin/cat", 5, 20),
    Workload("getaddrinfo", literal, "getaddrinfo of a literal address", 100, 1_000),
)
