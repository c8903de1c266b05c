"""The parent's side of a run: one guarded process per test module, restarted after crash or hang.

Here: starting workers, tailing their events, pinning a crash or a hang on the test in progress and
resuming with the rest. Not here: what happens inside a worker (reporting.py, worker.py).
Thread: one thread per module under way; a module's state is touched by its own thread only.
Invariant: a run ends, whatever the tests do, and leaves no process behind.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import dataclasses
import json
import os
import pathlib
import signal
import subprocess
import tempfile
import time
from typing import Any, TextIO

from outcomes import BAD, DETAIL_CHARS, OUTCOMES, Options, Record, Results, count, row

HERE = pathlib.Path(__file__).resolve().parent
POLL_SECONDS = 0.05


class Worker:
    """One worker process and what it has told so far."""

    def __init__(self, brief: dict[str, Any], opts: Options, known: dict[str, Record]) -> None:
        self.brief, self.opts, self.known = brief, opts, known
        self.plan: list[str] | None = None
        self.current = ""  # the test in progress
        self.finished = False
        self.broken: list[dict[str, Any]] = []  # fixtures that broke, a failed import
        self.idle: float | None = None  # seconds without progress, once that was too long
        self.heard = time.monotonic()
        self.status = 0
        self.log = ""

    def run(self, deadline: float) -> None:
        """Start the process and read its events until it is gone."""
        with tempfile.TemporaryDirectory(prefix="rulip-cpython-") as tmp:
            folder = pathlib.Path(tmp)
            events, log, cwd = folder / "events", folder / "log", folder / "cwd"
            events.touch()
            cwd.mkdir()
            brief = {**self.brief, "events": str(events), "done": sorted(self.known)}
            (folder / "brief.json").write_text(json.dumps(brief))
            script = [str(HERE / "worker.py"), str(folder / "brief.json")]
            with log.open("wb") as log_fp:
                proc = subprocess.Popen(
                    [self.opts.python, "-X", "faulthandler", "-u", *script],
                    cwd=cwd,
                    stdin=subprocess.DEVNULL,
                    stdout=log_fp,
                    stderr=log_fp,
                    start_new_session=True,
                )
            try:
                with events.open(encoding="utf-8") as events_fp:
                    self._follow(proc, events_fp, deadline)
            finally:  # whatever the tests left behind in their session
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.killpg(proc.pid, signal.SIGKILL)
                self.status = proc.wait()
            self.log = log.read_text(errors="replace")[-DETAIL_CHARS:]

    def _follow(self, proc: subprocess.Popen[bytes], events: TextIO, deadline: float) -> None:
        rest = ""
        while True:
            over = proc.poll() is not None  # asked before the last drain
            *lines, rest = (rest + events.read()).split("\n")
            for line in lines:
                self.heard = time.monotonic()
                self._fold(json.loads(line))
            if over:
                return
            now = time.monotonic()
            if now - self.heard > self.opts.timeout or now > deadline:
                self.idle = now - self.heard
                stop(proc)
            else:
                time.sleep(POLL_SECONDS)

    def _fold(self, event: dict[str, Any]) -> None:
        match event.pop("ev"):
            case "plan":
                self.plan = event["tests"]
            case "na":
                self.known[event["id"]] = Record(event["id"], "n/a", event["reason"])
            case "start":
                self.current = event["id"]
            case "end":
                self.current = ""
                self.known[event["id"]] = Record(**event)
            case "broken":
                self.broken.append(event)
            case "done":
                self.finished = True

    def settle(self, deadline: float) -> bool:
        """Give every planned test a record; True when nothing is left to run."""
        module, known = self.brief["module"], self.known
        how, why = self._end()
        if self.finished:
            text = "\n".join(b["detail"] for b in self.broken) or "never ran"
            skipped = bool(self.broken) and all(b.get("skip") for b in self.broken)
            for test_id in self.plan or []:
                known.setdefault(test_id, Record(test_id, "skipped" if skipped else "error", text))
            if self.idle is not None or self.status:
                victim = f"{module}.<exit>"
                known[victim] = Record(victim, how, f"{why}, after the last test\n{self.log}")
            return True
        if self.plan is None:  # the module did not even load
            victim = f"{module}.<import>"
            text = "\n".join(b["detail"] for b in self.broken)
            outcome = "error" if self.broken else how
            known[victim] = Record(victim, outcome, f"{why}\n{self.log}\n{text}")
            return True
        left = [test_id for test_id in self.plan if test_id not in known]
        victim = self.current or (left[0] if left else f"{module}.<exit>")
        seconds = round(time.monotonic() - self.heard, 1)
        known[victim] = Record(victim, how, f"{why}\n{self.log}", seconds)
        if time.monotonic() > deadline:
            for test_id in left:
                known.setdefault(test_id, Record(test_id, "hung", "the module's time is used up"))
            return True
        return len(left) <= 1

    def _end(self) -> tuple[str, str]:
        if self.idle is not None:
            return "hung", f"no progress in {self.idle:.0f} s"
        if self.status < 0:
            return "crashed", f"killed by {signal.Signals(-self.status).name}"
        return "crashed", f"exit status {self.status}"


def stop(proc: subprocess.Popen[bytes]) -> None:
    """SIGABRT first (faulthandler then dumps every thread), SIGKILL for the group after."""
    proc.send_signal(signal.SIGABRT)
    with contextlib.suppress(subprocess.TimeoutExpired):
        proc.wait(5.0)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(proc.pid, signal.SIGKILL)
    proc.wait()


def run_module(module: str, opts: Options) -> list[Record]:
    """Run one module in as many processes as its crashes and hangs take."""
    brief = {
        "module": module,
        "loop": opts.loop,
        "install": opts.install,
        "select": list(opts.select),
        "run_na": opts.run_na,
    }

    def run(only: list[str]) -> dict[str, Record]:
        known: dict[str, Record] = {}
        deadline = time.monotonic() + opts.module_timeout  # restarts included
        while True:
            worker = Worker({**brief, "only": only}, opts, known)
            worker.run(deadline)
            if worker.settle(deadline):
                return known

    records = run([])
    for _ in range(opts.reruns):
        again = [
            r.id
            for r in records.values()
            if r.outcome in BAD and "<" not in r.id and r.id not in opts.no_rerun
        ]
        if not again:
            break
        for record in run(again).values():
            if record.id in records and record.outcome == "passed":
                records[record.id] = dataclasses.replace(record, flaky=True)
    return list(records.values())


def run_modules(modules: list[str], opts: Options) -> Results:
    """Run modules, `opts.jobs` at a time; print a line per module in their order."""
    # A shell's "&" leaves SIGINT ignored, and the tests' processes would inherit that.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with concurrent.futures.ThreadPoolExecutor(opts.jobs) as pool:
        futures = {module: pool.submit(run_module, module, opts) for module in modules}
        results: Results = {}
        print(row("module", OUTCOMES), flush=True)
        for module, future in futures.items():
            results[module] = future.result()
            counts = count(results[module])
            print(row(module, [counts[outcome] for outcome in OUTCOMES]), flush=True)
        return results
