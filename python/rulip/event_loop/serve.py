"""Servers: create_server, create_unix_server, and what asyncio's Server object asks of a loop.

Lives here: listening sockets made and bound, _start_serving/_stop_serving.
Does not live here: accepting (native), the Server object (asyncio's own, for its exact
per-version semantics, but for one that would not end).
Thread: the loop's own.
Invariant: a listening socket made here belongs to a Server that the caller gets, or is closed.
"""

import asyncio
import contextvars
import errno
import functools
import itertools
import os
import socket
import stat
from asyncio import tasks
from asyncio.base_events import Server as StockServer
from asyncio.log import logger
from collections.abc import Callable, Iterable

# As they are now: tools wrap them later, to find the calls of a program that block its loop.
from os import stat as os_stat
from os import unlink as os_unlink
from typing import Any

from .._compat import (
    SERVE_FOREVER_LEAVES_CLIENTS,
    SERVER_SKIPS_ABSENT_ADDRESSES,
    UNIX_SERVER_CLEANS_UP,
    bind_error_text,
)
from .connect import Connect
from .names import STOCK, STOCK_UNIX
from .sockets import INTERNET, check_ssl_socket


class ServerThatEnds(StockServer):
    """A server whose serve_forever() ends when it is cancelled, though clients stay connected.

    It closes their connections, as later releases do; before, it waited for them to go.
    """

    _ends_clients = False

    async def serve_forever(self) -> None:
        self._ends_clients = self._ends_clients or bool(self.sockets)
        await super().serve_forever()

    async def wait_closed(self) -> None:
        # serve_forever() comes by here once it is cancelled.
        if self._ends_clients and not self.sockets:
            server: Any = self  # typed as on Pythons without close_clients()
            server.close_clients()
        await super().wait_closed()


ServerThatEnds.__name__ = ServerThatEnds.__qualname__ = StockServer.__name__

Server: type[StockServer] = ServerThatEnds if SERVE_FOREVER_LEAVES_CLIENTS else StockServer

#: The first character of an abstract Unix address.
ABSTRACT = (0, "\x00")


def set_reuse_port(sock: socket.socket) -> None:
    """SO_REUSEPORT, with asyncio's error where it is not to be had."""
    if not hasattr(STOCK.socket, "SO_REUSEPORT"):
        raise ValueError("reuse_port not supported by socket module")
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    except OSError as exc:
        raise ValueError(
            "reuse_port not supported by socket module, SO_REUSEPORT defined but not implemented."
        ) from exc


def remove_stale_socket(path: Any) -> None:
    """Make way for a Unix socket: remove what an earlier one left at its path."""
    if not path or path[0] in ABSTRACT:
        return
    try:
        if stat.S_ISSOCK(os_stat(path).st_mode):
            os.remove(path)
    except FileNotFoundError:
        return
    except OSError as exc:
        # The directory may allow to make sockets but not to look at or remove them.
        logger.error("Unable to check or remove stale UNIX socket %r: %r", path, exc)


def _bind_unix(path: Any) -> socket.socket:
    sock: socket.socket = STOCK_UNIX.socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        remove_stale_socket(path)
        sock.bind(path)
    except OSError as exc:
        sock.close()
        if exc.errno == errno.EADDRINUSE:
            text = f"Address {path!r} is already in use"
            raise OSError(errno.EADDRINUSE, text) from None
        raise
    except BaseException:
        sock.close()
        raise
    return sock


def _check_server_arguments(
    ssl: Any, ssl_handshake_timeout: float | None, ssl_shutdown_timeout: float | None
) -> None:
    if isinstance(ssl, bool):
        raise TypeError("ssl argument must be an SSLContext or None")
    if ssl_handshake_timeout is not None and not ssl:
        raise ValueError("ssl_handshake_timeout is only meaningful with ssl")
    if ssl_shutdown_timeout is not None and not ssl:
        raise ValueError("ssl_shutdown_timeout is only meaningful with ssl")


class Serve(Connect):
    """Listeners."""

    # Unix listening socket -> inode of its path, for those whose path goes when they close.
    _unix_server_sockets: dict[Any, int]

    def __init__(self) -> None:
        super().__init__()
        self._unix_server_sockets = {}

    async def create_server(
        self,
        protocol_factory: Callable[[], Any],
        host: Any = None,
        port: Any = None,
        *,
        family: int = socket.AF_UNSPEC,
        flags: int = socket.AI_PASSIVE,
        sock: socket.socket | None = None,
        backlog: int = 100,
        ssl: Any = None,
        reuse_address: bool | None = None,
        reuse_port: bool | None = None,
        keep_alive: bool | None = None,
        ssl_handshake_timeout: float | None = None,
        ssl_shutdown_timeout: float | None = None,
        start_serving: bool = True,
    ) -> StockServer:
        """Make a TCP server, bound to every address that the host or hosts stand for."""
        _check_server_arguments(ssl, ssl_handshake_timeout, ssl_shutdown_timeout)
        if sock is not None:
            check_ssl_socket(sock)
        if host is not None or port is not None:
            if sock is not None:
                raise ValueError("host/port and sock can not be specified at the same time")
            infos = await self._resolve_hosts(host, port, family, flags)
            sockets = self._bind_all(
                infos,
                # On Linux it only means that connections in TIME_WAIT are no obstacle.
                reuse_address=reuse_address is None or reuse_address,
                reuse_port=bool(reuse_port),
                keep_alive=bool(keep_alive),
            )
        else:
            if sock is None:
                raise ValueError("Neither host/port nor sock were specified")
            if sock.type != socket.SOCK_STREAM:
                raise ValueError(f"A Stream Socket was expected, got {sock!r}")
            sockets = [sock]
        server = await self._make_server(
            protocol_factory,
            sockets,
            ssl,
            backlog,
            ssl_handshake_timeout,
            ssl_shutdown_timeout,
            start_serving,
        )
        if self.get_debug():
            logger.info("%r is serving", server)
        return server

    async def _make_server(
        self,
        protocol_factory: Callable[[], Any],
        sockets: list[Any],
        ssl: Any,
        backlog: int,
        ssl_handshake_timeout: float | None,
        ssl_shutdown_timeout: float | None,
        start_serving: bool,
    ) -> StockServer:
        for sock in sockets:
            sock.setblocking(False)
        server = Server(
            self,  # type: ignore[arg-type]
            sockets,
            protocol_factory,
            ssl,
            backlog,
            ssl_handshake_timeout,
            ssl_shutdown_timeout,
        )
        if start_serving:
            try:
                server._start_serving()  # type: ignore[attr-defined]
                # The first connections may be accepted before the caller goes on.
                await tasks.sleep(0)
            except BaseException:
                server.close()
                raise
        return server

    async def _create_server_getaddrinfo(
        self, host: Any, port: Any, family: int, flags: int
    ) -> list[Any]:
        infos = await self._ensure_resolved(
            (host, port), family=family, type=socket.SOCK_STREAM, flags=flags, loop=self
        )
        if not infos:
            raise OSError(f"getaddrinfo({host!r}) returned empty list")
        return infos

    async def _resolve_hosts(self, host: Any, port: Any, family: int, flags: int) -> list[Any]:
        if host == "":
            hosts: Iterable[Any] = [None]
        elif isinstance(host, str) or not isinstance(host, Iterable):
            hosts = [host]
        else:
            hosts = host
        found = await asyncio.gather(
            *(self._create_server_getaddrinfo(one, port, family, flags) for one in hosts)
        )
        # Each address once, in the order asked for.
        return list(dict.fromkeys(itertools.chain.from_iterable(found)))

    def _bind_all(
        self, infos: list[Any], *, reuse_address: bool, reuse_port: bool, keep_alive: bool
    ) -> list[Any]:
        sockets: list[Any] = []
        try:
            for family, kind, proto, _, address in infos:
                try:
                    sock = STOCK.socket.socket(family, kind, proto)
                except OSError:
                    # The machine does not know this combination, other addresses may do.
                    if self.get_debug():
                        logger.warning(
                            "create_server() failed to create socket.socket(%r, %r, %r)",
                            family,
                            kind,
                            proto,
                            exc_info=True,
                        )
                    continue
                sockets.append(sock)
                if reuse_address:
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, True)
                if reuse_port and family in INTERNET:
                    set_reuse_port(sock)
                if keep_alive:
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, True)
                if family == socket.AF_INET6:
                    # One socket, one family: IPv4 has a socket of its own.
                    sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, True)
                if not self._bind_one(sock, address):
                    sockets.remove(sock)
                    sock.close()
            if not sockets:
                raise OSError(
                    f"could not bind on any address out of {[info[4] for info in infos]!r}"
                )
        except BaseException:
            for sock in sockets:
                sock.close()
            raise
        return sockets

    def _bind_one(self, sock: Any, address: Any) -> bool:
        """Bind; False if the machine lacks the address and that is no error."""
        try:
            sock.bind(address)
        except OSError as exc:
            text = f"error while attempting to bind on address {address!r}: {bind_error_text(exc)}"
            if exc.errno == errno.EADDRNOTAVAIL and SERVER_SKIPS_ABSENT_ADDRESSES:
                if self.get_debug():
                    logger.warning(text)
                return False
            raise OSError(exc.errno, text) from None
        return True

    async def create_unix_server(
        self,
        protocol_factory: Callable[[], Any],
        path: Any = None,
        *,
        sock: socket.socket | None = None,
        backlog: int = 100,
        ssl: Any = None,
        ssl_handshake_timeout: float | None = None,
        ssl_shutdown_timeout: float | None = None,
        start_serving: bool = True,
        cleanup_socket: bool = UNIX_SERVER_CLEANS_UP,
    ) -> StockServer:
        """Make a server on a Unix socket."""
        _check_server_arguments(ssl, ssl_handshake_timeout, ssl_shutdown_timeout)
        if path is not None:
            if sock is not None:
                raise ValueError("path and sock can not be specified at the same time")
            sock = _bind_unix(os.fspath(path))
        elif sock is None:
            raise ValueError("path was not specified, and no sock specified")
        elif sock.family != socket.AF_UNIX or sock.type != socket.SOCK_STREAM:
            raise ValueError(f"A UNIX Domain Stream Socket was expected, got {sock!r}")
        if cleanup_socket:
            self._note_unix_path(sock)
        return await self._make_server(
            protocol_factory,
            [sock],
            ssl,
            backlog,
            ssl_handshake_timeout,
            ssl_shutdown_timeout,
            start_serving,
        )

    def _note_unix_path(self, sock: socket.socket) -> None:
        path = sock.getsockname()
        if not path or path[0] in ABSTRACT:
            return
        try:
            self._unix_server_sockets[sock] = os_stat(path).st_ino
        except FileNotFoundError:
            return

    # -- what Server calls ------------------------------------------------------------

    def _start_serving(
        self,
        protocol_factory: Callable[[], Any],
        sock: Any,
        sslcontext: Any = None,
        server: Any = None,
        backlog: int = 100,
        ssl_handshake_timeout: float | None = None,
        ssl_shutdown_timeout: float | None = None,
        context: contextvars.Context | None = None,
    ) -> None:
        if sslcontext:
            protocol_factory = self._tls_protocol_factory(
                protocol_factory, sslcontext, ssl_handshake_timeout, ssl_shutdown_timeout
            )
        # Where a server has a context, its connections' callbacks run in copies of it.
        accept = functools.partial(self._accept, sock, protocol_factory, backlog, server)
        if context is None:
            accept()
        else:
            context.run(accept)

    def _stop_serving(self, sock: Any) -> None:
        inode = self._unix_server_sockets.pop(sock, None)
        path = None if inode is None else sock.getsockname()
        self._stop_accept(sock)
        sock.close()
        if path is None:
            return
        try:
            # Another server may have taken the path over.
            if os_stat(path).st_ino == inode:
                os_unlink(path)
        except FileNotFoundError:
            return
        except OSError as exc:
            logger.error("Unable to clean up listening UNIX socket %r: %r", path, exc)
