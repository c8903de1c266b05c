"""What figures depend on and a result file must therefore say: machine, kernel, Python, load.

Not here: the contenders' own versions, which each process reports. Thread: any.
Invariant: only reads; what cannot be found out is "unknown", never guessed.
"""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any

from processes import HERE

UNKNOWN = "unknown"


def cpu_model() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return UNKNOWN
    for line in text.splitlines():
        key, _, value = line.partition(":")
        if key.strip() == "model name":
            return value.strip()
    return platform.machine() or UNKNOWN


def revision() -> str:
    """The commit of this checkout, with a mark when files differ from it."""
    try:
        done = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=12"],
            cwd=HERE,
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return UNKNOWN
    return done.stdout.strip()


def load_average() -> float:
    """Runnable processes over the last minute: anything above a little is somebody else's work."""
    return round(os.getloadavg()[0], 2)


def describe() -> dict[str, Any]:
    """The environment of a run, for its result file."""
    return {
        "cpu": cpu_model(),
        "cores": os.cpu_count(),
        "cores_allowed": sorted(os.sched_getaffinity(0)),
        "kernel": platform.release(),
        "libc": " ".join(platform.libc_ver()).strip() or UNKNOWN,
        "python": sys.version.split()[0],
        "python_implementation": platform.python_implementation(),
        "python_compiler": platform.python_compiler(),
        "free_threaded": bool(sysconfig.get_config_var("Py_GIL_DISABLED")),
        "revision": revision(),
        "load_before": load_average(),
    }
