"""The request head that an upstream gets, and its fields on the way back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from wsgi_proxy.config import CoreSettings, Location, ProxyPass, ProxySettings
from wsgi_proxy.errors import ProxyError
from wsgi_proxy.exchange import Exchange
from wsgi_proxy.proxy.forwarder import Forwarder
from wsgi_proxy.proxy.request_body import Upload


class Text:
    """A template of a fixed text, as variables.py compiles it."""

    def __init__(self, text: str) -> None:
        self.constant = text

    def __call__(self, x: Exchange) -> str:
        return self.constant


RELATIVE = Location(core=CoreSettings(absolute_redirect=False))


def exchange(target: str = "/", *pairs: tuple[str, str], **more: Any) -> Exchange:
    environ = {
        "REQUEST_METHOD": "GET",
        "wsgi.input": None,
        "RAW_URI": target,
        "SERVER_PROTOCOL": "HTTP/1.1",
        "wsgi_proxy.pairs": list(pairs),
    }
    for name, value in pairs:
        environ["HTTP_" + name.upper().replace("-", "_")] = value
    x = Exchange.from_environ(environ)
    x.proxy_host = "echo"
    for name, value in more.items():
        setattr(x, name, value)
    return x


def forwarder(pattern: str = "/", uri: str | None = None, kind: str = "", **settings: Any) -> Forwarder:
    pass_ = ProxyPass("http://echo" + (uri or ""), "http", "echo", uri, host="echo")
    return Forwarder(Location(kind=kind, pattern=pattern, proxy=ProxySettings(pass_=pass_, **settings)))


SEED: tuple[tuple[str, Callable[[Exchange], str]], ...] = (
    ("Upgrade", lambda x: str(x.environ.get("HTTP_UPGRADE", ""))),
    ("Connection", Text("upgrade")),
    ("Host", lambda x: "h"),
)


def head(at: Forwarder, x: Exchange, upload: Upload | None = None) -> list[str]:
    return at.head(x, x.method, at.target(x), upload).decode("latin-1").split("\r\n")


def test_nginxs_defaults() -> None:
    assert head(forwarder(), exchange("/a%2Fb?c", ("Host", "client"), ("A", "1"))) == [
        "GET /a%2Fb?c HTTP/1.1",
        "Host: echo",
        "A: 1",
        "",
        "",
    ]


def test_a_fixed_connection_upgrade_does_not_cost_keep_alive() -> None:
    x = exchange("/", ("Host", "h"), ("Connection", "keep-alive"))
    assert head(forwarder(set_header=SEED), x) == ["GET / HTTP/1.1", "Host: h", "", ""]
    assert x.upgrade == ""


def test_an_upgrade_that_the_client_asked_for_is_asked_for() -> None:
    x = exchange("/", ("Connection", "keep-alive, Upgrade"), ("Upgrade", "websocket"))
    assert head(forwarder(set_header=SEED), x)[1:4] == ["Host: h", "Connection: upgrade", "Upgrade: websocket"]
    assert x.upgrade == "websocket"


@pytest.mark.parametrize(
    ("protocol", "connection", "upgrade"),
    [
        ("HTTP/1.1", "keep-alive", "websocket"),
        ("HTTP/1.0", "upgrade", "websocket"),
        ("HTTP/1.1", "upgrade", "h2c"),
        ("HTTP/1.1", "upgrade", "websocket, h2c"),
        ("HTTP/1.1", "upgrade", "web socket"),
    ],
)
def test_upgrades_that_are_not_passed_on(protocol: str, connection: str, upgrade: str) -> None:
    x = exchange("/", ("Connection", connection), ("Upgrade", upgrade), protocol=protocol)
    assert not [line for line in head(forwarder(set_header=SEED), x) if "pgrade" in line]


def test_framing_is_ours() -> None:
    at = forwarder(set_header=(("Content-Length", Text("7")), ("Transfer-Encoding", Text("x"))))
    x = exchange("/", ("Content-Length", "3"))
    assert "Content-Length: 5" in head(at, x, Upload(5, data=b"12345"))
    assert not [line for line in head(at, x) if line.startswith(("Content-Length", "Transfer"))]
    assert "Transfer-Encoding: chunked" in head(at, x, Upload(None, source=None))


def test_an_empty_value_takes_a_header_away() -> None:
    at = forwarder(set_header=(("Accept-Encoding", Text("")), ("X-A", Text("1"))))
    assert head(at, exchange("/", ("Accept-Encoding", "gzip"), ("x-a", "2")))[1:] == ["Host: echo", "X-A: 1", "", ""]


def test_a_line_break_in_a_configured_value_is_a_space() -> None:
    at = forwarder(set_header=(("X", lambda x: "a\r\nEvil: 1"), ("Y", Text("b\n  c"))))
    assert head(at, exchange())[1:] == ["Host: echo", "X: a Evil: 1", "Y: b c", "", ""]
    assert at.sent(exchange(), {"x"}) == [("X", "a Evil: 1")]


def test_a_line_break_in_the_request_line_is_a_fault() -> None:
    with pytest.raises(ProxyError):
        forwarder().head(exchange(), "GET\n", "/", None)


@pytest.mark.parametrize(
    ("pattern", "uri", "target", "expected"),
    [
        ("/", None, "//a/../b;x?x&y=", "//a/../b;x?x&y="),
        ("/a/", "/", "/a/b", "/b"),
        ("/a/", "/x/", "/a/b?c", "/x/b?c"),
        ("/a", "/x", "/a/b", "/x/b"),
        ("/a/", "/", "/a/b%20c", "/b%20c"),
        ("/a/", "/", "/a/%41", "/A"),
    ],
)
def test_targets(pattern: str, uri: str | None, target: str, expected: str) -> None:
    from wsgi_proxy.http.uri import normalise

    x = exchange(target)
    x.uri, x.args = normalise(target)
    assert forwarder(pattern, uri).target(x) == expected


def test_a_rewritten_uri_is_sent_escaped() -> None:
    assert forwarder().target(exchange("/old", uri="/new path", args="q=1", uri_changed=True, internal=True)) == "/new%20path?q=1"


def test_redirects_come_back_to_the_location() -> None:
    x = exchange(location=RELATIVE)
    assert forwarder("/a/", "/b/").response_headers(x, [("Location", "http://echo/b/c")]) == [("Location", "/a/c")]
    assert forwarder().response_headers(x, [("Location", "http://echo/c")]) == [("Location", "/c")]
    assert forwarder().response_headers(x, [("Location", "http://other/c")]) == [("Location", "http://other/c")]
    assert forwarder(redirect=()).response_headers(x, [("Location", "http://echo/c")]) == [("Location", "http://echo/c")]
    assert forwarder().response_headers(x, [("Refresh", "5; url=http://echo/c")]) == [("Refresh", "5; url=/c")]


@pytest.mark.parametrize("kind", ["~", "~*", "@"])
def test_redirects_come_back_to_regular_expressions_and_named_locations(kind: str) -> None:
    at = forwarder("^/a" if kind != "@" else "@a", kind=kind)
    assert at.response_headers(exchange(location=RELATIVE), [("Location", "http://echo/c")]) == [("Location", "/c")]


def test_cookies() -> None:
    at = forwarder(
        cookie_domain=(lambda x, value: "example.org" if value == "echo" else None,),
        cookie_path=(lambda x, value: "/a" + value,),
        cookie_flags=((lambda x, name: name == "one", ("secure", "samesite=lax", "nohttponly")),),
    )
    pairs = [("Set-Cookie", "one=1; Domain=echo; Path=/; HttpOnly"), ("Set-Cookie", "two=2; path=/")]
    assert at.response_headers(exchange(), pairs) == [
        ("Set-Cookie", "one=1; Domain=example.org; Path=/a/; Secure; SameSite=Lax"),
        ("Set-Cookie", "two=2; path=/a/"),
    ]


@pytest.mark.parametrize("name", ["Host", "host"])
def test_a_host_that_is_empty_is_the_upstreams(name: str) -> None:
    """HTTP/1.0 without Host, at a server without a name: no HTTP/1.1 request goes out without one (RFC 9112, 3.2)."""
    at = forwarder(set_header=((name, lambda x: ""),))
    assert head(at, exchange("/")) == ["GET / HTTP/1.1", f"{name}: echo", "", ""]
    old = forwarder(set_header=((name, lambda x: ""),), http_version="1.0")
    assert head(old, exchange("/")) == ["GET / HTTP/1.0", "Connection: close", "", ""]
