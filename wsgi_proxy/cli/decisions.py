"""The record of one request as steps, in the order of the request path.

Rules:
- A step has a kind and a text for people, without Python's notation. `--json` prints both.
- Nothing is decided here: the texts are made of the exchange, the configuration and the response.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, NamedTuple

from ..http import status_line

if TYPE_CHECKING:
    from ..config import Config, Location, ServerBlock
    from ..exchange import Exchange
    from ..response import Response


class Step(NamedTuple):
    """One decision."""

    kind: str
    text: str


_KINDS = {
    "=": "the exact match",
    "": "the longest prefix",
    "^~": "the longest prefix, which regular expressions do not override",
    "~": "the first regular expression that matches",
    "~*": "the first regular expression that matches",
    "@": "named by an internal redirect",
}

_NOT_STORED = {
    "authorization": "the request has credentials, and the response does not allow a shared cache to store it",
    "method": "the method is not in proxy_cache_methods",
    "min-uses": "the key was asked for less often than proxy_cache_min_uses",
    "must-understand": "it has must-understand and a status that this cache does not know",
    "no-cache": "proxy_no_cache holds",
    "no-freshness": "neither its fields nor proxy_cache_valid give its status a lifetime",
    "no-store": "its Cache-Control has no-store",
    "no-validator": "it is stale at once and has no validator",
    "private": "its Cache-Control has private",
    "request-no-store": "the request's Cache-Control has no-store",
    "set-cookie": "it sets a cookie",
    "status": "its status is not stored",
    "too-large": "it is larger than the cache admits",
    "vary-star": "it has Vary: *",
}
"""The reasons of Cache-Status for a response that is not stored, in words."""


def steps_of(config: Config, exchange: Exchange, response: Response, size: int, port: int | None) -> list[Step]:
    """Return the steps of a finished exchange. `size` is the body's length in bytes, `port` that of the URL, None for a path."""
    return list(_steps(config, exchange, response, size, port))


def _steps(config: Config, exchange: Exchange, response: Response, size: int, port: int | None) -> Iterator[Step]:
    host = exchange.environ.get("HTTP_HOST", "(none)")
    yield Step("request", f"{exchange.method} {exchange.raw_target} from {exchange.remote_addr}, Host {host}")
    trace = exchange.trace or []
    if exchange.server is not None:
        yield Step("server", f"{_server(exchange.server)}, {_why_server(config, exchange, port)}")
    if exchange.location is not None:
        arguments = f", arguments {exchange.args}" if exchange.args else ""
        why = _KINDS.get(exchange.location.kind)
        chosen = f", {why}" if why else ""
        yield Step("location", f"{_location(exchange.location, trace)}, URI {exchange.uri}{arguments}{chosen}")
    if exchange.redirects:
        changed = ", the URI was rewritten" if exchange.uri_changed else ""
        yield Step("redirects", f"{exchange.redirects} internal{changed}")
    for kind, text in trace:
        yield Step(kind, _in_words(text) if kind == "cache" else text)
    for kind, status in (("limit_req", exchange.limit_req_status), ("limit_conn", exchange.limit_conn_status)):
        if status:
            yield Step(kind, status)
    if exchange.cache_status:
        yield Step("cache", f"{exchange.cache_status}, key {exchange.cache_key}")
    yield from _tries(exchange)
    yield Step("head", f"HTTP/1.1 {status_line(response.status)}")
    for name, value in response.headers:
        yield Step("head", f"{name}: {value}")
    ports = sorted({listen.port for server in config.servers for listen in server.listens if not listen.unix})
    if port is not None and port not in ports and ports:
        yield Step("warning", f"no server listens on port {port}, only on {', '.join(map(str, ports))}")
    source = " (an error page)" if exchange.error_status else ""
    yield Step("response", f"{response.status}{source}, {size} bytes")


def _in_words(text: str) -> str:
    """Return a cache's decision with its reason in words behind the one of Cache-Status."""
    said, colon, reason = text.partition("not stored: ")
    return f"{said}not stored ({reason}): {_NOT_STORED[reason]}" if colon and reason in _NOT_STORED else text


def _tries(exchange: Exchange) -> Iterator[Step]:
    for number, attempt in enumerate((attempt for attempt in exchange.tries if attempt.address), 1):
        outcome = attempt.error or f"status {attempt.status}"
        taken = f" in {attempt.header_time:.3f} s" if attempt.header_time is not None else ""
        # A server that only a URL names is its own upstream.
        named = exchange.upstream_name
        of = f" of {named}" if named and named.removeprefix("http://") != attempt.address else ""
        yield Step(f"try {number}", f"{attempt.address}{of}: {outcome}{taken}")


def _server(server: ServerBlock) -> str:
    names = " ".join(name or '""' for name in server.names)
    where = f" ({server.place.file}:{server.place.line})" if server.place.file else ""
    return f"{names}{where}"


def _why_server(config: Config, exchange: Exchange, port: int | None) -> str:
    """Return the reason for which the server block was chosen."""
    server, host = exchange.server, exchange.host
    if host in server.names or f".{host}" in server.names:
        return f'by its name "{host}"'
    for name in server.names:
        if "*" in name and _matches(name, host) or (name.startswith(".") and host.endswith(name)):
            return f'by its name "{name}"'
    for name, pattern in server.name_patterns:
        if pattern.search(host):
            return f'by its regular expression "{name}"'
    defaults = [listen for listen in server.listens if listen.default_server and (port is None or listen.port == port)]
    return "the default server by its listen" if defaults else "the first server, because no name matches"


def _matches(name: str, host: str) -> bool:
    head, _, tail = name.partition("*")
    return host.startswith(head) and host.endswith(tail) and len(host) > len(head) + len(tail)


def _location(location: Location, trace: Iterable[tuple[str, str]]) -> str:
    if location.kind == "server":
        return "none, the server's own settings"
    shown = f"{location.kind} {location.pattern}".strip()
    where = f" ({location.place.file}:{location.place.line})" if location.place.file else ""
    returned = any(phase == "return" and text.endswith(f" in {shown}") for phase, text in trace)
    return f"{shown}{where} → {'return' if returned else location.handler or 'files'}"
