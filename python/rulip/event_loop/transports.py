"""What a native transport answers when asked for its class.

Lives here: one class that derives from asyncio.Transport and is never instantiated.
Does not live here: the transport (native, `rulip._rulip.Transport`).
Thread: any. Invariant: `isinstance(transport, asyncio.Transport)` holds.
"""

import asyncio

from .._rulip import _set_transport_class


class SocketTransport(asyncio.Transport):
    """A TCP or Unix stream transport of rulip."""


_set_transport_class(SocketTransport)
