"""worker: ProxyWorker under real gunicorn: processes, signals, settings, logs, hooks, and third-party applications."""

from __future__ import annotations

import json
import os
import signal
import ssl
from pathlib import Path
from typing import Any

import pytest
import trustme

from tests.support.client import Client, fetch, request_bytes, send_raw
from tests.support.ports import free_port, wait_until
from tests.support.processes import run_gunicorn, run_proxy

WORKER = "wsgi_proxy.worker.ProxyWorker"
GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"

APPS = """
import os, time
import gevent

def hello(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"%d" % os.getpid()]

def slow(environ, start_response):
    open("begun", "w").close()
    time.sleep(0.5)
    start_response("200 OK", [])
    return [b"slow"]

def environ(environ, start_response):
    start_response("200 OK", [])
    return ["\\n".join(f"{k}={v!r}" for k, v in sorted(environ.items()) if isinstance(v, (str, bool, int, tuple, list))).encode()]

def endless(environ, start_response):
    start_response("200 OK", [])
    while True:
        yield b"x"
        time.sleep(0.05)

def bare(environ, start_response):
    status = {"/204": "204 No Content", "/304": "304 Not Modified"}.get(environ["PATH_INFO"], "200 OK")
    start_response(status, [("Content-Length", "5"), ("ETag", '"x"')])
    return [] if status[:3] != "200" else [b"hello"]

def own_fields(environ, start_response):
    fields = [("Server", "mine"), ("Date", "Thu, 01 Jan 1970 00:00:00 GMT"), ("Content-Length", "1")]
    start_response("200 OK", fields)
    return [b"x"]
"""

FLASK = """
import io
from flask import Flask, Response, request, send_file, stream_with_context

app = Flask(__name__)

@app.post("/form")
def form():
    return {"fields": request.form.to_dict(), "files": {name: len(file.read()) for name, file in request.files.items()}}

@app.get("/stream")
def stream():
    return Response(stream_with_context(f"{n}," for n in range(3)), mimetype="text/plain")

@app.get("/file")
def file():
    return send_file(__file__, mimetype="text/plain", conditional=True)

@app.get("/memory")
def memory():
    return send_file(io.BytesIO(b"m" * 100000), mimetype="text/plain")

@app.get("/fail")
def fail():
    raise ValueError("defect of the application")

@app.put("/raw")
def raw():
    return request.get_data()[::-1]
"""

DJANGO = """
import django
from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.http import FileResponse, HttpResponse, JsonResponse, StreamingHttpResponse
from django.urls import path
from django.views.decorators.csrf import csrf_exempt

settings.configure(ROOT_URLCONF=__name__, ALLOWED_HOSTS=["*"], SECRET_KEY="test", MIDDLEWARE=[])

@csrf_exempt
def form(request):
    return JsonResponse({"fields": request.POST.dict(), "files": {n: f.size for n, f in request.FILES.items()}})

def stream(request):
    return StreamingHttpResponse((f"{n}," for n in range(3)), content_type="text/plain")

def file(request):
    return FileResponse(open(__file__, "rb"), content_type="text/plain")

def memory(request):
    return HttpResponse(b"m" * 100000, content_type="text/plain")

def fail(request):
    raise ValueError("defect of the application")

@csrf_exempt
def raw(request):
    return HttpResponse(request.body[::-1])

urlpatterns = [path("form", form), path("stream", stream), path("file", file), path("memory", memory), path("fail", fail),
               path("raw", raw)]
app = get_wsgi_application()
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The directory that gunicorn imports from, with the applications of these tests."""
    folder = tmp_path / "gunicorn"
    folder.mkdir()
    (folder / "apps.py").write_text(APPS)
    return folder


@pytest.mark.parametrize(("name", "source"), [("flasky", FLASK), ("djangoy", DJANGO)], ids=["flask", "django"])
def test_frameworks(tmp_path: Path, folder: Path, name: str, source: str) -> None:
    (folder / f"{name}.py").write_text(source)
    with run_gunicorn(f"{name}:app", tmp_path, WORKER) as server, Client(server.port) as client:

        def ask(target: str, method: str = "GET", **more: Any) -> Any:
            return client.exchange(request_bytes(target, method, **more), method)

        boundary = "----boundary"
        parts = "".join(
            f"--{boundary}\r\nContent-Disposition: form-data; {what}\r\n\r\n{content}\r\n"
            for what, content in (('name="a"', "1"), ('name="f"; filename="f"', "x" * 200_000))
        )
        form = (parts + f"--{boundary}--\r\n").encode()
        typed = [("Content-Type", f"multipart/form-data; boundary={boundary}")]
        response = ask("/form", "POST", headers=typed, body=form)
        assert json.loads(response.text) == {"fields": {"a": "1"}, "files": {"f": 200_000}}
        chunks = b"%x\r\n%b\r\n0\r\n\r\n" % (len(form), form)
        response = fetch(server.port, "/form", "POST", [*typed, ("Transfer-Encoding", "chunked")], chunks)
        # Django reads no body without a length.
        assert response.status == 200 and (name == "djangoy" or json.loads(response.text)["files"] == {"f": 200_000})
        assert ask("/stream").text == "0,1,2,"
        assert ask("/file").body == source.encode()
        assert ask("/file", "HEAD").body == b""
        assert ask("/memory").body == b"m" * 100_000
        body = os.urandom(100_000)
        assert ask("/raw", "PUT", body=body).body == body[::-1]
        assert ask("/fail").status == 500
        assert ask("/nowhere").status == 404
    # Django writes to its own log.
    assert name == "djangoy" or "defect of the application" in server.log()


def test_what_the_environ_says(tmp_path: Path, folder: Path) -> None:
    with run_gunicorn("apps:environ", tmp_path, WORKER, workers=2) as server:
        lines = fetch(server.port, "/a%2Fb?q", headers=[("X-Foo", "bar")]).text.split("\n")
    for line in (
        "REQUEST_METHOD='GET'", "RAW_URI='/a%2Fb?q'", "PATH_INFO='/a/b'", "QUERY_STRING='q'", "SCRIPT_NAME=''",
        "SERVER_PROTOCOL='HTTP/1.1'", "SERVER_NAME='127.0.0.1'", f"SERVER_PORT='{server.port}'", "REMOTE_ADDR='127.0.0.1'",
        "HTTP_X_FOO='bar'", "wsgi.url_scheme='http'", "wsgi.version=(1, 0)", "wsgi.multithread=True", "wsgi.multiprocess=True",
        "wsgi.run_once=False", "wsgi.input_terminated=True",
    ):  # fmt: skip
        assert line in lines, line
    assert any(line.startswith("SERVER_SOFTWARE='gunicorn/") for line in lines)


def test_the_application_passes_python_s_validator(tmp_path: Path, folder: Path) -> None:
    (folder / "valid.py").write_text(
        "from wsgiref.validate import validator\n"
        "@validator\n"
        "def app(environ, start_response):\n"
        "    body = environ['wsgi.input'].read(5) + environ['wsgi.input'].readline()\n"
        "    write = start_response('200 OK', [('Content-Type', 'text/plain')])\n"
        "    write(b'<')\n"
        "    return [body, b'>']\n"
    )
    with run_gunicorn("valid:app", tmp_path, WORKER) as server:
        assert fetch(server.port, "/", "POST", body=b"hello world\nmore").body == b"<hello world\n>"
        assert fetch(server.port).body == b"<>"


def test_access_log_and_hooks(tmp_path: Path, folder: Path) -> None:
    (folder / "conf.py").write_text(
        "def pre_request(worker, req): print('pre', req.method, req.path, flush=True)\n"
        "def post_request(worker, req, environ, resp): print('post', resp.status, flush=True)\n"
    )
    format_ = "%(h)s %(r)s %(s)s %(B)s %({x-foo}i)s %({content-type}o)s"
    args = ["--config", "conf.py", "--access-logfile", "-", "--access-logformat", format_]
    with run_gunicorn("apps:hello", tmp_path, WORKER, args=args) as server:
        response = fetch(server.port, "/x?y", headers=[("X-Foo", "bar")])
        wait_until(lambda: "post" in server.log(), "the hooks")
    log = server.log()
    assert "pre GET /x" in log and "post 200 OK" in log
    assert f"127.0.0.1 GET /x?y HTTP/1.1 200 {len(response.body)} bar text/plain" in log


def test_max_requests_replaces_the_worker_without_a_lost_request(tmp_path: Path, folder: Path) -> None:
    with run_gunicorn("apps:hello", tmp_path, WORKER, args=["--max-requests", "10", "--max-requests-jitter", "0"]) as server:
        responses = [fetch(server.port) for _ in range(35)]
        assert {response.status for response in responses} == {200}
        assert len({response.body for response in responses}) >= 3


def test_gunicorn_s_limits_and_timeouts_hold(tmp_path: Path, folder: Path) -> None:
    args = ["--limit-request-line", "100", "--limit-request-fields", "3", "--limit-request-field_size", "50", "--keep-alive", "1"]
    with run_gunicorn("apps:hello", tmp_path, WORKER, args=args) as server:
        assert send_raw(server.port, b"GET /" + b"a" * 100 + b" HTTP/1.1\r\nHost: a\r\n\r\n").startswith(b"HTTP/1.1 414 ")
        assert send_raw(server.port, GET[:-2] + b"A: " + b"a" * 60 + b"\r\n\r\n").startswith(b"HTTP/1.1 400 ")
        assert send_raw(server.port, GET[:-2] + b"A: 1\r\nB: 1\r\nC: 1\r\n\r\n").startswith(b"HTTP/1.1 400 ")
        with Client(server.port) as client:
            assert client.exchange(GET).status == 200
            assert client.read_all() == b""


def test_term_lets_requests_end_and_hup_replaces_the_workers(tmp_path: Path, folder: Path) -> None:
    with run_gunicorn("apps:slow", tmp_path, WORKER, workers=2) as server:
        old = set(server.children())
        with Client(server.port) as client:
            client.send(GET)
            wait_until((folder / "begun").exists, "the request to begin")
            server.signal(signal.SIGHUP)
            assert client.read_response().body == b"slow"
        wait_until(lambda: len(server.children()) == 2 and not old & set(server.children()), "new workers")
        (folder / "begun").unlink()
        with Client(server.port) as client:
            client.send(GET)
            wait_until((folder / "begun").exists, "the request to begin")
            server.signal(signal.SIGTERM)
            response = client.read_response()
            assert (response.body, response.get("Connection")) == (b"slow", "close")
        server.process.wait(30)


def test_graceful_timeout_ends_what_does_not_end(tmp_path: Path, folder: Path) -> None:
    args = ["--graceful-timeout", "1"]
    with run_gunicorn("apps:endless", tmp_path, WORKER, args=args) as server, Client(server.port) as client:
        client.send(GET)
        client.read_until(b"x")
        server.signal(signal.SIGTERM)
        client.read_all()
        server.process.wait(30)


def test_a_killed_worker_is_replaced_and_workers_end_with_their_arbiter(tmp_path: Path, folder: Path) -> None:
    with run_gunicorn("apps:hello", tmp_path, WORKER) as server:
        first = int(fetch(server.port).body)
        os.kill(first, signal.SIGKILL)
        wait_until(lambda: server.children() not in ([], [first]), "another worker")
        assert int(fetch(server.port).body) != first
    with run_gunicorn("apps:hello", tmp_path, WORKER) as server:
        os.kill(server.pid, signal.SIGKILL)
        server.process.wait(30)
        wait_until(lambda: not server.children(), "the workers to end")


def test_a_unix_socket(tmp_path: Path, folder: Path) -> None:
    path = str(tmp_path / "s")
    with run_gunicorn("apps:hello", tmp_path, WORKER, bind=path) as server:
        assert fetch(path).status == 200
    assert server.process.returncode == 0


def test_worker_connections(tmp_path: Path, folder: Path) -> None:
    with run_gunicorn("apps:hello", tmp_path, WORKER, args=["--worker-connections", "1"]) as server:
        with Client(server.port) as first:
            first.exchange(GET)
            second = Client(server.port)
            second.send(GET)
        assert second.read_response().status == 200
        second.close()


def test_keepalive_of_a_location_and_of_a_server(tmp_path: Path) -> None:
    port = free_port()
    conf = f"""
        events {{ }}
        http {{
            server {{ listen {port}; server_name a; keepalive_requests 3; return 200 "a";
            }}
            server {{ listen {port}; server_name b; keepalive_timeout 75s 60s;
                location / {{ return 200 "b"; }}
                location /once {{ keepalive_timeout 0; return 200 "once"; }}
            }}
        }}"""
    with run_proxy(conf, tmp_path, args=["-g", "daemon off;"]) as server, Client(server.port) as client:
        seen = []
        for host, target in (("b", "/"), ("b", "/"), ("b", "/"), ("b", "/once")):
            response = client.exchange(request_bytes(target, host=host))
            seen.append((response.get("Connection"), response.get("Keep-Alive")))
        assert seen == [("keep-alive", "timeout=60")] * 3 + [("close", None)]
        with Client(server.port) as other:
            assert [other.exchange(GET).get("Connection") for _ in range(3)] == ["keep-alive", "keep-alive", "close"]


def test_tls_and_http2(tmp_path: Path, folder: Path) -> None:
    authority = trustme.CA()
    certificate = authority.issue_cert("localhost")
    certificate.private_key_and_cert_chain_pem.write_to_path(str(folder / "cert.pem"))
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    args = ["--certfile", "cert.pem", "--http-protocols", "h2,h1"]
    with run_gunicorn("apps:environ", tmp_path, WORKER, args=args) as server:
        assert "wsgi.url_scheme='https'" in fetch(server.port, tls=trusting).text
        trusting.set_alpn_protocols(["h2"])
        fields, text = http2_get(server.port, trusting, "/over/h2")
        assert fields["server"] == "wsgi_proxy" and "date" in fields
        assert "RAW_URI='/over/h2'" in text and "wsgi.url_scheme='https'" in text and "HTTP_VERSION" not in text


def test_over_http2_too_the_server_is_the_one_the_application_names(tmp_path: Path, folder: Path) -> None:
    authority = trustme.CA()
    authority.issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(str(folder / "cert.pem"))
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    trusting.set_alpn_protocols(["h2"])
    args = ["--certfile", "cert.pem", "--http-protocols", "h2,h1"]
    with run_gunicorn("apps:own_fields", tmp_path, WORKER, args=args) as server:
        fields, text = http2_get(server.port, trusting, "/")
        assert (fields["server"], fields["date"], text) == ("mine", "Thu, 01 Jan 1970 00:00:00 GMT", "x")


@pytest.mark.parametrize(("method", "path"), [("GET", "/304"), ("GET", "/204"), ("HEAD", "/"), ("HEAD", "/304")])
def test_over_http2_a_response_without_a_body_ends_with_its_headers(tmp_path: Path, folder: Path, method: str, path: str) -> None:
    authority = trustme.CA()
    authority.issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(str(folder / "cert.pem"))
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    trusting.set_alpn_protocols(["h2"])
    args = ["--certfile", "cert.pem", "--http-protocols", "h2,h1"]
    with run_gunicorn("apps:bare", tmp_path, WORKER, args=args) as server:
        fields, frames = http2_frames(server.port, trusting, method, path)
        assert fields[":status"] == path.strip("/") or (method, path) == ("HEAD", "/")
        assert fields.get("content-length") == (None if path == "/204" else "5")
        assert "server" in fields and "date" in fields
        assert frames == ["HEADERS, END_STREAM"]
        assert http2_get(server.port, trusting, "/")[1] == "hello"


def http2_frames(port: int, context: ssl.SSLContext, method: str, path: str) -> tuple[dict[str, str], list[str]]:
    """The fields of one response by HTTP/2, and its frames; read by hand, because h2's client refuses faulty ones."""
    import h2.connection
    import hpack

    with Client(port, tls=context) as client:
        connection = h2.connection.H2Connection()
        connection.initiate_connection()
        request = [(":method", method), (":path", path), (":scheme", "https"), (":authority", "localhost")]
        connection.send_headers(1, request, end_stream=True)
        client.send(connection.data_to_send())
        decoder, fields, frames = hpack.Decoder(), {}, []
        while not (frames and frames[-1].endswith("END_STREAM")):
            head = client.read_exactly(9)
            payload = client.read_exactly(int.from_bytes(head[:3], "big"))
            if int.from_bytes(head[5:], "big") != 1:
                continue
            kind = {0: "DATA", 1: "HEADERS"}.get(head[3], str(head[3]))
            frames.append(f"{kind}, END_STREAM" if kind in ("DATA", "HEADERS") and head[4] & 1 else kind)
            if kind == "HEADERS":
                fields = {str(name): str(value) for name, value in decoder.decode(payload)}
        return fields, frames


def http2_get(port: int, context: ssl.SSLContext, path: str) -> tuple[dict[str, str], str]:
    """The fields and the body of one GET by HTTP/2."""
    import h2.config
    import h2.connection
    import h2.events

    with Client(port, tls=context) as client:
        assert isinstance(client.sock, ssl.SSLSocket) and client.sock.selected_alpn_protocol() == "h2"
        connection = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding="utf-8"))
        connection.initiate_connection()
        fields = [(":method", "GET"), (":path", path), (":scheme", "https"), (":authority", "localhost")]
        connection.send_headers(1, fields, end_stream=True)
        body, responseed = b"", {}
        while True:
            client.send(connection.data_to_send())
            data = client.sock.recv(65536)
            assert data, "the server closed"
            for event in connection.receive_data(data):
                if isinstance(event, h2.events.DataReceived):
                    body += event.data
                elif isinstance(event, h2.events.StreamEnded):
                    return responseed, body.decode()
                elif isinstance(event, h2.events.ResponseReceived):
                    responseed = {str(name): str(value) for name, value in event.headers}
