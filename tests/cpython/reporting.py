"""The worker's side of a run: runs one unittest module and reports each test as it goes.

Here: from the brief of the parent to a file of JSON events, one per line. Not here: what makes the
tests use another loop (worker.py), reading the events (guard.py).
Thread: the worker's main thread. Invariant: an event is on disk before the next test starts, so a
crash or a hang can be pinned on the test in progress.
"""

from __future__ import annotations

import ctypes
import json
import os
import pathlib
import signal
import sys
import time
import traceback
import unittest
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Any

from outcomes import BAD, DETAIL_CHARS
from rules import Rules, matches

PR_SET_PDEATHSIG = 1
ExcInfo = tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None]


class StreamingResult(unittest.TestResult):
    """Sends one event when a test starts and one when it ends."""

    def __init__(
        self, emit: Callable[..., None], short: Callable[[str], str], loops: Callable[[], int]
    ) -> None:
        super().__init__()
        self._emit, self._short, self._loops = emit, short, loops
        self._outcome, self._detail = "passed", ""
        self._began, self._loops_before = time.monotonic(), 0

    def startTest(self, test: unittest.TestCase) -> None:
        super().startTest(test)
        self._outcome, self._detail = "passed", ""
        self._began, self._loops_before = time.monotonic(), self._loops()
        support: Any = sys.modules.get("test.support")
        if support is not None:
            support.environment_altered = False
        self._emit("start", id=self._short(test.id()))

    def stopTest(self, test: unittest.TestCase) -> None:
        super().stopTest(test)
        support = sys.modules.get("test.support")
        self._emit(
            "end",
            id=self._short(test.id()),
            outcome=self._outcome,
            detail=self._detail[-DETAIL_CHARS:],
            seconds=round(time.monotonic() - self._began, 3),
            loops=self._loops() - self._loops_before,
            leaked=bool(getattr(support, "environment_altered", False)),
        )
        self._outcome, self._detail = "passed", ""  # 3.12.1 skips without startTest()

    def _bad(self, test: Any, outcome: str, err: ExcInfo) -> None:
        text = "".join(traceback.format_exception(*err))
        if isinstance(test, unittest.TestCase):
            if self._outcome not in BAD or outcome == "error":
                self._outcome = outcome
            self._detail += text
        else:  # unittest's stand-in for a class or module fixture that broke
            self._emit("broken", id=test.id(), detail=text[-DETAIL_CHARS:])

    def addError(self, test: unittest.TestCase, err: ExcInfo) -> None:
        self._bad(test, "error", err)

    def addFailure(self, test: unittest.TestCase, err: ExcInfo) -> None:
        self._bad(test, "failed", err)

    def addSubTest(
        self, test: unittest.TestCase, subtest: unittest.TestCase, err: ExcInfo | None
    ) -> None:
        if err is not None and err[0] is not None:
            failed = issubclass(err[0], test.failureException)
            self._bad(test, "failed" if failed else "error", err)

    def addSkip(self, test: Any, reason: str) -> None:
        if not isinstance(test, unittest.TestCase):
            self._emit("broken", id=test.id(), detail=f"skipped: {reason}", skip=True)
        elif self._outcome == "passed":
            self._outcome, self._detail = "skipped", reason

    def addUnexpectedSuccess(self, test: unittest.TestCase) -> None:
        self._outcome, self._detail = "failed", "unexpected success"


def iter_tests(suite: unittest.TestSuite) -> Iterator[unittest.TestCase]:
    for item in suite:
        if isinstance(item, unittest.TestSuite):
            yield from iter_tests(item)
        else:
            yield item


def serve(
    brief: dict[str, Any],
    rules_path: pathlib.Path,
    load: Callable[[], Any],
    *,
    prefix: str,
    loops: Callable[[], int],
) -> None:
    """Run one test module, as the brief says."""
    if sys.platform == "linux":  # do not outlive the parent
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    out = open(brief["events"], "a", encoding="utf-8")
    owner = os.getpid()

    def emit(kind: str, **fields: Any) -> None:
        if os.getpid() == owner:  # forked children must not report
            out.write(json.dumps({"ev": kind, **fields}) + "\n")
            out.flush()

    def short(test_id: str) -> str:
        return test_id.removeprefix(prefix)

    def nothing_to_do(reason: str) -> None:
        emit("plan", tests=[])
        emit("na", id=f"{brief['module']}.*", reason=reason)
        emit("done")

    rules = Rules(rules_path, install=brief["install"])
    try:
        module = load()
    except unittest.SkipTest as exc:
        nothing_to_do(f"module skips itself here: {exc}")
        return
    except BaseException:
        whole_module = rules.reason(brief["module"])
        if whole_module is not None:
            nothing_to_do(whole_module)
            return
        emit("broken", id=f"import {brief['module']}", detail=traceback.format_exc())
        raise
    done, only, select = set(brief["done"]), set(brief["only"]), brief["select"]
    chosen: list[unittest.TestCase] = []
    for test in iter_tests(unittest.defaultTestLoader.loadTestsFromModule(module)):
        name = short(test.id())
        if name in done or (only and name not in only) or (select and not matches(name, select)):
            continue
        reason = None if brief["run_na"] else rules.reason(name)
        if reason is None:
            chosen.append(test)
        else:
            emit("na", id=name, reason=reason)
    emit("plan", tests=[short(test.id()) for test in chosen])
    unittest.TestSuite(chosen).run(StreamingResult(emit, short, loops))
    emit("done")
