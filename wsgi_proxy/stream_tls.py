"""TLS over another stream, by memory buffers, so that it is the same in a thread and in a greenlet.

Rules:
- The contract is `stream.Stream`'s; our timeouts become the lower stream's at each wait.
- Session tickets and key updates make the socket readable and are no data: every look is behind the decryption.
- An end without close_notify is an end, as nginx has it: a message's framing tells whether it was whole.
"""

from __future__ import annotations

import os
import socket
import ssl
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from .stream import FILE_BLOCK, Stream

if TYPE_CHECKING:
    from typing_extensions import Buffer

_TLS_RECORD = 16 * 1024


class TLSStream(Stream):
    """A stream under TLS; it owns `lower`."""

    __slots__ = ("lower", "_tls", "_in", "_out", "_early", "_ended", "_fault")

    def __init__(
        self, lower: Stream, context: ssl.SSLContext, server_hostname: str | None, server_side: bool = False
    ) -> None:
        self.lower = lower
        self.plain = False
        self.read_timeout = lower.read_timeout
        self.write_timeout = lower.write_timeout
        self._in = ssl.MemoryBIO()
        self._out = ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._in, self._out, server_side=server_side, server_hostname=server_hostname)
        # Decrypted bytes that a look (`readable`) had to take out.
        self._early = b""
        self._ended = False
        self._fault: OSError | None = None
        """What such a look met instead; for the next read to raise."""

    @property
    def tls(self) -> ssl.SSLObject:
        """The session: `version()`, `cipher()`, `getpeercert()`, `selected_alpn_protocol()`."""
        return self._tls

    def handshake(self) -> None:
        """The TLS handshake; a peer that ends in its midst is an `ssl.SSLError`."""
        while True:
            try:
                self._tls.do_handshake()
                self._flush()
                return
            except ssl.SSLWantReadError:
                self._flush()
                self._feed(self._receive(_TLS_RECORD))
            except ssl.SSLError:
                # The alert that says why is for the peer; the fault is ours to report even if it cannot be sent.
                self._flush_nowait()
                raise

    def _receive(self, size: int) -> bytes:
        self.lower.read_timeout = self.read_timeout
        return self.lower.recv(size)

    def _flush(self) -> None:
        if self._out.pending:
            self.lower.write_timeout = self.write_timeout
            self.lower.sendall(self._out.read())

    def _flush_nowait(self) -> None:
        if self._out.pending and self.lower.fileno() >= 0:
            try:
                os.write(self.lower.fileno(), self._out.read())
            except OSError:
                # A last word to a peer that does not listen: there is nobody left to tell.
                return

    def _feed(self, data: bytes) -> None:
        if data:
            self._in.write(data)
        else:
            self._ended = True
            self._in.write_eof()

    def _read(self, size: int) -> bytes | None:
        """Decrypted bytes, b"" at the end, None when more must be fed first."""
        try:
            return self._tls.read(size)
        except ssl.SSLWantReadError:
            self._flush_nowait()
            return None
        except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
            # As nginx: an end without close_notify is an end; framing tells whether the message was whole.
            self._ended = True
            return b""

    def recv(self, size: int) -> bytes:
        if self._early:
            data, self._early = self._early[:size], self._early[size:]
            return data
        if self._fault is not None:
            raise self._fault
        while (found := self._read(size)) is None:
            self._feed(self._receive(2 * _TLS_RECORD))
        return found

    def recv_into(self, buffer: Buffer) -> int:
        view = memoryview(buffer).cast("B")
        data = self.recv(len(view))
        view[: len(data)] = data
        return len(data)

    def recv_nowait(self, size: int) -> bytes | None:
        if self._early or self._fault is not None:
            return self.recv(size)
        while (found := self._read(size)) is None:
            data = self.lower.recv_nowait(2 * _TLS_RECORD)
            if data is None:
                return None
            self._feed(data)
        return found

    def sendall(self, data: Buffer) -> None:
        view = memoryview(data).cast("B")
        for start in range(0, len(view), FILE_BLOCK):
            block = view[start : start + FILE_BLOCK]
            while block:
                taken = self._tls.write(block)
                block = block[taken:]
            self._flush()

    def sendmsg(self, buffers: Sequence[Buffer]) -> None:
        self.sendall(b"".join(buffers))

    def readable(self) -> bool:
        # Session tickets and key updates make the socket readable and are not data: look behind the decryption.
        if self._early or self._ended or self._fault is not None:
            return True
        try:
            found = self.recv_nowait(_TLS_RECORD)
        except OSError as error:
            self._fault = error
            return True
        if found:
            self._early = found
        return found is not None

    def stirred(self) -> bool:
        return (bool(self._early) or self._ended or self.lower.stirred()) and self.readable()

    def peer_closed(self) -> bool:
        return self.readable() and not self._early

    def wait_readable(self) -> None:
        self.lower.read_timeout = self.read_timeout
        while not self.readable():
            self.lower.wait_readable()

    def wait_writable(self) -> None:
        self.lower.write_timeout = self.write_timeout
        self.lower.wait_writable()

    def fileno(self) -> int:
        return self.lower.fileno()

    def getsockname(self) -> Any:
        return self.lower.getsockname()

    def shutdown(self, how: int) -> None:
        if how != socket.SHUT_RD:
            self._say_goodbye()
        self.lower.shutdown(how)

    def _say_goodbye(self) -> None:
        if self.lower.fileno() < 0:
            return
        try:
            self._tls.unwrap()
        except ssl.SSLError:
            # "Want read" is the usual one: our close_notify is written, the peer's is not waited for.
            pass
        self._flush_nowait()

    def close(self) -> None:
        self._say_goodbye()
        self.lower.close()

    def detach(self) -> int:
        return self.lower.detach()
