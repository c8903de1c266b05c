"""Three tasks that each sleep 2 s are done together in 2 s: wait, gather, groups of groups.

Everything runs in one thread. `wait` gives back two sets of tasks, `gather` gives back results in
the order it was given the awaitables, and cancelling what `gather` returned cancels all below it.
"""

import argparse
import asyncio
import time


async def nap(name: str, seconds: float) -> str:
    """Sleep, and say when done (or cut short)."""
    try:
        await asyncio.sleep(seconds)
    except asyncio.CancelledError:
        print(f"  {name} was cancelled")
        raise
    return f"{name} slept"


async def with_wait(seconds: float) -> None:
    """`wait` takes tasks; it tells the done from the pending, and raises nothing of theirs."""
    tasks = [asyncio.create_task(nap(name, seconds)) for name in "ABC"]
    done, pending = await asyncio.wait(tasks)
    print(f"  done {len(done)}, pending {len(pending)}")
    print(f"  {sorted(task.result() for task in done)}")


async def with_gather(seconds: float) -> None:
    """`gather` takes anything awaitable, and keeps the order."""
    print(f"  {await asyncio.gather(*(nap(name, seconds) for name in 'ABC'))}")


async def with_groups(seconds: float) -> None:
    """A gather of gathers: results nest as the calls do."""
    group1 = asyncio.gather(nap("A1", seconds), nap("A2", seconds))
    group2 = asyncio.gather(nap("B1", seconds), nap("B2", seconds))
    print(f"  {await asyncio.gather(group1, group2)}")


async def with_a_cancelled_group(seconds: float) -> None:
    """Cancel one group half-way: its members are cancelled, the other group goes on."""
    group1 = asyncio.gather(nap("A1", seconds), nap("A2", seconds))
    group2 = asyncio.gather(nap("B1", seconds), nap("B2", seconds))
    asyncio.get_running_loop().call_later(seconds / 2, group1.cancel)
    first, second = await asyncio.gather(group1, group2, return_exceptions=True)
    print(f"  group A: {type(first).__name__}")
    print(f"  group B: {second}")


async def main(seconds: float) -> None:
    """Each way, with its time."""
    for title, way in (
        ("wait", with_wait),
        ("gather", with_gather),
        ("gather of gathers", with_groups),
        ("one group cancelled", with_a_cancelled_group),
    ):
        print(f"{title}:")
        start = time.monotonic()
        await way(seconds)
        print(f"  took {time.monotonic() - start:.2f} s")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="tasks that finish together")
    parser.add_argument("--seconds", type=float, default=2.0, help="how long each task sleeps")
    asyncio.run(main(parser.parse_args().seconds))
