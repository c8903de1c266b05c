"""What the collector counts, and the Prometheus text of it.

Here: counters, the histogram, the exposition format.
Not here: gauges' sources; whoever owns a number registers a function that reads it.
Thread: the loop's; a counter is an attribute, adding to it is one bytecode or two.
Invariant: counters only grow.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable

BOUNDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)

HELP = {
    "received_lines": "lines received",
    "received_bytes": "bytes of lines received",
    "stored_lines": "lines stored by the sink",
    "acknowledged_lines": "lines answered with ok",
    "duplicate_lines": "lines with an @id:seq that was stored before",
    "dead_lines": "lines the sink refused, kept in the dead-letter table",
    "raw_lines": "lines with a NUL or bytes that are no UTF-8",
    "too_long_lines": "lines refused because they are too long",
    "unfinished_lines": "lines whose connection was lost before their end",
    "accepted_connections": "connections accepted",
    "refused_connections": "connections refused because there were too many",
    "slow_connections": "connections closed because a line took too long to arrive",
    "idle_connections": "connections closed because nothing came",
    "batches": "batches stored",
    "retries": "attempts to store a batch that failed and were repeated",
    "splits": "batches divided to find a line the sink refuses",
    "spooled_lines": "lines appended to the spool",
    "spool_failures": "appends to the spool that failed and were repeated",
}


class Histogram:
    """Durations in fixed buckets."""

    __slots__ = ("buckets", "count", "total")

    def __init__(self) -> None:
        self.buckets = [0] * (len(BOUNDS) + 1)
        self.count = 0
        self.total = 0.0

    def observe(self, seconds: float) -> None:
        """Count one duration."""
        self.buckets[bisect_left(BOUNDS, seconds)] += 1
        self.count += 1
        self.total += seconds

    def quantile(self, fraction: float) -> float:
        """An upper bound for this share of the durations; 0 if there were none."""
        wanted = fraction * self.count
        seen = 0
        for bound, number in zip((*BOUNDS, float("inf")), self.buckets, strict=True):
            seen += number
            if number and seen >= wanted:
                return min(bound, 2 * BOUNDS[-1])
        return 0.0


class Metrics:
    """All counters, and the gauges that were registered."""

    def __init__(self) -> None:
        self.received_lines = 0
        self.received_bytes = 0
        self.stored_lines = 0
        self.acknowledged_lines = 0
        self.duplicate_lines = 0
        self.dead_lines = 0
        self.raw_lines = 0
        self.too_long_lines = 0
        self.unfinished_lines = 0
        self.accepted_connections = 0
        self.refused_connections = 0
        self.slow_connections = 0
        self.idle_connections = 0
        self.batches = 0
        self.retries = 0
        self.splits = 0
        self.spooled_lines = 0
        self.spool_failures = 0
        self.commit_seconds = Histogram()
        self._gauges: dict[str, tuple[str, Callable[[], float]]] = {}

    def gauge(self, name: str, text: str, read: Callable[[], float]) -> None:
        """Register a number that goes up and down."""
        self._gauges[name] = (text, read)

    def counters(self) -> dict[str, int]:
        """Every counter by name."""
        return {name: getattr(self, name) for name in HELP}

    def gauges(self) -> dict[str, float]:
        """Every gauge by name."""
        return {name: read() for name, (_, read) in self._gauges.items()}

    def exposition(self) -> str:
        """All of it, as Prometheus reads it."""
        out: list[str] = []
        for name, number in self.counters().items():
            full = f"logcollector_{name}_total"
            out += [f"# HELP {full} {HELP[name]}", f"# TYPE {full} counter", f"{full} {number}"]
        for name, (text, read) in self._gauges.items():
            full = f"logcollector_{name}"
            out += [f"# HELP {full} {text}", f"# TYPE {full} gauge", f"{full} {read():.9g}"]
        full = "logcollector_commit_seconds"
        out += [f"# HELP {full} time to store a batch", f"# TYPE {full} histogram"]
        seen = 0
        for bound, number in zip(BOUNDS, self.commit_seconds.buckets, strict=False):
            seen += number
            out.append(f'{full}_bucket{{le="{bound:g}"}} {seen}')
        out.append(f'{full}_bucket{{le="+Inf"}} {self.commit_seconds.count}')
        out.append(f"{full}_sum {self.commit_seconds.total:.9g}")
        out.append(f"{full}_count {self.commit_seconds.count}")
        return "\n".join(out) + "\n"
