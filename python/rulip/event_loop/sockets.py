"""Coroutines on the caller's own sockets: sock_recv, sock_sendall, sock_accept, ...

Lives here: waiting for readiness, and the socket call itself.
Does not live here: transports (native); sock_sendfile (sendfile.py).
Thread: the loop's own.
Invariant: what was read or accepted reaches the caller: the call is made in the caller's own
step, after the wait, so that a cancel comes before it or not at all. No wait leaves a
registration behind, nor takes away one that is not its own.
"""

import asyncio
import errno
import functools
import os
import socket
from collections.abc import Callable
from typing import Any, TypeVar

from .._compat import SSL
from .names import Names

Result = TypeVar("Result")

#: The socket can't take or give anything right now.
NOT_READY = (BlockingIOError, InterruptedError)
#: The connection is on its way.
CONNECTING = (errno.EINPROGRESS, errno.EALREADY, errno.EAGAIN, errno.EINTR)
INTERNET = (socket.AF_INET, socket.AF_INET6)
#: The class as it was at first: tests put functions in its place.
PLAIN = socket.socket


def check_ssl_socket(sock: Any) -> None:
    """Refuse a socket that does TLS by itself: its readiness is not the descriptor's."""
    if SSL is not None and isinstance(sock, SSL.SSLSocket):
        raise TypeError("Socket cannot be of type SSLSocket")


def _wake(future: Any) -> None:
    if not future.done():
        future.set_result(None)


class Sockets(Names):
    """asyncio's sock_*() coroutines."""

    def _check_socket(self, sock: Any) -> None:
        check_ssl_socket(sock)
        if self.get_debug() and sock.gettimeout() != 0:
            raise ValueError("the socket must be non-blocking")

    async def _wait_readable(self, fd: int) -> None:
        self._ensure_fd_no_transport(fd)
        ready = self.create_future()
        handle = self._add_reader(fd, _wake, ready)
        try:
            await ready
        finally:
            # Cancelled: another registration replaced ours (the number may have a new owner).
            if not handle.cancelled():
                self._remove_reader(fd)

    async def _wait_writable(self, fd: int) -> None:
        self._ensure_fd_no_transport(fd)
        ready = self.create_future()
        handle = self._add_writer(fd, _wake, ready)
        try:
            await ready
        finally:
            if not handle.cancelled():
                self._remove_writer(fd)

    async def _when_readable(self, sock: Any, call: Callable[[], Result]) -> Result:
        self._check_socket(sock)
        while True:
            try:
                return call()
            except NOT_READY:
                pass
            await self._wait_readable(sock.fileno())

    async def sock_recv(self, sock: Any, n: int) -> bytes:
        """Receive up to n bytes."""
        return await self._when_readable(sock, functools.partial(sock.recv, n))

    async def sock_recv_into(self, sock: Any, buf: Any) -> int:
        """Receive into a buffer; the number of bytes is returned."""
        return await self._when_readable(sock, functools.partial(sock.recv_into, buf))

    async def sock_recvfrom(self, sock: Any, bufsize: int) -> tuple[bytes, Any]:
        """Receive a datagram: (data, sender)."""
        return await self._when_readable(sock, functools.partial(sock.recvfrom, bufsize))

    async def sock_recvfrom_into(self, sock: Any, buf: Any, nbytes: int = 0) -> tuple[int, Any]:
        """Receive a datagram into a buffer: (number of bytes, sender)."""
        size = nbytes or len(buf)
        return await self._when_readable(sock, functools.partial(sock.recvfrom_into, buf, size))

    async def sock_accept(self, sock: Any) -> tuple[socket.socket, Any]:
        """Accept a connection: (non-blocking socket, peer)."""
        conn, address = await self._when_readable(sock, sock.accept)
        conn.setblocking(False)
        return conn, address

    async def sock_sendto(self, sock: Any, data: Any, address: Any) -> int:
        """Send a datagram."""
        self._check_socket(sock)
        while True:
            try:
                return sock.sendto(data, address)  # type: ignore[no-any-return]
            except NOT_READY:
                pass
            await self._wait_writable(sock.fileno())

    async def sock_sendall(self, sock: Any, data: Any) -> None:
        """Send everything; after an error there is no telling how much was sent."""
        self._check_socket(sock)
        try:
            sent = sock.send(data)
        except NOT_READY:
            sent = 0
        with memoryview(data) as whole, whole.cast("B") as view:
            if sent == len(view):
                return
            fd = sock.fileno()
            self._ensure_fd_no_transport(fd)
            done = self.create_future()
            # One registration for the whole of it, however often the socket fills up.
            handle = self._add_writer(fd, self._send_rest, done, sock, view, [sent])
            try:
                await done
            finally:
                if not handle.cancelled():
                    self._remove_writer(fd)

    def _send_rest(self, done: Any, sock: Any, view: memoryview, position: list[int]) -> None:
        if done.done():
            return
        try:
            position[0] += sock.send(view[position[0] :])
        except NOT_READY:
            return
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as exc:
            done.set_exception(exc)
            return
        if position[0] == len(view):
            done.set_result(None)

    async def _connect_by_method(self, sock: Any, address: Any) -> None:
        """A socket with a connect() of its own (a proxy's) has it called, as asyncio does."""
        try:
            sock.connect(address)
            return
        except NOT_READY:
            pass
        await self._wait_writable(sock.fileno())
        error = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if error:
            raise OSError(error, f"Connect call failed {address}")

    async def sock_connect(self, sock: Any, address: Any) -> None:
        """Connect to an address; a host name in it is looked up first."""
        self._check_socket(sock)
        family = sock.family
        if family in INTERNET:
            infos = await self._ensure_resolved(
                address, family=family, type=sock.type, proto=sock.proto, loop=self
            )
            address = infos[0][4]
        await self._connect_resolved(sock, family, address)

    async def _connect_resolved(self, sock: Any, family: int, address: Any) -> None:
        if getattr(type(sock), "connect", None) is not PLAIN.connect:
            await self._connect_by_method(sock, address)
            return
        error = sock.connect_ex(address)
        if error in CONNECTING and family in INTERNET:
            # A connection within this machine is there by now, or refused: no need to wait.
            error = sock.connect_ex(address)
            if error in CONNECTING:
                await self._wait_writable(sock.fileno())
                error = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            else:
                # As many turns as hearing of it takes: who cancels meanwhile gets no transport.
                await asyncio.tasks.sleep(0)
                await asyncio.tasks.sleep(0)
        elif error in CONNECTING and family != socket.AF_UNIX:
            await self._wait_writable(sock.fileno())
            error = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        elif error:
            # Of a Unix socket also "the backlog is full": no readiness will tell more.
            raise OSError(error, os.strerror(error))
        if error and error != errno.EISCONN:
            raise OSError(error, f"Connect call failed {address}")
