"""Datagram endpoints.

Lives here: create_datagram_endpoint: arguments, addresses, the socket.
Does not live here: the transport (native, `rulip._rulip.DatagramTransport`).
Thread: the loop's own.
Invariant: a descriptor made here is in a transport that the caller gets, or closed.
"""

import socket
from asyncio.log import logger
from collections.abc import Callable
from typing import Any

from .._compat import DATAGRAM_SOCKET_TEXT, DATAGRAM_TAKES_NON_STREAM
from .names import STOCK
from .serve import Serve, remove_stale_socket, set_reuse_port

AddressPair = tuple[tuple[int, int], tuple[Any, Any]]


def _check_sock(sock: Any, options: dict[str, Any]) -> None:
    fits = (sock.type == socket.SOCK_DGRAM) or (
        DATAGRAM_TAKES_NON_STREAM and sock.type != socket.SOCK_STREAM
    )
    if not fits:
        raise ValueError(f"A {DATAGRAM_SOCKET_TEXT} was expected, got {sock!r}")
    given = ", ".join(f"{name}={value}" for name, value in options.items() if value)
    if given:
        raise ValueError(
            f"socket modifier keyword arguments can not be used when sock is specified. ({given})"
        )


class Datagram(Serve):
    """UDP and Unix datagrams."""

    async def create_datagram_endpoint(
        self,
        protocol_factory: Callable[[], Any],
        local_addr: Any = None,
        remote_addr: Any = None,
        *,
        family: int = 0,
        proto: int = 0,
        flags: int = 0,
        reuse_port: bool | None = None,
        allow_broadcast: bool | None = None,
        sock: socket.socket | None = None,
    ) -> tuple[Any, Any]:
        """Make a datagram endpoint: (transport, protocol)."""
        peer = None
        made_here = sock is None
        if sock is not None:
            _check_sock(
                sock,
                {
                    "local_addr": local_addr,
                    "remote_addr": remote_addr,
                    "family": family,
                    "proto": proto,
                    "flags": flags,
                    "reuse_port": reuse_port,
                    "allow_broadcast": allow_broadcast,
                },
            )
            sock.setblocking(False)
        else:
            pairs = await self._datagram_addresses(local_addr, remote_addr, family, proto, flags)
            sock, peer = await self._open_datagram(pairs, bool(reuse_port), bool(allow_broadcast))
        try:
            protocol = protocol_factory()
            ready = self.create_future()
            transport = self._make_datagram_endpoint(sock, protocol, peer, ready)
        except BaseException:
            if made_here:
                sock.close()
            raise
        if self.get_debug():
            if local_addr:
                logger.info(
                    "Datagram endpoint local_addr=%r remote_addr=%r created: (%r, %r)",
                    local_addr,
                    remote_addr,
                    transport,
                    protocol,
                )
            else:
                logger.debug(
                    "Datagram endpoint remote_addr=%r created: (%r, %r)",
                    remote_addr,
                    transport,
                    protocol,
                )
        try:
            await ready
        except BaseException:
            transport.close()
            raise
        return transport, protocol

    async def _datagram_addresses(
        self, local_addr: Any, remote_addr: Any, family: int, proto: int, flags: int
    ) -> list[AddressPair]:
        """((family, proto), (local, remote)) for each socket that could be tried."""
        if not (local_addr or remote_addr):
            if family == 0:
                raise ValueError("unexpected address family")
            return [((family, proto), (None, None))]
        if family == socket.AF_UNIX:
            for address in (local_addr, remote_addr):
                if address is not None and not isinstance(address, str):
                    raise TypeError("string is expected")
            remove_stale_socket(local_addr)
            return [((family, proto), (local_addr, remote_addr))]
        sides: list[dict[tuple[int, int], Any]] = [{}, {}]
        order: dict[tuple[int, int], None] = {}
        for side, address in zip(sides, (local_addr, remote_addr), strict=True):
            if address is None:
                continue
            if not (isinstance(address, tuple) and len(address) == 2):
                raise TypeError("2-tuple is expected")
            infos = await self._ensure_resolved(
                address, family=family, type=socket.SOCK_DGRAM, proto=proto, flags=flags, loop=self
            )
            if not infos:
                raise OSError("getaddrinfo() returned empty list")
            for found_family, _, found_proto, _, found in infos:
                key = (found_family, found_proto)
                order[key] = None
                # The last one of a family and protocol counts.
                side[key] = found
        local, remote = sides
        pairs = [
            (key, (local.get(key), remote.get(key)))
            for key in order
            if (not local_addr or key in local) and (not remote_addr or key in remote)
        ]
        if not pairs:
            raise ValueError("can not get address information")
        return pairs

    async def _open_datagram(
        self, pairs: list[AddressPair], reuse_port: bool, allow_broadcast: bool
    ) -> tuple[socket.socket, Any]:
        """The first socket that can be bound and connected, and its peer's address."""
        first_error: OSError | None = None
        try:
            for (family, proto), (local, remote) in pairs:
                sock = None
                try:
                    sock = STOCK.socket.socket(family=family, type=socket.SOCK_DGRAM, proto=proto)
                    if reuse_port:
                        set_reuse_port(sock)
                    if allow_broadcast:
                        sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
                    sock.setblocking(False)
                    if local:
                        sock.bind(local)
                    if remote and not allow_broadcast:
                        await self.sock_connect(sock, remote)
                    return sock, remote
                except OSError as exc:
                    if sock is not None:
                        sock.close()
                    first_error = first_error or exc
                except BaseException:
                    if sock is not None:
                        sock.close()
                    raise
            if first_error is None:
                raise ValueError("can not get address information")
            raise first_error
        finally:
            # Its traceback refers to this frame.
            del first_error
