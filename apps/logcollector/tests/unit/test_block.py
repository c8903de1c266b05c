"""Lines on their way. Not here: how they are cut (test_lines.py). Thread: pytest's."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from logcollector.block import utc


@pytest.mark.parametrize(
    "seconds", [0.0, 1.5, 1763674382.000001, 1763674382.9999996, 1763674399.123456, 4e9 + 0.25]
)
def test_a_time_for_databases_is_the_calendars(seconds: float) -> None:
    asked = datetime.fromisoformat(utc(seconds) + "+00:00")
    assert asked == datetime.fromtimestamp(seconds, UTC)


def test_times_around_a_second_keep_their_order() -> None:
    times = [1763674382 + n / 7 for n in range(50)]
    assert [utc(time) for time in times] == sorted(utc(time) for time in times)
