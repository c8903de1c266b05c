"""Streams: StreamReader, StreamWriter, StreamReaderProtocol, and the functions that open them.

Lives here: the classes' cold half (what runs once per connection), and connecting and serving.
Does not live here: what runs per message, which is native (`rulip._rulip`); asyncio's classes,
from which these derive, so that each is an asyncio one to whoever asks.
Thread: the loop's own.
Invariant: everything here works on any asyncio loop; on rulip's, bytes come without Python calls.
"""

import asyncio
import functools
from asyncio import events, streams
from asyncio.exceptions import IncompleteReadError, LimitOverrunError
from collections.abc import Awaitable, Callable
from types import FunctionType
from typing import Any

from . import _rulip

# asyncio's own, before anybody replaced them.
_StockProtocol: Any = streams.StreamReaderProtocol

#: asyncio's own: what it gives to protocols of any kind.
FlowControlMixin: Any = streams.FlowControlMixin

#: asyncio's own default.
_DEFAULT_LIMIT = 2**16

ClientCallback = Callable[["StreamReader", "StreamWriter"], Awaitable[None] | None]


class StreamReader(_rulip.StreamReader, streams.StreamReader):  # type: ignore[misc]
    """asyncio.StreamReader, with the buffer and the reading in native code."""

    __slots__ = ()


class StreamWriter(_rulip.StreamWriter, streams.StreamWriter):
    """asyncio.StreamWriter, whose write() and drain() are native."""

    __slots__ = ()


def _with_our_writer(method: Any) -> Any:
    """asyncio's own method, to which our StreamWriter is the one there is."""
    names = {**vars(streams), "StreamWriter": StreamWriter}
    return FunctionType(
        method.__code__, names, method.__name__, method.__defaults__, method.__closure__
    )


def _with_errors_reported(connection_made: Any) -> Any:
    """The method, with what a plain client_connected_cb raises reported, and its connection closed.

    Later releases do that themselves; without it the client would wait for an answer for ever.
    """
    message = "Unhandled exception in client_connected_cb"
    if message in connection_made.__code__.co_consts:
        return connection_made

    @functools.wraps(connection_made)
    def reporting(self: Any, transport: Any) -> None:
        try:
            connection_made(self, transport)
        except Exception as exc:
            if self._client_connected_cb is None:
                raise
            context = {"message": message, "exception": exc, "transport": transport}
            self._loop.call_exception_handler(context)
            transport.close()
            self._strong_reader = None

    return reporting


class StreamReaderProtocol(_rulip.StreamReaderProtocol, streams.StreamReaderProtocol):
    """asyncio.StreamReaderProtocol, which a native transport feeds without Python calls."""

    __slots__ = ()

    # As this Python's asyncio does it, but with our writer.
    connection_made = _with_errors_reported(_with_our_writer(_StockProtocol.connection_made))


_rulip._set_stream_classes(StreamReader, StreamReaderProtocol, StreamWriter)


def _client_protocol(limit: int) -> tuple[StreamReader, StreamReaderProtocol]:
    loop = events.get_running_loop()
    reader = StreamReader(limit=limit, loop=loop)
    return reader, StreamReaderProtocol(reader, loop=loop)


def _server_protocols(
    client_connected_cb: ClientCallback, limit: int
) -> Callable[[], StreamReaderProtocol]:
    loop = events.get_running_loop()

    def make_protocol() -> StreamReaderProtocol:
        reader = StreamReader(limit=limit, loop=loop)
        return StreamReaderProtocol(reader, client_connected_cb, loop=loop)

    return make_protocol


async def open_connection(
    host: Any = None, port: Any = None, *, limit: int = _DEFAULT_LIMIT, **kwds: Any
) -> tuple[StreamReader, StreamWriter]:
    """Connect to a server; the keywords are create_connection()'s."""
    loop = events.get_running_loop()
    reader, protocol = _client_protocol(limit)
    transport, _ = await loop.create_connection(lambda: protocol, host, port, **kwds)
    return reader, StreamWriter(transport, protocol, reader, loop)


async def start_server(
    client_connected_cb: ClientCallback,
    host: Any = None,
    port: Any = None,
    *,
    limit: int = _DEFAULT_LIMIT,
    **kwds: Any,
) -> asyncio.Server:
    """Call back with a reader and a writer per client; the keywords are create_server()'s."""
    loop = events.get_running_loop()
    factory = _server_protocols(client_connected_cb, limit)
    return await loop.create_server(factory, host, port, **kwds)


async def open_unix_connection(
    path: Any = None, *, limit: int = _DEFAULT_LIMIT, **kwds: Any
) -> tuple[StreamReader, StreamWriter]:
    """Connect to a Unix socket; the keywords are create_unix_connection()'s."""
    loop = events.get_running_loop()
    reader, protocol = _client_protocol(limit)
    transport, _ = await loop.create_unix_connection(lambda: protocol, path, **kwds)
    return reader, StreamWriter(transport, protocol, reader, loop)


async def start_unix_server(
    client_connected_cb: ClientCallback,
    path: Any = None,
    *,
    limit: int = _DEFAULT_LIMIT,
    **kwds: Any,
) -> asyncio.Server:
    """Serve on a Unix socket; the keywords are create_unix_server()'s."""
    loop = events.get_running_loop()
    factory = _server_protocols(client_connected_cb, limit)
    return await loop.create_unix_server(factory, path, **kwds)


__all__ = [
    "IncompleteReadError",
    "LimitOverrunError",
    "StreamReader",
    "StreamReaderProtocol",
    "StreamWriter",
    "open_connection",
    "open_unix_connection",
    "start_server",
    "start_unix_server",
]
