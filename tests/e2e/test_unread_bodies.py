"""Bodies that a response leaves unread: judged as far as they have arrived, and gone for the page of an error."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support import Recorder, Response, fetch, free_port, parse_response, run_proxy, say_ok, send_raw

CONF = """
error_log stderr crit; events {}
http {
    access_log off;
    server {
        listen 127.0.0.1:PORT;
        client_body_buffer_size 2k;
        client_body_temp_path FOLDER/bodies;
        location /text { client_max_body_size 8; return 200 text; }
        location /file { client_max_body_size 8; root FOLDER; }
        location /small { client_max_body_size 8; error_page 413 /page; proxy_pass http://127.0.0.1:UP; }
        location /shown { client_max_body_size 8; error_page 413 /length; proxy_pass http://127.0.0.1:UP; }
        location /streamed { error_page 502 /page; proxy_request_buffering off; proxy_http_version 1.1;
            proxy_pass http://127.0.0.1:DEAD; }
        location /cut { error_page 502 /page; proxy_request_buffering off; proxy_http_version 1.1;
            proxy_pass http://127.0.0.1:CUT; }
        location /page { proxy_pass http://127.0.0.1:UP; }
        location /length { return 200 "[$content_length:$request_body]"; }
        location /stored { add_header X-File $request_body_file; proxy_pass http://127.0.0.1:UP; }
    }
    server { listen 127.0.0.1:CUT; return 444; }
}
"""


@pytest.fixture(scope="module")
def proxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[int, Recorder]]:
    folder = tmp_path_factory.mktemp("unread")
    (folder / "file").write_text("file")
    port = free_port()
    with Recorder(say_ok) as up:
        text = CONF.replace("PORT", str(port)).replace("UP", str(up.port)).replace("DEAD", str(free_port()))
        text = text.replace("CUT", str(free_port()))
        with run_proxy(text.replace("FOLDER", str(folder)), folder):
            yield port, up


def chunks(*sizes: int) -> bytes:
    return b"".join(b"%x\r\n%b\r\n" % (size, b"x" * size) for size in sizes) + b"0\r\n\r\n"


def post(port: int, path: str, body: bytes, fields: str = "Transfer-Encoding: chunked") -> Response:
    head = f"POST {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{fields}\r\n\r\n".encode()
    found = parse_response(send_raw(port, head + body))
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (chunks(8), 200),
        (chunks(4, 4), 200),
        (chunks(9), 413),
        (chunks(4, 4, 1), 413),
        (b"ffff\r\nx", 413),
        (b"4\r\nSEE-THIS\r\n0\r\n\r\n", 400),
        (b"zz\r\n", 400),
    ],
)
@pytest.mark.ours_alone("gunicorn decodes the chunks")
def test_the_chunks_that_have_arrived_are_judged(proxy: tuple[int, Recorder], body: bytes, status: int) -> None:
    assert post(proxy[0], "/text", body).status == status


@pytest.mark.parametrize("fields", ["Transfer-Encoding: chunked", "Content-Length: 10"])
def test_the_page_for_a_large_body_is_asked_for_without_it(proxy: tuple[int, Recorder], fields: str) -> None:
    port, up = proxy
    body = chunks(10) if "chunked" in fields else b"x" * 10
    found = post(port, "/small", body, fields)
    assert (found.status, found.body) == (413, b"ok")
    asked = up.requests[-1]
    assert (asked.target, asked.body, asked.get("content-length"), asked.get("transfer-encoding")) == ("/page", b"", None, None)
    assert post(port, "/shown", body, fields).body == b"[:]"


@pytest.mark.parametrize(("fields", "body"), [("Content-Length: 10000", b"x"), ("Transfer-Encoding: chunked", b"ffff\r\nx")])
def test_the_page_does_not_wait_for_the_rest_of_a_streamed_body(proxy: tuple[int, Recorder], fields: str, body: bytes) -> None:
    port, up = proxy
    found = post(port, "/streamed", body, fields)
    assert found.status == 502
    assert (up.requests[-1].method, up.requests[-1].body, up.requests[-1].get("content-length")) == ("GET", b"", None)


@pytest.mark.parametrize(("fields", "body"), [("Content-Length: 10", b"x" * 10), ("Transfer-Encoding: chunked", chunks(10))])
def test_the_page_of_a_failed_upstream_gets_nothing_of_a_streamed_body(
    proxy: tuple[int, Recorder], fields: str, body: bytes
) -> None:
    """The body was sent to the upstream that failed; as in nginx it counts as used."""
    port, up = proxy
    assert post(port, "/cut", body, fields).status == 502
    assert (up.requests[-1].method, up.requests[-1].body, up.requests[-1].get("content-length")) == ("GET", b"", None)


def test_a_large_body_has_the_path_of_its_file(proxy: tuple[int, Recorder]) -> None:
    found = fetch(proxy[0], "/stored", method="POST", body=b"x" * 5000)
    assert (found.get("x-file") or "").startswith("/")
    assert fetch(proxy[0], "/stored", method="POST", body=b"x" * 50).get("x-file") is None
