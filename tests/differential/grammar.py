"""The programs there are: steps, their arguments, and one program for each seed.

Here: the registry of steps, how arguments are drawn, a program of a seed. A program is a list of
tasks, a task a list of steps, a step a tuple of its name and its arguments; some arguments are
lists of steps, or a step that a callback takes. Not here: what steps do (steps/).
Thread: any.
Invariant: every program is valid; what it refers to by number is taken modulo what there is. The
same seed makes the same program, on every Python that has the same steps.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

Step = tuple[Any, ...]
Steps = list[Step]
Program = list[Steps]
Argument = Callable[["Draw"], Any]
F = TypeVar("F", bound=Callable[..., Any])
T = TypeVar("T")

DEEPEST = 3
LEAVES = 14


@dataclass(frozen=True)
class Kind:
    """A kind of step."""

    name: str
    arguments: tuple[Argument, ...]
    function: Callable[..., Any]
    awaits: bool

    @property
    def topic(self) -> str:
        return self.function.__module__

    @property
    def nested(self) -> bool:
        return body in self.arguments or bodies in self.arguments


KINDS: dict[str, Kind] = {}

#: What goes with every topic.
EVERYWHERE = {"yield_once", "sleep", "spawn", "cancel", "uncancel", "guard", "fail_plainly",
              "call_soon", "timeout", "wait_for", "group", "look"}  # fmt: skip


def step(*arguments: Argument, since: tuple[int, int] = (3, 11)) -> Callable[[F], F]:
    """Register a step: a function of the run and of what is drawn by `arguments`.

    One that is a coroutine function can only be a task's step; the others callbacks take, too.
    """

    def register(function: F) -> F:
        awaits = bool(function.__code__.co_flags & 0x80)  # type: ignore[attr-defined]
        if sys.version_info >= since:
            KINDS[function.__name__] = Kind(function.__name__, arguments, function, awaits)
        return function

    return register


class Draw:
    """What one seed draws."""

    def __init__(self, seed: int, kinds: Sequence[Kind]) -> None:
        self.random = random.Random(seed).random
        self.left = LEAVES
        self.depth = 0
        some = self.few(kinds) or list(kinds)
        self.leaves = [kind for kind in some if not kind.nested] or self.without_nested(kinds)
        self.nested = [kind for kind in some if kind.nested]
        self.actions = [kind for kind in self.leaves if not kind.awaits] or [KINDS["look"]]

    def few(self, kinds: Sequence[Kind]) -> list[Kind]:
        """Few kinds in one program, of all or of two topics: then they meet each other."""
        share = self.pick((0.1, 0.2, 0.4, 1.0))
        if self.random() < 0.5:
            return [kind for kind in kinds if self.random() < share]
        topics = {self.pick(kinds).topic for _ in range(2)}
        return [kind for kind in kinds if kind.topic in topics or kind.name in EVERYWHERE]

    @staticmethod
    def without_nested(kinds: Sequence[Kind]) -> list[Kind]:
        return [kind for kind in kinds if not kind.nested]

    def pick(self, options: Sequence[T]) -> T:
        return options[int(self.random() * len(options))]

    def count(self, most: int) -> int:
        """From one to `most`, the fewer the likelier."""
        return 1 + int(self.random() * self.random() * most)

    def arguments(self, kind: Kind) -> Step:
        return (kind.name, *[argument(self) for argument in kind.arguments])

    def step(self) -> Step:
        self.left -= 1
        if self.nested and self.left > 0 and self.depth < DEEPEST and self.random() < 0.4:
            self.depth += 1
            made = self.arguments(self.pick(self.nested))
            self.depth -= 1
            return made
        return self.arguments(self.pick(self.leaves))


# -- arguments


def number(draw: Draw) -> int:
    """Of a task, a future, an item."""
    return int(draw.random() * 5)


def which(draw: Draw) -> int:
    """Of two primitives, often the same."""
    return int(draw.random() * 1.5)


def delay(draw: Draw) -> int:
    """In milliseconds, which are turns; 0 stands for a deadline that has come."""
    return int(draw.random() * 5)


def flag(draw: Draw) -> bool:
    return draw.random() < 0.5


def one_of(*options: Any) -> Argument:
    return lambda draw: draw.pick(options)


def several(argument: Argument, most: int = 3) -> Argument:
    return lambda draw: [argument(draw) for _ in range(draw.count(most))]


def action(draw: Draw) -> Step:
    """What a callback does."""
    if draw.depth >= DEEPEST + 2:
        return ("look",)
    draw.depth += 1
    made = draw.arguments(draw.pick(draw.actions))
    draw.depth -= 1
    return made


def body(draw: Draw) -> Steps:
    return [draw.step() for _ in range(draw.count(4))]


def bodies(draw: Draw) -> list[Steps]:
    return [body(draw) for _ in range(draw.count(4))]


#: An exception by name: what a program raises.
error = one_of("Boom", "Boom", "Boom", "CancelledError", "TimeoutError", "KeyboardInterrupt",
               "SystemExit", "StopIteration", "StopAsyncIteration", "GeneratorExit",
               "Base")  # fmt: skip
message = one_of(None, "x")


def program(seed: int, kinds: Sequence[Kind] | None = None) -> Program:
    draw = Draw(seed, list(KINDS.values()) if kinds is None else kinds)
    return [body(draw) for _ in range(1 + int(draw.random() * 4))]
