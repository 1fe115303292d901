"""The proxy as a middleware: in Flask and Django, Werkzeug's mapping, and which paths it covers."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from wsgi_proxy import Pool, Proxy, ProxyMiddleware
from wsgi_proxy.errors import ConfigError

from .support import Recorder, fetch, reply, run_gunicorn
from .wsgi_support import Made, get, made, upstream

__all__ = ["made", "upstream"]  # fixtures


def test_in_flask_one_line_mounts_it(upstream: Recorder, made: Made) -> None:
    app = Flask(__name__)
    app.add_url_rule("/", "home", lambda: "home")
    app.wsgi_app = made(ProxyMiddleware(app.wsgi_app, {"/legacy/": {"target": f"{upstream.url}/"}}))  # type: ignore[method-assign]
    assert get(app, "/").data == b"home"
    assert get(app, "/legacy/a").data == b"upstream /legacy/a"
    assert get(app, "/legacyx").status_code == 404


@pytest.mark.parametrize(
    ("options", "path", "target", "host"),
    [
        ({}, "/api/a?b", "/api/a?b", None),
        ({"remove_prefix": True}, "/api/a?b", "/a?b", None),
        ({"host": None}, "/api/", "/api/", "client.example"),
        ({"host": "fixed"}, "/api/", "/api/", "fixed"),
        ({"headers": {"X-Token": "t"}}, "/api/", "/api/", None),
    ],
)
def test_werkzeugs_options(
    upstream: Recorder, made: Made, options: dict[str, Any], path: str, target: str, host: str | None
) -> None:
    app = made(ProxyMiddleware(Flask(__name__), {"/api": {"target": upstream.url, **options}}))
    assert get(app, path, headers={"Host": "client.example"}).status_code == 200
    seen = upstream.requests[0]
    assert (seen.target, seen.get("Host")) == (target, host or upstream.address)
    assert seen.get("X-Token") == options.get("headers", {}).get("X-Token")


@pytest.mark.parametrize(
    "targets", [{"/a": {}}, {"/a": {"target": "ftp://x"}}, {"/a": {"target": "http://127.0.0.1:1", "hots": "x"}}]
)
def test_faults_of_a_mapping_are_one_line(targets: dict[str, dict[str, Any]]) -> None:
    with pytest.raises(ConfigError, match="proxy target for '/a/?'"):
        ProxyMiddleware(Flask(__name__), targets)


def test_an_nginx_conf_as_a_middleware_takes_what_its_locations_cover(upstream: Recorder, made: Made, tmp_path: Path) -> None:
    path = tmp_path / "nginx.conf"
    locations = f"location /api/ {{ proxy_pass {upstream.url}; }} location = /old {{ return 301 /new; }}"
    path.write_text(f"events {{}} http {{ server {{ {locations} }} }}")
    app = Flask(__name__)
    app.add_url_rule("/", "home", lambda: "home")
    middleware = made(ProxyMiddleware(app, path))
    assert get(middleware, "/").data == b"home"
    assert get(middleware, "/api/x").data == b"upstream /api/x"
    assert get(middleware, "/old").status_code == 301


def test_in_django_one_line_mounts_it(upstream: Recorder, made: Made, tmp_path: Path) -> None:
    folder = tmp_path / "gunicorn"
    folder.mkdir()
    (folder / "site_wsgi.py").write_text(
        textwrap.dedent(
            f"""
            from django.conf import settings
            from django.http import HttpResponse
            from django.urls import path
            settings.configure(ROOT_URLCONF=__name__, ALLOWED_HOSTS=["*"], SECRET_KEY="x")
            urlpatterns = [path("", lambda request: HttpResponse("home"))]

            from django.core.wsgi import get_wsgi_application
            from wsgi_proxy import ProxyMiddleware

            application = ProxyMiddleware(get_wsgi_application(), {{"/legacy/": {{"target": "{upstream.url}/"}}}})
            """
        )
    )
    with run_gunicorn("site_wsgi:application", tmp_path, "gthread") as server:
        assert fetch(server.port, "/").body == b"home"
        assert fetch(server.port, "/legacy/a").body == b"upstream /legacy/a"


def mine(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"mine " + environ["PATH_INFO"].encode("latin-1") + environ["wsgi.input"].read(5)]


SECRET = """
    /legacy/%2e%2e/secret.txt /legacy/../secret.txt /legacy/..%2fsecret.txt /legacy/a/../../secret.txt
    /legacy/%2e%2e%2fsecret.txt /legacy/./../secret.txt //legacy/../secret.txt /legacy/../../secret.txt
""".split()


@pytest.mark.parametrize("worker", ["gthread", "wsgi_proxy.worker.ProxyWorker"])
def test_a_path_is_covered_by_what_it_resolves_to(worker: str, upstream: Recorder, tmp_path: Path) -> None:
    folder = tmp_path / "gunicorn"
    (folder / "html").mkdir(parents=True)
    (folder / "html" / "secret.txt").write_text("secret")
    (folder / "site_app.py").write_text(
        textwrap.dedent(
            f"""
            from wsgi_proxy import ProxyMiddleware

            def mine(environ, start_response):
                start_response("200 OK", [("Content-Type", "text/plain")])
                return [b"mine"]

            app = ProxyMiddleware(mine, {{"/legacy/": {{"target": "{upstream.url}", "remove_prefix": True}}}})
            """
        )
    )
    with run_gunicorn("site_app:app", tmp_path, worker) as server:
        for path in SECRET:
            answer = fetch(server.port, path)
            assert (answer.status, answer.body) == (200, b"mine"), path
        assert upstream.requests == []
        assert fetch(server.port, "/x/../legacy/a").body == b"upstream /a"
        assert fetch(server.port, "/legacy/x/%2e%2e/a").body == b"upstream /a"
        assert fetch(server.port, "/legacy/https://e/f//g").body == b"upstream /https://e/f//g"


def test_what_no_location_covers_is_the_applications_with_its_body(upstream: Recorder, made: Made, tmp_path: Path) -> None:
    path = tmp_path / "nginx.conf"
    path.write_text(f"events {{}} http {{ server {{ location /api/ {{ proxy_pass {upstream.url}; }} }} }}")
    for middleware in (made(ProxyMiddleware(mine, path)), made(ProxyMiddleware(mine, {"/api/": {"target": upstream.url}}))):
        for uncovered in ("/", "/api/%2e%2e/secret", "/apix"):
            answer = get(middleware, uncovered, "POST", data=b"12345", headers={"Host": "a"})
            assert answer.data.startswith(b"mine /") and answer.data.endswith(b"12345")
            # HTTP/2 bodies need no length: looking for one must not take the application's first byte.
            fields = {"SERVER_PROTOCOL": "HTTP/2", "CONTENT_LENGTH": ""}
            assert get(middleware, uncovered, "POST", data=b"12345", environ_overrides=fields).data.endswith(b"12345")
    assert upstream.requests == []


def test_a_configuration_made_in_python_serves_no_files(
    upstream: Recorder, made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "html").mkdir()
    (tmp_path / "html" / "secret.txt").write_text("secret")
    monkeypatch.chdir(tmp_path)
    middleware = made(ProxyMiddleware(mine, {"/legacy/": {"target": upstream.url}}))
    assert get(middleware.proxy, "/secret.txt").status_code == 404


def test_x_accel_fields_of_an_upstream_are_for_the_server_in_front(
    upstream: Recorder, made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "html").mkdir()
    (tmp_path / "html" / "secret.txt").write_text("secret")
    monkeypatch.chdir(tmp_path)
    fields = [("X-Accel-Redirect", "/secret.txt"), ("X-Accel-Buffering", "no"), ("X-Accel-Limit-Rate", "1")]
    upstream.answer = lambda r, w: reply(b"theirs", headers=fields)
    for app in (made(Proxy(Pool([upstream.url]))), made(ProxyMiddleware(mine, {"/": {"target": upstream.url}}))):
        answer = get(app, "/x")
        assert (answer.status_code, answer.data) == (200, b"theirs")
        assert [pair for pair in answer.headers if pair[0].startswith("X-Accel")] == fields
