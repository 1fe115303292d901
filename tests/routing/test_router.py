"""routing: server blocks by address and Host, locations, internal redirects, and refusals.

tests/differential/test_routing.py compares the choices with nginx. These tests check the parts that nginx does not show: the
exchange, listeners under other servers, and the bounds.
"""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from tests.support.routing import environ
from wsgi_proxy.errors import ClientError, ProxyError
from wsgi_proxy.exchange import Exchange
from wsgi_proxy.nginx import reader as nginx
from wsgi_proxy.response import Page
from wsgi_proxy.routing.router import Router

CONF = """
events {}
http {
    server { listen 80; server_name a.test; SCRIPT
        location / { return 200 root; }
        location /in { internal; return 200 in; }
        location /loop { rewrite ^ /loop last; }
        location /go { rewrite ^/go(.*) /in$1 last; }
        location /files { root /srv; }
        location /files/broken { if ($uri ~ (?<tail>x.*)$) { set $v $tail; } }
        location @name { return 200 "named $uri"; }
        location @move { rewrite ^ /in last; }
    }
    server { listen 80; listen 81 default_server; server_name b.test *.b.test ~^(?<sub>.+)[.]c[.]test$; }
    server { listen 81; listen 127.0.0.1:82; listen unix:/run/x.sock; server_name d.test; }
}
"""


def router(script: str = "") -> Router:
    return Router(nginx.loads(CONF.replace("SCRIPT", script), prefix="/pre"))


def exchange(target: str = "/", host: str | None = "a.test", port: int = 80, method: str = "GET") -> Exchange:
    return Exchange.from_environ(environ(method, target, [] if host is None else [("Host", host)], port))


def routed(found: Router, x: Exchange) -> str:
    response = found.route(x)
    return b"".join(response.body).decode() if response is not None else f"-> {x.location.pattern}"


def test_what_a_route_writes_down() -> None:
    x = exchange("/files/%61//b/../c?q=%20", "A.test:80")
    assert routed(router(), x) == "-> /files"
    assert (x.host, x.uri, x.args, x.prefix) == ("a.test", "/files/a/c", "q=%20", "/pre")
    assert x.server.names == ("a.test",) and x.location.handler in ("", "static")


def server_of(x: Exchange) -> str:
    router().choose_server(x)
    return x.server.names[0]


def test_the_server_by_the_workers_listener() -> None:
    x = exchange(host="none", port=1)
    x.connection = SimpleNamespace(listener=SimpleNamespace(address=("0.0.0.0", 81)), server_addr=("10.0.0.9", 81), tls=None)
    assert server_of(x) == "b.test"
    x = exchange(host="none", port=1)
    x.connection = SimpleNamespace(listener=SimpleNamespace(address="/run/x.sock"), tls=None)
    assert server_of(x) == "d.test"
    x = exchange(host="none", port=1)
    x.connection = SimpleNamespace(listener=SimpleNamespace(address=("0.0.0.0", 82)), server_addr=("127.0.0.1", 82), tls=None)
    assert server_of(x) == "d.test"


def test_the_server_by_another_servers_unix_socket() -> None:
    x = exchange(host="none", port=1)
    x.environ["gunicorn.socket"] = SimpleNamespace(getsockname=lambda: "/run/x.sock")
    assert server_of(x) == "d.test"


def test_no_host() -> None:
    with pytest.raises(ClientError, match="without"):
        router().route(exchange(host=None))
    x = exchange(host=None)
    x.protocol = "HTTP/1.0"
    assert routed(router(), x) == "root" and x.host == "a.test"


@pytest.mark.parametrize("target", ["*", "relative", "/..", "/%", "/a%00"])
def test_targets_that_are_none(target: str) -> None:
    with pytest.raises(ClientError):
        router().route(exchange(target))


def test_internal_locations_are_for_redirects_within() -> None:
    with pytest.raises(ClientError) as caught:
        router().route(exchange("/in"))
    assert caught.value.status == 404
    assert routed(router(), exchange("/go")) == "in"


def test_ten_changes_are_enough() -> None:
    with pytest.raises(ProxyError, match="cycle") as caught:
        router().route(exchange("/loop"))
    assert caught.value.status == 500


def test_redirects_within() -> None:
    found = router()
    x = exchange("/files/a?b")
    found.route(x)
    found.redirect(x, "/in/x", "new=1")
    assert routed(found, x) == "in"
    assert (x.uri, x.args, x.internal, x.uri_changed) == ("/in/x", "new=1", True, True)
    found.redirect(x, "/")
    assert routed(found, x) == "root" and x.args == ""
    with pytest.raises(ProxyError, match="cycle"):
        for _ in range(11):
            found.redirect(x, "/")


def test_named_locations() -> None:
    found = router()
    x = exchange("/files/a")
    found.route(x)
    found.named(x, "@name")
    assert routed(found, x) == "named /files/a"
    found.named(x, "@move")
    assert routed(found, x) == "in" and not x.named_location
    with pytest.raises(ProxyError, match='could not find named location "@none"'):
        found.named(x, "@none")


def test_the_servers_script_runs_first_and_again_after_a_redirect() -> None:
    found = router("set $n x$n; if ($uri = /deny) { return 403; } rewrite ^/old /in last;")
    response = found.route(exchange("/deny"))
    assert response is not None and response.status == 403 and isinstance(response.outcome, Page)
    x = exchange("/old")
    assert routed(found, x) == "in" and x.variables["n"] == "x"
    found.redirect(x, "/files")
    assert routed(found, x) == "-> /files" and x.variables["n"] == "xx"


def test_connect_needs_a_server_with_a_tunnel() -> None:
    with pytest.raises(ClientError) as caught:
        router().route(exchange("h.test:443", method="CONNECT"))
    assert caught.value.status == 405
    conf = "events {} http { server { listen 80; location / { tunnel_pass 127.0.0.1:1; } } }"
    x = exchange("h.test:443", method="CONNECT")
    assert Router(nginx.loads(conf)).route(x) is None
    assert x.location.handler == "tunnel_pass"


def test_a_configuration_without_servers() -> None:
    with pytest.raises(ProxyError) as caught:
        Router(nginx.loads("events {} http {}")).route(exchange())
    assert caught.value.status == 404
