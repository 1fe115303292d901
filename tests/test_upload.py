"""The request's body: taken whole, or streamed."""

from __future__ import annotations

import io

import pytest

from wsgi_proxy.config import CoreSettings, ProxySettings
from wsgi_proxy.errors import ClientError, ClientGone
from wsgi_proxy.exchange import Exchange
from wsgi_proxy.upload import take


def exchange(body: bytes, *, length: int | None = None, chunked: bool = False) -> Exchange:
    environ = {"REQUEST_METHOD": "POST", "wsgi.input": io.BytesIO(body), "RAW_URI": "/"}
    if length is not None:
        environ["CONTENT_LENGTH"] = str(length)
    if chunked:
        environ["HTTP_TRANSFER_ENCODING"] = "chunked"
    return Exchange(environ)


@pytest.mark.parametrize("size", [1, 16 * 1024, 16 * 1024 + 1, 300_000])
@pytest.mark.parametrize("chunked", [False, True])
def test_a_buffered_body_has_a_length_and_can_be_read_again(size: int, chunked: bool) -> None:
    body = bytes(range(256)) * (size // 256 + 1)
    body = body[:size]
    upload = take(exchange(body, length=None if chunked else size, chunked=chunked), ProxySettings(), CoreSettings())
    assert upload is not None and upload.length == size
    for _ in range(2):
        assert upload.rewind()
        assert b"".join(iter(lambda: upload.read(1000), b"")) == body
    assert (upload.data is None) == (size > 16 * 1024)
    upload.close()


def test_a_streamed_body_cannot_be_read_again_once_begun() -> None:
    upload = take(exchange(b"abc", chunked=True), ProxySettings(request_buffering=False), CoreSettings())
    assert upload is not None and upload.length is None
    assert upload.rewind()
    assert upload.read(2) == b"ab"
    assert not upload.rewind()


def test_a_client_that_leaves_early_is_noticed_and_nothing_stays_open() -> None:
    with pytest.raises(ClientGone):
        take(exchange(b"x" * 20_000, length=30_000), ProxySettings(), CoreSettings())


def test_a_fault_while_reading_is_the_clients() -> None:
    class Broken:
        def read(self, size: int) -> bytes:
            raise OSError("reset")

    x = exchange(b"", length=5)
    x.input = Broken()
    with pytest.raises(ClientError):
        take(x, ProxySettings(), CoreSettings())


def test_no_body_an_empty_body_and_a_body_of_our_own() -> None:
    assert take(exchange(b""), ProxySettings(), CoreSettings()) is None
    empty = take(exchange(b"", length=0), ProxySettings(), CoreSettings())
    assert empty is not None and empty.length == 0
    assert take(exchange(b"abc", length=3), ProxySettings(pass_request_body=False), CoreSettings()) is None
    own = take(exchange(b"abc", length=3), ProxySettings(set_body=lambda x: "mine"), CoreSettings())
    assert own is not None and own.read() == b"mine"


def test_a_body_in_memory_can_be_shown() -> None:
    x = exchange(b"abc", length=3)
    upload = take(x, ProxySettings(), CoreSettings())
    assert upload is not None and (x.request_body, x.body_bytes_received) == (b"abc", 3)
    x = exchange(b"abc", length=3)
    upload = take(x, ProxySettings(set_body=lambda x: f"<{(x.request_body or b'').decode()}>"), CoreSettings())
    assert upload is not None and upload.read() == b"<abc>"
    x = exchange(b"abc", length=3)
    take(x, ProxySettings(request_buffering=False), CoreSettings())
    assert x.request_body is None
