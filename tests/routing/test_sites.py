"""Server blocks by listener and Host."""

from __future__ import annotations

import pytest

from tests.support.routing import environ
from wsgi_proxy.errors import ClientError
from wsgi_proxy.exchange import Exchange
from wsgi_proxy.nginx import reader as nginx
from wsgi_proxy.routing.router import Router

CONF = """
events {}
http {
    server { listen 80; server_name a.test; }
    server { listen 80; listen 81 default_server; server_name b.test *.b.test ~^(?<sub>.+)[.]c[.]test$; }
    server { listen 81; listen 127.0.0.1:82; listen unix:/run/x.sock; server_name d.test; }
}
"""


def router() -> Router:
    return Router(nginx.loads(CONF))


def exchange(host: str, port: int = 80) -> Exchange:
    return Exchange.from_environ(environ("GET", "/", [("Host", host)], port))


def server_of(x: Exchange) -> str:
    router().choose_server(x)
    return x.server.names[0]


@pytest.mark.parametrize(
    ("host", "port", "name"),
    [
        ("a.test", 80, "a.test"), ("b.test", 80, "b.test"), ("x.b.test", 80, "b.test"), ("s.c.test", 80, "b.test"),
        ("none", 80, "a.test"), ("none", 81, "b.test"), ("d.test", 81, "d.test"), ("a.test", 81, "b.test"),
        ("none", 82, "d.test"), ("none", 9999, "a.test"), ("d.test", 9999, "d.test"),
    ],
)  # fmt: skip
def test_the_server_by_port_and_host(host: str, port: int, name: str) -> None:
    assert server_of(exchange(host=host, port=port)) == name


def test_captures_of_a_server_name_each_time() -> None:
    found = router()
    for host, sub in (("one.c.test", "one"), ("two.c.test", "two"), ("one.c.test", "one")):
        x = exchange(host=host)
        found.choose_server(x)
        assert (x.variables, x.captures[1]) == ({"sub": sub}, sub)


def test_many_hosts_do_not_fill_the_memory() -> None:
    found = router()
    for number in range(5000):
        found.choose_server(exchange(host=f"h{number}.test"))
    kept = [group._known for group in found._groups.values()]
    assert max(len(known) for known in kept) <= 1024


@pytest.mark.parametrize("host", ["", "a b", "a/b", "a@b", "a,b", "a:b", "..", "a..b", "[::1", "a?", "a#", "é"])
def test_hosts_that_are_none(host: str) -> None:
    x = exchange(host=host)
    with pytest.raises(ClientError):
        router().route(x)
    assert x.location is not None, "the default server's error pages and logs hold for it"
