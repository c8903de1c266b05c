"""The table of docs/loops.md: what it says of asyncio and of rulip is what they do.

Here: the columns of the two loops that are always there. Not here: the others, which are as
`python tests/docs/loops.py` printed them. Thread: pytest's; each row is a process of its own.
Invariant: the page has every row that the program has.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from loops import PROBES, ask

PAGE = (Path(__file__).parents[2] / "docs" / "loops.md").read_text()


def rows(heading: str) -> dict[str, dict[str, str]]:
    """The first table under a heading: row, then name of the loop, then what stands there."""
    section = PAGE.partition(f"## {heading}\n")[2].partition("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("|")]
    head, _, *body = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    names = [name.split()[0] for name in head[1:]]
    return {row: dict(zip(names, cells, strict=True)) for row, *cells in body}


SAID = rows("Python 3.14" if sys.version_info >= (3, 14) else "Python 3.13")


def test_the_page_has_every_row() -> None:
    assert list(SAID) == list(PROBES)


@pytest.mark.parametrize("name", ["asyncio", "rulip"])
@pytest.mark.parametrize("row", PROBES)
def test_the_page_says_what_the_loop_does(name: str, row: str) -> None:
    found = ask(name, row)
    # On an older Python it may not be there yet; what is there does not differ.
    assert found.startswith("from ") or found == SAID[row][name]


def test_a_row_that_fails_is_told() -> None:
    assert ask("asyncio", "native tasks and futures") == "no"
