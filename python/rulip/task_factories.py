"""What install() puts in place of asyncio.eager_task_factory.

Lives here: the factory that asyncio itself would make of our Task. Does not live here: the native
`eager_task_factory`, for who asks rulip for one.
Thread: any. Invariant: it is a function with asyncio's own code and the Task in its closure: anyio
knows eager factories by these, and reads them as it is imported.
"""

import asyncio
from typing import Any

from ._rulip import Task

if make := getattr(asyncio, "create_eager_task_factory", None):  # 3.12
    eager_task_factory: Any = make(Task)
    eager_task_factory.__doc__ = "A task factory whose tasks start at once."
