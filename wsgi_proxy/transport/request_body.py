"""A request on its way to an upstream: head and body, with an eye on an answer that comes before the end.

Rules:
- A body is framed as its head says: by length, or chunked when it has none. What the client's half raises while it is read
  leaves the upstream's half unfinished, never ended (RFC 9112, 8); it is a ClientError, so every OSError is the upstream's.
- Never blocked in one direction: while the upstream takes nothing, an answer of its own is waited for too.
- An answer that came early does not stop the request: `go_on` sends the rest in a greenlet or thread of its own, until `stop`.
- Small bodies go out with the head in one call; a body in a file goes by sendfile; the memory held is one block.
"""

from __future__ import annotations

import _thread
import os
import select
import socket
from typing import TYPE_CHECKING, Protocol

from ..errors import ClientError, ClientGone, ProxyError
from ..http import LAST_CHUNK, encode_end, parse_trailers
from ..net import Stream, milliseconds

if TYPE_CHECKING:
    from .wire import Wire

BLOCK = 64 * 1024
SMALL = 128 * 1024
_FILE_BLOCK = 1024 * 1024


class Source(Protocol):
    """A body to send (upload.Upload): its length, None when unknown, and its bytes, b"" at the end."""

    length: int | None
    data: bytes | None

    def read(self, size: int = -1) -> bytes: ...

    @property
    def interruptible(self) -> bool: ...

    def wait(self, other: int) -> bool: ...

    def rewind(self) -> bool: ...

    def fileno(self) -> int: ...


class Sending:
    """One request being sent. `begun`: something may have reached the upstream."""

    __slots__ = (
        "_bell",
        "_chunked",
        "_direct",
        "_file",
        "_left",
        "_offset",
        "_over",
        "_pending",
        "_source",
        "_stopped",
        "_stream",
        "begun",
        "done",
    )

    def __init__(self, stream: Stream, head: bytes, source: Source) -> None:
        self._stream = stream
        self._source = source
        self.begun = self.done = self._direct = False
        self._stopped = False
        self._bell: tuple[int, int] | None = None
        """A pipe, rung to end the sending beside an answer; None before there is such."""
        self._over: _thread.LockType | None = None
        self._chunked = source.length is None
        self._left = source.length or 0
        self._file: int | None = None
        self._offset = 0
        data = source.data
        if data is not None:
            self._pending = memoryview(head + data if data else head)
            self._left = 0
        else:
            self._pending = memoryview(head)
            if not self._chunked:
                self._file = _descriptor(source)

    def run(self) -> bool:
        """Send until the end: True; or until something of an answer can be read: False, and `run` may be called again."""
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

    def _source_ready(self) -> bool:
        """Wait for the body's next piece; False when an answer comes before it."""
        if not self._chunked and not self._left:
            return True
        # Beside the answer, what the upstream says is its reader's; only the client and `stop` are waited for.
        other = self._stream.fileno() if self._bell is None else self._bell[0]
        while not self._source.wait(other):
            if self._bell is not None or self._stream.readable():
                return False
        return True

    def go_on(self, wire: Wire) -> None:
        """Send the rest beside the answer, where two may share the stream: greenlets, or threads on a plain socket, which TLS is
        not. Elsewhere nothing more is sent."""
        lower = getattr(self._stream, "lower", self._stream)
        if not (hasattr(lower, "reading") or self._stream.plain) or not self._source.interruptible:
            return
        self._bell = os.pipe()
        self._over = _thread.allocate_lock()
        self._over.acquire()
        _thread.start_new_thread(self._run_aside, (wire, self._over))

    def _run_aside(self, wire: Wire, over: _thread.LockType) -> None:
        try:
            while not self._stopped and not self.run():
                continue
        except ProxyError:
            # The client left, or broke its framing: then the answer to it is not whole either.
            if not self._stopped:
                wire.abandoned = True
                self._stream.shutdown(socket.SHUT_RDWR)
        except OSError:
            # The upstream takes no more of the request; what it answers still counts.
            self.done = True
        finally:
            over.release()

    def stop(self) -> None:
        """Send no more; the stream is shut down, and is the caller's alone afterwards."""
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
        """Read a block of the body into `_pending`; False when there is none."""
        if self._chunked:
            block = self._read(BLOCK)
            if block:
                self._pending = memoryview(b"%x\r\n%b\r\n" % (len(block), block))
                return True
            self._chunked = False
            trailers = getattr(self._source, "trailers", None)
            self._pending = memoryview(_end(trailers) if trailers else LAST_CHUNK)
            return True
        if not self._left:
            return False
        block = self._read(min(self._left, BLOCK))
        if not block:
            raise ClientGone("client prematurely closed connection while sending its request body")
        self._left -= len(block)
        self._pending = memoryview(block)
        return True

    def _read(self, size: int) -> bytes:
        try:
            return self._source.read(size)
        except OSError as error:
            raise ClientGone(f"reading the request body failed: {error}") from error

    def _flush(self) -> bool:
        """Send what is pending; False when an answer waits instead."""
        stream = self._stream
        if not stream.plain or len(self._pending) <= SMALL and not self.begun:
            pending, self._pending = self._pending, memoryview(b"")
            if pending:
                self.begun = self.begun or len(pending) > SMALL
                stream.sendall(pending)
            self.begun = True
            return True
        if not self._direct:
            # A stream whose timeout was not in force yet still blocks.
            os.set_blocking(stream.fileno(), False)
            self._direct = True
        while self._pending:
            try:
                sent = os.write(stream.fileno(), self._pending)
            except BlockingIOError:
                if self._responseed():
                    return False
                continue
            self.begun = True
            self._pending = self._pending[sent:]
        return True

    def _send_file(self, number: int) -> bool:
        """Send the file's rest; False when an answer waits instead."""
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
                    if self._responseed():
                        return False
                    continue
                if not sent:
                    raise ClientGone("the request's body in its file ended early")
            self._offset += sent
            self._left -= sent
            if self._left and self._bell is None and stream.readable():
                return False
        return True

    def _responseed(self) -> bool:
        """Wait until the upstream takes more (False), or says something (True). TimeoutError after the write timeout."""
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


def _end(trailers: list[tuple[str, str]]) -> bytes:
    """The last chunk with the client's trailers, those left out that must not be there."""
    lines = "".join(f"{name}: {value}\r\n" for name, value in trailers).encode("latin-1")
    return encode_end(parse_trailers(lines, ClientError))
