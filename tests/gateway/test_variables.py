"""The CGI variables of a location."""

from __future__ import annotations

import io
from typing import Any

import pytest

from tests.support.directive import http, location
from tests.support.gateway import Asked, _fastcgi
from tests.support.routing import environ
from wsgi_proxy.exchange import Exchange
from wsgi_proxy.gateway import FastCGI, Variables, direct
from wsgi_proxy.http import FieldLine, headers
from wsgi_proxy.http.request_lines import FieldName


def asked(text: str, fields: list[tuple[str, str]] | None = None, **changes: Any) -> Asked:
    """Return the request that a location with these directives sends."""
    where = location(f"fastcgi_pass 127.0.0.1:9000; {text}")
    settings = where.proxy.gateway
    assert settings is not None
    exchange = Exchange.from_environ(environ("GET", "/a?b", fields or [], 80))
    exchange.location = where
    for name, value in changes.items():
        setattr(exchange, name, value)
    chosen = headers.RequestFilter((), dropped=headers.GATEWAY_DROPPED)
    head = Variables(settings).head(exchange, exchange.pairs, chosen, None)
    found = _fastcgi(io.BytesIO(head + FastCGI(settings).end()))
    assert found is not None
    return found


def test_parameters_in_the_order_written_then_fields() -> None:
    found = asked("fastcgi_param B $request_method; fastcgi_param A x; fastcgi_param B again;", [("X-One", "1")])
    assert found.params[:3] == [(b"B", b"GET"), (b"A", b"x"), (b"B", b"again")]
    assert found["HTTP_X_ONE"] == "1"


def test_if_not_empty() -> None:
    found = asked(
        'fastcgi_param A "" if_not_empty; fastcgi_param B ""; fastcgi_param C $arg_none if_not_empty;'
        "fastcgi_param D $arg_none; fastcgi_param E $uri if_not_empty;",
        uri="/e",
    )
    assert [name for name in found.names() if len(name) == 1] == ["B", "D", "E"]
    assert (found["B"], found["D"], found["E"]) == ("", "", "/e")


@pytest.mark.parametrize(
    ("fields", "wanted"),
    [
        ([("X-A", "1"), ("x-a", "2")], {"HTTP_X_A": "1, 2"}),
        ([("Cookie", "a=1"), ("Cookie", "b=2")], {"HTTP_COOKIE": "a=1; b=2"}),
        ([("Proxy", "http://evil.test"), ("X-Ok", "1")], {"HTTP_X_OK": "1"}),
        ([("X_Under", "1"), ("X-Ok", "1")], {"HTTP_X_OK": "1"}),
        (
            [("Connection", "close, X-Gone"), ("X-Gone", "1"), ("X-Ok", "1")],
            {"HTTP_X_OK": "1", "HTTP_CONNECTION": "close, X-Gone"},
        ),
        ([("Content-Type", "a/b"), ("Content-Length", "0")], {"HTTP_CONTENT_TYPE": "a/b", "HTTP_CONTENT_LENGTH": "0"}),
        ([("X-Set", "client")], {}),
        ([("X-Latin", "\xe9")], {"HTTP_X_LATIN": "\xe9"}),
    ],
)
def test_the_fields_of_a_client(fields: list[tuple[str, str]], wanted: dict[str, str]) -> None:
    found = asked("fastcgi_param HTTP_X_SET file;", fields)
    left = {name: found[name] for name in found.names() if name not in ("HTTP_HOST", "HTTP_X_SET")}
    assert left == wanted
    assert found["HTTP_X_SET"] == "file"


def test_a_level_that_sets_a_parameter_inherits_none() -> None:
    for text, names in (("fastcgi_param A b;", ["A"]), ("", ["C", "D"])):
        gateway = location(f"fastcgi_pass a:1; {text}", "fastcgi_param C d; fastcgi_param D e;").proxy.gateway
        assert gateway is not None and [param.name for param in gateway.param] == names


def test_a_value_with_a_zero_byte() -> None:
    found = asked("set $a x; fastcgi_param A $a; fastcgi_param B $uri; fastcgi_param C c$uri;", uri="/e", variables={"a": "x\0y"})
    assert (found["A"], found["B"], found["C"]) == ("x\0y", "/e", "c/e")


def test_parameters_of_an_inner_level_are_not_those_of_the_outer() -> None:
    outer = "server { fastcgi_param A $uri.; fastcgi_param B $args.; location / { fastcgi_pass a:1; %s } }"
    for text, count in (("", 2), ("fastcgi_param C $host.;", 1), ("fastcgi_param C c;", 1)):
        gateway = http(outer % text).servers[0].locations[0].proxy.gateway
        assert gateway is not None and gateway.values is not None and len(gateway.param) == count
        exchange = Exchange()
        exchange.uri, exchange.host = "/u", "h"
        assert gateway.values(exchange) == {"": ("/u.", "."), "fastcgi_param C $host.;": ("h.",), "fastcgi_param C c;": ()}[text]


READ = "query_string request_method request_uri document_uri uri server_protocol scheme https remote_addr remote_port host"


@pytest.mark.parametrize("name", READ.split())
@pytest.mark.parametrize("absolute", ["", "https"])
@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize("addr", ["", "10.1.2.3"])
def test_values_that_are_read_directly_are_those_of_the_variables(name: str, absolute: str, scheme: str, addr: str) -> None:
    assert direct(f"${name}") and direct(f"${{{name.upper()}}}")
    changes = {
        "absolute": absolute, "scheme": scheme, "remote_addr": addr, "remote_port": "5", "args": "q=1", "uri": "/u",
        "host": "h.example",
        "protocol": "HTTP/1.1", "method": "PUT", "target": "/u?q=1",
    }  # fmt: skip
    found = asked(f'fastcgi_param A ${name}; fastcgi_param B "${name}.";', **changes)
    assert found["A"] + "." == found["B"]


def test_a_subrequest_shows_the_method_of_the_client() -> None:
    assert asked("fastcgi_param A $request_method;", main=Exchange())["A"] == "GET"


def _lines(fields: list[tuple[str, str]]) -> list[FieldLine]:
    return [FieldLine(FieldName(name), value, f"{name}: {value}".encode("latin-1")) for name, value in fields]


@pytest.mark.parametrize(
    "fields",
    [
        [("Host", "h.example"), ("X-A", "1"), ("X_Under", "1"), ("Proxy", "x"), ("Content-Type", "a/b"), ("X-Latin", "\xe9")],
        [("X-A", "1"), ("Host", "h.example"), ("x-a", "2"), ("Cookie", "a=1"), ("Cookie", "b=2")],
        [("Connection", "close, X-Gone"), ("X-Gone", "1"), ("X-A", "1")],
        [],
    ],
)
@pytest.mark.parametrize("protocol", ["fastcgi", "uwsgi", "scgi"])
def test_lines_are_sent_as_fields_are(fields: list[tuple[str, str]], protocol: str) -> None:
    """Lines that hold their form, twice and for each protocol, give the variables of the same fields without lines."""
    settings = location(f"{protocol}_pass 127.0.0.1:9000; {protocol}_param A $arg_a; {protocol}_param B $uri;").proxy.gateway
    assert settings is not None
    variables = Variables(settings)
    plain = headers.RequestFilter((), dropped=headers.GATEWAY_DROPPED)
    lines = _lines(fields)
    others = location("uwsgi_pass 127.0.0.1:9000;").proxy.gateway, location("scgi_pass 127.0.0.1:9000;").proxy.gateway
    for number in range(3):
        exchange = Exchange.from_environ(environ("GET", f"/u{number // 2}?a={number}", fields, 80))
        wanted = Variables(settings).head(exchange, exchange.pairs, plain, None)
        exchange.fields = lines
        chosen = headers.RequestFilter((), dropped=headers.GATEWAY_DROPPED)
        assert variables.head(exchange, exchange.pairs, chosen, None, edited=False) == wanted
        other = others[number % 2]
        assert other is not None
        Variables(other).head(exchange, exchange.pairs, chosen, None, edited=False)
