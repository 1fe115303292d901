"""103 (Early Hints) from upstreams: as nginx passes them, before the response, by HTTP/1.1 and HTTP/2, never from the cache."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from werkzeug.test import Client as WSGIClient

from tests.support import (
    Client,
    Recorder,
    fetch,
    free_port,
    free_ports,
    reply,
    request_bytes,
    run_gunicorn,
    run_nginx,
    run_proxy,
    wait_until,
)
from tests.support.recorder import Recorded, Wire
from tests.support.tls import Files
from wsgi_proxy.nginx import reader as nginx
from wsgi_proxy.wsgi.app import ProxyApp

HINTS = [("Link", "</a.css>; rel=preload"), ("link", "</b.js>"), ("X-Hidden", "1"), ("Server", "up"), ("X-Other", "2")]
UNFIT = [("Content-Length", "5"), ("Connection", "X-Named, close"), ("X-Named", "1"), ("Keep-Alive", "1")]
UNFIT += [("X-Accel-Expires", "9")]


def hint(pairs: list[tuple[str, str]]) -> bytes:
    return "".join(["HTTP/1.1 103 Early Hints\r\n", *(f"{name}: {value}\r\n" for name, value in pairs), "\r\n"]).encode()


def response(request: Recorded, wire: Wire) -> bytes:
    """Send as many hints as the target's last segment says, then the response."""
    for _ in range(int(request.target.rpartition("/")[2])):
        wire.send(hint(HINTS + UNFIT if "/unfit/" in request.target else HINTS))
    return reply(b"final", headers=[("Link", "</a.css>; rel=preload")])


def conf(port: int, up: Recorder, folder: Path, more: str = "") -> str:
    return f"""
events {{}}
http {{
    access_log off;
    map $http_x_want $want {{ default ""; zero 0; yes 1; }}
    proxy_cache_path {folder}/store keys_zone=z:1m;
    proxy_http_version 1.1;
    server {{
        listen {port}; {more}
        location / {{ early_hints $want; proxy_hide_header X-Hidden; proxy_pass {up.url}; }}
        location /none/ {{ proxy_pass {up.url}; }}
        location /several/ {{ early_hints "" 0 $want; proxy_pass {up.url}; }}
        location /cached/ {{ early_hints 1; proxy_cache z; proxy_cache_valid 1h; proxy_pass {up.url}; }}
        location /asking/ {{ auth_request /asked/1; early_hints 1; proxy_pass {up.url}; }}
        location /asked/ {{ early_hints 1; proxy_pass {up.url}; }}
    }}
}}
"""


@pytest.fixture(scope="module")
def ports(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[int, int]]:
    """Those of nginx and of this proxy on the same file."""
    folder = tmp_path_factory.mktemp("hints")
    theirs, ours = free_ports(2)
    for name in ("theirs", "ours"):
        (folder / name).mkdir()
    with (
        Recorder(response) as up,
        run_nginx(conf(theirs, up, folder / "theirs"), folder),
        run_proxy(conf(ours, up, folder / "ours"), folder),
    ):
        yield theirs, ours


@pytest.mark.parametrize("version", ["1.0", "1.1"])
@pytest.mark.parametrize("wanted", ["", "zero", "yes"])
@pytest.mark.parametrize("target", ["/1", "/0", "/3", "/none/1", "/several/1", "/cached/1", "/asking/1"])
def test_as_nginx(ports: tuple[int, int], target: str, wanted: str, version: str) -> None:
    heard = []
    for port in ports:
        with Client(port) as client:
            data = request_bytes(target, headers=[("X-Want", wanted)], close=True)
            found = client.exchange(data.replace(b" HTTP/1.1", f" HTTP/{version}".encode()))
        heard.append((found.status, found.body, [(each.status, each.reason, each.headers) for each in found.interim]))
    assert heard[1] == heard[0]


def test_nothing_that_frames_or_belongs_to_the_connection(ports: tuple[int, int]) -> None:
    """nginx passes these on: a 103 with its own Content-Length or Connection."""
    found = fetch(ports[1], "/unfit/1", headers=[("X-Want", "yes")])
    (interim,) = found.interim
    assert interim.headers == [pair for pair in HINTS if pair[0] not in ("Server", "X-Hidden")]
    assert (found.body, found.complete) == (b"final", True)


def test_hints_come_before_the_answer_and_beside_an_upload(tmp_path: Path) -> None:
    seen = threading.Event()

    def slow(request: Recorded, wire: Wire) -> bytes:
        wire.send(hint([("Link", "</early>")]))
        assert seen.wait(30)
        return reply(b"late")

    port = free_port()
    with Recorder(slow) as up, run_proxy(conf(port, up, tmp_path), tmp_path), Client(port, 30) as client:
        client.send(request_bytes("/1", "POST", [("X-Want", "yes")], b"x" * 300_000, close=True))
        assert b"Link: </early>" in client.read_until(b"\r\n\r\n")
        seen.set()
        assert b"late" in client.read_until(b"late")


def test_an_update_in_the_background_sends_no_hints() -> None:
    """Its request is the client's, whose connection has another answer on it by then."""
    text = """
events {{}} http {{ access_log off; proxy_cache_path memory keys_zone=z:1m; server {{ location / {{
    early_hints 1; proxy_cache z; proxy_cache_valid 1s; proxy_cache_use_stale updating; proxy_cache_background_update on;
    proxy_pass {up}; add_header X-Cache $upstream_cache_status;
}} }} }}"""
    with Recorder(response) as up:
        app = ProxyApp(nginx.loads(text.format(up=up.url)))
        try:
            hints: list[object] = []

            def ask() -> str:
                hints.clear()
                found = WSGIClient(app).get("/1", environ_overrides={"wsgi.early_hints": hints.append})
                assert found.data == b"final"
                return found.headers["X-Cache"]

            assert ask() == "MISS" and len(hints) == 1
            wait_until(lambda: ask() == "STALE", "the entry to be stale", 30)
            wait_until(lambda: len(up.requests) == 2, "the update", 30)
            wait_until(lambda: WSGIClient(app).get("/1").headers["X-Cache"] == "HIT", "the end of the update", 30)
            assert hints == []
        finally:
            app.close()


@pytest.mark.ours_alone("HTTP/2 is the listener's")
def test_http2(tmp_path: Path) -> None:
    certificate, key = Files(tmp_path).pair("localhost")
    plain, secure = free_ports(2)
    more = f"listen {secure} ssl; http2 on; ssl_certificate {certificate}; ssl_certificate_key {key};"
    with Recorder(response) as up, run_proxy(conf(plain, up, tmp_path, more), tmp_path):
        command = ["curl", "-sSk", "--http2", "-m", "30", "-D", "-", "-H", "X-Want: yes", f"https://localhost:{secure}/unfit/2"]
        done = subprocess.run(command, capture_output=True, timeout=120)
    heads = done.stdout.decode().replace("\r\n", "\n").split("\n\n")
    assert [head.split()[1] for head in heads[:3]] == ["103", "103", "200"], done
    fields = ["link: </a.css>; rel=preload", "link: </b.js>", "x-other: 2"]
    assert [sorted(head.strip().split("\n")[1:]) for head in heads[:2]] == [fields, fields]
    assert heads[3] == "final"


@pytest.mark.parametrize("worker", ["wsgi_proxy.worker.ProxyWorker", "gthread", "gevent"])
def test_a_proxy_made_in_python_passes_them_on(tmp_path: Path, worker: str) -> None:
    with Recorder(response) as up:
        (tmp_path / "gunicorn").mkdir()
        (tmp_path / "gunicorn" / "made.py").write_text(
            f"from wsgi_proxy import Pool, Proxy, ProxyMiddleware\nwhole = Proxy(Pool(['{up.url}']))\n"
            f"part = ProxyMiddleware(whole, {{'/part/': {{'target': '{up.url}'}}}})\n"
        )
        for name, target in (("whole", "/1"), ("part", "/part/1")):
            with run_gunicorn(f"made:{name}", tmp_path, worker) as server:
                found = fetch(server.port, target)
                assert [interim.status for interim in found.interim] == [103]
                assert found.interim[0].get_all("Link") == ["</a.css>; rel=preload", "</b.js>"]
                assert found.body == b"final"


def test_hints_beyond_the_buffer_are_an_invalid_response(tmp_path: Path) -> None:
    """As in nginx the head of a 103 is limited by `proxy_buffer_size`."""

    def large(request: Recorded, wire: Wire) -> bytes:
        wire.send(hint([("Link", "</a.css>; rel=preload")] * 200))
        return reply(b"final")

    port = free_port()
    with Recorder(large) as up, run_proxy(conf(port, up, tmp_path), tmp_path):
        found = fetch(port, "/1", headers=[("X-Want", "yes")])
    assert (found.status, found.interim) == (502, [])
