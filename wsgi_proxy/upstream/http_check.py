"""One active check: an HTTP request, and whether the answer is good.

Rules (ngx_http_upstream_hc_module):
- Good is what the `match` block says; without one, a status from 200 to 399. Every test of the block must hold.
- The request is `GET uri`, with the location's scheme, timeouts, and `proxy_set_header` where it has no variables.
- Each check has a connection of its own, unless `keepalive_time` lets one serve for longer. A kept one that fails proves nothing:
  the check is made again on a new one.
- A check fails by raising CheckFailed; the message says why.
"""

from __future__ import annotations

import http.client
import socket
import ssl
import time

from ..balance import Peer
from ..config import HealthCheck, Match, ProxySettings
from ..errors import CheckFailed
from ..http import bare_host
from ..tls import upstream_context

_BODY_MAX = 256 * 1024
"""How much of a body a `match` block sees."""


class HTTPCheck:
    """Callable with a Peer. `host` is what the Host field says unless the location sets it."""

    def __init__(
        self,
        check: HealthCheck | None = None,
        match: Match | None = None,
        scheme: str = "http",
        host: str = "",
        settings: ProxySettings | None = None,
    ) -> None:
        self.check = check or HealthCheck()
        self.match = match
        self.scheme = scheme
        self.host = host
        self.settings = settings or ProxySettings()
        self._kept: dict[Peer, tuple[http.client.HTTPConnection, float]] = {}
        """Connections to be used again, and when they were opened."""

    def __call__(self, peer: Peer) -> None:
        """CheckFailed when the peer does not answer, or not well."""
        try:
            status, headers, body = self._ask(peer)
        except (OSError, http.client.HTTPException) as error:
            raise CheckFailed(f"{type(error).__name__}: {error}") from error
        match = self.match
        if match is None:
            if not 200 <= status < 400:
                raise CheckFailed(f"status {status}")
            return
        if match.status is not None and not match.status(status):
            raise CheckFailed(f'status {status} does not match "{match.name}"')
        if not all(test(headers) for test in match.headers):
            raise CheckFailed(f'the header does not match "{match.name}"')
        if match.body is not None and not match.body(body):
            raise CheckFailed(f'the body does not match "{match.name}"')

    def _ask(self, peer: Peer) -> tuple[int, list[tuple[str, str]], bytes]:
        connection, opened = self._kept.pop(peer, (None, 0.0))
        if connection is not None:
            if time.monotonic() - opened < self.check.keepalive_time:
                try:
                    return self._exchange(peer, connection, opened)
                except (OSError, http.client.HTTPException):
                    pass  # closed since, or broken: a new one will tell
            connection.close()
        host = self.host or peer.host
        connection = http.client.HTTPConnection(host, timeout=self.settings.read_timeout)
        # Never by itself: it would connect to the name, and in the clear.
        connection.auto_open = 0
        connection.sock = self._connect(peer, host)
        return self._exchange(peer, connection, time.monotonic())

    def _exchange(
        self, peer: Peer, connection: http.client.HTTPConnection, opened: float
    ) -> tuple[int, list[tuple[str, str]], bytes]:
        """A request and its answer; the connection is kept if it may be, else closed."""
        keep = False
        try:
            connection.putrequest("GET", self.check.uri, skip_host=True, skip_accept_encoding=True)
            for name, value in self._headers(self.host or peer.host):
                connection.putheader(name, value)
            connection.endheaders()
            response = connection.getresponse()
            wanted = self.check.keepalive_time or (self.match is not None and self.match.body is not None)
            body = response.read(_BODY_MAX) if wanted else b""
            keep = bool(self.check.keepalive_time) and response.isclosed() and connection.sock is not None
            return response.status, response.getheaders(), body
        finally:
            if keep:
                self._kept[peer] = (connection, opened)
            else:
                connection.close()

    def close(self) -> None:
        """Close the connections that are kept."""
        while self._kept:
            self._kept.popitem()[1][0].close()

    def _headers(self, host: str) -> list[tuple[str, str]]:
        fields = {"host": ("Host", host)}
        if not self.check.keepalive_time:
            fields["connection"] = ("Connection", "close")
        for name, template in self.settings.set_header or ():
            text = getattr(template, "constant", None)
            if text and name.lower() != "connection":
                fields[name.lower()] = (name, text)
        return list(fields.values())

    def _connect(self, peer: Peer, host: str) -> socket.socket:
        timeout = self.settings.connect_timeout
        if isinstance(peer.address, str):
            sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            sock.settimeout(timeout)
            try:
                sock.connect(peer.address)
            except BaseException:
                sock.close()
                raise
        else:
            sock = socket.create_connection((peer.address[0], self.check.port or peer.address[1]), timeout)
        sock.settimeout(self.settings.read_timeout)
        if (peer.scheme or self.scheme) != "https":
            return sock
        tls = self.settings.tls
        name = getattr(tls.name, "constant", None) or bare_host(host)
        try:
            # Without either there is nothing to check the name against, and nothing is sent (SNI).
            return _wrapped(upstream_context(tls), sock, name if tls.verify or tls.server_name else None)
        except BaseException:
            sock.close()
            raise


def _wrapped(context: ssl.SSLContext, sock: socket.socket, name: str | None) -> ssl.SSLSocket:
    return context.wrap_socket(sock, server_hostname=name)
