"""ngx_http_proxy_module; its faults are in nginx_faults.py."""

from __future__ import annotations

from typing import Any

from tests.support.directive import faults, location, said
from wsgi_proxy.exchange import Exchange


def test_heads() -> None:
    proxy = location(
        "proxy_set_header A ''; proxy_set_header B $host; proxy_hide_header X-A; proxy_pass_header Server; proxy_method $arg_m; "
        "proxy_set_body b; proxy_http_version 1.0; proxy_pass_request_headers off; proxy_pass_request_body off;"
    ).proxy
    assert [(name, getattr(value, "constant", 0)) for name, value in proxy.set_header or ()] == [("A", ""), ("B", None)]
    assert (proxy.hide_header, proxy.pass_header, proxy.http_version) == (("X-A",), ("Server",), "1.0")
    assert (proxy.pass_request_headers, proxy.pass_request_body, said(proxy.set_body)) == (False, False, "b")
    assert proxy.method is not None


def test_trying_the_next() -> None:
    text = "proxy_next_upstream error http_502 non_idempotent; proxy_next_upstream_tries 2; proxy_next_upstream_timeout 3s;"
    proxy = location(text).proxy
    assert proxy.next_upstream == {"error", "http_502", "non_idempotent"}
    assert (proxy.next_upstream_tries, proxy.next_upstream_timeout) == (2, 3.0)
    assert location("proxy_next_upstream off;").proxy.next_upstream == frozenset()
    assert location("").proxy.next_upstream == {"error", "timeout"}


def test_redirects() -> None:
    def rewritten(text: str, value: str) -> str | None:
        x: Any = type("X", (), {"captures": (), "variables": {}})()
        for rewriter in location(text).proxy.redirect or ():
            found = rewriter(x, value)
            if found is not None:
                return found
        return None

    assert location("").proxy.redirect is None
    assert location("proxy_redirect off;").proxy.redirect == ()
    both = "proxy_pass http://127.0.0.1:1/x/; proxy_redirect http://a/ /a/; proxy_redirect default;"
    assert rewritten(both, "http://a/b") == "/a/b"
    assert rewritten(both, "http://127.0.0.1:1/x/y") == "/y"
    assert rewritten(both, "http://c/") is None
    assert rewritten("proxy_pass http://127.0.0.1:1; proxy_redirect default;", "http://127.0.0.1:1/y") == "/y"
    assert rewritten(r"proxy_redirect ~^http://(\w+)/(.*)$ /$1-$2;", "http://h/p/q") == "/h-p/q"
    assert rewritten("proxy_redirect ~*^HTTP:// https://;", "http://h/") == "https://"


def test_cookies() -> None:
    rewriters = location("proxy_cookie_domain .a .b; proxy_cookie_domain ~^(.+)\\.com$ $1.org;").proxy.cookie_domain
    assert [rewriter(Exchange(), value) for rewriter, value in zip(rewriters, (".A", "x.COM"), strict=True)] == [".b", "x.org"]
    proxy = location("proxy_cookie_domain a b; proxy_cookie_path / /x/; proxy_cookie_flags c secure SameSite=Lax;").proxy
    ((matcher, flags),) = proxy.cookie_flags
    assert (len(proxy.cookie_domain), len(proxy.cookie_path), flags) == (1, 1, ("secure", "samesite=lax"))
    assert matcher(None, "C") and not matcher(None, "d")
    assert location("proxy_cookie_flags off;", "proxy_cookie_flags c secure;").proxy.cookie_flags == ()
    assert faults("proxy_cookie_flags a foo;") == ['invalid parameter "foo"']


def test_the_rest() -> None:
    text = "proxy_bind 127.0.0.1; proxy_ignore_headers Expires Vary; proxy_limit_rate 8k; proxy_temp_path t 1 2;"
    proxy = location(text).proxy
    assert (said(proxy.bind), proxy.ignore_headers, said(proxy.limit_rate)) == ("127.0.0.1", {"expires", "vary"}, "8192")
    assert proxy.temp_path == "/srv/x/t"
    assert faults("proxy_bind 127.0.0.1 transparent;") == ['the "transparent" parameter is not supported by wsgi_proxy']
