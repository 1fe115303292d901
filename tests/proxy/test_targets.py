"""The target of a request, fixed or named by variables."""

from __future__ import annotations

import uuid

import pytest

from wsgi_proxy.access.guard import AccessPlan
from wsgi_proxy.errors import ProxyError, UpstreamError
from wsgi_proxy.exchange import Exchange
from wsgi_proxy.nginx import reader as nginx
from wsgi_proxy.proxy.location import CompiledLocation
from wsgi_proxy.proxy.targets import Targets
from wsgi_proxy.shm.shared_memory import SharedMemory


def exchange() -> Exchange:
    return Exchange.from_environ({"REQUEST_METHOD": "GET", "wsgi.input": None, "RAW_URI": "/", "SERVER_PROTOCOL": "HTTP/1.1"})


def targets(pass_: str) -> tuple[Targets, CompiledLocation]:
    text = f"events {{}} http {{ upstream u {{ server 127.0.0.1:1; }} server {{ location / {{ set $v x; {pass_} }} }} }}"
    config = nginx.loads(text)
    known = Targets(config, SharedMemory.open(uuid.uuid4().hex), {})
    location = config.servers[0].locations[0]
    return known, CompiledLocation(location, config.servers[0], AccessPlan(location.guard), known, None)


def test_a_fixed_target_is_made_once_and_named_on_the_record() -> None:
    known, location = targets("proxy_pass http://u;")
    x = exchange()
    target = known.of(x, location)
    assert known.of(exchange(), location) is target
    assert (x.proxy_host, x.proxy_port, x.upstream_name) == ("u", "80", "u")


def test_variables_find_upstreams_by_name_and_hosts_by_address() -> None:
    known, location = targets("proxy_pass http://$v;")
    x = exchange()
    x.variables["v"] = "u"
    assert known.of(x, location).pool is known.pools["u"]
    x.variables["v"] = "127.0.0.1:99/path"
    target = known.of(x, location)
    assert (target.path, [peer.name for peer in target.pool.peers]) == ("/path", ["127.0.0.1:99"])


def test_what_variables_cannot_be() -> None:
    known, location = targets("proxy_pass http://$v;")
    x = exchange()
    x.variables["v"] = ""
    with pytest.raises(ProxyError):
        known.of(x, location)
    x.variables["v"] = "no.such.host.invalid"
    with pytest.raises(UpstreamError):
        known.of(x, location).pool.lease(x)
