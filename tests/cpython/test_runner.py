"""The runner tells passes, failures, hangs and crashes apart, and judges them by its lists.

Here: black-box runs of run.py on stand-in modules. Not here: the conformance of rulip itself.
Thread: main; the runs are subprocesses. Invariant: no stand-in run lasts longer than its limits.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import os
import pathlib
import subprocess
import sys

import pytest

HERE = pathlib.Path(__file__).resolve().parent
OUTCOMES = {  # of the broken stand-in
    "test_queues.QueueBasicTests.test_full": "hung",
    "test_queues.QueueBasicTests.test_maxsize": "failed",
    "test_queues.QueueBasicTests.test_order": "crashed",
    "test_queues.QueueJoinTests.test_task_done_underflow": "passed",
    "test_queues.QueuePutTests.test_nonblocking_put_exception": "error",
}
FAILED = "test_queues.QueueBasicTests.test_maxsize"
ERROR = "test_queues.QueuePutTests.test_nonblocking_put_exception"
PASSED = "test_queues.QueueJoinTests.test_task_done_underflow"

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("test.test_asyncio") is None,
    reason="this interpreter comes without CPython's test suite",
)


@dataclasses.dataclass
class Run:
    status: int
    output: str
    outcomes: dict[str, str]


@pytest.fixture
def runner(tmp_path: pathlib.Path):
    def run(standin: str, *select: str, install: bool = True, expected="", floors="") -> Run:
        (tmp_path / "expected.toml").write_text(expected)
        (tmp_path / "floors.toml").write_text(floors)
        command = [sys.executable, str(HERE / "run.py"), "--loop", standin, "--timeout", "3"]
        command += ["--expected", str(tmp_path / "expected.toml")]
        command += ["--floors", str(tmp_path / "floors.toml")]
        command += ["--json", str(tmp_path / "out.json")]
        command += ["--install"] if install else []
        command += ["--select", *select] if select else []
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            timeout=50,
            check=False,
            env={**os.environ, "PYTHONPATH": str(HERE / "standins")},
        )
        tests = json.loads((tmp_path / "out.json").read_text())["tests"]
        outcomes = {t["id"]: t["outcome"] for t in tests}
        return Run(done.returncode, done.stdout + done.stderr, outcomes)

    return run


def listed(test_id: str, reason: str = "not native yet") -> str:
    return f'[[standin_broken]]\nreason = "{reason}"\ntests = ["{test_id}"]\n'


@pytest.mark.parametrize("install", [False, True], ids=["loop", "install"])
@pytest.mark.parametrize("standin", ["standin_ok", "standin_derived"])
def test_a_working_module_passes(runner, standin: str, install: bool) -> None:
    run = runner(standin, "test_queues.QueueGetTests", "test_timeouts", install=install)
    assert run.status == 0, run.output
    assert set(run.outcomes.values()) == {"passed"}
    assert len(run.outcomes) > 20
    assert " 0 of them without making a loop" in run.output


def test_failures_hangs_and_crashes_are_told_apart(runner) -> None:
    run = runner("standin_broken", *OUTCOMES)
    assert run.outcomes == OUTCOMES
    assert run.status == 1
    for test_id, outcome in OUTCOMES.items():
        assert (f"{outcome.upper():8} {test_id}" in run.output) is (outcome != "passed")
    assert "killed by SIGSEGV" in run.output
    assert "no progress in 3 s" in run.output


def test_without_install_the_broken_classes_are_not_used(runner) -> None:
    run = runner("standin_broken", *OUTCOMES, install=False)
    assert run.status == 0, run.output


def test_a_listed_failure_is_allowed(runner) -> None:
    expected = listed(FAILED) + listed(ERROR)
    run = runner("standin_broken", FAILED, ERROR, PASSED, expected=expected)
    assert run.status == 0, run.output
    assert "1 passed" in run.output
    assert "2 known failures" in run.output


def test_a_listed_test_that_passes_must_leave_the_list(runner) -> None:
    run = runner("standin_broken", PASSED, expected=listed(PASSED))
    assert run.status == 1
    assert f"LISTED   {PASSED}: now passed; remove it" in run.output


@pytest.mark.parametrize("outcome", ["crashed", "hung"])
def test_crashes_and_hangs_cannot_be_listed(runner, outcome: str) -> None:
    victim = next(test_id for test_id, what in OUTCOMES.items() if what == outcome)
    run = runner("standin_broken", victim, PASSED, expected=listed(victim))
    assert run.status == 1
    assert f"{outcome.upper():8} {victim}" in run.output


def test_entries_are_for_the_versions_they_name(runner) -> None:
    expected = listed(FAILED) + 'python = ["3.0", "3.1"]\n'
    run = runner("standin_broken", FAILED, PASSED, expected=expected)
    assert run.status == 1
    assert f"FAILED   {FAILED}" in run.output


def test_a_select_that_matches_nothing_is_not_a_pass(runner) -> None:
    run = runner("standin_ok", "test_queues.NoSuchTests")
    assert run.status == 1
    assert "no test passed" in run.output


@pytest.fixture(scope="module")
def verdict():
    """The judge itself, for what a whole suite's run would take too long to show."""
    sys.path.insert(0, str(HERE))
    try:
        import verdict
    finally:
        sys.path.remove(str(HERE))
    return verdict


def test_the_floor_holds_for_whole_runs_only(verdict) -> None:
    from outcomes import Options, Record  # beside verdict.py

    results = {"test_x": [Record("test_x.A.test_a", "passed")]}
    for floor, select, wrong in ((1, (), 0), (2, (), 1), (2, ("test_x",), 0), (None, (), 0)):
        opts = Options(python="python", loop="rulip", select=select)
        found = verdict.judge(results, verdict.Expectations({}, floor), opts)
        assert len(found) == wrong, found
        assert all(line.startswith("FLOOR") for line in found)


def test_an_entry_without_a_reason_is_refused(verdict, tmp_path: pathlib.Path) -> None:
    (tmp_path / "expected.toml").write_text(listed(FAILED, reason=""))
    (tmp_path / "floors.toml").write_text("")
    with pytest.raises(ValueError, match="without a reason"):
        verdict.expectations(
            "standin_broken", "3.13.0", tmp_path / "expected.toml", tmp_path / "floors.toml"
        )


def test_the_lists_of_the_project_are_read(verdict) -> None:
    for version in ("3.11.7", "3.12.1", "3.13.0"):
        expected = verdict.expectations(
            "rulip:new_event_loop", version, HERE / "expected.toml", HERE / "floors.toml"
        )
        assert expected.floor is not None, f"floors.toml has no number for {version}"
        assert not [test_id for test_id in expected.failing if "*" in test_id]
