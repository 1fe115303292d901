"""The fields of a request: RFC 9113, sections 8.1 to 8.3, and what HTTP/1.1 would refuse as well."""

from __future__ import annotations

import pytest

from tests.support.frames import Pairs, fields
from wsgi_proxy.errors import ClientError
from wsgi_proxy.worker.http2.fields import read_request, read_trailers
from wsgi_proxy.worker.http2.frames import StreamFault
from wsgi_proxy.worker.settings import ListenerSettings

SETTINGS = ListenerSettings()


def without(*names: str) -> Pairs:
    return [pair for pair in fields() if pair[0] not in names]


def test_a_request() -> None:
    head = read_request(fields(("x-a", "1"), ("content-length", "5"), ("expect", "100-Continue"), method="PUT"), False, SETTINGS)
    assert (head.method, head.target, head.uri, head.version, head.content_length) == ("PUT", "/", "/", (1, 1), 5)
    assert head.pairs == [("host", "a.example"), ("x-a", "1"), ("content-length", "5"), ("expect", "100-Continue")]
    assert head.expect_continue and head.keep_alive and not head.chunked and not head.underscored
    assert head.keys["HTTP_HOST"] == "a.example" and head.keys["CONTENT_LENGTH"] == "5"


GOOD: dict[str, tuple[Pairs, Pairs]] = {
    "a Host that agrees": (fields(("host", "a.example")), [("host", "a.example")]),
    "a Host alone": ([*without(":authority"), ("x", "1"), ("host", "b:80")], [("x", "1"), ("host", "b:80")]),
    "cookies": (fields(("cookie", "a"), ("x", "1"), ("cookie", "b")), [("host", "a.example"), ("x", "1"), ("cookie", "a; b")]),
    "an empty value": (fields(("x", "")), [("host", "a.example"), ("x", "")]),
    "bytes above 127": (fields(("x", "\x80\xff")), [("host", "a.example"), ("x", "\x80\xff")]),
    "white space around a value": (fields(("x", " a\t"), ("y", "\t ")), [("host", "a.example"), ("x", "a"), ("y", "")]),
    "a tab within": (fields(("x", "a\tb")), [("host", "a.example"), ("x", "a\tb")]),
    "OPTIONS *": (fields(method="OPTIONS", path="*"), [("host", "a.example")]),
    "another scheme": (fields(scheme="https"), [("host", "a.example")]),
    "CONNECT": ([(":method", "CONNECT"), (":authority", "b:443")], [("host", "b:443")]),
}


@pytest.mark.parametrize("name", GOOD)
def test_what_is_good(name: str) -> None:
    sent, pairs = GOOD[name]
    assert read_request(sent, True, SETTINGS).pairs == pairs


MALFORMED: dict[str, Pairs] = {
    "no method": without(":method"),
    "no path": without(":path"),
    "no scheme": without(":scheme"),
    "an empty path": fields(path=""),
    "an empty method": fields(method=""),
    "two methods": [(":method", "GET"), *fields()],
    "two paths": [*fields()[:4], (":path", "/b")],
    "a pseudo-header of a response": [*fields(), (":status", "200")],
    "an unknown pseudo-header": [(":protocol", "websocket"), *fields()],
    "a pseudo-header behind a field": [("x", "1"), *fields()],
    "a pseudo-header among fields": [*without(":path"), ("x", "1"), (":path", "/")],
    "a name in capitals": fields(("X", "1")),
    "an empty name": fields(("", "1")),
    "a colon in a name": fields(("x:y", "1")),
    "a space in a name": fields(("x y", "1")),
    "a line in a name": fields(("x\r\ny", "1")),
    "a byte above 127 in a name": fields(("x\xe9", "1")),
    "CR in a value": fields(("x", "a\rb")),
    "LF in a value": fields(("x", "a\nb")),
    "NUL in a value": fields(("x", "a\0b")),
    "DEL in a value": fields(("x", "a\x7fb")),
    "LF in the path": fields(path="/a\nb"),
    "LF in the authority": fields(authority="a\nb"),
    "an invalid scheme": fields(scheme="ht tp"),
    "connection": fields(("connection", "close")),
    "keep-alive": fields(("keep-alive", "1")),
    "proxy-connection": fields(("proxy-connection", "close")),
    "transfer-encoding": fields(("transfer-encoding", "chunked")),
    "upgrade": fields(("upgrade", "h2c")),
    "te": fields(("te", "gzip")),
    "two te": fields(("te", "trailers, gzip")),
    "two Hosts": [*without(":authority"), ("host", "a"), ("host", "a")],
    "content-length twice": fields(("content-length", "1"), ("content-length", "1")),
    "a content-length that is none": fields(("content-length", "+1")),
    "an empty content-length": fields(("content-length", "")),
    "a content-length of two numbers": fields(("content-length", "1, 1")),
    "CONNECT with a path": fields(method="CONNECT"),
    "CONNECT without an authority": [(":method", "CONNECT")],
}


@pytest.mark.parametrize("name", MALFORMED)
def test_what_is_malformed(name: str) -> None:
    with pytest.raises(StreamFault) as caught:
        read_request(MALFORMED[name], False, SETTINGS)
    assert caught.value.code == 1


REFUSED: dict[str, tuple[Pairs, int]] = {
    "another Host": (fields(("host", "b")), 400),
    "no host": (without(":authority"), 400),
    "an empty authority": (fields(authority=""), 400),
    "a user in the authority": (fields(authority="u@a"), 400),
    "a list of hosts": (fields(authority="a,b c"), 400),
    "a method in lower case": (fields(method="get"), 400),
    "a space in the method": (fields(method="GE T"), 400),
    "a space in the path": (fields(path="/a b"), 400),
    "a fragment": (fields(path="/a#b"), 400),
    "a path without a slash": (fields(path="a"), 400),
    "a URL": (fields(path="http://b/"), 400),
    "an asterisk": (fields(path="*"), 400),
    "CONNECT without a port": ([(":method", "CONNECT"), (":authority", "b")], 400),
    "TRACE": (fields(method="TRACE"), 405),
    "a long target": (fields(path="/" + "x" * 8190), 414),
    "a long field": (fields(("x", "y" * 8190)), 494),
    "many fields": (fields(*[(f"x{n}", "y" * 4000) for n in range(9)]), 494),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused(name: str) -> None:
    sent, status = REFUSED[name]
    with pytest.raises(ClientError) as caught:
        read_request(sent, True, SETTINGS)
    assert caught.value.status == status


def test_a_length_without_a_body() -> None:
    with pytest.raises(StreamFault):
        read_request(fields(("content-length", "1")), True, SETTINGS)
    assert read_request(fields(("content-length", "0")), True, SETTINGS).content_length == 0


def test_so_many_fields() -> None:
    """nginx counts no pseudo-header field, not even the authority, and each cookie by itself."""
    settings = ListenerSettings(max_fields=2)
    assert len(read_request(fields(("x", "1"), ("y", "2")), True, settings).pairs) == 3
    for more in (("z", "3"), ("cookie", "a=b")):
        with pytest.raises(ClientError):
            read_request(fields(("x", "1"), ("cookie", "c=d"), more), True, settings)


def test_underscores_are_noted() -> None:
    head = read_request(fields(("x_a", "1")), True, SETTINGS)
    assert head.underscored and "HTTP_X_A" not in head.keys


def test_trailers() -> None:
    """RFC 9110, section 6.5.1: those that frame or route a message are left out."""
    assert read_trailers([("x-sum", "1"), ("content-length", "5"), ("host", "b"), ("x_y", "1")]) == [("x-sum", "1")]
    for bad in ((":path", "/"), ("X", "1"), ("x", "a\nb"), ("connection", "close")):
        with pytest.raises(StreamFault):
            read_trailers([bad])


def test_unique_fields() -> None:
    assert read_request(fields(("if-match", "a"), ("if-range", "a"), ("authorization", "a")), True, SETTINGS).pairs
    for name in ("authorization", "expect", "if-none-match", "content-range"):
        with pytest.raises(ClientError, match=f"client sent {name} twice"):
            read_request(fields((name, "a"), ("x", "y"), (name, "a")), True, SETTINGS)
