"""A module that fails, hangs and crashes: the runner must report each as what it is."""

import asyncio
import faulthandler
from typing import Any

new_event_loop = asyncio.SelectorEventLoop


class Queue(asyncio.Queue):  # type: ignore[type-arg]
    def qsize(self) -> int:
        return super().qsize() + 1  # a wrong result

    async def join(self) -> None:
        await asyncio.get_running_loop().create_future()  # never returns

    def get_nowait(self) -> Any:
        faulthandler._sigsegv()  # type: ignore[attr-defined]  # a native crash
