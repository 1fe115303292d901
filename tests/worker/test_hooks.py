"""hooks: gunicorn's hooks, loggers and statsd get the same under ProxyWorker as under gthread."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Any

import pytest

from tests.support.client import fetch, send_raw
from tests.support.ports import wait_until
from tests.support.processes import run_gunicorn

PROXY = "wsgi_proxy.worker.ProxyWorker"
both = pytest.mark.parametrize("worker", ["gthread", PROXY], ids=["gthread", "ours"])

APPS = """
import json

def app(environ, start_response):
    names = ("REQUEST_METHOD", "PATH_INFO", "QUERY_STRING", "RAW_URI", "CONTENT_TYPE", "CONTENT_LENGTH", "wsgi.url_scheme")
    shown = {name: environ.get(name) for name in names}
    shown.update((key, value) for key, value in environ.items() if key.startswith("HTTP_"))
    shown["body"] = environ["wsgi.input"].read().decode()
    body = json.dumps(shown).encode()
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]

def late(environ, start_response):
    start_response("200 OK", [("Content-Length", "6")])
    yield b"abc"
    raise ValueError("late fault")
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "gunicorn"
    folder.mkdir()
    (folder / "apps.py").write_text(APPS)
    return folder


EDITS = {
    "nothing": "pass",
    "added": "req.headers.append(('X-ADDED', 'yes'))",
    "removed": "req.headers = [field for field in req.headers if field[0] != 'X-SECRET']",
    "changed": "req.headers = [(name, 'b' if name == 'X-SECRET' else value) for name, value in req.headers]",
    "an underscore": "req.headers.append(('X_UNDER', 'yes'))",
    "typed": "req.headers.append(('CONTENT-TYPE', 'text/x'))",
    "a path": "req.path = '/else%20where'; req.query = 'other'; req.uri = '/else%20where?other'",
    "a scheme": "req.scheme = 'https'",
    "a method": "req.method = 'PUT'",
}


@pytest.mark.parametrize("edit", EDITS.values(), ids=EDITS)
def test_what_pre_request_changes_is_the_request(tmp_path: Path, folder: Path, edit: str) -> None:
    (folder / "conf.py").write_text(f"def pre_request(worker, req):\n    {edit}\n")
    request = b"POST /a%20b?c HTTP/1.1\r\nHost: h\r\nX-Secret: a\r\nCookie: c=1\r\nX_Dropped: 1\r\nContent-Length: 5\r\n"
    found = {}
    for worker in ("gthread", PROXY):
        with run_gunicorn("apps:app", tmp_path, worker, args=["--config", "conf.py"]) as server:
            raw = send_raw(server.port, request + b"Connection: close\r\n\r\nhello")
        found[worker] = json.loads(raw.partition(b"\r\n\r\n")[2])
    assert found[PROXY] == found["gthread"]


def test_the_proxy_forwards_what_pre_request_changes(tmp_path: Path, folder: Path) -> None:
    from tests.support.recorder import Recorder

    edit = "[('X-SECRET', 'hidden') if field[0] == 'X-SECRET' else field for field in req.headers if field[0] != 'X-GONE']"
    (folder / "conf.py").write_text(f"def pre_request(worker, req):\n    req.headers = {edit} + [('X-NEW', 'n')]\n")
    with Recorder() as upstream:
        (folder / "proxied.py").write_text(f"from wsgi_proxy import Pool, Proxy\napp = Proxy(Pool([{upstream.url!r}]))\n")
        with run_gunicorn("proxied:app", tmp_path, PROXY, args=["--config", "conf.py"]) as server:
            fetch(server.port, "/", headers=[("X-Secret", "shown"), ("X-Gone", "1"), ("x-SPELLED", "s")])
        [seen] = upstream.requests
    assert (seen.get("X-Secret"), seen.get("X-Gone"), seen.get("X-New")) == ("hidden", None, "n")
    assert "x-SPELLED" in [name for name, _ in seen.headers]


@both
def test_a_pre_request_that_raises_is_a_500(tmp_path: Path, folder: Path, worker: str) -> None:
    (folder / "conf.py").write_text("def pre_request(worker, req):\n    raise ValueError('faulty hook')\n")
    with run_gunicorn("apps:app", tmp_path, worker, args=["--config", "conf.py"]) as server:
        assert fetch(server.port).status == 500
        wait_until(lambda: "ValueError: faulty hook" in server.log(), "the traceback")


@both
def test_statsd_counts_without_an_access_log(tmp_path: Path, folder: Path, worker: str) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as statsd:
        statsd.bind(("127.0.0.1", 0))
        statsd.settimeout(30)
        args = ["--statsd-host", f"127.0.0.1:{statsd.getsockname()[1]}"]
        with run_gunicorn("apps:app", tmp_path, worker, args=args) as server:
            assert fetch(server.port).status == 200
            wanted = {b"gunicorn.requests:1|c|@1.0", b"gunicorn.request.status.200:1|c|@1.0"}
            while wanted:
                wanted.discard(statsd.recv(1000))


LOGGER = """
from gunicorn.glogging import Logger

class Own(Logger):
    def access(self, resp, req, environ, request_time):
        print("own access", resp.status, req.method, req.path, environ["RAW_URI"], resp.sent, flush=True)
"""


@both
def test_a_logger_with_its_own_access_is_told_of_every_request(tmp_path: Path, folder: Path, worker: str) -> None:
    (folder / "loggers.py").write_text(LOGGER)
    with run_gunicorn("apps:app", tmp_path, worker, args=["--logger-class", "loggers.Own"]) as server:
        length = len(fetch(server.port, "/x?y").body)
        wait_until(lambda: f"own access 200 OK GET /x /x?y {length}" in server.log(), "the logger to be told")


@both
def test_a_generator_that_raises_is_logged_with_its_traceback(tmp_path: Path, folder: Path, worker: str) -> None:
    with run_gunicorn("apps:late", tmp_path, worker) as server:
        response: Any = fetch(server.port)
        assert not response.complete
        wait_until(lambda: "ValueError: late fault" in server.log(), "the traceback")
        assert 'raise ValueError("late fault")' in server.log()


def test_a_client_that_leaves_before_the_status_is_no_fault_of_the_access_log(tmp_path: Path, folder: Path) -> None:
    (folder / "waiting.py").write_text(
        "def app(environ, start_response):\n"
        "    open('begun', 'w').close()\n"
        "    environ['wsgi.input'].read()\n"
        "    start_response('200 OK', [])\n"
        "    return []\n"
    )
    with run_gunicorn("waiting:app", tmp_path, PROXY, args=["--access-logfile", "-"]) as server:
        with socket.create_connection(("127.0.0.1", server.port)) as sock:
            sock.sendall(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n12")
            wait_until((folder / "begun").exists, "the request to begin")
        assert fetch(server.port).status == 200
        wait_until(lambda: "prematurely closed connection" in server.log(), "the line in the log")
    assert "Traceback" not in server.log()
