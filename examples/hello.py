"""hello ... world, with the clock on: awaiting one after the other, then as tasks.

A coroutine that is awaited runs to its end before the next line does: the delays add up. Tasks
run beside each other, from `create_task` on: the longest delay is the whole time.
"""

import argparse
import asyncio
import time
from collections.abc import Coroutine


async def say_after(delay: float, word: str) -> None:
    """Print `word`, `delay` seconds from now."""
    await asyncio.sleep(delay)
    print(word)


async def one_after_the_other(unit: float) -> None:
    """Await two coroutines: 1 + 2 units."""
    await say_after(1 * unit, "hello")
    await say_after(2 * unit, "world")


async def side_by_side(unit: float) -> None:
    """Start two tasks, then await both: 2 units."""
    hello = asyncio.create_task(say_after(1 * unit, "hello"))
    world = asyncio.create_task(say_after(2 * unit, "world"))
    await hello
    await world


async def in_a_group(unit: float) -> None:
    """The same in a TaskGroup, which awaits its tasks on the way out."""
    async with asyncio.TaskGroup() as group:
        group.create_task(say_after(1 * unit, "hello"))
        group.create_task(say_after(2 * unit, "world"))


async def timed(title: str, program: Coroutine[object, object, None]) -> None:
    """Await `program` and print how long it took."""
    print(f"{title}:")
    start = time.monotonic()
    await program
    print(f"  took {time.monotonic() - start:.2f} s")


async def main(unit: float) -> None:
    """The three ways, timed."""
    await timed("one after the other", one_after_the_other(unit))
    await timed("side by side", side_by_side(unit))
    await timed("in a group", in_a_group(unit))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="hello, world, and the time it takes")
    parser.add_argument("--seconds", type=float, default=1.0, help="the delay before hello")
    asyncio.run(main(parser.parse_args().seconds))
