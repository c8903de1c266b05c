"""The code blocks of a page, and what its marks say is to be done with each.

Here: reading Markdown. Not here: running what was read (test_pages.py).
Thread: pytest's. Invariant: a block that no test runs has a reason, in the page, and a mark that is
not understood is an error.

A mark is an HTML comment on the line before a block:

    <!-- test: file NAME -->    write the block to this file, for the blocks that follow
    <!-- test: output -->       what the block before wrote; `...` stands for any text
    <!-- test: serves URL -->   each line is a server: start it, ask it, stop it
    <!-- test: rulip -->        a Python program for `python -m rulip` alone
    <!-- test: old NAME -->     a file of source that today's Python does not take
    <!-- not run: REASON -->    checked for form only; the site shows the reason
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]
#: Languages that are shown, not run: pictures made of letters, and output.
PLAIN = ("", "text")
MARK = re.compile(
    r"<!-- (?:test: (?P<what>file|output|serves|rulip|old) ?(?P<value>\S*)"
    r"|not run: (?P<reason>.+)) -->"
)
FENCE = re.compile(r"(?P<indent> *)```(?P<language>\w*)\s*$")


@dataclass
class Block:
    """One fenced block."""

    line: int
    language: str
    text: str
    #: file, old, output, serves, rulip, not run, or nothing.
    mark: str = ""
    #: The file's name, the URL, the reason.
    value: str = ""


def pages() -> list[Path]:
    """Every page whose blocks are the documentation's."""
    return [PROJECT / "README.md", *sorted((PROJECT / "docs").rglob("*.md"))]


def read(page: Path) -> list[Block]:
    """The blocks of a page, in order."""
    return parse(page.read_text())


def parse(text: str) -> list[Block]:
    """The blocks of a text, in order; ValueError for what cannot be understood."""
    blocks: list[Block] = []
    mark: tuple[str, str] = ("", "")
    inside: tuple[int, str, str] | None = None
    body: list[str] = []
    before = ""
    for number, line in enumerate(text.splitlines(), 1):
        if inside is not None:
            first, language, indent = inside
            if line.strip() == "```":
                blocks.append(Block(first, language, "\n".join(body) + "\n", *mark))
                inside, mark, body = None, ("", ""), []
            else:
                body.append(line.removeprefix(indent))
        elif fence := FENCE.fullmatch(line):
            inside = (number, fence["language"], fence["indent"])
        elif line.startswith("<!--"):
            if not (found := MARK.fullmatch(line)):
                raise ValueError(f"line {number}: a mark that nobody knows: {line}")
            mark = (
                ("not run", found["reason"]) if found["reason"] else (found["what"], found["value"])
            )
        elif line.startswith("    ") and not before:
            raise ValueError(f"line {number}: code has a fence and a language")
        elif mark[0]:
            raise ValueError(f"line {number}: the mark before it belongs to no block")
        before = line.strip()
    if inside is not None or mark[0]:
        raise ValueError("the last block or mark is not closed")
    return blocks
