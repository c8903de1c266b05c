"""Runs a module's unittest tests, one JSON line per test, as ecosystem_report.py does for pytest.

    python -m ecosystem_unittest MODULE [TEST ...]

Lives here: the writing, for suites that must be run by their own runner.
Does not live here: the judging (judging.py). Thread: the main one.
Invariant: a test has one line, written when it is over, with the worst that was said of it. What a
test itself runs, as those of testing tools do, has none.
"""

import functools
import json
import os
import runpy
import sys
import unittest

SAID = {
    "addSuccess": "passed",
    "addSkip": "skipped",
    "addExpectedFailure": "xfailed",
    "addUnexpectedSuccess": "failed",
    "addFailure": "failed",
    "addError": "failed",
}
WORSE = ("passed", "skipped", "xfailed", "failed")

_running: dict[str, tuple[str, str]] = {}
_listened_to: list[unittest.TestResult] = []  # the first one, once there is one


def _note(result: unittest.TestResult, test: unittest.TestCase, outcome: str, text: str) -> None:
    name = test.id()
    if _listened_to != [result]:
        return
    if name not in _running:  # a class or a module could not be set up
        _write(name, outcome, text)
    elif WORSE.index(outcome) >= WORSE.index(_running[name][0]):
        _running[name] = (outcome, text)


def _write(name: str, outcome: str, text: str) -> None:
    with open(os.environ["ECOSYSTEM_OUTCOMES"], "a") as file:
        file.write(json.dumps({"test": name, "outcome": outcome, "text": text}) + "\n")


def _listen(method: str, outcome: str) -> None:
    said = getattr(unittest.TestResult, method)

    @functools.wraps(said)
    def listening(self, test, *args):
        said(self, test, *args)
        failed = method in ("addFailure", "addError")
        text = self._exc_info_to_string(args[0], test)[-2000:] if failed else ""
        _note(self, test, outcome, text)

    setattr(unittest.TestResult, method, listening)


def _listen_to_all() -> None:
    for method, outcome in SAID.items():
        _listen(method, outcome)
    result = unittest.TestResult
    start, stop, subtest = result.startTest, result.stopTest, result.addSubTest

    def start_test(self, test):
        if not _listened_to:
            _listened_to.append(self)
        if _listened_to == [self]:
            _running[test.id()] = ("passed", "")
        start(self, test)

    def stop_test(self, test):
        stop(self, test)
        if _listened_to == [self]:
            _write(test.id(), *_running.pop(test.id()))

    def add_subtest(self, test, sub, error):
        subtest(self, test, sub, error)
        if error is not None:
            _note(self, test, "failed", self._exc_info_to_string(error, test)[-2000:])

    result.startTest, result.stopTest, result.addSubTest = start_test, stop_test, add_subtest


if __name__ == "__main__":
    _listen_to_all()
    module = sys.argv.pop(1)
    runpy.run_module(module, run_name="__main__", alter_sys=True)
