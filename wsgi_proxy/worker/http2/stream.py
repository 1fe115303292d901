"""One request's stream. It carries the request and its response, as `Connection` does for HTTP/1.1.

Rules:
- The application runs in a greenlet of the worker's crew, and the stream lasts until that greenlet ends. A client that resets
  streams therefore occupies no more greenlets than its connection allows (CVE-2023-44487).
- A wait for the client's windows, or for a shorter queue of its connection, lasts `send_timeout` at most.
- An ended stream is in no reference cycle.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Final

from ...clocks import monotonic
from ...errors import ClientGone, ProxyError
from ..counts import NOWHERE
from ..link import BUSY, CLOSED, Link
from ..request import NO_BODY, make_environ
from ..service import QUIET
from .body import StreamBody
from .frames import (
    CANCEL,
    DATA,
    END_STREAM,
    INTERNAL_ERROR,
    NO_ERROR,
    PROTOCOL_ERROR,
    frame_header,
    header_frames,
)
from .gate import LATE, Gate
from .hpack import encode_status
from .response import StreamResponse

if TYPE_CHECKING:
    from ...net import Stream
    from ..request import Request
    from ..settings import ListenerSettings
    from .requests import StreamFrames

_FRAME_HEAD: Final = 9
_FILE_BLOCK: Final = 64 * 1024


class RequestStream(Link):
    """A stream, from its request's head to its end.

    `window` are the bytes that the client accepts, `receivable` those that it may send.
    """

    __slots__ = ("_asked", "_gate", "_unsaid", "connection", "held", "id", "malformed", "receivable", "window")

    def __init__(self, connection: StreamFrames, number: int, head: Request, ended: bool) -> None:
        self.adopt(connection)
        self._counted = NOWHERE
        self.connection = connection
        self.id = number
        self.window = connection.initial_window
        self.receivable = connection.first_window
        self.malformed = False
        """True if the request is malformed (RFC 9113, section 8.1.1): the stream is reset behind its response."""
        self._asked = False
        self.held = 0
        """Received bytes that were not read."""
        self._unsaid = 0
        """Bytes that were read and not yet returned to the client's window."""
        self._gate: Gate | None = None
        self.state = BUSY
        self.head = head
        if not ended:
            self.body = StreamBody(self, head.content_length, head.expect_continue)

    # --- for the application ---

    @property
    def can_take_over(self) -> bool:
        return False

    def take_over(self) -> tuple[Stream, bytes]:
        raise ProxyError("a stream of HTTP/2 cannot be taken over", status=501)

    def client_gone(self) -> bool:
        return self.gone

    def watch(self) -> None:
        """Do nothing: the connection's reader notices that a client leaves."""

    def _use(self, settings: ListenerSettings) -> None:
        self.settings = settings

    # --- running the request, in a greenlet ---

    def serve(self) -> None:
        """Run the application for this stream's request."""
        head = self.head
        assert head is not None
        response = StreamResponse(self, head)
        try:
            if self.malformed and self.refused is None and isinstance(self.body, StreamBody):
                self.refused = self.body.fault
            if self.refused is not None:
                self._refuse(response)
            elif not self.gone:
                environ = make_environ(self, head)
                environ["SERVER_PROTOCOL"] = "HTTP/2.0"
                environ["wsgi.input"] = self.body
                self.service.respond(self, response, environ)
        finally:
            self._end(response)

    def _refuse(self, response: StreamResponse) -> None:
        """Answer a request that does not reach the application."""
        error = self.refused
        assert error is not None
        environ = make_environ(self, response.head)
        environ["SERVER_PROTOCOL"] = "HTTP/2.0"
        try:
            self.service.refuse(self, response, environ, error)
        except ClientGone as gone:
            self.service.log.info("%s: %s", self, gone)

    def _end(self, response: StreamResponse) -> None:
        body = self.body
        if self.state != CLOSED:
            if self.malformed:
                self.connection.reset(self, PROTOCOL_ERROR)
            elif not response.ended:
                self.connection.reset(self, INTERNAL_ERROR)
            elif not body.ended and not self._rest_arrives() and self.state != CLOSED:
                # RFC 9113, section 8.1: the rest of the request is not needed.
                self.connection.reset(self, NO_ERROR)
        self.connection.forget_stream(self, response.ended)
        self.state = CLOSED
        self.body = NO_BODY
        self.head = None
        self.trailers = None
        self._alarms = None
        self._gate = None

    def _rest_arrives(self) -> bool:
        """Wait for the end of a request whose response is complete; return False if it must be reset.

        Some clients (curl 7.88) drop a response that they have not processed when the reset arrives. Most requests are already on
        their way, so the window that the client has is enough for them.
        """
        body = self.body
        settings = self.settings
        wait = min(settings.lingering_timeout, QUIET) if self.service.draining else settings.lingering_timeout
        return isinstance(body, StreamBody) and body.discard_rest(wait)

    # --- the client's side, in the hub ---

    def consumed(self, count: int) -> None:
        """Note that the application has read `count` bytes of the body, and let the client send as many again."""
        self._unsaid += count
        self.held -= count
        connection = self.connection
        connection.consumed(count)
        if self._unsaid * 2 >= connection.receive_window and self.state != CLOSED and not self.body.ended:
            connection.update_window(self.id, self._unsaid)
            self.receivable += self._unsaid
            self._unsaid = 0

    def ask(self) -> None:
        """Widen the window, because the application waits for the body."""
        if not self._asked and self.state != CLOSED:
            self._asked = True
            connection = self.connection
            more = connection.receive_window - connection.listener.settings.http2_window
            if more > 0:
                connection.update_window(self.id, more)
                self.receivable += more

    def leave(self, fault: ProxyError) -> None:
        """Wake everything that waits for the client, because the stream was reset or the connection is lost."""
        if self.state == CLOSED:
            return
        self.state = CLOSED
        body = self.body
        if isinstance(body, StreamBody):
            body.fail(fault)
        self.opened()
        self._ring()

    def opened(self) -> None:
        """Wake the sender, because a window was widened or the queue is shorter."""
        if self._gate is not None:
            self._gate.open()

    # --- sending, in the stream's greenlet ---

    def go_ahead(self) -> None:
        """Send 100 (Continue)."""
        self.send_fields(encode_status("100"), False)

    def send(self, data: bytes | bytearray | memoryview) -> None:
        if self.state == CLOSED:
            raise ClientGone("client closed the stream while the response was sent")
        self.connection.write(bytes(data))
        self.bytes_out += len(data)

    def send_fields(self, block: bytes, ended: bool) -> None:
        """Send a field block: an interim response or trailers."""
        connection = self.connection
        frames = header_frames(self.id, connection.table_update() + block, ended, connection.frame_size)
        self.head_out += len(frames)
        self.send(frames)

    def send_data(self, head: bytes, data: Any, last: bool) -> None:
        """Send a block as DATA behind `head`, which is a head's frames or empty. Raises ClientGone."""
        connection = self.connection
        size = len(data)
        start = 0
        while True:
            if start < size:
                if head and (self.window <= 0 or connection.window <= 0 or connection.congested()):
                    self.send(head)
                    head = b""
                count = min(self._room(), size - start, connection.frame_size, self.settings.http2_chunk)
            else:
                count = 0
                if self.state == CLOSED:
                    raise ClientGone("client closed the stream while the response was sent")
            end = start + count
            flags = END_STREAM if last and end == size else 0
            block = data if count == size else data[start:end]
            framing = head + frame_header(count, DATA, flags, self.id)
            connection.write_data(self, framing, block, count)
            self.bytes_out += len(framing) + count
            self.head_out += _FRAME_HEAD
            head = b""
            start = end
            if start >= size:
                return

    def _room(self) -> int:
        """Return the number of bytes that the client accepts now; wait until there are any. Raises ClientGone."""
        connection = self.connection
        until = 0.0
        limit = self.settings.send_timeout
        while True:
            if self.state == CLOSED:
                raise ClientGone("client closed the stream while the response was sent")
            room = min(self.window, connection.window)
            if room > 0 and not connection.congested():
                return room
            now = monotonic()
            if not until:
                until = now + limit
            if self._gate is None:
                self._gate = Gate(self.service.hub)
            connection.blocked.append(self)
            if self._gate.wait(max(0.0, until - now) if limit else None) == LATE:
                connection.reset(self, CANCEL)
                raise ClientGone("client timed out while the response was sent")

    def send_all(self, buffers: Any) -> None:
        for buffer in buffers:
            self.send_data(b"", buffer, False)

    def send_file(self, file: int, offset: int, count: int) -> None:
        while count:
            block = os.pread(file, min(count, _FILE_BLOCK), offset)
            if not block:
                raise EOFError(f"the file ended {count} bytes early")
            self.send_data(b"", block, False)
            offset += len(block)
            count -= len(block)

    def close(self) -> None:
        """Reset the stream and keep its connection."""
        if self.state != CLOSED:
            self.connection.reset(self, PROTOCOL_ERROR if self.malformed else INTERNAL_ERROR)
