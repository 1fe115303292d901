"""The session and its adapter; real sockets."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest
import requests

from tests.support.ports import free_port
from tests.support.recorder import Recorder, reply
from wsgi_proxy.balance.peers import Peer
from wsgi_proxy.config import ProxySettings, Server, Upstream
from wsgi_proxy.errors import ConnectFailed, UpstreamError
from wsgi_proxy.transport.reply import Call
from wsgi_proxy.transport.route import Route
from wsgi_proxy.transport.session import Outgoing, Response, Transport, WireAdapter

GET = b"GET /\xc3\xa9/a%2Fb?x&y= HTTP/1.1\r\nHost: a\r\nX-b: C\r\n\r\n"


@pytest.fixture
def transport() -> Iterator[Transport]:
    transport = Transport()
    yield transport
    transport.close()


def test_a_request_goes_through_the_session_untouched(transport: Transport) -> None:
    with Recorder(lambda request, wire: reply(b"hello", headers=[("Set-Cookie", "a=1"), ("set-cookie", "b=2")])) as upstream:
        route = Route(("127.0.0.1", upstream.port))
        response = transport.send(Call("GET", GET), route)
        assert upstream.requests[0].raw == GET
        assert (response.status, response.reason, response.content_length) == (200, "Scripted", 5)
        assert response.pairs == [("Content-Length", "5"), ("Set-Cookie", "a=1"), ("set-cookie", "b=2")]
        assert b"".join(response.body) == b"hello"
        assert not response.reused and response.header_time >= response.connect_time > 0
        again = transport.send(Call("GET", GET), route)
        assert again.reused and again.connect_time == 0 and upstream.requests[1].connection == 1
        assert not transport.session.cookies


def test_the_session_gives_responses_of_requests(transport: Transport) -> None:
    with Recorder(lambda request, wire: reply(b"hello", 404, headers=[("X", "a"), ("x", "b")])) as upstream:
        out = Outgoing(Call("GET", GET), Route(("127.0.0.1", upstream.port), name="b:1"))
        response = transport.session.get_adapter(out.url).send(out)
        assert isinstance(response, requests.Response) and isinstance(response.request, requests.PreparedRequest)
        assert response.url == "http://b:1/\xc3\xa9/a%2Fb?x&y=" and response.request.headers["x-B"] == "C"
        assert response.headers["X"] == "a, b" and response.content == b"hello" and response.text == "hello"
        assert not response.ok and not response.cookies and response.elapsed.total_seconds() > 0
        assert not response.is_redirect


class Counting(WireAdapter):
    """An adapter that notes the targets of its requests."""

    def __init__(self) -> None:
        super().__init__()
        self.targets: list[str] = []

    def send(self, request: Outgoing, *args: Any, **options: Any) -> Response:  # type: ignore[override]
        self.targets.append(request.target)
        return super().send(request, *args, **options)


def test_an_adapter_that_is_mounted_on_the_session_gets_the_requests_of_its_prefix(transport: Transport) -> None:
    counting = Counting()
    transport.session.mount("http://", counting)
    with Recorder() as upstream:
        reply = transport.send(Call("GET", GET), Route(("127.0.0.1", upstream.port)))
        assert b"".join(reply.body) == b"ok" and upstream.requests[0].raw == GET
        assert counting.targets == ["/\xc3\xa9/a%2Fb?x&y="]


def test_the_environment_is_not_asked(transport: Transport, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{free_port()}")
    with Recorder() as upstream:
        assert b"".join(transport.send(Call("GET", GET), Route(("127.0.0.1", upstream.port))).body) == b"ok"


def test_routes_to_one_address_share_connections_and_an_upstream_its_limit(transport: Transport) -> None:
    release = threading.Event()

    def hold(request: object, wire: object) -> bytes:
        release.wait(30)
        return reply(b"ok")

    with Recorder(hold) as first, Recorder(hold) as second:
        upstream = Upstream("u", (), keepalive=1)
        peers = [Peer(Server("x"), ("127.0.0.1", each.port), "x", "x") for each in (first, second)]
        routes = [Route.of(peer, "http", ProxySettings(), upstream) for peer in peers]
        other = Route(("127.0.0.1", second.port), limits=upstream)
        release.set()
        for route in routes:
            assert b"".join(transport.send(Call("GET", GET), route).body) == b"ok"
        assert len(transport.adapter.idles) == 1
        assert transport.send(Call("GET", GET), other).reused
        assert not transport.send(Call("GET", GET), routes[0]).reused


def test_a_refused_connection(transport: Transport) -> None:
    with pytest.raises(ConnectFailed, match=r"connect\(\) failed \(111: Connection refused\) while connecting") as caught:
        transport.send(Call("GET", GET), Route(("127.0.0.1", free_port())))
    assert not caught.value.sent and caught.value.status == 502


def test_a_request_without_a_route_is_not_sent(transport: Transport) -> None:
    with pytest.raises(UpstreamError):
        transport.adapter.send(Outgoing(Call("GET", GET)))
