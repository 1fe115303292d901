"""A TLS session over another stream by memory buffers, which work in threads and greenlets alike: handshake and records.

Rules:
- TLS records are sent whole. While a writer is active (`being_written`), alerts and key updates wait in the session's buffer,
  and the writer sends them after its data.
- A read that finds nothing sends the session's own records (tickets, key updates) before it returns or waits.
"""

from __future__ import annotations

import ssl
from typing import Any, Final

from .layered_stream import LayeredStream
from .stream import Stream

TLS_RECORD: Final = 16 * 1024
"""The largest number of bytes that one record carries (RFC 8446, section 5.1)."""


class TLSRecords(LayeredStream):
    """The encrypted side of a TLS stream, which owns the stream `lower`."""

    __slots__ = (
        "_aligned", "_core", "_drained", "_ended", "_in", "_more", "_opaque", "_out", "_single", "_tls", "_unsent",
        "being_written",
    )  # fmt: skip

    def __init__(self, lower: Stream, context: ssl.SSLContext, server_hostname: str | None, server_side: bool) -> None:
        super().__init__(lower)
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
        self._drained = False
        """True if a read would find nothing until more is fed."""
        self._aligned = False
        """True if the session has not taken a part of a record."""
        self._single = False
        """True if exactly one record was fed since the session was drained."""
        self._more = False
        """True if the session may have written records while a writer was active."""
        self._ended = False
        """True once the peer has ended the session or the connection."""

    @property
    def tls(self) -> ssl.SSLObject:
        """The TLS session: `version()`, `cipher()`, `getpeercert()`, `selected_alpn_protocol()`."""
        return self._tls

    def handshake(self) -> None:
        """Do the TLS handshake. Raises `ssl.SSLError`, also if the peer closes during it."""
        while not self._shake_hands():
            self._flush()
            self.feed(self._receive(TLS_RECORD))
        self._flush()

    def handshake_nowait(self) -> bool:
        """Advance the handshake by the bytes that have arrived; return True when it is complete. Raises as `handshake` does.

        After False, the kernel may not have taken all bytes (`flush_nowait`). TLS 1.3's session tickets, for which no client
        waits, are left to the next write, or to the next read that finds nothing.
        """
        while not self._shake_hands():
            self.flush_nowait()
            data = self.lower.recv_nowait(TLS_RECORD)
            if data is None:
                return False
            self.feed(data)
        if self._tls.version() != "TLSv1.3":
            self.flush_nowait()
        return True

    def _shake_hands(self) -> bool:
        """Advance the handshake by the bytes that were fed; return True when it is complete."""
        try:
            self._core.do_handshake()
            return True
        except ssl.SSLWantReadError:
            return False
        except ssl.SSLError:
            # Best-effort alert for the peer; the error is raised even if it cannot be sent.
            self.flush_nowait()
            raise

    def _receive(self, size: int) -> bytes:
        self.lower.read_timeout = self.read_timeout
        return self.lower.recv(size)

    def feed(self, data: bytes) -> None:
        """Take bytes that were received from the lower stream, b"" for its end."""
        if data:
            self._in.write(data)
            # Most records arrive alone. Their length is compared, because each question to the session costs more.
            size = len(data) - 5
            self._single = self._drained and self._aligned and size > 0 and data[3] << 8 | data[4] == size
            self._drained = False
        else:
            self._ended = True
            self._in.write_eof()

    def _flush(self) -> None:
        """Send every record of the session; an active writer does it instead."""
        if self.being_written:
            self._more = True
            return
        self.being_written = True
        try:
            while True:
                self._more = False
                data = self._out.read()
                if self._unsent:
                    data, self._unsent = self._unsent + data, b""
                if data:
                    self.lower.write_timeout = self.write_timeout
                    self.lower.sendall(data)
                if not self._more:
                    return
        finally:
            self.being_written = False

    def flush_nowait(self) -> bool:
        if self.being_written:
            self._more = True
            return not self._unsent
        if not (self._unsent or self._out.pending) or self.lower.fileno() < 0:
            return not self._unsent
        data = self._unsent + self._out.read()
        try:
            sent = self.lower.send_nowait(data)
            self._unsent = data[sent:]
        except OSError:
            # The connection is broken; the next read or write reports it.
            self._unsent = b""
        return not self._unsent
