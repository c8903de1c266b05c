"""Every cycle through the loop's own types dies: loop, handle, future, task, transport, protocol.

Not here: counts over many operations (test_flat_counts.py), finalizers (test_finalizers.py).
Runs in the main thread.
Invariant: what nothing outside holds is gone after one collection, and nothing is reported that
asyncio would not report; one body for both loops; stock asyncio passes every test.
"""

from __future__ import annotations

import asyncio
import contextvars
import gc
import socket
import warnings
import weakref
from collections.abc import Callable
from typing import Any

import pytest
from tests.loopback import Recorder, collect_reports, resource_warnings, spin, tcp_sockets


class Token:
    """Something in the cycle that can be watched."""

    def __call__(self, *args: Any) -> None:
        pass


def gone(*refs: weakref.ref[Any]) -> bool:
    gc.collect()
    return [ref() for ref in refs] == [None] * len(refs)


# Futures


def test_a_pending_future_whose_callback_holds_it(loop):
    token = Token()
    future = loop.create_future()
    future.add_done_callback(lambda _, kept=(future, token): None)
    refs = weakref.ref(token), weakref.ref(future)
    del future, token
    assert gone(*refs)


def test_several_callbacks_that_hold_the_future(loop):
    token = Token()
    future = loop.create_future()
    for _ in range(5):
        future.add_done_callback(lambda _, kept=(future, token): None)
    refs = weakref.ref(token), weakref.ref(future)
    del future, token
    assert gone(*refs)


def test_a_future_that_is_its_own_result(loop):
    token = Token()
    future = loop.create_future()
    future.set_result([future, token])
    refs = weakref.ref(token), weakref.ref(future)
    del future, token
    assert gone(*refs)


def test_a_future_whose_exception_knows_it(loop):
    token = Token()
    future = loop.create_future()
    exc = ZeroDivisionError()
    exc.future = future  # type: ignore[attr-defined]
    exc.token = token  # type: ignore[attr-defined]
    future.set_exception(exc)
    future.exception()
    refs = weakref.ref(token), weakref.ref(future)
    del future, token, exc
    assert gone(*refs)


def test_an_exceptions_traceback_that_holds_the_future(loop):
    token = Token()

    def fail(token):
        future = loop.create_future()
        kept = [token]
        try:
            raise ZeroDivisionError(kept)
        except ZeroDivisionError as exc:
            future.set_exception(exc)
        with pytest.raises(ZeroDivisionError):
            future.result()
        return weakref.ref(future)

    refs = weakref.ref(token), fail(token)
    del token
    assert gone(*refs)


def test_two_futures_that_hold_each_other(loop):
    first, second = loop.create_future(), loop.create_future()
    first.add_done_callback(second.set_result)
    second.add_done_callback(first.set_result)
    refs = weakref.ref(first), weakref.ref(second)
    del first, second
    assert gone(*refs)


def test_a_futures_iterator(loop):
    token = Token()
    future = loop.create_future()
    future.add_done_callback(token)
    iterator = future.__await__()
    next(iterator)
    token.iterator = iterator  # type: ignore[attr-defined]
    refs = weakref.ref(token), weakref.ref(future)
    del future, token, iterator
    assert gone(*refs)


def test_a_callbacks_context(loop):
    token = Token()
    var: contextvars.ContextVar[Any] = contextvars.ContextVar("var")
    context = contextvars.Context()
    future = loop.create_future()
    context.run(var.set, (token, future))
    future.add_done_callback(print, context=context)
    refs = weakref.ref(token), weakref.ref(future)
    del future, token, context
    assert gone(*refs)


# Tasks


def test_a_task_whose_coroutine_knows_it(loop):
    collect_reports(loop)
    token = Token()

    async def body(token):
        me = asyncio.current_task()
        await loop.create_future()
        return me, token

    task = loop.create_task(body(token))
    spin(loop, 2)
    task._log_destroy_pending = False
    refs = weakref.ref(token), weakref.ref(task)
    del task, token
    assert gone(*refs)


def test_two_tasks_that_wait_for_each_other(loop):
    collect_reports(loop)
    tasks: list[asyncio.Task[Any]] = []
    token = Token()

    async def body(number, tasks, token):
        await asyncio.sleep(0)
        await tasks[number]

    tasks += [loop.create_task(body(number, tasks, token)) for number in (1, 0)]
    spin(loop, 3)
    for task in tasks:
        task._log_destroy_pending = False
    refs = weakref.ref(token), *map(weakref.ref, tasks)
    del token, task, tasks
    assert gone(*refs)


def test_a_finished_task(loop):
    token = Token()

    async def body(token):
        await asyncio.sleep(0)
        return token, asyncio.current_task()

    task = loop.create_task(body(token))
    loop.run_until_complete(task)
    refs = weakref.ref(token), weakref.ref(task), weakref.ref(task.get_coro())
    del token, task
    assert gone(*refs)


def test_a_failed_task(loop):
    token = Token()

    async def body(token):
        me = asyncio.current_task()
        await asyncio.sleep(0)
        raise ZeroDivisionError(me, token)

    task = loop.create_task(body(token))
    with pytest.raises(ZeroDivisionError) as info:
        loop.run_until_complete(task)
    refs = weakref.ref(token), weakref.ref(task)
    del token, task, info
    assert gone(*refs)


def test_a_cancelled_task(loop):
    token = Token()

    async def body(token):
        try:
            await loop.create_future()
        finally:
            token.task = asyncio.current_task()

    task = loop.create_task(body(token))
    spin(loop)
    task.cancel()
    with pytest.raises(asyncio.CancelledError) as info:
        loop.run_until_complete(task)
    refs = weakref.ref(token), weakref.ref(task)
    del token, task, info
    assert gone(*refs)


def test_a_task_whose_callbacks_hold_it(loop):
    collect_reports(loop)
    token = Token()

    async def body():
        await loop.create_future()

    task = loop.create_task(body())
    task.add_done_callback(lambda _, kept=(task, token): None)
    spin(loop)
    task._log_destroy_pending = False
    refs = weakref.ref(token), weakref.ref(task)
    del task, token
    assert gone(*refs)


def test_groups_of_tasks_leave_nothing(loop):
    tokens = [Token() for _ in range(30)]

    async def body(token):
        await asyncio.sleep(0)
        return token

    async def main(tokens):
        await asyncio.gather(*(body(token) for token in tokens[:10]))
        async with asyncio.TaskGroup() as group:
            for token in tokens[10:20]:
                group.create_task(body(token))
        await asyncio.wait([asyncio.ensure_future(body(token)) for token in tokens[20:]])
        await asyncio.wait_for(body(tokens[0]), 10)

    loop.run_until_complete(main(tokens))
    refs = [weakref.ref(token) for token in tokens]
    tokens.clear()
    assert gone(*refs)


# Handles and the loop


def test_a_handle_that_its_own_arguments_hold(loop):
    token = Token()
    handle = loop.call_later(3600, token)
    token.handle = handle  # type: ignore[attr-defined]
    refs = (weakref.ref(token),)
    handle.cancel()
    del token, handle
    assert gone(*refs)


def test_a_handle_that_ran(loop):
    token = Token()
    token.handle = loop.call_soon(token, token)  # type: ignore[attr-defined]
    token.timer = loop.call_later(0, token, token)  # type: ignore[attr-defined]
    ref = weakref.ref(token)
    del token
    spin(loop, 2)
    assert gone(ref)


def test_a_cancelled_timer_that_stays_in_the_heap(loop):
    token = Token()
    keep = loop.call_later(3600, print)
    handle = loop.call_later(1800, token)
    token.handle = handle  # type: ignore[attr-defined]
    ref = weakref.ref(token)
    handle.cancel()
    del token, handle
    assert gone(ref)
    keep.cancel()


async def forever(kept: Any) -> None:
    await asyncio.get_running_loop().create_future()


async def asleep(kept: Any) -> None:
    await asyncio.sleep(3600)


def begin(loop: Any, coroutine: Any) -> Any:
    """A task that is under way and may die quietly."""
    task = loop.create_task(coroutine)
    spin(loop, 2)
    task._log_destroy_pending = False
    return task


def future_with_callback(loop: Any, token: Any) -> Any:
    future = loop.create_future()
    future.add_done_callback(token)
    return future


# Each puts `token`, which knows the loop, somewhere into the loop, and may return what the token
# shall know too.
CONTENTS: dict[str, Callable[[Any, Any, socket.socket], Any]] = {
    "an attribute": lambda loop, token, sock: setattr(loop, "kept", token),
    "the exception handler": lambda loop, token, sock: loop.set_exception_handler(token),
    "the task factory": lambda loop, token, sock: loop.set_task_factory(token),
    "call_soon": lambda loop, token, sock: loop.call_soon(token, token) and None,
    "call_soon, its handle": lambda loop, token, sock: loop.call_soon(token, token),
    "call_soon, cancelled": lambda loop, token, sock: loop.call_soon(token).cancel(),
    "call_soon_threadsafe": lambda loop, token, sock: loop.call_soon_threadsafe(token) and None,
    "call_soon_threadsafe, its handle": lambda loop, token, sock: loop.call_soon_threadsafe(token),
    "call_later": lambda loop, token, sock: loop.call_later(3600, token) and None,
    "call_later, its handle": lambda loop, token, sock: loop.call_later(3600, token),
    "call_later, cancelled": lambda loop, token, sock: loop.call_later(3600, token).cancel(),
    "a reader": lambda loop, token, sock: loop.add_reader(sock, token, token) and None,
    "a writer": lambda loop, token, sock: loop.add_writer(sock, token, token) and None,
    "a future": lambda loop, token, sock: loop.create_future(),
    "a future with a callback": lambda loop, token, sock: future_with_callback(loop, token),
    "a task not begun": lambda loop, token, sock: setattr(
        loop.create_task(forever(token)), "_log_destroy_pending", False
    ),
    "a task": lambda loop, token, sock: begin(loop, forever(token)),
    "a sleeping task": lambda loop, token, sock: begin(loop, asleep(token)),
}


@pytest.mark.parametrize("closed", [True, False], ids=["closed", "left open"])
@pytest.mark.parametrize("content", CONTENTS)
def test_a_loop_that_its_own_contents_hold(loop_factory, content, closed):
    near, far = socket.socketpair()
    loop = loop_factory()
    token = Token()
    token.loop = loop  # type: ignore[attr-defined]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # a coroutine that was never begun
        token.more = CONTENTS[content](loop, token, near)  # type: ignore[attr-defined]
        refs = weakref.ref(token), weakref.ref(loop)
        with resource_warnings() as texts:
            if closed:
                loop.close()
            del loop, token
        assert gone(*refs)
    assert any("unclosed event loop" in text for text in texts) is not closed
    near.close()
    far.close()


def test_a_closed_loop_is_freed_although_its_handles_live(loop_factory):
    loop = loop_factory()
    handles = [loop.call_soon(print), loop.call_later(1, print)]
    for handle in handles:
        handle.cancel()
    loop.close()
    text = [repr(handle) for handle in handles]
    ref = weakref.ref(loop)
    del loop
    gc.collect()
    assert text == [repr(handle) for handle in handles]
    del handle
    handles.clear()
    assert gone(ref)


def test_a_subclass_with_attributes(loop_factory):
    probe = loop_factory()
    kind = type(probe)
    probe.close()

    class Sub(kind):
        pass

    loop = Sub()
    loop.me = loop
    loop.run_until_complete(asyncio.sleep(0))
    loop.close()
    refs = weakref.ref(loop), weakref.ref(Sub)
    del loop, Sub, probe, kind
    assert gone(*refs)


# Transports


def connect(loop: Any, factory: Any) -> tuple[Any, Any, socket.socket]:
    near, far = tcp_sockets()
    transport, protocol = loop.run_until_complete(loop.create_connection(factory, sock=near))
    return transport, protocol, far


def test_transport_and_protocol_after_the_connection(loop):
    transport, protocol, far = connect(loop, Recorder)
    protocol.me = protocol
    protocol.transport = transport
    transport.set_protocol(protocol)
    transport.abort()
    spin(loop, 2)
    refs = weakref.ref(transport), weakref.ref(protocol)
    del transport, protocol
    assert gone(*refs)
    far.close()


def test_an_open_transport_of_a_closed_loop(loop):
    transport, protocol, far = connect(loop, Recorder)
    transport.write(b"x" * 8_000_000)
    refs = weakref.ref(transport), weakref.ref(protocol)
    loop.close()
    with resource_warnings() as texts:
        del transport, protocol
    assert any("unclosed transport" in text for text in texts)
    assert gone(*refs)
    far.close()


def test_an_open_transport_of_a_loop_that_nobody_holds(loop_factory):
    """Loop, transport and protocol hold each other only: all of them are freed and reported."""
    loop = loop_factory()
    transport, protocol, far = connect(loop, Recorder)
    protocol.loop = loop
    refs = weakref.ref(transport), weakref.ref(protocol), weakref.ref(loop)
    with resource_warnings() as texts:
        del transport, protocol, loop
    assert any("unclosed event loop" in text for text in texts)
    assert gone(*refs)
    far.close()


def test_a_server_and_its_factory(loop):
    token = Token()

    def factory(token=token):
        return asyncio.Protocol()

    server = loop.run_until_complete(loop.create_server(factory, "127.0.0.1", 0))
    token.server = server  # type: ignore[attr-defined]
    server.close()
    loop.run_until_complete(server.wait_closed())
    spin(loop, 2)
    refs = weakref.ref(token), weakref.ref(server)
    del token, server, factory
    assert gone(*refs)


def test_extra_information_does_not_keep_the_transport(loop):
    transport, _, far = connect(loop, Recorder)
    sock = transport.get_extra_info("socket")
    transport.abort()
    spin(loop, 2)
    ref = weakref.ref(transport)
    del transport, _
    assert gone(ref)
    assert sock.fileno() == -1
    far.close()


# What the collector is told


def test_the_types_take_part_in_collection(loop):
    async def body():
        await asyncio.sleep(0)

    future, task = loop.create_future(), loop.create_task(body())
    handle, timer = loop.call_soon(print), loop.call_later(3600, print)
    iterator = future.__await__()
    for thing in (loop, future, task, iterator):
        assert gc.is_tracked(thing), thing
    future.add_done_callback(print)
    assert print in [callback for callback, _ in future._callbacks]
    handle.cancel()
    timer.cancel()
    spin(loop, 2)
    future.cancel()
    spin(loop)
