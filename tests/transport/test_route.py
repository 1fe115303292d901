"""Routes, and the idle connections kept for them; real sockets.

The file runs a second time on gevent's loop, where streams work differently.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.recorder import Recorded, Recorder, Wire, reply
from tests.support.wire import fetch, on_the_loop, opened, route, run_on_the_loop, send, wait_for
from wsgi_proxy.balance.peers import Peer
from wsgi_proxy.config import ProxySettings, Server
from wsgi_proxy.proxy.request_body import Upload
from wsgi_proxy.transport.route import FOREVER, Route
from wsgi_proxy.transport.session import Transport


@pytest.fixture
def transport() -> Iterator[Transport]:
    yield from opened()


@pytest.mark.parametrize(
    ("limits", "connections"),
    [({"keepalive": 0}, 4), ({"keepalive_requests": 2}, 2), ({"keepalive_timeout": 0.0}, 4), ({"keepalive_time": 0.0}, 4)],
)
def test_limits_of_kept_connections(transport: Transport, limits: dict[str, Any], connections: int) -> None:
    with Recorder() as upstream:
        where = route(upstream, **limits)
        for _ in range(4):
            fetch(transport, where)
            time.sleep(0.002)
        assert upstream.connections == connections


def test_idle_connections_are_swept(transport: Transport) -> None:
    with Recorder() as upstream:
        fetch(transport, route(upstream, keepalive_timeout=0.01))
        assert len(transport.adapter.idles) == 1
        time.sleep(0.02)
        transport.sweep()
        assert len(transport.adapter.idles) == 0
        wait_for(lambda: upstream.open_connections == 0)


def test_what_an_upstream_says_unasked_is_not_the_next_answer(transport: Transport) -> None:
    taken, poisoned = threading.Event(), threading.Event()

    def script(request: Recorded, wire: Wire) -> None:
        wire.send(reply(b"mine"))
        if request.connection == 1:
            taken.wait(30)
            wire.send(reply(b"poison"))
            poisoned.set()

    with Recorder(script) as upstream:
        where = route(upstream)
        assert fetch(transport, where) == b"mine"
        taken.set()
        wait_for(poisoned.is_set)
        # The loop, where there is one, has seen it after a turn.
        time.sleep(0.02)
        time.sleep(0.02)
        assert fetch(transport, where) == b"mine"
        assert upstream.connections == 2


def test_a_kept_connection_that_the_upstream_closed_is_not_used(transport: Transport) -> None:
    def script(request: Recorded, wire: Wire) -> None:
        wire.send(reply(b"ok"))
        wire.close()

    with Recorder(script) as upstream:
        where = route(upstream)
        assert fetch(transport, where) == b"ok"
        wait_for(lambda: upstream.open_connections == 0)
        assert fetch(transport, where, "POST", Upload(2, data=b"hi")) == b"ok"
        assert upstream.connections == 2


def test_a_connection_whose_client_left_is_not_kept_though_its_answer_was_whole(transport: Transport) -> None:
    client: Any = object()
    with Recorder() as upstream:
        where = route(upstream)
        fetch(transport, where)
        assert where.idle is not None
        wire = where.idle.take(time.monotonic())
        assert wire is not None
        wire.client = client
        wire.abandon(client)
        where.idle.give(wire)
        # The next client would have got the fault of the one that left.
        assert where.idle.take(time.monotonic()) is None and wire.stream.fileno() == -1
        assert fetch(transport, where) == b"ok"


def test_an_idle_connection_is_closed_when_the_upstream_closes_it(transport: Transport) -> None:
    if not on_the_loop():
        pytest.skip("needs a loop that watches: see test_all_of_it_on_the_loop")
    with Recorder() as upstream:
        fetch(transport, route(upstream))
        assert len(transport.adapter.idles) == 1
        upstream.stop()
        wait_for(lambda: len(transport.adapter.idles) == 0)


def test_a_late_event_about_bytes_that_were_read_leaves_an_idle_connection_alone(transport: Transport) -> None:
    """The loop may report bytes that a greenlet has read in the same round, when the connection is idle again."""
    if not on_the_loop():
        pytest.skip("needs a loop that watches: see test_all_of_it_on_the_loop")
    with Recorder() as upstream:
        where = route(upstream)
        fetch(transport, where)
        assert where.idle is not None
        (wire,) = where.idle.stack
        wire.stream.reading._fire()
        assert len(transport.adapter.idles) == 1
        answer = send(transport, where)
        assert answer.reused and b"".join(answer.body) == b"ok"
        upstream.stop()
        wait_for(lambda: len(transport.adapter.idles) == 0)


# --- routes ------------------------------------------------------------------------------------------------


def peer(scheme: str = "") -> Peer:
    return Peer(Server("b:81"), ("127.0.0.1", 81), "127.0.0.1:81", "b:81", scheme)


def test_a_route_of_a_peer() -> None:
    plain = Route.of(peer(), "http", ProxySettings(read_timeout=0, buffer_size=100_000, http_version="1.0"))
    assert plain.tls is None and plain.url == "http://" and plain.address == ("127.0.0.1", 81)
    assert plain.read_timeout == FOREVER and plain.head_limit == 100_000 and not plain.keep


@pytest.mark.parametrize(("scheme", "host", "name"), [("https", "", "b"), ("http", "c.example:8443", "c.example")])
def test_a_peer_that_was_given_as_a_url_brings_its_scheme(scheme: str, host: str, name: str) -> None:
    secure = Route.of(peer("https"), scheme, ProxySettings(), host=host)
    assert secure.tls is not None and secure.server_name == name and secure.url == "https://"


def test_all_of_it_on_the_loop() -> None:
    run_on_the_loop(__file__)
