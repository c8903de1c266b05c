"""A module whose classes are new types: shows that --install really puts them in place."""

import asyncio

new_event_loop = asyncio.SelectorEventLoop


class Queue(asyncio.Queue):  # type: ignore[type-arg]
    """Told from asyncio's by its name alone: repr() shows it, and tests compare that."""


class LifoQueue(asyncio.LifoQueue):  # type: ignore[type-arg]
    pass


class PriorityQueue(asyncio.PriorityQueue):  # type: ignore[type-arg]
    pass
