"""`instructions.py LOOP WORKLOAD`: user instructions per operation, counted by valgrind.

Not here: time. Thread: main. Invariant: two runs differ in their length only, so start, warm-up and
end cancel out: the difference of the counts divided by the difference of the operations.

The kernel's part is not counted. A scheduling workload repeats within a fraction of a percent; so
does a TCP row (named as in `run.py`), because it runs with one connection here, in lock-step.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import tcp
from contenders import FLOOR
from processes import HERE, ChildError, Cores, run_json, running_server
from worker import ABSENT
from workloads import WORKLOADS

# Valgrind runs the interpreter about 50 times slower.
TIMEOUT = 300
LONGER = 3
EXTENSION = "_rulip."


@dataclass(frozen=True, slots=True)
class Count:
    """Instructions: of the whole process, and of rulip's extension alone."""

    total: float
    own: float


def callgrind(output: Path) -> list[str]:
    valgrind = shutil.which("valgrind")
    if valgrind is None:
        raise ChildError("valgrind is not installed", absent=True)
    return [valgrind, "--tool=callgrind", "--quiet", f"--callgrind-out-file={output}"]


def total_of(output: Path) -> int:
    """All instructions of a run: the `totals:` line, which stands at the end of the file."""
    try:
        text = output.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise ChildError(f"valgrind left no count: {error}") from None
    found = re.findall(r"^(?:totals|summary): (\d+)", text, re.MULTILINE)
    if not found:
        raise ChildError("valgrind left no count")
    return int(found[-1])


def own_of(output: Path) -> int:
    """Instructions of a run that rulip's extension itself executed, callees left out."""
    own = 0
    objects: dict[str, bool] = {}
    inside = callee = False
    with output.open(encoding="utf-8", errors="replace") as lines:
        for line in lines:
            if line.startswith(("ob=", "cob=")):
                # "ob=(7) /path" names an object once, "ob=(7)" means it from then on; "cob" is
                # the callee's.
                kind, _, named = line.strip().partition("=")
                number, _, path = named.partition(" ")
                if path:
                    objects[number] = Path(path).name.startswith(EXTENSION)
                if kind == "ob":
                    inside = objects[number]
            elif line.startswith("calls="):
                # The next line has the callee's cost.
                callee = True
            elif line[0].isdigit() or line[0] in "+-*":
                if inside and not callee:
                    own += int(line.split()[1])
                callee = False
    return own


def environment() -> dict[str, str]:
    """String hashes, and with them the layout of every dict, are the same in each run."""
    return dict(os.environ) | {"PYTHONHASHSEED": "0"}


def count_worker(loop: str, workload: str, operations: int, folder: Path) -> tuple[Count, int]:
    """Instructions of a whole process, and the operations it really did."""
    output = folder / f"{operations}.out"
    result = run_json(
        [
            *callgrind(output),
            *(sys.executable, str(HERE / "worker.py"), loop, workload, str(operations)),
        ],
        Cores.available().tested,
        timeout=TIMEOUT,
        environment=environment(),
        absent_status=ABSENT,
    )
    return Count(total_of(output), own_of(output)), int(result["operations"])


def count_server(
    loop: str, scenario: tcp.Scenario, requests: int, folder: Path
) -> tuple[Count, int]:
    """Instructions of a server that answers `requests` requests of one connection."""
    output = folder / f"{requests}.out"
    client = tcp.built_client()
    cores = Cores.available()
    port = tcp.free_port()
    with running_server(
        [*callgrind(output), *tcp.server_command(loop, scenario, port, client)],
        cores.tested,
        timeout=TIMEOUT,
        environment=environment(),
        absent_status=ABSENT,
    ) as server:
        load = run_json(
            [
                *(str(client), "load", "--port", str(port), "--connections", "1"),
                *("--size", str(scenario.size), "--requests", str(requests)),
                *("--server-pid", str(server.process.pid)),
                *tcp.trust(scenario),
            ],
            cores.client,
            timeout=TIMEOUT,
        )
    return Count(total_of(output), own_of(output)), int(load["requests"])


def per_operation(loop: str, workload: str, operations: int) -> Count:
    """The figures: the difference of two lengths."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        counts = []
        for length in (operations, operations * LONGER):
            if workload in tcp.SCENARIOS:
                counts.append(count_server(loop, tcp.SCENARIOS[workload], length, folder))
            else:
                counts.append(count_worker(loop, workload, length, folder))
    (fewer, few), (more, many) = counts
    return Count((more.total - fewer.total) / (many - few), (more.own - fewer.own) / (many - few))


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Count user instructions per operation.")
    parser.add_argument("loop", help=f"a contender; {FLOOR} for TCP rows too")
    parser.add_argument("workload", choices=[*WORKLOADS, *tcp.SCENARIOS], metavar="WORKLOAD")
    parser.add_argument("--operations", type=int, default=2_000, help="of the shorter run")
    options = parser.parse_args(arguments)
    try:
        figure = per_operation(options.loop, options.workload, options.operations)
    except ChildError as error:
        print(f"{options.loop}, {options.workload}: {error}", file=sys.stderr)
        return 1
    print(
        f"{options.loop}, {options.workload}: {figure.total:.0f} instructions per operation, "
        f"{figure.own:.0f} of them rulip's own"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
