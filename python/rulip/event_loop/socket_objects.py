"""Stream transports on sockets that bring their own recv() or send().

Lives here: how such a socket is told from a plain one, and the transport that calls its methods:
asyncio's own, on our descriptor watching.
Does not live here: the native transport, which reads and writes the descriptor itself.
Thread: the loop's own.
Invariant: a class that overrides what asyncio's transports call sees every call they would make.
"""

import asyncio
import socket
import weakref
from asyncio.selector_events import _SelectorSocketTransport  # type: ignore[attr-defined]
from collections.abc import Callable
from typing import Any

from .sockets import Sockets

#: What asyncio's stream transports call.
CALLED = ("recv", "recv_into", "send", "sendmsg")


def has_own_methods(sock: Any) -> bool:
    """Whether reading or writing the descriptor would pass the socket's own methods by."""
    kind = type(sock)
    return kind is not socket.socket and any(
        getattr(kind, name, None) is not getattr(socket.socket, name) for name in CALLED
    )


class SocketObjectTransport(_SelectorSocketTransport):  # type: ignore[misc]
    """asyncio's stream transport, on a loop without a selector object."""

    _start_tls_compatible = True
    _sendfile_compatible = asyncio.constants._SendfileMode.FALLBACK

    def _add_reader(self, fd: int, callback: Callable[..., object], *args: Any) -> None:
        if self.is_reading():
            self._loop._add_reader(fd, callback, *args)

    def __repr__(self) -> str:
        info = [type(self).__name__]
        if self._sock is None:
            info.append("closed")
        elif self._closing:
            info.append("closing")
        info.append(f"fd={self._sock_fd}")
        return f"<{' '.join(info)}>"


class SocketObjects(Sockets):
    """Stream transports on whatever socket the caller brings."""

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
        if not hasattr(self, "_transports"):
            self._transports = weakref.WeakValueDictionary()
            # From now on, and on this loop only: others ask natively.
            vars(self)["_ensure_fd_no_transport"] = self._ensure_fd_no_socket_object
        self._ensure_fd_no_transport(sock)
        return SocketObjectTransport(self, sock, protocol, waiter, extra, server)

    def _ensure_fd_no_socket_object(self, fd: Any) -> None:
        type(self)._ensure_fd_no_transport(self, fd)
        number = fd if isinstance(fd, int) else fd.fileno()
        transport = self._transports.get(number)
        if transport is not None and not transport.is_closing():
            raise RuntimeError(f"File descriptor {fd!r} is used by transport {transport!r}")
