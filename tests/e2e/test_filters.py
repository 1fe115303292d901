"""Compressed responses through a whole proxy: events at once, large bodies, truncated ones, files, the access log."""

from __future__ import annotations

import gzip
import re
import threading
import zlib
from collections.abc import Iterator
from pathlib import Path

import h2.connection
import h2.events
import pytest
from werkzeug.middleware.dispatcher import DispatcherMiddleware
from werkzeug.test import Client as Caller

from tests.support import (
    Client,
    Recorded,
    Recorder,
    Running,
    Wire,
    connect,
    fetch,
    free_port,
    reply,
    request_bytes,
    run_proxy,
    wait_until,
)
from tests.support.client import read_chunks
from wsgi_proxy.nginx import reader as nginx
from wsgi_proxy.wsgi.app import ProxyApp

LARGE = b"".join(b"line %d of a large body\n" % number for number in range(40000))
GZIP = [("Accept-Encoding", "gzip")]
EVENTS = b"data: 1\n\ndata: 2\n\n"
STREAM = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"


class Site:
    """A proxy with gzip, and an upstream whose streams wait for `more` between two events."""

    def __init__(self) -> None:
        self.more = threading.Event()
        self.port = free_port()
        self.proxy: Running

    def upstream(self, request: Recorded, wire: Wire) -> bytes | None:
        if request.target == "/chunks":
            # The end of a chunk comes alone: it must not pass for a block that is at hand.
            wire.send(STREAM + b"Transfer-Encoding: chunked\r\n\r\n9\r\ndata: 1\n\n\r\n")
            assert self.more.wait(60)
            wire.send(b"9\r\ndata: 2\n\n\r\n0\r\n\r\n")
            return None
        if request.target == "/halves":
            wire.send(STREAM + b"Transfer-Encoding: chunked\r\n\r\n9\r\ndata: 1\n\n")
            wire.send(b"\r\n9")
            assert self.more.wait(60)
            wire.send(b"\r\ndata: 2\n\n\r\n0\r\n\r\n")
            return None
        if request.target == "/end":
            wire.send(STREAM + b"\r\ndata: 1\n\n")
            assert self.more.wait(60)
            wire.send(b"data: 2\n\n")
            wire.close()
            return None
        if request.target == "/cut":
            wire.send(reply(LARGE[:100000], headers=[("Content-Type", "text/plain")], length=len(LARGE)))
            wire.close()
            return None
        if request.target.startswith("/small"):
            return reply(b"small " * 10, headers=[("Content-Type", "text/plain")])
        return reply(LARGE, headers=[("Content-Type", "text/plain"), ("Accept-Ranges", "bytes")])


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("site")
    site = Site()
    (folder / "w").mkdir()
    (folder / "w" / "large.txt").write_bytes(LARGE)
    (folder / "w" / "small.txt").write_bytes(b"small " * 10)
    with Recorder(site.upstream) as up:
        conf = f"""events {{}} http {{
            types {{ text/plain txt; }}
            log_format ratio '$request_uri ratio=$gzip_ratio bytes=$body_bytes_sent';
            access_log {folder}/ratio.log ratio;
            proxy_cache_path {folder}/cache keys_zone=c:1m;
            gzip on; gzip_types text/plain text/event-stream;
            server {{
                listen {site.port};
                location / {{ proxy_pass {up.url}; proxy_http_version 1.1; }}
                location /unbuffered {{ proxy_buffering off; rewrite ^/unbuffered(.*)$ $1 break;
                    proxy_pass {up.url}; proxy_http_version 1.1; }}
                location /stored/ {{ proxy_pass {up.url}; proxy_cache c; proxy_cache_valid 1h; }}
                location /files/ {{ alias {folder}/w/; }}
                location /slow/ {{ alias {folder}/w/; limit_rate 1m; }}
            }} }}"""
        with run_proxy(conf, folder) as site.proxy:
            yield site


def inflated(data: bytes) -> bytes:
    """The bytes of an unfinished gzip body that have arrived."""
    return zlib.decompressobj(31).decompress(data)


@pytest.mark.parametrize("target", ["/chunks", "/halves", "/end", "/unbuffered/chunks", "/unbuffered/halves"])
def test_an_event_leaves_before_the_next_one_is_made(site: Site, target: str) -> None:
    site.more.clear()
    try:
        with Client(site.port) as client:
            client.send(request_bytes(target, headers=GZIP))
            head = client.read_until(b"\r\n\r\n")
            assert b"content-encoding: gzip" in head.lower()

            def arrived() -> bytes:
                client.sock.settimeout(0.05)
                try:
                    client.buffer += client.sock.recv(65536)
                except TimeoutError:
                    pass
                return inflated(read_chunks(client.buffer.removeprefix(head))[0])

            wait_until(lambda: arrived() == b"data: 1\n\n", "the first event")
            site.more.set()
            wait_until(lambda: arrived() == b"data: 1\n\ndata: 2\n\n", "the second event")
    finally:
        site.more.set()


@pytest.mark.parametrize("target", ["/large", "/unbuffered/large", "/files/large.txt", "/slow/large.txt"])
def test_a_large_body_arrives_whole(site: Site, target: str) -> None:
    response = fetch(site.port, target, headers=GZIP)
    assert response.get("Content-Encoding") == "gzip" and response.get("Content-Length") is None
    assert response.complete and gzip.decompress(response.body) == LARGE
    plain = fetch(site.port, target)
    assert plain.body == LARGE and plain.get("Content-Encoding") is None


def test_a_body_that_breaks_off_does_not_look_complete(site: Site) -> None:
    response = fetch(site.port, "/cut", headers=GZIP)
    assert not response.complete
    coder = zlib.decompressobj(31)
    found = coder.decompress(response.body)
    assert response.status == 200 and found == LARGE[:100000] and not coder.eof


@pytest.mark.parametrize("target", ["/large", "/files/large.txt"])
def test_a_head_has_the_fields_of_the_compressed_response(site: Site, target: str) -> None:
    response = fetch(site.port, target, "HEAD", GZIP)
    assert (response.get("Content-Encoding"), response.get("Content-Length"), response.body) == ("gzip", None, b"")


def test_an_old_client_gets_the_body_to_the_end_of_the_connection(site: Site) -> None:
    with Client(site.port) as client:
        client.send(b"GET /small HTTP/1.0\r\nHost: a\r\nAccept-Encoding: gzip\r\n\r\n")
        assert client.read_all().endswith(b"small " * 10)  # gzip_http_version


def test_the_log_has_the_ratio(site: Site) -> None:
    response = fetch(site.port, "/small?log", headers=GZIP)
    fetch(site.port, "/small?plain")
    path = Path(site.proxy.folder).parent / "ratio.log"
    wait_until(lambda: "plain" in path.read_text(), "the log")
    found = re.search(r"^/small\?log ratio=([0-9.]+) ", path.read_text(), re.MULTILINE)
    assert found is not None and found[1] == f"{60 / len(response.body):.2f}" and gzip.decompress(response.body) == b"small " * 10
    assert re.search(r"^/small\?plain ratio=- ", path.read_text(), re.MULTILINE)


def test_a_range_of_a_compressed_response_is_not_cut(site: Site) -> None:
    wanted = [("Range", "bytes=0-9")]
    for target in ("/files/large.txt", "/stored/large", "/stored/large"):
        response = fetch(site.port, target, headers=[*GZIP, *wanted])
        assert response.status == 200 and gzip.decompress(response.body) == LARGE
        response = fetch(site.port, target, headers=wanted)
        assert response.status == 206 and response.body == LARGE[:10]


def test_a_response_is_stored_as_the_upstream_sent_it(site: Site) -> None:
    for fields, coding in ((GZIP, "gzip"), ([], None), (GZIP, "gzip")):
        response = fetch(site.port, "/stored/as-sent", headers=fields)
        assert response.get("Content-Encoding") == coding
        assert (gzip.decompress(response.body) if coding else response.body) == LARGE
    assert "hit" in (response.get("Cache-Status") or "")


def over_http2(port: int, target: str) -> tuple[dict[bytes, bytes], bytes]:
    """(fields, body) of the response to one request with gzip, over HTTP/2 with prior knowledge."""
    fields: dict[bytes, bytes] = {}
    body = b""
    with connect(port) as sock:
        client = h2.connection.H2Connection()
        client.initiate_connection()
        pairs = [(":method", "GET"), (":scheme", "http"), (":authority", "a"), (":path", target), ("accept-encoding", "gzip")]
        client.send_headers(1, pairs, end_stream=True)
        sock.sendall(client.data_to_send())
        while True:
            data = sock.recv(65536)
            assert data, "the connection ended"
            for event in client.receive_data(data):
                if isinstance(event, h2.events.ResponseReceived):
                    fields.update(event.headers)
                elif isinstance(event, h2.events.DataReceived):
                    body += event.data
                    client.acknowledge_received_data(event.flow_controlled_length, 1)
                elif isinstance(event, h2.events.StreamEnded):
                    return fields, body
                else:
                    assert not isinstance(event, h2.events.StreamReset)
            sock.sendall(client.data_to_send())


def test_responses_over_http2(tmp_path: Path) -> None:
    site = Site()
    site.more.set()
    (tmp_path / "large.txt").write_bytes(LARGE)
    with Recorder(site.upstream) as up:
        conf = f"""events {{}} http {{ types {{ text/plain txt; }} gzip on; gzip_types text/plain text/event-stream;
            server {{ listen {site.port}; http2 on;
                location / {{ proxy_pass {up.url}; }}
                location /f/ {{ alias {tmp_path}/; }} }} }}"""
        with run_proxy(conf, tmp_path):
            for target, body in (("/large", LARGE), ("/f/large.txt", LARGE), ("/small", b"small " * 10), ("/chunks", EVENTS)):
                fields, data = over_http2(site.port, target)
                assert fields[b"content-encoding"] == b"gzip" and b"content-length" not in fields
                assert gzip.decompress(data) == body


def test_responses_of_a_mounted_middleware(tmp_path: Path) -> None:
    (tmp_path / "large.txt").write_bytes(LARGE)
    conf = f"events {{}} http {{ types {{ text/plain txt; }} gzip on; gzip_types *; server {{ root {tmp_path}; }} }}"
    app = ProxyApp(nginx.loads(conf))
    mounted = DispatcherMiddleware(lambda environ, start_response: [], {"/under": app})
    response = Caller(mounted).get("/under/large.txt", headers=GZIP)
    assert response.headers["Content-Encoding"] == "gzip" and gzip.decompress(response.data) == LARGE
    response.close()
    app.close()
