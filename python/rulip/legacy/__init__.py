"""`python -m rulip --legacy app.py`: programs as asyncio's first years wrote them.

Lives here: the switch. Does not live here: the reading of old source (source.py), the names that
asyncio had (names.py), the arguments its functions took (calls.py), the import of a program's own
modules (modules.py).
Thread: the main one, before the program starts.
Invariant: asyncio's own functions stay in place, so that whatever is not the program's source runs
as without this mode. Each file knows those before it only: source, calls < names < modules.
"""

from collections.abc import Callable
from types import CodeType

from .modules import enable_for
from .names import bring_back
from .source import compile_legacy

Compile = Callable[[str | bytes, str], CodeType]

__all__ = ["Compile", "enable"]


def enable(folder: str | None) -> Compile:
    """Bring the old names back; modules under `folder` are legacy too. Return the compiler."""
    bring_back()
    if folder is not None:
        enable_for(folder)
    return compile_legacy
