"""What the collector shows of itself over HTTP: page, figures, recent lines, health, metrics.

Here: a server of five addresses, one request per connection.
Not here: the figures' sources (service.py), the page's text (web/page.html).
Thread: the loop's.
Invariant: a request costs a bounded amount of memory and time; nothing here changes anything; what
senders wrote leaves as JSON only.
"""

from __future__ import annotations

import asyncio
import json
from importlib import resources
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import parse_qs, urlsplit

if TYPE_CHECKING:
    from .service import Service

MOST_CONNECTIONS = 64
PATIENCE = 10.0
LONGEST_HEAD = 16 * 1024
MOST_LINES = 500
POLICY = (
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; connect-src 'self'"
)


class Answer(NamedTuple):
    """A response."""

    status: str
    kind: str
    body: bytes


class Pages:
    """The HTTP server."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._server: asyncio.Server | None = None
        self._connections = 0
        self._page = (resources.files(__package__) / "web" / "page.html").read_bytes()

    @property
    def port(self) -> int:
        """The port it listens on."""
        assert self._server is not None
        return int(self._server.sockets[0].getsockname()[1])

    async def open(self) -> None:
        """Listen."""
        address = self._service.config.http
        assert address is not None
        self._server = await asyncio.start_server(
            self._serve, address.host, address.port, limit=LONGEST_HEAD
        )

    async def close(self) -> None:
        """Stop listening."""
        if self._server is not None:
            self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._connections += 1
        try:
            if self._connections <= MOST_CONNECTIONS:
                async with asyncio.timeout(PATIENCE):
                    head = await reader.readuntil(b"\r\n\r\n")
                    writer.write(respond(self._answer(head), head.startswith(b"HEAD ")))
                    await writer.drain()
        except (TimeoutError, OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass  # its request was no request; closing is the answer
        finally:
            self._connections -= 1
            writer.close()

    def _answer(self, head: bytes) -> Answer:
        try:
            method, target, _ = head.split(b"\r\n", 1)[0].decode("ascii").split(" ")
            parts = urlsplit(target)
            query = parse_qs(parts.query)
        except ValueError:
            return Answer("400 Bad Request", "text/plain", b"bad request\n")
        if method not in ("GET", "HEAD"):
            return Answer("405 Method Not Allowed", "text/plain", b"only GET\n")
        if parts.path == "/":
            return Answer("200 OK", "text/html; charset=utf-8", self._page)
        if parts.path == "/metrics":
            figures = self._service.metrics.exposition().encode()
            return Answer("200 OK", "text/plain; version=0.0.4; charset=utf-8", figures)
        if parts.path == "/healthz":
            troubles = self._service.troubles
            status = "503 Service Unavailable" if troubles else "200 OK"
            return as_json({"ok": not troubles, "troubles": troubles}, status)
        if parts.path == "/stats.json":
            return as_json(statistics(self._service))
        if parts.path == "/recent.json":
            text = query.get("q", [""])[0]
            try:
                limit = min(int(query.get("limit", ["100"])[0]), MOST_LINES)
            except ValueError:
                return Answer("400 Bad Request", "text/plain", b"limit: expected a number\n")
            return as_json(self._service.recent.search(text, limit))
        return Answer("404 Not Found", "text/plain", b"not found\n")


def statistics(service: Service) -> dict[str, object]:
    """What the page and the terminal view show."""
    commit = service.metrics.commit_seconds
    return {
        "counters": service.metrics.counters(),
        "gauges": service.metrics.gauges(),
        "commit": {
            "count": commit.count,
            "total": commit.total,
            "p50": commit.quantile(0.5),
            "p99": commit.quantile(0.99),
        },
        "troubles": service.troubles,
        "limits": {
            "queue_lines": service.config.queue_lines,
            "queue_bytes": service.config.queue_bytes,
            "connections": service.config.max_connections,
        },
        "sink": str(service.config.sink),
        "ack": service.config.ack,
    }


def as_json(value: object, status: str = "200 OK") -> Answer:
    """A JSON response."""
    return Answer(status, "application/json", json.dumps(value).encode())


def respond(answer: Answer, head_only: bool) -> bytes:
    """The bytes of a response."""
    head = (
        f"HTTP/1.1 {answer.status}\r\nContent-Type: {answer.kind}\r\n"
        f"Content-Length: {len(answer.body)}\r\nCache-Control: no-store\r\n"
        f"Content-Security-Policy: {POLICY}\r\nX-Content-Type-Options: nosniff\r\n"
        "Connection: close\r\n\r\n"
    ).encode()
    return head if head_only else head + answer.body
