"""The start of a client connection: the PROXY protocol, TLS, and the choice of the HTTP version.

Rules:
- A new connection is read at once, in the hub, which also does the TLS handshake: the steps between two reads never wait. The
  PROXY protocol has a greenlet, and so has a handshake whose bytes the kernel does not take at once.
- ALPN, or HTTP/2's preface on a plain connection, chooses HTTP/2. Anything else is HTTP/1.
"""

from __future__ import annotations

from math import inf
from typing import Final

from ..clocks import monotonic
from ..errors import ClientError
from ..net import TLSStream, read_proxy_header
from .counts import ACCEPTED, ACTIVE, HANDSHAKES, HANDSHAKES_FAILED, RESUMED, WAITING
from .http2 import Http2Connection
from .link import CLOSED, DISCARD, HEAD, IDLE, LINGER, Link

READ_SIZE: Final = 16 * 1024
"""Bytes that are read at a time while heads are awaited."""


def _begins_tls(first: bytes) -> bool:
    """Return True if a connection's first bytes begin a TLS handshake."""
    # The hello of SSLv2 has its highest bit set; OpenSSL refuses it.
    return first[0] == 0x16 or first[0] & 0x80 != 0


class Opening(Link):
    """A client connection until its first request. `Connection` reads the requests."""

    __slots__ = ()

    def open(self) -> None:
        """Start the connection, with the PROXY protocol and TLS if the listener has them."""
        service = self.service
        service.connections.add(self)
        service.counts.add(ACCEPTED)
        service.counts.add(ACTIVE)
        settings = self.settings
        self.stream.read_timeout = settings.client_header_timeout or None
        self.stream.write_timeout = settings.send_timeout or None
        if settings.proxy_protocol:
            service.crew.run(self._read_proxy_header)
        else:
            self._begin()

    def _begin(self) -> None:
        """Start TLS if the listener has it, else wait for a request."""
        if self.settings.tls is None:
            self._opened()
            # Most clients send at once, so reading before waiting saves a round of the loop.
            self._on_readable()
        else:
            self._side.idle = self._shake_hands
            self._side.start()
            self._shake_hands()

    def _opened(self) -> None:
        self.state = IDLE
        self.count_as(WAITING)
        self.stream.read_timeout = self.settings.client_body_timeout or None
        self.deadline = monotonic() + (self.settings.client_header_timeout or inf)
        self._side.idle = self._on_readable
        self._side.start()

    def _read_proxy_header(self) -> None:
        """Read the PROXY protocol's header, and continue behind it; runs in a greenlet."""
        settings = self.settings
        try:
            self.proxy_protocol = read_proxy_header(self.stream)
            if settings.rules is not None:
                settings.rules.check_proxy_protocol(self.peer)
        except (OSError, ClientError) as error:
            self._give_up(error)
            return
        if settings.trust_proxy_protocol and self.proxy_protocol is not None:
            self.remote_addr, self.remote_port = self.proxy_protocol[0], str(self.proxy_protocol[1])
        self._begin()

    def _shake_hands(self) -> None:
        """Advance the TLS handshake by the bytes that have arrived; called in the hub, or behind the PROXY protocol's header."""
        self.deadline = monotonic() + (self.settings.client_header_timeout or inf)
        try:
            secured = self._secured()
            if secured is None or not secured.handshake_nowait():
                if secured is not None and not secured.flush_nowait():
                    self._side.idle = None
                    self.deadline = inf
                    self.service.crew.run(self._shake_hands_slowly)
                return
        except Exception as error:
            self._give_up(error)
            return
        self._shaken(secured)

    def _shake_hands_slowly(self) -> None:
        """Complete the TLS handshake; runs in a greenlet."""
        try:
            secured = self._secured()
            assert secured is not None
            secured.handshake()
        except Exception as error:
            self._give_up(error)
            return
        self._shaken(secured)

    def _secured(self) -> TLSStream | None:
        """Return the TLS stream. Return None if nothing has arrived, or plain HTTP, which then is in progress."""
        stream = self.stream
        if isinstance(stream, TLSStream):
            return stream
        settings = self.settings
        first = stream.recv_nowait(READ_SIZE)
        if first is None:
            return None
        if not first:
            # As in nginx, no handshake has begun, so none has failed.
            raise ConnectionResetError("client closed connection before the TLS handshake")
        if settings.response_plain and not _begins_tls(first):
            self.plain_on_tls = True
            self.buffer = first
            self._opened()
            if self._next_head():
                self.service.crew.run(self._serve)
            return None
        assert settings.tls is not None
        self.stream = secured = TLSStream(stream, settings.tls(), None, server_side=True)
        secured.feed(first)
        return secured

    def _shaken(self, secured: TLSStream) -> None:
        """Continue behind a complete TLS handshake."""
        self.tls = secured.tls
        counts = self.service.counts
        counts.add(HANDSHAKES)
        if self.tls.session_reused:
            counts.add(RESUMED)
        if self.tls.selected_alpn_protocol() == "h2":
            self._begin_http2()
            return
        self._opened()
        if secured.held() or self.tls.version() == "TLSv1.3":
            # The request often follows the end of the handshake, and the session tickets then leave with the response.
            self._on_readable()

    def _give_up(self, error: Exception) -> None:
        """Close a connection whose start has failed."""
        if isinstance(self.stream, TLSStream):
            self.service.counts.add(HANDSHAKES_FAILED)
        if isinstance(error, (OSError, ClientError)):
            self.service.log.info("%s: %s", self, error)
        else:
            self.service.log.exception("%s: error at the start of the connection", self)
        self.close()

    def _begin_http2(self) -> None:
        """Continue with HTTP/2. An Http2Connection replaces this object."""
        self.service.connections.discard(self)
        data, self.buffer = self.buffer, b""
        self.state = CLOSED
        Http2Connection(self).begin(data)

    def _look_again(self) -> None:
        """Schedule a read if TLS holds decrypted bytes, which do not make the socket readable."""
        if self.tls is not None and self.stream.held():
            self.service.hub.loop.run_callback(self._look)

    def _look(self) -> None:
        if self.state in (IDLE, HEAD, DISCARD, LINGER):
            self._on_readable()

    # --- in the subclass ---

    def _on_readable(self) -> None:
        """Read; called in the hub when the socket is readable and no greenlet waits for it."""
        raise NotImplementedError

    def _next_head(self) -> bool:
        """Take the next request from the buffer; return True if there is a request or a refusal to answer."""
        raise NotImplementedError

    def _serve(self) -> None:
        """Serve requests until the connection waits for its client again."""
        raise NotImplementedError
