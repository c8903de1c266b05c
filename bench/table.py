"""Results as aligned text.

Not here: measuring and files. Thread: any. Invariant: a figure that does not exist is shown as such
("-", "failed"), and each failure is explained below the table.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from contenders import FLOOR, SUBJECT
from results import Results, Row

# Growth that shows that a loop keeps what it should have dropped.
LEAK_BYTES = 32
# Kinds of rows whose figures are too large for nanoseconds.
MICROSECONDS = ("tcp", "http", "applications")


def aligned(rows: Sequence[Sequence[str]], *, left: int = 1) -> str:
    """Columns of equal width; the first `left` to the left, the others to the right."""
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        cells = [
            cell.ljust(width) if index < left else cell.rjust(width)
            for index, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def figure(value: float, kind: str) -> str:
    """Nanoseconds and bytes whole, microseconds with two digits."""
    return f"{value / 1000:.2f}" if kind in MICROSECONDS else f"{value:.0f}"


def cell(row: Row, contender: str) -> str:
    """`least (median)`, or why there is none."""
    least, median = row.least(contender), row.median(contender)
    if least is None or median is None:
        return "failed" if row.failures.get(contender) else "-"
    mark = "!" if row.failures.get(contender) else ""
    return f"{figure(least, row.kind)} ({figure(median, row.kind)}){mark}"


def ratio(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}x"


def render(results: Results) -> str:
    """All tables of a run, and its notes."""
    parts = []
    titles = {
        "scheduling": "CPU time per operation in ns",
        "growth": "CPU time per operation in ns, by how many there are",
        "memory": "resident memory in bytes",
        "tcp": "server CPU time per request in µs",
        "http": "HTTP server CPU time per request in µs",
        "applications": "CPU time per operation in µs",
    }
    for kind, title in titles.items():
        rows = [row for row in results.rows if row.kind == kind]
        if not rows:
            continue
        shown = [name for name in results.contenders if any(has_news(row, name) for row in rows)]
        parts.append(f"{title}: least (median) of {results.settings['rounds']} rounds")
        parts.append(cost_table(rows, shown))
        if kind in ("tcp", "http"):
            parts.append("requests/s, p50 and p99 latency in µs: medians of the rounds")
            parts.append(service_table(rows, shown))
    parts.append(notes(results))
    return "\n\n".join(part for part in parts if part)


def has_news(row: Row, contender: str) -> bool:
    return bool(row.samples.get(contender) or row.failures.get(contender))


def cost_table(rows: Sequence[Row], contenders: Sequence[str]) -> str:
    """The compared figures, and the others' divided by the subject's."""
    rivals = [name for name in contenders if name not in (SUBJECT, FLOOR)]
    subject = SUBJECT in contenders
    header = ["", *contenders]
    if subject:
        header += [f"{rival}/{SUBJECT}" for rival in rivals]
        header += [f"{SUBJECT}/{FLOOR}"] if FLOOR in contenders else []
    lines = [header]
    for row in rows:
        line = [row.name, *(cell(row, name) for name in contenders)]
        if subject:
            line += [ratio(row.ratio(rival, SUBJECT)) for rival in rivals]
            line += [ratio(row.ratio(SUBJECT, FLOOR))] if FLOOR in contenders else []
        lines.append(line)
    return aligned(lines)


def service_table(rows: Sequence[Row], contenders: Sequence[str]) -> str:
    """Throughput and latency: the client and the kernel limit these, so they decide nothing."""
    lines = [["", *contenders]]
    for row in rows:
        line = [row.name]
        for name in contenders:
            samples = row.samples.get(name, [])
            if not samples:
                line.append("-")
                continue
            rate = statistics.median(sample["requests_per_second"] for sample in samples)
            p50, p99 = (
                statistics.median(sample["latency_us"][key] for sample in samples)
                for key in ("p50", "p99")
            )
            line.append(f"{rate:.0f} {p50:.0f} {p99:.0f}")
        lines.append(line)
    return aligned(lines)


def notes(results: Results) -> str:
    """What the reader must know before believing a figure."""
    environment = results.environment
    settings = results.settings
    lines = [
        f"{environment['cpu']}, {environment['cores']} cores, Linux {environment['kernel']}",
        f"Python {environment['python']}, {environment['libc']}",
        "versions: " + ", ".join(f"{name} {of}" for name, of in sorted(results.versions.items())),
        f"malloc: {settings['malloc'] or 'default settings'}",
        f"load before {environment['load_before']}, after {environment.get('load_after', '-')}",
    ]
    if environment["load_before"] > 0.5:
        lines.append("the machine was not idle when the run began: do not quote these figures")
    lines += [f"{name}: {reason}" for name, reason in results.missing.items()]
    lines += [f"{name}: not measured, {reason}" for name, reason in results.left_out.items()]
    for row in results.rows:
        for name, reasons in row.failures.items():
            lines.append(f"{row.name}, {name}: {len(reasons)} failed: {reasons[-1]}")
        if row.kind == "scheduling":
            lines += leaks(row)
    return "\n".join(lines)


def leaks(row: Row) -> list[str]:
    """Contenders whose memory grew with every operation: part of their cost is not paid yet."""
    found = []
    for name in row.samples:
        grown = statistics.median(row.values(name, "bytes"))
        if grown > LEAK_BYTES:
            found.append(f"{row.name}, {name}: memory grew by {grown:.0f} B per operation")
    return found
