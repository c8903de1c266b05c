"""The terminal view, driven without a terminal, on both loops."""

from __future__ import annotations

from typing import Any

import pytest

from collecting import Run, collecting
from logcollector.values import Address
from logcollector.watch import application, ask, found_lines, rates, summary
from peers import Peer, until

Settings = dict[str, object]


def test_the_screen_follows_a_collector(run: Run, settings: Settings) -> None:
    textual = pytest.importorskip("textual.widgets", reason="textual is not installed")

    async def main() -> None:
        async with collecting(settings) as service, Peer(service) as peer:
            assert service.pages is not None
            peer.send(b"hello [b]there[/b] \x1b[31m\n")
            await peer.answers(1)
            app: Any = application(Address("127.0.0.1", service.pages.port))
            async with app.run_test(size=(120, 40)) as pilot:
                table = app.query_one(textual.DataTable)
                await until(lambda: table.row_count)
                rows = dict(table.get_row_at(n) for n in range(table.row_count))
                assert rows["stored in all"] == "1"
                assert rows["queue"] == "0 of 200,000 lines"
                shown = app.query_one("#recent", textual.Static)
                text = str(shown.content)
                assert text == "127.0.0.1 hello [b]there[/b] \N{MIDDLE DOT}[31m"
                app.query_one("#search", textual.Input).value = "nothing like it"
                await app.look()
                assert str(shown.content) == ""
                await pilot.pause()

    run(main())


def test_without_a_collector_it_says_so(run: Run) -> None:
    textual = pytest.importorskip("textual.widgets", reason="textual is not installed")

    async def main() -> None:
        app: Any = application(Address("127.0.0.1", 1))
        async with app.run_test() as pilot:
            state = app.query_one("#state", textual.Static)
            await until(lambda: "no answer from 127.0.0.1:1" in str(state.content))
            await pilot.pause()

    run(main())


def test_rates_are_differences(run: Run, settings: Settings) -> None:
    async def main() -> None:
        async with collecting(settings) as service, Peer(service) as peer:
            assert service.pages is not None
            address = Address("127.0.0.1", service.pages.port)
            before = await ask(address, "/stats.json")
            peer.send(b"a\nb\nc\nd\n")
            await peer.answers(4)
            after = await ask(address, "/stats.json")
            change = rates(before, after, 2.0)
            assert change.received == change.stored == 2.0
            assert change.commit_ms > 0
            assert dict(summary(after, change))["stored"] == "2 lines/s"
            with pytest.raises(OSError, match="error"):
                await ask(address, "/nowhere")

    run(main())


def test_control_characters_do_not_reach_the_terminal() -> None:
    assert found_lines([{"line": "a\x1b\x07\tb"}])[0]["line"] == "a\u00b7\u00b7\u00b7b"
