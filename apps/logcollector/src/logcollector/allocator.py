"""The C library's memory, kept instead of handed back and forth.

Here: two settings of glibc's malloc. Not here: limits on what the collector keeps (config.py).
Thread: the main thread, before the loop runs.
Invariant: only how soon freed memory returns to the system changes, by at most KEPT bytes.

A batch takes a megabyte or two in large pieces and frees them milliseconds later. By default malloc
returns such memory to the system at once, and each batch pays for fresh, zeroed pages.
"""

from __future__ import annotations

import ctypes

KEPT = 16 << 20
M_TRIM_THRESHOLD = -1
M_MMAP_THRESHOLD = -3


def keep_freed_memory() -> bool:
    """Whether this C library has the settings, and took them."""
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False  # another C library: it has its own ways
    return bool(mallopt(M_TRIM_THRESHOLD, KEPT)) and bool(mallopt(M_MMAP_THRESHOLD, KEPT // 4))
