"""What the site does with pages beyond Markdown.

Here: pages that live elsewhere in the project (ARCHITECTURE.md and its like), links between pages
and files of the project, and the marks that tell the tests what to do with a code block.
Not here: the tests (tests/docs). Thread: mkdocs' own.
Invariant: a file in docs/ reads well without this, too: links in it are those of the repository.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File

PROJECT = Path(__file__).resolve().parent.parent

#: Pages of the site whose text stands outside docs/.
ELSEWHERE = {
    "project/architecture.md": "ARCHITECTURE.md",
    "project/benchmarking.md": "bench/README.md",
    "project/changelog.md": "CHANGELOG.md",
    "project/contributing.md": "CONTRIBUTING.md",
    "project/examples.md": "examples/README.md",
    "project/security.md": "SECURITY.md",
}

LINK = re.compile(
    r"(?<!!)\[(?P<text>[^\]]*)\]\((?P<target>(?![a-z]+:|#)[^)#\s]+)(?P<anchor>#[^)\s]*)?\)"
)
NOT_RUN = re.compile(r"^<!-- not run: (?P<reason>.+?) -->$", re.MULTILINE)
FILE_MARK = re.compile(
    r"^<!-- test: (?:file|old) (?P<name>\S+) -->\n```(?P<language>\w+)$", re.MULTILINE
)
TEST_MARK = re.compile(r"^<!-- test: .+? -->\n", re.MULTILINE)


def on_files(files: Any, config: Any) -> Any:
    """Add the pages that stand elsewhere."""
    for page, source in ELSEWHERE.items():
        files.append(File.generated(config, page, content=(PROJECT / source).read_text()))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Resolve links as the repository has them; say which blocks no test runs."""
    here = page.file.src_uri
    source = ELSEWHERE.get(here, f"docs/{here}")
    markdown = LINK.sub(lambda found: _link(found, here, source), markdown)
    markdown = FILE_MARK.sub(r'```\g<language> title="\g<name>"', markdown)
    markdown = TEST_MARK.sub("", markdown)
    return NOT_RUN.sub(
        r'<small class="not-run">Not run by the tests: \g<reason>.</small>\n', markdown
    )


def _link(found: re.Match[str], here: str, source: str) -> str:
    """A link between pages, or the name of a file that the site does not have."""
    text, anchor = found["text"], found["anchor"] or ""
    target = posixpath.normpath(posixpath.join(posixpath.dirname(source), found["target"]))
    if not (PROJECT / target).exists():
        raise PluginError(f"{source}: the link to {found['target']} leads nowhere")
    pages = {path: page for page, path in ELSEWHERE.items()}
    if target in pages:
        page = pages[target]
    elif target.startswith("docs/"):
        page = target.removeprefix("docs/")
    elif text.strip("`") in (target, posixpath.basename(target)):
        return f"`{target}`"
    else:
        return f"{text} (`{target}`)"
    return f"[{text}]({posixpath.relpath(page, posixpath.dirname(here) or '.')}{anchor})"
