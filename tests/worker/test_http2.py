"""What of HTTP/2's requests is put into the house's words; test_hostile_http2.py sees it work."""

from __future__ import annotations

import pytest
from gunicorn.http2.errors import HTTP2ConnectionError, HTTP2ProtocolError, HTTP2StreamError
from gunicorn.http2.request import HTTP2Body

from wsgi_proxy.errors import ClientError, ClientGone
from wsgi_proxy.worker.http2 import Http2Input, http2_fields


def test_fields() -> None:
    headers = [("X", "1"), ("COOKIE", "a=1"), ("Y", "2"), ("X", "3"), ("COOKIE", "b=2"), ("HOST", "h")]
    assert http2_fields(headers) == [("x", "1"), ("y", "2"), ("x", "3"), ("host", "h"), ("cookie", "a=1; b=2")]


def test_input() -> None:
    body = Http2Input(HTTP2Body(b"one\ntwo\nthree"))
    assert (body.read(2), body.readline(), body.readline(2)) == (b"on", b"e\n", b"tw")
    assert (body.readlines(), body.read(), body.read(5)) == ([b"o\n", b"three"], b"", b"")
    assert Http2Input(HTTP2Body(b"one")).read() == b"one"


class Broken:
    def __init__(self, error: Exception) -> None:
        self.error = error

    def read(self, size: int | None) -> bytes:
        raise self.error


@pytest.mark.parametrize(
    ("error", "expected"), [(HTTP2ProtocolError("bad"), ClientError), (HTTP2StreamError(1, "closed"), ClientGone)]
)
def test_faults_are_the_client_s(error: Exception, expected: type[Exception]) -> None:
    body = Http2Input(Broken(error))
    body.end([])
    with pytest.raises(expected):
        body.read(5)
    with pytest.raises(HTTP2ConnectionError):
        body.end([])
