"""Three requests, each needing the answer of the one before: callbacks, then a coroutine.

`ask` is the same pretended server for both: it answers later, by calling back. The first version
goes one level deeper for each stage, and its result has to leave through a callback too. The
second wraps `ask` in a future once, and then reads from top to bottom.
"""

import argparse
import asyncio
from collections.abc import Callable

ANSWERS = {"user 7": "city Lisbon", "city Lisbon": "weather mild", "weather mild": "take no coat"}


def ask(question: str, delay: float, callback: Callable[[str], None]) -> None:
    """Call `callback` with the answer, `delay` seconds from now."""
    asyncio.get_running_loop().call_later(delay, callback, ANSWERS[question])


def with_callbacks(delay: float, done: Callable[[str], None]) -> None:
    """Each stage is a function inside the stage before it."""

    def stage1(city: str) -> None:
        def stage2(weather: str) -> None:
            def stage3(advice: str) -> None:
                done(f"{city}, {weather}, {advice}")

            ask(weather, delay, stage3)

        ask(city, delay, stage2)

    ask("user 7", delay, stage1)


def request(question: str, delay: float) -> asyncio.Future[str]:
    """`ask`, with a future in the place of the callback."""
    future = asyncio.get_running_loop().create_future()
    ask(question, delay, future.set_result)
    return future


async def with_coroutine(delay: float) -> str:
    """The same three stages, in three awaits."""
    city = await request("user 7", delay)
    weather = await request(city, delay)
    advice = await request(weather, delay)
    return f"{city}, {weather}, {advice}"


async def main(delay: float) -> None:
    """Run both and compare what they found."""
    finished: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    with_callbacks(delay, finished.set_result)
    first = await finished
    print(f"callbacks: {first}")

    second = await with_coroutine(delay)
    print(f"coroutine: {second}")
    print(f"the same result: {first == second}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="a chain of requests, written twice")
    parser.add_argument("--seconds", type=float, default=0.5, help="how long one answer takes")
    asyncio.run(main(parser.parse_args().seconds))
