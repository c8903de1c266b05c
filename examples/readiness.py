"""Fetch a page with nothing but readiness callbacks: on the event loop, then on `selectors`.

One thread, no coroutine. A socket that may be written has connected, so the request is sent; one
that may be read has bytes, or has ended. With `selectors` the loop is ours, and three lines long.
"""

import argparse
import asyncio
import os
import selectors
import socket
from contextlib import closing

from local_server import Address, web_servers


def start_connecting(address: Address) -> socket.socket:
    """A non-blocking socket on its way: it is writable once it has connected, or failed to."""
    sock = socket.socket()
    sock.setblocking(False)
    sock.connect_ex(address)
    return sock


def send_request(sock: socket.socket) -> None:
    """Ask for the page; so few bytes go into an empty socket buffer in one piece."""
    if error := sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
        raise SystemExit(f"cannot connect: {os.strerror(error)}")
    sock.send(b"GET / HTTP/1.0\r\nHost: example\r\n\r\n")


def fetch_on_loop(address: Address) -> bytes:
    """add_writer until connected, add_reader until the end; then stop the loop."""
    chunks = []

    def connected() -> None:
        send_request(sock)
        loop.remove_writer(sock)
        loop.add_reader(sock, readable)

    def readable() -> None:
        chunks.append(sock.recv(64))
        if not chunks[-1]:
            loop.remove_reader(sock)
            loop.stop()

    with closing(asyncio.new_event_loop()) as loop, start_connecting(address) as sock:
        loop.add_writer(sock, connected)
        loop.run_forever()
    return b"".join(chunks)


def fetch_on_selectors(address: Address) -> bytes:
    """The same steps; registered beside the socket is the callback that our loop then calls."""
    chunks = []

    def connected() -> None:
        send_request(sock)
        selector.modify(sock, selectors.EVENT_READ, readable)

    def readable() -> None:
        chunks.append(sock.recv(64))
        if not chunks[-1]:
            selector.unregister(sock)

    with selectors.DefaultSelector() as selector, start_connecting(address) as sock:
        selector.register(sock, selectors.EVENT_WRITE, connected)
        while selector.get_map():
            for key, _ in selector.select():
                key.data()
    return b"".join(chunks)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="a page, by readiness callbacks alone")
    parser.add_argument("--host", nargs=1, default=[], help="HOST[:PORT] (default: our own)")
    with web_servers(parser.parse_args().host, "127.0.0.1") as addresses:
        on_loop, on_selectors = fetch_on_loop(addresses[0]), fetch_on_selectors(addresses[0])
    print(on_loop.decode("latin-1"))
    print(f"the same on selectors: {on_loop == on_selectors}")
