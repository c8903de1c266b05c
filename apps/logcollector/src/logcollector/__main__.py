"""`python -m logcollector`: read the settings, then collect, or watch, or only check.

Here: the command line's outcome as an exit status: 0 all stored, 2 unusable settings, 3 stopped
with lines that were not answered. Not here: the settings (settings.py), the work (service.py).
Thread: the main thread. Invariant: a wrong setting ends with one line that names it.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from . import logs, service, settings
from .config import ConfigError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program."""
    try:
        command = settings.read(sys.argv[1:] if arguments is None else arguments, os.environ)
    except ConfigError as error:
        print(f"logcollector: {error}", file=sys.stderr)
        return 2
    config = command.config
    if command.check:
        print(settings.describe(config), end="")
        return 0
    if command.watch:
        from . import watch

        return watch.main(config)
    logs.set_up(config.log_level, config.log_format)
    return service.main(config)


if __name__ == "__main__":
    sys.exit(main())
