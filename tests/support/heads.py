"""Request heads as the worker takes them."""

from __future__ import annotations

from wsgi_proxy.worker.request.head import Request, take_request
from wsgi_proxy.worker.settings import ListenerSettings


def read_request(data: bytes) -> Request:
    """The request of a complete head."""
    request, rest = take_request(data, ListenerSettings())
    assert request is not None and not rest
    return request
