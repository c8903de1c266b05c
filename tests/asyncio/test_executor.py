"""run_in_executor and the default executor's life.

Here: results, exceptions and contexts of jobs, replacing and shutting down the default executor.
Not here: name look-ups (test_names.py).
Runs in the main thread; jobs in the executor's.
Invariant: one body for both loops; no worker thread outlives its test.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextvars
import sys
import threading

import pytest
from tests.loopback import PATIENCE, collect_reports, run_until, spin, thread, turns, within


def test_a_job_runs_in_another_thread_and_its_result_comes_back(loop):
    job = loop.run_in_executor(None, threading.get_ident)
    assert asyncio.isfuture(job)
    assert loop.run_until_complete(job) != threading.get_ident()
    assert loop.run_until_complete(loop.run_in_executor(None, divmod, 7, 2)) == (3, 1)


def test_a_jobs_exception_comes_back(loop):
    with pytest.raises(ZeroDivisionError):
        loop.run_until_complete(loop.run_in_executor(None, divmod, 1, 0))


def test_stop_iteration_of_a_job_cannot_hang_the_waiter(loop):
    def stop():
        raise StopIteration(5)

    async def main():
        with pytest.raises(RuntimeError) as info:
            await loop.run_in_executor(None, stop)
        return info.value

    probe = loop.create_future()
    try:
        probe.set_exception(StopIteration())
    except TypeError:  # until 3.12.1: the failure is reported, and nobody can be told
        translated = False
    else:
        translated = isinstance(probe.exception(), RuntimeError)
    if translated:
        assert isinstance(loop.run_until_complete(main()).__cause__, StopIteration)
    else:
        reports = collect_reports(loop)
        job = loop.run_in_executor(None, stop)
        run_until(loop, lambda: reports)
        assert isinstance(reports[0]["exception"], TypeError)
        job.cancel()


def test_a_given_executor_is_used(loop):
    with concurrent.futures.ThreadPoolExecutor(thread_name_prefix="mine") as executor:
        job = loop.run_in_executor(executor, lambda: threading.current_thread().name)
        assert loop.run_until_complete(job).startswith("mine")


def test_default_workers_are_named(loop):
    job = loop.run_in_executor(None, lambda: threading.current_thread().name)
    assert loop.run_until_complete(job).startswith("asyncio_")


def test_the_default_executor_can_be_replaced(loop):
    executor = concurrent.futures.ThreadPoolExecutor(1, thread_name_prefix="replaced")
    loop.set_default_executor(executor)
    assert loop._default_executor is executor
    job = loop.run_in_executor(None, lambda: threading.current_thread().name)
    assert loop.run_until_complete(job).startswith("replaced")
    loop.run_until_complete(loop.shutdown_default_executor())
    with pytest.raises(RuntimeError):
        executor.submit(print)


def test_only_a_thread_pool_can_be_the_default(loop):
    with pytest.raises(TypeError, match="executor must be ThreadPoolExecutor instance"):
        loop.set_default_executor(object())


def test_many_jobs_all_return(loop):
    async def main():
        jobs = [loop.run_in_executor(None, pow, number, 2) for number in range(500)]
        assert await within(asyncio.gather(*jobs)) == [number**2 for number in range(500)]

    loop.run_until_complete(main())


def test_to_thread_carries_the_context(loop):
    var: contextvars.ContextVar[str] = contextvars.ContextVar("var")

    async def main():
        var.set("carried")
        return await asyncio.to_thread(var.get)

    assert loop.run_until_complete(main()) == "carried"


def test_cancelling_a_queued_job_takes_it_back(loop):
    gate = threading.Event()
    ran: list[str] = []

    async def main():
        executor = concurrent.futures.ThreadPoolExecutor(1)
        loop.set_default_executor(executor)
        first = loop.run_in_executor(None, gate.wait, PATIENCE)
        second = loop.run_in_executor(None, ran.append, "second")
        second.cancel()
        await turns(2)
        with pytest.raises(asyncio.CancelledError):
            await second
        gate.set()
        assert await within(first)

    loop.run_until_complete(main())
    loop.run_until_complete(loop.shutdown_default_executor())
    assert ran == []


def test_shutdown_waits_for_running_jobs(loop):
    gate, started = threading.Event(), threading.Event()

    def job():
        started.set()
        return gate.wait(PATIENCE)

    async def main():
        future = loop.run_in_executor(None, job)
        assert started.wait(PATIENCE)
        loop.call_soon(gate.set)
        await loop.shutdown_default_executor()
        assert loop._executor_shutdown_called
        return await future

    assert loop.run_until_complete(main())
    with pytest.raises(RuntimeError, match="Executor shutdown has been called"):
        loop.run_in_executor(None, print)


def test_shutdown_without_an_executor_makes_no_thread(loop):
    before = threading.active_count()
    loop.run_until_complete(loop.shutdown_default_executor())
    assert threading.active_count() == before


@pytest.mark.skipif(sys.version_info < (3, 13), reason="before 3.13 it waits all the same")
def test_shutdown_gives_up_after_its_timeout(loop):
    gate = threading.Event()

    async def main():
        job = loop.run_in_executor(None, gate.wait, PATIENCE)
        with pytest.warns(RuntimeWarning, match="The executor did not finishing joining"):
            await loop.shutdown_default_executor(timeout=0.01)
        gate.set()
        await within(job)

    loop.run_until_complete(main())


def test_debug_mode_refuses_coroutines(loop):
    async def function():
        pass

    loop.set_debug(True)
    with pytest.raises(TypeError, match=r"coroutines cannot be used with run_in_executor\(\)"):
        loop.run_in_executor(None, function)
    with pytest.raises(TypeError, match=r"a callable object was expected by run_in_executor\(\)"):
        loop.run_in_executor(None, 42)


def test_a_job_that_ends_after_close_does_no_harm(loop):
    """close() does not wait for jobs; their late results vanish without a trace."""
    gate, started = threading.Event(), threading.Event()

    def job():
        started.set()
        gate.wait(PATIENCE)

    with concurrent.futures.ThreadPoolExecutor(1) as executor:
        future = loop.run_in_executor(executor, job)
        assert started.wait(PATIENCE)
        loop.close()
        gate.set()
    assert not future.done()


def test_close_shuts_the_default_executor_down_without_waiting(loop):
    gate, started = threading.Event(), threading.Event()

    def job():
        started.set()
        gate.wait(PATIENCE)

    loop.run_in_executor(None, job)
    executor = loop._default_executor
    assert started.wait(PATIENCE)
    loop.close()
    assert loop._default_executor is None
    with pytest.raises(RuntimeError):
        executor.submit(print)
    gate.set()
    executor.shutdown(wait=True)


def test_run_in_executor_may_be_called_from_another_thread(loop):
    jobs: list[asyncio.Future[int]] = []
    with thread(lambda: jobs.append(loop.run_in_executor(None, pow, 2, 5))):
        pass
    spin(loop)
    assert loop.run_until_complete(jobs[0]) == 32
