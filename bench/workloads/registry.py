"""What the suite knows of a workload besides its code.

Not here: any workload. Thread: any. Invariant: a name is unique and never changes its meaning, so
that old results stay comparable.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

import servers
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
    # Whether the length is part of the meaning, so that it may not be stretched to a given time.
    fixed: bool = False
    # Long or large: runs only when asked for.
    full: bool = False
    # Which table it stands in; "memory": what counts is resident bytes, not CPU time.
    kind: str = "scheduling"
    # Modules that must be importable, and programs that must be installed.
    modules: tuple[str, ...] = ()
    programs: tuple[str, ...] = ()

    def lacks(self) -> str | None:
        """What is not there that it needs; None when nothing is missing."""
        for module in self.modules:
            if importlib.util.find_spec(module) is None:
                return f"the module {module} is not installed"
        for program in self.programs:
            if not servers.is_installed(program):
                return f"the program {program} is not installed"
        return None


def groups_of(size: int, operations: int) -> int:
    """How many whole groups of `size` make at least `operations`."""
    return max(1, -(-operations // size))
