"""Forking before, between, and inside loops.

Row of docs/compat.md: close() of an inherited loop in a forked child.
Runs each scenario in a process of its own, which forks: pytest's process has threads.
Invariant: what a child does with an inherited loop is not noticed by the parent's loop, and a child
can run a loop of its own.
"""

from __future__ import annotations

import subprocess
import sys
import textwrap

import pytest

pytestmark = [
    pytest.mark.loops("rulip"),
    pytest.mark.filterwarnings("default::DeprecationWarning"),
]

PROLOGUE = """
import asyncio, os, socket, sys, threading
import rulip

def own_loop_works():
    loop = rulip.new_event_loop()

    async def echo(reader, writer):
        writer.write(await reader.readline())
        writer.close()

    async def main():
        server = await asyncio.start_server(echo, "127.0.0.1", 0)
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        writer.write(b"hello\\n")
        assert await reader.read() == b"hello\\n"
        writer.close()
        await writer.wait_closed()
        server.close()
        assert await loop.run_in_executor(None, pow, 2, 10) == 1024
        assert await loop.getaddrinfo("localhost", 80)
        process = await asyncio.create_subprocess_exec(sys.executable, "-c", "print('child')",
                                                       stdout=asyncio.subprocess.PIPE)
        out, _ = await process.communicate()
        assert out == b"child\\n" and process.returncode == 0
        thread = threading.Thread(target=lambda: loop.call_soon_threadsafe(woken.set))
        woken = asyncio.Event()
        thread.start()
        await asyncio.wait_for(woken.wait(), 10)
        thread.join()

    loop.run_until_complete(main())
    loop.run_until_complete(loop.shutdown_default_executor())
    loop.close()

def in_child(body):
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            body()
            status = 0
        except BaseException:
            import traceback
            traceback.print_exc()
        finally:
            os._exit(status)
    return pid

def ended_well(pid):
    _, status = os.waitpid(pid, 0)
    assert status == 0, status
"""


def in_process(body: str) -> None:
    program = PROLOGUE + textwrap.dedent(body) + "\nprint('passed')\n"
    done = subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", program],
        capture_output=True,
        text=True,
        timeout=40,
        check=False,
    )
    assert (done.stdout, done.stderr, done.returncode) == ("passed\n", "", 0)


def test_fork_before_any_loop():
    in_process(
        """
        pid = in_child(own_loop_works)
        own_loop_works()
        ended_well(pid)
        """
    )


def test_fork_after_a_closed_loop():
    in_process(
        """
        own_loop_works()
        pid = in_child(own_loop_works)
        own_loop_works()
        ended_well(pid)
        """
    )


def test_fork_inside_a_running_loop():
    in_process(
        """
        async def main():
            # To the child there is no running loop.
            def body():
                try:
                    asyncio.get_running_loop()
                except RuntimeError:
                    pass
                else:
                    raise AssertionError("a running loop in the child")
                own_loop_works()

            pids = [in_child(body) for _ in range(3)]
            await asyncio.sleep(0.01)
            loop = asyncio.get_running_loop()
            for pid in pids:
                await loop.run_in_executor(None, ended_well, pid)
            woken = loop.create_future()
            threading.Thread(
                target=lambda: loop.call_soon_threadsafe(woken.set_result, None)
            ).start()
            await asyncio.wait_for(woken, 10)

        rulip.run(main())
        own_loop_works()
        """
    )


def test_closing_an_inherited_idle_loop_leaves_the_parents_alone():
    """The child closes the loop it inherited; the parent's is still woken and sees its sockets."""
    in_process(
        """
        loop = rulip.new_event_loop()
        near, far = socket.socketpair()
        near.setblocking(False)
        seen = []
        loop.add_reader(near, lambda: (seen.append(near.recv(10)), loop.stop()))
        loop.add_signal_handler(10, seen.append, "signal")
        loop.run_until_complete(asyncio.sleep(0))

        def body():
            loop.remove_signal_handler(10)
            loop.remove_reader(near)
            loop.close()

        ended_well(in_child(body))
        thread = threading.Thread(target=lambda: loop.call_soon_threadsafe(loop.stop))
        loop.call_soon(thread.start)
        loop.run_forever()
        thread.join()
        far.send(b"hello")
        loop.run_forever()
        assert seen == [b"hello"], seen
        os.kill(os.getpid(), 10)
        loop.call_soon(loop.stop)
        loop.run_forever()
        loop.run_until_complete(asyncio.sleep(0.001))
        assert seen == [b"hello", "signal"], seen
        loop.remove_reader(near)
        loop.close()
        near.close()
        far.close()
        """
    )


def test_dropping_an_inherited_loop_with_connections_leaves_the_parents_alone():
    in_process(
        """
        import gc, warnings
        warnings.simplefilter("ignore", ResourceWarning)
        loop = rulip.new_event_loop()
        near, far = socket.socketpair()
        received = []

        class Protocol(asyncio.Protocol):
            def data_received(self, data):
                received.append(data)

            def connection_lost(self, exc):
                received.append(exc)

        transport, _ = loop.run_until_complete(
            loop.create_unix_connection(Protocol, sock=near)
        )

        def body():
            global loop, transport
            transport.abort()
            loop.close()
            del loop, transport
            gc.collect()

        ended_well(in_child(body))
        far.send(b"to the parent")
        while not received:
            loop.run_until_complete(asyncio.sleep(0))
        transport.write(b"from the parent")
        loop.run_until_complete(asyncio.sleep(0))
        assert far.recv(100) == b"from the parent"
        assert received == [b"to the parent"]
        transport.close()
        loop.run_until_complete(asyncio.sleep(0.001))
        assert received == [b"to the parent", None]
        loop.close()
        far.close()
        """
    )


def test_a_child_that_leaves_the_running_loop_takes_nothing_from_its_parent():
    """SystemExit in a forked child ends its copy of the loop, turn by turn; the parent's waits
    for its own events."""
    in_process(
        """
        near, far = socket.socketpair()
        near.setblocking(False)
        received = bytearray()

        class Protocol(asyncio.Protocol):
            def data_received(self, data):
                received.extend(data)

        async def ends_slowly():
            try:
                await asyncio.sleep(1000)
            finally:
                for _ in range(20):
                    await asyncio.sleep(0.002)

        async def main():
            loop = asyncio.get_running_loop()
            transport, _ = await loop.create_unix_connection(Protocol, sock=near)
            slow = asyncio.create_task(ends_slowly())
            await asyncio.sleep(0)
            sent = 0
            for _ in range(5):
                pid = os.fork()
                if pid == 0:
                    transport.pause_reading()
                    raise SystemExit(7)
                while (ended := os.waitpid(pid, os.WNOHANG)) == (0, 0):
                    far.send(b"x")
                    sent += 1
                    async with asyncio.timeout(10):
                        while len(received) < sent:
                            await asyncio.sleep(0.0005)
                assert os.waitstatus_to_exitcode(ended[1]) == 7, ended
            transport.close()
            slow.cancel()

        rulip.run(main())
        far.close()
        """
    )


def test_what_was_written_before_a_fork_is_sent_once():
    in_process(
        """
        near, far = socket.socketpair()
        near.setblocking(False)

        async def main():
            loop = asyncio.get_running_loop()
            transport, _ = await loop.create_unix_connection(asyncio.Protocol, sock=near)
            for number in range(5):
                transport.write(b"%d" % number)
                pid = os.fork()
                if pid == 0:
                    raise SystemExit(7)
                status = await loop.run_in_executor(None, os.waitpid, pid, 0)
                assert os.waitstatus_to_exitcode(status[1]) == 7, status
            transport.close()

        rulip.run(main())
        assert far.recv(100) == b"01234"
        assert far.recv(100) == b""
        far.close()
        """
    )


def test_a_child_goes_on_with_the_loop_it_inherited():
    """As a daemon does that forks twice: what the loop watched, it watches in the child."""
    in_process(
        """
        near, far = socket.socketpair()
        near.setblocking(False)
        far.settimeout(10)
        seen = []

        class Echo(asyncio.Protocol):
            def connection_made(self, transport):
                self.transport = transport

            def data_received(self, data):
                self.transport.write(data.upper())

        async def main():
            loop = asyncio.get_running_loop()
            await loop.create_unix_connection(Echo, sock=near)
            listener = socket.create_server(("127.0.0.1", 0))
            listener.setblocking(False)
            accepting = asyncio.ensure_future(loop.sock_accept(listener))
            await asyncio.sleep(0.01)
            pid = os.fork()
            if pid:
                far.send(b"to the child")
                assert far.recv(100) == b"TO THE CHILD"
                with socket.create_connection(listener.getsockname()) as client:
                    assert client.recv(10) == b""
                ended_well(pid)
                print("passed", flush=True)
                os._exit(0)
            woken = loop.create_future()
            threading.Thread(
                target=lambda: loop.call_soon_threadsafe(woken.set_result, None)
            ).start()
            # To asyncio no loop runs here: only what was there is awaited.
            await woken
            client, _ = await accepting
            client.close()
            os._exit(0)

        rulip.run(main())
        """
    )


def test_multiprocessing_by_fork():
    in_process(
        """
        import multiprocessing
        context = multiprocessing.get_context("fork")

        async def main():
            process = context.Process(target=own_loop_works)
            process.start()
            await asyncio.get_running_loop().run_in_executor(None, process.join)
            assert process.exitcode == 0

        rulip.run(main())
        """
    )


@pytest.mark.parametrize(
    "where",
    [
        "exit",
        "daemon thread",
        "daemon thread in a task",
        "daemon thread in a task on asyncio's loop",
        "daemon thread that floods",
        "busy executor",
        "pending tasks",
    ],
)
def test_the_interpreter_ends_with_a_loop_alive(where):
    """No crash and no hang at exit, whatever the loop was doing."""
    bodies = {
        "exit": """
            loop = rulip.new_event_loop()
            loop.call_later(1000, print)
            loop.run_until_complete(asyncio.sleep(0))
            import warnings
            warnings.simplefilter("ignore")
        """,
        "daemon thread": """
            started = threading.Event()

            def run():
                loop = rulip.new_event_loop()
                loop.call_soon(started.set)

                async def main():
                    while True:
                        await asyncio.sleep(0.0001)

                loop.run_until_complete(main())

            threading.Thread(target=run, daemon=True).start()
            started.wait()
        """,
        "daemon thread in a task": """
            started = threading.Event()

            def run():
                lock = threading.Lock()
                lock.acquire()

                async def main():
                    started.set()
                    while True:
                        lock.acquire(timeout=0.0005)
                        await asyncio.sleep(0)

                rulip.new_event_loop().run_until_complete(main())

            threading.Thread(target=run, daemon=True).start()
            started.wait()
        """,
        "daemon thread in a task on asyncio's loop": """
            stock = asyncio.SelectorEventLoop
            rulip.install()
            started = threading.Event()

            def run():
                lock = threading.Lock()
                lock.acquire()

                async def main():
                    started.set()
                    while True:
                        lock.acquire(timeout=0.0005)
                        await asyncio.sleep(0)

                loop = stock()
                task = asyncio.Task(main(), loop=loop)
                assert type(task) is rulip.Task
                loop.run_until_complete(task)

            threading.Thread(target=run, daemon=True).start()
            started.wait()
        """,
        "daemon thread that floods": """
            loop = rulip.new_event_loop()
            flooded = threading.Event()

            def run():
                for _ in range(10_000):
                    loop.call_soon_threadsafe(int)
                flooded.set()
                while True:
                    loop.call_soon_threadsafe(int)

            threading.Thread(target=run, daemon=True).start()
            flooded.wait()
            import warnings
            warnings.simplefilter("ignore")
        """,
        "busy executor": """
            loop = rulip.new_event_loop()
            loop.run_in_executor(None, threading.Event().wait, 0.05)
            loop.run_until_complete(asyncio.sleep(0))
            loop.close()
        """,
        "pending tasks": """
            import logging, warnings
            logging.disable(logging.CRITICAL)
            warnings.simplefilter("ignore")
            loop = rulip.new_event_loop()

            async def generate():
                try:
                    yield 1
                finally:
                    await asyncio.sleep(0)

            async def main():
                async for _ in generate():
                    await asyncio.sleep(1000)

            tasks = [loop.create_task(main()) for _ in range(10)]
            loop.run_until_complete(asyncio.sleep(0))
            keep = sys.modules["__main__"].__dict__["kept"] = [loop, tasks]
        """,
    }
    in_process(bodies[where])
