"""Child processes where asyncio is wrong or silent: grandchildren, thieves, threads, Ctrl-C.

Not here: what asyncio does as well (tests/asyncio/test_subprocesses.py).
Runs in the main thread, or in a process of its own where signals are meant.
Invariant: a signal goes to our child or to nobody; waiting for a child ends with the child.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import signal
import subprocess
import sys
import textwrap
import threading
from asyncio.subprocess import PIPE

import pytest
from tests.loopback import no_fd_leak, resource_warnings, spare_descriptors, turns, until, within

import rulip

pytestmark = pytest.mark.loops("rulip")


def shell(text: str) -> list[str]:
    return ["/bin/sh", "-c", text]


def test_a_grandchild_that_keeps_stdout_does_not_keep_wait_waiting(run):
    async def main():
        child = await asyncio.create_subprocess_exec(
            *shell("sleep 60 & echo $!; exit 3"), stdout=PIPE
        )
        grandchild = int(await within(child.stdout.readline()))
        assert await within(child.wait()) == 3
        # communicate() still waits for the end of the pipe.
        talk = asyncio.create_task(child.communicate())
        await turns(10)
        assert not talk.done()
        os.kill(grandchild, signal.SIGKILL)
        assert await within(talk) == (b"", None)

    with no_fd_leak():
        run(main())


def test_children_need_neither_thread_nor_signal_handler(run):
    async def main():
        before = signal.getsignal(signal.SIGCHLD)
        children = [await asyncio.create_subprocess_exec("/bin/sleep", "60") for _ in range(20)]
        assert signal.getsignal(signal.SIGCHLD) is before
        assert threading.active_count() == 1
        for child in children:
            child.kill()
            await within(child.wait())

    with no_fd_leak():
        run(main())


def test_a_child_that_somebody_else_has_reaped(run, caplog):
    async def main():
        child = await asyncio.create_subprocess_exec("/bin/sleep", "60")
        os.kill(child.pid, signal.SIGKILL)
        os.waitpid(child.pid, 0)
        # The number is free now: whoever has it next gets no signal of ours.
        child.send_signal(signal.SIGTERM)
        child.kill()
        assert await within(child.wait()) == 255
        with pytest.raises(ProcessLookupError):
            await turns(3)
            child.kill()
        assert f"child process pid {child.pid} exit status already read" in caplog.text

    with no_fd_leak():
        run(main())


def test_children_while_sigchld_is_ignored(run):
    async def main():
        children = [await asyncio.create_subprocess_exec("/bin/true") for _ in range(5)]
        child = await asyncio.create_subprocess_exec("/bin/sleep", "60")
        child.kill()
        children.append(child)
        for each in children:
            assert await within(each.wait()) == 255

    before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    try:
        with no_fd_leak():
            run(main())
    finally:
        signal.signal(signal.SIGCHLD, before)


def test_a_popen_that_was_polled_by_hand(run):
    async def main():
        loop = asyncio.get_running_loop()
        transport, _ = await loop.subprocess_exec(asyncio.SubprocessProtocol, *shell("exit 6"))
        popen = transport.get_extra_info("subprocess")
        assert popen.wait() == 6
        assert await within(transport._wait()) == 6
        transport.close()
        await turns(5)

    with no_fd_leak():
        run(main())


def test_loops_of_other_threads_have_children(no_threads_left):
    results = []

    async def main():
        child = await asyncio.create_subprocess_exec(*shell("exit 9"), stdout=PIPE)
        await child.communicate()
        results.append(child.returncode)

    def work():
        with asyncio.Runner(loop_factory=rulip.new_event_loop) as runner:
            runner.run(main())

    with no_fd_leak():
        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
    assert results == [9] * 4


@pytest.fixture
def no_threads_left():
    yield
    assert threading.active_count() == 1


def test_without_pidfds(run, monkeypatch):
    """A thread waits, but the loop's thread reaps: a signal never reaches a recycled number."""

    def denied(pid):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(rulip.event_loop.child, "_pidfd_open", denied)

    async def main():
        child = await asyncio.create_subprocess_exec(*shell("read x; exit 5"), stdin=PIPE)
        await child.communicate(b"\n")
        assert child.returncode == 5
        child = await asyncio.create_subprocess_exec("/bin/sleep", "60")
        child.kill()
        assert await within(child.wait()) == -signal.SIGKILL
        thief = await asyncio.create_subprocess_exec("/bin/true")
        with contextlib.suppress(ChildProcessError):
            os.waitpid(thief.pid, 0)
        assert await within(thief.wait()) in (0, 255)

    with no_fd_leak():
        run(main())


def test_on_a_python_that_knows_no_pidfds(run, monkeypatch):
    """Built with the headers of an old kernel, as many portable builds are."""
    monkeypatch.delattr(os, "pidfd_open", raising=False)
    monkeypatch.delattr(signal, "pidfd_send_signal", raising=False)

    async def main():
        child = await asyncio.create_subprocess_exec(*shell("read x; exit 5"), stdin=PIPE)
        await child.communicate(b"\n")
        assert child.returncode == 5
        child = await asyncio.create_subprocess_exec("/bin/sleep", "60")
        assert threading.active_count() == 1
        child.send_signal(signal.SIGRTMIN)
        assert await within(child.wait()) == -signal.SIGRTMIN

    with no_fd_leak():
        run(main())


def test_a_start_that_runs_out_of_descriptors(run):
    async def main():
        for count in range(12):
            with spare_descriptors(count), contextlib.suppress(OSError):
                child = await asyncio.create_subprocess_exec(
                    "/bin/true", stdin=PIPE, stdout=PIPE, stderr=PIPE
                )
                await within(child.communicate())
        gc.collect()

    with no_fd_leak():
        run(main())


def test_a_running_child_at_the_end_of_the_loop(loop):
    async def main():
        return await asyncio.create_subprocess_exec("/bin/sleep", "60", stdin=PIPE, stdout=PIPE)

    with resource_warnings() as texts:
        child = loop.run_until_complete(main())
        pid = child.pid
        loop.close()
        del child
        gc.collect()
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, 0)
    assert any(text.startswith("unclosed transport <SubprocessTransport") for text in texts), texts


def test_a_transport_nobody_closed_is_reported_and_its_child_killed(run):
    async def main():
        loop = asyncio.get_running_loop()
        transport, _ = await loop.subprocess_exec(asyncio.SubprocessProtocol, "/bin/sleep", "60")
        pid = transport.get_pid()
        del transport
        gc.collect()
        return pid

    with resource_warnings() as texts:
        pid = run(main())
    with contextlib.suppress(ChildProcessError):
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL
    assert any(text.startswith("unclosed transport <SubprocessTransport") for text in texts), texts


INTERRUPTED = """
import asyncio, os, signal, sys, rulip

async def main():
    tasks = [
        asyncio.create_task(asyncio.create_subprocess_exec(
            "/bin/sleep", "60", stdin=-1, stdout=-1, stderr=-1))
        for _ in range(10)
    ]
    await asyncio.sleep(0)
    os.kill(os.getpid(), signal.SIGINT)
    await asyncio.gather(*tasks)
    await asyncio.sleep(60)

try:
    asyncio.run(main(), loop_factory=rulip.new_event_loop) if sys.version_info >= (3, 12) else \\
        rulip.run(main())
except KeyboardInterrupt:
    try:
        while True:
            os.waitpid(-1, 0)
    except ChildProcessError:
        print("none left")
"""


def test_ctrl_c_while_children_are_being_started(tmp_path):
    script = tmp_path / "interrupted.py"
    script.write_text(textwrap.dedent(INTERRUPTED))
    # A hang, or a child that still runs, would take a minute.
    done = subprocess.run(
        [sys.executable, str(script)], capture_output=True, text=True, timeout=30, check=False
    )
    assert done.stdout.strip() == "none left", done.stdout + done.stderr


def test_the_loop_goes_on_while_a_child_reads_slowly(run):
    async def main():
        child = await asyncio.create_subprocess_exec("/bin/sleep", "60", stdin=PIPE)
        child.stdin.write(bytes(10_000_000))
        drained = asyncio.create_task(child.stdin.drain())
        await turns(10)
        assert not drained.done()
        child.kill()
        await within(child.wait())
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            await within(drained)
        await until(lambda: child.stdin.transport.is_closing())

    with no_fd_leak():
        run(main())


@pytest.mark.parametrize("method", ["connect_read_pipe", "connect_write_pipe"])
@pytest.mark.parametrize("error", [asyncio.CancelledError, OSError])
def test_pipes_whose_connector_fails_end_the_start(run, method, error):
    """asyncio before 3.14 leaves the pipes open."""

    async def main():
        loop = asyncio.get_running_loop()

        async def refuse(factory, pipe):
            raise error

        setattr(loop, method, refuse)
        try:
            with pytest.raises(error):
                await within(
                    asyncio.create_subprocess_exec(
                        *shell("sleep 60"), stdin=PIPE, stdout=PIPE, stderr=PIPE
                    )
                )
        finally:
            delattr(loop, method)
        await turns(5)

    with no_fd_leak():
        run(main())
        gc.collect()
