"""Targets, and bodies that settle what they hold."""

from __future__ import annotations

import uuid
from types import SimpleNamespace

import pytest

from tests.support import Recorder
from wsgi_proxy.config import Policy, ProxySettings
from wsgi_proxy.errors import ProxyError, UpstreamError
from wsgi_proxy.exchange import Exchange
from wsgi_proxy.nginx import reader as nginx
from wsgi_proxy.proxy.forwarder import Forwarder
from wsgi_proxy.proxy.forwarding import Forwarded, Targets
from wsgi_proxy.response import Attempt
from wsgi_proxy.shm.shared_memory import PrivateMemory, SharedMemory
from wsgi_proxy.transport.route import Route
from wsgi_proxy.transport.session import Outgoing, Transport
from wsgi_proxy.upstream.pool import Pool


def exchange() -> Exchange:
    return Exchange.from_environ({"REQUEST_METHOD": "GET", "wsgi.input": None, "RAW_URI": "/", "SERVER_PROTOCOL": "HTTP/1.1"})


def targets(pass_: str) -> tuple[Targets, Forwarder]:
    text = f"events {{}} http {{ upstream u {{ server 127.0.0.1:1; }} server {{ location / {{ set $v x; {pass_} }} }} }}"
    config = nginx.loads(text)
    return Targets(config, SharedMemory.open(uuid.uuid4().hex), {}), Forwarder(config.servers[0].locations[0])


def test_a_fixed_target_is_made_once_and_named_on_the_record() -> None:
    known, forwarder = targets("proxy_pass http://u;")
    x = exchange()
    target = known.of(x, forwarder)
    assert known.of(exchange(), forwarder) is target
    assert (x.proxy_host, x.proxy_port, x.upstream_name) == ("u", "80", "u")


def test_variables_find_upstreams_by_name_and_hosts_by_address() -> None:
    known, forwarder = targets("proxy_pass http://$v;")
    x = exchange()
    x.variables["v"] = "u"
    assert known.of(x, forwarder).pool is known.pools["u"]
    x.variables["v"] = "127.0.0.1:99/path"
    target = known.of(x, forwarder)
    assert (target.path, [peer.name for peer in target.pool.peers]) == ("/path", ["127.0.0.1:99"])


def test_what_variables_cannot_be() -> None:
    known, forwarder = targets("proxy_pass http://$v;")
    x = exchange()
    x.variables["v"] = ""
    with pytest.raises(ProxyError):
        known.of(x, forwarder)
    x.variables["v"] = "no.such.host.invalid"
    with pytest.raises(UpstreamError):
        known.of(x, forwarder).pool.lease(x)


def test_closing_settles_once() -> None:
    settings = ProxySettings()
    response = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
    with Recorder(lambda request, wire: wire.send(response)) as upstream:
        policy = Policy("least_time", options=("last_byte",))
        pool = Pool([upstream.url, upstream.url.replace("127.0.0.1", "127.0.0.2")], policy, memory=PrivateMemory())
        lease, attempt = pool.lease(SimpleNamespace(tried=None)), Attempt("a")
        pool.lease(SimpleNamespace(tried=None))
        index = lease.peer.index
        transport = Transport()
        out = Outgoing("GET", b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        reply = transport.send(out, Route.of(pool.peers[0], "http", settings))
        attempt.header_time = 0.5
        body = Forwarded(reply, lease, attempt, None, settings)
        assert b"".join(body) == b"hello"
        body.close()
        body.close()
        transport.close()
    assert pool.counts.totals == [0 if number == index else 1 for number in range(2)]
    assert pool.health.standing(index).header_ms == 500 and not pool.health.standing(index).fails
    assert attempt.response_time is not None and attempt.bytes_received == 15
    assert attempt.response_length == 5
