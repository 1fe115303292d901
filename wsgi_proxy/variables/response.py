"""nginx's variables of the response, in the forms of `variables/request`.

Source: nginx's documentation of ngx_http_core_module, ngx_http_log_module and ngx_http_gzip_module, "Embedded Variables".
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Final

from ..http import status_line

if TYPE_CHECKING:
    from ..exchange import Exchange
    from ..response import Response

TEXT: dict[str, str] = {
    "body_bytes_sent": "sent_body_bytes(x)",
    "bytes_sent": "sent_bytes(x)",
    "request_completion": "('OK' if x.completed else '')",
    "status": "sent_status(x)",
}

OPTIONAL: dict[str, str] = {
    "gzip_ratio": "gzip_ratio(x)",
}

PREFIXES: dict[str, Callable[[str], str]] = {
    "sent_http_": lambda rest: f"sent_field(x, {rest.replace('_', '-')!r})",
    "sent_trailer_": lambda rest: f"field(x.sent_trailers, {rest.replace('_', '-')!r})",
}


def field(pairs: Iterable[tuple[str, str]], name: str) -> str | None:
    """Return the fields of this name (lower case, dashes), joined as nginx joins them; None if there is none."""
    found = [value for key, value in pairs if key.lower().replace("_", "-") == name]
    return ", ".join(found) if found else None


_SERVERS_OWN: Final = {"server": 20, "date": 37, "connection": 24}
"""The bytes of the fields that ProxyWorker adds to a response without them."""


def sent_status(exchange: Exchange) -> str:
    return str(exchange.status) if exchange.status else f"{exchange.error_response:03}"


def sent_body_bytes(exchange: Exchange) -> str:
    return str(body_bytes_sent(exchange))


def sent_bytes(exchange: Exchange) -> str:
    return str(bytes_sent(exchange))


def body_bytes_sent(exchange: Exchange) -> int:
    """Return the bytes sent behind the response's head as nginx counts them, in HTTP/1.1 with the framing of chunks; without
    ProxyWorker, those of the body.
    """
    head = getattr(exchange.connection, "head_out", None)
    return exchange.body_bytes_sent if head is None else max(0, bytes_sent(exchange) - head)


def bytes_sent(exchange: Exchange) -> int:
    """Return the bytes sent to the client. Without ProxyWorker they are computed: the head from its fields, and the body."""
    connection = exchange.connection
    sent: int | None = getattr(connection, "bytes_out", None)
    if sent is not None:
        return sent + exchange.body_bytes_sent if connection.taken else sent
    response = exchange.response
    if response is None:
        return 0
    missing = dict(_SERVERS_OWN)
    head = len("HTTP/1.1 ") + len(status_line(response.status, response.reason)) + 4
    for name, value in response.headers:
        head += len(name) + len(value) + 4
        missing.pop(name.lower(), None)
    return head + sum(missing.values()) + exchange.body_bytes_sent


def gzip_ratio(exchange: Exchange) -> str | None:
    """Return the ratio of a compressed body's sizes with two digits, `0.80` for four bytes that became five."""
    sizes = exchange.gzip_sizes
    if sizes is None:
        return None
    hundredths = (sizes[0] * 1000 // sizes[1] + 5) // 10
    return f"{hundredths // 100}.{hundredths % 100:02}"


def sent_field(exchange: Exchange, name: str) -> str | None:
    """Return the response's fields of this name, also those about the body and the connection that ProxyWorker adds.

    As in nginx, Connection and Keep-Alive are known while the other fields are being made and Transfer-Encoding at the end, when
    Connection is `close` in any case.
    """
    response = exchange.response
    if response is None:
        return None
    if name == "connection":
        return _connection(exchange, response)
    found = field(response.headers, name)
    if found is not None:
        return found
    if name == "content-length":
        return None if response.length is None else str(response.length)
    if name == "keep-alive" and _connection(exchange, response) == "keep-alive":
        seconds: float | None = exchange.connection.settings.keepalive_header
        return None if seconds is None else f"timeout={int(seconds)}"
    if name == "transfer-encoding" and exchange.finished_at and _is_chunked(exchange, response):
        return "chunked"
    return None


def _connection(exchange: Exchange, response: Response) -> str | None:
    """Return the value of Connection; None under other servers and over HTTP/2."""
    link = exchange.connection
    if link is None or link.head is None or exchange.protocol[:6] == "HTTP/2":
        return None
    if response.status == 101:
        return "upgrade"
    if exchange.finished_at or not link.head.keep_alive or "close" in (field(response.headers, "connection") or "").lower():
        return "close"
    return "keep-alive" if link.may_keep() else "close"


def _is_chunked(exchange: Exchange, response: Response) -> bool:
    if exchange.protocol != "HTTP/1.1" or exchange.method == "HEAD" or response.status in (101, 204, 304):
        return False
    return response.length is None and exchange.connection is not None and exchange.connection.settings.chunks
