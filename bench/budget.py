"""`budget.py [WORKLOAD...]`: rulip's own instructions per operation, held against budget.toml.

Not here: counting (`instructions.py`), and time. Thread: main. Invariant: exit status 0 only if
every row asked for was counted and stayed within its budget.

What is held is the part that rulip's extension itself executes: it doesn't depend on the
interpreter's build. A row that needs more fails; one that needs much less is named, so that the
budget can follow.
"""

from __future__ import annotations

import argparse
import sys
import tomllib
from collections.abc import Sequence
from pathlib import Path

from instructions import per_operation
from processes import ChildError

BUDGET = Path(__file__).with_name("budget.toml")
# Compilers differ a little in what they make of the same source.
TOLERANCE = 0.05
OPERATIONS = 1_000


def verdict(own: float, budget: float) -> str:
    """ "ok", or what is wrong with the figure."""
    if own > budget * (1 + TOLERANCE):
        return "OVER"
    if own < budget * (1 - 2 * TOLERANCE):
        return "ok, lower the budget"
    return "ok"


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Hold instruction counts against their budget.")
    parser.add_argument("workloads", nargs="*", metavar="WORKLOAD", help="default: all rows")
    options = parser.parse_args(arguments)
    budgets: dict[str, int] = tomllib.loads(BUDGET.read_text(encoding="utf-8"))["own"]
    unknown = set(options.workloads) - set(budgets)
    if unknown:
        parser.error(f"no budget for {', '.join(sorted(unknown))}")
    failed = False
    for workload in options.workloads or budgets:
        try:
            count = per_operation("rulip", workload, OPERATIONS)
        except ChildError as error:
            print(f"{workload}: {error}", file=sys.stderr)
            failed = True
            continue
        said = verdict(count.own, budgets[workload])
        failed |= said == "OVER"
        print(
            f"{workload:22} {count.own:8.0f} of {budgets[workload]:6}   "
            f"(whole process {count.total:8.0f})   {said}",
            flush=True,
        )
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
