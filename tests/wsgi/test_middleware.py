"""The proxy as a middleware: in Flask and Django, with Werkzeug's mapping, and the paths that it covers."""

from __future__ import annotations

import base64
import ssl
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme
from flask import Flask

from tests.support import Client, Recorded, Recorder, Wire, chunked, fetch, reply, run_gunicorn, send_raw
from tests.support.wsgi import Made, get, made, upstream
from wsgi_proxy import CheckFailed, ConfigError, HealthCheck, Pool, Proxy, ProxyMiddleware
from wsgi_proxy.nginx import reader as nginx
from wsgi_proxy.wsgi.python_config import config_for_targets

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
            response = fetch(server.port, path)
            assert (response.status, response.body) == (200, b"mine"), path
        assert upstream.requests == []
        assert fetch(server.port, "/x/../legacy/a").body == b"upstream /a"
        assert fetch(server.port, "/legacy/x/%2e%2e/a").body == b"upstream /a"
        assert fetch(server.port, "/legacy/https://e/f//g").body == b"upstream /https://e/f//g"


def test_what_no_location_covers_is_the_applications_with_its_body(upstream: Recorder, made: Made, tmp_path: Path) -> None:
    path = tmp_path / "nginx.conf"
    path.write_text(f"events {{}} http {{ server {{ location /api/ {{ proxy_pass {upstream.url}; }} }} }}")
    for middleware in (made(ProxyMiddleware(mine, path)), made(ProxyMiddleware(mine, {"/api/": {"target": upstream.url}}))):
        for uncovered in ("/", "/api/%2e%2e/secret", "/apix"):
            response = get(middleware, uncovered, "POST", data=b"12345", headers={"Host": "a"})
            assert response.data.startswith(b"mine /") and response.data.endswith(b"12345")
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
    upstream.response = lambda r, w: reply(b"theirs", headers=fields)
    for app in (made(Proxy(Pool([upstream.url]))), made(ProxyMiddleware(mine, {"/": {"target": upstream.url}}))):
        response = get(app, "/x")
        assert (response.status_code, response.data) == (200, b"theirs")
        assert [pair for pair in response.headers if pair[0].startswith("X-Accel")] == fields


def seen_by(upstream: Recorder, made: Made, options: Any, **request: Any) -> Any:
    """The one request that the upstream gets of a GET of /x/a."""
    response = get(made(ProxyMiddleware(mine, {"/x/": options})), "/x/a", **request)
    assert response.status_code == 200
    return upstream.requests[-1]


def test_a_text_is_the_target(upstream: Recorder, made: Made) -> None:
    assert seen_by(upstream, made, f"{upstream.url}/base/").target == "/base/x/a"


def test_a_users_name_in_a_target_is_sent_as_authorization_only(upstream: Recorder, made: Made) -> None:
    target = upstream.url.replace("://", "://us%40er:p:w@")
    seen = seen_by(upstream, made, target, headers={"Authorization": "Bearer client's"})
    assert seen.get("Host") == upstream.address
    assert seen.get("Authorization") == "Basic " + base64.b64encode(b"us@er:p:w").decode()
    assert b"p:w" not in seen.raw.replace(b"Authorization", b"")
    own = seen_by(upstream, made, {"target": target, "headers": {"authorization": "Bearer ours"}})
    assert own.get("Authorization") == "Bearer ours"


def test_fields_are_set_once_whatever_the_case_of_their_names(upstream: Recorder, made: Made) -> None:
    given = {"host": "example.org", "x-forwarded-for": "192.0.2.1", "x-a": "ours"}
    seen = seen_by(upstream, made, {"target": upstream.url, "headers": given}, headers={"X-A": "client's", "Host": "c"})
    assert (seen.get("Host"), seen.get("X-Forwarded-For"), seen.get("X-A")) == ("example.org", "192.0.2.1", "ours")


def test_http_and_https_of_one_host_are_two_upstreams() -> None:
    made = config_for_targets({"/a/": "http://localhost", "/b/": "https://localhost"}, 5)
    found = {}
    for location in made.servers[0].locations:
        assert location.proxy.pass_ is not None
        found[location.pattern] = made.upstreams[location.proxy.pass_.upstream].servers[0].address
    assert found == {"/a/": "localhost:80", "/b/": "localhost:443"}


def test_prefixes_beyond_ascii(upstream: Recorder, made: Made) -> None:
    app = made(ProxyMiddleware(mine, {"/bücher und mehr/": f"{upstream.url}/base"}))
    assert get(app, "/b%C3%BCcher%20und%20mehr/a").data == b"upstream /base/b%C3%BCcher%20und%20mehr/a"


@pytest.mark.parametrize("worker", ["gthread", "wsgi_proxy.worker.ProxyWorker"])
def test_behind_a_unix_socket_no_address_is_invented(worker: str, upstream: Recorder, tmp_path: Path) -> None:
    (tmp_path / "gunicorn").mkdir()
    path = tmp_path / "s"
    text = f"from wsgi_proxy import Pool, Proxy\napp = Proxy(Pool(['{upstream.url}']))\n"
    (tmp_path / "gunicorn" / "made.py").write_text(text)
    with run_gunicorn("made:app", tmp_path, worker, bind=str(path)):
        head = b"GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 6.6.6.6\r\nConnection: close\r\n\r\n"
        assert send_raw(str(path), head).startswith(b"HTTP/1.1 200 ")
    assert upstream.requests[-1].get("X-Forwarded-For") is None


# --- TLS ----------------------------------------------------------------------------------------------------------------------


@pytest.fixture
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def secure(authority: trustme.CA) -> Iterator[Recorder]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    with Recorder(tls=context) as recorder:
        yield recorder


def targets(secure: Recorder, **pool: Any) -> list[Any]:
    """A pool and a mapping for one https server, with the options of each."""
    url = f"https://localhost:{secure.port}"
    mapping = {key: value for key, value in pool.items() if key == "ssl_context"}
    made = [Proxy(Pool([url], **pool))]
    return made if "verify" in pool else [*made, ProxyMiddleware(mine, {"/": {"target": url, **mapping}})]  # type: ignore[typeddict-item]


def test_https_is_verified_by_default(secure: Recorder, made: Made) -> None:
    for app in targets(secure):
        assert get(made(app), "/a").status_code == 502
    assert secure.requests == []


def test_the_systems_authorities_are_trusted(
    secure: Recorder, made: Made, authority: trustme.CA, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    for app in targets(secure):
        assert get(made(app), "/a").data == b"ok"
    # The name counts, too: the certificate is localhost's.
    other = made(Proxy(Pool([f"https://127.0.0.1:{secure.port}"])))
    assert get(other, "/a").status_code == 502


def test_verify_and_ssl_context_change_it(secure: Recorder, made: Made, authority: trustme.CA, tmp_path: Path) -> None:
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    assert get(made(targets(secure, verify=False)[0]), "/a").data == b"ok"
    assert get(made(targets(secure, verify=tmp_path / "ca.pem")[0]), "/a").data == b"ok"
    context = ssl.create_default_context(cafile=str(tmp_path / "ca.pem"))
    for app in targets(secure, ssl_context=context):
        assert get(made(app), "/a").data == b"ok"


def test_a_pools_health_check_verifies_as_its_requests_do(
    secure: Recorder, made: Made, authority: trustme.CA, tmp_path: Path
) -> None:
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    for verify, good in ((True, False), (tmp_path / "ca.pem", True)):
        pool = Pool([f"https://localhost:{secure.port}"], verify=verify, health_check=HealthCheck(uri="/alive"))
        (probe,) = made(Proxy(pool)).probes.probes
        if good:
            probe.check(pool.peers[0])
        else:
            with pytest.raises(CheckFailed, match="CERTIFICATE_VERIFY_FAILED"):
                probe.check(pool.peers[0])
    assert [request.target for request in secure.requests] == ["/alive"]


def test_an_nginx_confs_default_is_not_to_verify(secure: Recorder, made: Made) -> None:
    text = f"events {{}} http {{ server {{ location / {{ proxy_pass https://localhost:{secure.port}; }} }} }}"
    assert get(made(Proxy(nginx.loads(text))), "/a").data == b"ok"


# --- the timeout ----------------------------------------------------------------------------------------------------------------


TIMEOUT = 2.0


@pytest.mark.parametrize("worker", ["gthread", "wsgi_proxy.worker.ProxyWorker"])
def test_the_timeout_ends_with_the_answers_head(worker: str, tmp_path: Path) -> None:
    def response(request: Recorded, wire: Wire) -> bytes | None:
        if request.target == "/x/silent":
            wire.recv()  # until the proxy gives up
            return None
        if request.target == "/x/websocket":
            wire.send(b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n")
            time.sleep(1.5 * TIMEOUT)
            wire.send(b"late")
            wire.close()
            return None
        head, *blocks = chunked(b"one", b"two").partition(b"3\r\ntwo")
        wire.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + head)
        time.sleep(1.5 * TIMEOUT)
        return b"".join(blocks)

    (tmp_path / "gunicorn").mkdir()
    with Recorder(response) as upstream:
        text = f"""
from wsgi_proxy import ProxyMiddleware
app = ProxyMiddleware(lambda e, s: [], {{"/x/": "{upstream.url}"}}, timeout={TIMEOUT})
"""
        (tmp_path / "gunicorn" / "made.py").write_text(text)
        with run_gunicorn("made:app", tmp_path, worker) as server:
            for _ in range(2):  # the second time on a kept connection
                stream = fetch(server.port, "/x/stream")
                assert (stream.body, stream.complete) == (b"onetwo", True)
            assert fetch(server.port, "/x/silent").status == 504
            head = b"GET /x/websocket HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n"
            with Client(server.port) as client:
                client.send(head)
                said = client.read_all()
            assert said.startswith(b"HTTP/1.1 101 ") and said.endswith(b"\r\n\r\nlate")


def test_a_host_that_is_unknown_at_the_start_does_not_stop_the_application() -> None:
    from werkzeug.test import Client

    def home(environ: Any, start_response: Any) -> list[bytes]:
        start_response("200 OK", [])
        return [b"home"]

    app = ProxyMiddleware(home, {"/old/": "http://no.such.invalid:80"})
    try:
        assert Client(app).get("/").text == "home"
        assert Client(app).get("/old/").status_code == 502
    finally:
        app.close()
