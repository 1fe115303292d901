"""The WSGI application, and its response to a fault."""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from flask import Flask
from werkzeug.test import EnvironBuilder

from tests.support import ROOT, Recorder, fetch, free_port, run_gunicorn
from tests.support.wsgi import Made, get, made, upstream
from wsgi_proxy import Pool, Proxy, Server
from wsgi_proxy.errors import ConfigError
from wsgi_proxy.exchange import Exchange
from wsgi_proxy.response import Response
from wsgi_proxy.wsgi.app import await_update

__all__ = ["made", "upstream"]  # fixtures


def test_a_pool_is_an_application(upstream: Recorder, made: Made) -> None:
    app = made(Proxy(Pool([Server(upstream.url, weight=10)], policy="least_conn")))
    response = get(app, "/a%20b?c=d", headers={"Host": "example.org", "X-Forwarded-For": "6.6.6.6", "X-Real-IP": "6.6.6.6"})
    assert (response.status_code, response.data) == (200, b"upstream /a%20b?c=d")
    assert response.headers["Server"] == "theirs" and response.headers["X-A"] == "1"
    seen = upstream.requests[0]
    assert seen.get("Host") == "example.org" and seen.get("X-Real-IP") is None
    assert (seen.get("X-Forwarded-For"), seen.get("X-Forwarded-Proto"), seen.get("X-Forwarded-Host")) == (
        "127.0.0.1",
        "http",
        "example.org",
    )


@pytest.mark.parametrize(
    ("target", "seen"),
    [("/a#b", "/a"), ("/a?x=1#y", "/a?x=1"), ("/a%23b?c=%23", "/a%23b?c=%23"), ("/a b", "/a%20b"), ("#b", "/")],
)
def test_the_targets_of_a_test_client(upstream: Recorder, made: Made, target: str, seen: str) -> None:
    app = made(Proxy(Pool([upstream.url])))
    assert get(app, target).status_code == 200
    assert upstream.requests[0].target == seen
    # From a server it is a fragment in the request line.
    if "#" in target:
        assert get(app, target, environ_overrides={"SERVER_SOFTWARE": "a/1"}).status_code == 400


def test_bodies_stream_up(upstream: Recorder, made: Made) -> None:
    app = made(Proxy(Pool([upstream.url])))
    assert get(app, "/", "POST", data=b"x" * 100_000).status_code == 200
    assert upstream.requests[0].body == b"x" * 100_000


def test_mounted_below_a_prefix_the_upstream_gets_the_path_below_it(upstream: Recorder, made: Made) -> None:
    from werkzeug.middleware.dispatcher import DispatcherMiddleware

    app = DispatcherMiddleware(Flask(__name__), {"/mount": made(Proxy(Pool([upstream.url])))})
    assert get(app, "/mount/a").data == b"upstream /a"


def test_no_traceback_reaches_a_client(upstream: Recorder, made: Made) -> None:
    class Broken(Proxy):
        def respond(self, exchange: Exchange) -> Response:
            raise KeyError("a defect")

    app = made(Broken(Pool([upstream.url])))
    response = get(app, "/")
    assert response.status_code == 500 and b"Traceback" not in response.data and b"KeyError" not in response.data


def test_without_a_configuration_the_fault_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import wsgi_proxy

    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("WSGI_PROXY_CONFIG", raising=False)
    with pytest.raises(ConfigError, match="WSGI_PROXY_CONFIG"):
        _ = wsgi_proxy.app


@pytest.mark.parametrize("worker", ["gthread", "wsgi_proxy.worker.ProxyWorker"])
def test_under_gunicorn_too_the_error_log_is_the_configurations(worker: str, tmp_path: Path) -> None:
    port = free_port()
    text = f"error_log said.log;\nevents {{}}\nhttp {{ server {{ location / {{ proxy_pass http://127.0.0.1:{port}; }} }} }}\n"
    (tmp_path / "gunicorn").mkdir()
    (tmp_path / "gunicorn" / "nginx.conf").write_text(text)
    with run_gunicorn("wsgi_proxy:app", tmp_path, worker) as server:
        assert fetch(server.port).status == 502
    said = (tmp_path / "gunicorn" / "said.log").read_text()
    assert "[error] " in said and "connect() failed (111: Connection refused) while connecting to upstream" in said


def test_a_star_import_needs_no_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("WSGI_PROXY_CONFIG", raising=False)
    names: dict[str, object] = {}
    exec("from wsgi_proxy import *", names)
    assert names["Proxy"] is Proxy and "app" not in names


def test_what_is_no_pool_is_told_what_to_do() -> None:
    with pytest.raises(TypeError, match="Proxy takes a Pool or a Config, not 'nginx.conf'; Proxy.from_nginx takes the path"):
        Proxy("nginx.conf")  # type: ignore[arg-type]


def test_an_upstream_that_is_gone_is_a_502_without_its_address(made: Made) -> None:
    port = free_port()
    response = get(made(Proxy(Pool([f"http://127.0.0.1:{port}"]))), "/")
    assert response.status_code == 502 and str(port).encode() not in response.data
    assert not any(str(port) in value for value in response.headers.values())


def readme_blocks() -> list[str]:
    return re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.S)


@pytest.mark.parametrize("number", range(len(readme_blocks())))
def test_the_readmes_python_runs(number: int, upstream: Recorder, tmp_path: Path) -> None:
    block = readme_blocks()[number].replace("http://127.0.0.1:3001", upstream.url).replace("http://127.0.0.1:3002", upstream.url)
    name = "application" if "application =" in block else "app"
    folder = tmp_path / "gunicorn"
    folder.mkdir()
    django = 'from django.conf import settings\nsettings.configure(ROOT_URLCONF=__name__, ALLOWED_HOSTS=["*"], SECRET_KEY="x")\n'
    (folder / "example.py").write_text((django + "urlpatterns = []\n" if "django" in block else "") + block)
    with run_gunicorn(f"example:{name}", tmp_path, "gthread") as server:
        assert fetch(server.port, "/legacy/a").body == b"upstream /legacy/a"
        if "flask" in block:
            assert fetch(server.port, "/").body == b"home"


def test_a_body_that_is_here_is_handed_over_whole_and_counted(upstream: Recorder, made: Made) -> None:
    app = made(Proxy(Pool([upstream.url])))
    environ = EnvironBuilder("/").get_environ()
    whole: Any = app(environ, lambda *arguments: None)
    assert whole.at_hand() == b"upstream /" and list(whole) == []
    whole.close()
    upstream.response = lambda r, w: b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX-T: 1\r\n\r\n"
    chunked: Any = app(EnvironBuilder("/").get_environ(), lambda *arguments: None)
    assert chunked.at_hand() == b"hello" and list(chunked) == []
    chunked.close()


def test_a_configuration_that_is_no_path_is_named() -> None:
    with pytest.raises(ConfigError, match="path: the path of an nginx.conf is wanted, not None"):
        Proxy.from_nginx(None)  # type: ignore[arg-type]


class _Update:
    """The event of a background update, which notes that it was waited for."""

    waited = 0

    def wait(self, seconds: float) -> None:
        self.waited += 1


@pytest.mark.parametrize(
    ("protocol", "keeps", "waits"),
    [("HTTP/1.1", False, 1), ("HTTP/1.0", False, 1), ("HTTP/1.1", True, 0), ("HTTP/2.0", False, 0)],
)
def test_the_end_of_a_connection_waits_for_a_background_update(protocol: str, keeps: bool, waits: int) -> None:
    exchange = Exchange()
    exchange.protocol = protocol
    exchange.connection = SimpleNamespace(head=SimpleNamespace(keep_alive=keeps))
    exchange.update = update = _Update()
    await_update(exchange)
    assert update.waited == waits
    exchange.connection = None
    await_update(exchange)
    assert update.waited == waits
