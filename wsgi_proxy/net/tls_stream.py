"""TLS over another stream by memory buffers, which work in threads and greenlets alike.

Rules:
- The contract is `stream.Stream`'s; the timeouts become the lower stream's at each wait.
- TLS records are decrypted in order. While a reader is active (`being_read`), another read is an error, and a peek (`readable`,
  `peer_closed`) sees nothing, because the reader will.
- TLS records are sent whole. While a writer is active (`being_written`), alerts and key updates wait in the session's buffer,
  and the writer sends them after its data.
- Session tickets and key updates make the socket readable but are no data, so every peek decrypts first.
- An end without close_notify is an end, as in nginx. The framing of a message shows if it was complete.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from .layered_stream import LayeredStream
from .stream import FILE_BLOCK, Stream

if TYPE_CHECKING:
    from typing_extensions import Buffer

_TLS_RECORD = 16 * 1024


class TLSStream(LayeredStream):
    """A TLS stream, which owns the stream `lower`."""

    __slots__ = (
        "_broken_off", "_core", "_early", "_ended", "_fault", "_in", "_opaque", "_out", "_tls", "_unsent", "being_read",
        "being_written",
    )  # fmt: skip

    def __init__(self, lower: Stream, context: ssl.SSLContext, server_hostname: str | None, server_side: bool = False) -> None:
        super().__init__(lower)
        self.being_read = False
        """True while a read method is running; it may be waiting."""
        self.being_written = False
        """True while a writer sends records; it may be waiting."""
        self._in = ssl.MemoryBIO()
        self._out = ssl.MemoryBIO()
        self._unsent = b""
        """Encrypted bytes from `_out` that the kernel has not accepted."""
        self._tls = context.wrap_bio(self._in, self._out, server_side=server_side, server_hostname=server_hostname)
        self._core: Any = getattr(self._tls, "_sslobj", self._tls)
        """The object that does the work: the C object that ssl.SSLObject wraps, which adds a Python call to each method."""
        self._opaque = self._core is self._tls
        """True if the object takes the bytes out of `_in` before it needs them, so that an empty `_in` says nothing."""
        self._early = b""
        """Bytes that a peek decrypted; the next read returns them."""
        self._ended = False
        self._broken_off = False
        self._fault: OSError | None = None
        """The error that a peek met; the next read raises it."""

    @property
    def tls(self) -> ssl.SSLObject:
        """The TLS session: `version()`, `cipher()`, `getpeercert()`, `selected_alpn_protocol()`."""
        return self._tls

    def handshake(self) -> None:
        """Do the TLS handshake. Raises `ssl.SSLError`, also if the peer closes during it."""
        while True:
            try:
                self._core.do_handshake()
                self._flush()
                return
            except ssl.SSLWantReadError:
                self._flush()
                self.feed(self._receive(_TLS_RECORD))
            except ssl.SSLError:
                # Best-effort alert for the peer; the error is raised even if it cannot be sent.
                self._flush_nowait()
                raise

    def _start_reading(self) -> None:
        if self.being_read:
            raise RuntimeError("another reader is active on this TLS stream: use one reader")
        self.being_read = True

    def _receive(self, size: int) -> bytes:
        self.lower.read_timeout = self.read_timeout
        return self.lower.recv(size)

    def feed(self, data: bytes) -> None:
        """Take bytes that were received from the lower stream, b"" for its end."""
        if data:
            self._in.write(data)
        else:
            self._ended = True
            self._in.write_eof()

    def _read(self, size: int) -> bytes | None:
        """Return decrypted bytes, b"" at the end, None if more must be fed first."""
        if not self._opaque and not self._in.pending and not self._ended and not self._core.pending():
            # A read would only raise SSLWantReadError, which costs more than to decrypt a small record.
            self._flush_nowait()
            return None
        try:
            data: bytes = self._core.read(size)
            if not data:
                # The peer's close_notify: there is no more, although the socket may be open.
                self._ended = True
            return data
        except ssl.SSLWantReadError:
            self._flush_nowait()
            return None
        except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
            self._ended = True
            return b""
        except ssl.SSLError:
            # Best-effort alert for the peer.
            self._flush_nowait()
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
                self.feed(self._receive(2 * _TLS_RECORD))
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
            while self._fault is None and (found := self._read(_TLS_RECORD)):
                data += found
        except OSError as error:
            self._fault = error
        finally:
            self.being_read = False
        return data

    def _decrypt_nowait(self, size: int) -> bytes | None:
        """Return decrypted bytes that have arrived, b"" at the end, None if there are none. Never waits."""
        while (found := self._read(size)) is None:
            data = self.lower.recv_nowait(2 * _TLS_RECORD)
            if data is None:
                return None
            self.feed(data)
        return found

    def _look(self) -> bool:
        """Return True if there is something to read. The bytes or the error found are kept in `_early` or `_fault`."""
        if self._early or self._ended or self._fault is not None:
            return True
        try:
            found = self._decrypt_nowait(_TLS_RECORD)
        except OSError as error:
            self._fault = error
            return True
        if found:
            self._early = found
        return found is not None

    def held(self) -> bool:
        if self._early or self._ended or self._opaque or self._fault is not None:
            return True
        return self._in.pending > 0 or self._core.pending() > 0

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
        if self._early or self._ended or self._fault is not None or self._in.pending or self._core.pending():
            return
        self.lower.read_timeout = self.read_timeout
        self.lower.wait_while(step)

    def _flush(self) -> None:
        """Send every record of the session; an active writer does it instead."""
        if self.being_written:
            return
        self.being_written = True
        try:
            while self._unsent or self._out.pending:
                data, self._unsent = self._unsent + self._out.read(), b""
                self.lower.write_timeout = self.write_timeout
                self.lower.sendall(data)
        finally:
            self.being_written = False

    def _flush_nowait(self) -> None:
        """Send as much as the kernel accepts now; the next `_flush` sends the rest."""
        if self.being_written or not (self._unsent or self._out.pending) or self.lower.fileno() < 0:
            return
        data = self._unsent + self._out.read()
        try:
            sent = self.lower.send_nowait(data)
            self._unsent = data[sent:]
        except OSError:
            # The connection is broken; the next read or write reports it.
            self._unsent = b""

    def sendall(self, data: Buffer) -> None:
        if type(data) is bytes and len(data) <= _TLS_RECORD:
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
        self._flush_nowait()
        if self._unsent or self.being_written:
            return 0
        taken = self._tls.write(memoryview(data).cast("B")[:FILE_BLOCK])
        self._flush_nowait()
        return taken

    def flush_nowait(self) -> bool:
        self._flush_nowait()
        return not self._unsent

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
                self._early += self._tls.read(_TLS_RECORD)
            self._tls.unwrap()
        except ssl.SSLError:
            # SSLWantReadError is usual: the close_notify is written, and the peer's is not awaited.
            pass
        if incoming:
            self._in.write(incoming)
        self._flush_nowait()

    def break_off(self) -> None:
        # A close_notify would declare the data complete.
        self._broken_off = True
        self.lower.break_off()

    def close(self) -> None:
        self._send_close_notify()
        self.lower.close()
