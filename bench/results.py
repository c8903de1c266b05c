"""A run's results: samples and failures by row and contender, and the file that keeps them.

Not here: how samples come about, how they look. Thread: any.
Invariant: every contender that was asked for appears, with samples or with the reason why not; a
figure is only ever computed from samples that are in the file.
"""

from __future__ import annotations

import json
import statistics
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

FORMAT = 1


@dataclass(slots=True)
class Row:
    """One workload."""

    name: str
    operation: str
    # Which table it stands in; "memory": resident bytes count, else CPU time.
    kind: str
    samples: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    failures: dict[str, list[str]] = field(default_factory=dict)

    @property
    def measure(self) -> str:
        """The key of the figure that is compared."""
        return "bytes" if self.kind == "memory" else "cpu_ns"

    def values(self, contender: str, key: str | None = None) -> list[float]:
        """One figure per successful round."""
        return [sample[key or self.measure] for sample in self.samples.get(contender, [])]

    def least(self, contender: str) -> float | None:
        """The least figure: what the work costs when nothing disturbs it."""
        return min(self.values(contender), default=None)

    def median(self, contender: str) -> float | None:
        """The median figure."""
        values = self.values(contender)
        return statistics.median(values) if values else None

    def ratio(self, contender: str, subject: str) -> float | None:
        """Theirs divided by the subject's, of the least figures."""
        theirs, ours = self.least(contender), self.least(subject)
        return theirs / ours if theirs is not None and ours else None


@dataclass(slots=True)
class Results:
    """All rows of a run, and what they depend on."""

    date: str
    environment: dict[str, Any]
    settings: dict[str, Any]
    contenders: list[str]
    versions: dict[str, str | None] = field(default_factory=dict)
    # Contenders without any figure, and why.
    missing: dict[str, str] = field(default_factory=dict)
    # Rows that cannot be measured here, and why.
    left_out: dict[str, str] = field(default_factory=dict)
    rows: list[Row] = field(default_factory=list)
    format: int = FORMAT

    def write(self, path: Path) -> None:
        """Write the file, making its folder."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(asdict(self), indent=1) + "\n", encoding="utf-8")

    @classmethod
    def read(cls, path: Path) -> Results:
        """Read a file back."""
        content = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(content, dict) or content.get("format") != FORMAT:
            raise ValueError(f"{path} is not a result file of format {FORMAT}")
        rows = [Row(**row) for row in content.pop("rows")]
        return cls(**content, rows=rows)
