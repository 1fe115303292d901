"""`wsgi-proxy explain`: send one request and print the decisions about it.

Rules:
- The lines are read from the Exchange after the request. No decision is made a second time.
- The request is real. It is sent to the upstream, and it is logged, limited and counted as the configuration says.
"""

from __future__ import annotations

import io
from collections.abc import Iterable
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from ..exchange import Exchange
from ..response import Response
from ..wsgi import ProxyApp

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

    from ..config import Config, Location, ServerBlock


def explain(
    config: Config, method: str, url: str, headers: Iterable[tuple[str, str]] = (), client: str = "127.0.0.1"
) -> list[str]:
    """Send a request from the address `client` and return a line for each decision.

    `url` is absolute or a path. A path without a Host field is sent to localhost.
    """
    app = ProxyApp(config)
    try:
        exchange = Exchange.from_environ(environ_of(method, url, list(headers), client))
        exchange.trace = []
        response = app.response(exchange)
        size = sum(len(block) for block in response.body) if method != "HEAD" else 0
        response.close()
        return decisions(exchange, response, size)
    finally:
        app.close()


def environ_of(method: str, url: str, headers: list[tuple[str, str]], client: str) -> WSGIEnvironment:
    """Return the environ that a server would make of this request."""
    parts = urlsplit(url)
    target = url[url.index(parts.netloc) + len(parts.netloc) :] if parts.netloc else url
    scheme = parts.scheme or "http"
    pairs = list(headers)
    if not any(name.lower() == "host" for name, _ in pairs):
        pairs.insert(0, ("Host", parts.netloc or "localhost"))
    environ: WSGIEnvironment = {
        "REQUEST_METHOD": method,
        "RAW_URI": target or "/",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "SERVER_NAME": parts.hostname or "localhost",
        "SERVER_PORT": str(parts.port or (443 if scheme == "https" else 80)),
        "REMOTE_ADDR": client,
        "REMOTE_PORT": "0",
        "wsgi.url_scheme": scheme,
        "wsgi.input": io.BytesIO(),
        "wsgi_proxy.pairs": pairs,
    }
    for name, value in pairs:
        key = "HTTP_" + name.upper().replace("-", "_")
        environ[key] = f"{environ[key]},{value}" if key in environ else value
    return environ


def decisions(exchange: Exchange, response: Response, size: int) -> list[str]:
    """Return the record of the exchange as lines, in the order of the request path."""
    host = exchange.environ.get("HTTP_HOST", "(none)")
    lines = [f"request: {exchange.method} {exchange.raw_target} from {exchange.remote_addr}, Host {host}"]
    if exchange.server is not None:
        lines.append(f"server: {_server(exchange.server)}")
    if exchange.location is not None:
        lines.append(
            f"location: {_location(exchange.location, exchange.trace or [])}, URI {exchange.uri}"
            + (f", arguments {exchange.args}" if exchange.args else "")
        )
    if exchange.redirects:
        lines.append(f"redirects: {exchange.redirects} internal" + (", the URI was rewritten" if exchange.uri_changed else ""))
    lines += [f"{phase}: {text}" for phase, text in exchange.trace or ()]
    if exchange.limit_req_status:
        lines.append(f"limit_req: {exchange.limit_req_status}")
    if exchange.limit_conn_status:
        lines.append(f"limit_conn: {exchange.limit_conn_status}")
    if exchange.cache_status:
        lines.append(f"cache: {exchange.cache_status}, key {exchange.cache_key}")
    for number, attempt in enumerate((attempt for attempt in exchange.tries if attempt.address), 1):
        outcome = attempt.error or f"status {attempt.status}"
        taken = f" in {attempt.header_time:.3f} s" if attempt.header_time is not None else ""
        lines.append(f"try {number}: {attempt.address} of {exchange.upstream_name or 'the URL'}: {outcome}{taken}")
    source = " (an error page)" if exchange.error_status else ""
    lines.append(f"response: {response.status}{source}, {size} bytes")
    return lines


def _server(server: ServerBlock) -> str:
    names = " ".join(name or '""' for name in server.names)
    where = f" ({server.place.file}:{server.place.line})" if server.place.file else ""
    return f"{names}{where}"


def _location(location: Location, trace: Iterable[tuple[str, str]]) -> str:
    if location.kind == "server":
        return "none, the server's own settings"
    shown = f"{location.kind} {location.pattern}".strip()
    where = f" ({location.place.file}:{location.place.line})" if location.place.file else ""
    returned = any(phase == "return" and text.endswith(f" in {shown}") for phase, text in trace)
    return f"{shown}{where} → {'return' if returned else location.handler or 'files'}"
