"""What each kind of step does. Importing this package registers them all.

Here: nothing but the imports. Thread: any.
Invariant: what a step returns says the same wherever asyncio's semantics are the same.
"""

from . import callbacks, futures, generators, limits, locks, queues, readers, several, tasks

__all__ = [
    "callbacks",
    "futures",
    "generators",
    "limits",
    "locks",
    "queues",
    "readers",
    "several",
    "tasks",
]
