"""client_max_body_size of a chunked body. The guard's tests cover the limit on a Content-Length."""

from __future__ import annotations

import pytest

from tests.support.limits import exchange
from wsgi_proxy.access.body_limit import BoundedInput
from wsgi_proxy.errors import ClientError


def test_an_endless_body_is_not_taken_into_memory() -> None:
    class Endless:
        given = 0

        def read(self, size: int = -1) -> bytes:
            assert 0 < size
            self.given += size
            return b"x" * size

        read1 = read
        trailers = [("X", "1")]

    source = Endless()
    x = exchange(input=source)
    bounded = BoundedInput(x, 1000)
    assert bounded.trailers == [("X", "1")]
    with pytest.raises(ClientError):
        bounded.read()
    assert source.given == 1001
    bounded = BoundedInput(x, 1000)
    with pytest.raises(ClientError):
        while bounded.read1():
            pass
    assert BoundedInput(exchange(), 1).trailers is None
