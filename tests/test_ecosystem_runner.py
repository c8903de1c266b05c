"""The runner of other projects' suites: what it takes for good, and what not.

Here: tests/ecosystem's judging, on outcomes made by hand. Not here: the suites themselves, which
`make test-ecosystem` downloads.
Thread: pytest's main one. Invariant: nothing is downloaded, nothing is run.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ECOSYSTEM = Path(__file__).parent / "ecosystem"


@pytest.fixture
def runner(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The modules of tests/ecosystem, which is a folder of programs and no package."""
    monkeypatch.syspath_prepend(str(ECOSYSTEM))
    import judging
    import suites

    class Runner:
        load = staticmethod(suites.load)
        judge = staticmethod(judging.judge)
        row = staticmethod(judging.row)
        read_outcomes = staticmethod(judging.read_outcomes)

    yield Runner
    for name in ("suites", "judging"):
        sys.modules.pop(name, None)


def write_suite(folder: Path, *rows: str) -> Path:
    path = folder / "suites.toml"
    path.write_text('[s]\nsource = "s==1"\npassed = 2\n' + "\n".join(rows))
    return path


def test_the_list_can_be_read_and_every_exception_has_a_reason(runner):
    suites = runner.load()
    assert {"aiohttp", "uvicorn", "anyio", "httpx", "websockets", "smoke"} <= suites.keys()
    for suite in suites.values():
        assert suite.requires
        assert all(one.reason for one in (*suite.left_out, *suite.may_fail))


def test_an_exception_without_a_reason_is_refused(runner, tmp_path):
    path = write_suite(tmp_path, "[[s.may_fail]]", 'test = "a"', 'reason = ""')
    with pytest.raises(ValueError, match="a reason is required"):
        runner.load(path)


def test_a_failure_needs_a_reason_for_this_loop(runner, tmp_path):
    rows = ["[[s.may_fail]]", 'test = "t::known[x]"', 'reason = "r"', 'loops = ["rulip"]']
    suite = runner.load(write_suite(tmp_path, *rows))["s"]
    outcomes = {"t::a": ("passed", ""), "t::known[x]": ("failed", "text")}
    good = runner.judge(suite, "rulip", outcomes, b"rrs")
    assert good.is_good
    assert list(good.excused) == ["t::known[x]"]
    assert runner.row(good).split() == ["s", "rulip", "1", "0", "1", "0", "0", "2", "2+1", "0"]
    bad = runner.judge(suite, "install", outcomes, b"rr")
    assert not bad.is_good
    assert bad.failed == {"t::known[x]": "text"}


@pytest.mark.parametrize(("loop", "loops"), [("rulip", b"ss"), ("install", b""), ("asyncio", b"r")])
def test_a_run_on_another_loop_says_nothing(runner, tmp_path, loop, loops):
    suite = runner.load(write_suite(tmp_path))["s"]
    verdict = runner.judge(suite, loop, {"t::a": ("passed", "")}, loops)
    assert verdict.is_vacuous
    assert not verdict.is_good


def test_a_run_of_nothing_is_not_good(runner, tmp_path):
    suite = runner.load(write_suite(tmp_path))["s"]
    assert runner.read_outcomes(tmp_path / "missing") == {}
    assert not runner.judge(suite, "rulip", {}, b"r").is_good
