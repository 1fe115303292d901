"""The variables that need more than an attribute. `tests/differential/test_log.py` compares the others with nginx."""

from __future__ import annotations

import re
from typing import Any

import pytest

from tests.support.routing import environ
from wsgi_proxy.config import CoreSettings, Location, ServerBlock
from wsgi_proxy.exchange import Exchange
from wsgi_proxy.variables import request as variable_table
from wsgi_proxy.variables.names import Names, compile_text


def exchange(target: str = "/", *fields: tuple[str, str]) -> Exchange:
    x = Exchange.from_environ(environ("GET", target, list(fields), 8080))
    x.uri, _, x.args = target.partition("?")
    x.server, x.location = ServerBlock(), Location()
    return x


def value(name: str, x: Exchange) -> str:
    return compile_text(f"${name}", Names())(x)


def core(x: Exchange, alias_cut: int = 0, **settings: str) -> None:
    names = Names()
    templates: dict[str, Any] = {name: compile_text(text, names) for name, text in settings.items()}
    x.location = Location(core=CoreSettings(alias_cut=alias_cut, **templates))


@pytest.mark.parametrize("name", [*variable_table.TEXT, *variable_table.OPTIONAL])
def test_every_name_has_a_value_on_a_bare_request(name: str) -> None:
    assert isinstance(value(name, exchange()), str)


def test_arguments() -> None:
    assert value("arg_b", exchange("/?a=1&B=2&b=3&c")) == "2"
    assert value("arg_c", exchange("/?ac=1&c")) == ""
    assert value("arg_c", exchange("/?ac=1&c=x%20&d")) == "x%20"


@pytest.mark.parametrize(
    ("text", "wanted"),
    [("a=1; b=2", "2"), ("xb=1; B = 2 ", "2 "), ("a=b=3", None), ("b", None), ("b;b=", ""), ("a=1;;b=2", "2")],
)
def test_cookies(text: str, wanted: str | None) -> None:
    assert variable_table.find_cookie(text, "b") == wanted


@pytest.mark.parametrize(
    ("protocol", "scheme", "expected"), [("HTTP/2.0", "https", "h2"), ("HTTP/2", "http", "h2c"), ("HTTP/1.1", "https", "")]
)
def test_http2(protocol: str, scheme: str, expected: str) -> None:
    x = exchange()
    x.protocol, x.scheme = protocol, scheme
    assert value("http2", x) == expected


def test_times() -> None:
    x = exchange()
    x.started, x.finished_at = 100.0, 100.0125
    assert value("request_time", x) == "0.013"
    assert re.fullmatch(r"\d+\.\d{3}", value("msec", x))


def test_request_id_is_one_for_the_exchange() -> None:
    x = exchange()
    first = value("request_id", x)
    assert re.fullmatch("[0-9a-f]{32}", first) and value("request_id", x) == first != value("request_id", exchange())


def test_files() -> None:
    x = exchange("/a/b")
    x.prefix = "/srv"
    assert value("request_filename", x) == "/srv/html/a/b"
    core(x, root="/www/$host")
    x.host = "h"
    assert (value("document_root", x), value("request_filename", x)) == ("/www/h", "/www/h/a/b")
    core(x, alias="rel/", alias_cut=3)
    x.location = Location(pattern="/a/", core=x.location.core)
    assert value("request_filename", x) == "/srv/rel/b"
    core(x, alias="rel/", alias_cut=-1)
    assert value("request_filename", x) == "/srv/rel/"
    assert value("realpath_root", x) == ""


def test_the_length_of_a_request() -> None:
    x = exchange("/", ("Host", "a"))
    assert value("request_length", x) == str(len("GET / HTTP/1.1\r\nHost: a\r\n\r\n"))
    x.content_length = 10
    assert value("request_length", x) == str(len("GET / HTTP/1.1\r\nHost: a\r\n\r\n") + 10)


def test_the_rate() -> None:
    x = exchange()
    assert value("limit_rate", x) == "0"
    core(x, limit_rate="100")
    assert value("limit_rate", x) == "100"
    x.limit_rate = 5
    assert value("limit_rate", x) == "5"


def test_the_body_in_memory() -> None:
    x = exchange()
    x.request_body = b"\xff"
    assert value("request_body", x) == "\xff"


def test_an_https_url_asked_of_a_forward_proxy() -> None:
    x = exchange("https://h.test/p")
    assert (value("scheme", x), value("request_port", x)) == ("https", "443")
    x = exchange("https://h.test:8443/p")
    assert value("request_port", x) == "8443"
    x = exchange("http://h.test/p")
    x.scheme = "https"
    assert (value("scheme", x), value("request_port", x)) == ("https", "")
