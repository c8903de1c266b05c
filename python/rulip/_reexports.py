"""asyncio's public names, for `import rulip as asyncio`.

Lives here: each name of this Python's asyncio, ours where installation.py has one in its table.
Does not live here: the names that are rulip's own business (`__init__.py` goes on from these).
Thread: any. Invariant: nothing of asyncio is changed, and nothing that is deprecated is touched.
"""

import asyncio
import importlib
from typing import Any

from .installation import TABLE

#: asyncio.TaskGroup is public in 3.11, though no list says so there.
__all__ = [*sorted({*asyncio.__all__, "TaskGroup"} & set(dir(asyncio)))]  # noqa: PLE0604


def _value(name: str) -> Any:
    value = getattr(asyncio, name)
    for stock_module, our_module, names in TABLE:
        if name in names and name in vars(importlib.import_module(stock_module)):
            return getattr(importlib.import_module(our_module), name)
    return value


globals().update({name: _value(name) for name in __all__})
