"""What programs put in the place of asyncio's own: a Task class, a socket module, TLS's protocol.

Runs in the main thread, on loopback.
Invariant: a loop looks where asyncio's loops look; one body for both.
"""

from __future__ import annotations

import asyncio
import socket
import sys
import types
from asyncio import base_events, sslproto, unix_events

import pytest
from tests.loopback import Recorder, tcp_listener, turns, within
from tests.tls_peer import tls_connection


class Theirs(asyncio.Task):
    """A program's own task class."""


@pytest.fixture
def their_tasks(monkeypatch):
    monkeypatch.setattr(asyncio.tasks, "Task", Theirs)


@pytest.mark.usefixtures("their_tasks")
def test_a_replaced_task_class_is_what_the_loop_makes(run):
    async def child():
        await asyncio.sleep(0)
        return 1

    async def main():
        assert type(asyncio.current_task()) is Theirs
        loop = asyncio.get_running_loop()
        tasks = [loop.create_task(child(), name="by loop"), asyncio.create_task(child())]
        assert [type(task) for task in tasks] == [Theirs] * 2
        assert tasks[0].get_name() == "by loop"
        assert await asyncio.gather(*tasks, child()) == [1, 1, 1]
        async with asyncio.TaskGroup() as group:
            assert type(group.create_task(child())) is Theirs
        with pytest.raises(TypeError):
            loop.create_task(child_without_await := child(), nonsense=1)
        child_without_await.close()

    run(main())


@pytest.mark.usefixtures("their_tasks")
def test_a_task_factory_comes_before_a_replaced_class(loop):
    loop.set_task_factory(lambda loop, coro, **rest: asyncio.Task(coro, loop=loop, **rest))

    async def main():
        return type(asyncio.current_task())

    assert loop.run_until_complete(main()) is not Theirs


def test_the_replaced_class_is_gone_when_it_is_put_back(loop, monkeypatch):
    async def main():
        return type(asyncio.current_task())

    with monkeypatch.context() as patch:
        patch.setattr(asyncio.tasks, "Task", Theirs)
        assert loop.run_until_complete(main()) is Theirs
    assert loop.run_until_complete(main()) is not Theirs


def counting_module(made):
    """The socket module, but for a class that counts."""

    class Counting(socket.socket):
        def __init__(self, *args, **keywords):
            super().__init__(*args, **keywords)
            made.append(self)

    return types.SimpleNamespace(**vars(socket) | {"socket": Counting})


def test_sockets_are_made_by_the_module_that_asyncio_uses(run, monkeypatch, tmp_path):
    made: list[socket.socket] = []
    monkeypatch.setattr(base_events, "socket", counting_module(made))
    monkeypatch.setattr(unix_events, "socket", counting_module(made))

    async def main():
        loop = asyncio.get_running_loop()
        with tcp_listener() as listener:
            transport, _ = await loop.create_connection(Recorder, *listener.getsockname())
            listener.accept()[0].close()
            assert len(made) == 1
            transport.abort()
        server = await loop.create_server(Recorder, "127.0.0.1", 0)
        assert len(made) == 2
        server.close()
        server = await loop.create_unix_server(Recorder, tmp_path / "socket")
        assert len(made) == 3
        server.close()
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(tmp_path / "other"))
            listener.listen()
            transport, _ = await loop.create_unix_connection(Recorder, str(tmp_path / "other"))
            assert len(made) == 4
            transport.abort()
        transport, _ = await loop.create_datagram_endpoint(
            asyncio.DatagramProtocol, local_addr=("127.0.0.1", 0)
        )
        assert len(made) == 5
        transport.abort()
        await turns(5)
        for sock in made:
            sock.close()

    run(main())


def test_a_changed_tls_protocol_is_used(run, monkeypatch):
    made = []
    stock = sslproto.SSLProtocol.connection_made

    def connection_made(self, transport):
        made.append(self)
        stock(self, transport)

    monkeypatch.setattr(sslproto.SSLProtocol, "connection_made", connection_made)

    async def main():
        async with tls_connection() as (transport, *_rest):
            assert made
            assert transport.get_extra_info("cipher")

    run(main())


@pytest.mark.skipif(sys.version_info < (3, 14), reason="call graphs came with Python 3.14")
def test_call_graphs_know_who_awaits_through_gather_and_its_like(run):
    async def child(graphs):
        await asyncio.sleep(0)
        graph = asyncio.capture_call_graph()
        graphs.append({waiter.future.get_name() for waiter in graph.awaited_by})

    async def main():
        asyncio.current_task().set_name("main")
        graphs: list[set[str]] = []
        await asyncio.gather(child(graphs), child(graphs))
        async with asyncio.TaskGroup() as group:
            group.create_task(child(graphs))
        await asyncio.wait([asyncio.create_task(child(graphs))])
        await asyncio.shield(child(graphs))
        assert graphs == [{"main"}] * 5

    run(within(main()))
