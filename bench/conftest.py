"""Lets the suite's own tests import its modules as `run.py` does: from this folder.

Not here: any test. Thread: pytest's. Invariant: nothing else about the tests is configured here.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
