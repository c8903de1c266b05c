"""A hello-world HTTP server on loopback: `web_server.py LOOP SERVER PORT`, until it is killed.

Not here: the measuring (`web.py`). Thread: main. Invariant: the frameworks are used as their own
documentation shows, access logs off; the line on stdout comes only when connections are accepted.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import sys
from collections.abc import Awaitable, Callable
from typing import Any, cast

from contenders import loop_factory
from worker import ABSENT, about_process

HOST = "127.0.0.1"
BODY = b"hello world"
RESPONSE = b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 11\r\n\r\n" + BODY


def announce(contender: str) -> None:
    print(json.dumps({"ready": True} | about_process(contender)), flush=True)


async def serve_aiohttp(contender: str, port: int) -> None:
    from aiohttp import web

    async def hello(request: Any) -> Any:
        return web.Response(body=BODY, content_type="text/plain")

    application = web.Application()
    application.router.add_get("/", hello)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, HOST, port).start()
    announce(contender)
    await asyncio.get_running_loop().create_future()


async def hello_asgi(
    scope: dict[str, Any],
    receive: Callable[[], Awaitable[Any]],
    send: Callable[[dict[str, Any]], Awaitable[None]],
) -> None:
    headers = [(b"content-type", b"text/plain"), (b"content-length", b"11")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": BODY})


async def serve_uvicorn(contender: str, port: int) -> None:
    await serve_asgi(contender, port, hello_asgi)


async def serve_fastapi(contender: str, port: int) -> None:
    import fastapi

    application = fastapi.FastAPI()

    # Without an annotation of the result there is no response model to validate.
    @application.get("/")
    async def hello():  # type: ignore[no-untyped-def]
        return {"hello": "world"}

    await serve_asgi(contender, port, application)


async def serve_asgi(contender: str, port: int, application: Any) -> None:
    import uvicorn

    class Server(uvicorn.Server):
        async def startup(self, sockets: Any = None) -> None:
            await super().startup(sockets)
            announce(contender)

    config = uvicorn.Config(
        application,
        host=HOST,
        port=port,
        http="httptools",
        lifespan="off",
        access_log=False,
        log_level="error",
    )
    await Server(config).serve()


class Hello(asyncio.Protocol):
    """A server of nothing but a parser and one write per request."""

    _transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        import httptools

        self._transport = cast("asyncio.Transport", transport)
        self._parser = httptools.HttpRequestParser(self)

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_message_complete(self) -> None:
        self._transport.write(RESPONSE)


async def serve_protocol(contender: str, port: int) -> None:
    import httptools  # noqa: F401  # absent: said before the first connection

    server = await asyncio.get_running_loop().create_server(Hello, HOST, port)
    announce(contender)
    with contextlib.closing(server):  # not every loop's server is an `async with`
        await asyncio.get_running_loop().create_future()


SERVERS = {
    "aiohttp": serve_aiohttp,
    "uvicorn": serve_uvicorn,
    "fastapi": serve_fastapi,
    "protocol": serve_protocol,
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("loop")
    parser.add_argument("server", choices=SERVERS)
    parser.add_argument("port", type=int)
    options = parser.parse_args()
    try:
        # First of all: a contender may take the place of asyncio's names.
        factory = loop_factory(options.loop)
        with asyncio.Runner(loop_factory=factory) as runner:
            runner.run(SERVERS[options.server](options.loop, options.port))
    except ImportError as error:
        print(f"{options.loop} or {options.server} cannot be imported: {error}", file=sys.stderr)
        return ABSENT
    return 0


if __name__ == "__main__":
    sys.exit(main())
