"""Requests on kept connections: which connections are kept, and which requests are repeated; real sockets.

The file runs a second time on gevent's loop, where streams work differently.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.recorder import Recorded, Recorder, reply
from tests.support.recorder import Wire as Peer
from tests.support.wire import Blocks, fetch, opened, raw, route, run_on_the_loop, send
from wsgi_proxy.errors import UpstreamClosed
from wsgi_proxy.proxy.request_body import Upload
from wsgi_proxy.transport.session import Transport


@pytest.fixture
def transport() -> Iterator[Transport]:
    yield from opened()


def test_ten_requests_use_one_connection(transport: Transport) -> None:
    with Recorder() as upstream:
        where = route(upstream)
        for _ in range(10):
            fetch(transport, where)
        assert upstream.connections == 1 and len(transport.adapter.idles) == 1


@pytest.mark.parametrize("fields", ["Connection: close\r\n", ""])
def test_close_that_we_said_ourselves_is_kept_to(transport: Transport, fields: str) -> None:
    with Recorder(lambda request, wire: wire.send(reply(b"ok"))) as upstream:
        b"".join(send(transport, route(upstream), fields=fields).body)
        assert len(transport.adapter.idles) == (0 if fields else 1)
        if not fields:
            b"".join(send(transport, route(upstream, http_version="1.0")).body)
            assert len(transport.adapter.idles) == 0


def closes_on_the_second(request: Recorded, wire: Peer) -> bytes | None:
    """Takes a second request on a connection, and closes without a response."""
    if request.number == 1:
        return reply(b"ok")
    wire.close()
    return None


def test_a_stale_connection_costs_an_idempotent_request_nothing(transport: Transport) -> None:
    with Recorder(closes_on_the_second) as upstream:
        where = route(upstream)
        fetch(transport, where)
        assert fetch(transport, where) == b"ok"
        assert fetch(transport, where, "PUT", Upload(2, data=b"hi")) == b"ok"
        assert upstream.requests[-1].body == b"hi" and upstream.connections == 3


def test_a_post_on_a_stale_connection_is_not_repeated(transport: Transport) -> None:
    with Recorder(closes_on_the_second) as upstream:
        where = route(upstream)
        fetch(transport, where)
        with pytest.raises(UpstreamClosed) as caught:
            fetch(transport, where, "POST", Upload(2, data=b"hi"))
        assert caught.value.sent and not caught.value.fresh and len(upstream.requests) == 2


def test_a_body_that_cannot_be_read_again_is_not_repeated(transport: Transport) -> None:
    with Recorder(closes_on_the_second) as upstream:
        where = route(upstream)
        fetch(transport, where)
        with pytest.raises(UpstreamClosed):
            fetch(transport, where, "PUT", Upload(2, source=Blocks(b"hi")))


def test_a_kept_connection_that_breaks_in_mid_head_is_not_repeated(transport: Transport) -> None:
    def script(request: Recorded, wire: Peer) -> bytes | None:
        if request.number == 1:
            return reply(b"ok")
        raw(b"HTTP/1.1 200 OK\r\n")(request, wire)
        return None

    with Recorder(script) as upstream:
        where = route(upstream)
        fetch(transport, where)
        with pytest.raises(UpstreamClosed):
            fetch(transport, where)
        assert upstream.connections == 1


@pytest.mark.timeout(120)
def test_all_of_it_on_the_loop() -> None:
    run_on_the_loop(__file__)
