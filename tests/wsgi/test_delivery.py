"""Deliveries: one for each kind of body, each of which ends its exchange once."""

from __future__ import annotations

import io
from typing import Any

import pytest

from wsgi_proxy.errors import UpstreamError
from wsgi_proxy.exchange import Exchange
from wsgi_proxy.response import FileBody, Response
from wsgi_proxy.wsgi.delivery import Delivery, EmptyDelivery, FileDelivery, SplicedDelivery, delivery_of


def exchange(method: str = "GET") -> Exchange:
    return Exchange.from_environ({"REQUEST_METHOD": method, "wsgi.input": io.BytesIO(), "RAW_URI": "/"})


class Spliceable:
    spliceable = True

    def __iter__(self) -> Any:
        return iter((b"abc",))

    def send_to(self, stream: Any) -> int:
        stream.write(b"abc")
        return 3


@pytest.mark.parametrize(
    ("response", "kind"),
    [
        (Response(200, [], (b"abc",), length=3), Delivery),
        (Response(204), EmptyDelivery),
        (Response(200, [], FileBody(io.BytesIO(b"abc"), 0, 3), length=3), FileDelivery),
        (Response(200, [], Spliceable(), length=3), SplicedDelivery),
    ],
)
def test_each_kind_of_body_has_its_delivery(response: Response, kind: type) -> None:
    ended: list[Exchange] = []
    x = exchange()
    delivery = delivery_of(x, response, ended.append)
    assert type(delivery) is kind
    assert b"".join(delivery) == (b"" if kind is EmptyDelivery else b"abc")
    assert x.completed and x.body_bytes_sent == (0 if kind is EmptyDelivery else 3)
    delivery.close()
    delivery.close()
    assert ended == [x] and x.finished_at > 0


def test_a_body_moves_itself() -> None:
    x, stream = exchange(), io.BytesIO()
    delivery = delivery_of(x, Response(200, [], Spliceable(), length=3), lambda exchange: None)
    assert isinstance(delivery, SplicedDelivery) and delivery.send_to(stream) == 3
    assert stream.getvalue() == b"abc" and x.completed and x.body_bytes_sent == 3


def test_leases_are_closed_although_the_body_fails_to() -> None:
    class Body:
        def __iter__(self) -> Any:
            return iter(())

        def close(self) -> None:
            raise OSError("broken")

    class Lease:
        closed = False

        def close(self) -> None:
            self.closed = True

    ended: list[Exchange] = []
    x, lease = exchange(), Lease()
    x.leases = [lease]
    with pytest.raises(OSError, match="broken"):
        delivery_of(x, Response(200, [], Body()), ended.append).close()
    assert lease.closed and ended == [x]


def test_a_truncated_body_is_an_error_of_the_connection() -> None:
    class Body:
        def __iter__(self) -> Any:
            yield b"ab"
            raise UpstreamError("upstream prematurely closed connection")

    x = exchange()
    with pytest.raises(ConnectionResetError):
        list(delivery_of(x, Response(200, [], Body(), length=3), lambda exchange: None))
    assert not x.completed and x.body_bytes_sent == 2
