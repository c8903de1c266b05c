"""TLS over our stream transports.

Lives here: how TLS is put between a transport and a protocol, for clients, servers and
upgraded connections; start_tls().
Does not live here: what a TLS connection is made of (tls_protocol.py); TLS itself, which is
native over the user's own SSLContext.
Thread: the loop's own.
Invariant: ssl= never gives a plaintext connection, and the handshake's failure closes it.
"""

import contextvars
from asyncio.streams import StreamReaderProtocol
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from .._compat import SSL
from .._rulip import TLSProtocol
from .socket_objects import SocketObjects
from .tls_protocol import make_tls_protocol

if TYPE_CHECKING:
    import ssl


def _hand_over_received(protocol: Any, tls: Any) -> None:
    """Give TLS what a stream reader has received and nobody has read.

    It is the beginning of the peer's handshake, or something slipped in to be taken for part
    of the encrypted stream, which the handshake will not survive.
    """
    if not isinstance(protocol, StreamReaderProtocol):
        return
    buffer = getattr(getattr(protocol, "_stream_reader", None), "_buffer", None)
    if buffer:
        store = tls._store if isinstance(tls, TLSProtocol) else tls._incoming.write
        store(bytes(buffer))
        buffer.clear()


class TLS(SocketObjects):
    """TLS on stream transports."""

    def _make_ssl_transport(
        self,
        rawsock: Any,
        protocol: Any,
        sslcontext: Any,
        waiter: Any = None,
        *,
        server_side: bool = False,
        server_hostname: str | None = None,
        extra: dict[str, Any] | None = None,
        server: Any = None,
        ssl_handshake_timeout: float | None = None,
        ssl_shutdown_timeout: float | None = None,
        context: contextvars.Context | None = None,
    ) -> Any:
        """A TLS transport on a connected socket; the waiter hears of the handshake's end."""
        if context is not None:
            # Where asyncio hands one on; ours take the context they are made in.
            return context.run(
                self._make_ssl_transport,
                rawsock,
                protocol,
                sslcontext,
                waiter,
                server_side=server_side,
                server_hostname=server_hostname,
                extra=extra,
                server=server,
                ssl_handshake_timeout=ssl_handshake_timeout,
                ssl_shutdown_timeout=ssl_shutdown_timeout,
            )
        self._ensure_fd_no_transport(rawsock)
        tls = make_tls_protocol(
            self,
            protocol,
            sslcontext,
            waiter,
            server_side=server_side,
            server_hostname=server_hostname,
            ssl_handshake_timeout=ssl_handshake_timeout,
            ssl_shutdown_timeout=ssl_shutdown_timeout,
        )
        # Taken now: a handshake that fails at once would forget it.
        app_transport = tls._app_transport
        self._make_stream_transport(rawsock, tls, extra=extra, server=server)
        return app_transport

    def _tls_protocol_factory(
        self,
        protocol_factory: Callable[[], Any],
        sslcontext: "ssl.SSLContext",
        ssl_handshake_timeout: float | None,
        ssl_shutdown_timeout: float | None,
    ) -> Callable[[], Any]:
        """What a TLS server's listener calls for each connection it accepts."""

        def accepted() -> Any:
            protocol = protocol_factory()
            handshake = self.create_future()
            tls = make_tls_protocol(
                self,
                protocol,
                sslcontext,
                handshake,
                server_side=True,
                ssl_handshake_timeout=ssl_handshake_timeout,
                ssl_shutdown_timeout=ssl_shutdown_timeout,
            )
            app_transport = tls._app_transport

            def handshake_ended(future: Any) -> None:
                self._tls_handshake_ended(future, protocol, app_transport)

            handshake.add_done_callback(handshake_ended)
            return tls

        return accepted

    def _tls_handshake_ended(self, handshake: Any, protocol: Any, transport: Any) -> None:
        if handshake.cancelled():
            return
        exc = handshake.exception()
        if exc is None:
            return
        transport.close()
        if self.get_debug():
            self.call_exception_handler(
                {
                    "message": "Error on transport creation for incoming connection",
                    "exception": exc,
                    "protocol": protocol,
                    "transport": transport,
                }
            )

    async def start_tls(
        self,
        transport: Any,
        protocol: Any,
        sslcontext: "ssl.SSLContext",
        *,
        server_side: bool = False,
        server_hostname: str | None = None,
        ssl_handshake_timeout: float | None = None,
        ssl_shutdown_timeout: float | None = None,
    ) -> Any:
        """Upgrade a connection to TLS; the transport returned replaces the one given."""
        if SSL is None:
            raise RuntimeError("Python ssl module is not available")
        if not isinstance(sslcontext, SSL.SSLContext):
            raise TypeError(
                f"sslcontext is expected to be an instance of ssl.SSLContext, got {sslcontext!r}"
            )
        if not getattr(transport, "_start_tls_compatible", False):
            raise TypeError(f"transport {transport!r} is not supported by start_tls()")
        handshake = self.create_future()
        tls = make_tls_protocol(
            self,
            protocol,
            sslcontext,
            handshake,
            server_side=server_side,
            server_hostname=server_hostname,
            call_connection_made=False,
            ssl_handshake_timeout=ssl_handshake_timeout,
            ssl_shutdown_timeout=ssl_shutdown_timeout,
        )
        # Nothing may be received before TLS knows its transport.
        transport.pause_reading()
        _hand_over_received(protocol, tls)
        transport.set_protocol(tls)
        begin = self.call_soon(tls.connection_made, transport)
        resume = self.call_soon(transport.resume_reading)
        try:
            await handshake
        except BaseException:
            transport.close()
            begin.cancel()
            resume.cancel()
            # Its exception's traceback refers to this frame.
            del handshake
            raise
        return tls._app_transport
