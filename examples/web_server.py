"""A web server whose every page takes a second: a thousand of them at once take little more.

Routes `/` and `/hello/{name}`, on aiohttp (`pip install aiohttp`). It serves until Ctrl-C; with
`--requests N` it asks itself N times at once instead, and says how long that took.
"""

import argparse
import asyncio
import contextlib
from collections.abc import AsyncIterator
from functools import partial

import aiohttp
from aiohttp import web

HOST = "127.0.0.1"


async def index(seconds: float, request: web.Request) -> web.Response:
    """The front page."""
    await asyncio.sleep(seconds)
    return web.Response(text="<h1>Index</h1>", content_type="text/html")


async def hello(seconds: float, request: web.Request) -> web.Response:
    """A page with a name in it."""
    await asyncio.sleep(seconds)
    text = f"<h1>hello, {request.match_info['name']}!</h1>"
    return web.Response(text=text, content_type="text/html")


@contextlib.asynccontextmanager
async def serving(port: int, seconds: float) -> AsyncIterator[int]:
    """The server, until the block ends; its port."""
    app = web.Application()
    app.router.add_get("/", partial(index, seconds))
    app.router.add_get("/hello/{name}", partial(hello, seconds))
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, HOST, port, backlog=1024).start()
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


async def ask(session: aiohttp.ClientSession, number: int) -> bool:
    """One request; whether the answer is the right one."""
    async with session.get(f"/hello/{number}") as answer:
        return await answer.text() == f"<h1>hello, {number}!</h1>"


async def main(port: int, seconds: float, requests: int) -> None:
    """Serve, or ask ourselves."""
    async with serving(port, seconds) as port:
        print(f"serving on {HOST}:{port}", flush=True)
        if not requests:
            await asyncio.Event().wait()
        connector = aiohttp.TCPConnector(limit=requests)
        async with aiohttp.ClientSession(f"http://{HOST}:{port}", connector=connector) as session:
            began = asyncio.get_running_loop().time()
            right = await asyncio.gather(*(ask(session, number) for number in range(requests)))
            took = asyncio.get_running_loop().time() - began
        print(f"{sum(right)} of {requests} answers took {took:.2f} s")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="a thousand slow pages at once")
    parser.add_argument("--port", type=int, default=8080)
    parser.add_argument("--seconds", type=float, default=1.0, help="what a page takes")
    parser.add_argument("--requests", type=int, default=0)
    args = parser.parse_args()
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(main(args.port, args.seconds, args.requests))
