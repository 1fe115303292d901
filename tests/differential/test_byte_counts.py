"""$bytes_sent and its kin against the bytes on the wire, in nginx and here."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support import Client, Recorded, Recorder, Running, Wire, chunked, free_port, reply, run_nginx, run_proxy, wait_until
from tests.support.frames import DATA, HEADERS, FrameClient, fields

FIELDS = "request_uri status bytes_sent body_bytes_sent upstream_bytes_sent upstream_bytes_received"
CONFIGURATION = """
events {{}}
http {{
    log_format counts "{line}";
    access_log {log} counts;
    upstream two {{ server {address}; server {other}; }}
    server {{
        listen 127.0.0.1:{port};
        root {root};
        location / {{ proxy_pass http://{address}; {settings} }}
        location /tunnel {{
            proxy_pass http://{address};
            proxy_http_version 1.1;
            proxy_set_header Upgrade $http_upgrade;
            proxy_set_header Connection upgrade;
        }}
        location /two/ {{ proxy_pass http://two; proxy_next_upstream error http_503; }}
        location /static/ {{ }}
        location /return {{ return 200 "some text"; }}
        location /missing {{ return 404; }}
    }}
}}
"""
LARGE = 600_000
BUSY = reply(b"busy", status="503 Service Unavailable")


@contextmanager
def started(kind: str, tmp_path: Path, upstream: Recorder, other: str, settings: str) -> Iterator[tuple[Running, Path]]:
    (tmp_path / "static").mkdir()
    (tmp_path / "static" / "small.txt").write_bytes(b"x" * 100)
    (tmp_path / "static" / "large.txt").write_bytes(b"x" * LARGE)
    log = tmp_path / "counts.log"
    line = " ".join(f"${name}" for name in FIELDS.split())
    text = CONFIGURATION.format(
        line=line, log=log, address=upstream.address, other=other, port=free_port(), root=tmp_path, settings=settings
    )
    run = run_nginx if kind == "nginx" else run_proxy
    with run(text, tmp_path) as server:
        yield server, log


def script(request: Recorded, wire: Wire) -> bytes | None:
    if request.target.startswith("/two/closed"):
        wire.close()
        return None
    answers = {
        "/plain": reply(b"12345"),
        "/chunked": reply(chunked(b"first", b"second"), length=None, headers=[("Transfer-Encoding", "chunked")]),
        "/large": reply(b"x" * LARGE),
        "/nothing": reply(status="204 No Content", length=None),
        "/two/busy": BUSY,
    }
    answer = answers[request.target]
    return answer[: answer.index(b"\r\n\r\n") + 4] if request.method == "HEAD" else answer


Line = dict[str, str]


def lines(log: Path, count: int) -> list[Line]:
    def written() -> bool:
        return log.exists() and log.read_bytes().count(b"\n") >= count

    wait_until(written, f"{count} lines in the log")
    names = FIELDS.split()
    split = [line.replace(", ", ",").split() for line in log.read_text().splitlines()]
    return [dict(zip(names, line, strict=True)) for line in split]


@pytest.mark.ours_alone("other workers do not tell what they send")
@pytest.mark.parametrize("buffering", ["on", "off"])
@pytest.mark.parametrize("kind", ["ours", "nginx"])
def test_counts_are_the_bytes_on_the_wire(kind: str, buffering: str, tmp_path: Path) -> None:
    requests = [
        ("GET", "/plain", b""),
        ("GET", "/chunked", b""),
        ("GET", "/large", b""),
        ("HEAD", "/plain", b""),
        ("POST", "/plain", b"Content-Length: 7\r\n\r\nabcdefg"),
        ("POST", "/plain", b"Content-Length: %d\r\n\r\n" % LARGE + b"b" * LARGE),
        ("GET", "/nothing", b""),
        ("GET", "/return", b""),
        ("GET", "/missing", b""),
        ("GET", "/static/small.txt", b""),
        ("GET", "/static/large.txt", b""),
        ("HEAD", "/static/large.txt", b""),
    ]
    settings = f"proxy_buffering {buffering}; proxy_request_buffering {buffering}; client_max_body_size 0;"
    with Recorder(script) as upstream, started(kind, tmp_path, upstream, "127.0.0.1:9 down", settings) as (server, log):
        on_the_wire = []
        for method, target, rest in requests:
            with Client(server.port) as client:
                client.send(f"{method} {target} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n".encode() + (rest or b"\r\n"))
                on_the_wire.append(client.read_all())
        found = lines(log, len(requests))
        for (method, target, _), sent, line in zip(requests, on_the_wire, found, strict=True):
            _, _, body = sent.partition(b"\r\n\r\n")
            assert line["request_uri"] == target
            assert (int(line["bytes_sent"]), int(line["body_bytes_sent"])) == (len(sent), len(body)), (method, target)
        forwarded = [line for line in found if line["upstream_bytes_sent"] != "-"]
        assert len(forwarded) == len(upstream.requests) == 7
        for request, line in zip(upstream.requests, forwarded, strict=True):
            answer = script(request, None)  # type: ignore[arg-type]
            assert answer is not None
            assert int(line["upstream_bytes_sent"]) == len(request.raw), request.target
            assert int(line["upstream_bytes_received"]) == len(answer), request.target


@pytest.mark.parametrize("kind", ["ours", "nginx"])
@pytest.mark.parametrize(("target", "received"), [("/two/closed", 0), ("/two/busy", len(BUSY))])
def test_each_attempt_has_its_counts(kind: str, target: str, received: int, tmp_path: Path) -> None:
    def good(request: Recorded, wire: Wire) -> bytes:
        return reply(b"good")

    with Recorder(script) as bad, Recorder(good) as other, started(kind, tmp_path, bad, other.address, "") as (server, log):
        with Client(server.port) as client:
            client.send(f"GET {target} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".encode())
            assert client.read_all().endswith(b"good")
        line = lines(log, 1)[0]
        sizes = [len(bad.requests[0].raw), len(other.requests[0].raw)]
        assert line["upstream_bytes_sent"] == ",".join(map(str, sizes))
        assert line["upstream_bytes_received"] == f"{received},{len(reply(b'good'))}"


@pytest.mark.ours_alone("other workers do not tell what they send")
@pytest.mark.parametrize("kind", ["ours", "nginx"])
def test_a_tunnel_counts_both_directions(kind: str, tmp_path: Path) -> None:
    switch = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\nhi"

    def tunnel(request: Recorded, wire: Wire) -> None:
        wire.send(switch)
        wire.send(b"got" + wire.take(5))
        wire.close()

    with Recorder(tunnel) as upstream, started(kind, tmp_path, upstream, "127.0.0.1:9 down", "") as (server, log):
        with Client(server.port) as client:
            client.send(b"GET /tunnel HTTP/1.1\r\nHost: a\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n")
            sent = client.read_until(b"\r\n\r\nhi")
            client.send(b"12345")
            sent += client.read_all()
        line = lines(log, 1)[0]
        assert sent.endswith(b"\r\n\r\nhigot12345") and int(line["bytes_sent"]) == len(sent)
        assert int(line["body_bytes_sent"]) == len(b"higot12345")
        assert int(line["upstream_bytes_sent"]) == len(upstream.requests[0].raw) + 5
        assert int(line["upstream_bytes_received"]) == len(switch) + len(b"got12345")


@pytest.mark.parametrize("kind", ["ours", "nginx"])
def test_counts_over_http2(kind: str, tmp_path: Path) -> None:
    (tmp_path / "file.txt").write_bytes(b"x" * 50_000)
    log = tmp_path / "counts.log"
    line = " ".join(f"${name}" for name in FIELDS.split())
    text = f"""events {{}} http {{ log_format counts "{line}"; access_log {log} counts;
        server {{ listen 127.0.0.1:{free_port()}; http2 on; root {tmp_path}; location /none {{ return 204; }} }} }}"""
    paths = ["/file.txt", "/none", "/missing"]
    with (run_nginx if kind == "nginx" else run_proxy)(text, tmp_path) as server, FrameClient(server.port) as client:
        for number, path in enumerate(paths):
            client.request(2 * number + 1, fields(path=path))
            assert client.outcome(2 * number + 1)[0] == "response"
        found = lines(log, len(paths))
        for number, logged in enumerate(found):
            stream = 2 * number + 1
            sent = [frame for frame in client.seen if frame.stream == stream and frame.kind in (HEADERS, DATA)]
            assert int(logged["bytes_sent"]) == sum(9 + len(frame.payload) for frame in sent)
            assert int(logged["body_bytes_sent"]) == len(client.bodies.get(stream, b""))
