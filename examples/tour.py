"""A tour of the event loop in a quarter of a minute: tasks, streams, queues, timers, and its cost.

    python -m rulip tour.py [--seconds LENGTH]

First four scenes on the loop that runs this program, each counting what it did. Then the same
workloads on asyncio's loop and on rulip's, every sample in a process of its own, the loops taking
turns; shown is the least CPU time per operation. One thread draws and plays; everything printed as
a result was counted or timed in this run. The workloads themselves are in tour_workloads.py.
"""

import argparse
import asyncio
import importlib.util
import itertools
import json
import os
import platform
import random
import statistics
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

WIDTH = 40  # of a progress bar
ROUNDS = 3
WORKER = str(Path(__file__).with_name("tour_workloads.py"))
WORKLOADS = {
    "call_soon": "call_soon, one callback per turn",
    "sleep(0)": "await sleep(0)",
    "create_task": "create_task and await it",
    "ping-pong": "two tasks, futures in ping-pong",
    "echo": "TCP echo, 1 KiB, both ends",
}


class Screen:
    """The terminal: lines that stay, and below them a few that are redrawn in place.

    Without a terminal only what stays is written, in plain text.
    """

    def __init__(self) -> None:
        self.live = sys.stdout.isatty() and os.environ.get("TERM", "dumb") != "dumb"
        self.coloured = self.live and not os.environ.get("NO_COLOR")
        unicode = (sys.stdout.encoding or "").lower().startswith("utf")
        self.frames = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏" if unicode else "|/-\\"
        self.full, self.empty = "█░" if unicode else "#."
        self.drawn = 0

    @contextmanager
    def without_cursor(self) -> Iterator[None]:
        """Hide the cursor for as long as this lasts."""
        self.write("\x1b[?25l" if self.live else "")
        try:
            yield
        finally:
            self.write("\x1b[?25h" if self.live else "")

    def write(self, text: str) -> None:
        """Write at once."""
        sys.stdout.write(text)
        sys.stdout.flush()

    def paint(self, code: int, text: str) -> str:
        """`text` in a colour or weight, where there are any."""
        return f"\x1b[{code}m{text}\x1b[0m" if self.coloured else text

    def erase(self) -> str:
        """What removes the lines drawn in place."""
        up = f"\x1b[{self.drawn}A" if self.drawn else ""
        self.drawn = 0
        return f"\r{up}\x1b[J" if self.live else ""

    def draw(self, *lines: str) -> None:
        """Show these lines in place of those drawn before."""
        if self.live:
            self.write(self.erase() + "".join(f"{line}\n" for line in lines))
            self.drawn = len(lines)

    def say(self, *lines: str) -> None:
        """Remove what was drawn in place; write these lines to stay."""
        self.write(self.erase() + "".join(f"{line}\n" for line in lines))

    def title(self, text: str) -> None:
        """Begin a part of the tour."""
        self.say("", self.paint(1, text))

    def bar(self, part: float) -> str:
        """A progress bar, `part` of it full."""
        full = round(min(max(part, 0.0), 1.0) * WIDTH)
        return self.paint(36, self.full * full) + self.paint(2, self.empty * (WIDTH - full))


async def spinner(screen: Screen, seconds: float) -> None:
    """A task that animates, cancelled when the slow one is done."""
    screen.title("A task that is cancelled")
    frames = 0

    async def spin() -> None:
        nonlocal frames
        while True:
            screen.draw(f"  {screen.frames[frames % len(screen.frames)]} thinking")
            frames += 1
            await asyncio.sleep(0.08)

    task = asyncio.create_task(spin())
    try:
        answer = await asyncio.sleep(seconds, 42)
    finally:
        task.cancel()
    await asyncio.wait([task])
    state = "cancelled" if task.cancelled() else "not cancelled"
    screen.say(f"  the answer is {answer}; the spinner drew {frames} frames and was {state}")


async def echo(screen: Screen, seconds: float) -> None:
    """A server on streams, and a hundred clients that check every line."""
    clients = 100
    screen.title(f"An echo server and {clients} clients")
    echoed, wrong = [0] * clients, 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while line := await reader.readline():
                writer.write(line)
                await writer.drain()
        finally:
            writer.close()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        handlers.create_task(serve(reader, writer))

    async def talk(number: int) -> None:
        nonlocal wrong
        reader, writer = await asyncio.open_connection(*address)
        while echoed[number] == 0 or loop.time() < end:
            line = f"client {number} line {echoed[number]}\n".encode()
            writer.write(line)
            answer = await reader.readline()
            echoed[number] += 1
            wrong += answer != line
        writer.close()

    async def watch() -> None:
        while (left := end - loop.time()) > 0:
            screen.draw(f"  {screen.bar(1 - left / seconds)} {sum(echoed):9,} lines")
            await asyncio.sleep(0.05)

    loop = asyncio.get_running_loop()
    async with asyncio.TaskGroup() as handlers:
        async with await asyncio.start_server(accept, "127.0.0.1", 0, backlog=clients) as server:
            address = server.sockets[0].getsockname()
            start = loop.time()
            end = start + seconds
            talks = asyncio.gather(*map(talk, range(clients)))
            try:
                await watch()
            finally:
                end = 0.0  # on Ctrl-C too: every client reads its last answer, and leaves
                await talks
            took = loop.time() - start
    screen.say(f"  {sum(echoed):,} lines there and back in {took:.1f} s, {wrong} of them wrong")


async def queues(screen: Screen, seconds: float) -> None:
    """Workers of different speed on one bounded queue."""
    workers, jobs = 4, 60
    screen.title(f"A bounded queue and {workers} workers")
    queue: asyncio.Queue[float] = asyncio.Queue(maxsize=12)
    done = [0] * workers
    dice = random.Random(1)

    async def work(number: int) -> None:
        while True:
            effort = await queue.get()
            await asyncio.sleep(effort * (1 + number / 2))
            done[number] += 1
            queue.task_done()

    async def watch() -> None:
        while True:
            bars = [f"  worker {n}  {screen.bar(2 * d / jobs)} {d:3}" for n, d in enumerate(done)]
            screen.draw(f"  queue     {screen.bar(queue.qsize() / 12)} {queue.qsize():3}", *bars)
            await asyncio.sleep(0.05)

    tasks = [asyncio.create_task(work(number)) for number in range(workers)]
    tasks.append(asyncio.create_task(watch()))
    try:
        for _ in range(jobs):
            await queue.put(dice.uniform(0.5, 1.5) * seconds / jobs * 2.3)
        await queue.join()
    finally:
        for task in tasks:
            task.cancel()
    await asyncio.wait(tasks)
    shares = ", ".join(map(str, done))
    screen.say(f"  {sum(done)} jobs done, by worker: {shares}; {queue.qsize()} left in the queue")


async def timers(screen: Screen, seconds: float) -> None:
    """Ten thousand tasks asleep at once, each woken at its own time."""
    sleepers = 10_000
    screen.title(f"{sleepers:,} tasks asleep")
    loop = asyncio.get_running_loop()
    late: list[float] = []
    dice = random.Random(2)

    async def sleep(delay: float) -> None:
        due = loop.time() + delay
        await asyncio.sleep(delay)
        late.append((loop.time() - due) * 1000)

    async def watch() -> None:
        while len(late) < sleepers:
            screen.draw(f"  {screen.bar(len(late) / sleepers)} {len(late):7,} awake")
            await asyncio.sleep(0.05)

    await asyncio.gather(
        watch(), *(sleep(dice.uniform(0.2, 1.0) * seconds) for _ in range(sleepers))
    )
    middle, worst = statistics.median(late), max(late)
    screen.say(
        f"  all awake: half at most {middle:.2f} ms after their time, the latest {worst:.1f} ms"
    )


def contenders() -> dict[str, list[str]]:
    """How to start a program on each loop; rulip's only where it is installed."""
    doors = {"asyncio": [sys.executable], "rulip": [sys.executable, "-m", "rulip"]}
    if importlib.util.find_spec("rulip") is None:
        del doors["rulip"]
    return doors


class SampleError(Exception):
    """A workload did not run to its end, or not on the loop that it should."""


async def sample(loop: str, door: list[str], workload: str, seconds: float) -> float:
    """Nanoseconds of CPU per operation, from a new process."""
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        *door, WORKER, workload, "--seconds", str(seconds), stdout=pipe, stderr=pipe
    )
    try:
        out, err = await asyncio.wait_for(process.communicate(), timeout=60)
    except TimeoutError as exc:
        raise SampleError("not done after 60 s") from exc
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode:
        lines = err.decode(errors="replace").splitlines() or ["no message"]
        raise SampleError(f"exit status {process.returncode}: {lines[-1]}")
    result = json.loads(out)
    if not result["loop"].startswith(f"{loop}."):
        raise SampleError(f"ran on {result['loop']}")
    return float(result["ns"])


class Comparison:
    """The least time seen so far, per workload and loop, and what went wrong."""

    def __init__(self, screen: Screen) -> None:
        self.screen = screen
        self.doors = contenders()
        self.least: dict[tuple[str, str], float] = {}
        self.failures: dict[tuple[str, str], str] = {}

    def table(self) -> list[str]:
        """The figures, one workload per line."""
        both = len(self.doors) == 2
        head = f"  {'ns of CPU per operation':33}" + "".join(f"{name:>10}" for name in self.doors)
        lines = [self.screen.paint(2, head + f"{'ratio':>9}" * both)]
        for workload, title in WORKLOADS.items():
            cells = "".join(f"{self.cell(workload, name):>10}" for name in self.doors)
            lines.append(f"  {title:33}{cells}{self.ratio(workload) if both else ''}")
        return lines

    def cell(self, workload: str, loop: str) -> str:
        """One figure."""
        if (workload, loop) in self.failures:
            return "failed"
        ns = self.least.get((workload, loop))
        return "-" if ns is None else f"{ns:,.0f}"

    def ratio(self, workload: str) -> str:
        """asyncio's time divided by rulip's, as a number and a bar."""
        theirs, ours = (self.least.get((workload, loop)) for loop in ("asyncio", "rulip"))
        if theirs is None or ours is None:
            return f"{'-':>9}"
        ratio = theirs / ours
        return f"{ratio:8.1f}x " + self.screen.paint(36, self.screen.full * min(round(ratio), 14))

    async def animate(self, now: str) -> None:
        """Redraw the table, with what is going on `now` under it, until cancelled."""
        for mark in itertools.cycle(self.screen.frames):
            self.screen.draw(*self.table(), f"  {mark} {now}")
            await asyncio.sleep(0.1)

    async def round(self, number: int, seconds: float) -> None:
        """One sample of every workload on every loop, the loops taking turns."""
        for workload, title in WORKLOADS.items():
            for loop, door in self.doors.items():
                now = f"round {number} of {ROUNDS}: {title}, on {loop}"
                animation = asyncio.create_task(self.animate(now))
                try:
                    ns = await sample(loop, door, workload, seconds)
                except SampleError as exc:
                    self.failures[workload, loop] = str(exc)
                    self.least.pop((workload, loop), None)
                else:
                    if (workload, loop) not in self.failures:
                        ns = min(ns, self.least.get((workload, loop), ns))
                        self.least[workload, loop] = ns
                finally:
                    animation.cancel()


async def compare(screen: Screen, seconds: float) -> bool:
    """Time the workloads on both loops; True if every sample came in."""
    screen.title("What it costs")
    comparison = Comparison(screen)
    for number in range(1, ROUNDS + 1):
        await comparison.round(number, seconds)
    screen.say(*comparison.table())
    screen.say(f"  the least of {ROUNDS} runs; ratio: asyncio's time divided by rulip's")
    if "rulip" not in comparison.doors:
        screen.say("  rulip is not installed for this Python: nothing to compare with")
    for (workload, loop), message in comparison.failures.items():
        screen.say(f"  {workload} failed on {loop}: {message}")
    return not comparison.failures


async def main(seconds: float) -> bool:
    """The whole tour; True if nothing in it failed."""
    screen = Screen()
    loop = type(asyncio.get_running_loop())
    with screen.without_cursor():
        python = f"{platform.python_implementation()} {platform.python_version()}"
        screen.say(f"{python}, event loop {loop.__module__}.{loop.__qualname__}")
        for scene in (spinner, echo, queues, timers):
            await scene(screen, seconds)
        return await compare(screen, seconds / 40)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="a tour of the event loop")
    parser.add_argument("--seconds", type=float, default=2.0, help="about the length of a scene")
    try:
        sys.exit(not asyncio.run(main(parser.parse_args().seconds)))
    except KeyboardInterrupt:
        sys.exit(130)
