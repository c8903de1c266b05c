"""Clients and servers of the field, unmodified: what a loop's gain comes to beside their own code.

Not here: HTTP servers (`web.py`), the database servers (`servers.py`). Thread: the loop's.
Invariant: the library is used as its documentation shows; only this process's CPU time counts, so a
database's work is not in it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import servers
from measured import Measured

from .registry import Workload, groups_of

LANES = 16
PIPELINED = 50
ROWS = 100
MESSAGE = "x" * 1024


async def in_lanes(
    operations: int, measured: Measured, lane: Callable[[int], Coroutine[Any, Any, None]]
) -> None:
    """So many coroutines side by side, each with its share of the operations."""
    count = groups_of(LANES, operations)
    with measured(count * LANES):
        await asyncio.gather(*(lane(count) for _ in range(LANES)))


async def asyncpg_queries(operations: int, measured: Measured) -> None:
    import asyncpg

    with servers.postgres() as port:
        pool = await asyncpg.create_pool(
            host=servers.HOST, port=port, user="postgres", min_size=LANES, max_size=LANES
        )

        async def lane(count: int) -> None:
            async with pool.acquire() as connection:
                for _ in range(count):
                    found = await connection.fetch("SELECT generate_series(1, $1)", ROWS)
                    if len(found) != ROWS:
                        raise RuntimeError("rows are missing")

        async with pool:
            await in_lanes(operations, measured, lane)


async def redis_pipelines(operations: int, measured: Measured) -> None:
    from redis.asyncio import Redis

    with servers.redis() as port:
        async with Redis(host=servers.HOST, port=port) as client:

            async def lane(count: int) -> None:
                for number in range(count):
                    async with client.pipeline(transaction=False) as pipeline:
                        for index in range(PIPELINED):
                            pipeline.set(str(index), number)
                        if not all(await pipeline.execute()):
                            raise RuntimeError("a command failed")

            await in_lanes(operations, measured, lane)


async def websockets_echo(operations: int, measured: Measured) -> None:
    from websockets.asyncio.client import connect
    from websockets.asyncio.server import ServerConnection, serve

    async def echo(connection: ServerConnection) -> None:
        async for message in connection:
            await connection.send(message)

    async with serve(echo, servers.HOST, 0, compression=None) as server:
        port = server.sockets[0].getsockname()[1]
        clients = [
            await connect(f"ws://{servers.HOST}:{port}", compression=None, proxy=None)
            for _ in range(LANES)
        ]
        waiting = iter(clients)

        async def lane(count: int) -> None:
            client = next(waiting)
            for _ in range(count):
                await client.send(MESSAGE)
                if await client.recv() != MESSAGE:
                    raise RuntimeError("not the message")

        await in_lanes(operations, measured, lane)
        for client in clients:
            await client.close()


async def aiohttp_client(operations: int, measured: Measured) -> None:
    """Requests to a server on the same loop: both ends are aiohttp's."""
    import aiohttp
    from aiohttp import web

    async def hello(request: web.Request) -> web.Response:
        return web.Response(text=MESSAGE)

    application = web.Application()
    application.router.add_get("/", hello)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, servers.HOST, servers.free_port())
    await site.start()
    async with aiohttp.ClientSession() as session:

        async def lane(count: int) -> None:
            for _ in range(count):
                async with session.get(site.name) as response:
                    if await response.text() != MESSAGE:
                        raise RuntimeError("not the page")

        await in_lanes(operations, measured, lane)
    await runner.cleanup()


def row(
    name: str,
    run: Callable[[int, Measured], Coroutine[Any, Any, None]],
    operation: str,
    module: str,
    *programs: str,
) -> Workload:
    return Workload(
        name,
        run,
        operation,
        LANES,
        200,
        full=True,
        kind="applications",
        modules=(module,),
        programs=programs,
    )


WORKLOADS = (
    row("asyncpg", asyncpg_queries, "asyncpg, query of 100 rows", "asyncpg", *servers.POSTGRES),
    row("redis", redis_pipelines, "redis-py, pipeline of 50 commands", "redis", *servers.REDIS),
    row("websockets", websockets_echo, "websockets, echo of 1 KiB, both ends", "websockets"),
    row("aiohttp_client", aiohttp_client, "aiohttp, client and server, 1 KiB", "aiohttp"),
)
