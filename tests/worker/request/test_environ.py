"""environ: the keys that an application gets."""

from __future__ import annotations

import logging
import socket
from typing import Any

import pytest

from tests.support.heads import read_request
from wsgi_proxy.worker.connection import Connection
from wsgi_proxy.worker.listener import Listener
from wsgi_proxy.worker.request import environ as worker_environ
from wsgi_proxy.worker.request.environ import make_environ
from wsgi_proxy.worker.service import Service
from wsgi_proxy.worker.settings import ListenerSettings


def environ_of(head: bytes, **base: Any) -> dict[str, Any]:
    service = Service(hello, logging.getLogger("test"), max_connections=1, max_requests=0)
    with socket.create_server(("127.0.0.1", 0)) as sock, socket.socket() as client:
        listener = Listener(service, sock, ListenerSettings(), {"SCRIPT_NAME": "", "SERVER_PROTOCOL": "HTTP/1.1", **base}, 1)
        connection = Connection(listener, client, ("192.0.2.1", 1000))
        environ = make_environ(connection, read_request(head))
        connection.close()
        listener.close()
    return environ


def hello(environ: Any, start_response: Any) -> list[bytes]:
    start_response("200 OK", [])
    return [b"hello"]


def test_the_keys_of_pep_3333() -> None:
    environ = environ_of(
        b"POST /a%20b/%C3%A9?x=%41 HTTP/1.1\r\nHost: h:1\r\nContent-Type: t\r\ncontent-length: 0\r\nX-Y: z\r\n\r\n"
    )
    expected = {
        "REQUEST_METHOD": "POST", "PATH_INFO": "/a b/\xc3\xa9", "QUERY_STRING": "x=%41", "SCRIPT_NAME": "",
        "CONTENT_TYPE": "t", "CONTENT_LENGTH": "0", "HTTP_HOST": "h:1", "HTTP_X_Y": "z", "SERVER_PROTOCOL": "HTTP/1.1",
        "REMOTE_ADDR": "192.0.2.1", "REMOTE_PORT": "1000", "RAW_URI": "/a%20b/%C3%A9?x=%41",
    }  # fmt: skip
    assert {key: environ[key] for key in expected} == expected
    assert "HTTP_CONTENT_TYPE" not in environ and "HTTP_CONTENT_LENGTH" not in environ


def test_the_fields_as_sent_are_there_too() -> None:
    pairs = [("hOST", "h"), ("A_b", "1"), ("A-B", "2"), ("a-b", "3"), ("Cookie", "x"), ("cookie", "y")]
    lines = "".join(f"{name}: {value}\r\n" for name, value in pairs)
    environ = environ_of(f"GET / HTTP/1.1\r\n{lines}\r\n".encode())
    assert environ["wsgi_proxy.pairs"] == pairs
    # The same name with an underscore does not interfere, and repetitions are joined.
    assert environ["HTTP_A_B"] == "2, 3" and environ["HTTP_COOKIE"] == "x; y"


@pytest.mark.parametrize(
    ("line", "path", "raw"),
    [
        (b"GET http://h/p?q HTTP/1.1", "/p", "http://h/p?q"),
        (b"OPTIONS * HTTP/1.1", "*", "*"),
        (b"CONNECT h:443 HTTP/1.1", "h:443", "h:443"),
        (b"GET //a/../b;x HTTP/1.1", "//a/../b;x", "//a/../b;x"),
    ],
)
def test_other_targets(line: bytes, path: str, raw: str) -> None:
    environ = environ_of(line + b"\r\nHost: h\r\n\r\n")
    assert (environ["PATH_INFO"], environ["RAW_URI"]) == (path, raw)


def test_http_1_0_and_script_name() -> None:
    assert environ_of(b"GET / HTTP/1.0\r\n\r\n")["SERVER_PROTOCOL"] == "HTTP/1.0"
    under = environ_of(b"GET /app/x HTTP/1.1\r\nHost: h\r\n\r\n", SCRIPT_NAME="/app")
    assert (under["SCRIPT_NAME"], under["PATH_INFO"]) == ("/app", "/x")
    beside = environ_of(b"GET /x HTTP/1.1\r\nHost: h\r\n\r\n", SCRIPT_NAME="/app")
    assert (beside["SCRIPT_NAME"], beside["PATH_INFO"]) == ("", "/x")
    # A client cannot set it.
    assert environ_of(b"GET /t/x HTTP/1.1\r\nHost: h\r\nScript_Name: /t\r\n\r\n")["PATH_INFO"] == "/t/x"


def test_invented_names_do_not_fill_the_memory() -> None:
    for n in range(worker_environ._MAX_KEYS + 100):
        environ_of(b"GET / HTTP/1.1\r\nHost: h\r\nX-%d: 1\r\n\r\n" % n)
    assert len(worker_environ._KEYS) <= worker_environ._MAX_KEYS
    assert environ_of(b"GET / HTTP/1.1\r\nHost: h\r\nX-New-One: 1\r\n\r\n")["HTTP_X_NEW_ONE"] == "1"
