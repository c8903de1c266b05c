"""The smallest program that still differs.

Here: removing tasks and steps, and putting what is inside a step in its place. Not here: running.
Thread: any. Invariant: a smaller program is valid, as every program is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from .grammar import KINDS, Program


def shrunk(program: Program, differs: Callable[[Program], bool]) -> Program:
    """The first smaller one that differs, made smaller again, until none does."""
    while True:
        for smaller in smaller_ones(program):
            if smaller and differs(smaller):
                program = smaller
                break
        else:
            return program


def is_step(value: Any) -> bool:
    return isinstance(value, tuple) and bool(value) and value[0] in KINDS


def bodies_of(step: Any) -> Iterator[Any]:
    for inside in step[1:]:
        if isinstance(inside, list) and inside:
            if is_step(inside[0]):
                yield inside
            elif isinstance(inside[0], list):
                yield from inside


def smaller_ones(value: Any) -> Iterator[Any]:
    """Of a program, a list of steps or of bodies, a step, or an argument."""
    if isinstance(value, list):
        for index in range(len(value)):
            yield value[:index] + value[index + 1 :]
        for index, item in enumerate(value):
            if is_step(item):
                for inside in bodies_of(item):
                    yield value[:index] + inside + value[index + 1 :]
            for smaller in smaller_ones(item):
                if smaller != []:
                    yield [*value[:index], smaller, *value[index + 1 :]]
    elif isinstance(value, tuple):
        for index, item in enumerate(value):
            if is_step(item) and is_step(value):
                yield item
            for smaller in smaller_ones(item):
                yield (*value[:index], smaller, *value[index + 1 :])
    elif isinstance(value, int) and not isinstance(value, bool) and value > 0:
        yield 0
        if value > 2:
            yield 2
