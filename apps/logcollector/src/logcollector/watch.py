"""`--watch`: a running collector in the terminal.

Here: asking it over HTTP, turning figures into rates, the screen (textual).
Not here: the figures (pages.py). Thread: the loop's.
Invariant: watching costs the collector one small request a second and nothing else; without an
answer the screen says so and keeps asking.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections import deque
from typing import Any, ClassVar, NamedTuple

from .config import Config
from .values import Address

PATIENCE = 2.0


class Rates(NamedTuple):
    """Two looks at a collector, as what happened in between."""

    received: float
    stored: float
    commit_ms: float


async def ask(address: Address, target: str) -> dict[str, Any]:
    """GET a JSON document from a collector."""
    async with asyncio.timeout(PATIENCE):
        reader, writer = await asyncio.open_connection(address.host, address.port)
        try:
            writer.write(f"GET {target} HTTP/1.1\r\nHost: {address}\r\n\r\n".encode())
            answer = await reader.read()
        finally:
            writer.close()
    head, _, body = answer.partition(b"\r\n\r\n")
    if b" 200 " not in head.split(b"\r\n", 1)[0]:
        raise OSError("the collector answers with an error")
    document: dict[str, Any] = json.loads(body)
    return document


def rates(before: dict[str, Any], after: dict[str, Any], seconds: float) -> Rates:
    """What happened between two documents of /stats.json."""
    old, new = before["counters"], after["counters"]
    commits = after["commit"]["count"] - before["commit"]["count"]
    spent = after["commit"]["total"] - before["commit"]["total"]
    return Rates(
        (new["received_lines"] - old["received_lines"]) / seconds,
        (new["stored_lines"] - old["stored_lines"]) / seconds,
        1000 * spent / commits if commits else 0.0,
    )


def summary(document: dict[str, Any], now: Rates) -> list[tuple[str, str]]:
    """The rows of the screen."""
    gauges, counters, limits = document["gauges"], document["counters"], document["limits"]
    return [
        ("received", f"{now.received:,.0f} lines/s"),
        ("stored", f"{now.stored:,.0f} lines/s"),
        ("queue", f"{gauges['queued_lines']:,.0f} of {limits['queue_lines']:,} lines"),
        ("memory of it", f"{gauges['queued_bytes'] / 2**20:,.1f} MiB"),
        ("oldest line", f"{gauges['oldest_seconds']:.2f} s"),
        ("commit, mean", f"{now.commit_ms:.1f} ms"),
        ("commit, p99", f"under {document['commit']['p99'] * 1000:,.0f} ms"),
        (
            "connections",
            f"{gauges['connections']:,.0f} ({gauges['paused_connections']:,.0f} paused)",
        ),
        ("spool", f"{gauges.get('spool_lines', 0):,.0f} lines"),
        ("stored in all", f"{counters['stored_lines']:,}"),
        ("dead letters", f"{counters['dead_lines']:,}"),
        ("retries", f"{counters['retries']:,}"),
    ]


def application(address: Address) -> Any:
    """The screen; needs textual."""
    from textual.app import App, ComposeResult
    from textual.binding import Binding
    from textual.containers import Horizontal
    from textual.widgets import DataTable, Footer, Header, Input, Sparkline, Static

    class Watch(App[None]):
        """Figures on the left, recent lines on the right."""

        TITLE = "logcollector"
        CSS = """
        #figures { width: 44; }
        #recent { width: 1fr; padding: 0 1; }
        Sparkline { height: 4; margin: 1 2 0 2; }
        #state { padding: 0 2; }
        """
        BINDINGS: ClassVar[list[Binding | tuple[str, str] | tuple[str, str, str]]] = [
            Binding("ctrl+q", "quit", "Quit"),
        ]

        def __init__(self) -> None:
            super().__init__()
            self.before: tuple[float, dict[str, Any]] | None = None
            self.history: deque[float] = deque([0.0], maxlen=120)

        def compose(self) -> ComposeResult:
            yield Header()
            yield Static("connecting", id="state", markup=False)
            yield Sparkline([], id="history")
            yield Input(placeholder="show only lines with this text", id="search")
            with Horizontal():
                yield DataTable(id="figures", show_cursor=False, show_header=False)
                yield Static("", id="recent", markup=False)
            yield Footer()

        async def on_mount(self) -> None:
            self.query_one(DataTable).add_columns("figure", "value")
            self.set_interval(1.0, self.look)
            await self.look()

        async def look(self) -> None:
            """Ask, and show the answer."""
            state = self.query_one("#state", Static)
            try:
                document = await ask(address, "/stats.json")
                found = await ask(address, f"/recent.json?limit=50&q={self.wanted()}")
            except (OSError, TimeoutError, ValueError) as error:
                state.update(f"no answer from {address}: {error}")
                return
            now = time.monotonic()
            seconds = now - self.before[0] if self.before else 1.0
            change = rates(self.before[1] if self.before else document, document, seconds)
            self.before = (now, document)
            self.history.append(change.stored)
            troubles = document["troubles"]
            state.update(f"{document['sink']}: {troubles[0] if troubles else 'all is well'}")
            self.query_one(Sparkline).data = list(self.history)
            table = self.query_one(DataTable)
            table.clear()
            table.add_rows(summary(document, change))
            lines = [f"{entry['peer']} {entry['line']}" for entry in found_lines(found)]
            self.query_one("#recent", Static).update("\n".join(lines))

        def wanted(self) -> str:
            """The search text, as part of an address."""
            from urllib.parse import quote

            return quote(self.query_one(Input).value)

    return Watch()


def found_lines(document: Any) -> list[dict[str, Any]]:
    """The lines of /recent.json, without control characters."""
    return [
        {
            **entry,
            "line": "".join(c if c.isprintable() else "\N{MIDDLE DOT}" for c in entry["line"]),
        }
        for entry in document
    ]


def main(config: Config) -> int:
    """Watch until the user has seen enough."""
    if config.http is None:
        print("logcollector: http: --watch needs the address of the collector", file=sys.stderr)
        return 2
    try:
        app = application(config.http)
    except ImportError as error:
        print(f"logcollector: {error}: pip install 'logcollector[watch]'", file=sys.stderr)
        return 2
    from . import loops

    loops.run(app.run_async(), config.loop)
    return 0
