"""Child processes: starting, talking to them, their end, signals, every option of Popen.

Not here: what rulip promises beyond asyncio (tests/rulip/test_children.py).
Runs in the main thread; children are small shell or Python programs.
Invariant: no zombie, no descriptor and no pipe outlives a test; one body for both loops.
"""

from __future__ import annotations

import asyncio
import contextlib
import grp
import os
import pwd
import signal
import subprocess
import sys
import traceback
from asyncio.subprocess import DEVNULL, PIPE, STDOUT
from typing import Any

import pytest
from tests.loopback import collect_reports, no_fd_leak, turns, until, within

ROOT = os.geteuid() == 0


def children_left() -> list[str]:
    """The children of this process, zombies included, that are still there."""
    found = []
    for name in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError), open(f"/proc/{name}/stat", encoding="utf-8") as file:
            fields = file.read().rpartition(")")[2].split()
            if int(fields[1]) == os.getpid():
                found.append(f"{name} {fields[0]}")
    return found


@pytest.fixture(autouse=True)
def no_children_left():
    before = set(children_left())
    yield
    assert set(children_left()) <= before


def shell(text: str) -> list[str]:
    return ["/bin/sh", "-c", text]


def test_exec_and_wait(run):
    async def main():
        child = await asyncio.create_subprocess_exec(*shell("exit 3"))
        assert child.pid > 0
        assert await within(child.wait()) == 3
        assert child.returncode == 3
        assert await child.wait() == 3

    with no_fd_leak():
        run(main())


def test_a_shell_command(run):
    async def main():
        child = await asyncio.create_subprocess_shell(
            "echo out; echo err >&2", stdout=PIPE, stderr=PIPE
        )
        assert await within(child.communicate()) == (b"out\n", b"err\n")
        assert child.returncode == 0
        child = await asyncio.create_subprocess_shell(
            b"echo both; echo err >&2", stdout=PIPE, stderr=STDOUT
        )
        assert await within(child.communicate()) == (b"both\nerr\n", None)

    with no_fd_leak():
        run(main())


@pytest.mark.parametrize("how", ["exec", "shell"])
def test_who_starts_the_child(run, monkeypatch, how):
    """Tools that look for blocking calls forgive this one to asyncio, known by file and name."""
    callers = []
    popen = subprocess.Popen

    def noting(*args, **kwargs):
        callers.extend(traceback.walk_stack(sys._getframe()))
        return popen(*args, **kwargs)

    async def main():
        loop = asyncio.get_running_loop()
        start = getattr(loop, f"subprocess_{how}")
        monkeypatch.setattr(subprocess, "Popen", noting)
        transport, _ = await start(asyncio.SubprocessProtocol, "true")
        monkeypatch.undo()
        await transport._wait()
        transport.close()
        codes = [frame.f_code for frame, _ in callers]
        assert any(
            code.co_name == f"subprocess_{how}"
            and code.co_filename.endswith("asyncio/base_events.py")
            for code in codes
        )

    run(main())


@pytest.mark.parametrize("size", [0, 1, 65_535, 65_536, 65_537, 50_000_000])
def test_through_cat(run, size):
    data = os.urandom(size)

    async def main():
        child = await asyncio.create_subprocess_exec("/bin/cat", stdin=PIPE, stdout=PIPE)
        out, err = await within(child.communicate(data), 30)
        assert out == data
        assert err is None
        assert child.returncode == 0

    with no_fd_leak():
        run(main())


def test_a_child_that_closes_its_stdin_early(run):
    async def main():
        child = await asyncio.create_subprocess_exec(
            *shell("exec 0<&-; echo done; exit 7"), stdin=PIPE, stdout=PIPE
        )
        # BrokenPipeError and ConnectionResetError are swallowed.
        out, _ = await within(child.communicate(bytes(1_000_000)))
        assert (out, child.returncode) == (b"done\n", 7)

    with no_fd_leak():
        run(main())


def test_reading_line_by_line_with_a_small_limit(run):
    async def main():
        child = await asyncio.create_subprocess_exec(
            *shell("i=0; while [ $i -lt 2000 ]; do echo line $i; i=$((i+1)); done"),
            stdout=PIPE,
            limit=64,
        )
        lines = []
        while line := await within(child.stdout.readline()):
            lines.append(line)
        assert lines == [b"line %d\n" % number for number in range(2000)]
        assert await within(child.wait()) == 0

    with no_fd_leak():
        run(main())


@pytest.mark.parametrize("how", ["terminate", "kill", "send_signal"])
def test_signals(run, how):
    numbers = {"terminate": signal.SIGTERM, "kill": signal.SIGKILL, "send_signal": signal.SIGUSR1}

    async def main():
        child = await asyncio.create_subprocess_exec("/bin/sleep", "60")
        getattr(child, how)(*([signal.SIGUSR1] if how == "send_signal" else []))
        assert await within(child.wait()) == -numbers[how]
        with contextlib.suppress(ProcessLookupError):
            child.send_signal(signal.SIGTERM)

    with no_fd_leak():
        run(main())


def test_signals_to_a_child_that_has_ended(run):
    async def main():
        child = await asyncio.create_subprocess_exec("/bin/true", stdout=PIPE)
        await within(child.wait())
        await within(child.stdout.read())
        await turns(5)
        for send in (child.kill, child.terminate):
            with pytest.raises(ProcessLookupError):
                send()

    with no_fd_leak():
        run(main())


def test_waiting_from_many_tasks_and_a_cancelled_one(run):
    async def main():
        child = await asyncio.create_subprocess_exec(*shell("read x; exit 4"), stdin=PIPE)
        waiters = [asyncio.create_task(child.wait()) for _ in range(5)]
        await turns(2)
        waiters[0].cancel()
        child.stdin.write(b"\n")
        results = await within(asyncio.gather(*waiters, return_exceptions=True))
        assert isinstance(results[0], asyncio.CancelledError)
        assert results[1:] == [4] * 4

    with no_fd_leak():
        run(main())


def test_a_program_that_is_not_there(run, tmp_path):
    plain = tmp_path / "plain"
    plain.write_text("no program")

    async def main():
        for kind, path in (
            (FileNotFoundError, str(tmp_path / "nothing")),
            (PermissionError, str(plain)),
            (NotADirectoryError, f"{plain}/below"),
        ):
            with pytest.raises(kind):
                await asyncio.create_subprocess_exec(path, stdin=PIPE, stdout=PIPE)
        with pytest.raises(ValueError, match="embedded null"):
            await asyncio.create_subprocess_exec("a\0b")

    with no_fd_leak():
        run(main())


REFUSED = [
    ({"universal_newlines": True}, "universal_newlines must be False"),
    ({"bufsize": 5}, "bufsize must be 0"),
    ({"text": True}, "text must be False"),
    ({"encoding": "utf-8"}, "encoding must be None"),
    ({"errors": "strict"}, "errors must be None"),
]


@pytest.mark.parametrize(("options", "text"), REFUSED)
def test_what_is_refused(run, options, text):
    async def main():
        loop = asyncio.get_running_loop()
        with pytest.raises(ValueError, match=text):
            await loop.subprocess_exec(asyncio.SubprocessProtocol, "/bin/true", **options)
        with pytest.raises(ValueError, match=text):
            await loop.subprocess_shell(asyncio.SubprocessProtocol, "true", **options)
        with pytest.raises(ValueError, match="shell must be False"):
            await loop.subprocess_exec(asyncio.SubprocessProtocol, "/bin/true", shell=True)
        with pytest.raises(ValueError, match="shell must be True"):
            await loop.subprocess_shell(asyncio.SubprocessProtocol, "true", shell=False)
        with pytest.raises(ValueError, match="cmd must be a string"):
            await loop.subprocess_shell(asyncio.SubprocessProtocol, ["true"])

    with no_fd_leak():
        run(main())


REPORT = """\
import grp, os, sys
print(os.getcwd(), os.environ.get("MARK"), os.getsid(0) == os.getpid(),
      os.getpgid(0) == os.getpid(), os.umask(0), os.getuid(), os.getgid(), sorted(os.getgroups()),
      sys.argv[0])
"""


def options() -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {
        "default": {},
        "cwd": {"cwd": "/"},
        "env": {"env": {"MARK": "set", "PATH": os.environ["PATH"]}},
        "start_new_session": {"start_new_session": True},
        "umask": {"umask": 0o27},
        "close_fds": {"close_fds": False},
        "restore_signals": {"restore_signals": False},
        "preexec_fn": {"preexec_fn": os.setsid},
        "pipesize": {"pipesize": 4096},
        "process_group": {"process_group": 0},
        "executable": {"executable": sys.executable},
        "stdin": {"stdin": DEVNULL},
    }
    if ROOT:
        nobody = pwd.getpwnam("nobody")
        found["user"] = {"user": nobody.pw_uid, "cwd": "/"}
        found["user by name"] = {"user": "nobody", "cwd": "/"}
        found["group"] = {"group": nobody.pw_gid}
        found["extra_groups"] = {"extra_groups": [grp.getgrgid(nobody.pw_gid).gr_name]}
    return found


@pytest.mark.filterwarnings("ignore:.*preexec_fn:DeprecationWarning")
@pytest.mark.parametrize("given", options().values(), ids=options())
def test_options_of_popen(run, given):
    command = [sys.executable, "-S", "-c", REPORT]
    if given.get("user"):
        command = ["/bin/sh", "-c", "pwd; id -u; id -g"]
    if "executable" in given:
        command[0] = "another-name"
    expected = subprocess.run(command, stdout=PIPE, check=True, **given).stdout

    async def main():
        child = await asyncio.create_subprocess_exec(*command, stdout=PIPE, **given)
        out, _ = await within(child.communicate(), 30)
        assert out == expected
        assert child.returncode == 0

    with no_fd_leak():
        run(main())


def test_descriptors_that_are_passed_on(run):
    reading, writing = os.pipe()

    async def main():
        code = f"import os; os.write({writing}, b'passed')"
        command = [sys.executable, "-S", "-c", code]
        child = await asyncio.create_subprocess_exec(*command, pass_fds=[writing])
        assert await within(child.wait()) == 0
        assert os.read(reading, 100) == b"passed"
        child = await asyncio.create_subprocess_exec(*command, stderr=DEVNULL)
        assert await within(child.wait()) != 0

    try:
        with no_fd_leak():
            run(main())
    finally:
        os.close(reading)
        os.close(writing)


@pytest.mark.filterwarnings("ignore:.*preexec_fn:DeprecationWarning")
def test_a_preexec_fn_that_raises(run):
    def bomb():
        raise ZeroDivisionError

    async def main():
        with pytest.raises(subprocess.SubprocessError):
            await asyncio.create_subprocess_exec("/bin/true", preexec_fn=bomb, stdout=PIPE)

    with no_fd_leak():
        run(main())


class Recorder(asyncio.SubprocessProtocol):
    def __init__(self) -> None:
        self.calls: list[Any] = []
        self.exited = asyncio.get_running_loop().create_future()
        self.lost = asyncio.get_running_loop().create_future()

    def connection_made(self, transport):
        self.transport = transport
        self.calls.append("made")

    def pipe_data_received(self, fd, data):
        self.calls.append((fd, data))

    def pipe_connection_lost(self, fd, exc):
        self.calls.append((fd, "lost", exc))

    def process_exited(self):
        self.calls.append("exited")
        self.exited.set_result(self.transport.get_returncode())

    def connection_lost(self, exc):
        self.calls.append("lost")
        self.lost.set_result(exc)


def test_a_protocol_hears_everything_once(run):
    async def main():
        loop = asyncio.get_running_loop()
        transport, protocol = await loop.subprocess_exec(
            Recorder, *shell("read line; echo got $line; echo oops >&2; exit 5")
        )
        assert isinstance(transport, asyncio.SubprocessTransport)
        assert transport.get_protocol() is protocol
        assert transport.get_returncode() is None
        assert transport.get_pid() == transport.get_extra_info("subprocess").pid
        assert not transport.is_closing()
        assert f"pid={transport.get_pid()} running stdin=<" in repr(transport)
        pipes = [transport.get_pipe_transport(fd) for fd in range(4)]
        assert isinstance(pipes[0], asyncio.WriteTransport)
        assert isinstance(pipes[1], asyncio.ReadTransport)
        assert isinstance(pipes[2], asyncio.ReadTransport)
        assert pipes[3] is None
        pipes[0].write(b"word\n")
        assert await within(protocol.exited) == 5
        assert await within(protocol.lost) is None
        calls = protocol.calls
        assert calls[0] == "made"
        assert calls[-1] == "lost"
        assert sorted(map(repr, calls[1:-1])) == sorted(
            map(
                repr,
                [
                    (1, b"got word\n"),
                    (2, b"oops\n"),
                    (0, "lost", None),
                    (1, "lost", None),
                    (2, "lost", None),
                    "exited",
                ],
            )
        )
        assert "returncode=5" in repr(transport)
        transport.close()
        assert transport.is_closing()
        assert "closed" in repr(transport)
        with pytest.raises(ProcessLookupError):
            transport.kill()

    with no_fd_leak():
        run(main())


def test_closing_the_transport_kills(run):
    async def main():
        loop = asyncio.get_running_loop()
        transport, protocol = await loop.subprocess_exec(Recorder, "/bin/sleep", "60")
        transport.close()
        transport.close()
        assert await within(protocol.exited) == -signal.SIGKILL
        assert await within(protocol.lost) is None

    with no_fd_leak():
        run(main())


def test_a_paused_reader_loses_nothing(run):
    size = 1_000_000

    async def main():
        loop = asyncio.get_running_loop()
        transport, protocol = await loop.subprocess_exec(
            Recorder, *shell(f"head -c {size} /dev/zero"), stdin=None, stderr=None
        )
        pipe = transport.get_pipe_transport(1)
        received = 0
        pipe.pause_reading()
        assert not pipe.is_reading()
        await turns(10)
        while received < size:
            pipe.resume_reading()
            await turns(2)
            pipe.pause_reading()
            await turns(1)
            received = sum(
                len(call[1]) for call in protocol.calls if call[0] == 1 and len(call) == 2
            )
        pipe.resume_reading()
        assert await within(protocol.lost) is None
        transport.close()
        assert received == size

    with no_fd_leak():
        run(main())


def test_cancelled_at_every_step(run):
    async def attempt(step):
        task = asyncio.create_task(
            asyncio.create_subprocess_exec("/bin/sleep", "60", stdin=PIPE, stdout=PIPE)
        )
        await turns(step)
        over = task.done()
        task.cancel()
        try:
            child = await within(task)
        except asyncio.CancelledError:
            return False
        child.kill()
        await within(child.communicate())
        return over

    for step in range(40):
        with no_fd_leak():
            if run(attempt(step)):
                return
    pytest.fail("never over")


def test_twenty_killed_and_ten_cancelled_leave_no_zombie(run):
    async def main():
        children = [await asyncio.create_subprocess_exec("/bin/sleep", "60") for _ in range(20)]
        for child in children:
            child.kill()
        tasks = [
            asyncio.create_task(asyncio.create_subprocess_exec("/bin/sleep", "60", stdout=PIPE))
            for _ in range(10)
        ]
        await turns(1)
        for task in tasks:
            task.cancel()
        await within(asyncio.gather(*tasks, return_exceptions=True), 30)
        codes = await within(asyncio.gather(*(child.wait() for child in children)), 30)
        assert codes == [-signal.SIGKILL] * 20

    with no_fd_leak():
        run(main())


def test_two_hundred_children(run):
    async def child(number):
        process = await asyncio.create_subprocess_exec(
            *shell(f"read x; echo $x; exit {number % 7}"), stdin=PIPE, stdout=PIPE
        )
        out, _ = await process.communicate(b"%d\n" % number)
        assert out == b"%d\n" % number
        assert process.returncode == number % 7

    async def main():
        gate = asyncio.Semaphore(25)

        async def one(number):
            async with gate:
                await child(number)

        await within(asyncio.gather(*(one(number) for number in range(200))), 120)

    with no_fd_leak():
        run(main())


def test_a_factory_that_raises_starts_nothing(run):
    def bomb():
        raise ZeroDivisionError

    async def main():
        loop = asyncio.get_running_loop()
        with pytest.raises(ZeroDivisionError):
            await loop.subprocess_exec(bomb, "/bin/true")

    with no_fd_leak():
        run(main())


def test_a_callback_that_raises_is_reported(run):
    class Bombed(Recorder):
        def pipe_data_received(self, fd, data):
            raise ZeroDivisionError

    async def main():
        loop = asyncio.get_running_loop()
        reports = collect_reports(loop)
        transport, protocol = await loop.subprocess_exec(Bombed, "/bin/echo", "x")
        assert await within(protocol.lost) is None
        transport.close()
        await until(lambda: reports)
        assert [type(report["exception"]) for report in reports] == [ZeroDivisionError]

    with no_fd_leak():
        run(main())


def test_debug_mode_logs_without_arguments(run, caplog):
    async def main():
        child = await asyncio.create_subprocess_exec("/bin/true", "--secret", stdout=PIPE)
        await within(child.communicate())

    caplog.set_level("DEBUG")
    run(main(), debug=True)
    assert "execute program '/bin/true'" in caplog.text
    assert "stdout=<pipe>" in caplog.text
    assert "process '/bin/true' created: pid" in caplog.text
    assert "exited with return code 0" in caplog.text
    assert "--secret" not in caplog.text


def test_pipes_are_connected_by_the_method_set_on_the_loop(run):
    async def main():
        loop = asyncio.get_running_loop()
        stock = loop.connect_read_pipe
        seen = []

        async def connect_read_pipe(factory, pipe):
            seen.append(pipe.fileno())
            await turns(3)
            return await stock(factory, pipe)

        loop.connect_read_pipe = connect_read_pipe
        try:
            child = await asyncio.create_subprocess_exec(
                *shell("cat; echo done >&2; exit 4"), stdin=PIPE, stdout=PIPE, stderr=PIPE
            )
            assert len(seen) == 2
            assert await within(child.communicate(b"to and fro")) == (b"to and fro", b"done\n")
            assert await within(child.wait()) == 4
        finally:
            del loop.connect_read_pipe

    with no_fd_leak():
        run(main())
