"""A module with loop and classes that are asyncio's own: everything must pass."""

from asyncio import (
    Future,
    LifoQueue,
    PriorityQueue,
    Queue,
    SelectorEventLoop,
    Task,
    gather,
    sleep,
    wait,
    wait_for,
)

new_event_loop = SelectorEventLoop

__all__ = [
    "Future",
    "LifoQueue",
    "PriorityQueue",
    "Queue",
    "Task",
    "gather",
    "new_event_loop",
    "sleep",
    "wait",
    "wait_for",
]
