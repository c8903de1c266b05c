"""asyncio's SSLProtocol, put right where it loses data or hides how a connection ended.

Lives here: reading decrypted data, and telling a whole stream from one that was cut off.
Does not live here: handshake, shutdown, writing, flow control: asyncio.sslproto.
Thread: the loop's own.
Invariant: every byte that was decrypted is delivered before what ended the connection is;
get_extra_info("tls_truncated") is True exactly if TCP ended without the peer's close_notify.
"""

import ssl
from asyncio import sslproto
from typing import Any

#: Nothing to read yet.
AGAIN = (ssl.SSLWantReadError, ssl.SSLSyscallError)
# Its published types know neither other loops nor fractions of a second.
SSLProtocol: Any = sslproto.SSLProtocol


class TLSProtocol(SSLProtocol):  # type: ignore[misc]
    """TLS between a transport and the application's protocol."""

    # Whether the peer has said that its stream ends here.
    _close_notify_received = False

    def _do_read__copied(self) -> None:
        """For protocols with data_received()."""
        chunks: list[bytes] = []
        failure: ssl.SSLError | None = None
        try:
            while chunk := self._sslobj.read(self.max_size):
                chunks.append(chunk)
            self._close_notify_received = True
        except AGAIN:
            pass
        except ssl.SSLError as exc:
            # What came before the damage is good.
            failure = exc
        if chunks:
            self._app_protocol.data_received(chunks[0] if len(chunks) == 1 else b"".join(chunks))
        self._finish_read(failure)

    def _do_read__buffered(self) -> None:
        """For protocols with get_buffer() and buffer_updated()."""
        buffer = memoryview(self._app_protocol_get_buffer(self._get_read_buffer_size())).cast("B")
        if not buffer:
            raise RuntimeError("get_buffer() returned an empty buffer")
        failure: ssl.SSLError | None = None
        filled = 0
        try:
            while filled < len(buffer):
                count = self._sslobj.read(len(buffer) - filled, buffer[filled:])
                if not count:
                    self._close_notify_received = True
                    break
                filled += count
            else:
                # There may be more than the buffer holds.
                self._loop.call_soon(self._do_read)
        except AGAIN:
            pass
        except ssl.SSLError as exc:
            failure = exc
        if filled:
            self._app_protocol_buffer_updated(filled)
        self._finish_read(failure)

    def _finish_read(self, failure: ssl.SSLError | None) -> None:
        if failure is not None:
            raise failure
        if self._close_notify_received:
            self._call_eof_received()
            self._start_shutdown()

    def _on_shutdown_complete(self, shutdown_exc: BaseException | None) -> None:
        if shutdown_exc is None and not self._eof_received:
            # unwrap() has succeeded: both sides have said that they are done.
            self._close_notify_received = True
        super()._on_shutdown_complete(shutdown_exc)

    def _call_eof_received(self) -> None:
        self._note_end(None)
        super()._call_eof_received()

    def connection_lost(self, exc: BaseException | None) -> None:
        """The transport is gone."""
        self._note_end(exc)
        super().connection_lost(exc)

    def _note_end(self, exc: BaseException | None) -> None:
        ended_by_tcp = self._eof_received or exc is not None
        self._extra["tls_truncated"] = ended_by_tcp and not self._close_notify_received

    def _abort(self, exc: BaseException | None = None) -> None:
        # 3.11 and 3.12 take no exception here, though they pass one for TLS in TLS.
        self._set_state(sslproto.SSLProtocolState.UNWRAPPED)
        if self._transport is not None:
            self._transport._force_close(exc)
