"""redirects: the response of `return`, and its Location."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.support.routing import environ
from wsgi_proxy.config import CoreSettings, Location, Return, ServerBlock
from wsgi_proxy.exchange import Exchange
from wsgi_proxy.response import Page
from wsgi_proxy.routing.redirects import (
    absolute,
    complete_location,
    content_type,
    redirect_response,
    return_response,
    slash_redirect,
)
from wsgi_proxy.variables.names import Names, compile_text


def exchange(method: str = "GET", port: int = 8080, host: str = "h.test", **settings: object) -> Exchange:
    x = Exchange.from_environ(environ(method, "/", [("Host", host)] if host else [], port))
    x.server = ServerBlock(names=(".own.test",))
    x.location = Location(core=replace(CoreSettings(), **settings))
    x.host, x.host_given = host, bool(host)
    return x


def returned(x: Exchange, status: int, text: str | None = None) -> tuple[int, dict[str, str], bytes]:
    response = return_response(x, Return(status, None if text is None else compile_text(text, Names())))
    return response.status, dict(response.headers), b"".join(response.body)


def test_text() -> None:
    assert returned(exchange(), 200, "hi $uri") == (200, {"Content-Type": "text/plain", "Content-Length": "4"}, b"hi /")
    assert returned(exchange("HEAD"), 200, "hi") == (200, {"Content-Type": "text/plain", "Content-Length": "2"}, b"")
    assert returned(exchange(), 403, "no") == (403, {"Content-Type": "text/plain", "Content-Length": "2"}, b"no")
    assert returned(exchange(default_type=""), 201) == (201, {"Content-Length": "0"}, b"")
    assert returned(exchange(), 204, "x") == (204, {}, b"")
    assert returned(exchange(), 304, "x") == (304, {}, b"")


@pytest.mark.parametrize(("status", "text"), [(404, None), (444, None), (503, "")])
def test_a_status_alone_is_left_to_the_pages(status: int, text: str | None) -> None:
    response = return_response(exchange(), Return(status, None if text is None else compile_text(text, Names())))
    assert (response.status, type(response.outcome)) == (status, Page)


def test_an_empty_value_is_a_text() -> None:
    assert returned(exchange(), 404, "$arg_none")[1]["Content-Length"] == "0"


def test_redirects() -> None:
    response = return_response(exchange(), Return(301, compile_text("http://other/", Names())))
    assert (response.status, response.headers, type(response.outcome)) == (301, [("Location", "http://other/")], Page)


def test_the_own_location_becomes_a_url() -> None:
    response = redirect_response(302, "/x")
    complete_location(exchange(port=80), response)
    assert response.headers == [("Location", "http://h.test/x")]


@pytest.mark.parametrize(
    ("settings", "port", "host", "wanted"),
    [
        ({}, 8080, "h.test", "http://h.test:8080/x"),
        ({}, 80, "h.test", "http://h.test/x"),
        ({"port_in_redirect": False}, 8080, "h.test", "http://h.test/x"),
        ({"server_name_in_redirect": True}, 80, "h.test", "http://own.test/x"),
        ({"absolute_redirect": False}, 8080, "h.test", "/x"),
        ({}, 8080, "", "http://127.0.0.1:8080/x"),
    ],
)
def test_a_path_becomes_a_url(settings: dict[str, object], port: int, host: str, wanted: str) -> None:
    assert absolute(exchange(port=port, host=host, **settings), "/x") == wanted


def test_https_and_other_targets() -> None:
    x = exchange(port=443)
    x.scheme = "https"
    assert absolute(x, "/x") == "https://h.test/x"
    assert absolute(x, "relative") == "relative"


def test_no_client_can_begin_a_field() -> None:
    assert absolute(exchange(), "http://h/\r\nX: y\0") == "http://h/%0D%0AX: y%00"


def test_the_slash_keeps_the_arguments() -> None:
    x = exchange(port=80)
    x.args = "a=b"
    assert slash_redirect(x, "/d e/").header("location") == "/d%20e/?a=b"


@pytest.mark.parametrize(
    ("uri", "types", "wanted"),
    [
        ("/a.html", None, "text/html"), ("/a.HTML", None, "text/html"), ("/a.jpg", None, "image/jpeg"), ("/a.png", None, "d/d"),
        ("/a.png", {"png": "image/png"}, "image/png"), ("/a.html", {}, "d/d"), ("/.html", None, "d/d"),
        ("/a.html/b", None, "d/d"), ("/a", None, "d/d"), ("/a.b.gif", None, "image/gif"),
    ],
)  # fmt: skip
def test_types(uri: str, types: dict[str, str] | None, wanted: str) -> None:
    assert content_type(uri, CoreSettings(types=types, default_type="d/d")) == wanted
