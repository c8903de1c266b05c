"""Backpressure over all connections."""

from __future__ import annotations

from logcollector.gate import Gate


class Reader:
    def __init__(self, name: str, trace: list[str]) -> None:
        self.name = name
        self.trace = trace

    def gate_closed(self) -> None:
        self.trace.append(f"stop {self.name}")

    def gate_opened(self) -> None:
        self.trace.append(f"go {self.name}")


def test_it_closes_at_the_mark_and_opens_at_half() -> None:
    trace: list[str] = []
    gate = Gate(10, 1000)
    a, b = Reader("a", trace), Reader("b", trace)
    gate.join(a)
    gate.join(b)
    gate.add(a, 9, 9)
    assert trace == []
    gate.add(a, 1, 1)
    assert trace == ["stop b", "stop a"]
    gate.remove(4, 4)
    assert len(trace) == 2
    gate.remove(1, 1)
    assert trace[2:] == ["go b", "go a"]
    assert not gate.closed


def test_bytes_close_it_too() -> None:
    trace: list[str] = []
    gate = Gate(10, 1000)
    a = Reader("a", trace)
    gate.join(a)
    gate.add(a, 1, 1000)
    assert gate.closed
    assert gate.most_size == 1000


def test_who_waited_longest_goes_first() -> None:
    trace: list[str] = []
    gate = Gate(4, 1000)
    readers = [Reader(str(n), trace) for n in range(4)]
    for reader in readers:
        gate.join(reader)
    gate.add(readers[2], 1, 1)
    gate.add(readers[0], 3, 1)
    gate.remove(4, 2)
    assert trace[4:] == ["go 1", "go 3", "go 2", "go 0"]


def test_newcomers_wait_while_it_is_closed() -> None:
    trace: list[str] = []
    gate = Gate(1, 1000)
    a, b = Reader("a", trace), Reader("b", trace)
    gate.join(a)
    gate.add(a, 1, 1)
    gate.join(b)
    assert trace == ["stop a", "stop b"]
    assert gate.waiting == 2
    gate.leave(b)
    gate.remove(1, 1)
    assert trace == ["stop a", "stop b", "go a"]
