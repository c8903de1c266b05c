"""What the suite knows of a workload besides its code.

Not here: any workload. Thread: any. Invariant: a name is unique and never changes its meaning, so
that old results stay comparable.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Literal

from measured import Measured

Run = Callable[[int, Measured], Coroutine[Any, Any, None]]


@dataclass(frozen=True, slots=True)
class Workload:
    """A workload and the lengths of its runs."""

    name: str
    run: Run
    # What one operation is, for the reader of the table.
    operation: str
    # Runs of fixed length: before the clock starts, and the shortest one that is measured.
    warm_up: int
    operations: int
    # "ns" of CPU per operation, or "B" of resident memory per operation.
    unit: Literal["ns", "B"] = "ns"
    # Whether the length is part of the meaning, so that it may not be stretched to a given time.
    fixed: bool = False
    # Long or large: runs only when asked for.
    full: bool = False


def groups_of(size: int, operations: int) -> int:
    """How many whole groups of `size` make at least `operations`."""
    return max(1, -(-operations // size))
