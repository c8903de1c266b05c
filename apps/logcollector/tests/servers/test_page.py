"""The page in a real browser without a screen."""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from collector_processes import Collector, MissingProgramError, program, running

if TYPE_CHECKING:
    from playwright.sync_api import Page

SECONDS = 20_000  # milliseconds, as the browser counts


@pytest.fixture(scope="module")
def page() -> Iterator[Page]:
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    try:
        chromium = program("chromium", "chromium-browser", "google-chrome")
    except MissingProgramError as error:
        pytest.skip(f"{error}: apt-get install chromium")
    with playwright.sync_playwright() as driver:
        arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
        browser = driver.chromium.launch(executable_path=chromium, args=arguments)
        yield browser.new_page()
        browser.close()


@pytest.mark.timeout(180)
def test_a_person_sees_figures_and_searches_lines(page: Page, tmp_path: Path) -> None:
    from playwright.sync_api import expect

    expect.set_options(timeout=SECONDS)
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on(
        "console", lambda message: errors.append(message.text) if message.type == "error" else None
    )
    server = Collector(tmp_path / "collector", f"sqlite:{tmp_path}/lines.db", loop="rulip")
    with running(server):
        with socket.create_connection(("127.0.0.1", server.port), 10) as peer:
            peer.sendall(b"first line\n<script>document.title='taken'</script>\nneedle in hay\n")
            with peer.makefile("rb") as answers:
                assert [answers.readline() for _ in range(3)] == [b"ok\n"] * 3
        page.goto(f"http://127.0.0.1:{server.http}/")
        expect(page.locator("#state")).to_have_text("all is well")
        expect(page.locator("#total")).to_have_text("3")
        expect(page.locator("#stored")).to_have_text("0")
        expect(page.locator("#lines tr")).to_have_count(3)
        # What senders write is shown, not run.
        expect(page.locator("#lines")).to_contain_text("<script>document.title")
        expect(page).to_have_title("logcollector")
        page.locator("#search").fill("NEEDLE")
        expect(page.locator("#lines tr")).to_have_count(1)
        expect(page.locator("#lines td").last).to_have_text("needle in hay")
        page.locator("#search").fill("not there")
        expect(page.locator("#lines tr")).to_have_count(0)
        with socket.create_connection(("127.0.0.1", server.port), 10) as peer:
            peer.sendall(b"now it is not there\n" * 20)
            expect(page.locator("#lines tr")).to_have_count(20)
        expect(page.locator("#total")).to_have_text("23")
        assert errors == []
    expect(page.locator("#state")).to_have_text("the collector does not answer")
    expect(page.locator("#state")).to_have_class(re.compile("bad"))
