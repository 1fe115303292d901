"""Targets, and bodies that settle what they hold."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from wsgi_proxy import nginx
from wsgi_proxy.config import ProxySettings
from wsgi_proxy.errors import ProxyError, UpstreamError
from wsgi_proxy.exchange import Exchange, Try
from wsgi_proxy.forwarder import Forwarder
from wsgi_proxy.forwarding import Forwarded, Targets
from wsgi_proxy.zone import Zone


def exchange() -> Exchange:
    return Exchange({"REQUEST_METHOD": "GET", "wsgi.input": None, "RAW_URI": "/", "SERVER_PROTOCOL": "HTTP/1.1"})


def targets(pass_: str) -> tuple[Targets, Forwarder]:
    text = f"events {{}} http {{ upstream u {{ server 127.0.0.1:1; }} server {{ location / {{ set $v x; {pass_} }} }} }}"
    config = nginx.loads(text)
    return Targets(config, Zone.open(uuid.uuid4().hex), {}), Forwarder(config.servers[0].locations[0])


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


class Lease:
    def __init__(self) -> None:
        self.settled: list[tuple[Any, ...]] = []

    def settle(self, *outcome: Any) -> None:
        self.settled.append(outcome)


class Body:
    done = False
    content_received = 5

    def __iter__(self) -> Iterator[bytes]:
        return iter((b"x",))

    def read_block(self) -> bytes:
        self.done = True
        return b""


class Reply:
    special = False
    bytes_received = 7
    pairs: list[tuple[str, str]] = []

    def __init__(self) -> None:
        self.body = Body()
        self.closed = 0

    def close(self) -> None:
        self.closed += 1


def test_closing_settles_once() -> None:
    reply, lease, attempt = Reply(), Lease(), Try("a")
    attempt.header_time = 0.5
    body = Forwarded(reply, lease, attempt, None, ProxySettings())  # type: ignore[arg-type]
    assert list(body) == []
    body.close()
    body.close()
    assert reply.closed == 1 and len(lease.settled) == 1
    assert lease.settled[0][:2] == (False, 0.5)
    assert attempt.response_time is not None and attempt.bytes_received == 7
    assert attempt.response_length == 5
