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


def test_names_from_variables_differ_in_more_than_their_case_and_have_no_memory_of_failures() -> None:
    known, location = targets("proxy_pass http://$v;")
    x = exchange()
    x.variables["v"] = "LocalHost:99"
    target = known.of(x, location)
    x.variables["v"] = "localhost:99"
    assert known.of(x, location) is target
    for _ in range(3):
        target.pool.lease(exchange()).settle(failed=True)


def test_what_variables_cannot_be() -> None:
    known, location = targets("proxy_pass http://$v;")
    x = exchange()
    x.variables["v"] = ""
    with pytest.raises(ProxyError):
        known.of(x, location)
    x.variables["v"] = "no.such.host.invalid"
    with pytest.raises(UpstreamError):
        known.of(x, location).pool.lease(x)


def test_a_named_upstream_keeps_its_limits_and_a_socket_has_no_port() -> None:
    known, location = targets("proxy_pass http://$v;")
    x = exchange()
    x.variables["v"] = "U"
    target = known.of(x, location)
    assert (target.limits, x.proxy_host, x.proxy_port) == (known._upstreams["u"], "U", "80")
    x.variables["v"] = "unix:/run/x:/p?q"
    target = known.of(x, location)
    assert [peer.address for peer in target.pool.peers] == ["/run/x"]
    assert (target.path, x.proxy_host, x.proxy_port) == ("/p?q", "localhost", "")
    x.variables["v"] = "unix:" + "x" * 108
    with pytest.raises(ProxyError, match="too long path in the unix domain socket in upstream"):
        known.of(x, location)


def test_a_socket_that_the_client_names_is_judged() -> None:
    known, location = targets("proxy_pass http://unix:$arg_v;")
    x = exchange()
    x.args = "v=/run/x"
    assert known.of(x, location).judged


def judged(names: str, place: str, host: str = "a.test", uri: str = "/127.0.0.1:9") -> bool:
    text = f"events {{}} http {{ upstream u {{ server 127.0.0.1:1; }} server {{ server_name {names}; {place} }} }}"
    config = nginx.loads(text)
    known = Targets(config, SharedMemory.open(uuid.uuid4().hex), {})
    block = config.servers[0]
    x = exchange()
    x.host, x.server, x.uri = host, block, uri
    found = block.locations[0].regex
    if found is not None:
        match = found.search(uri)
        assert match is not None
        x.captures = (match[0], *match.groups())
        x.variables.update(match.groupdict())
    compiled = CompiledLocation(block.locations[0], block, AccessPlan(block.locations[0].guard), known, None)
    return known.of(x, compiled).judged


def test_only_a_host_that_the_client_chooses_is_judged() -> None:
    assert not judged("localhost", "location / { proxy_pass http://$host:8080; }", "localhost")
    assert judged("_", "location / { proxy_pass http://$host:8080; }", "localhost")
    assert not judged("_", "location ~ :([0-9]+)$ { proxy_pass http://127.0.0.1:$1; }")
    assert not judged("_", "location ~ :(?<port>[0-9]+)$ { proxy_pass http://127.0.0.1:$port; }")
    assert judged("_", "location ~ ^/(.+)$ { proxy_pass http://$1; }")
    assert judged("_", "location ~ ^/(?<to>.+)$ { proxy_pass http://$to; }")
    # An upstream block is the configuration's, an address of another proxy_pass is not.
    assert not judged("_", "location ~ ^/(.+)$ { proxy_pass http://$1; }", uri="/u")
    assert judged("_", "location ~ ^/(.+)$ { proxy_pass http://$1; } location /x { proxy_pass http://127.0.0.1:9; }")
