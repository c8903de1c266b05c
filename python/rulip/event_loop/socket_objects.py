"""Stream transports on sockets that bring their own recv() or send().

Lives here: how such a socket is told from a plain one, and the transport that calls its methods:
asyncio's own, on our descriptor watching.
Does not live here: the native transport, which reads and writes the descriptor itself.
Thread: the loop's own.
Invariant: a class that overrides what asyncio's transports call sees every call they would make.
"""

import asyncio
import socket
from asyncio.selector_events import _SelectorSocketTransport  # type: ignore[attr-defined]
from collections.abc import Callable
from typing import Any

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
    _sendfile_compatible = asyncio.constants._SendfileMode.FALLBACK  # type: ignore[attr-defined]

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
