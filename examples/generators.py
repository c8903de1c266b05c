"""A producer and a consumer made of plain generators: where coroutines come from.

No event loop here: `yield` hands control back, `send` gives it to the consumer with a value, and
the two take turns in one thread. `await` is the same mechanism, with a loop doing the sending.
"""

from collections.abc import Generator


def consumer() -> Generator[str, int, int]:
    """Take numbers, answer each with a word, return their sum once it gets 0."""
    total = 0
    answer = "ready"
    while True:
        number = yield answer
        if number == 0:
            return total
        print(f"consumer: got {number}")
        total += number
        answer = f"ok {number}"


def produce(target: Generator[str, int, int], numbers: range) -> int:
    """Send `numbers` to the consumer, one at a time; return what it returned."""
    print(f"producer: consumer says {next(target)!r}")  # run it up to its first yield
    for number in numbers:
        print(f"producer: sending {number}")
        print(f"producer: consumer says {target.send(number)!r}")
    try:
        target.send(0)
    except StopIteration as stop:  # a generator's return value travels in here
        return int(stop.value)
    raise RuntimeError("the consumer went on after 0")


def averager() -> Generator[float | None, float, None]:
    """Yield the running average of all that was sent; tidy up when closed."""
    total = 0.0
    average = None
    try:
        for count in range(1, 1000):
            total += yield average
            average = total / count
    finally:
        print("averager: closed")


def main() -> None:
    """Show `send`, a returned value, and `close`."""
    print(f"sum: {produce(consumer(), range(1, 4))}")

    average = averager()
    next(average)
    for term in (10, 30, 5):
        print(f"average after {term}: {average.send(term)}")
    average.close()


if __name__ == "__main__":
    main()
