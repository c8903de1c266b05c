"""The table of docs/loops.md: what it says of asyncio and of rulip is what they do.

Here: the columns of the two loops that are always there. Not here: the others, which are as
`python tests/docs/loops.py` printed them. Thread: pytest's; each row is a process of its own.
Invariant: the page has every row that the program has.
"""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
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


@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", ["asyncio", "rulip"])
def test_the_page_says_what_the_loop_does(name: str) -> None:
    heading = "Python 3.14" if sys.version_info >= (3, 14) else "Python 3.13"
    said = {row: cells[name] for row, cells in rows(heading).items()}
    assert list(said) == list(PROBES)
    # On an older Python a row may not be there yet; what is there does not differ.
    with ThreadPoolExecutor(2) as pool:
        found = dict(zip(PROBES, pool.map(lambda row: ask(name, row), PROBES), strict=True))
    differing = {
        row: (text, found[row])
        for row, text in said.items()
        if text != found[row] and not found[row].startswith("from ")
    }
    assert not differing
    assert "yes" in found.values()


def test_a_row_that_fails_is_told() -> None:
    assert ask("asyncio", "native tasks and futures") == "no"
