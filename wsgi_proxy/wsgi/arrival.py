"""The request of a new exchange as ProxyWorker has read it from HTTP/1, without an environ.

Rules:
- The worker has checked the request. Nothing between the worker and the proxy can have changed it.
- The result is that of `Exchange.from_environ` with the environ of the same request, which `Exchange.environ` makes on demand.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..arrival import take_other_form

if TYPE_CHECKING:
    from ..exchange import Exchange
    from ..worker import Link, ResponseWriter


def take_request(exchange: Exchange, link: Link, writer: ResponseWriter) -> None:
    """Write the request of a link on its exchange. Raises ClientError for a target without a single reading."""
    head = writer.head
    exchange.writer = writer
    exchange.connection = link
    exchange.method = head.method
    exchange.protocol = "HTTP/1.1" if head.modern else "HTTP/1.0"
    exchange.scheme = "http" if link.plain_on_tls else link.listener.base["wsgi.url_scheme"]
    exchange.remote_addr = exchange.peer_addr = link.remote_addr
    exchange.remote_port = link.remote_port
    exchange.input = link.body
    exchange.pairs = head.pairs
    exchange.fields = head.fields
    exchange.content_length = head.content_length
    exchange.chunked = head.chunked
    exchange.target = exchange.raw_target = head.target
    if head.target[:1] != "/":
        take_other_form(exchange, True)
