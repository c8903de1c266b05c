"""The reference has every name that rulip has of its own, and names nothing else.

Here: what stands in docs/reference. Not here: whether the pages can be made of it (`make docs`).
Thread: pytest's. Invariant: a name is listed by `::: rulip.NAME`, or in code style where it is
asyncio's.
"""

from __future__ import annotations

import re
from pathlib import Path

import rulip
from rulip.installation import TABLE

PAGES = (Path(__file__).parents[2] / "docs" / "reference").glob("*.md")
TEXT = "\n".join(page.read_text() for page in sorted(PAGES))
#: What rulip has and asyncio has not.
OWN = {"Loop", "install", "new_event_loop", "run", "uninstall", "EventLoopPolicy", "Runner"}


def test_every_name_of_its_own_is_in_the_reference() -> None:
    names = OWN | {name for _, _, names in TABLE for name in names if name in rulip.__all__}
    assert names <= set(rulip.__all__)
    absent = {
        name
        for name in names
        if not re.search(rf"^::: rulip\.{name}$|`(rulip\.)?{name}(\(.*?\))?`", TEXT, re.MULTILINE)
    }
    assert not absent


def test_what_the_reference_lists_is_there_and_says_what_it_is() -> None:
    listed = re.findall(r"^::: rulip\.([\w.]+)$", TEXT, re.MULTILINE)
    assert len(listed) > 30
    for path in listed:
        found: object = rulip
        for part in path.split("."):
            found = getattr(found, part)
        assert found.__doc__, path
