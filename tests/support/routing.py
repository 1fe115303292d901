"""Helpers of the differential tests: one configuration in real nginx and in this router, and one request to both.

`Ours` is a minimal request path: route, files, the page for a status. Its response is compared with nginx's bytes.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

from tests.support import Client
from wsgi_proxy.errors import ProxyError
from wsgi_proxy.exchange import Exchange
from wsgi_proxy.http import page
from wsgi_proxy.nginx import reader as nginx
from wsgi_proxy.response import InternalRedirect, Page, Response
from wsgi_proxy.routing.redirects import absolute, page_response
from wsgi_proxy.routing.router import Router
from wsgi_proxy.static.files import serve, try_files

Pairs = Sequence[tuple[str, str]]
Seen = tuple[int, "str | None", "str | None", bytes]
"""(status, Location, Content-Type, body); the body of an error page is not compared."""


def environ(method: str, target: str, fields: Pairs, port: int, protocol: str = "HTTP/1.1") -> dict[str, Any]:
    """The environ of a request as ProxyWorker makes it, without a connection."""
    made: dict[str, Any] = {
        "REQUEST_METHOD": method,
        "RAW_URI": target,
        "SERVER_PROTOCOL": protocol,
        "REMOTE_ADDR": "127.0.0.1",
        "REMOTE_PORT": "50000",
        "SERVER_NAME": "127.0.0.1",
        "SERVER_PORT": str(port),
        "wsgi.url_scheme": "http",
        "wsgi.input": io.BytesIO(),
        "wsgi_proxy.pairs": list(fields),
    }
    for name, value in fields:
        key = name.upper().replace("-", "_")
        if key not in ("CONTENT_TYPE", "CONTENT_LENGTH"):
            key = "HTTP_" + key
        joined = "; " if key == "HTTP_COOKIE" else ", "
        made[key] = made[key] + joined + value if key in made else value
    return made


class Ours:
    """Our side: a configuration's router, with files and pages behind it."""

    def __init__(self, conf: str, port: int, prefix: str = "") -> None:
        self.port = port
        self.router = Router(nginx.loads(conf, prefix=prefix))

    def exchange(self, method: str, target: str, fields: Pairs, protocol: str = "HTTP/1.1") -> tuple[Exchange, Response]:
        x = Exchange.from_environ(environ(method, target, fields, self.port, protocol))
        try:
            response = self._walk(x)
        except ProxyError as error:
            response = page_response(error.status)
        x.status, x.response = response.status, response
        x.body_bytes_sent = response.length or 0
        return x, response

    def _walk(self, x: Exchange) -> Response:
        response = self.router.route(x)
        if response is None and x.location.core.try_files and not x.named_location:
            response = try_files(x)
        if response is None:
            response = serve(x)
        where = response.outcome
        if not isinstance(where, InternalRedirect):
            return response
        if where.uri.startswith("@"):
            self.router.named(x, where.uri)
        else:
            self.router.redirect(x, where.uri, where.args)
        return self._walk(x)

    def ask(self, method: str, target: str, fields: Pairs, protocol: str = "HTTP/1.1") -> Seen:
        x, response = self.exchange(method, target, fields, protocol)
        self.last = response
        body = b"".join(response.body)
        response.close()
        if isinstance(response.outcome, Page):
            location = response.header("location")
            if location is None:
                return response.status, None, None, b""
            body = page(response.status) if method != "HEAD" else b""
            return response.status, absolute(x, location), "text/html", body
        return response.status, response.header("location"), response.header("content-type"), body


class Theirs:
    """nginx's side, over one connection that is made again when nginx closes it."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.client: Client | None = None

    def ask(self, method: str, target: str, fields: Pairs, protocol: str = "HTTP/1.1") -> Seen:
        head = f"{method} {target} {protocol}\r\n" + "".join(f"{name}: {value}\r\n" for name, value in fields) + "\r\n"
        try:
            found = self._connected().exchange(head.encode("latin-1"), method)
        except ConnectionError:
            # Behind some answers (a 412) nginx closes a connection that it said it would keep.
            self.close()
            found = self._connected().exchange(head.encode("latin-1"), method)
        self.last = found
        if found.get("connection") != "keep-alive":
            self.close()
        return found.status, found.get("location"), found.get("content-type"), found.body

    def __enter__(self) -> Theirs:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _connected(self) -> Client:
        if self.client is None:
            self.client = Client(self.port)
        return self.client

    def close(self) -> None:
        if self.client is not None:
            self.client.close()
            self.client = None


def same(ours: Seen, theirs: Seen) -> bool:
    """Equal in everything that is not the wording of a page."""
    if ours[:2] != theirs[:2]:
        return False
    if ours[2] is None and ours[0] >= 400:
        return not theirs[3] or b"<center>" in theirs[3]
    if b"<center>" in theirs[3]:
        return b"<center>" in ours[3] and ours[2] == theirs[2]
    return ours[2:] == theirs[2:]
