"""The application under WSGI servers without gunicorn's extensions: bodies arrive whole or are refused, upgrades are refused.

uWSGI is tried where the command `uwsgi` is installed.
"""

from __future__ import annotations

import importlib.util
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import ROOT, Recorder, Running, free_port, running, send_raw
from tests.support.uwsgi import BINARY

SCRIPT = """
import sys
kind, port, path = sys.argv[1], int(sys.argv[2]), sys.argv[3]
from wsgi_proxy import Proxy
app = Proxy.from_nginx(path)
if kind == "wsgiref":
    from wsgiref.simple_server import make_server
    make_server("127.0.0.1", port, app).serve_forever()
elif kind == "runserver":
    from django.conf import settings
    from django.core.servers.basehttp import run
    settings.configure()
    run("127.0.0.1", port, app, threading=True)
elif kind == "waitress":
    import waitress
    waitress.serve(app, host="127.0.0.1", port=port)
elif kind == "cheroot":
    from cheroot.wsgi import Server
    Server(("127.0.0.1", port), app).start()
elif kind == "werkzeug":
    from werkzeug.serving import run_simple
    run_simple("127.0.0.1", port, app, threaded=True)
"""

CONF = """
server {
    listen 127.0.0.1:8080;
    location / {
        proxy_pass URL;
        proxy_http_version 1.1;
        proxy_set_header Upgrade $http_upgrade;
        proxy_set_header Connection $http_connection;
    }
    location = /stream { proxy_pass URL; proxy_http_version 1.1; proxy_request_buffering off; }
    location = /here { return 200 here; }
}
"""

SERVERS = ["wsgiref", "runserver", "uwsgi", "waitress", "cheroot", "werkzeug"]
DECODING = {"waitress", "cheroot", "werkzeug"}
"""Servers that decode chunks (`wsgi.input_terminated`)."""
HANDING_OVER = {"werkzeug"}
"""Servers that hand over their connections."""
WEBSOCKET = b"Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"


class Site:
    """A server, and the upstream it forwards to."""

    def __init__(self, kind: str, server: Running, upstream: Recorder) -> None:
        self.kind = kind
        self.server = server
        self.upstream = upstream
        upstream.requests.clear()

    def ask(self, head: bytes, body: bytes = b"") -> bytes:
        """Everything that comes back on one connection."""
        head = head.replace(b"\n", b"\r\n")
        return send_raw(self.server.port, head + b"Host: a\r\nConnection: close\r\n\r\n" + body)


def command(kind: str, port: int, folder: Path) -> list[str]:
    conf = str(folder / "nginx.conf")
    if kind != "uwsgi":
        return [sys.executable, str(folder / "serve.py"), kind, str(port), conf]
    (folder / "application.py").write_text(f"from wsgi_proxy import Proxy\napplication = Proxy.from_nginx({conf!r})\n")
    paths = ["--pythonpath", str(ROOT), "--pythonpath", sysconfig.get_path("purelib"), "--pythonpath", str(folder)]
    plugin = [] if BINARY.endswith("python3") else ["--plugin", "python3"]
    return [
        BINARY,
        *plugin,
        "--http-socket",
        f"127.0.0.1:{port}",
        "--module",
        "application",
        "--threads",
        "4",
        "--die-on-term",
        *paths,
    ]


@pytest.fixture(scope="module", params=SERVERS)
def started(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Running, Recorder]]:
    kind: str = request.param
    if kind == "uwsgi" and not BINARY:
        pytest.skip("uwsgi is not installed")
    if kind in ("waitress", "cheroot") and importlib.util.find_spec(kind) is None:
        pytest.skip(f"{kind} is not installed")
    folder = tmp_path_factory.mktemp(kind)
    (folder / "serve.py").write_text(SCRIPT)
    with Recorder() as upstream:
        (folder / "nginx.conf").write_text("events {}\nhttp {" + CONF.replace("URL", upstream.url) + "}\n")
        port = free_port()
        with running(Running(command(kind, port, folder), folder), [port], deadline=40) as server:
            yield kind, server, upstream


@pytest.fixture
def site(started: tuple[str, Running, Recorder]) -> Iterator[Site]:
    site = Site(*started)
    yield site
    assert "Traceback" not in site.server.log(), site.server.log()


def test_a_body_with_a_length_arrives(site: Site) -> None:
    assert b" 200 " in site.ask(b"POST / HTTP/1.1\nContent-Length: 5\n", b"hello")
    assert [request.body for request in site.upstream.requests] == [b"hello"]


@pytest.mark.parametrize("target", [b"/", b"/stream"])
@pytest.mark.parametrize("method", [b"POST", b"GET"])
def test_a_chunked_body_arrives_or_is_refused(site: Site, method: bytes, target: bytes) -> None:
    response = site.ask(method + b" " + target + b" HTTP/1.1\nTransfer-Encoding: chunked\n", b"5\r\nhello\r\n0\r\n\r\n")
    if site.kind in DECODING:
        assert b" 200 " in response
        assert [request.body for request in site.upstream.requests] == [b"hello"]
    else:
        assert response.split(b"\r\n")[0].split()[1] == b"411"
        assert not site.upstream.requests


@pytest.mark.parametrize("fields", [b"", b"Content-Length: 4\n"], ids=["chunked", "two framings"])
@pytest.mark.parametrize("target", [b"/", b"/here"])
def test_unread_chunks_are_not_the_next_request(site: Site, target: bytes, fields: bytes) -> None:
    """The client would keep the connection: its chunk is not a request."""
    hidden = b"GET /hidden HTTP/1.1\r\nHost: a\r\n\r\n"
    head = b"POST " + target + b" HTTP/1.1\nHost: a\nTransfer-Encoding: chunked\n" + fields + b"\n"
    data = head.replace(b"\n", b"\r\n") + b"%x\r\n%b\r\n0\r\n\r\n" % (len(hidden), hidden)
    end = b"GET /last HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
    response = send_raw(site.server.port, data + end)
    assert b" 400 " in response or b" 411 " in response or b" 200 " in response
    assert "/hidden" not in [request.target for request in site.upstream.requests]


def test_an_upgrade_is_refused_before_it_is_asked_for(site: Site) -> None:
    data = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\n" + WEBSOCKET + b"\r\n"
    if site.kind in HANDING_OVER:
        pytest.skip("tests/e2e/test_websockets.py")
    end = b"GET /here HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
    response = send_raw(site.server.port, data + end)
    assert response.split(b"\r\n")[0].split()[1] == b"501"
    assert not site.upstream.requests
