"""A central TCP log collector: lines in over TCP, `ok` back once they are stored.

Here: the version. The program is `python -m logcollector`; its parts are described in
docs/logcollector.md. Thread: importing starts nothing.
Invariant: the standard library is enough to import this package and to run it with SQLite.
"""

__version__ = "0.1.0"
