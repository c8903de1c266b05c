"""Transports on sockets that bring their own recv() or send().

Lives here: how such a socket is told from a plain one, and the transport that calls its methods:
asyncio's own, on our descriptor watching.
Does not live here: the native transport, which reads and writes the descriptor itself.
Thread: the loop's own.
Invariant: a class that overrides what asyncio's transports call sees every call they would make.
"""

import asyncio
import weakref
from asyncio.selector_events import (  # type: ignore[attr-defined]
    _SelectorDatagramTransport,
    _SelectorSocketTransport,
)
from collections.abc import Callable
from typing import Any

from .sockets import PLAIN, Sockets

#: What asyncio's stream transports call, and its datagram transports.
CALLED = ("recv", "recv_into", "send", "sendmsg")
DATAGRAM_CALLED = ("recvfrom", "send", "sendto")


def has_own_methods(sock: Any, called: tuple[str, ...] = CALLED) -> bool:
    """Whether reading or writing the descriptor would pass the socket's own methods by."""
    kind = type(sock)
    return kind is not PLAIN and any(
        getattr(kind, name, None) is not getattr(PLAIN, name) for name in called
    )


class _WithoutSelector:
    """What asyncio's transports ask of a selector object, on a loop that has none."""

    _loop: Any
    _sock: Any
    _closing: bool
    _sock_fd: int
    _paused = False

    def _add_reader(self, fd: int, callback: Callable[..., object], *args: Any) -> None:
        if not self._closing and not self._paused:
            self._loop._add_reader(fd, callback, *args)

    def __repr__(self) -> str:
        info = [type(self).__name__]
        if self._sock is None:
            info.append("closed")
        elif self._closing:
            info.append("closing")
        info.append(f"fd={self._sock_fd}")
        return f"<{' '.join(info)}>"


class SocketObjectTransport(_WithoutSelector, _SelectorSocketTransport):  # type: ignore[misc]
    """asyncio's stream transport."""

    _start_tls_compatible = True
    _sendfile_compatible = asyncio.constants._SendfileMode.FALLBACK


class SocketObjectDatagramTransport(_WithoutSelector, _SelectorDatagramTransport):  # type: ignore[misc]
    """asyncio's datagram transport."""


class SocketObjects(Sockets):
    """Transports on whatever socket the caller brings."""

    # asyncio's transports enter themselves here; made with the first of them.
    _transports: "weakref.WeakValueDictionary[int, Any]"

    def _make_stream_transport(
        self,
        sock: Any,
        protocol: Any,
        waiter: Any = None,
        *,
        extra: dict[str, Any] | None = None,
        server: Any = None,
    ) -> Any:
        """A transport on a connected socket: native, unless the socket has methods of its own."""
        if not has_own_methods(sock):
            return self._make_socket_transport(sock, protocol, waiter, extra=extra, server=server)
        self._expect_socket_object(sock)
        return SocketObjectTransport(self, sock, protocol, waiter, extra, server)

    def _make_datagram_endpoint(self, sock: Any, protocol: Any, peer: Any, waiter: Any) -> Any:
        """The same for datagrams."""
        if not has_own_methods(sock, DATAGRAM_CALLED):
            return self._make_datagram_transport(sock, protocol, peer, waiter)
        self._expect_socket_object(sock)
        return SocketObjectDatagramTransport(self, sock, protocol, peer, waiter)

    def _expect_socket_object(self, sock: Any) -> None:
        """Make a place for asyncio's transports, unless this descriptor has a transport."""
        if not hasattr(self, "_transports"):
            self._transports = weakref.WeakValueDictionary()
            # From now on, and on this loop only: others ask natively.
            vars(self)["_ensure_fd_no_transport"] = self._ensure_fd_no_socket_object
        self._ensure_fd_no_transport(sock)

    def _ensure_fd_no_socket_object(self, fd: Any) -> None:
        type(self)._ensure_fd_no_transport(self, fd)
        number = fd if isinstance(fd, int) else fd.fileno()
        transport = self._transports.get(number)
        if transport is not None and not transport.is_closing():
            raise RuntimeError(f"File descriptor {fd!r} is used by transport {transport!r}")
