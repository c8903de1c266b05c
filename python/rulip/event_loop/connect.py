"""Outgoing connections: create_connection, create_unix_connection, connect_accepted_socket.

Lives here: from arguments to a connected socket, and from a socket to (transport, protocol).
Does not live here: the order of happy eyeballs' attempts (asyncio.staggered); TLS.
Thread: the loop's own.
Invariant: a descriptor made here is in a transport that the caller gets, or closed; whatever
fails or is cancelled, wherever.
"""

import contextlib
import contextvars
import functools
import os
import socket
from asyncio import staggered
from asyncio.base_events import _interleave_addrinfos  # type: ignore[attr-defined]
from asyncio.log import logger
from collections.abc import Callable
from typing import Any

from .._compat import TRANSPORTS_HAVE_CONTEXTS, bind_error_text
from .names import STOCK, STOCK_UNIX
from .sockets import check_ssl_socket
from .ssl_transport import TLS


def check_tls_arguments(
    ssl: Any,
    server_hostname: str | None,
    ssl_handshake_timeout: float | None,
    ssl_shutdown_timeout: float | None,
) -> None:
    """Refuse what means nothing without TLS."""
    if ssl:
        return
    for name, value in (
        ("server_hostname", server_hostname),
        ("ssl_handshake_timeout", ssl_handshake_timeout),
        ("ssl_shutdown_timeout", ssl_shutdown_timeout),
    ):
        if value is not None:
            raise ValueError(f"{name} is only meaningful with ssl")


def _new_socket(family: int, kind: int, proto: int) -> socket.socket:
    """A socket that does not block, by one system call where nobody asks for another module's."""
    if STOCK.socket is socket:
        return socket.socket(family, kind | socket.SOCK_NONBLOCK, proto)
    sock: socket.socket = STOCK.socket.socket(family=family, type=kind, proto=proto)
    sock.setblocking(False)
    return sock


def _combined(exceptions: list[OSError], all_errors: bool) -> BaseException:
    """One exception for all the attempts that failed."""
    if not exceptions:
        return TimeoutError("create_connection failed")
    if all_errors:
        return ExceptionGroup("create_connection failed", exceptions)
    first = exceptions[0]
    if all(str(exc) == str(first) for exc in exceptions):
        return first
    return OSError("Multiple exceptions: " + ", ".join(str(exc) for exc in exceptions))


def _bind_local(
    sock: socket.socket, family: int, local_infos: list[Any], exceptions: list[OSError]
) -> None:
    """Bind to the first local address of the family that can be bound to."""
    for local_family, _, _, _, address in local_infos:
        if local_family != family:
            continue
        try:
            sock.bind(address)
            return
        except OSError as exc:
            text = f"error while attempting to bind on address {address!r}: {bind_error_text(exc)}"
            exceptions.append(OSError(exc.errno, text))
    if exceptions:
        raise exceptions.pop()
    raise OSError(f"no matching local address with {family=} found")


class Connect(TLS):
    """Clients' connections."""

    async def _connect_sock(
        self, exceptions: list[list[OSError]], addr_info: Any, local_addr_infos: Any = None
    ) -> socket.socket:
        """One attempt: a connected socket, or its errors noted and the last one raised."""
        failures: list[OSError] = []
        exceptions.append(failures)
        family, kind, proto, _, address = addr_info
        sock: socket.socket | None = None
        try:
            sock = _new_socket(family, kind, proto)
            if local_addr_infos is not None:
                _bind_local(sock, family, local_addr_infos, failures)
            if self._is_own("sock_connect"):
                await self._connect_resolved(sock, family, address)
            else:
                await self.sock_connect(sock, address)
            return sock
        except BaseException as exc:
            if sock is not None:
                with contextlib.suppress(OSError):
                    sock.close()
            if isinstance(exc, OSError):
                failures.append(exc)
            raise
        finally:
            # An exception's traceback refers to this frame.
            del failures, exceptions

    def _is_own(self, method: str) -> bool:
        """Whether nobody has put another method in its place."""
        return method not in vars(self) and getattr(type(self), method) is getattr(Connect, method)

    async def _connect_first(
        self, infos: list[Any], local_infos: Any, delay: float | None, all_errors: bool
    ) -> socket.socket:
        """The first of the addresses that can be connected to."""
        exceptions: list[list[OSError]] = []
        sock = None
        if delay is None:
            for info in infos:
                try:
                    sock = await self._connect_sock(exceptions, info, local_infos)
                    break
                except OSError:
                    continue
        else:
            sock = await self._race(exceptions, infos, local_infos, delay)
        if sock is not None:
            return sock
        try:
            raise _combined([exc for failures in exceptions for exc in failures], all_errors)
        finally:
            del exceptions

    async def _race(
        self, exceptions: list[list[OSError]], infos: list[Any], local_infos: Any, delay: float
    ) -> socket.socket | None:
        """Happy eyeballs: attempts start one after another, the first success wins."""
        connected: list[socket.socket] = []

        async def attempt(info: Any) -> socket.socket:
            sock = await self._connect_sock(exceptions, info, local_infos)
            connected.append(sock)
            return sock

        winner = None
        try:
            # The rest of its result refers to the exceptions: not to be kept.
            winner = (
                await staggered.staggered_race(
                    [functools.partial(attempt, info) for info in infos],
                    delay,
                    loop=self,  # type: ignore[arg-type]
                )
            )[0]
            return winner  # type: ignore[no-any-return]
        finally:
            for sock in connected:
                if sock is not winner:
                    sock.close()
            # The attempts keep this frame's variables; errors refer to the attempts.
            exceptions = []

    async def _resolve_all(self, address: Any, family: int, proto: int, flags: int) -> list[Any]:
        infos = await self._ensure_resolved(
            address, family=family, type=socket.SOCK_STREAM, proto=proto, flags=flags, loop=self
        )
        if not infos:
            raise OSError("getaddrinfo() returned empty list")
        return infos

    async def create_connection(
        self,
        protocol_factory: Callable[[], Any],
        host: Any = None,
        port: Any = None,
        *,
        ssl: Any = None,
        family: int = 0,
        proto: int = 0,
        flags: int = 0,
        sock: socket.socket | None = None,
        local_addr: Any = None,
        server_hostname: str | None = None,
        ssl_handshake_timeout: float | None = None,
        ssl_shutdown_timeout: float | None = None,
        happy_eyeballs_delay: float | None = None,
        interleave: int | None = None,
        all_errors: bool = False,
    ) -> tuple[Any, Any]:
        """Connect to a TCP server: (transport, protocol)."""
        check_tls_arguments(ssl, server_hostname, ssl_handshake_timeout, ssl_shutdown_timeout)
        if server_hostname is None and ssl:
            if not host:
                raise ValueError("You must set server_hostname when using ssl without a host")
            server_hostname = host
        if sock is not None:
            check_ssl_socket(sock)
        if happy_eyeballs_delay is not None and interleave is None:
            interleave = 1

        if host is not None or port is not None:
            if sock is not None:
                raise ValueError("host/port and sock can not be specified at the same time")
            infos = await self._resolve_all((host, port), family, proto, flags)
            local_infos = None
            if local_addr is not None:
                local_infos = await self._resolve_all(local_addr, family, proto, flags)
            if interleave:
                infos = _interleave_addrinfos(infos, interleave)
            sock = await self._connect_first(infos, local_infos, happy_eyeballs_delay, all_errors)
        elif sock is None:
            raise ValueError("host and port was not specified and no sock specified")
        elif sock.type != socket.SOCK_STREAM:
            raise ValueError(f"A Stream Socket was expected, got {sock!r}")
        else:
            sock.setblocking(False)

        transport, protocol = await self._create_connection_transport(
            sock,
            protocol_factory,
            ssl,
            server_hostname,
            ssl_handshake_timeout=ssl_handshake_timeout,
            ssl_shutdown_timeout=ssl_shutdown_timeout,
        )
        if self.get_debug():
            logger.debug(
                "%r connected to %s:%r: (%r, %r)",
                transport.get_extra_info("socket"),
                host,
                port,
                transport,
                protocol,
            )
        return transport, protocol

    async def _create_connection_transport(
        self,
        sock: socket.socket,
        protocol_factory: Callable[[], Any],
        ssl: Any,
        server_hostname: str | None,
        server_side: bool = False,
        ssl_handshake_timeout: float | None = None,
        ssl_shutdown_timeout: float | None = None,
    ) -> tuple[Any, Any]:
        """From a connected socket on, which is closed if no transport takes it."""
        try:
            protocol = protocol_factory()
            ready = self.create_future()
            if ssl:
                context: dict[str, Any] = {}
                if TRANSPORTS_HAVE_CONTEXTS:
                    context["context"] = contextvars.copy_context()
                transport = self._make_ssl_transport(
                    sock,
                    protocol,
                    None if isinstance(ssl, bool) else ssl,
                    ready,
                    server_side=server_side,
                    server_hostname=server_hostname,
                    ssl_handshake_timeout=ssl_handshake_timeout,
                    ssl_shutdown_timeout=ssl_shutdown_timeout,
                    **context,
                )
            else:
                transport = self._make_stream_transport(sock, protocol, ready)
        except BaseException:
            sock.close()
            raise
        try:
            await ready
        except BaseException:
            transport.close()
            # Its exception's traceback refers to this frame.
            del ready
            raise
        return transport, protocol

    async def connect_accepted_socket(
        self,
        protocol_factory: Callable[[], Any],
        sock: socket.socket,
        *,
        ssl: Any = None,
        ssl_handshake_timeout: float | None = None,
        ssl_shutdown_timeout: float | None = None,
    ) -> tuple[Any, Any]:
        """Serve a connection accepted elsewhere: (transport, protocol)."""
        if sock.type != socket.SOCK_STREAM:
            raise ValueError(f"A Stream Socket was expected, got {sock!r}")
        check_tls_arguments(ssl, None, ssl_handshake_timeout, ssl_shutdown_timeout)
        check_ssl_socket(sock)
        sock.setblocking(False)
        transport, protocol = await self._create_connection_transport(
            sock,
            protocol_factory,
            ssl,
            "",
            server_side=True,
            ssl_handshake_timeout=ssl_handshake_timeout,
            ssl_shutdown_timeout=ssl_shutdown_timeout,
        )
        if self.get_debug():
            logger.debug(
                "%r handled: (%r, %r)", transport.get_extra_info("socket"), transport, protocol
            )
        return transport, protocol

    async def create_unix_connection(
        self,
        protocol_factory: Callable[[], Any],
        path: Any = None,
        *,
        ssl: Any = None,
        sock: socket.socket | None = None,
        server_hostname: str | None = None,
        ssl_handshake_timeout: float | None = None,
        ssl_shutdown_timeout: float | None = None,
    ) -> tuple[Any, Any]:
        """Connect to a Unix socket: (transport, protocol)."""
        check_tls_arguments(ssl, server_hostname, ssl_handshake_timeout, ssl_shutdown_timeout)
        if ssl and server_hostname is None:
            raise ValueError("you have to pass server_hostname when using ssl")
        if path is not None:
            if sock is not None:
                raise ValueError("path and sock can not be specified at the same time")
            path = os.fspath(path)
            sock = STOCK_UNIX.socket.socket(socket.AF_UNIX, socket.SOCK_STREAM, 0)
            try:
                sock.setblocking(False)
                await self.sock_connect(sock, path)
            except BaseException:
                sock.close()
                raise
        elif sock is None:
            raise ValueError("no path and sock were specified")
        elif sock.family != socket.AF_UNIX or sock.type != socket.SOCK_STREAM:
            raise ValueError(f"A UNIX Domain Stream Socket was expected, got {sock!r}")
        else:
            sock.setblocking(False)
        return await self._create_connection_transport(
            sock,
            protocol_factory,
            ssl,
            server_hostname,
            ssl_handshake_timeout=ssl_handshake_timeout,
            ssl_shutdown_timeout=ssl_shutdown_timeout,
        )
