"""The arrival of a request: raw fields, other servers, absolute form, framing."""

from __future__ import annotations

import io
from typing import Any

import pytest

from wsgi_proxy.errors import ClientError
from wsgi_proxy.exchange import Exchange


def exchange(**environ: Any) -> Exchange:
    return Exchange.from_environ({"REQUEST_METHOD": "GET", "wsgi.input": io.BytesIO(), **environ})


def test_raw_pairs_and_target_are_taken_when_the_server_hands_them_over() -> None:
    x = exchange(**{"wsgi_proxy.pairs": [("x-A", "1")], "RAW_URI": "/a%2Fb?c", "wsgi_proxy.connection": "c"})
    assert (x.pairs, x.target, x.connection) == ([("x-A", "1")], "/a%2Fb?c", "c")


def test_other_servers_give_what_they_have() -> None:
    x = exchange(HTTP_X_A="1", CONTENT_TYPE="t/x", PATH_INFO="/a b", QUERY_STRING="q")
    assert sorted(x.pairs) == [("Content-Type", "t/x"), ("X-A", "1")]
    assert x.target == "/a%20b?q"


@pytest.mark.parametrize(
    ("target", "host", "path"),
    [("http://a:81/b?c", "a:81", "/b?c"), ("HTTPS://a", "a", "/"), ("http://a?x", "a", "/?x")],
)
def test_absolute_form_names_the_host(target: str, host: str, path: str) -> None:
    info, _, query = path.partition("?")
    for keys in (
        {},
        {"HTTP_HOST": "other", "wsgi_proxy.pairs": [("Host", host)], "wsgi_proxy.keys": {"HTTP_HOST": "other"}},
    ):
        x = exchange(RAW_URI=target, PATH_INFO=info, QUERY_STRING=query, **keys)
        assert (x.environ["HTTP_HOST"], x.target, x.raw_target) == (host, path, target)
        assert x.pairs == [("Host", host)]


def test_a_host_that_may_be_a_middleware_s_stays_in_absolute_form() -> None:
    """Other servers do not hand over the client's fields, so that the environ's Host may be the client's or a middleware's."""
    x = exchange(RAW_URI="http://a/b", HTTP_HOST="edited", PATH_INFO="/b")
    assert (x.environ["HTTP_HOST"], x.target, x.absolute, x.pairs) == ("edited", "/b", "http", [("Host", "edited")])
    x = exchange(RAW_URI="a:443", HTTP_HOST="b", REQUEST_METHOD="CONNECT")
    assert (x.environ["HTTP_HOST"], x.target) == ("a:443", "a:443")


def test_a_middleware_s_host_stays_in_absolute_form() -> None:
    raw = {"wsgi_proxy.pairs": [("Host", "a")], "wsgi_proxy.keys": {"HTTP_HOST": "a"}, "RAW_URI": "http://a/b", "PATH_INFO": "/b"}
    x = exchange(**raw, HTTP_HOST="edited")
    assert (x.environ["HTTP_HOST"], x.target, x.absolute, x.pairs) == ("edited", "/b", "http", [("Host", "edited")])
    assert exchange(**raw, HTTP_HOST="a").pairs == [("Host", "a")]


def test_the_environ_s_framing_counts() -> None:
    raw = {"wsgi_proxy.pairs": [("Content-Length", "3")], "wsgi_proxy.keys": {"CONTENT_LENGTH": "3"}, "PATH_INFO": "/"}
    assert exchange(**raw, CONTENT_LENGTH="3").content_length == 3
    assert exchange(**raw, CONTENT_LENGTH="5").content_length == 5
    assert exchange(**raw).content_length is None and exchange(**raw).pairs == []
    with pytest.raises(ClientError):
        exchange(**raw, CONTENT_LENGTH="x")
    changed = exchange(**raw, HTTP_TRANSFER_ENCODING="chunked", **{"wsgi.input_terminated": True})
    assert changed.chunked and changed.content_length is None


def test_userinfo_is_refused_and_other_forms_stay() -> None:
    with pytest.raises(ClientError):
        exchange(RAW_URI="http://u:p@a/")
    assert exchange(RAW_URI="*", REQUEST_METHOD="OPTIONS").target == "*"
    assert exchange(RAW_URI="a:443", REQUEST_METHOD="CONNECT").target == "a:443"


@pytest.mark.parametrize("length", ["-1", "+1", "1 ", "1,1", "0x1", "²"])
def test_a_length_is_digits(length: str) -> None:
    with pytest.raises(ClientError):
        exchange(RAW_URI="/", CONTENT_LENGTH=length)


def test_http2_under_another_server() -> None:
    """No length is needed there, and gunicorn invents HTTP_VERSION."""
    environ = {"REQUEST_METHOD": "POST", "RAW_URI": "/", "SERVER_PROTOCOL": "HTTP/2.0", "HTTP_VERSION": "2", "HTTP_X": "y"}
    x = Exchange.from_environ({**environ, "wsgi.input": io.BytesIO(b"hello")})
    assert x.chunked and x.pairs == [("X", "y")]
    assert [x.input.read(0), x.input.read(1), x.input.read(2), x.input.read(), x.input.read(5)] == [b"", b"h", b"el", b"lo", b""]
    whole = Exchange.from_environ({**environ, "wsgi.input": io.BytesIO(b"hello")}).input
    assert (whole.read(), whole.read()) == (b"hello", b"")
    assert Exchange.from_environ({**environ, "wsgi.input": io.BytesIO(b"hello")}).input.read(3) == b"hel"
    assert not Exchange.from_environ({**environ, "wsgi.input": io.BytesIO()}).chunked
    with pytest.raises(ClientError):
        Exchange.from_environ({**environ, "RAW_URI": "http://b/", "wsgi.input": io.BytesIO()})
