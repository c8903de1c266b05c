"""Which of CPython's tests say nothing about the loop under test: skips.toml, read and matched.

Here: the rules and the patterns that name tests. Not here: known failures (verdict.py).
Thread: any. Invariant: every rule that leaves a test out gives its reason.
"""

from __future__ import annotations

import fnmatch
import pathlib
import sys
import tomllib
from collections.abc import Iterable
from typing import Any


class Rules:
    """The active rules for this interpreter; the first that matches wins."""

    def __init__(self, path: pathlib.Path, *, install: bool) -> None:
        with path.open("rb") as fp:
            rules = tomllib.load(fp)["rule"]
        self._rules = [rule for rule in rules if self._active(rule, install)]

    @staticmethod
    def _active(rule: dict[str, Any], install: bool) -> bool:
        when = rule.get("when", "always")
        if when not in ("always", "loop", "install"):
            raise ValueError(f"bad 'when' in a skip rule: {when!r}")
        if not rule["reason"]:
            raise ValueError(f"skip rule without a reason: {rule!r}")
        return (when == "always" or (when == "install") == install) and in_range(
            rule, sys.version_info[:2]
        )

    def reason(self, test_id: str) -> str | None:
        """Why the test is left out; None if it is not."""
        for rule in self._rules:
            if matches(test_id, rule["tests"]) and not matches(test_id, rule.get("except", ())):
                reason: str = rule["reason"]
                return reason
        return None


def in_range(entry: dict[str, Any], version: tuple[int, int]) -> bool:
    """True if the entry's `python = [lowest, highest]`, if any, includes the version."""
    lowest, highest = entry.get("python", ["3.0", "9.9"])
    return minor(lowest) <= version <= minor(highest)


def minor(text: str) -> tuple[int, int]:
    """(3, 13) for "3.13" and for "3.13.0"."""
    major, second = text.split(".")[:2]
    return int(major), int(second)


def matches(test_id: str, patterns: Iterable[str]) -> bool:
    """True if a pattern (glob) names the test, its class or its module."""
    return any(
        fnmatch.fnmatchcase(test_id, p) or fnmatch.fnmatchcase(test_id, p + ".*") for p in patterns
    )
