"""An echo server on loopback: `tcp_server.py LOOP MODE PORT [--tls FILE]`, until it is killed.

Not here: the client and the floor (`client/`), the measuring (`tcp.py`). Thread: main.
Invariant: the line on stdout comes only when connections are accepted.

`protocol` writes back what arrives, as it arrives; `streams` reads lines and drains.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import resource
import ssl
import sys
from typing import cast

from contenders import loop_factory
from worker import ABSENT, about_process

HOST = "127.0.0.1"
BACKLOG = 1_024
# A line of 100 KiB must fit, and the default limit of a StreamReader is 64 KiB.
LINE_LIMIT = 256 * 1024


class Echo(asyncio.Protocol):
    """The Protocol server."""

    _transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # Not checked: some contenders' transports are no asyncio.Transport.
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._transport.write(data)


async def echo_lines(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """The streams server."""
    while line := await reader.readline():
        writer.write(line)
        await writer.drain()
    writer.close()


async def serve(contender: str, mode: str, port: int, tls: ssl.SSLContext | None) -> None:
    loop = asyncio.get_running_loop()
    server: asyncio.AbstractServer
    if mode == "protocol":
        server = await loop.create_server(Echo, HOST, port, backlog=BACKLOG, ssl=tls)
    else:
        server = await asyncio.start_server(
            echo_lines, HOST, port, backlog=BACKLOG, limit=LINE_LIMIT, ssl=tls
        )
    print(json.dumps({"ready": True} | about_process(contender)), flush=True)
    with contextlib.closing(server):  # not every loop's server is an `async with`
        await loop.create_future()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("loop")
    parser.add_argument("mode", choices=("protocol", "streams"))
    parser.add_argument("port", type=int)
    parser.add_argument("--tls", metavar="FILE", help="certificate and key")
    options = parser.parse_args()
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    try:
        factory = loop_factory(options.loop)
    except ImportError as error:
        print(f"{options.loop} cannot be imported: {error}", file=sys.stderr)
        return ABSENT
    tls = None
    if options.tls:
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(options.tls)
    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(serve(options.loop, options.mode, options.port, tls))
    return 0


if __name__ == "__main__":
    sys.exit(main())
