"""TLS over another stream: reading, writing and the end of a session. `tls_records` has its handshake and its buffers.

Rules:
- The contract is `stream.Stream`'s; the timeouts become the lower stream's at each wait.
- TLS records are decrypted in order. While a reader is active (`being_read`), another read is an error, and a peek (`readable`,
  `peer_closed`) sees nothing, because the reader will.
- Session tickets and key updates make the socket readable but are no data, so every peek decrypts first.
- An end without close_notify is an end, as in nginx. The framing of a message shows if it was complete.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable
from typing import TYPE_CHECKING

from .stream import FILE_BLOCK, Stream
from .tls_records import TLS_RECORD, TLSRecords

if TYPE_CHECKING:
    from typing_extensions import Buffer


class TLSStream(TLSRecords):
    """A TLS stream, which owns the stream `lower`."""

    __slots__ = ("_broken_off", "_early", "_fault", "being_read")

    def __init__(self, lower: Stream, context: ssl.SSLContext, server_hostname: str | None, server_side: bool = False) -> None:
        super().__init__(lower, context, server_hostname, server_side)
        self.being_read = False
        """True while a read method is running; it may be waiting."""
        self._early = b""
        """Bytes that a peek decrypted; the next read returns them."""
        self._broken_off = False
        self._fault: OSError | None = None
        """The error that a peek met; the next read raises it."""

    def _start_reading(self) -> None:
        if self.being_read:
            raise RuntimeError("another reader is active on this TLS stream: use one reader")
        self.being_read = True

    def _read(self, size: int) -> bytes | None:
        """Return decrypted bytes, b"" at the end, None if more must be fed first."""
        single, self._single = self._single, False
        if not single and not self._ended:
            if self._drained:
                return None
            if not self._opaque and not self._in.pending and not self._core.pending():
                # A read would only raise SSLWantReadError, which costs more than to decrypt a small record.
                self._drained = True
                return None
        try:
            data: bytes = self._core.read(size)
            if not data:
                # The peer's close_notify: there is no more, although the socket may be open.
                self._ended = True
            elif len(data) < size:
                # The session has returned all of a record, and takes no byte of the next one before it is asked.
                self._aligned = not self._opaque
                self._drained = single
            return data
        except ssl.SSLWantReadError:
            self._drained = True
            self._aligned = False
            return None
        except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
            self._ended = True
            return b""
        except ssl.SSLError:
            # Best-effort alert for the peer.
            self.flush_nowait()
            raise

    def _read_early(self, size: int) -> bytes:
        """Return the bytes that a peek decrypted, or raise the error that it met."""
        if self._early:
            data, self._early = self._early[:size], self._early[size:]
            return data
        assert self._fault is not None
        raise self._fault

    def recv(self, size: int) -> bytes:
        self._start_reading()
        try:
            if self._early or self._fault is not None:
                return self._read_early(size)
            while (found := self._read(size)) is None:
                self.flush_nowait()
                self.feed(self._receive(2 * TLS_RECORD))
            return found
        finally:
            self.being_read = False

    def recv_nowait(self, size: int) -> bytes | None:
        self._start_reading()
        try:
            if self._early or self._fault is not None:
                return self._read_early(size)
            return self._decrypt_nowait(size)
        finally:
            self.being_read = False

    def recv_rest(self) -> bytes:
        self._start_reading()
        try:
            data, self._early = self._early, b""
            while self._fault is None and (found := self._read(TLS_RECORD)):
                data += found
            self.flush_nowait()
        except OSError as error:
            self._fault = error
        finally:
            self.being_read = False
        return data

    def _decrypt_nowait(self, size: int) -> bytes | None:
        """Return decrypted bytes that have arrived, b"" at the end, None if there are none. Never waits."""
        while (found := self._read(size)) is None:
            data = self.lower.recv_nowait(2 * TLS_RECORD)
            if data is None:
                self.flush_nowait()
                return None
            self.feed(data)
        return found

    def _look(self) -> bool:
        """Return True if there is something to read. The bytes or the error found are kept in `_early` or `_fault`."""
        if self._early or self._ended or self._fault is not None:
            return True
        try:
            found = self._decrypt_nowait(TLS_RECORD)
        except OSError as error:
            self._fault = error
            return True
        if found:
            self._early = found
        return found is not None

    def held(self) -> bool:
        if self._early or self._ended or self._fault is not None:
            return True
        return not self._drained and (self._opaque or self._in.pending > 0 or self._core.pending() > 0)

    def readable(self) -> bool:
        return not self.being_read and self._look()

    def stirred(self) -> bool:
        return (bool(self._early) or self._ended or self.lower.stirred()) and self.readable()

    def peer_closed(self) -> bool:
        return self.readable() and not self._early

    def wait_readable(self) -> None:
        self._start_reading()
        try:
            self.lower.read_timeout = self.read_timeout
            while not self._look():
                self.lower.wait_readable()
        finally:
            self.being_read = False

    def wait_while(self, step: Callable[[], bool]) -> None:
        if not self.held():
            self.lower.read_timeout = self.read_timeout
            self.lower.wait_while(step)

    def sendall(self, data: Buffer) -> None:
        if type(data) is bytes and len(data) <= TLS_RECORD:
            # One record, which the output buffer takes whole.
            if data:
                self._core.write(data)
                self._flush()
            return
        view = memoryview(data).cast("B")
        for start in range(0, len(view), FILE_BLOCK):
            block = view[start : start + FILE_BLOCK]
            while block:
                taken: int = self._core.write(block)
                block = block[taken:]
            self._flush()

    def send_nowait(self, data: Buffer) -> int:
        if self.being_written or self._unsent and not self.flush_nowait():
            return 0
        small = type(data) is bytes and len(data) <= TLS_RECORD
        taken: int = self._core.write(data if small else memoryview(data).cast("B")[:FILE_BLOCK])
        self.flush_nowait()
        return taken

    # --- ends ---

    def shutdown(self, how: int) -> None:
        if how != socket.SHUT_RD:
            self._send_close_notify()
        self.lower.shutdown(how)

    def _send_close_notify(self) -> None:
        """Best-effort close_notify. Bytes from the peer are left to the reader."""
        if self.lower.fileno() < 0 or self.being_written or self._broken_off:
            return
        # `unwrap` also reads and would drop the bytes, so the input is emptied first.
        incoming = self._in.read()
        try:
            while self._tls.pending():
                self._early += self._tls.read(TLS_RECORD)
            self._tls.unwrap()
        except ssl.SSLError:
            # SSLWantReadError is usual: the close_notify is written, and the peer's is not awaited.
            pass
        if incoming:
            self._in.write(incoming)
        self.flush_nowait()

    def break_off(self) -> None:
        # A close_notify would declare the data complete.
        self._broken_off = True
        self.lower.break_off()

    def close(self) -> None:
        self._send_close_notify()
        self.lower.close()
