"""The other end of a TLS connection: records by hand over a plain socket; contexts.

Here: SSLContexts for both sides, and a peer that sends exactly the bytes a test wants.
Not here: fixtures (asyncio/conftest.py).
Runs in the thread of the loop under test; TLS is Python's ssl over MemoryBIO, never the code under
test.
Invariant: every wait is bounded by PATIENCE.
"""

from __future__ import annotations

import asyncio
import contextlib
import pathlib
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from typing import Any

from tests.loopback import (
    PATIENCE,
    BufferedRecorder,
    Recorder,
    tcp_sockets,
    turns,
    within,
)

CERTIFICATES = pathlib.Path(__file__).parent / "certificates"
AUTHORITY = str(CERTIFICATES / "authority.pem")
LOCALHOST = str(CERTIFICATES / "localhost.pem")
OTHER = str(CERTIFICATES / "other.pem")
CLIENT = str(CERTIFICATES / "client.pem")


def server_context(certificate: str = LOCALHOST) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    return context


def client_context() -> ssl.SSLContext:
    return ssl.create_default_context(cafile=AUTHORITY)


class ViewRecorder(BufferedRecorder):
    """A recording BufferedProtocol as asyncio's TLS needs it: its buffer is a memoryview."""

    def get_buffer(self, sizehint: int) -> memoryview:
        return memoryview(super().get_buffer(sizehint))


class Peer:
    """One end of a TLS connection over a non-blocking socket."""

    def __init__(
        self, sock: socket.socket, context: ssl.SSLContext, *, server_side: bool, **keywords: Any
    ) -> None:
        self.sock = sock
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        if not server_side:
            keywords.setdefault("server_hostname", "localhost")
        self.tls = context.wrap_bio(
            self.incoming, self.outgoing, server_side=server_side, **keywords
        )

    async def send_raw(self, data: bytes) -> None:
        await within(asyncio.get_running_loop().sock_sendall(self.sock, data))

    async def flush(self) -> None:
        if self.outgoing.pending:
            await self.send_raw(self.outgoing.read())

    async def _feed(self) -> None:
        async with asyncio.timeout(PATIENCE):
            data = await asyncio.get_running_loop().sock_recv(self.sock, 1 << 18)
        if not data:
            raise EOFError("TCP ended")
        self.incoming.write(data)

    async def call(self, method: Callable[..., Any], *args: Any) -> Any:
        """Repeat a method of the SSLObject until it has what it needs."""
        while True:
            try:
                result = method(*args)
            except ssl.SSLWantReadError:
                await self.flush()
                await self._feed()
            else:
                await self.flush()
                return result

    async def handshake(self) -> None:
        await self.call(self.tls.do_handshake)

    def records(self, data: bytes) -> bytes:
        """The records that carry `data`, and whatever else was to be sent."""
        if data:
            self.tls.write(data)
        return self.outgoing.read()

    def close_notify(self) -> bytes:
        """The record that ends our stream."""
        with contextlib.suppress(ssl.SSLWantReadError):
            self.tls.unwrap()
        return self.outgoing.read()

    async def send(self, data: bytes) -> None:
        await self.send_raw(self.records(data))

    async def receive(self, count: int) -> bytes:
        received = bytearray()
        while len(received) < count:
            received += await self.call(self.tls.read, count - len(received))
        return bytes(received)

    async def receive_to_end(self) -> bytes:
        """Everything until the close_notify."""
        received = bytearray()
        while True:
            try:
                chunk = await self.call(self.tls.read, 1 << 18)
            except ssl.SSLZeroReturnError:
                return bytes(received)
            if not chunk:
                return bytes(received)
            received += chunk


@contextlib.asynccontextmanager
async def tls_connection(
    factory: Callable[[], Any] = Recorder,
    *,
    server_side: bool = True,
    context: ssl.SSLContext | None = None,
    peer_context: ssl.SSLContext | None = None,
    sockets: Callable[[], tuple[socket.socket, socket.socket]] = tcp_sockets,
    **keywords: Any,
) -> AsyncIterator[tuple[Any, Any, Peer]]:
    """A TLS transport of the running loop, its protocol, and the peer; past the handshake."""
    loop = asyncio.get_running_loop()
    near, far = sockets()
    if context is None:
        context = server_context() if server_side else client_context()
    if peer_context is None:
        peer_context = client_context() if server_side else server_context()
    peer = Peer(far, peer_context, server_side=not server_side)
    if server_side:
        opening = loop.connect_accepted_socket(factory, near, ssl=context, **keywords)
    else:
        opening = loop.create_connection(
            factory, sock=near, ssl=context, server_hostname="localhost", **keywords
        )
    shaking = asyncio.ensure_future(peer.handshake())
    try:
        transport, protocol = await within(opening)
        await within(shaking)
    except BaseException:
        shaking.cancel()
        near.close()
        far.close()
        raise
    try:
        yield transport, protocol, peer
    finally:
        far.close()
        transport.abort()
        await turns(4)
