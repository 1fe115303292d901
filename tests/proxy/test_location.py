"""Compiled locations: created at the start, one for each settings of a location."""

from __future__ import annotations

import io

from wsgi_proxy.exchange import Exchange
from wsgi_proxy.nginx import reader as nginx
from wsgi_proxy.proxy.location import CompiledLocation
from wsgi_proxy.proxy.proxy import Proxy
from wsgi_proxy.response import Response

CONF = """events {} http {
    proxy_cache_path memory keys_zone=z:1m;
    upstream u { server 127.0.0.1:1; }
    server {
        add_header X-Server 1;
        location / { return 200; }
        location /plain { if ($arg_a) { add_header X-If 1; } return 204; }
        location /cached/ { proxy_pass http://u; proxy_cache z; limit_rate 1k; }
        location /named { proxy_pass http://$arg_h; }
        location /tunnel { tunnel_pass u; }
        location /twice { rewrite ^ /plain last; }
    }
}"""


def routed(proxy: Proxy, target: str) -> tuple[Exchange, CompiledLocation]:
    environ = {"REQUEST_METHOD": "GET", "wsgi.input": io.BytesIO(), "wsgi_proxy.pairs": [("Host", "h")], "RAW_URI": target}
    exchange = Exchange.from_environ({**environ, "HTTP_HOST": "h"})
    proxy.router.choose_server(exchange)
    proxy.router.route(exchange)
    compiled: CompiledLocation = exchange.compiled
    assert compiled.location is exchange.location
    return exchange, compiled


def test_each_place_has_its_own_and_nothing_is_made_by_a_request() -> None:
    proxy = Proxy(nginx.loads(CONF))
    try:
        _, cached = routed(proxy, "/cached/x")
        assert cached.forwarder is not None and cached.cache is not None and cached.target is not None and cached.paced
        assert cached.handler is None and cached.target.pool is proxy.targets.pools["u"]
        _, named = routed(proxy, "/named")
        assert named.forwarder is not None and named.target is None and named.cache is None
        _, tunnel = routed(proxy, "/tunnel")
        assert tunnel.forwarder is None and tunnel.handler is not None
        # The same object for every request, also after a rewrite; the redirect to the slash shares that of its location.
        _, plain = routed(proxy, "/plain")
        assert routed(proxy, "/twice")[1] is plain and routed(proxy, "/plain")[1] is plain
        assert routed(proxy, "/cached")[1] is cached
    finally:
        proxy.close()


def test_an_if_has_its_own() -> None:
    proxy = Proxy(nginx.loads(CONF))
    try:
        fields = {}
        for target in ("/plain", "/plain?a=1", "/"):
            exchange, compiled = routed(proxy, target)
            response = Response(200)
            assert compiled.finisher is not None
            compiled.finisher(exchange, response)
            fields[target] = response.headers
        assert fields == {"/plain": [("X-Server", "1")], "/plain?a=1": [("X-If", "1")], "/": [("X-Server", "1")]}
    finally:
        proxy.close()
