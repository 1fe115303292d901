"""PEP 3333: the environ is the request. The upstream gets the request as a middleware changed it, under every server."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from werkzeug.exceptions import NotFound
from werkzeug.middleware.dispatcher import DispatcherMiddleware
from werkzeug.middleware.proxy_fix import ProxyFix

from tests.support import Recorded, Recorder, fetch, reply, run_gunicorn
from tests.support.tls import Files
from tests.support.wsgi import Made, get, made, upstream  # noqa: F401  fixtures
from wsgi_proxy import Pool, Proxy, ProxyMiddleware

APPS = """
import io, json, os
from wsgi_proxy import Pool, Proxy

proxy = Proxy(Pool([os.environ["UPSTREAM"]]))

def app(environ, start_response):
    # A middleware that does what the request asks for.
    for key, value in json.loads(environ.pop("HTTP_X_EDITS")).items():
        if value is None:
            environ.pop(key, None)
        elif key == "wsgi.input":
            environ[key] = io.BytesIO(value.encode("latin-1"))
        else:
            environ[key] = value
    return proxy(environ, start_response)

class Passing:
    "A middleware that has all that its application has."
    def __init__(self, app):
        self.app = app
    def __getattr__(self, name):
        return getattr(self.app, name)
    def __call__(self, environ, start_response):
        environ["HTTP_X_USER"] = "good"
        return self.app(environ, start_response)

passing = Passing(proxy)

class Own(Proxy):
    def __call__(self, environ, start_response):
        environ["HTTP_X_USER"] = "good"
        return super().__call__(environ, start_response)

own = Own(Pool([os.environ["UPSTREAM"]]))
"""
BODY = b"the client's body"
SENT = [
    ("X-User", "evil"),
    ("Authorization", "Basic eDp5"),
    ("Cookie", "a=1; b=2"),
    ("X-A", "1"),
    ("X-A", "2"),
    ("Content-Type", "text/x"),
]
RAW = "/outer/a%2Fb?q=1"
PROXY, GTHREAD, HTTP2 = "ProxyWorker", "gthread", "HTTP/2"


class Servers:
    """The same application under each server, and the upstream behind all."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self.recorder = stack.enter_context(Recorder(lambda request, wire: reply(b"ok")))
        files = Files(folder)
        certificate, key = files.pair("localhost")
        self.ca = files.ca_path
        env = {"UPSTREAM": self.recorder.url}
        self.ports = {}
        for name, worker, args in (
            (PROXY, "wsgi_proxy.worker.ProxyWorker", []),
            (GTHREAD, "gthread", ["--threads", "4"]),
            (HTTP2, "wsgi_proxy.worker.ProxyWorker", ["--certfile", certificate, "--keyfile", key, "--http-protocols", "h2,h1"]),
        ):
            place = folder / name.replace("/", "")
            (place / "gunicorn").mkdir(parents=True)
            (place / "gunicorn" / "edits.py").write_text(APPS)
            self.ports[name] = stack.enter_context(run_gunicorn("edits:app", place, worker, env=env, args=args)).port

    def ask(self, name: str, edits: dict[str, str | None], target: str = RAW) -> Recorded:
        """Send the request by way of a server; the upstream's view of it."""
        self.recorder.requests.clear()
        fields = [*SENT, ("X-Edits", json.dumps(edits))]
        port = self.ports[name]
        if name == HTTP2:
            command = ["curl", "-sS", "--http2", "--path-as-is", "--cacert", self.ca, "-m", "30", "-X", "POST"]
            command += [part for pair in fields for part in ("-H", f"{pair[0]}: {pair[1]}")]
            command += ["-H", "User-Agent;", "-H", "Accept:", "--data-binary", "@-", "--resolve", f"localhost:{port}:127.0.0.1"]
            done = subprocess.run([*command, f"https://localhost:{port}{target}"], input=BODY, capture_output=True, timeout=120)
            assert done.stdout == b"ok", done.stderr + done.stdout
        else:
            response = fetch(port, target, "POST", fields, BODY)
            assert response.text == "ok", response
        return self.recorder.requests[0]


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    with ExitStack() as stack:
        yield Servers(tmp_path_factory.mktemp("servers"), stack)


def seen(request: Recorded) -> dict[str, Any]:
    """Return the parts of a request that an upstream acts on. Servers differ in the case of names and in joining fields."""
    fields: dict[str, list[str]] = {}
    for name, value in request.headers:
        fields.setdefault(name.lower(), []).extend(part.strip() for part in value.split(","))
    for name in ("user-agent", "accept"):
        fields.pop(name, None)
    return {"method": request.method, "target": request.target, "body": request.body, **fields}


def expected(edits: dict[str, str | None], path: str) -> dict[str, Any]:
    """The request of the edited environ."""
    keys: dict[str, str | None] = {"HTTP_X_USER": "evil", "HTTP_AUTHORIZATION": "Basic eDp5", "HTTP_COOKIE": "a=1; b=2"}
    keys |= {"HTTP_X_A": "1,2", "CONTENT_TYPE": "text/x", "CONTENT_LENGTH": str(len(BODY)), **edits}
    fields = {
        key.removeprefix("HTTP_").replace("_", "-").lower(): [part.strip() for part in value.split(",")]
        for key, value in keys.items()
        if value is not None and key.startswith(("HTTP_", "CONTENT_"))
    }
    fields["x-forwarded-for"] = [edits.get("REMOTE_ADDR") or "127.0.0.1"]
    query = edits.get("QUERY_STRING", "q=1")
    body = edits.get("wsgi.input")
    return {
        "method": edits.get("REQUEST_METHOD") or "POST",
        "target": f"{path}?{query}" if query else path,
        "body": BODY if body is None else body.encode("latin-1"),
        **fields,
    }


VALUES = st.text("abc é/%+=", min_size=1, max_size=5).map(str.strip).filter(bool)
PLACES = st.sampled_from(
    [
        ({}, "/outer/a%2Fb"),
        ({"SCRIPT_NAME": "/outer", "PATH_INFO": "/a/b"}, "/a%2Fb"),
        ({"SCRIPT_NAME": "/outer"}, "/outer/a%2Fb"),
        ({"SCRIPT_NAME": "/outer", "PATH_INFO": "/chan ged"}, "/chan%20ged"),
        ({"PATH_INFO": "/\xe9/b"}, "/%E9/b"),
    ]
)
EDITS = st.fixed_dictionaries(
    {},
    optional={
        "HTTP_X_USER": VALUES | st.none(),
        "HTTP_AUTHORIZATION": VALUES | st.none(),
        "HTTP_COOKIE": st.none() | st.just("c=3"),
        "HTTP_X_A": VALUES | st.none(),
        "HTTP_X_NEW": VALUES,
        "HTTP_HOST": st.just("other.example"),
        "CONTENT_TYPE": st.just("text/y") | st.none(),
        "QUERY_STRING": st.sampled_from(["", "q=1", "r=%20&s"]),
        "REQUEST_METHOD": st.sampled_from(["PUT", "PATCH"]),
        "REMOTE_ADDR": st.just("192.0.2.7"),
        "wsgi.url_scheme": st.sampled_from(["http", "https"]),
    },
)
BODIES = st.sampled_from([None, "", "another body"])


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(edits=EDITS, place=PLACES, body=BODIES)
@example(edits={"HTTP_X_USER": "good", "HTTP_AUTHORIZATION": None, "HTTP_COOKIE": None}, place=({}, "/outer/a%2Fb"), body=None)
@example(edits={"QUERY_STRING": ""}, place=({"SCRIPT_NAME": "/outer", "PATH_INFO": "/a/b"}, "/a%2Fb"), body="another body")
def test_the_upstream_gets_what_the_environ_says(
    servers: Servers, edits: dict[str, str | None], place: tuple[dict[str, str], str], body: str | None
) -> None:
    edits = {**edits, **place[0]}
    if body is not None:
        edits |= {"wsgi.input": body, "CONTENT_LENGTH": str(len(body))}
    for name in (PROXY, GTHREAD, HTTP2):
        wanted = expected(edits, place[1])
        scheme = edits.get("wsgi.url_scheme") or ("https" if name == HTTP2 else "http")
        host = edits.get("HTTP_HOST") or f"localhost{':' + str(servers.ports[name]) if name == HTTP2 else ''}"
        wanted |= {"x-forwarded-proto": [scheme], "x-forwarded-host": [host], "host": [host]}
        assert seen(servers.ask(name, edits)) == wanted, name


def test_what_was_not_edited_keeps_its_form(servers: Servers) -> None:
    request = servers.ask(PROXY, {"HTTP_X_USER": "good"})
    kept = [pair for pair in request.headers if pair[0] in dict(SENT)]
    assert kept == [("X-User", "good"), *SENT[1:]] and request.target == RAW


@pytest.mark.parametrize("user", ["good", "evil"])
def test_a_client_cannot_remove_a_field_that_a_middleware_sets(servers: Servers, user: str) -> None:
    """Connection lists fields of the client (RFC 9110, section 7.6.1), which may guess the middleware's value."""
    servers.recorder.requests.clear()
    edits = json.dumps({"HTTP_X_USER": user, "HTTP_X_NEW": "n"})
    fields = [("X-User", "evil"), ("X-Hop", "11"), ("Connection", "X-User, x-new, X-Hop"), ("X-Edits", edits)]
    assert fetch(servers.ports[PROXY], "/", headers=fields).text == "ok"
    request = servers.recorder.requests[0]
    assert (request.get_all("X-User"), request.get_all("X-New"), request.get_all("X-Hop")) == ([user], ["n"], [])


def test_an_absolute_target_does_not_replace_an_edited_host(servers: Servers) -> None:
    for name in (PROXY, GTHREAD):
        request = servers.ask(name, {"HTTP_HOST": "other.example"}, f"http://localhost{RAW}")
        assert (request.get_all("Host"), request.target) == (["other.example"], RAW), name


@pytest.mark.parametrize("spec", ["edits:passing", "edits:own"])
def test_a_wrapper_that_looks_like_the_proxy(servers: Servers, tmp_path: Path, spec: str) -> None:
    """Under ProxyWorker the environ is trusted to be untouched only where nothing stands before the proxy."""
    (tmp_path / "gunicorn").mkdir()
    (tmp_path / "gunicorn" / "edits.py").write_text(APPS)
    env = {"UPSTREAM": servers.recorder.url}
    with run_gunicorn(spec, tmp_path, "wsgi_proxy.worker.ProxyWorker", env=env) as server:
        servers.recorder.requests.clear()
        assert fetch(server.port, "/", headers=[("X-User", "evil"), ("X_User", "evil")]).text == "ok"
        assert servers.recorder.requests[0].get_all("X-User") == ["good"]
        assert servers.recorder.requests[0].get_all("X_User") == []


HOOKS = """
def pre_request(worker, request):
    request.path, request.query = "/changed path", "r=2"
    request.headers = [pair for pair in request.headers if pair[0] != "X-USER"] + [("X-USER", "good")]
"""


@pytest.mark.parametrize("spec", ["edits:proxy", "edits:passing"])
def test_what_a_hook_of_gunicorn_changes(servers: Servers, tmp_path: Path, spec: str) -> None:
    (tmp_path / "gunicorn").mkdir()
    (tmp_path / "gunicorn" / "edits.py").write_text(APPS)
    (tmp_path / "gunicorn" / "hooks.py").write_text(HOOKS)
    env = {"UPSTREAM": servers.recorder.url}
    with run_gunicorn(spec, tmp_path, "wsgi_proxy.worker.ProxyWorker", env=env, args=["-c", "hooks.py"]) as server:
        servers.recorder.requests.clear()
        fields = [("X-User", "evil"), ("x-a", "1"), ("X-Hop", "11"), ("Connection", "X-User, X-Hop")]
        assert fetch(server.port, "/a%2Fb?q=1", headers=fields).text == "ok"
        request = servers.recorder.requests[0]
        assert (request.target, request.get_all("X-User"), request.get("x-a")) == ("/changed%20path?r=2", ["good"], "1")
        assert request.get_all("X-Hop") == []


@pytest.mark.parametrize("spec", ["edits:proxy", "edits:passing"])
def test_a_trusted_server_s_mount(servers: Servers, tmp_path: Path, spec: str) -> None:
    (tmp_path / "gunicorn").mkdir()
    (tmp_path / "gunicorn" / "edits.py").write_text(APPS)
    env = {"UPSTREAM": servers.recorder.url}
    with run_gunicorn(spec, tmp_path, "wsgi_proxy.worker.ProxyWorker", env=env) as server:
        servers.recorder.requests.clear()
        assert fetch(server.port, "/outer/a%2Fb?q=1", headers=[("SCRIPT_NAME", "/outer")]).text == "ok"
        assert servers.recorder.requests[0].target == "/a%2Fb?q=1"


# --- Werkzeug's client and middlewares, in this process ------------------------------------------------------------------------


def test_werkzeug_s_client_names_its_query_apart(upstream: Recorder, made: Made) -> None:  # noqa: F811
    app = made(ProxyMiddleware(NotFound(), {"/legacy/": {"target": upstream.url}}))
    get(app, "/legacy/x", query_string={"a": "1 2"})
    get(app, "/legacy/a b")
    get(app, "/legacy/a%2Fb?c")
    assert [request.target for request in upstream.requests] == ["/legacy/x?a=1+2", "/legacy/a%20b", "/legacy/a%2Fb?c"]


@pytest.mark.parametrize("raw", ["/outer/legacy/a%2Fb", "/legacy/a%2Fb"])
def test_below_a_mount_escapes_stay(upstream: Recorder, made: Made, raw: str) -> None:  # noqa: F811
    """Also where a proxy in front of the server took the mount off the target."""
    proxy = made(ProxyMiddleware(NotFound(), {"/legacy/": {"target": upstream.url}}))
    app = DispatcherMiddleware(NotFound(), {"/outer": proxy})
    get(app, "/outer/legacy/a/b", environ_overrides={"RAW_URI": raw, "REQUEST_URI": raw})
    assert upstream.requests[0].target == "/legacy/a%2Fb"


def test_a_forwarded_prefix_that_is_the_mapped_one(upstream: Recorder, made: Made) -> None:  # noqa: F811
    app = ProxyFix(made(ProxyMiddleware(NotFound(), {"/legacy/": {"target": upstream.url}})), x_prefix=1)
    response = get(app, "/legacy/x", headers={"X-Forwarded-Prefix": "/legacy"})
    assert (response.status_code, upstream.requests[0].target) == (200, "/legacy/x")


def test_a_value_that_would_begin_another_field(upstream: Recorder, made: Made) -> None:  # noqa: F811
    app = made(Proxy(Pool([upstream.url])))
    response = get(app, "/", environ_overrides={"HTTP_X_USER": "a\r\nX-Admin: 1"})
    assert response.status_code == 500 and not upstream.requests
