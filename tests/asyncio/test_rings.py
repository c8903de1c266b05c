"""Tasks that await each other in a ring: to cancel one is an error, no endless loop and no crash.

Such tasks can never end: each ring lives in a process of its own, which leaves without tidying up.
Not here: other cancellations (test_task_cancelling.py). Runs in the main thread, and in children.
Invariant: what asyncio reports, rulip reports.
"""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

PROGRAM = """
import asyncio, os, sys
import rulip

async def main():
    tasks = []

    async def wait_for(others):
        await asyncio.sleep(0)
        await others()

    def next_to(number):
        return lambda: tasks[(number + 1) % 3]

    if sys.argv[2] == "tasks":
        tasks += [asyncio.ensure_future(wait_for(next_to(number))) for number in range(3)]
    else:
        names = rulip if sys.argv[1] == "rulip" else asyncio
        tasks.append(asyncio.ensure_future(wait_for(lambda: names.gather(*tasks))))
    for _ in range(5):
        await asyncio.sleep(0)
    try:
        tasks[0].cancel()
    except RecursionError as error:
        print("RecursionError", str(error)[:32].strip(), flush=True)
    os._exit(0)

new_loop = rulip.new_event_loop if sys.argv[1] == "rulip" else asyncio.SelectorEventLoop
with asyncio.Runner(loop_factory=new_loop) as runner:
    runner.run(main())
"""


@pytest.mark.parametrize("ring", ["tasks", "gather"])
def test_cancelling_a_ring_is_a_recursion_error(loop_name: str, ring: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, loop_name, ring],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    # From 3.14 on what counts is the stack that is used.
    assert done.stdout.startswith(
        ("RecursionError maximum recursion depth exceeded", "RecursionError Stack overflow (used")
    ), done.stderr
