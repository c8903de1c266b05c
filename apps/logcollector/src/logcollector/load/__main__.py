"""`python -m logcollector.load`: the command line, the run, the report.

Here: starting senders, progress, figures. Not here: a sender (sender.py), checking what a database
holds (verify.py). Thread: the main thread.
Invariant: exit status 0 only if every line written was acknowledged and every answer was right.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import resource
import signal
import sys
import time
from collections.abc import Sequence

from .. import loops
from ..values import address, duration
from .sender import Plan, Sender, Tally


def parser() -> argparse.ArgumentParser:
    """The command line."""
    result = argparse.ArgumentParser(
        prog="logcollector-load", description="Sends lines to a collector and checks every answer."
    )
    result.add_argument("--connect", type=address, default="127.0.0.1:5514", metavar="HOST:PORT")
    result.add_argument("--senders", type=int, default=50)
    result.add_argument("--window", type=int, default=500, help="unanswered lines per sender")
    result.add_argument("--chunk", type=int, default=0, help="lines per write; 0: as it fits")
    result.add_argument("--line-size", type=int, default=200, help="bytes with the line feed")
    result.add_argument("--rate", type=float, default=0, help="lines/s in all; 0: no limit")
    result.add_argument("--duration", type=duration, default="10s")
    result.add_argument("--keyed", action="store_true", help="send @id:seq with each line")
    result.add_argument("--run", default=f"r{int(time.time())}", help="a name in every line")
    result.add_argument("--patience", type=duration, default="60s", help="for the last answers")
    result.add_argument("--loop", default="auto", choices=("auto", "rulip", "asyncio", "uvloop"))
    result.add_argument("--verify", metavar="SINK", help="count the lines in this sink at the end")
    result.add_argument("--journal", metavar="FILE", help="write what each sender was answered")
    result.add_argument("--json", action="store_true", help="print the report as JSON")
    result.add_argument("--quiet", action="store_true", help="no progress bar")
    return result


async def run(options: argparse.Namespace) -> dict[str, object]:
    """The whole load; returns the report."""
    plan = Plan(
        options.connect.host,
        options.connect.port,
        window=options.window,
        line_size=options.line_size,
        keyed=options.keyed,
        run=options.run,
        chunk=options.chunk,
        rate=options.rate / options.senders,
    )
    tally = Tally()
    began = time.monotonic()
    senders = [Sender(plan, tally, number) for number in range(options.senders)]
    tasks = [asyncio.create_task(sender.run()) for sender in senders]
    # An interrupt ends the load early; the report is about what was sent.
    stopped = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    while (elapsed := time.monotonic() - began) < options.duration and not tally.wrong:
        try:
            async with asyncio.timeout(min(0.25, options.duration - elapsed)):
                await stopped.wait()
            break
        except TimeoutError:
            pass
        if not options.quiet:
            progress(elapsed / options.duration, tally.acknowledged, elapsed)
    for sender in senders:
        sender.stop()
    _, late = await asyncio.wait(tasks, timeout=options.patience)
    seconds = time.monotonic() - began
    for task in late:
        task.cancel()
    await asyncio.gather(*late, return_exceptions=True)
    if options.journal:
        with open(options.journal, "w") as file:
            json.dump({sender.name: sender.acknowledged for sender in senders}, file)
    usage = resource.getrusage(resource.RUSAGE_SELF)
    written = sum(sender.written for sender in senders)
    report: dict[str, object] = {
        "senders": options.senders,
        "written": written,
        "acknowledged": tally.acknowledged,
        "unacknowledged": written - tally.acknowledged,
        "wrong_answers": tally.wrong[:10],
        "reconnects": tally.reconnects,
        "resent": tally.resent,
        "seconds": round(seconds, 3),
        "lines_per_second": round(tally.acknowledged / seconds),
        "least_of_a_sender": min(sender.acknowledged for sender in senders),
        "most_of_a_sender": max(sender.acknowledged for sender in senders),
        "latency_ms": percentiles(tally.latencies),
        "own_cpu_seconds": round(usage.ru_utime + usage.ru_stime, 3),
    }
    if options.verify:
        from .verify import verify

        expected = {sender.name: (sender.acknowledged, sender.written) for sender in senders}
        report.update(await verify(options.verify, options.run, expected))
    return report


def percentiles(latencies: list[float]) -> dict[str, float]:
    """p50, p95, p99, p99.9 and the most, in milliseconds."""
    if not latencies:
        return {}
    latencies.sort()
    last = len(latencies) - 1
    shares = {"p50": 0.5, "p95": 0.95, "p99": 0.99, "p99.9": 0.999, "max": 1.0}
    return {name: round(latencies[int(last * share)] * 1000, 2) for name, share in shares.items()}


def progress(share: float, lines: int, seconds: float) -> None:
    """One line on a terminal, drawn over itself."""
    if not sys.stderr.isatty():
        return
    filled = int(min(share, 1.0) * 30)
    rate = lines / seconds if seconds else 0
    bar = "#" * filled + "-" * (30 - filled)
    print(f"\r[{bar}] {lines:,} acknowledged, {rate:,.0f}/s ", end="", file=sys.stderr, flush=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program."""
    options = parser().parse_args(arguments)
    report = loops.run(run(options), options.loop)
    if sys.stderr.isatty() and not options.quiet:
        print(file=sys.stderr)
    if options.json:
        print(json.dumps(report))
    else:
        for name, value in report.items():
            print(f"{name.replace('_', ' '):>20}  {value}")
    bad = report["wrong_answers"] or report["unacknowledged"] or report.get("missing")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
