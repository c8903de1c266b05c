"""Many programs: one of each seed, in a range of seeds, on asyncio and on rulip.

    python -m tests.differential.volume --count 1000000 --seed 0

Here: the run over the range, and what it prints. Not here: programs and how they run.
Thread: the main one. One process; ranges that do not overlap may run beside each other.
Invariant: a seed tells all: program and way. The last line names the range, what ran and how many
differ; the exit status is whether any did.
"""

from __future__ import annotations

import argparse
import asyncio
import faulthandler
import gc
import logging
import pprint
import sys
import time
from itertools import zip_longest

from .grammar import program
from .shrinking import shrunk
from .ways import WAYS, differs, traces, way_of

CHUNK = 1000
#: Seconds for a chunk; then a hang is told, with its stack.
PATIENCE = 600.0


def show(seed: int, way: str, limit: int = 12) -> None:
    """The smallest program that differs as this seed's does, and where it differs first."""
    small = shrunk(program(seed), lambda smaller: differs(smaller, way))
    ours, stocks = traces(small, way)
    print(f"seed {seed} differs, {way}:\n{pprint.pformat(small, width=100)}")
    for one, other in zip_longest(ours, stocks, fillvalue="nothing"):
        mark = " " if one == other else "!"
        print(f"  {mark} {one!r}" + ("" if one == other else f"\n    asyncio: {other!r}"))
    print(flush=True)


def run(first: int, count: int, stop_after: int, only: str | None) -> list[int]:
    different: list[int] = []
    begun = time.monotonic()
    gc.collect()
    gc.freeze()  # or each program's collection would look at all the imports made
    gc.disable()
    for seed in range(first, first + count):
        if (seed - first) % CHUNK == 0:
            faulthandler.dump_traceback_later(PATIENCE, exit=True)
            if seed > first:
                rate = (seed - first) / (time.monotonic() - begun)
                print(f"before seed {seed}: {rate:.0f} programs/s", file=sys.stderr, flush=True)
        way = only or way_of(seed)
        if differs(program(seed), way):
            different.append(seed)
            show(seed, way)
            if len(different) >= stop_after:
                count = seed + 1 - first
                break
    faulthandler.cancel_dump_traceback_later()
    print(
        f"Python {sys.version.split()[0]}: {count} programs, seeds {first} to {first + count - 1}: "
        f"{len(different)} differ{'' if not different else f': {different}'}"
    )
    return different


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--count", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0, help="the first")
    parser.add_argument("--stop-after", type=int, default=10, help="so many that differ")
    parser.add_argument("--way", choices=WAYS, help="only this one")
    options = parser.parse_args()
    # Who waits for a processor is told of as a callback that blocks.
    logging.getLogger("asyncio").setLevel(logging.ERROR)
    assert asyncio.Task is asyncio.tasks._CTask  # type: ignore[attr-defined]
    sys.exit(bool(run(options.seed, options.count, options.stop_after, options.way)))


if __name__ == "__main__":
    main()
