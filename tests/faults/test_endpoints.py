"""System calls that fail under datagram endpoints, pipes and child processes; connections that an
administrator ends.

Not here: streams (test_system_calls.py).
Each program runs in a process of its own.
Invariant: only what was hit is lost, with a clear error; no descriptor and no child is left.
"""

from __future__ import annotations

import os
import shutil

import pytest

UDP = """
    loop = factory()
    reports = []
    loop.set_exception_handler(lambda loop, context: reports.append(context))
    errors, received = [], []

    class Protocol(asyncio.DatagramProtocol):
        def datagram_received(self, data, addr):
            received.append(data)

        def error_received(self, exc):
            errors.append(exc)

    async def main():
        transport, _ = await loop.create_datagram_endpoint(
            Protocol, local_addr=("127.0.0.1", 0))
        return transport

    transport = loop.run_until_complete(main())
    where = transport.get_extra_info("sockname")

    async def wait_for(count):
        async with asyncio.timeout(15):
            while len(received) < count:
                await asyncio.sleep(0.001)

    def end():
        assert not transport.is_closing()
        transport.close()
        loop.run_until_complete(asyncio.sleep(0))
        loop.close()
        assert not reports, reports
"""


@pytest.mark.loops("rulip")
@pytest.mark.parametrize("error", ["ENOBUFS", "ENOMEM", "ENETUNREACH", "EPERM"])
def test_a_datagram_that_cannot_be_sent(inject, error):
    inject(
        UDP
        + f"""
    for number in range(3):
        transport.sendto(b"%d" % number, where)
    loop.run_until_complete(wait_for(2))
    assert received == [b"0", b"2"], received
    assert [exc.errno for exc in errors] == [errno.{error}], errors
    end()
    """,
        f"error={error}:when=2",
        calls="sendto",
    )


@pytest.mark.loops("rulip")
def test_datagrams_that_must_wait(inject):
    """The kernel has no room for a while: they are queued and leave in order."""
    inject(
        UDP
        + """
    for number in range(5):
        transport.sendto(b"%d" % number, where)
    assert transport.get_write_buffer_size() > 0
    loop.run_until_complete(wait_for(5))
    assert received == [b"0", b"1", b"2", b"3", b"4"], received
    assert not errors
    end()
    """,
        "error=EAGAIN:when=2..4",
        calls="sendto",
    )


@pytest.mark.loops("rulip")
@pytest.mark.parametrize("error", ["EINTR", "EAGAIN"])
def test_a_receive_that_brings_nothing(inject, error):
    inject(
        UDP
        + """
    for number in range(5):
        transport.sendto(b"%d" % number, where)
    loop.run_until_complete(wait_for(5))
    assert received == [b"0", b"1", b"2", b"3", b"4"], received
    assert not errors
    end()
    """,
        f"error={error}:when=1+2",
        calls="recvfrom",
    )


@pytest.mark.loops("rulip")
def test_a_receive_that_fails_is_told_and_the_endpoint_lives(inject):
    inject(
        UDP
        + """
    transport.sendto(b"x", where)
    loop.run_until_complete(wait_for(1))
    assert [exc.errno for exc in errors] == [errno.EHOSTUNREACH], errors
    end()
    """,
        "error=EHOSTUNREACH:when=1",
        calls="recvfrom",
    )


CHILD = """
    loop = factory()
    loop.run_until_complete(asyncio.sleep(0))
    before = len(os.listdir("/proc/self/fd"))

    async def child(*command):
        process = await asyncio.create_subprocess_exec(
            *command, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE)
        out, _ = await asyncio.wait_for(process.communicate(b"text"), 20)
        return out, process.returncode

    def no_child_left():
        try:
            os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return True
        return False
"""


@pytest.mark.loops("rulip")
@pytest.mark.parametrize("error", ["EAGAIN", "ENOMEM"])
def test_a_process_that_cannot_be_made(inject, error):
    inject(
        CHILD
        + f"""
    try:
        loop.run_until_complete(child("/bin/cat"))
    except OSError as exc:
        assert exc.errno == errno.{error}
    else:
        raise AssertionError("a process all the same")
    assert len(os.listdir("/proc/self/fd")) == before
    assert no_child_left()
    loop.close()
    """,
        f"error={error}",
        calls="fork,vfork,clone,clone3",
    )


@pytest.mark.loops("rulip")
@pytest.mark.parametrize("error", ["EMFILE", "ENFILE", "ENOMEM"])
def test_a_child_that_cannot_be_watched(inject, error):
    """It is ended and reaped: nobody else would do that."""
    inject(
        CHILD
        + f"""
    try:
        loop.run_until_complete(child("/bin/cat"))
    except OSError as exc:
        assert exc.errno == errno.{error}
    else:
        raise AssertionError("watched all the same")
    assert no_child_left()
    assert len(os.listdir("/proc/self/fd")) == before
    assert loop.run_until_complete(child("/bin/cat")) == (b"text", 0)
    loop.close()
    """,
        f"error={error}:when=1",
        calls="pidfd_open",
    )


@pytest.mark.loops("rulip")
@pytest.mark.parametrize("error", ["ENOSYS", "EPERM"])
def test_signals_where_pidfds_may_be_opened_but_not_used(inject, error):
    inject(
        CHILD
        + """
    async def main():
        process = await asyncio.create_subprocess_exec("/bin/sleep", "60")
        process.terminate()
        assert await asyncio.wait_for(process.wait(), 20) == -signal.SIGTERM

    loop.run_until_complete(main())
    loop.close()
    """,
        f"error={error}",
        calls="pidfd_send_signal",
    )


@pytest.mark.loops("rulip")
def test_a_pipe_and_interrupted_writes(inject):
    inject(
        CHILD
        + """
    assert loop.run_until_complete(child("/bin/cat")) == (b"text", 0)
    loop.close()
    """,
        "error=EINTR:when=1+2",
        calls="write,writev",
    )


@pytest.mark.loops("rulip")
def test_a_live_connection_that_an_administrator_ends(inject):
    """`ss -K`: the socket dies under the transport, with ECONNABORTED."""
    if os.geteuid() or shutil.which("ss") is None:
        pytest.skip("ending other people's connections needs root, and ss")
    inject(
        """
    import subprocess
    loop = factory()

    async def main():
        near, far = tcp()
        lost = loop.create_future()

        class Protocol(asyncio.Protocol):
            def connection_lost(self, exc):
                lost.set_result(exc)

        port = near.getsockname()[1]
        await loop.create_connection(Protocol, sock=near)
        done = subprocess.run(
            ["ss", "-K", "sport", "=", f":{port}"], capture_output=True, text=True)
        if str(port) not in done.stdout:
            return  # a kernel without INET_DIAG_DESTROY
        exc = await asyncio.wait_for(lost, 10)
        assert isinstance(exc, ConnectionAbortedError), exc
        far.close()

    loop.run_until_complete(main())
    loop.close()
    """,
        "error=EINTR:when=1",
        calls="getrandom",
    )
