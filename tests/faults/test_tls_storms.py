"""Ten thousand TLS clients that behave badly; minutes.

Runs in the main thread.
Invariant: as tests/tls_storm.py says.
"""

from __future__ import annotations

import faulthandler

import pytest
from tests.tls_storm import storm


@pytest.mark.loops("rulip")
@pytest.mark.timeout(900)
def test_ten_thousand_bad_clients(run):
    faulthandler.cancel_dump_traceback_later()  # it would end the run after two minutes
    run(storm(3_340))
