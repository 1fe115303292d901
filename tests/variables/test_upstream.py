"""Variables with one value for each attempt, and the fields of the upstream's response."""

from __future__ import annotations

import pytest

from tests.support.routing import environ
from wsgi_proxy.exchange import Exchange
from wsgi_proxy.response import Attempt
from wsgi_proxy.variables import upstream as variable_upstream
from wsgi_proxy.variables.names import Names, compile_text


def exchange(*fields: tuple[str, str]) -> Exchange:
    return Exchange.from_environ(environ("GET", "/", list(fields), 80))


def value(name: str, x: Exchange) -> str:
    return compile_text(f"${name}", Names())(x)


def attempt(address: str, status: int = 0, seconds: float | None = None, sent: int = 0) -> Attempt:
    found = Attempt(address)
    found.status, found.bytes_sent, found.bytes_received, found.response_length = status, sent, sent * 2, sent * 3
    found.response_time = found.connect_time = found.header_time = seconds
    return found


@pytest.mark.parametrize("name", [*variable_upstream.TEXT, *variable_upstream.OPTIONAL])
def test_every_name_has_a_value_on_a_bare_request(name: str) -> None:
    assert isinstance(value(name, exchange()), str)


def test_attempts_are_parted_by_commas_and_groups_by_colons() -> None:
    x = exchange()
    x.tries = [attempt("a:1", 502), attempt("b:1", 200, 0.0125, 10)]
    assert value("upstream_addr", x) == "a:1, b:1"
    assert value("upstream_status", x) == "502, 200"
    assert value("upstream_response_time", x) == "-, 0.013"
    assert value("upstream_bytes_sent", x) == "0, 10"
    assert value("upstream_bytes_received", x) == "0, 20"
    assert value("upstream_response_length", x) == "0, 30"
    x.tries += [Attempt(""), attempt("c:1", 200, 1.0)]
    assert value("upstream_addr", x) == "a:1, b:1 : c:1"
    assert value("upstream_status", x) == "502, 200 : 200"
    assert value("upstream_connect_time", x) == "-, 0.013 : 1.000"
    x.tries.pop()
    assert value("upstream_addr", x) == "a:1, b:1 : "


def test_one_attempt_without_a_status() -> None:
    x = exchange()
    x.tries = [attempt("a:1")]
    assert (value("upstream_addr", x), value("upstream_status", x), value("upstream_header_time", x)) == ("a:1", "-", "-")


def test_fields_and_cookies_of_the_upstream() -> None:
    x = exchange()
    x.upstream_pairs = [("X-Y", "1"), ("x-y", "2")]
    x.upstream_pairs += [("Set-Cookie", "sid=a; Path=/"), ("set-cookie", "SID=b"), ("Set-Cookie", "side=c")]
    x.upstream_trailers = [("Sum", "9")]
    assert value("upstream_http_x_y", x) == "1, 2"
    assert value("upstream_cookie_sid", x) == "a"
    assert value("upstream_trailer_sum", x) == "9"


def test_forwarded_for() -> None:
    assert value("proxy_add_x_forwarded_for", exchange()) == "127.0.0.1"
    assert value("proxy_add_x_forwarded_for", exchange(("X-Forwarded-For", "1.1.1.1"))) == "1.1.1.1, 127.0.0.1"
