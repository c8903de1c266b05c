"""`compare.py BEFORE AFTER`: two result files, row by row.

Not here: measuring. Thread: main. Invariant: a change is called one only when it is larger than
what the rounds of either file differ among themselves, and only between files measured alike.

Machines drift between runs. The yardstick is therefore a contender that did not change (asyncio by
default): "adjusted" is the change left when the yardstick's own change is divided out.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from contenders import SUBJECT
from results import Results, Row
from table import aligned, figure

# What must be equal for a comparison to mean something.
CONDITIONS = ("cpu", "kernel", "python", "free_threaded", "libc")
# Below this nothing is called a change, however quiet the rounds were.
LEAST_CHANGE = 0.03


def spread(row: Row, contender: str) -> float:
    """How far the median lies above the least, as a fraction."""
    least, median = row.least(contender), row.median(contender)
    return median / least - 1 if least and median else 0.0


def verdict(change: float, noise: float) -> str:
    if abs(change - 1) <= max(noise, LEAST_CHANGE):
        return ""
    return "slower" if change > 1 else "faster"


def compare_row(
    before: Row, after: Row, contender: str, yardstick: str | None
) -> tuple[str, ...] | None:
    """One line of the table; None when either file lacks the figure."""
    old, new = before.least(contender), after.least(contender)
    if not old or not new:
        return None
    change = new / old
    noise = max(spread(before, contender), spread(after, contender))
    adjusted = None
    if yardstick is not None:
        old_yard, new_yard = before.least(yardstick), after.least(yardstick)
        if old_yard and new_yard:
            adjusted = change / (new_yard / old_yard)
            noise = max(noise, spread(before, yardstick), spread(after, yardstick))
    return (
        before.name,
        figure(old, before.kind),
        figure(new, after.kind),
        f"{change:.3f}",
        "-" if adjusted is None else f"{adjusted:.3f}",
        f"{noise:.1%}",
        verdict(change if adjusted is None else adjusted, noise),
    )


def differences(before: Results, after: Results) -> list[str]:
    """Conditions that differ between the files."""
    found = [
        f"{name}: {before.environment.get(name)} before, {after.environment.get(name)} after"
        for name in CONDITIONS
        if before.environment.get(name) != after.environment.get(name)
    ]
    for name in ("malloc", "quick"):
        if before.settings.get(name) != after.settings.get(name):
            found.append(f"{name}: {before.settings.get(name)} before, {after.settings.get(name)}")
    return found


def render(before: Results, after: Results, contender: str, yardstick: str | None) -> str:
    """The table and its warnings."""
    if yardstick == contender:
        yardstick = None
    later = {row.name: row for row in after.rows}
    header = ("", "before", "after", "after/before", "adjusted", "noise", "")
    lines: list[tuple[str, ...]] = [header]
    alone = []
    for row in before.rows:
        other = later.pop(row.name, None)
        line = compare_row(row, other, contender, yardstick) if other is not None else None
        if line is None:
            alone.append(row.name)
        else:
            lines.append(line)
    alone += later
    old, new = (f"{file.date} ({file.environment.get('revision')})" for file in (before, after))
    parts = [f"{contender}: {old} -> {new}", aligned(lines)]
    warnings = [f"not alike: {text}" for text in differences(before, after)]
    if yardstick is not None:
        warnings.append(f"adjusted: divided by the change of {yardstick}")
    if alone:
        warnings.append("not in both files: " + ", ".join(alone))
    return "\n\n".join([*parts, "\n".join(warnings)]).rstrip()


def main() -> int:
    parser = argparse.ArgumentParser(description="Compare two result files.")
    parser.add_argument("before", type=Path)
    parser.add_argument("after", type=Path)
    parser.add_argument("--contender", default=SUBJECT, help=f"whose figures (default {SUBJECT})")
    parser.add_argument(
        "--yardstick", default="asyncio", help="who did not change, or '-' for none"
    )
    options = parser.parse_args()
    try:
        before, after = Results.read(options.before), Results.read(options.after)
    except (OSError, ValueError) as error:
        print(error, file=sys.stderr)
        return 2
    yardstick = None if options.yardstick == "-" else options.yardstick
    print(render(before, after, options.contender, yardstick))
    return 0


if __name__ == "__main__":
    sys.exit(main())
