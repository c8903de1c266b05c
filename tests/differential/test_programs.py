"""Programs of the first seeds tell the same on asyncio and on rulip.

Here: a few programs of each way, the same ones each time; what shrinking does. Not here: programs
and how they run (grammar.py, steps/, interpreter.py), many of them (volume.py, `make fuzz`).
Runs in the main thread.
Invariant: the traces are equal: event by event, with results, exceptions, warnings and reports.
"""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Iterator
from typing import Any

import pytest

import rulip

from . import streams
from .grammar import KINDS, program
from .shrinking import shrunk, smaller_ones
from .ways import WAYS, differs, traces

PROGRAMS = 60


@pytest.fixture
def collected_by_hand() -> Iterator[None]:
    """A collection strikes where the interpreter says, not somewhere in a trace."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()
    gc.collect()


@pytest.mark.usefixtures("collected_by_hand")
@pytest.mark.timeout(240)
@pytest.mark.parametrize("way", WAYS)
def test_the_same_trace(way: str) -> None:
    first = 1000 * list(WAYS).index(way)
    for seed in range(first, first + PROGRAMS):
        ours, stocks = traces(program(seed), way)
        assert ours == stocks, f"seed {seed}"


@pytest.mark.usefixtures("collected_by_hand")
@pytest.mark.parametrize("made_before", [asyncio.Task, rulip.Task], ids=["asyncio", "rulip"])
def test_the_end_does_not_hang_on_generated_names(made_before: Any) -> None:
    """Two counters name the tasks of a mixed program: either may be ahead."""

    async def count_up() -> None:
        loop = asyncio.get_running_loop()
        await asyncio.wait([made_before(asyncio.sleep(0), loop=loop) for _ in range(5000)])

    asyncio.run(count_up())
    waits = [[("await_future", 0)], [("read_until_any", (b"\x00", b"\n;"))]]
    fails = [("ask_future", 0, "exception")]
    made: Any = [[("is_locked", 0)]] * 3 + [[("gather", False, [fails, *waits])]]
    ours, stocks = traces(made, "mixed")
    assert ours == stocks


def test_a_seed_makes_one_program() -> None:
    assert [program(seed) for seed in range(50)] == [program(seed) for seed in range(50)]


def test_programs_have_every_kind_of_step() -> None:
    text = repr([program(seed) for seed in range(2000)])
    assert [name for name in KINDS if f"('{name}'" not in text] == []


def test_shrinking_finds_the_smallest() -> None:
    large = next(
        made for made in map(program, range(100)) if len(repr(made)) > 300 and "sleep" in repr(made)
    )
    small = shrunk(large, lambda smaller: "('sleep'" in repr(smaller))
    assert small == [[("sleep", 0)]]
    assert not any("sleep" in repr(smaller) for smaller in smaller_ones(small) if smaller)


def test_streams() -> None:
    assert [seed for seed in range(60) if streams.differs(seed)] == []


@pytest.mark.usefixtures("collected_by_hand")
def test_a_difference_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    from . import ways

    ours, names, stocks = WAYS["rulip"]
    monkeypatch.setitem(ways.WAYS, "rulip", (ways.in_debug_mode(ours), names, stocks))
    assert differs([[("settle", 0, "exception"), ("renew_future", 0)]], "rulip")
