"""Sending a request with a body to an upstream, while a response may arrive early.

Rules:
- A body of known length is sent as it is, any other is chunked; FastCGI sends either in records. If reading the client's body
  fails, the request to the upstream stays incomplete (RFC 9112, section 8). That failure is a ClientError, so every OSError is
  the upstream's.
- While the upstream does not read, an early response is waited for, too.
- An early response does not stop the request: `go_on` sends the rest in a separate greenlet or thread until `stop`.
- The end of a chunked body, or of one in records, is sent with the last block, if the client's end arrived with it. Records end
  only after the client's body has.
- A small body is sent with the head in one call, as are the bytes of a streamed body that have already arrived. A body in a file
  is sent by sendfile. At most one block is in memory.
"""

from __future__ import annotations

import _thread
import os
import select
import socket
from typing import TYPE_CHECKING, Final

from ..errors import ClientError, ClientGone, ProxyError
from ..http import LAST_CHUNK, encode_end, parse_trailers
from ..net import Stream, milliseconds

if TYPE_CHECKING:
    from ..gateway import Gateway
    from .reply import Source
    from .wire import Wire

BLOCK: Final = 64 * 1024
SMALL: Final = 128 * 1024
_FILE_BLOCK: Final = 1024 * 1024


class Sending:
    """A request that is being sent. `begun` is True once a byte may have reached the upstream."""

    __slots__ = (
        "_bell",
        "_block",
        "_chunked",
        "_direct",
        "_file",
        "_framed",
        "_gateway",
        "_left",
        "_offset",
        "_over",
        "_pending",
        "_source",
        "_stopped",
        "_stream",
        "begun",
        "done",
        "sent",
    )

    def __init__(self, stream: Stream, head: bytes, source: Source, gateway: Gateway | None = None) -> None:
        self._gateway = gateway
        self._framed = gateway is not None and gateway.streams
        """True until the end of a body in records is pending."""
        self._stream = stream
        self._source = source
        self.begun = self.done = self._direct = False
        self.sent = 0
        """Bytes sent so far."""
        self._block = b""
        """The last block that was read."""
        self._stopped = False
        self._bell: tuple[int, int] | None = None
        """A pipe that wakes and ends the concurrent sending; None before `go_on`."""
        self._over: _thread.LockType | None = None
        self._chunked = source.length is None
        self._left = source.length or 0
        self._file: int | None = None
        self._offset = 0
        data = source.data
        if data is not None:
            if gateway is not None:
                data = gateway.body(data) + gateway.end()
            self._pending = memoryview(head + data if data else head)
            self._left = 0
            self._chunked = self._framed = False
        else:
            self._pending = memoryview(head)
            if not self._chunked and not self._framed:
                self._file = _descriptor(source)

    def run(self) -> bool:
        """Send the request. Return False as soon as a response can be read; `run` may then be called again."""
        if not self.begun and self._file is None and (self._chunked or self._left) and self._source.arrived:
            self._send_joined()
        while not self.done:
            if not self._flush():
                return False
            if self._file is not None:
                if not self._send_file(self._file):
                    return False
                self.done = True
            elif not self._source_ready():
                return False
            elif not self._next():
                self.done = True
            elif self._bell is None and self._stream.readable():
                return False
        return True

    def _send_joined(self) -> None:
        """Send the head and the first block of the body, which has arrived, in one call."""
        head = self._pending
        self._next()
        self._pending = memoryview(b"".join((head, self._pending)))
        try:
            self._flush()
        except OSError:
            if not self.begun:
                # Nothing was sent, so another connection may carry the request.
                self._source.give_back(self._block)
            raise

    def _source_ready(self) -> bool:
        """Wait for the next block of the body. Return False if a response arrives first."""
        if not self._chunked and not self._left and not self._framed:
            return True
        # During concurrent sending another reader takes the response, so only the client and `stop` are waited for.
        other = self._stream.fileno() if self._bell is None else self._bell[0]
        while not self._source.wait(other):
            if self._bell is not None or self._stream.readable():
                return False
        return True

    def go_on(self, wire: Wire) -> None:
        """Send the rest concurrently with the response.

        The reader and the sender must be able to share the stream: greenlets can, and threads on a plain socket but not with TLS.
        Otherwise nothing more is sent.
        """
        lower = getattr(self._stream, "lower", self._stream)
        if not (hasattr(lower, "reading") or self._stream.plain) or not self._source.interruptible:
            return
        self._bell = os.pipe()
        self._over = _thread.allocate_lock()
        self._over.acquire()
        _thread.start_new_thread(self._run_concurrently, (wire, self._over))

    def _run_concurrently(self, wire: Wire, over: _thread.LockType) -> None:
        try:
            while not self._stopped and not self.run():
                continue
        except ProxyError:
            # The client left or sent an invalid body, so its response cannot be complete either.
            if not self._stopped:
                wire.abandoned = True
                self._stream.shutdown(socket.SHUT_RDWR)
        except OSError:
            # The upstream does not read the rest of the request. Its response is still valid.
            self.done = True
        finally:
            over.release()

    def stop(self) -> None:
        """End the concurrent sending and shut the stream down. The caller then has the stream to itself."""
        over, self._over = self._over, None
        if over is not None:
            self._stopped = True
            assert self._bell is not None
            os.write(self._bell[1], b"!")
            self._stream.shutdown(socket.SHUT_RDWR)
            over.acquire()
            for number in self._bell:
                os.close(number)

    def _next(self) -> bool:
        """Read a block of the body into `_pending`. Return False at the end."""
        if self._chunked:
            block = self._read(BLOCK)
            framed = b""
            if block:
                framed = b"%x\r\n%b\r\n" % (len(block), block) if self._gateway is None else self._gateway.body(block)
            if not block or self._source.exhausted:
                self._chunked = False
                framed += self._end()
            self._pending = memoryview(framed)
            return True
        if not self._left:
            if not self._framed:
                return False
            self._source.check()
            self._pending = memoryview(self._end())
            return True
        block = self._read(min(self._left, BLOCK))
        if not block:
            raise ClientGone("client prematurely closed connection while sending its request body")
        self._left -= len(block)
        data = block if self._gateway is None else self._gateway.body(block)
        if not self._left and self._framed and self._source.exhausted:
            data += self._end()
        self._pending = memoryview(data)
        return True

    def _end(self) -> bytes:
        """Return the bytes that end a chunked body or one in records."""
        if self._gateway is not None:
            self._framed = False
            return self._gateway.end()
        trailers = getattr(self._source, "trailers", None)
        return _last_chunk(trailers) if trailers else LAST_CHUNK

    def _read(self, size: int) -> bytes:
        try:
            self._block = self._source.read(size)
            return self._block
        except OSError as error:
            raise ClientGone(f"reading the request body failed: {error}") from error

    def _flush(self) -> bool:
        """Send the pending bytes. Return False if a response arrives first."""
        stream = self._stream
        if not stream.plain or len(self._pending) <= SMALL and not self.begun:
            pending, self._pending = self._pending, memoryview(b"")
            if pending:
                self.begun = self.begun or len(pending) > SMALL
                stream.sendall(pending)
                self.sent += len(pending)
            self.begun = True
            return True
        if not self._direct:
            # A stream blocks until its timeout is in force.
            os.set_blocking(stream.fileno(), False)
            self._direct = True
        while self._pending:
            try:
                sent = os.write(stream.fileno(), self._pending)
            except BlockingIOError:
                if self._response_waits():
                    return False
                continue
            self.begun = True
            self.sent += sent
            self._pending = self._pending[sent:]
        return True

    def _send_file(self, number: int) -> bool:
        """Send the rest of the file. Return False if a response arrives first."""
        stream = self._stream
        while self._left:
            count = min(self._left, _FILE_BLOCK)
            if not stream.plain:
                sent = min(count, BLOCK)
                stream.sendfile(number, self._offset, sent)
            else:
                try:
                    sent = os.sendfile(stream.fileno(), number, self._offset, count)
                except BlockingIOError:
                    if self._response_waits():
                        return False
                    continue
                if not sent:
                    raise ClientGone("the file of the request's body ended early")
            self._offset += sent
            self.sent += sent
            self._left -= sent
            if self._left and self._bell is None and stream.readable():
                return False
        return True

    def _response_waits(self) -> bool:
        """Wait for the upstream. Return True if it has responded, False if the socket is writable; raise TimeoutError."""
        if self._bell is not None:
            self._stream.wait_writable()
            return False
        poll = select.poll()
        poll.register(self._stream.fileno(), select.POLLIN | select.POLLOUT)
        timeout = self._stream.write_timeout
        events = poll.poll(milliseconds(timeout))
        if not events:
            raise TimeoutError("timed out")
        return bool(events[0][1] & select.POLLIN)


def _descriptor(source: Source) -> int | None:
    try:
        return source.fileno()
    except OSError:
        return None


def _last_chunk(trailers: list[tuple[str, str]]) -> bytes:
    """Return the last chunk with the client's trailers, without those that are forbidden."""
    lines = "".join(f"{name}: {value}\r\n" for name, value in trailers).encode("latin-1")
    return encode_end(parse_trailers(lines, ClientError))
