"""What a TLS connection is made of, and what its native objects answer when asked for their class.

Lives here: the checks of a TLS connection's arguments, the SSLObject, the way its data goes, and
two classes that derive from asyncio's own and are never instantiated.
Does not live here: the protocol and the transport (native, `rulip._rulip`).
Thread: the loop's own.
Invariant: isinstance(transport, asyncio.sslproto._SSLProtocolTransport) holds, and so does
isinstance(transport._ssl_protocol, asyncio.sslproto.SSLProtocol).
"""

import operator
import os
from asyncio import constants, sslproto
from typing import TYPE_CHECKING, Any

from .._compat import SSL
from .._rulip import TLSProtocol, _set_tls_classes

if TYPE_CHECKING:
    import ssl

#: The environment variable that forces a way: "openssl" or "memory_bio".
SWITCH = "RULIP_TLS"


class SSLTransport(sslproto._SSLProtocolTransport):
    """A TLS transport of rulip."""


class SSLProtocol(sslproto.SSLProtocol):
    """The protocol between a TLS transport and the transport below it."""


_set_tls_classes(SSLTransport, SSLProtocol)

#: asyncio's class, its methods as they were, and what reads them all at once.
_STOCK = sslproto.SSLProtocol
_methods = operator.itemgetter(*(name for name, value in vars(_STOCK).items() if callable(value)))
_STOCK_METHODS = _methods(vars(_STOCK))


def _is_replaced() -> bool:
    """Whether somebody has changed asyncio's class of the protocol, or put another in its place."""
    return sslproto.SSLProtocol is not _STOCK or _methods(vars(_STOCK)) != _STOCK_METHODS


def make_tls_protocol(
    loop: Any,
    app_protocol: Any,
    sslcontext: "ssl.SSLContext | None",
    waiter: Any,
    *,
    server_side: bool = False,
    server_hostname: str | None = None,
    call_connection_made: bool = True,
    ssl_handshake_timeout: float | None = None,
    ssl_shutdown_timeout: float | None = None,
) -> Any:
    """The protocol of one connection; it has made the transport that the program sees.

    It is native, but where a program has changed asyncio's: then it is that one. Raises
    RuntimeError where Python has no ssl module.
    """
    if SSL is None:
        raise RuntimeError("stdlib ssl module not available")
    if _is_replaced():
        theirs: Any = sslproto.SSLProtocol
        return theirs(
            loop,
            app_protocol,
            sslcontext,
            waiter,
            server_side,
            server_hostname,
            call_connection_made,
            ssl_handshake_timeout=ssl_handshake_timeout,
            ssl_shutdown_timeout=ssl_shutdown_timeout,
        )
    if ssl_handshake_timeout is None:
        ssl_handshake_timeout = constants.SSL_HANDSHAKE_TIMEOUT
    elif ssl_handshake_timeout <= 0:
        raise ValueError(
            f"ssl_handshake_timeout should be a positive number, got {ssl_handshake_timeout}"
        )
    if ssl_shutdown_timeout is None:
        ssl_shutdown_timeout = constants.SSL_SHUTDOWN_TIMEOUT
    elif ssl_shutdown_timeout <= 0:
        raise ValueError(
            f"ssl_shutdown_timeout should be a positive number, got {ssl_shutdown_timeout}"
        )
    if not sslcontext:
        if server_side:
            raise ValueError("Server side SSL needs a valid SSLContext")
        sslcontext = SSL.create_default_context()
        if not server_hostname:
            sslcontext.check_hostname = False
    incoming, outgoing = SSL.MemoryBIO(), SSL.MemoryBIO()
    sslobj = sslcontext.wrap_bio(
        incoming,
        outgoing,
        server_side=server_side,
        server_hostname=(server_hostname or None) if not server_side else None,
    )
    protocol: TLSProtocol = loop._make_tls_protocol(
        app_protocol,
        sslcontext,
        sslobj,
        incoming,
        outgoing,
        waiter,
        call_connection_made,
        ssl_handshake_timeout,
        ssl_shutdown_timeout,
        os.environ.get(SWITCH, ""),
    )
    return protocol


def tls_way() -> str:
    """How TLS data would go now: "openssl" (direct calls), "memory_bio"; "nothing" without ssl."""
    if SSL is None:
        return "nothing"
    from .. import new_event_loop

    loop = new_event_loop()
    try:
        context = SSL.SSLContext(SSL.PROTOCOL_TLS_CLIENT)
        protocol = make_tls_protocol(loop, None, context, None, server_hostname="localhost")
        protocol._app_transport.abort()
        return protocol._way if isinstance(protocol, TLSProtocol) else "memory_bio"
    finally:
        loop.close()
