"""What native transports answer when asked for their class.

Lives here: classes that derive from asyncio's and are never instantiated.
Does not live here: the transports (native, `rulip._rulip`).
Thread: any. Invariant: `isinstance(transport, asyncio.Transport)` and its kin hold.
"""

import asyncio

from .._rulip import (
    _set_datagram_transport_class,
    _set_read_pipe_transport_class,
    _set_transport_class,
    _set_write_pipe_transport_class,
)


class SocketTransport(asyncio.Transport):
    """A TCP or Unix stream transport of rulip."""


class DatagramTransport(asyncio.Transport, asyncio.DatagramTransport):
    """A UDP or Unix datagram transport of rulip; as asyncio's, a Transport as well."""


class ReadPipeTransport(asyncio.ReadTransport):
    """The reading end of a pipe."""


class WritePipeTransport(asyncio.Transport):
    """The writing end of a pipe; as asyncio's, a Transport that does not read."""


_set_transport_class(SocketTransport)
_set_datagram_transport_class(DatagramTransport)
_set_read_pipe_transport_class(ReadPipeTransport)
_set_write_pipe_transport_class(WritePipeTransport)
