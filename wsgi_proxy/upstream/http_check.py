"""The active check by an HTTP request.

Rules (ngx_http_upstream_hc_module):
- A response passes if it satisfies every test of the `match` block. Without a block, its status must be 200 to 399.
- The request is `GET uri` with the location's scheme, timeouts, and those `proxy_set_header` fields that have no variables.
- Each check opens a connection, unless `keepalive_time` allows reuse. After a failure on a kept connection, the check is repeated
  on a new one.
- A failed check raises CheckFailed with the reason.
"""

from __future__ import annotations

import http.client
import socket
import ssl
import time
from typing import TYPE_CHECKING

from ..balance import Peer
from ..config import HealthCheck, Match, ProxySettings
from ..errors import CheckFailed
from ..http import bare_host, single_line
from ..net import local_address
from ..tls import upstream_context

if TYPE_CHECKING:
    from ..config import Template

_BODY_MAX = 256 * 1024
"""The bytes of a body that a `match` block tests."""


class HTTPCheck:
    """A check that is called with a Peer. `host` is the value of the Host field unless the location sets it."""

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
        """The kept connections, with the time of their opening in monotonic seconds."""

    def __call__(self, peer: Peer) -> None:
        """Raise CheckFailed if the peer does not respond, or if its response does not pass."""
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
                    pass  # the connection was closed or broken
            connection.close()
        host = self.host or peer.host
        connection = http.client.HTTPConnection(host, timeout=self.settings.read_timeout)
        # http.client must not connect by itself: it would use the name, and no TLS.
        connection.auto_open = 0
        connection.sock = self._connect(peer, host)
        return self._exchange(peer, connection, time.monotonic())

    def _exchange(
        self, peer: Peer, connection: http.client.HTTPConnection, opened: float
    ) -> tuple[int, list[tuple[str, str]], bytes]:
        """Send the request and return status, fields and body. Keep the connection if it is reusable, else close it."""
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
        """Close the kept connections."""
        while self._kept:
            self._kept.popitem()[1][0].close()

    def _headers(self, host: str) -> list[tuple[str, str]]:
        fields = {"host": ("Host", host)}
        if not self.check.keepalive_time:
            fields["connection"] = ("Connection", "close")
        for name, template in self.settings.set_header or ():
            text = _known(template)
            if text and name.lower() != "connection":
                fields[name.lower()] = (name, single_line(text))
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
            source = local_address(_known(self.settings.bind))
            where = (peer.address[0], self.check.port or peer.address[1])
            sock = socket.create_connection(where, timeout, source_address=source)
        sock.settimeout(self.settings.read_timeout)
        if (peer.scheme or self.scheme) != "https":
            return sock
        tls = self.settings.tls
        name = _known(tls.name) or bare_host(host)
        try:
            # Without `proxy_ssl_verify` and `proxy_ssl_server_name`, the name is neither verified nor sent by SNI.
            return _wrapped(upstream_context(tls), sock, name if tls.verify or tls.server_name else None)
        except BaseException:
            sock.close()
            raise


def _known(template: Template | None) -> str:
    """Return the value of a setting without variables, else "": a check has no request for them, and `-t` warns of each."""
    return str(getattr(template, "constant", None) or "")


def _wrapped(context: ssl.SSLContext, sock: socket.socket, name: str | None) -> ssl.SSLSocket:
    return context.wrap_socket(sock, server_hostname=name)
