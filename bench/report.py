"""`report.py RESULTS.json...`: docs/benchmarks.md and its pictures, from result files alone.

Not here: measuring, and any figure that isn't in the file. Thread: main.
Invariant: losses are shown like gains: every row of the file is in the page, in the file's order.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from contenders import FLOOR, SUBJECT
from results import Results, Row
from table import figure, ratio

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "benchmarks.md"
PICTURES = "benchmarks"
TITLES = {
    "scheduling": ("Scheduling", "CPU time per operation, ns"),
    "growth": ("Growth with the number", "CPU time per operation, ns"),
    "memory": ("Memory", "resident bytes per item"),
    "tcp": ("Echo servers", "CPU time of the server per request, µs"),
    "http": ("HTTP servers", "CPU time of the server per request, µs"),
    "applications": ("Applications", "CPU time of the process per operation, µs"),
}
# Within this of 1 nobody is ahead: the spread of two runs of one contender.
NOISE = 0.05
COLOURS = {
    "asyncio": "#8d99ae",
    "uvloop": "#e9a23b",
    "rloop": "#3a86a8",
    "zuvloop": "#8f5fbf",
    "rsloop": "#5b8c5a",
}


def title_of(kind: str) -> tuple[str, str]:
    return TITLES.get(kind, (kind.capitalize(), "CPU time per operation, µs"))


def rivals_of(results: Results, rows: Sequence[Row]) -> list[str]:
    return [
        name
        for name in results.contenders
        if name not in (SUBJECT, FLOOR) and any(row.least(name) is not None for row in rows)
    ]


def kinds_of(results: Results) -> list[str]:
    return list(dict.fromkeys(row.kind for row in results.rows))


def table_of(results: Results, rows: Sequence[Row]) -> Iterator[str]:
    """A Markdown table: figures, then ratios; bold where rulip is behind by more than noise."""
    rivals = rivals_of(results, rows)
    floor = any(row.least(FLOOR) is not None for row in rows)
    header = ["", SUBJECT, *rivals, *(["floor"] if floor else [])]
    header += [f"{name} / {SUBJECT}" for name in rivals]
    yield "| " + " | ".join(header) + " |"
    yield "|---" * len(header) + "|"
    for row in rows:
        names = [SUBJECT, *rivals, *([FLOOR] if floor else [])]
        cells = [row.operation]
        for name in names:
            least = row.least(name)
            cells.append("-" if least is None else figure(least, row.kind))
        for name in rivals:
            value = row.ratio(name, SUBJECT)
            text = ratio(value)
            behind = value is not None and value < 1 - NOISE
            cells.append(f"**{text}**" if behind else text)
        yield "| " + " | ".join(cells) + " |"


def draw(results: Results, rows: Sequence[Row], kind: str, path: Path) -> None:
    """Bars of theirs / rulip's, one group a row; the line at 1 is rulip."""
    import matplotlib

    matplotlib.use("svg")
    # The same file for the same figures.
    matplotlib.rcParams["svg.hashsalt"] = "rulip"
    from matplotlib import pyplot

    rivals = rivals_of(results, rows)
    height = 0.8 / max(1, len(rivals))
    size = (9, 1 + 0.28 * len(rows) * max(2, len(rivals)))
    picture, axes = pyplot.subplots(figsize=size, layout="constrained")
    for number, name in enumerate(rivals):
        places, lengths = [], []
        for index, row in enumerate(rows):
            value = row.ratio(name, SUBJECT)
            if value is not None:
                places.append(index + (number - (len(rivals) - 1) / 2) * height)
                lengths.append(value)
        bars = axes.barh(places, lengths, height, label=name, color=COLOURS.get(name))
        axes.bar_label(bars, fmt="%.2f", padding=2, fontsize=7)
    axes.axvline(1, color="#222222", linewidth=1)
    axes.set_yticks(range(len(rows)), [row.operation for row in rows], fontsize=8)
    axes.invert_yaxis()
    axes.set_xlabel(f"times {SUBJECT}'s cost (longer: {SUBJECT} is cheaper); the line is {SUBJECT}")
    axes.set_title(title_of(kind)[0])
    axes.legend(fontsize=8)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.savefig(path, format="svg", metadata={"Date": None})
    pyplot.close(picture)


def behind(results: Results) -> list[str]:
    """Rows in which a rival is ahead by more than the noise."""
    found = []
    for row in results.rows:
        for name in rivals_of(results, [row]):
            value = row.ratio(name, SUBJECT)
            if value is not None and value < 1 - NOISE:
                found.append(f"{row.operation}: {name} needs {value:.2f} of {SUBJECT}'s")
    return found


def conditions(results: Results, source: str) -> list[str]:
    """On what, of what, when."""
    environment, settings = results.environment, results.settings
    versions = ", ".join(f"{name} {of}" for name, of in sorted(results.versions.items()))
    return [
        (
            f"- {environment['cpu']}, {environment['cores']} cores, Linux {environment['kernel']}, "
            f"Python {environment['python']}, {environment['libc']}"
        ),
        f"- {versions}",
        (
            f"- the least of {settings['rounds']} interleaved rounds; malloc: "
            f"{settings['malloc'] or 'default settings'}; load before the run "
            f"{environment['load_before']}"
        ),
        f"- measured {results.date[:10]}; reproduce with `make bench`; samples: `{source}`",
    ]


def body(results: Results, heading: str, pictures: str) -> Iterator[str]:
    """Losses, tables and what could not be measured."""
    losses = behind(results)
    yield from ["", f"{heading} Where a rival is ahead", ""]
    yield from [f"- {loss}" for loss in losses] or ["Nowhere in this run."]
    for kind in kinds_of(results):
        rows = [row for row in results.rows if row.kind == kind]
        title, unit = title_of(kind)
        yield from ["", f"{heading} {title}", "", f"{unit[0].upper()}{unit[1:]}.", ""]
        yield from table_of(results, rows)
        if rivals_of(results, rows):
            yield from ["", f"![{title}]({pictures}/{kind}.svg)"]
    failures = [
        f"- {row.operation}, {name}: {reasons[-1]}"
        for row in results.rows
        for name, reasons in row.failures.items()
    ]
    absent = [f"- {name}: {reason}" for name, reason in results.missing.items()]
    absent += [f"- {name}: {reason}" for name, reason in results.left_out.items()]
    if failures or absent:
        yield from ["", f"{heading} Not measured", "", *absent, *failures]


def pictures_of(number: int, results: Results) -> str:
    """The folder of a run's pictures, beside the page."""
    return PICTURES if number == 0 else f"{PICTURES}/{results.environment['python']}"


def page(runs: Sequence[tuple[Results, str]]) -> str:
    """The whole page: the first run, then those of other Pythons below headings of their own."""
    lines = [
        "# Benchmarks",
        "",
        "Written by `bench/report.py` from result files; nothing here is typed by hand.",
        "",
        *conditions(*runs[0]),
        "",
        "Ratios are theirs divided by rulip's: 2.00x means that they need twice the CPU time (or",
        "memory). Bold ones are rulip's losses. How it is measured, and how far to trust it, is in",
        "[bench/README.md](../bench/README.md).",
        *body(runs[0][0], "##", PICTURES),
    ]
    for number, (results, source) in enumerate(runs[1:], 1):
        lines += ["", f"## On Python {results.environment['python']}", ""]
        lines += conditions(results, source)
        lines += body(results, "###", pictures_of(number, results))
    return "\n".join(lines) + "\n"


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Write the page of benchmarks from result files.")
    parser.add_argument(
        "results", type=Path, nargs="+", help="one of each Python, the main one first"
    )
    parser.add_argument("--page", type=Path, default=PAGE)
    options = parser.parse_args(arguments)
    runs = []
    for path in options.results:
        source = path.resolve()
        shown = source.relative_to(ROOT) if source.is_relative_to(ROOT) else Path(source.name)
        runs.append((Results.read(path), str(shown)))
    options.page.parent.mkdir(parents=True, exist_ok=True)
    options.page.write_text(page(runs), encoding="utf-8")
    for number, (results, _) in enumerate(runs):
        for kind in kinds_of(results):
            rows = [row for row in results.rows if row.kind == kind]
            if rivals_of(results, rows):
                folder = options.page.parent / pictures_of(number, results)
                draw(results, rows, kind, folder / f"{kind}.svg")
    print(f"{options.page}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
