"""What an idle loop costs: no wake-ups, one thread, no descriptors but its own.

Each case runs in a process of its own: pytest's has a life besides the loop.
Invariant: idle means asleep.
"""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap

MAKE = {
    "asyncio": "factory = asyncio.SelectorEventLoop",
    "rulip": "import rulip; factory = rulip.new_event_loop",
}

PROLOGUE = """
import asyncio, os, resource, socket, sys, time

def switches():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("voluntary"))

def threads():
    return len(os.listdir("/proc/self/task"))

def cpu():
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime
"""


def in_process(loop_name: str, body: str) -> None:
    program = PROLOGUE + MAKE[loop_name] + textwrap.dedent(body) + "\nprint('passed')\n"
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        timeout=40,
        check=False,
        env={**os.environ, "PYTHONASYNCIODEBUG": "", "PYTHONDEVMODE": ""},
    )
    assert (done.stdout, done.stderr, done.returncode) == ("passed\n", "", 0)


def test_an_idle_loop_does_not_wake_up(loop_name):
    """One second with watched descriptors, a connection and far timers: at most two wake-ups."""
    in_process(
        loop_name,
        """
        import warnings
        warnings.simplefilter("ignore", ResourceWarning)
        loop = factory()
        near, far = socket.socketpair()
        one, two = socket.socketpair()
        loop.add_reader(near, print)
        loop.call_later(3600, print)
        loop.run_until_complete(loop.create_unix_connection(asyncio.Protocol, sock=one))
        loop.run_until_complete(asyncio.sleep(0.01))
        start, busy = switches(), cpu()
        loop.run_until_complete(asyncio.sleep(1))
        # One of them is the end of the sleep.
        assert switches() - start <= 3, switches() - start
        assert cpu() - busy < 0.02
        loop.close()
        for sock in (near, far, two):
            sock.close()
        """,
    )


def test_one_thread_until_one_is_asked_for(loop_name):
    """Servers, connections, timers and signals need no thread; the executor's is its own."""
    in_process(
        loop_name,
        """
        import signal
        loop = factory()

        async def main():
            loop.add_signal_handler(signal.SIGUSR1, print)
            server = await loop.create_server(asyncio.Protocol, "127.0.0.1", 0)
            where = server.sockets[0].getsockname()
            made = [await loop.create_connection(asyncio.Protocol, *where) for _ in range(20)]
            await asyncio.sleep(0.001)
            assert threads() == 1, threads()
            for transport, _ in made:
                transport.close()
            server.close()
            await asyncio.sleep(0.001)
            loop.remove_signal_handler(signal.SIGUSR1)
            await loop.run_in_executor(None, int)
            assert threads() == 2, threads()

        loop.run_until_complete(main())
        loop.run_until_complete(loop.shutdown_default_executor())
        # join() returns a moment before the system has taken the thread away.
        deadline = time.monotonic() + 10
        while threads() > 1 and time.monotonic() < deadline:
            os.sched_yield()
        assert threads() == 1, threads()
        loop.close()
        """,
    )


def test_a_loop_opens_few_descriptors_and_closes_them(loop_name):
    in_process(
        loop_name,
        """
        def descriptors():
            return len(os.listdir("/proc/self/fd"))

        # asyncio: the selector and a socket pair. rulip: the poller, the waker, and, in the main
        # thread, the two ends of the doorbell for signals.
        before = descriptors()
        loop = factory()
        loop.run_until_complete(asyncio.sleep(0))
        assert descriptors() - before <= 4
        for _ in range(100):
            loop.run_until_complete(asyncio.sleep(0))
        assert descriptors() - before <= 4
        loop.close()
        assert descriptors() == before
        """,
    )


def test_ten_thousand_idle_tasks_cost_nothing_while_they_sleep(loop_name):
    in_process(
        loop_name,
        """
        async def main():
            tasks = [asyncio.ensure_future(asyncio.sleep(3600)) for _ in range(10_000)]
            await asyncio.sleep(0.05)
            start, busy = switches(), cpu()
            await asyncio.sleep(0.5)
            assert switches() - start <= 3, switches() - start
            assert cpu() - busy < 0.05
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)

        loop = factory()
        loop.run_until_complete(main())
        loop.close()
        """,
    )
