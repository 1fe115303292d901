"""The request's body: taken whole, or streamed."""

from __future__ import annotations

import io
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.support import Recorded, Recorder, Wire, fetch, free_port, reply, run_nginx, run_proxy
from wsgi_proxy.config import CoreSettings, ProxySettings
from wsgi_proxy.errors import ClientError, ClientGone, ProxyError
from wsgi_proxy.exchange import Exchange
from wsgi_proxy.proxy.request_body import take
from wsgi_proxy.variables import Names, compile_text


def exchange(body: bytes, *, length: int | None = None, chunked: bool = False) -> Exchange:
    environ: dict[str, Any] = {"REQUEST_METHOD": "POST", "wsgi.input": io.BytesIO(body), "RAW_URI": "/"}
    if length is not None:
        environ["CONTENT_LENGTH"] = str(length)
    if chunked:
        environ |= {"HTTP_TRANSFER_ENCODING": "chunked", "wsgi.input_terminated": True}
    return Exchange.from_environ(environ)


@pytest.mark.parametrize("size", [1, 16 * 1024, 16 * 1024 + 1, 20 * 1024 - 1, 20 * 1024, 300_000])
@pytest.mark.parametrize("chunked", [False, True])
def test_a_buffered_body_has_a_length_and_can_be_read_again(size: int, chunked: bool) -> None:
    body = bytes(range(256)) * (size // 256 + 1)
    body = body[:size]
    x = exchange(body, length=None if chunked else size, chunked=chunked)
    for _ in range(2):
        upload = take(x, ProxySettings(), CoreSettings())
        assert upload is not None and upload.length == size
        for _ in range(2):
            assert upload.rewind()
            assert b"".join(iter(partial(upload.read, 1000), b"")) == body
        # nginx's buffer is a quarter larger for a body of known length that fits it.
        assert (upload.data is None) == (size > 16 * 1024 if chunked else size >= 20 * 1024)
        upload.close()
    for lease in x.leases or ():
        lease.close()
    if upload.data is None:
        with pytest.raises(ValueError, match="closed"):
            upload.fileno()


@pytest.mark.parametrize("buffered", [False, True])
@pytest.mark.parametrize("read", [0, 3, 10, 12])
def test_a_streamed_body_goes_to_another_upstream_while_it_is_remembered(read: int, buffered: bool) -> None:
    x = exchange(b"0123456789ab", length=12)
    core = CoreSettings(client_body_buffer_size=10)
    streamed = ProxySettings(request_buffering=False)
    for _ in range(2):
        first = take(x, streamed, core)
        assert first is not None
        while read and (block := first.read(min(read, 4))):
            read -= len(block)
        read = 0
        if first.started and first._room < 0:
            with pytest.raises(ProxyError, match="cannot be sent again") as caught:
                take(x, ProxySettings(request_buffering=buffered), core)
            assert caught.value.status == 502
            return
    last = take(x, ProxySettings(request_buffering=buffered), core)
    assert last is not None and last.length == 12
    assert b"".join(iter(lambda: last.read(5), b"")) == b"0123456789ab"
    for lease in x.leases or ():
        lease.close()


def test_a_streamed_body_cannot_be_read_again_once_begun() -> None:
    upload = take(exchange(b"abc", chunked=True), ProxySettings(request_buffering=False), CoreSettings())
    assert upload is not None and upload.length is None
    assert upload.rewind()
    assert upload.read(2) == b"ab"
    assert not upload.rewind()


def test_a_client_that_leaves_early_is_noticed_and_nothing_stays_open() -> None:
    x = exchange(b"x" * 20_000, length=30_000)
    with pytest.raises(ClientGone):
        take(x, ProxySettings(), CoreSettings())
    assert take(x, ProxySettings(), CoreSettings()) is None


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


@pytest.mark.parametrize("length", [None, 6])
def test_a_streamed_body_can_be_shown_once_it_was_read(length: int | None) -> None:
    shown = compile_text("$request_body", Names())
    x = exchange(b"abcdef", length=length, chunked=length is None)
    upload = take(x, ProxySettings(request_buffering=False), CoreSettings(client_body_buffer_size=6))
    assert upload is not None
    assert (upload.read(4), shown(x)) == (b"abcd", "")
    while upload.read(4):
        pass
    assert shown(x) == "abcdef"
    x = exchange(b"abcdefg", length=7)
    upload = take(x, ProxySettings(request_buffering=False), CoreSettings(client_body_buffer_size=6))
    assert upload is not None and upload.read(7) == b"abcdefg" and shown(x) == ""


def test_chunks_that_tell_their_end_can_be_shown_without_another_read() -> None:
    class Told(io.BytesIO):
        exhausted = True

    x = exchange(b"", chunked=True)
    x.input = Told(b"abcdef")
    upload = take(x, ProxySettings(request_buffering=False), CoreSettings())
    assert upload is not None and upload.read() == b"abcdef"
    assert compile_text("$request_body", Names())(x) == "abcdef"


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


def test_bodies_in_files_are_nginxs(tmp_path: Path) -> None:
    """The upstream sees a file with the body during the request; afterwards `clean` has removed it."""
    told: list[object] = []
    for run in (run_nginx, run_proxy):
        port, found = free_port(), []

        def upstream(request: Recorded, wire: Wire) -> bytes:
            path = request.get("X-File")
            found.append((path, Path(path).read_bytes() if path else None, request.body, request.get("X-Body")))  # noqa: B023
            return reply()

        with Recorder(upstream) as up:
            common = f'proxy_pass {up.url}; proxy_set_header X-File $request_body_file; proxy_set_header X-Body "$request_body";'
            bare = 'proxy_pass_request_body off; proxy_set_header Content-Length "";'
            text = f"""events {{}} http {{ access_log off; server {{
                listen {port}; client_body_temp_path {tmp_path}/{run.__name__}; client_max_body_size 0; proxy_http_version 1.1;
                location /on {{ client_body_in_file_only on; {common} }}
                location /clean {{ client_body_in_file_only clean; {bare} {common} }}
                location /off {{ {common} }} }} }}"""
            with run(text, tmp_path):
                for size in (0, 5, 100_000):
                    for target in ("/on", "/clean", "/off"):
                        if size < 100_000 or target != "/off":
                            assert fetch(port, target, "POST", body=b"x" * size).status == 200
        told.append([(bool(path), *rest) for path, *rest in found])
        left = [path for path, *_ in found if path and Path(path).exists()]
        assert len(left) == 2 and all(path.startswith(f"{tmp_path}/{run.__name__}/") for path in left)
    assert told[0] == told[1]
