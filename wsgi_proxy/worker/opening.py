"""The start of a client connection: the PROXY protocol, TLS, and the choice of the HTTP version.

Rules:
- A plain connection is read at once, in the hub. The PROXY protocol and TLS have a greenlet until they are done.
- ALPN, or HTTP/2's preface on a plain connection, chooses HTTP/2. Anything else is HTTP/1.
"""

from __future__ import annotations

import time
from math import inf

from ..errors import ClientError
from ..net import read_proxy_header
from .counts import ACCEPTED, ACTIVE, HANDSHAKES, HANDSHAKES_FAILED, RESUMED, WAITING
from .http2 import Http2Connection
from .link import CLOSED, DISCARD, HEAD, IDLE, LINGER, Link

READ_SIZE = 16 * 1024
"""Bytes that are read at a time while heads are awaited."""


def _begins_tls(first: bytes) -> bool:
    """Return True if a connection's first bytes begin a TLS handshake; also for none, whose refusal TLS reports."""
    # The hello of SSLv2 has its highest bit set; OpenSSL refuses it.
    return not first or first[0] == 0x16 or first[0] & 0x80 != 0


class Opening(Link):
    """A client connection until its first request. `Connection` reads the requests."""

    __slots__ = ()

    def open(self) -> None:
        """Start the connection, with the PROXY protocol and TLS if the listener has them."""
        service = self.service
        service.connections.add(self)
        service.counts[ACCEPTED] += 1
        service.counts[ACTIVE] += 1
        settings = self.settings
        self.stream.read_timeout = settings.client_header_timeout or None
        self.stream.write_timeout = settings.send_timeout or None
        if settings.tls is not None or settings.proxy_protocol:
            service.crew.run(self._open_slowly)
        else:
            self._opened()
            # Most clients send at once, so reading before waiting saves a round of the loop.
            self._on_readable()

    def _opened(self) -> None:
        self.state = IDLE
        self.count_as(WAITING)
        self.stream.read_timeout = self.settings.client_body_timeout or None
        self.deadline = time.monotonic() + (self.settings.client_header_timeout or inf)
        self._side.idle = self._on_readable
        self._side.start()

    def _open_slowly(self) -> None:
        """Read the PROXY protocol header and do the TLS handshake; runs in a greenlet."""
        settings, shaking = self.settings, False
        counts = self.service.counts
        try:
            if settings.proxy_protocol:
                self.proxy_protocol = read_proxy_header(self.stream)
                if settings.rules is not None:
                    settings.rules.check_proxy_protocol(self.peer)
                if settings.trust_proxy_protocol and self.proxy_protocol is not None:
                    self.remote_addr, self.remote_port = self.proxy_protocol[0], str(self.proxy_protocol[1])
            first: bytes | None = None
            if settings.tls is not None and settings.response_plain:
                first = self.stream.recv(READ_SIZE)
                if not _begins_tls(first):
                    self.plain_on_tls = True
                    self.buffer = first
            if settings.tls is not None and not self.plain_on_tls:
                shaking = True
                stream = self.stream.start_tls(settings.tls(), server_side=True, first=first)
                self.stream, self.tls = stream, stream.tls
                shaking = False
                counts[HANDSHAKES] += 1
                if self.tls.session_reused:
                    counts[RESUMED] += 1
        except (OSError, ClientError) as error:
            if shaking:
                counts[HANDSHAKES_FAILED] += 1
            self.service.log.info("%s: %s", self, error)
            self.close()
            return
        if self.tls is not None and self.tls.selected_alpn_protocol() == "h2":
            self._begin_http2()
            return
        self._opened()
        if self.buffer and self._next_head():
            self._serve()
        else:
            self._look_again()

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
