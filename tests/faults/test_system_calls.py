"""System calls that fail, are interrupted, or do less than they were asked to.

Here: the faults of the kernel that a loop meets once in years, brought about by strace.
Not here: clocks (test_clocks.py).
Each program runs in a process of its own.
Invariant: only the connection that was hit is lost, with a clear error; the loop lives, and nothing
spins.
"""

from __future__ import annotations

import pytest

WAITING = "epoll_wait,epoll_pwait,epoll_pwait2"

SERVER = """
    loop = factory()
    reports = []
    loop.set_exception_handler(lambda loop, context: reports.append(context))
    lost = []

    class Echo(asyncio.Protocol):
        def connection_made(self, transport):
            self.transport = transport

        def data_received(self, data):
            self.transport.write(data)

        def connection_lost(self, exc):
            lost.append(exc)

    server = loop.run_until_complete(loop.create_server(Echo, "127.0.0.1", 0))
    where = server.sockets[0].getsockname()

    def call(message=b"hello"):
        # In a thread and with read(2) and write(2), which no fault here touches.
        with socket.create_connection(where, 10) as client:
            client.setblocking(True)
            os.write(client.fileno(), message)
            received = b""
            while len(received) < len(message):
                chunk = os.read(client.fileno(), 1 << 18)
                if not chunk:
                    break
                received += chunk
            return received

    def calls(count):
        async def main():
            return await asyncio.gather(*(in_thread(call) for _ in range(count)))

        return loop.run_until_complete(main())

    def end():
        server.close()
        loop.run_until_complete(asyncio.wait_for(server.wait_closed(), 10))
        loop.close()
"""


# Accepting


@pytest.mark.parametrize("error", ["ECONNABORTED", "EINTR", "EAGAIN"])
def test_an_accept_that_comes_to_nothing(inject, error):
    """The client went away again, or the call was interrupted: no report, the next is served."""
    inject(
        SERVER
        + """
    assert calls(5) == [b"hello"] * 5
    assert reports == [], reports
    end()
    """,
        f"error={error}:when=1",
        calls="accept,accept4",
    )


@pytest.mark.parametrize("error", ["EPROTO", "EPERM", "ENETDOWN"])
@pytest.mark.loops("rulip")
def test_an_accept_that_fails_for_one_client(inject, error):
    """A firewall or the network refused this one: told once at most, the next is served."""
    inject(
        SERVER
        + """
    assert calls(5) == [b"hello"] * 5
    assert len(reports) <= 1, reports
    end()
    """,
        f"error={error}:when=1",
        calls="accept,accept4",
    )


@pytest.mark.parametrize("error", ["EMFILE", "ENFILE", "ENOBUFS", "ENOMEM"])
def test_an_accept_for_which_the_system_has_nothing_left(inject, error):
    """Reported, and accepting goes on after a while; nobody is dropped."""
    inject(
        SERVER
        + """
    start = time.monotonic()
    assert calls(5) == [b"hello"] * 5
    assert time.monotonic() - start < 5
    assert [report["message"] for report in reports] == [
        "socket.accept() out of system resource"
    ], reports
    end()
    """,
        f"error={error}:when=1",
        calls="accept,accept4",
    )


# Registering


REGISTERED = (
    SERVER
    + """
    assert calls(1) == [b"hello"]
    os.sched_yield()
    try:
        second = calls(1)
    except OSError as exc:
        second = exc
    third = calls(2)
    """
)


@pytest.mark.loops("rulip")
@pytest.mark.parametrize("error", ["ENOSPC", "ENOMEM"])
def test_a_connection_that_cannot_be_registered(inject, count_calls, error):
    """The kernel has no room to watch one more: that client is closed, the others are served."""
    before = count_calls(REGISTERED + "\n    end()\n", "epoll_ctl", "sched_yield")
    inject(
        REGISTERED
        + """
    assert second in ([b""], [b"hello"]) or isinstance(second, OSError), second
    assert second != [b"hello"], "the fault hit something else"
    assert third == [b"hello"] * 2
    assert any(isinstance(each, OSError) for each in lost) or reports
    end()
    """,
        f"error={error}:when={before + 1}",
        calls="epoll_ctl",
    )


# Waiting


def test_waiting_that_is_interrupted_again_and_again(inject):
    """Every second wait ends with EINTR: timers keep time, data flows, nothing is reported."""
    inject(
        SERVER
        + """
    async def main():
        for _ in range(20):
            start = loop.time()
            await asyncio.sleep(0.005)
            assert loop.time() - start >= 0.005

    loop.run_until_complete(main())
    assert calls(5) == [b"hello"] * 5
    assert reports == [], reports
    end()
    """,
        "error=EINTR:when=2+2",
        calls=WAITING,
    )


@pytest.mark.loops("rulip")
@pytest.mark.parametrize("error", ["ENOSYS", "EPERM"])
def test_a_kernel_without_nanosecond_waits(inject, error):
    """epoll_pwait2 is missing, or a sandbox forbids it: milliseconds will do."""
    inject(
        SERVER
        + """
    async def main():
        for _ in range(10):
            start = loop.time()
            await asyncio.sleep(0.0025)
            assert loop.time() - start >= 0.0025

    loop.run_until_complete(main())
    busy = resource.getrusage(resource.RUSAGE_SELF)
    start = busy.ru_utime + busy.ru_stime
    loop.run_until_complete(asyncio.sleep(0.3))
    busy = resource.getrusage(resource.RUSAGE_SELF)
    assert busy.ru_utime + busy.ru_stime - start < 0.1
    assert calls(5) == [b"hello"] * 5
    assert reports == [], reports
    end()
    """,
        f"error={error}",
        calls="epoll_pwait2",
    )


# Sending


@pytest.mark.parametrize("way", ["write", "writelines", "many writes"])
def test_a_send_that_takes_one_byte(inject, way):
    """The first send claims one byte (and strace swallows it): the rest follows, in order."""
    inject(
        f"""
    way = {way!r}
    """
        """
    data = bytes(range(256)) * 4000
    loop = factory()
    near, far = tcp()

    async def main():
        transport, _ = await loop.create_connection(asyncio.Protocol, sock=near)
        far.setblocking(True)
        received = asyncio.ensure_future(in_thread(everything, far))
        if way == "write":
            transport.write(data)
        elif way == "writelines":
            transport.writelines([data[:1], data[1:1000], data[1000:]])
        else:
            for position in range(0, len(data), 500):
                transport.write(data[position : position + 500])
        transport.close()
        whole = await received
        # strace counts each kind of call by itself.
        assert 1 <= len(data) - len(whole) <= 3, len(whole)
        assert data.endswith(whole)

    loop.run_until_complete(main())
    loop.close()
    far.close()
    """,
        "retval=1:when=1",
        calls="sendto,sendmsg,writev",
    )


@pytest.mark.parametrize("error", ["ENOBUFS", "ENOMEM", "EPIPE", "ECONNRESET", "EHOSTUNREACH"])
def test_a_send_that_fails(inject, error):
    """Fatal for that connection only, with the very error; nobody else notices."""
    inject(
        SERVER
        + f"""
    expected = errno.{error}
    """
        + """
    hit = loop.create_future()

    class Client(asyncio.Protocol):
        def connection_lost(self, exc):
            hit.set_result(exc)

    async def main():
        transport, _ = await loop.create_connection(Client, *where)
        transport.write(b"never sent")
        return await asyncio.wait_for(hit, 10)

    exc = loop.run_until_complete(main())
    assert isinstance(exc, OSError) and exc.errno == expected, exc
    assert calls(3) == [b"hello"] * 3
    end()
    """,
        f"error={error}:when=1",
        calls="sendto,sendmsg,writev",
    )


# EAGAIN is not put in: the kernel says it only when it will tell of the next chance, and who
# relies on that (edge-triggered events) is right to wait.


def test_a_send_that_is_interrupted(inject):
    inject(
        SERVER
        + """
    assert calls(3) == [b"hello"] * 3
    assert reports == [], reports
    end()
    """,
        "error=EINTR:when=1+2",
        calls="sendto,sendmsg,writev",
    )


SENDING_A_FILE = """
    import tempfile

    data = os.urandom(12_000_000)
    file = tempfile.TemporaryFile()
    file.write(data)
    file.flush()
    near, far = tcp()
    far.setblocking(True)
    loop = factory()

    async def main(sends):
        transport, _ = await loop.create_connection(asyncio.Protocol, sock=near)
        received = asyncio.ensure_future(in_thread(everything, far))
        await sends(loop.sendfile(transport, file))
        assert not transport.is_closing()
        transport.close()
        received = await received
        assert len(received) == file.tell()
        assert data.startswith(received)
"""


@pytest.mark.parametrize("error", ["EAGAIN", "EINTR"])
def test_a_file_whose_sending_is_put_off(inject, error):
    inject(
        SENDING_A_FILE
        + """
    async def sends(sending):
        assert await asyncio.wait_for(sending, 20) == len(data)

    loop.run_until_complete(main(sends))
    loop.close()
    file.close()
    far.close()
    """,
        f"error={error}:when=1+2",
        calls="sendfile",
    )


@pytest.mark.parametrize("error", ["EIO", "ENOMEM"])
def test_a_file_that_cannot_be_sent_to_its_end(inject, error):
    """The very error; the file's position tells how much the peer gets. The connection lives on."""
    inject(
        SENDING_A_FILE
        + f"""
    async def sends(sending):
        try:
            await asyncio.wait_for(sending, 20)
        except OSError as exc:
            assert exc.errno == errno.{error}, exc
        else:
            raise AssertionError("sent all the same")
        assert 0 < file.tell() < len(data)

    loop.run_until_complete(main(sends))
    loop.close()
    file.close()
    far.close()
    """,
        f"error={error}:when=2",
        calls="sendfile",
    )


# Receiving


def test_a_receive_that_is_interrupted(inject):
    inject(
        SERVER
        + """
    assert calls(5) == [b"hello"] * 5
    assert reports == [], reports
    end()
    """,
        "error=EINTR:when=1+3",
        calls="recvfrom,recvmsg,readv",
    )


RECEIVING = (
    SERVER
    + """
    near, far = tcp()
    hit = loop.create_future()

    class Client(asyncio.Protocol):
        def connection_lost(self, exc):
            hit.set_result(exc)

    async def main():
        await loop.create_connection(Client, sock=near)
        await asyncio.sleep(0.001)
        os.sched_yield()
        os.write(far.fileno(), b"x")
        far.close()
        return await asyncio.wait_for(hit, 10)

    exc = loop.run_until_complete(main())
    """
)


@pytest.mark.parametrize("error", ["ECONNRESET", "ETIMEDOUT", "ENOMEM"])
def test_a_receive_that_fails(inject, count_calls, error):
    """Fatal for that connection only, with the very error; nobody else notices."""
    before = count_calls(RECEIVING + "\n    end()\n", "recvfrom", "sched_yield")
    inject(
        RECEIVING
        + f"""
    assert isinstance(exc, OSError) and exc.errno == errno.{error}, exc
    with contextlib.suppress(OSError):
        calls(1)  # the second fault, where the first was for us
    assert calls(3) == [b"hello"] * 3
    end()
    """,
        # Two: the loop may look at its own descriptor for signals first.
        f"error={error}:when={before + 1}..{before + 2}",
        calls="recvfrom",
    )


# Waking


@pytest.mark.loops("rulip")
@pytest.mark.parametrize("error", ["EAGAIN", "EPERM"])
def test_a_wake_up_that_cannot_be_written(inject, error):
    """EAGAIN means that it is signalled already; anything else is told to the caller, or the call
    is run with the next turn: never lost, never a crash."""
    inject(
        """
    loop = factory()
    seen, refused = [], []

    def body():
        for number in range(3):
            try:
                loop.call_soon_threadsafe(seen.append, number)
            except OSError as exc:
                refused.append(exc.errno)

    async def main():
        thread = threading.Thread(target=body)
        thread.start()
        for _ in range(100):
            await asyncio.sleep(0.001)
        thread.join()
        await asyncio.sleep(0.01)

    loop.run_until_complete(main())
    assert len(seen) + len(refused) >= 3, (seen, refused)
    assert set(refused) <= {errno.EPERM}
    assert seen == sorted(seen)
    loop.close()
    """,
        f"error={error}",
        calls="write",
        path="anon_inode:[eventfd]",
    )


# Starting


@pytest.mark.loops("rulip")
@pytest.mark.parametrize("call", ["epoll_create1", "eventfd2"])
@pytest.mark.parametrize("error", ["EPERM", "ENOSYS", "EMFILE", "ENOMEM"])
def test_a_loop_that_cannot_be_made(inject, call, error):
    """A sandbox that forbids what the loop is made of: a clear error, and nothing left open."""
    inject(
        f"""
    before = len(os.listdir("/proc/self/fd"))
    try:
        factory()
    except OSError as exc:
        assert exc.errno == errno.{error}, exc
        assert str(exc)
    else:
        raise AssertionError("made a loop all the same")
    assert len(os.listdir("/proc/self/fd")) == before
    """,
        f"error={error}",
        calls=call,
    )


@pytest.mark.loops("rulip")
@pytest.mark.parametrize("error", ["ENOSYS", "EPERM"])
def test_a_kernel_without_pidfds(inject, error):
    """Children are waited for in another way."""
    inject(
        """
    async def main():
        for status in (0, 3):
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-c", f"print('child'); raise SystemExit({status})",
                stdout=asyncio.subprocess.PIPE)
            out, _ = await asyncio.wait_for(process.communicate(), 20)
            assert (out, process.returncode) == (b"child\\n", status)

    loop = factory()
    loop.run_until_complete(main())
    loop.close()
    """,
        f"error={error}",
        calls="pidfd_open",
    )


@pytest.mark.loops("rulip")
def test_io_uring_is_never_asked_for(inject):
    """Where a sandbox kills the process for it, the loop does not notice."""
    inject(
        SERVER
        + """
    assert calls(3) == [b"hello"] * 3
    end()
    """,
        "signal=SIGKILL",
        calls="io_uring_setup",
    )
