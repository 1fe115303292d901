"""TLS over another stream, by memory buffers, so that it is the same in a thread and in a greenlet.

Rules:
- The contract is `stream.Stream`'s; the timeouts become the lower stream's at each wait.
- TLS records are decrypted in the order in which they came: while a reader is under way (`being_read`), any other read is an
  error, and any look (`readable`, `peer_closed`) sees nothing, because the reader will meet it.
- TLS records are sent whole: while a writer is under way (`being_written`), the session's own records (alerts, key updates) wait
  in its buffer, and the writer sends them after its own.
- Session tickets and key updates make the socket readable and are no data: every look is behind the decryption.
- An end without close_notify is an end, as in nginx: a message's framing tells whether it was whole.
"""

from __future__ import annotations

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

    __slots__ = (
        "_broken_off",
        "_early",
        "_ended",
        "_fault",
        "_in",
        "_out",
        "_tls",
        "_unsent",
        "being_read",
        "being_written",
        "lower",
    )

    def __init__(self, lower: Stream, context: ssl.SSLContext, server_hostname: str | None, server_side: bool = False) -> None:
        self.lower = lower
        self.plain = False
        self.read_timeout = lower.read_timeout
        self.write_timeout = lower.write_timeout
        self.being_read = False
        """A reader is between the beginning and the end of its call, and may be waiting."""
        self.being_written = False
        """A writer is sending records, and may be waiting."""
        self._in = ssl.MemoryBIO()
        self._out = ssl.MemoryBIO()
        self._unsent = b""
        """Encrypted bytes taken out of `_out` that the kernel has not taken yet."""
        self._tls = context.wrap_bio(self._in, self._out, server_side=server_side, server_hostname=server_hostname)
        self._early = b""
        """Decrypted bytes that a look had to take out."""
        self._ended = False
        self._broken_off = False
        self._fault: OSError | None = None
        """The fault that a look met; for the next read to raise."""

    @property
    def tls(self) -> ssl.SSLObject:
        """The session: `version()`, `cipher()`, `getpeercert()`, `selected_alpn_protocol()`."""
        return self._tls

    def handshake(self) -> None:
        """Do the TLS handshake; a peer that ends in its midst is an `ssl.SSLError`."""
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

    def _start_reading(self) -> None:
        if self.being_read:
            raise RuntimeError("another reader is under way on this TLS stream")
        self.being_read = True

    def _receive(self, size: int) -> bytes:
        self.lower.read_timeout = self.read_timeout
        return self.lower.recv(size)

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
        except ssl.SSLError:
            # The alert tells the peer why.
            self._flush_nowait()
            raise

    def _read_early(self, size: int) -> bytes:
        """The bytes that a look took out, or the fault that it met."""
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
                self._feed(self._receive(2 * _TLS_RECORD))
            return found
        finally:
            self.being_read = False

    def recv_into(self, buffer: Buffer) -> int:
        view = memoryview(buffer).cast("B")
        data = self.recv(len(view))
        view[: len(data)] = data
        return len(data)

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
        """Decrypted bytes of what has come, b"" at the end, None when there are none. It never waits."""
        while (found := self._read(size)) is None:
            data = self.lower.recv_nowait(2 * _TLS_RECORD)
            if data is None:
                return None
            self._feed(data)
        return found

    def _look(self) -> bool:
        """Whether the reader under way has something to read; what had to be decrypted to know stays in `_early` or `_fault`."""
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

    def breathe(self) -> None:
        self.lower.breathe()

    def _flush(self) -> None:
        """Send every record of the session; where a writer is under way, it does so."""
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
        """Send as much as the kernel takes now; the next `_flush` sends the rest."""
        if self.being_written or not (self._unsent or self._out.pending) or self.lower.fileno() < 0:
            return
        data = self._unsent + self._out.read()
        try:
            sent = self.lower.send_nowait(data)
            self._unsent = data[sent:]
        except OSError:
            # The connection takes nothing any more: the next read or write of data tells.
            self._unsent = b""

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

    def wait_writable(self) -> None:
        self.lower.write_timeout = self.write_timeout
        self.lower.wait_writable()

    # --- ends ---

    def fileno(self) -> int:
        return self.lower.fileno()

    def getsockname(self) -> Any:
        return self.lower.getsockname()

    def shutdown(self, how: int) -> None:
        if how != socket.SHUT_RD:
            self._say_goodbye()
        self.lower.shutdown(how)

    def _say_goodbye(self) -> None:
        """Write a close_notify, as far as it can be sent now, and leave what the peer sends to the reader."""
        if self.lower.fileno() < 0 or self.being_written or self._broken_off:
            return
        # `unwrap` reads too, and would drop what it finds: it is to find nothing.
        incoming = self._in.read()
        try:
            while self._tls.pending():
                self._early += self._tls.read(_TLS_RECORD)
            self._tls.unwrap()
        except ssl.SSLError:
            # "Want read" is the usual one: our close_notify is written, the peer's is not waited for.
            pass
        if incoming:
            self._in.write(incoming)
        self._flush_nowait()

    def break_off(self) -> None:
        # A close_notify would say that the data is complete.
        self._broken_off = True
        self.lower.break_off()

    def close(self) -> None:
        self._say_goodbye()
        self.lower.close()

    def detach(self) -> int:
        return self.lower.detach()
