"""Every program in examples/, run as a user would: under `python` and under `python -m rulip`.

Here: exit status, output and silence on stderr, with the short settings each program offers.
Not here: the door itself (arguments, exit codes), which tests/rulip/test_doors.py is about.
Thread: pytest's main thread; the programs are processes of their own, ended before a test ends.
Invariant: what a program prints is compared with one text for both loops; where the order is the
network's or the figures are the clock's, they are sorted or checked against bounds.
"""

from __future__ import annotations

import ast
import contextlib
import os
import pty
import re
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parent.parent / "examples"
PATIENCE = 40.0  # seconds; no program needs a tenth of it, but a busy machine may

Command = Callable[..., list[str]]
Run = Callable[..., str]

FLAGS = "BD BR CD CN DE EG ET FR ID IN IR JP MX NG PH PK RU TR US VN".split()


@pytest.fixture
def command(loop_name: str) -> Command:
    """`command(name, *args)`: how to start an example on the loop under test."""

    def command(name: str, *args: str) -> list[str]:
        door = ["-m", "rulip"] if loop_name == "rulip" else []
        return [sys.executable, "-W", "error", *door, str(EXAMPLES / name), *args]

    return command


@pytest.fixture
def run(command: Command) -> Run:
    """`run(name, *args)`: its output, after an exit status of 0 and nothing on stderr."""

    def run(name: str, *args: str) -> str:
        done = completed(command(name, *args))
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout

    return run


def completed(command: list[str]) -> subprocess.CompletedProcess[str]:
    """A program that has ended, whatever its exit status."""
    return subprocess.run(
        command,
        check=False,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        env=environment(),
    )


def environment(**extra: str) -> dict[str, str]:
    """Ours, without what would change how an interpreter or a terminal behaves."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if name == "PYTHONPATH" or not name.startswith(("PYTHON", "NO_COLOR"))
    }
    return {**kept, "PYTHONUTF8": "1", **extra}


@contextlib.contextmanager
def started(command: list[str]) -> Iterator[subprocess.Popen[str]]:
    """A running program, killed if the test gives up on it."""
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
    )
    with process:
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()


def on_terminal(command: list[str], *, interrupt_at: str = "", **extra: str) -> tuple[int, str]:
    """Exit status of a program, and what it wrote to a terminal; nothing came on stderr.

    It gets a SIGINT once it has written `interrupt_at`.
    """
    ours, theirs = pty.openpty()
    written = b""
    try:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=theirs,
            stderr=subprocess.PIPE,
            env=environment(TERM="xterm", **extra),
        )
        os.close(theirs)
        with process:
            deadline = time.monotonic() + PATIENCE
            while select.select([ours], [], [], max(0.0, deadline - time.monotonic()))[0]:
                try:
                    written += os.read(ours, 65536)
                except OSError:  # EIO: the last writer has closed it
                    break
                if interrupt_at and interrupt_at.encode() in written:
                    process.send_signal(signal.SIGINT)
                    interrupt_at = ""
            else:
                process.kill()
            assert process.stderr is not None
            errors = process.stderr.read()
    finally:
        os.close(ours)
    assert errors == b""
    return process.returncode, written.decode()


def unused_port() -> int:
    """A port on which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def split_times(output: str) -> tuple[str, list[float]]:
    """The output with each `took N s` made `took`, and the Ns."""
    times = [float(number) for number in re.findall(r"took (\d+\.\d+) s", output)]
    return re.sub(r"took \d+\.\d+ s", "took", output), times


def assert_durations(measured: list[float], expected: list[float]) -> None:
    """Not early; and late by less than what waiting one after the other would add."""
    assert len(measured) == len(expected)
    for took, least in zip(measured, expected, strict=True):
        assert least - 0.011 <= took < least + 2.0


def test_spinner_is_cancelled(run: Run) -> None:
    assert run("spinner.py", "--seconds", "0.3") == (
        "spinner: cancelled at its await\ntask 'spinner': cancelled = True\nanswer: 42\n"
    )


def test_spinner_turns_on_a_terminal(command: Command) -> None:
    status, shown = on_terminal(command("spinner.py", "--seconds", "0.55"))
    assert status == 0
    frames = re.findall(r"\r([|/\\-]) thinking", shown)
    assert 2 <= len(frames) <= 6
    assert "".join(frames) == "|/-\\|/"[: len(frames)]
    assert shown.endswith(
        "\r          \rspinner: cancelled at its await\r\n"
        "task 'spinner': cancelled = True\r\nanswer: 42\r\n"
    )


@pytest.mark.loops("rulip")
def test_the_spinner_of_2014(command: Command) -> None:
    *door, _ = command("any")
    done = completed([*door, "--legacy", str(EXAMPLES / "legacy/spinner.py"), "--seconds", "0.3"])
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [
        "spinner: cancelled at its yield from",
        "answer: 42",
        "slept: ['A', 'B', 'C'] together: True",
    ]


def test_chain(run: Run) -> None:
    answer = "city Lisbon, weather mild, take no coat"
    assert run("chain.py", "--seconds", "0.02") == (
        f"callbacks: {answer}\ncoroutine: {answer}\nthe same result: True\n"
    )


def test_generators(run: Run) -> None:
    assert run("generators.py").splitlines() == [
        "producer: consumer says 'ready'",
        "producer: sending 1",
        "consumer: got 1",
        "producer: consumer says 'ok 1'",
        "producer: sending 2",
        "consumer: got 2",
        "producer: consumer says 'ok 2'",
        "producer: sending 3",
        "consumer: got 3",
        "producer: consumer says 'ok 3'",
        "sum: 6",
        "average after 10: 10.0",
        "average after 30: 20.0",
        "average after 5: 15.0",
        "averager: closed",
    ]


def test_hello(run: Run) -> None:
    output, times = split_times(run("hello.py", "--seconds", "0.2"))
    ways = ("one after the other", "side by side", "in a group")
    assert output == "".join(f"{way}:\nhello\nworld\n  took\n" for way in ways)
    assert_durations(times, [0.6, 0.4, 0.4])


def test_together(run: Run) -> None:
    output, times = split_times(run("together.py", "--seconds", "0.4"))
    assert output.splitlines() == [
        "wait:",
        "  done 3, pending 0",
        "  ['A slept', 'B slept', 'C slept']",
        "  took",
        "gather:",
        "  ['A slept', 'B slept', 'C slept']",
        "  took",
        "gather of gathers:",
        "  [['A1 slept', 'A2 slept'], ['B1 slept', 'B2 slept']]",
        "  took",
        "one group cancelled:",
        "  A1 was cancelled",
        "  A2 was cancelled",
        "  group A: CancelledError",
        "  group B: ['B1 slept', 'B2 slept']",
        "  took",
    ]
    assert_durations(times, [0.4] * 4)


def test_queues(run: Run) -> None:
    assert run("queues.py", "--seconds", "0.01").splitlines() == [
        "fifo:      sweep  cook  read  eat  wash up",
        "priority:  (1, 'cook')  (1, 'eat')  (2, 'sweep')  (2, 'wash up')  (3, 'read')",
        "lifo:      wash up  eat  read  cook  sweep",
        "results: 12: A0 A1 A2 A3 A4 A5 B0 B1 B2 B3 B4 B5",
        "consumers cancelled: 3",
        "left in the queue: 0",
    ]


FLAGS_COUNTED = ["   1 no flag for XX: 503 Service Unavailable", "   1 not found", "  20 saved"]


def test_flags(run: Run, tmp_path: Path) -> None:
    output = run("flags.py", "--folder", str(tmp_path))
    assert output.splitlines() == ["22 flags", *FLAGS_COUNTED]
    saved = {path.name: path.read_text() for path in tmp_path.iterdir()}
    assert sorted(saved) == [f"{code}.svg" for code in FLAGS]
    for name, text in saved.items():
        assert text == (
            '<svg xmlns="http://www.w3.org/2000/svg">'
            f'<text y="20">{name[:2].lower()}</text></svg>\n'
        )


def test_flags_progress_bar_on_a_terminal(command: Command, tmp_path: Path) -> None:
    status, shown = on_terminal(command("flags.py", "--folder", str(tmp_path)))
    assert status == 0
    bars = [f"\r[{'#' * done:22}] " for done in range(1, 23)]
    assert shown == "".join(bars) + "\r\n".join(["22 flags", *FLAGS_COUNTED, ""])


def test_flags_without_a_server(run: Run, tmp_path: Path) -> None:
    port = unused_port()
    output = run("flags.py", "--folder", str(tmp_path), "--host", f"127.0.0.1:{port}")
    refused = f"[Errno 111] Connect call failed ('127.0.0.1', {port})"
    codes = sorted([*FLAGS, "XX", "ZZ"])
    assert output.splitlines() == [
        "22 flags",
        *(f"   1 no flag for {code}: {refused}" for code in codes),
    ]
    assert list(tmp_path.iterdir()) == []


def test_wget(run: Run) -> None:
    hosts = ["127.0.0.1", "127.0.0.2", "127.0.0.3"]
    lines = run("wget.py").splitlines()
    assert lines[:3] == [f"wget {host}..." for host in hosts]
    assert lines[-3:] == [f"{host}: done" for host in hosts]
    headers = ["HTTP/1.0 200 OK", "Content-Type: text/html", "Content-Length: 19"]
    assert len(lines) == 3 + 9 + 3
    for host in hosts:  # the hosts' lines may mix, but each host's come in order
        of_host = [line for line in lines if line.startswith(f"{host} header > ")]
        assert of_host == [f"{host} header > {header}" for header in headers]


def test_wget_of_a_host_that_refuses(run: Run) -> None:
    port = unused_port()
    assert run("wget.py", f"127.0.0.1:{port}", f"127.0.0.2:{port}").splitlines() == [
        "wget 127.0.0.1...",
        "wget 127.0.0.2...",
        f"127.0.0.1: [Errno 111] Connect call failed ('127.0.0.1', {port})",
        f"127.0.0.2: [Errno 111] Connect call failed ('127.0.0.2', {port})",
    ]


def test_readiness(run: Run) -> None:
    assert run("readiness.py").splitlines() == [
        "HTTP/1.0 200 OK",
        "Content-Type: text/html",
        "Content-Length: 17",
        "",
        "<h1>example</h1>",
        "",
        "the same on selectors: True",
    ]


def test_readiness_stops_where_nobody_listens(command: Command) -> None:
    """SystemExit raised by a readiness callback leaves run_forever and ends the program."""
    done = completed(command("readiness.py", "--host", f"127.0.0.1:{unused_port()}"))
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "cannot connect: Connection refused\n"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda n: n.name)
def test_echo_server(command: Command, number: signal.Signals) -> None:
    """Serves several clients, and stops with one of them still connected."""
    with started(command("echo_server.py", "--port", "0")) as server:
        assert server.stdout is not None
        assert server.stderr is not None
        serving = re.fullmatch(r"serving on 127\.0\.0\.1:(\d+)\n", server.stdout.readline())
        assert serving is not None
        address = ("127.0.0.1", int(serving[1]))
        with contextlib.ExitStack() as stack:
            first, second, third = (
                stack.enter_context(socket.create_connection(address, timeout=PATIENCE))
                for _ in range(3)
            )
            names = ["{}:{}".format(*client.getsockname()) for client in (first, second, third)]

            lines = b"".join(b"line %d\n" % n for n in range(5000))
            second.sendall(b"kept waiting\n")
            assert receive(second, 13) == b"kept waiting\n"
            first.sendall(lines[:30_000])
            assert receive(first, 30_000) == lines[:30_000]
            first.sendall(lines[30_000:] + b"no end of line")
            first.shutdown(socket.SHUT_WR)
            assert receive(first, None) == lines[30_000:] + b"no end of line"
            third.sendall(b"x" * 70_000)  # longer than a reader takes for a line
            received = b""
            with contextlib.suppress(ConnectionResetError):  # some of it was never read
                received = receive(third, None)
            assert received == b""

            server.send_signal(number)
            assert second.recv(1) == b""
        output, errors = server.communicate(timeout=PATIENCE)
        assert (server.returncode, errors) == (0, "")
    printed = output.splitlines()
    sizes = [len(lines) + 14, 13, 0]
    assert printed[-1] == "stopped"
    gone = f"{names[2]} is gone: "
    assert sorted(line for line in printed if not line.startswith(gone)) == sorted(
        [f"{name} connected" for name in names]
        + [f"{name} closed after {size} bytes" for name, size in zip(names, sizes, strict=True)]
        + ["stopped"]
    )
    assert [line.removeprefix(gone) for line in printed if line.startswith(gone)] == [
        "Separator is not found, and chunk exceed the limit"
    ]


def receive(sock: socket.socket, count: int | None) -> bytes:
    """That many bytes, or all up to the end."""
    chunks: list[bytes] = []
    size = 0
    while (count is None or size < count) and (chunk := sock.recv(65536)):
        chunks.append(chunk)
        size += len(chunk)
    return b"".join(chunks)


def test_echoes(run: Run) -> None:
    assert run("echoes.py", "--lines", "200").splitlines() == [
        "TCP: 200 of 200 lines",
        "TLS: 200 of 200 lines over TLSv1.3",
        "UDP: 200 of 200 datagrams",
    ]


def test_flags_with_aiohttp(run: Run, tmp_path: Path) -> None:
    pytest.importorskip("aiohttp")
    output = run("flags_aiohttp.py", "--folder", str(tmp_path))
    assert output.splitlines() == ["22 flags", *FLAGS_COUNTED]
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"{code}.svg" for code in FLAGS]


def test_images(run: Run, tmp_path: Path) -> None:
    pytest.importorskip("aiohttp")
    assert run("images.py", "--folder", str(tmp_path)).splitlines() == [
        "small.png: 100 bytes",
        "exact.png: 5,120 bytes",
        "large.png: 1,000,003 bytes",
        "gone.png: 404 Not Found",
        "broken.png: ClientPayloadError",
    ]
    assert (tmp_path / "large.png").read_bytes() == bytes(1_000_003)


def test_dask_cluster(run: Run) -> None:
    pytest.importorskip("distributed")
    assert run("dask_cluster.py", "--limit", "20000").splitlines() == [
        "2262 primes below 20000, in 20 parts",
        "the loop was free: True",
    ]


def test_a_thousand_slow_pages_at_once(command: Command) -> None:
    pytest.importorskip("aiohttp")
    done = completed(command("web_server.py", "--port", "0", "--requests", "1000"))
    assert done.returncode == 0
    # A thousand answers in one turn of a busy machine may be told of as what blocks the loop.
    assert all("seconds" in line for line in done.stderr.splitlines())
    output, times = split_times(done.stdout)
    first, second = output.splitlines()
    assert re.fullmatch(r"serving on 127\.0\.0\.1:\d+", first)
    assert second == "1000 of 1000 answers took"
    assert 1.0 <= times[0] < 20.0  # one after the other: 1000 s


def test_the_web_server_serves_until_interrupted(command: Command) -> None:
    pytest.importorskip("aiohttp")
    with started(command("web_server.py", "--port", "0", "--seconds", "0")) as server:
        assert server.stdout is not None
        port = int(server.stdout.readline().rpartition(":")[2])
        with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as client:
            client.sendall(b"GET / HTTP/1.0\r\nHost: x\r\n\r\n")
            assert receive(client, None).endswith(b"\r\n\r\n<h1>Index</h1>")
        server.send_signal(signal.SIGINT)
        _, errors = server.communicate(timeout=PATIENCE)
        assert (server.returncode, errors) == (0, "")


@pytest.mark.parametrize("kind", ["processes", "threads"])
def test_every_core(run: Run, kind: str) -> None:
    lines = run("every_core.py", "--workers", "3", *["--threads"] * (kind == "threads"))
    *answers, last = lines.splitlines()
    assert last == "3 of 3 workers answered"
    found = [re.fullmatch(r"process (\d+), thread (\d+): (\d+) answers", a) for a in answers]
    processes, threads, counts = zip(*(match.groups() for match in found if match), strict=True)
    assert sum(map(int, counts)) == 150
    assert len(set(threads)) == 3
    assert len(set(processes)) == (3 if kind == "processes" else 1)


SCENES = re.compile(
    r"""CPython \d\.\d+\.\S+, event loop (?P<loop>\S+)

A task that is cancelled
  the answer is 42; the spinner drew \d+ frames and was cancelled

An echo server and 100 clients
  (?P<lines>[\d,]+) lines there and back in \d+\.\d s, 0 of them wrong

A bounded queue and 4 workers
  60 jobs done, by worker: (?P<jobs>\d+, \d+, \d+, \d+); 0 left in the queue

10,000 tasks asleep
  all awake: half at most \d+\.\d\d ms after their time, the latest \d+\.\d ms

What it costs
  ns of CPU per operation +asyncio +rulip +ratio
(?P<table>(?:  .{33}.*\n){5})  the least of 3 runs; ratio: asyncio's time divided by rulip's
"""
)
TIMED = [
    "call_soon, one callback per turn",
    "await sleep(0)",
    "create_task and await it",
    "two tasks, futures in ping-pong",
    "TCP echo, 1 KiB, both ends",
]


def check_tour(output: str, loop_name: str) -> None:
    """Everything in the tour's text that can be checked against something else in it."""
    tour = SCENES.fullmatch(output)
    assert tour is not None, output
    assert tour["loop"].split(".")[0] == loop_name
    assert int(tour["lines"].replace(",", "")) >= 100
    assert sum(map(int, tour["jobs"].split(", "))) == 60
    rows = tour["table"].splitlines()
    assert [row[2:35].rstrip() for row in rows] == TIMED
    for row in rows:
        theirs, ours, ratio, *_ = row[35:].replace(",", "").split()
        assert int(theirs) > 0
        assert int(ours) > 0
        rounding = 0.06 + float(ratio[:-1]) / int(ours)
        assert float(ratio[:-1]) == pytest.approx(int(theirs) / int(ours), abs=rounding)


def test_tour_in_plain_text(run: Run, loop_name: str) -> None:
    output = run("tour.py", "--seconds", "0.1")
    assert "\x1b" not in output
    assert "\r" not in output
    check_tour(output, loop_name)


@pytest.mark.parametrize("no_color", ["", "1"], ids=["colours", "NO_COLOR"])
@pytest.mark.loops("rulip")
def test_tour_on_a_terminal(command: Command, loop_name: str, no_color: str) -> None:
    status, shown = on_terminal(command("tour.py", "--seconds", "0.1"), NO_COLOR=no_color)
    assert status == 0
    assert shown.startswith("\x1b[?25l")
    assert shown.endswith("\x1b[?25h")
    assert bool(re.search(r"\x1b\[\d+m", shown)) is not bool(no_color)
    assert shown.count("round 3 of 3: TCP echo, 1 KiB, both ends, on rulip") >= 1
    left = screen_after(shown.replace("\r\n", "\n"))
    assert "round" not in left
    assert "thinking" not in left
    check_tour(left, loop_name)


@pytest.mark.parametrize("moment", ["thinking", " lines", "worker 3", " awake", "create_task and"])
def test_the_tour_can_be_left(command: Command, moment: str) -> None:
    """Ctrl-C in any scene: the status that a shell expects, the cursor back, and no complaints."""
    status, shown = on_terminal(command("tour.py", "--seconds", "0.4"), interrupt_at=moment)
    assert status == 130
    assert shown.endswith("\x1b[?25h")
    assert "least of" not in shown


def screen_after(shown: str) -> str:
    """What stays on a screen that never scrolls, for the few controls that the tour uses."""
    lines = [""]
    text = re.sub(r"\x1b\[(\d+m|\?25[lh])", "", shown)
    for part in re.split(r"(\n|\r|\x1b\[\d+A|\x1b\[J)", text):
        if up := re.fullmatch(r"\x1b\[(\d+)A", part):
            row = len(lines) - 1 - int(up[1])
            assert row >= 0
            del lines[row + 1 :]  # \x1b[J always follows
        elif part == "\n":
            lines.append("")
        elif part in ("\r", "\x1b[J"):
            lines[-1] = ""
        else:
            lines[-1] += part
    return "\n".join(lines)


def test_the_readme_lists_every_program() -> None:
    listed = re.findall(r"\[(\w+\.py)\]\((\w+\.py)\)", (EXAMPLES / "README.md").read_text())
    assert all(text == target for text, target in listed)
    assert sorted(target for _, target in listed) == sorted(p.name for p in EXAMPLES.glob("*.py"))


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.py")), ids=lambda path: path.stem)
def test_programs_import_asyncio_and_not_rulip(path: Path) -> None:
    tree = ast.parse(path.read_text())
    imported = {
        name.partition(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in (
            [a.name for a in node.names] if isinstance(node, ast.Import) else [node.module]
        )
        if name
    }
    assert imported <= {*sys.stdlib_module_names, "local_server", "aiohttp", "distributed"}
    assert "rulip" not in path.stem
