"""A legacy program's own modules: imported as legacy source, too.

Lives here: the import hook. Does not live here: the compiler (source.py).
Thread: any that imports. Invariant: modules outside the program's folder, and installed packages
inside it, are imported as ever; no rewritten code is ever cached on disk.
"""

import os
import sys
from importlib.machinery import (
    EXTENSION_SUFFIXES,
    SOURCE_SUFFIXES,
    ExtensionFileLoader,
    FileFinder,
    SourceFileLoader,
)
from types import CodeType
from typing import Any

from .source import compile_legacy

INSTALLED = frozenset({"site-packages", "dist-packages"})


class LegacyLoader(SourceFileLoader):
    """Compiles what it loads as legacy source, each time."""

    def get_code(self, fullname: str) -> CodeType:
        """Never from a cache, which other programs would find."""
        path = self.get_filename(fullname)
        return compile_legacy(self.get_data(path), path)


def enable_for(folder: str) -> None:
    """Import what is under this folder as legacy source."""
    top = os.path.realpath(folder)
    details: Any = [(ExtensionFileLoader, EXTENSION_SUFFIXES), (LegacyLoader, SOURCE_SUFFIXES)]
    make_finder = FileFinder.path_hook(*details)

    def hook(path: str) -> Any:
        real = os.path.realpath(path or os.getcwd())
        if not _is_programs_own(real, top):
            raise ImportError("not the program's own", path=path)
        return make_finder(path)

    sys.path_hooks.insert(0, hook)
    sys.path_importer_cache.clear()


def _is_programs_own(path: str, top: str) -> bool:
    if path != top and not path.startswith(os.path.join(top, "")):
        return False
    inside = os.path.relpath(path, top).split(os.sep)
    library = os.path.realpath(os.path.dirname(os.__file__))
    return not INSTALLED.intersection(inside) and not path.startswith(library)
