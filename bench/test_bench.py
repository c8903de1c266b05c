"""The suite's own tests (`pytest bench`): it measures what it says and hides no failure.

Not here: any judgement of speed. Thread: pytest's; the contenders run in children.
Invariant: nothing here depends on how fast the machine is.
"""

from __future__ import annotations

import asyncio
import dataclasses
import re
import shutil
import socket
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

import budget
import compare
import contenders
import instructions
import report
import run
import table
import tcp
from measured import Measured
from processes import ChildError, Cores, run_json, running_server
from results import Results, Row
from workloads import WORKLOADS

BROKEN = """
import asyncio, os

def aborts():
    os.abort()

class Stuck(asyncio.SelectorEventLoop):
    def run_forever(self):
        raise RuntimeError("stuck on purpose")

def new_event_loop():
    return Stuck()
"""

needs_cargo = pytest.mark.skipif(
    shutil.which("cargo") is None, reason="the client is compiled by cargo"
)


@pytest.fixture
def broken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A module `broken_loops` whose loops do not work."""
    (tmp_path / "broken_loops.py").write_text(BROKEN)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))


@pytest.fixture(scope="module")
def client() -> Path:
    """The load client. Who uses it bears the time limit of its compilation."""
    return tcp.built_client()


@pytest.mark.parametrize("name", [name for name in WORKLOADS if not name.endswith("_1m")])
def test_workload_does_its_operations_and_leaves_nothing(name: str) -> None:
    workload = WORKLOADS[name]
    if lack := workload.lacks():
        pytest.skip(lack)
    operations = workload.operations if workload.fixed else 150
    measured = Measured()

    async def main() -> int:
        await workload.run(operations, measured)
        return len(asyncio.all_tasks())

    with asyncio.Runner() as runner:
        assert runner.run(main()) == 1
    assert operations <= measured.operations < operations + 1_000
    assert measured.user_seconds + measured.system_seconds > 0


@pytest.mark.parametrize(
    "name",
    [
        name
        for name, workload in WORKLOADS.items()
        if workload.kind == "memory" and not name.endswith("_1m")
    ],
)
def test_memory_is_weighed_in_a_fresh_process(name: str) -> None:
    """Here, memory that earlier tests freed would be used again, and nothing would grow."""
    worker = Path(run.__file__).with_name("worker.py")
    command = [sys.executable, str(worker), "asyncio", name, str(WORKLOADS[name].operations)]
    sample = run_json(command, Cores.available().tested, timeout=120)
    assert sample["operations"] == WORKLOADS[name].operations
    assert sample["bytes"] > 50


def test_measured_counts_once() -> None:
    measured = Measured()
    with measured(1):
        pass
    with pytest.raises(RuntimeError, match="measures once"):
        measured(1)


@pytest.mark.usefixtures("broken")
def test_contenders_that_fail_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "result.json"
    names = "asyncio,nowhere,broken_loops:aborts,broken_loops"
    arguments = ["--contenders", names, "--only", "^call_soon_1$", "--rounds", "2", "--quick"]
    assert run.main([*arguments, "--output", str(path)]) == 0
    shown = capsys.readouterr().out
    assert "nowhere: not installed" in shown
    assert "broken_loops:aborts: " in shown
    results = Results.read(path)
    assert set(results.missing) == {"nowhere", "broken_loops:aborts", "broken_loops"}
    (row,) = results.rows
    assert len(row.samples["asyncio"]) == 2
    least = row.least("asyncio")
    assert least is not None
    assert f"{least:.0f} (" in shown


@pytest.mark.usefixtures("broken")
def test_subject_that_fails_fails_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "SUBJECT", "broken_loops")
    monkeypatch.setattr(run, "LOCAL_RESULTS", tmp_path)
    arguments = ["--contenders", "asyncio,broken_loops", "--only", "^call_soon_1$", "--quick"]
    assert run.main([*arguments, "--rounds", "1"]) == 1
    (path,) = tmp_path.glob("*.json")
    # A second run of the same day does not write over the first.
    assert re.fullmatch(r"\d{4}-\d\d-\d\d-\d{6}", path.stem)


def test_how_a_child_ended() -> None:
    def ending_of(code: str, timeout: float = 30) -> ChildError:
        with pytest.raises(ChildError) as caught:
            run_json([sys.executable, "-c", code], Cores.available().tested, timeout=timeout)
        return caught.value

    assert "SIGABRT" in str(ending_of("import os; os.abort()"))
    assert str(ending_of("raise SystemExit('bad luck')")) == "exit status 1: bad luck"
    assert "no result" in str(ending_of("print('not json')"))
    assert "no result" in str(ending_of("print(7)"))
    assert ending_of("while True: pass", timeout=0.2).hung


def test_a_server_that_dies_is_told() -> None:
    core = Cores.available().tested
    code = "print('{}', flush=True); import sys; sys.stdin.read(); sys.exit('gone')"
    with (
        pytest.raises(ChildError, match="server: exit status 1: gone"),
        running_server([sys.executable, "-c", code], core, timeout=30) as server,
    ):
        server.process.wait()
    with (
        pytest.raises(ChildError, match="server: exit status 1: no port"),
        running_server([sys.executable, "-c", "raise SystemExit('no port')"], core, timeout=30),
    ):
        pytest.fail("the server never announced itself")


@needs_cargo
@pytest.mark.timeout(900)  # the first one compiles the client
@pytest.mark.parametrize("contender", ["asyncio", contenders.FLOOR])
@pytest.mark.parametrize("mode", ["protocol", "streams", "protocol, TLS"])
def test_tcp_sample(client: Path, contender: str, mode: str) -> None:
    mode, _, layer = mode.partition(", ")
    if layer and contender == contenders.FLOOR:
        pytest.skip("the floor speaks no TLS")
    scenario = tcp.Scenario(mode, 100 * tcp.KIB, 10, tls=bool(layer))
    cores = Cores.available()
    sample = tcp.measure(
        contender, scenario, client, cores, warm_up=0.05, duration=0.3, environment={}
    )
    assert sample["operations"] > 0
    assert 0 < sample["cpu_ns"] <= 0.5e9 / sample["operations"] * 2
    assert sample["latency_us"]["p50"] <= sample["latency_us"]["p99"]


@pytest.fixture
def shouting_server() -> Iterator[int]:
    """An echo server that is not one: it gives back capitals."""
    port = tcp.free_port()
    listener = socket.create_server(("127.0.0.1", port))

    def serve() -> None:
        connection, _ = listener.accept()
        with connection:
            while data := connection.recv(65_536):
                connection.sendall(data.upper())

    thread = threading.Thread(target=serve)
    thread.start()
    yield port
    thread.join()
    listener.close()


@needs_cargo
@pytest.mark.timeout(900)  # the first one compiles the client
def test_the_client_checks_the_echo(client: Path, shouting_server: int) -> None:
    command = [str(client), "load", "--port", str(shouting_server), "--connections", "1"]
    command += ["--size", "1024", "--requests", "5", "--server-pid", "1"]
    with pytest.raises(ChildError, match="the reply is not what it must be"):
        run_json(command, Cores.available().client, timeout=30)


def made_up(rulip: list[float], asyncio_: list[float], date: str = "today") -> Results:
    row = Row("call_soon_1", "callback", "scheduling")
    for name, values in (("rulip", rulip), ("asyncio", asyncio_)):
        row.samples[name] = [{"cpu_ns": value, "bytes": 0.0} for value in values]
    row.failures["rloop"] = ["killed by SIGSEGV"]
    environment = {"cpu": "x", "cores": 2, "kernel": "k", "python": "p", "libc": "l"}
    return Results(
        date=date,
        environment=environment | {"load_before": 0.0},
        settings={"rounds": 3, "malloc": {}},
        contenders=["asyncio", "rloop", "rulip"],
        missing={"uvloop": "not installed"},
        rows=[row],
    )


def test_table() -> None:
    text = table.render(made_up([100, 110, 105], [1000, 1001, 1500]))
    header, line = text.split("\n\n")[1].splitlines()
    assert header.split() == ["asyncio", "rloop", "rulip", "asyncio/rulip", "rloop/rulip"]
    assert line.split() == [
        "call_soon_1",
        "1000",
        "(1001)",
        "failed",
        *"100 (105) 10.00x -".split(),
    ]
    assert "uvloop: not installed" in text
    assert "call_soon_1, rloop: 1 failed: killed by SIGSEGV" in text


@pytest.mark.parametrize(
    ("rulip", "asyncio_", "expected"),
    [
        ([130, 131], [1000, 1000], "slower"),
        ([70, 71], [1000, 1000], "faster"),
        ([101, 102], [1000, 1000], ""),
        # The whole machine became slower: not rulip's doing.
        ([130, 131], [1300, 1300], ""),
        # The rounds differ more than the files do.
        ([110, 150], [1000, 1000], ""),
    ],
)
def test_compare(rulip: list[float], asyncio_: list[float], expected: str) -> None:
    before = made_up([100, 101], [1000, 1000], "before")
    text = compare.render(before, made_up(rulip, asyncio_), "rulip", "asyncio")
    (line,) = [line for line in text.splitlines() if line.startswith("call_soon_1")]
    assert line.split()[6:] == ([expected] if expected else [])


def test_compare_tells_unlike_conditions() -> None:
    before, after = made_up([100], [1000]), made_up([100], [1000])
    after.environment["kernel"] = "another"
    assert "not alike: kernel: k before, another after" in compare.render(
        before, after, "rulip", "asyncio"
    )


def test_only_the_extension_counts_as_its_own(tmp_path: Path) -> None:
    output = tmp_path / "out"
    output.write_text(
        "events: Ir\n"
        "ob=(1) /usr/lib/libpython3.13.so\n"
        "fn=(1) eval\n"
        "10 100\n"
        "cob=(2) /x/_rulip.cpython-313.so\n"
        "cfn=(2) call_soon\n"
        "calls=5 20\n"
        "10 4000\n"
        "ob=(2)\n"
        "fn=(2)\n"
        "20 30\n"
        "+1 7\n"
        "cob=(1)\n"
        "cfn=(1)\n"
        "calls=2 10\n"
        "* 900\n"
        "totals: 4137\n"
    )
    assert instructions.own_of(output) == 37
    assert instructions.total_of(output) == 4137


def test_the_budget_tells_over_from_under() -> None:
    assert budget.verdict(106, 100) == "OVER"
    assert budget.verdict(104, 100) == "ok"
    assert budget.verdict(80, 100) == "ok, lower the budget"


def test_a_report_shows_each_row_and_each_loss(tmp_path: Path) -> None:
    rows = [
        Row("a", "ahead", "scheduling", {"rulip": [{"cpu_ns": 50}], "asyncio": [{"cpu_ns": 100}]}),
        Row("b", "behind", "tcp", {"rulip": [{"cpu_ns": 2000}], "asyncio": [{"cpu_ns": 1000}]}),
        Row("c", "failing", "tcp", {"asyncio": [{"cpu_ns": 1000}]}, {"rulip": ["it fell over"]}),
    ]
    results = Results(
        date="2020-02-02T00:00:00+00:00",
        environment={
            "cpu": "X",
            "cores": 1,
            "kernel": "6",
            "python": "3",
            "libc": "g",
            "load_before": 0.0,
        },
        settings={"rounds": 1, "malloc": {}},
        contenders=["asyncio", "rulip"],
        rows=rows,
    )
    text = report.page([(results, "x.json")])
    assert "| ahead | 50 | 100 | 2.00x |" in text
    assert "| behind | 2.00 | 1.00 | **0.50x** |" in text
    assert "- behind: asyncio needs 0.50 of rulip's" in text
    assert "- failing, rulip: it fell over" in text
    assert "On Python" not in text
    other = dataclasses.replace(results, environment={**results.environment, "python": "3.99.1"})
    both = report.page([(results, "x.json"), (other, "y.json")])
    assert both.startswith(text.rstrip("\n"))
    second = both.removeprefix(text)
    assert "## On Python 3.99.1" in second
    assert "samples: `y.json`" in second
    assert "### Echo servers" in second
    assert "(benchmarks/3.99.1/tcp.svg)" in second
