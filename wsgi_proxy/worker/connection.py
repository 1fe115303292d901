"""One client connection of ProxyWorker: reading heads, running the application, and what comes after.

Rules:
- Between requests a connection is a few hundred bytes and a watcher: the loop's callback reads, and only a complete head gets a
  greenlet.
- `deadline` (monotonic seconds) is when the wait it is in has lasted too long; `expire` is then called.
- After an answer that does not keep the connection, our half is ended first and the client's rest is read for a while: closing on
  unread bytes would reset the connection and could destroy the answer on its way (RFC 9112, 9.6). Only a client that ends the
  connection itself, and has sent all, needs no such care: one that would have kept it may have its next request on the way.
"""

from __future__ import annotations

import socket
import time
from math import inf
from typing import TYPE_CHECKING

from ..errors import ClientError, ClientGone, ProxyError
from ..http import field_values, page, shown_status, status_line
from .environ import make_environ
from .link import BUSY, CLOSED, DISCARD, HEAD, IDLE, LINGER, Link
from .proxy_protocol import read_proxy_header
from .request_body import NO_BODY, RequestBody
from .request_head import take_request
from .response import SERVER, ResponseWriter, ShortBody, clock, http_date
from .service import QUIET
from .socket import StreamSocket

if TYPE_CHECKING:
    from .request_head import Request

_READ = 16 * 1024
_MAX_DISCARD = 64 * 1024
"""So many unread bytes of a body are read and dropped for the sake of keeping the connection."""


class Connection(Link):
    """One client's connection."""

    __slots__ = ()

    # --- reading heads, in the hub ---

    def open(self) -> None:
        """Begin: with what comes before HTTP, where the listener has such a thing."""
        self.service.connections.add(self)
        settings = self.settings
        self.stream.read_timeout = settings.client_header_timeout or None
        self.stream.write_timeout = settings.send_timeout or None
        if settings.tls is not None or settings.proxy_protocol:
            self.service.crew.run(self._open_slowly)
        else:
            self._opened()
            # Most clients send at once: to look before waiting saves a round of the loop.
            self._on_readable()

    def _opened(self) -> None:
        self.state = IDLE
        self.stream.read_timeout = self.settings.client_body_timeout or None
        self.deadline = time.monotonic() + (self.settings.client_header_timeout or inf)
        self._side.idle = self._on_readable
        self._side.start()

    def _open_slowly(self) -> None:
        """PROXY protocol and TLS handshake, in a greenlet."""
        settings = self.settings
        try:
            if settings.proxy_protocol:
                self.proxy_protocol = read_proxy_header(self.stream)
                if settings.rules is not None:
                    settings.rules.check_proxy_protocol(self.peer)
                if settings.trust_proxy_protocol and self.proxy_protocol is not None:
                    self.remote_addr, self.remote_port = self.proxy_protocol[0], str(self.proxy_protocol[1])
            if settings.tls is not None and settings.response_plain:
                self.plain_on_tls = not self._begins_tls()
            if settings.tls is not None and not self.plain_on_tls:
                stream = self.stream.start_tls(settings.tls(), server_side=True)
                self.stream, self.tls = stream, stream.tls
        except (OSError, ClientError) as error:
            self.service.log.info("%s: %s", self, error)
            self.close()
            return
        if self.tls is not None and self.tls.selected_alpn_protocol() == "h2" and self.service.handle_http2 is not None:
            self.state = BUSY
            try:
                self.service.handle_http2(self)
            finally:
                self.close()
            return
        self._opened()
        self._look_again()

    def _begins_tls(self) -> bool:
        """Whether the first byte, which is only looked at, begins a handshake."""
        self.stream.wait_readable()
        with socket.socket(fileno=socket.dup(self.stream.fileno())) as sock:
            first = sock.recv(1, socket.MSG_PEEK)
        # SSLv2's hello has its highest bit set; OpenSSL says to it what is to be said.
        return not first or first[0] == 0x16 or first[0] & 0x80 != 0

    def _look_again(self) -> None:
        """What TLS has already decrypted makes the socket readable no more: have a look from the loop."""
        if self.tls is not None and self.stream.readable():
            self.service.hub.loop.run_callback(self._look)

    def _look(self) -> None:
        if self.state in (IDLE, HEAD, DISCARD, LINGER):
            self._on_readable()

    def _on_readable(self) -> None:
        """Called in the hub whenever something can be read and no greenlet waits for it."""
        state = self.state
        if state == BUSY:
            self._side.stop()
            if self.stream.peer_closed():
                self._ended_half()
            return
        try:
            data = self.stream.recv_nowait(_READ)
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
                self.service.log.info("%s: client closed the connection in the midst of a request's head", self)
            self.close()
        elif state == DISCARD:
            self._discard(data)
        else:
            self.buffer = self.buffer + data if self.buffer else data
            if self._next_head():
                self.service.crew.run(self._serve)

    def _next_head(self) -> bool:
        """Take the next request from the buffer: True when there is something to answer, be it by a refusal."""
        try:
            request, self.buffer = take_request(self.buffer, self.settings)
        except ClientError as error:
            request = None
            self.refused = error
        else:
            if request is None:
                if self.buffer and self.state == IDLE:
                    # A head has begun: from now on it has so much time.
                    self.state = HEAD
                    self.deadline = time.monotonic() + (self.settings.client_header_timeout or inf)
                return False
        self.head = request
        self.state = BUSY
        self.deadline = inf
        if request is not None and (request.underscored or (self.trusted and self._names_scheme(request))):
            self._judge(request)
        return True

    def _names_scheme(self, request: Request) -> bool:
        """Return True if the request has a field of `secure_scheme_headers`."""
        keys = request.keys
        for key in self.listener.settings.scheme_keys:
            if key in keys:
                return True
        return False

    def _judge(self, request: Request) -> None:
        """Apply gunicorn's settings about trusted proxies and underscores, where they govern the listener."""
        rules = self.listener.settings.rules
        if rules is None:
            return
        try:
            path = request.uri.partition("?")[0]
            self.forwarded = rules.environ(request.pairs, path, request.underscored, self.trusted)
        except ClientError as error:
            self.refused = error
            self.head = None

    def _refuse(self) -> None:
        """Answer what never reaches the application, and end; in a greenlet."""
        error, self.refused = self.refused, None
        assert error is not None
        self.service.log.info("%s: %s", self, error)
        body = page(error.status)
        head = (
            f"HTTP/1.1 {status_line(shown_status(error.status))}\r\nServer: {SERVER}\r\nDate: {http_date()}\r\n"
            f"Content-Type: text/html\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        )
        self.buffer = b""
        try:
            self.send(head.encode("latin-1") + body)
        except ClientGone:
            self.close()
        else:
            self._linger()

    # --- one request, in a greenlet ---

    def may_keep(self) -> bool:
        """Whether another request may follow the answer whose head is being written now."""
        settings = self.settings
        if self.requests >= settings.keepalive_requests or settings.keepalive_timeout <= 0:
            return False
        if clock.second - self.started > settings.keepalive_time:
            return False
        body = self.body
        if not body.ended and (body.expecting or body.left is None or body.left > _MAX_DISCARD):
            return False
        return not self.service.draining

    def _serve(self) -> None:
        """Run requests until the connection waits for its client again."""
        try:
            while self._one_request():
                # Pipelined: the next head has begun, and may be here already.
                if not self._next_head():
                    self._await_more()
                    return
        except BaseException:
            # A defect, a hook's fault, or the end from outside: nobody would look after this connection any more.
            self.close()
            raise

    def _one_request(self) -> bool:
        """The request in `head`; False when the connection is not ready for another."""
        head = self.head
        if head is None:
            self._refuse()
            return False
        service = self.service
        if self.settings is not self.listener.settings:
            self._use(self.listener.settings)
        self.requests += 1
        service.requests += 1
        if service.requests == service.max_requests:
            service.end()
        response = ResponseWriter(self, head, head.keep_alive)
        environ = make_environ(self, head)
        if head.chunked or head.content_length:
            self.body = RequestBody(self, head)
        environ["wsgi.input"] = self.body
        if not service.direct:
            environ["wsgi_proxy.keys"] = head.keys if self.forwarded is None else field_values(environ)
        if self.plain_on_tls:
            environ["wsgi.url_scheme"] = "http"
        if self._socket is None:
            self._socket = StreamSocket(self)
        environ["gunicorn.socket"] = self._socket
        environ["wsgi.early_hints"] = response.early_hints
        hooks = service.hooks
        token = None
        whole = False
        try:
            if hooks.active:
                token = hooks.before(self, environ)
            result = service.app(environ, response.start_response)
            try:
                if self.taken:
                    for _ in result:
                        pass
                else:
                    response.deliver(result)
                    whole = True
            finally:
                close = getattr(result, "close", None)
                if close is not None:
                    close()
        except ClientGone as error:
            service.log.info("%s: %s", self, error)
        except Exception as error:
            self._failed(response, error)
        if token is not None:
            hooks.after(token, environ, response)
        return self._after(response, whole)

    def _failed(self, response: ResponseWriter, error: Exception) -> None:
        """The application raised: an answer if none has begun, else the cut that shows the client it is not whole."""
        if self.taken and isinstance(error, StopIteration):
            # How an application that served its connection through gunicorn.socket says that it is done.
            return
        what = f"{response.method} {response.head.target}"
        if response.head_sent or self.taken:
            if isinstance(error, ShortBody):
                self.service.log.error("%s: the answer to %s was cut: %s", self, what, error)
            elif not isinstance(error, ProxyError):  # the application has said what it knows
                self.service.log.exception("%s: the answer to %s was cut", self, what)
            if not self.taken and not response.chunked and response.left is None:
                # Framed by the connection's end: only a reset tells that this is not the end.
                self._reset()
            return
        if isinstance(error, ProxyError):
            self.service.log.info("%s: %s: %s", self, what, error)
            status = error.status
        else:
            self.service.log.exception("Error handling request %s", what)
            status = 500
        fresh = ResponseWriter(self, response.head, False)
        body = page(status)
        fresh.start_response(
            status_line(shown_status(status)), [("Content-Type", "text/html"), ("Content-Length", str(len(body)))]
        )
        try:
            fresh.deliver([body])
        except ClientGone:
            self.gone = True
        # For the log and the hooks this is what was answered.
        response.status, response.headers, response.sent = fresh.status, fresh.headers, fresh.sent
        response.failed, response.keep = True, False

    def _after(self, response: ResponseWriter, whole: bool) -> bool:
        """What becomes of the connection; True when the next request's head may be in the buffer."""
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
        if self.buffer:
            self.state = IDLE
            return True
        self._wait(IDLE, self._idle_time())
        return False

    def _await_more(self) -> None:
        """Wait for the rest of a head that came in part behind the request before; or for all of it."""
        if self.state == IDLE:
            self.deadline = time.monotonic() + self._idle_time()
        if not self._side.started:
            self._side.start()
        self._look_again()

    def _idle_time(self) -> float:
        return QUIET if self.service.draining else self.settings.keepalive_timeout

    def _wait(self, state: int, seconds: float) -> None:
        """Leave the greenlet and wait for the client."""
        self.state = state
        self.deadline = time.monotonic() + seconds
        side = self._side
        if not side.started:
            side.start()
        if self.tls is not None:
            self._look_again()

    def _discard(self, data: bytes) -> None:
        """In the hub: the unread rest of a request's body."""
        assert isinstance(self.body, RequestBody)
        try:
            ended = self.body.discard(data)
        except ClientError:
            self.close()
            return
        if ended:
            self.body = NO_BODY
            self.state = IDLE
            self.deadline = time.monotonic() + self._idle_time()
            if self.buffer and self._next_head():
                self.service.crew.run(self._serve)

    # --- ends ---

    def expire(self) -> None:
        """The deadline has passed."""
        if self.state == HEAD:
            self.refused = ClientError("client timed out while sending its request's head", status=408)
            self.state = BUSY
            self.deadline = inf
            self.service.crew.run(self._refuse)
        elif self.state == IDLE and self.stream.readable():
            # It came in this very moment: not to be lost.
            self.deadline += QUIET
            self._on_readable()
        elif self.state != BUSY:
            self.close()

    def _linger(self) -> None:
        """End our half, and read what the client still sends, so that it can read our answer."""
        self.stream.shutdown(socket.SHUT_WR)
        settings = self.settings
        self._lingers_until = time.monotonic() + settings.lingering_time
        self._side.idle = self._on_readable
        # A worker that ends is not held up by a client that neither sends nor closes.
        self._wait(LINGER, min(settings.lingering_timeout, QUIET) if self.service.draining else settings.lingering_timeout)
        self._on_readable()

    def _lingering(self, data: bytes) -> None:
        now = time.monotonic()
        if not data or now > self._lingers_until:
            self.close()
        else:
            self.deadline = now + self.settings.lingering_timeout
