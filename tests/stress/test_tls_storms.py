"""A storm of TLS clients that behave badly. A longer one is in tests/faults/.

Runs in the main thread.
Invariant: as tests/tls_storm.py says, for both ways that data may go.
"""

from __future__ import annotations

import pytest
from tests.tls_storm import storm


@pytest.mark.loops("rulip")
@pytest.mark.parametrize("way", ["openssl", "memory_bio"])
def test_bad_clients(run, monkeypatch, way):
    monkeypatch.setenv("RULIP_TLS", way)
    run(storm(200))
