"""A spinner turns while a slow coroutine sleeps; then its task is cancelled.

One thread and one event loop run both: while `slow_answer` waits, the loop turns the spinner.
`task.cancel()` raises CancelledError inside the spinner, at the `await` where it waits; it tidies
up and lets the exception go on, so that whoever awaits the task learns that it was cancelled.
"""

import argparse
import asyncio
import itertools
import sys


async def spin(message: str) -> None:
    """Draw one frame after another until cancelled; draws only on a terminal."""
    on_terminal = sys.stdout.isatty()
    try:
        for frame in itertools.cycle("|/-\\"):
            if on_terminal:
                print(f"\r{frame} {message}", end="", flush=True)
            await asyncio.sleep(0.1)
    except asyncio.CancelledError:
        if on_terminal:
            print("\r" + " " * (len(message) + 2), end="\r")
        print("spinner: cancelled at its await")
        raise


async def slow_answer(seconds: float) -> int:
    """Stand for something slow: a disk, a network, another service."""
    await asyncio.sleep(seconds)
    return 42


async def main(seconds: float) -> None:
    """Run the spinner beside the slow coroutine, and cancel it when the answer is there."""
    spinner = asyncio.create_task(spin("thinking"), name="spinner")
    answer = await slow_answer(seconds)
    spinner.cancel()
    try:
        await spinner
    except asyncio.CancelledError:
        print(f"task {spinner.get_name()!r}: cancelled = {spinner.cancelled()}")
    print(f"answer: {answer}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="a text spinner that is cancelled")
    parser.add_argument("--seconds", type=float, default=3.0, help="how long to think")
    asyncio.run(main(parser.parse_args().seconds))
