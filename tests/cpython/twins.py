"""Test classes for a module's own Task and Future, beside CPython's for the C and Python ones.

Here: a third parametrisation of the mixins of test_tasks, test_futures, test_futures2 and
test_eager_task_factory. Not here: putting the classes in place of asyncio's (worker.py).
Thread: the worker's main thread. Invariant: the stock test classes stay as they are.
"""

from __future__ import annotations

import asyncio
import types
from typing import Any


def add_to(module: types.ModuleType, under_test: types.ModuleType) -> None:
    """Add the `Mod*` classes to a test module, as far as the module under test has classes."""
    task = getattr(under_test, "Task", None)
    future = getattr(under_test, "Future", None)
    match module.__name__.rpartition(".")[2]:
        case "test_tasks" if task is not None:
            _tasks(module, task, future or asyncio.Future)
        case "test_futures" if future is not None:
            _futures(module, future)
        case "test_graph" if task is not None:
            case = module.unittest.IsolatedAsyncioTestCase
            _add(module, "ModCallStackTests", module.CallStackTestBase, case)
        case "test_free_threading" if task is not None:
            _free_threading(module, task)
        case "test_futures2" if task is not None:
            _add(module, "ModFutureTests", module.CFutureTests, cls=task)
        case "test_eager_task_factory" if task is not None:
            for name in ("CEagerTaskFactoryLoopTests", "NonEagerCTaskTests", "EagerCTaskTests"):
                if hasattr(module, name):
                    twin = "Mod" + name.replace("CTask", "Task").removeprefix("C")
                    _add(module, twin, getattr(module, name), Task=task)


def _add(module: types.ModuleType, name: str, *bases: type, **attrs: Any) -> type:
    cls = type(name, bases, {"__module__": module.__name__, "__qualname__": name, **attrs})
    setattr(module, name, cls)
    return cls


def _tasks(module: Any, task: Any, future: Any) -> None:
    from asyncio import futures, tasks

    test_case = module.test_utils.TestCase
    stock: Any = futures
    stock_tasks: Any = tasks
    # From 3.14 on the cases name what lists the tasks, too.
    listed = {
        "all_tasks": staticmethod(stock_tasks.all_tasks),
        "current_task": staticmethod(stock_tasks.current_task),
    }
    pure = {
        "all_tasks": staticmethod(getattr(stock_tasks, "_py_all_tasks", stock_tasks.all_tasks)),
        "current_task": staticmethod(
            getattr(stock_tasks, "_py_current_task", stock_tasks.current_task)
        ),
    }
    # Derived from the C cases: those hold the tests of native code's safety.
    _add(
        module,
        "ModTask_ModFuture_Tests",
        module.CTask_CFuture_Tests,
        Task=task,
        Future=future,
        **listed,
    )
    module.add_subclass_tests(
        _add(
            module,
            "ModTask_ModFuture_SubclassTests",
            module.BaseTaskTests,
            test_case,
            Task=task,
            Future=future,
            **listed,
        )
    )
    pairs = {
        "ModTask_CFuture": (task, stock._CFuture),
        "ModTask_PyFuture": (task, stock._PyFuture),
        "CTask_ModFuture": (stock_tasks._CTask, future),
        "PyTask_ModFuture": (stock_tasks._PyTask, future),
    }
    for name, (task_class, future_class) in pairs.items():
        _add(
            module,
            f"{name}_Tests",
            module.BaseTaskTests,
            test_case,
            Task=task_class,
            Future=future_class,
            **(pure if task_class is stock_tasks._PyTask else listed),
        )
    hooks = {
        name: staticmethod(getattr(tasks, name))
        for name in ("_register_task", "_unregister_task", "_enter_task", "_leave_task")
    }
    _add(
        module,
        "ModIntrospectionTests",
        test_case,
        module.BaseTaskIntrospectionTests,
        Task=task,
        **hooks,
        **listed,
    )
    _add(
        module,
        "ModCurrentLoopTests",
        module.BaseCurrentLoopTests,
        test_case,
        current_task=staticmethod(asyncio.current_task),
        new_task=lambda self, coro: task(coro, loop=self.loop),
    )


def _free_threading(module: Any, task: Any) -> None:
    def factory(self: Any, loop: Any, coro: Any, **kwargs: Any) -> Any:
        return task(coro, loop=loop, **kwargs)

    def eager_factory(
        self: Any, loop: Any, coro: Any, eager_start: bool = True, **kwargs: Any
    ) -> Any:
        return task(coro, loop=loop, eager_start=eager_start, **kwargs)

    bases = (module.TestFreeThreading, module.TestCase)
    _add(module, "ModFreeThreadingTests", *bases, factory=factory)
    _add(module, "ModEagerFreeThreadingTests", *bases, factory=eager_factory)


def _futures(module: Any, future: Any) -> None:
    test_case = module.test_utils.TestCase
    derived = type("ModSubFuture", (future,), {})
    _add(module, "ModFutureTests", module.CFutureTests, cls=future)
    _add(module, "ModSubFutureTests", module.BaseFutureTests, test_case, cls=derived)
    for name, cls in (("Mod", future), ("ModSub", derived)):
        _add(
            module,
            f"{name}FutureDoneCallbackTests",
            module.BaseFutureDoneCallbackTests,
            test_case,
            _new_future=lambda self, cls=cls: cls(loop=self.loop),
        )
    if hasattr(module, "BaseFutureInheritanceTests"):
        _add(
            module,
            "ModFutureInheritanceTests",
            module.BaseFutureInheritanceTests,
            test_case,
            _get_future_cls=lambda self: future,
        )
