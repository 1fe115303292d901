"""A request taken without an environ is the request that its environ describes."""

from __future__ import annotations

import logging
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.support.heads import read_request
from wsgi_proxy.errors import ClientError
from wsgi_proxy.exchange import Exchange
from wsgi_proxy.worker.connection import Connection
from wsgi_proxy.worker.listener import Listener
from wsgi_proxy.worker.response import ResponseWriter
from wsgi_proxy.worker.service import Service
from wsgi_proxy.worker.settings import ListenerSettings
from wsgi_proxy.wsgi.arrival import take_request

HEADS = {
    "plain": b"GET /a%20b?c=%41 HTTP/1.1\r\nHost: h:1\r\nReferer: r\r\nX-A: 1\r\n\r\n",
    "repeated": b"GET / HTTP/1.1\r\nhost: h\r\nCookie: a\r\nAccept: 1\r\ncookie: b\r\nACCEPT:2\r\nX: \xe9\r\nX: \xe9\r\n\r\n",
    "underscored": b"GET / HTTP/1.1\r\nHost: h\r\nX_A: 1\r\nX-A: 2\r\nContent_Length: 9\r\n\r\n",
    "length": b"POST /p HTTP/1.1\r\nHost: h\r\nContent-Type: t\r\nContent-Length: 5\r\n\r\n",
    "no length": b"POST /p HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n",
    "chunked": b"PUT /p HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n",
    "old": b"GET /old HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
    "absolute": b"GET http://other:81/x?y HTTP/1.1\r\nHost: h\r\nX: 1\r\n\r\n",
    "asterisk": b"OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n",
    "connect": b"CONNECT h:443 HTTP/1.1\r\nHost: h:443\r\n\r\n",
    "conditions": b"GET / HTTP/1.1\r\nHost: h\r\nIf-None-Match: a\r\nRange: bytes=0-1\r\nAuthorization: Basic YTpi\r\n\r\n",
}
KEYS = (
    "HTTP_HOST HTTP_COOKIE HTTP_ACCEPT HTTP_X HTTP_X_A CONTENT_TYPE CONTENT_LENGTH HTTP_RANGE HTTP_CONNECTION HTTP_NONE".split()
)


def hello(environ: Any, start_response: Any) -> list[bytes]:
    start_response("200 OK", [])
    return [b"hello"]


@contextmanager
def writer_for(head: bytes) -> Iterator[ResponseWriter]:
    """The response writer of a connection that has read this head."""
    service = Service(hello, logging.getLogger("test"), max_connections=1, max_requests=0)
    with socket.create_server(("127.0.0.1", 0)) as sock, socket.socket() as client:
        listener = Listener(service, sock, ListenerSettings(), {"SCRIPT_NAME": "", "SERVER_PROTOCOL": "HTTP/1.1"}, 1)
        connection = Connection(listener, client, ("192.0.2.1", 1000))
        connection.head = request = read_request(head)
        yield ResponseWriter(connection, request, True)
        connection.close()
        listener.close()


def record(x: Exchange) -> dict[str, Any]:
    names = (
        "method protocol scheme remote_addr peer_addr remote_port pairs target raw_target absolute content_length chunked fields "
        "connection input has_body"
    )
    return {name: getattr(x, name) for name in names.split()}


@pytest.mark.parametrize("head", HEADS.values(), ids=HEADS)
def test_it_is_the_request_of_its_environ(head: bytes) -> None:
    with writer_for(head) as writer:
        lean, full = Exchange(), Exchange.from_environ(writer.environ())
        take_request(lean, writer.connection, writer)
        assert record(lean) == record(full)
        assert lean.sent_method() == full.sent_method() == head.split()[0].decode()
        for key in KEYS:
            assert lean.sent(key) == full.environ.get(key), key
        # The environ that is made on demand is the same, but for the methods of this response.
        assert {**lean.environ, "wsgi.early_hints": None} == {**full.environ, "wsgi.early_hints": None}


def test_an_environ_that_was_changed_counts() -> None:
    with writer_for(HEADS["plain"]) as writer:
        x = Exchange()
        take_request(x, writer.connection, writer)
        assert x.sent("HTTP_X_A") == "1" and not x.asks_cache()
        x.environ["HTTP_X_A"], x.environ["HTTP_RANGE"], x.environ["REQUEST_METHOD"] = "2", "bytes=0-1", "PUT"
        assert (x.sent("HTTP_X_A"), x.sent("HTTP_RANGE"), x.asks_cache(), x.sent_method()) == ("2", "bytes=0-1", True, "PUT")


@pytest.mark.parametrize("name", ["conditions", "repeated"])
def test_fields_for_a_cache_are_noticed(name: str) -> None:
    with writer_for(HEADS[name]) as writer:
        x = Exchange()
        take_request(x, writer.connection, writer)
        assert x.asks_cache() == (name == "conditions")


def test_an_authority_with_a_user_is_refused() -> None:
    with writer_for(HEADS["plain"]) as writer:
        writer.head.target = "http://u@h/"
        with pytest.raises(ClientError):
            take_request(Exchange(), writer.connection, writer)
