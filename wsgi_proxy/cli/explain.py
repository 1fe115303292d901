"""Why a request is answered as it is: one request carried out, and its record told in sentences.

Rules:
- Nothing is decided again for the sake of telling: the sentences are read off the Exchange that the hallway wrote.
- The request is really made, upstream included; what the configuration logs, limits and counts, it logs, limits and counts.
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
    """A line for each decision about `method url`; `client` is the address it comes from.

    `url` may be absolute or a path, which without a Host among the headers is asked of localhost.
    """
    app = ProxyApp(config)
    try:
        x = Exchange.from_environ(environ_of(method, url, list(headers), client))
        x.trace = []
        response = app.response(x)
        size = sum(len(block) for block in response.body) if method != "HEAD" else 0
        response.close()
        return tell(x, response, size)
    finally:
        app.close()


def environ_of(method: str, url: str, headers: list[tuple[str, str]], client: str) -> WSGIEnvironment:
    """The environ that a server would give for this request."""
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


def tell(exchange: Exchange, response: Response, size: int) -> list[str]:
    """The record in sentences, in the order of the hallway."""
    host = exchange.environ.get("HTTP_HOST", "(none)")
    lines = [f"request: {exchange.method} {exchange.raw_target} from {exchange.remote_addr}, Host {host}"]
    if exchange.server is not None:
        lines.append(f"server: {_server(exchange.server)}")
    if exchange.location is not None:
        lines.append(
            f"location: {_location(exchange.location)}, URI {exchange.uri}"
            + (f", arguments {exchange.args}" if exchange.args else "")
        )
    if exchange.redirects:
        lines.append(f"redirects: {exchange.redirects} internal" + (", the URI was rewritten" if exchange.uri_changed else ""))
    lines += [f"{room}: {sentence}" for room, sentence in exchange.trace or ()]
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
    lines.append(f"answer: {response.status}{source}, {size} bytes")
    return lines


def _server(server: ServerBlock) -> str:
    names = " ".join(name or '""' for name in server.names)
    where = f" ({server.place.file}:{server.place.line})" if server.place.file else ""
    return f"{names}{where}"


def _location(location: Location) -> str:
    if location.kind == "server":
        return "none, the server's own settings"
    shown = f"{location.kind} {location.pattern}".strip()
    where = f" ({location.place.file}:{location.place.line})" if location.place.file else ""
    handler = f" → {location.handler}" if location.handler else " → files"
    return f"{shown}{where}{handler}"
