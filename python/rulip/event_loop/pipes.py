"""Pipes: connect_read_pipe, connect_write_pipe.

Lives here: the coroutines.
Does not live here: the transports (native, `rulip._rulip.ReadPipeTransport` and its sibling).
Thread: the loop's own.
Invariant: a transport whose coroutine was cancelled is closed, and its pipe with it.
"""

from asyncio.log import logger
from collections.abc import Callable
from typing import Any

from .datagram import Datagram


class Pipes(Datagram):
    """One-way streams: pipes, FIFOs, character devices, sockets."""

    async def connect_read_pipe(
        self, protocol_factory: Callable[[], Any], pipe: Any
    ) -> tuple[Any, Any]:
        """Read from a pipe: (transport, protocol)."""
        return await self._connect_pipe(
            "Read", self._make_read_pipe_transport, protocol_factory, pipe
        )

    async def connect_write_pipe(
        self, protocol_factory: Callable[[], Any], pipe: Any
    ) -> tuple[Any, Any]:
        """Write to a pipe: (transport, protocol)."""
        return await self._connect_pipe(
            "Write", self._make_write_pipe_transport, protocol_factory, pipe
        )

    async def _connect_pipe(
        self,
        direction: str,
        make_transport: Callable[..., Any],
        protocol_factory: Callable[[], Any],
        pipe: Any,
    ) -> tuple[Any, Any]:
        protocol = protocol_factory()
        ready = self.create_future()
        transport = make_transport(pipe, protocol, ready)
        try:
            await ready
        except BaseException:
            transport.close()
            raise
        if self.get_debug():
            logger.debug(
                "%s pipe %r connected: (%r, %r)", direction, pipe.fileno(), transport, protocol
            )
        return transport, protocol
