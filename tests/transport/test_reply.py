"""The attributes of a Reply; real sockets."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.recorder import Recorder, reply
from tests.support.wire import opened, route, send
from wsgi_proxy.transport.session import Transport


@pytest.fixture
def transport() -> Iterator[Transport]:
    yield from opened()


def test_the_bytes_in_both_directions_are_counted(transport: Transport) -> None:
    answer = reply(b"hello")
    with Recorder(lambda request, wire: answer) as upstream:
        response = send(transport, route(upstream))
        assert b"".join(response.body) == b"hello"
        assert (response.bytes_sent, response.bytes_received) == (len(upstream.requests[0].raw), len(answer))
        assert response.trailers == [] and not response.special


def test_closing_an_unread_body_closes_its_connection(transport: Transport) -> None:
    with Recorder(lambda request, wire: wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf")) as upstream:
        response = send(transport, route(upstream))
        response.close()
        assert not len(transport.adapter.idles) and response.wire.stream.fileno() < 0
