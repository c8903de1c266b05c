"""Files sent by the kernel: sendfile, sock_sendfile, and the fallback that reads and writes.

Lives here: the two coroutines, and the protocol that stands in while the fallback uses a transport.
Does not live here: transports, and the sending by the kernel itself (native).
Thread: the loop's own; the fallback reads the file in the executor.
Invariant: the file's position tells how much was sent, whatever ended it; a transport gets
its protocol, limits and reading state back.
"""

import asyncio
import errno
import io
import os
import socket
import sys
from asyncio import constants
from typing import Any, NoReturn

from .._compat import SENDFILE_ALWAYS_SEEKS
from .._rulip import Transport, sleep
from .subprocesses import Subprocesses

#: Bytes read at a time where the kernel can't send the file by itself.
SOCKET_BLOCK = constants.SENDFILE_FALLBACK_READBUFFER_SIZE
TRANSPORT_BLOCK = 16384


class SendfileProtocol(asyncio.Protocol):
    """Stands in for a transport's protocol while a file is read and written."""

    def __init__(self, transport: Any, loop: Any) -> None:
        self._transport = transport
        self._loop = loop
        self._replaced = transport.get_protocol()
        self._was_reading = transport.is_reading()
        self._was_paused = _is_writing_paused(transport)
        self._waiting: Any = None
        self._paused = self._was_paused
        self._lost: BaseException | None = None
        transport.pause_reading()
        transport.set_protocol(self)

    def check(self) -> None:
        """Raise if the connection is gone."""
        if self._lost is not None or self._transport.is_closing():
            raise ConnectionError("Connection closed by peer")

    async def wait(self) -> None:
        """Wait for resume_writing(), or for the connection's end."""
        self._waiting = self._loop.create_future()
        try:
            await self._waiting
        finally:
            self._waiting = None

    async def drain(self) -> None:
        """Wait while the transport's buffer is full."""
        self.check()
        while self._paused:
            await self.wait()
            self.check()

    def connection_made(self, transport: Any) -> None:
        """Never called: the connection is there already."""
        raise RuntimeError("Invalid state: connection should have been established already.")

    def connection_lost(self, exc: BaseException | None) -> None:
        """Tell whoever waits, then the protocol we stand in for."""
        self._lost = exc or ConnectionError("Connection is closed by peer")
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_exception(self._lost)
        self._replaced.connection_lost(exc)

    def pause_writing(self) -> None:
        """The transport's buffer is full."""
        self._paused = True

    def resume_writing(self) -> None:
        """The transport's buffer has room."""
        self._paused = False
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)

    def data_received(self, data: bytes) -> None:
        """Never called: reading is paused."""
        raise RuntimeError("Invalid state: reading should be paused")

    def eof_received(self) -> bool | None:
        """Never called: reading is paused."""
        raise RuntimeError("Invalid state: reading should be paused")

    def restore(self) -> None:
        """Give the transport back to its protocol."""
        if self._transport.get_protocol() is self:
            self._transport.set_protocol(self._replaced)
        if self._was_reading:
            self._transport.resume_reading()
        if self._was_paused and not self._paused:
            self._replaced.resume_writing()
        elif self._paused and not self._was_paused and self._lost is None:
            self._replaced.pause_writing()


def _is_writing_paused(transport: Any) -> bool:
    """Whether the transport will call resume_writing()."""
    paused = getattr(transport, "_protocol_paused", None)
    if paused is None:
        _low, high = transport.get_write_buffer_limits()
        paused = transport.get_write_buffer_size() > high
    return bool(paused)


def _check_count(count: Any) -> None:
    if count is None:
        return
    if not isinstance(count, int):
        raise TypeError(f"count must be a positive integer (got {count!r})")
    if count <= 0:
        raise ValueError(f"count must be a positive integer (got {count!r})")


def _check_offset(offset: Any) -> None:
    if not isinstance(offset, int):
        raise TypeError(f"offset must be a non-negative integer (got {offset!r})")
    if offset < 0:
        raise ValueError(f"offset must be a non-negative integer (got {offset!r})")


def _regular_file(file: Any) -> tuple[int, int]:
    """(descriptor, size) of a file that the kernel may send."""
    try:
        fd = file.fileno()
    except (AttributeError, io.UnsupportedOperation) as exc:
        raise asyncio.SendfileNotAvailableError("not a regular file") from exc
    try:
        return fd, os.fstat(fd).st_size
    except OSError as exc:
        raise asyncio.SendfileNotAvailableError("not a regular file") from exc


def _raise(error: Exception, sent: int) -> NoReturn:
    """Raise what ended a file's sending; the first call's failure means: not this kind of file."""
    if not isinstance(error, OSError):
        raise error
    if sent == 0:
        raise asyncio.SendfileNotAvailableError("os.sendfile call failed") from error
    if error.errno == errno.ENOTCONN and type(error) is not ConnectionError:
        raise ConnectionError("socket is not connected", errno.ENOTCONN) from error
    raise error


class Sendfile(Subprocesses):
    """sendfile() and sock_sendfile()."""

    def _check_sendfile_params(self, sock: Any, file: Any, offset: int, count: int | None) -> None:
        if "b" not in getattr(file, "mode", "b"):
            raise ValueError("file should be opened in binary mode")
        if sock.type != socket.SOCK_STREAM:
            raise ValueError("only SOCK_STREAM type sockets are supported")
        _check_count(count)
        _check_offset(offset)

    async def sock_sendfile(
        self,
        sock: Any,
        file: Any,
        offset: int = 0,
        count: int | None = None,
        *,
        fallback: bool | None = True,
    ) -> int:
        """Send a file to a socket; the number of bytes sent is returned."""
        self._check_socket(sock)
        self._check_sendfile_params(sock, file, offset, count)
        try:
            return await self._sock_sendfile_native(sock, file, offset, count)
        except asyncio.SendfileNotAvailableError:
            if not fallback:
                raise
        return await self._sock_sendfile_fallback(sock, file, offset, count)

    async def _sock_sendfile_native(
        self, sock: Any, file: Any, offset: int, count: int | None
    ) -> int:
        return await self._send_by_kernel(sock, file, offset, count)

    async def _send_by_kernel(self, out: Any, file: Any, offset: int, count: int | None) -> int:
        source, size = _regular_file(file)
        if not (count or size):
            return 0
        if not isinstance(out, Transport):
            self._ensure_fd_no_transport(out.fileno())
        # A bigger count than the platform's signed size is refused; nothing is gained by it.
        count = None if count is None else min(count, sys.maxsize)
        sending = self._send_file(out, source, offset, count, size)
        try:
            if sending.over:
                # Others get their turn even if all files are small.
                await sleep(0)
            else:
                future = self.create_future()
                sending.go_on(future)
                await future
            if sending.error is not None:
                _raise(sending.error, sending.sent)
            return int(sending.sent)
        finally:
            sending.stop()
            if sending.sent > 0 or SENDFILE_ALWAYS_SEEKS:
                os.lseek(source, offset + sending.sent, os.SEEK_SET)

    async def _sock_sendfile_fallback(
        self, sock: Any, file: Any, offset: int, count: int | None
    ) -> int:
        async def send(data: memoryview) -> None:
            await self.sock_sendall(sock, data)

        return await self._read_and_send(file, offset, count, SOCKET_BLOCK, send)

    async def _read_and_send(
        self, file: Any, offset: int, count: int | None, block: int, send: Any
    ) -> int:
        if offset or (SENDFILE_ALWAYS_SEEKS and hasattr(file, "seek")):
            file.seek(offset)
        buffer = bytearray(min(count, block) if count else block)
        sent = 0
        try:
            while not count or sent < count:
                size = min(count - sent, len(buffer)) if count else len(buffer)
                # Not released by us: after a cancel a thread may still read into it.
                view = memoryview(buffer)[:size]
                read = await self.run_in_executor(None, file.readinto, view)
                if not read:
                    break
                await send(view[:read])
                sent += read
            return sent
        finally:
            if sent > 0 and hasattr(file, "seek"):
                file.seek(offset + sent)

    async def sendfile(
        self,
        transport: Any,
        file: Any,
        offset: int = 0,
        count: int | None = None,
        *,
        fallback: bool = True,
    ) -> int:
        """Send a file to a transport; the number of bytes sent is returned."""
        if transport.is_closing():
            raise RuntimeError("Transport is closing")
        unsupported = constants._SendfileMode.UNSUPPORTED
        native = isinstance(transport, Transport)
        if not native and getattr(transport, "_sendfile_compatible", unsupported) is unsupported:
            raise RuntimeError(f"sendfile is not supported for transport {transport!r}")
        if native:
            try:
                return await self._sendfile_native(transport, file, offset, count)
            except asyncio.SendfileNotAvailableError:
                if not fallback:
                    raise
        if not fallback:
            raise RuntimeError(
                "fallback is disabled and native sendfile is not supported "
                f"for transport {transport!r}"
            )
        return await self._sendfile_fallback(transport, file, offset, count)

    async def _sendfile_native(
        self, transport: Any, file: Any, offset: int, count: int | None
    ) -> int:
        self._check_sendfile_params(transport.get_extra_info("socket"), file, offset, count)
        was_reading = transport.is_reading()
        transport.pause_reading()
        try:
            # What was written before goes first; what is written meanwhile is refused.
            waiter = transport._make_empty_waiter()
            try:
                await waiter
                if transport.is_closing():
                    raise ConnectionError("Connection closed by peer")
                return await self._send_by_kernel(transport, file, offset, count)
            finally:
                transport._reset_empty_waiter()
        finally:
            if was_reading:
                transport.resume_reading()

    async def _sendfile_fallback(
        self, transport: Any, file: Any, offset: int, count: int | None
    ) -> int:
        protocol = SendfileProtocol(transport, self)

        async def send(data: memoryview) -> None:
            await protocol.drain()
            # The buffer is used again: the transport may keep what it is given.
            transport.write(bytes(data))
            await protocol.drain()

        try:
            return await self._read_and_send(file, offset, count, TRANSPORT_BLOCK, send)
        finally:
            protocol.restore()
