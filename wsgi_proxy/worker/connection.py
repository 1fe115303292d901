"""A client connection of ProxyWorker with HTTP/1: heads, requests, and the end of the connection.

Rules:
- Between requests a connection is a few hundred bytes and a watcher. A callback of the loop reads, and only a complete head gets
  a greenlet.
- `deadline` (monotonic seconds) limits the current wait. `expire` is called when it has passed.
- A connection that is not kept is ended gracefully: the sending half is closed, and the client's bytes are read for a while.
  Closing with unread bytes would reset the connection and could destroy the response on its way (RFC 9112, section 9.6). Only a
  client that asked for the end and has sent everything is closed at once, because no further request can be on its way.
"""

from __future__ import annotations

import socket
from math import inf
from typing import TYPE_CHECKING, Any, Final

from ..clocks import monotonic, wall_time
from ..errors import ClientError, ClientGone
from .counts import READING, WAITING, WRITING
from .http2 import PREFACE
from .link import BUSY, CLOSED, DISCARD, HEAD, IDLE, LINGER, OPENING
from .opening import READ_SIZE, Opening
from .request import NO_BODY, Request, RequestBody, make_environ, take_request
from .response import ResponseWriter
from .service import QUIET
from .socket import StreamSocket

if TYPE_CHECKING:
    from .response import HeadWriter

_MAX_DISCARD: Final = 64 * 1024
"""Unread bytes of a body that are read and dropped so that the connection can be kept."""


class Connection(Opening):
    """A client connection that carries HTTP/1 requests, one after the other."""

    __slots__ = ()

    # --- reading heads, in the hub ---

    def _on_readable(self) -> None:
        """Read; called in the hub when the socket is readable and no greenlet waits for it."""
        state = self.state
        if state == BUSY:
            self._side.stop()
            if self.stream.peer_closed():
                self._ended_half()
            return
        try:
            data = self.stream.recv_nowait(READ_SIZE)
        except OSError as error:
            self.service.log.debug("%s: %s", self, error)
            self.close()
            return
        if data is None:
            return
        if state == LINGER:
            self._lingering(data)
        elif not data:
            if state == HEAD:
                self.service.log.info("%s: client closed the connection while sending its request's head", self)
            self.close()
        elif state == DISCARD:
            self._discard(data)
        else:
            self.buffer = self.buffer + data if self.buffer else data
            if self.settings.http2 and not self.requests and PREFACE.startswith(self.buffer[: len(PREFACE)]):
                if len(self.buffer) >= len(PREFACE):
                    self._begin_http2()
                    return
            elif self._next_head():
                self.service.crew.run(self._serve)
                return
        if self.tls is not None:
            # One read takes one record, and the socket does not become readable for the records behind it.
            self._look_again()

    def _next_head(self) -> bool:
        """Take the next request from the buffer; return True if there is a request or a refusal to answer."""
        try:
            request, self.buffer = take_request(self.buffer, self.settings)
        except ClientError as error:
            request = None
            self.refused = error
        else:
            if request is None:
                if self.buffer and self.state == IDLE:
                    # A head has begun, and with it its timeout.
                    self.state = HEAD
                    self.count_as(READING)
                    self.deadline = monotonic() + (self.settings.client_header_timeout or inf)
                return False
        self.head = request
        self.state = BUSY
        self.count_as(WRITING)
        self.deadline = inf
        if request is not None and (request.underscored or self.trusted):
            self.judge(request)
        return True

    def _refuse(self) -> None:
        """Send the page for the status of a refused head and end the connection; runs in a greenlet."""
        error, self.refused = self.refused, None
        assert error is not None
        self.head = head = Request.of_refused(self.buffer, self.listener.settings)
        self.buffer = b""
        try:
            self.service.refuse(self, ResponseWriter(self, head, False), make_environ(self, head), error)
        except ClientGone:
            self.close()
        finally:
            self.head = self.trailers = None
        if self.state != CLOSED:
            self._linger()

    # --- one request, in a greenlet ---

    def may_keep(self) -> bool:
        """Return True if another request may follow the response whose head is being written."""
        settings = self.settings
        if self.ends:
            return False
        if self.requests >= settings.keepalive_requests or settings.keepalive_timeout <= 0:
            return False
        if wall_time() - self.started > settings.keepalive_time:
            return False
        body = self.body
        if not body.ended and (body.expecting or body.left is None or body.left > _MAX_DISCARD):
            return False
        return not self.service.draining

    def _serve(self) -> None:
        """Serve requests until the connection waits for its client again."""
        try:
            while self._one_request():
                # Pipelined: the next head has begun and may be complete.
                if not self._next_head():
                    self._await_more()
                    return
        except BaseException:
            # A bug, a failing hook, or a kill: the connection would otherwise be left open and unattended.
            self.close()
            raise

    def _one_request(self) -> bool:
        """Serve the request in `head`; return False if the connection is not ready for another."""
        head = self.head
        if head is None:
            self._refuse()
            return False
        service = self.service
        if self.settings is not self.listener.settings:
            self._use(self.listener.settings)
        self.requests += 1
        self.ends = False
        self.bytes_out = self.head_out = 0
        response = ResponseWriter(self, head, head.keep_alive)
        if head.chunked or head.content_length:
            self.body = RequestBody(self, head)
        # The proxy itself needs no environ. With rules about trusted peers, the fields are not all of the request.
        needs_environ = not service.lean or self.listener.settings.rules is not None
        environ = self.environ_of(response) if needs_environ else None
        return self._after(response, service.respond(self, response, environ))

    def environ_of(self, response: HeadWriter) -> dict[str, Any]:
        """Return the environ of the present request."""
        environ = make_environ(self, response.head)
        environ["wsgi.input"] = self.body
        environ["wsgi.early_hints"] = response.early_hints
        if self.plain_on_tls:
            environ["wsgi.url_scheme"] = "http"
        if self._socket is None:
            self._socket = StreamSocket(self)
        environ["gunicorn.socket"] = self._socket
        return environ

    def _after(self, response: ResponseWriter, whole: bool) -> bool:
        """Keep, drain or close the connection; return True if the next request's head may be in the buffer."""
        self.head = None
        self.forwarded = None
        self.trailers = None
        self._alarms = None
        body, self.body = self.body, NO_BODY
        if self.state == CLOSED:
            return False
        if self.taken or self.gone:
            self.close()
            return False
        if not whole and not response.failed:
            self.close()
            return False
        if not response.keep:
            if body.ended and not self.buffer and not self._side.ready and not response.head.keep_alive:
                self.close()
            else:
                self._linger()
            return False
        if not body.ended:
            self.body = body
            self._wait(DISCARD, self.settings.lingering_timeout)
            return False
        self.pipelined = bool(self.buffer)
        if self.buffer:
            self.state = IDLE
            return True
        self._wait(IDLE, self._idle_time())
        return False

    def _await_more(self) -> None:
        """Wait for the next head, of which a part may have arrived behind the previous request."""
        if self.state == IDLE:
            self.count_as(WAITING)
            self.deadline = monotonic() + self._idle_time()
        if not self._side.started:
            self._side.start()
        self._look_again()

    def _idle_time(self) -> float:
        return QUIET if self.service.draining else self.settings.keepalive_timeout

    def _wait(self, state: int, seconds: float) -> None:
        """Enter a state in which the loop waits for the client, for `seconds` at most."""
        self.state = state
        if state == IDLE:
            self.count_as(WAITING)
        self.deadline = monotonic() + seconds
        side = self._side
        if not side.started:
            side.start()
        if self.tls is not None:
            self._look_again()

    def _discard(self, data: bytes) -> None:
        """Drop the unread rest of a request's body; called in the hub."""
        assert isinstance(self.body, RequestBody)
        try:
            ended = self.body.discard(data)
        except ClientError:
            self.close()
            return
        if ended:
            self.body = NO_BODY
            self.state = IDLE
            self.count_as(WAITING)
            self.deadline = monotonic() + self._idle_time()
            if self.buffer and self._next_head():
                self.service.crew.run(self._serve)

    # --- ends ---

    def expire(self) -> None:
        """Handle a deadline that has passed."""
        if self.state == HEAD:
            self.refused = ClientError("client timed out while sending its request's head", status=408)
            self.state = BUSY
            self.deadline = inf
            self.service.crew.run(self._refuse)
        elif self.state == IDLE and self.stream.readable():
            # The request arrived at this moment and must not be lost.
            self.deadline += QUIET
            self._on_readable()
        elif self.state == OPENING:
            self._give_up(TimeoutError("client timed out during the TLS handshake"))
        elif self.state != BUSY:
            self.close()

    def _linger(self) -> None:
        """Close the sending half and read the client's remaining bytes, so that the client can read the response."""
        self.stream.shutdown(socket.SHUT_WR)
        settings = self.settings
        self._lingers_until = monotonic() + settings.lingering_time
        self._side.idle = self._on_readable
        # A worker that shuts down does not wait long for a client that neither sends nor closes.
        self._wait(LINGER, min(settings.lingering_timeout, QUIET) if self.service.draining else settings.lingering_timeout)
        self._on_readable()

    def _lingering(self, data: bytes) -> None:
        now = monotonic()
        if not data or now > self._lingers_until:
            self.close()
        else:
            self.deadline = now + self.settings.lingering_timeout
