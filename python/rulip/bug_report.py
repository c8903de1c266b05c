"""`python -m rulip --info`: what a bug report needs.

Lives here: asking the interpreter and the system. Does not live here: the command line.
Thread: the main one. Invariant: nothing private is shown: no paths, no names, no environment but
the few variables listed here.
"""

import os
import platform
import sys
from importlib import metadata

from . import _rulip, installation
from ._compat import SSL
from .event_loop import new_event_loop
from .event_loop.tls_protocol import tls_way

VARIABLES = ("PYTHONASYNCIODEBUG", "PYTHONDEVMODE", "PYTHON_GIL", "PYTHONMALLOC", "RULIP_TLS")
#: Packages that put themselves between asyncio and a program.
NEIGHBOURS = ("uvloop", "aiohttp", "anyio", "gevent", "nest-asyncio", "trio", "uvicorn")


def describe() -> str:
    """One fact per line."""
    facts = [
        ("rulip", _rulip.__version__),
        ("Python", f"{platform.python_implementation()} {' '.join(sys.version.split())}"),
        ("GIL", "on" if _gil_is_enabled() else "off"),
        ("system", f"{platform.system()} {platform.release()} {platform.machine()}"),
        ("C library", " ".join(platform.libc_ver()) or "unknown"),
        ("OpenSSL", "none" if SSL is None else SSL.OPENSSL_VERSION),
        ("TLS data goes by", tls_way()),
        ("processors", f"{len(os.sched_getaffinity(0))} of {os.cpu_count()}"),
        ("open files", _file_limits()),
        ("debug mode", str(_debug())),
        ("natively replaced by install()", ", ".join(_replaced()) or "nothing"),
        *((name, value) for name in VARIABLES if (value := os.environ.get(name)) is not None),
        *_neighbours(),
    ]
    width = max(len(name) for name, _ in facts)
    return "".join(f"{name:<{width}}  {value}\n" for name, value in facts)


def _gil_is_enabled() -> bool:
    ask = getattr(sys, "_is_gil_enabled", None)
    return ask is None or bool(ask())


def _file_limits() -> str:
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    return f"{soft} (at most {hard})"


def _debug() -> bool:
    loop = new_event_loop()
    try:
        return loop.get_debug()
    finally:
        loop.close()


def _replaced() -> list[str]:
    return sorted({name for _, _, names in installation.TABLE for name in names})


def _neighbours() -> list[tuple[str, str]]:
    found = []
    for name in NEIGHBOURS:
        try:
            found.append((name, metadata.version(name)))
        except metadata.PackageNotFoundError:
            continue
    return found
