"""The pages as bytes over HTTP; how they look is tested in a browser (servers/test_page.py)."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from collecting import Run, collecting
from logcollector.service import Service
from peers import Peer, until

Settings = dict[str, object]


async def request(service: Service, data: bytes) -> tuple[int, bytes, bytes]:
    assert service.pages is not None
    reader, writer = await asyncio.open_connection("127.0.0.1", service.pages.port)
    writer.write(data)
    answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    head, _, body = answer.partition(b"\r\n\r\n")
    return (int(head.split()[1]) if head else 0), head, body


async def get(service: Service, target: str) -> tuple[int, Any]:
    status, head, body = await request(service, f"GET {target} HTTP/1.1\r\n\r\n".encode())
    return status, json.loads(body) if b"application/json" in head else body


def test_figures_lines_and_metrics(run: Run, settings: Settings) -> None:
    async def main() -> None:
        async with collecting(settings) as service, Peer(service) as peer:
            peer.send(b"hello <b>\nother \xff\nHELLO again\n")
            await peer.answers(3)
            status, figures = await get(service, "/stats.json")
            assert status == 200
            assert figures["counters"]["stored_lines"] == 3
            assert figures["gauges"]["connections"] == 1
            status, found = await get(service, "/recent.json?q=hello")
            assert [entry["line"] for entry in found] == ["HELLO again", "hello <b>"]
            status, found = await get(service, "/recent.json?q=%EF%BF%BD&limit=1")
            assert [entry["line"] for entry in found] == ["other \ufffd"]
            status, text = await get(service, "/metrics")
            assert b"\nlogcollector_acknowledged_lines_total 3\n" in text
            assert b'logcollector_commit_seconds_bucket{le="+Inf"} ' in text
            status, page = await get(service, "/")
            assert page.startswith(b"<!doctype html>")
            await until(lambda: not service.troubles)
            assert await get(service, "/healthz") == (200, {"ok": True, "troubles": []})

    run(main())


def test_health_names_the_trouble(run: Run, settings: Settings) -> None:
    async def main() -> None:
        settings["sink"] = "sqlite:/nonexistent/folder/lines.db"
        async with collecting(settings, drain="10ms") as service:
            await until(lambda: "unable to open" in " ".join(service.troubles))
            status, answer = await get(service, "/healthz")
            assert status == 503
            assert answer == {"ok": False, "troubles": ["unable to open database file"]}

    run(main())


def test_what_is_no_request(run: Run, settings: Settings) -> None:
    async def main() -> None:
        async with collecting(settings) as service:
            assert (await get(service, "/nowhere"))[0] == 404
            assert (await get(service, "/recent.json?limit=x"))[0] == 400
            assert (await request(service, b"POST / HTTP/1.1\r\n\r\n"))[0] == 405
            assert (await request(service, b"nonsense\r\n\r\n"))[0] == 400
            assert (await request(service, b"x" * 100_000))[0] == 0
            status, head, body = await request(service, b"HEAD / HTTP/1.1\r\n\r\n")
            assert status == 200
            assert body == b""
            assert b"Content-Security-Policy" in head

    run(main())


def test_recent_lines_are_bounded(run: Run, settings: Settings) -> None:
    async def main() -> None:
        async with collecting(settings, recent_bytes=5000) as service, Peer(service) as peer:
            for number in range(100):
                peer.send(b"%d %s\n" % (number, b"x" * 100))
                await peer.answers(1)
            found = service.recent.search("", 1000)
            assert 3 <= len(found) <= 10
            assert found[0]["line"].startswith("99 ")

    run(main())
