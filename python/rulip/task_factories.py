    eager_task_factory.__doc__ = "A task factory whose tasks start at once (asyncio's, of our tasks)."
