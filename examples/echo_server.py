"""A TCP echo server on streams: every line goes back to whoever sent it.

    python -m rulip echo_server.py       then, elsewhere:   nc 127.0.0.1 8888

One thread serves all clients, a task for each. Ctrl-C closes the server and hangs up on everybody,
so that each task ends as if its client had left.
"""

import argparse
import asyncio
import contextlib
import signal

clients: set[asyncio.StreamWriter] = set()


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Serve one client until it leaves."""
    peer = "{}:{}".format(*writer.get_extra_info("peername"))
    print(f"{peer} connected", flush=True)
    clients.add(writer)
    received = 0
    try:
        while not reader.at_eof():
            if line := await reader.readline():  # b"" at the end
                received += len(line)
                writer.write(line)
                await writer.drain()  # waits while the client is slow to read
    except (ConnectionError, ValueError) as exc:  # ValueError: a line beyond the reader's limit
        print(f"{peer} is gone: {exc}", flush=True)
    finally:
        clients.discard(writer)
        writer.close()
        print(f"{peer} closed after {received} bytes", flush=True)


async def main(host: str, port: int) -> None:
    """Serve until told to stop."""
    server = await asyncio.start_server(echo, host, port)

    def stop() -> None:
        server.close()  # ends serve_forever, with CancelledError
        for writer in clients:
            writer.close()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop)

    print("serving on {}:{}".format(*server.sockets[0].getsockname()), flush=True)
    with contextlib.suppress(asyncio.CancelledError):
        await server.serve_forever()
    if others := asyncio.all_tasks() - {asyncio.current_task()}:
        await asyncio.wait(others)  # the clients' tasks, on their way out
    print("stopped", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="a TCP echo server")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8888, help="0: one that is free")
    args = parser.parse_args()
    asyncio.run(main(args.host, args.port))
