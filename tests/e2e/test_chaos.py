"""Faults of the machine under a running server: directories that vanish, exhausted memory and descriptors, odd files."""

from __future__ import annotations

import gc
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.support import (
    Client,
    Recorded,
    Recorder,
    Running,
    Wire,
    fetch,
    free_port,
    reply,
    request_bytes,
    run_proxy,
    wait_until,
)
from tests.support.service import serving
from wsgi_proxy.exchange import Exchange
from wsgi_proxy.nginx import reader as nginx
from wsgi_proxy.proxy.upstream_body import Forwarded
from wsgi_proxy.worker.connection import Connection
from wsgi_proxy.wsgi.app import ProxyApp


def configuration(upstream: Recorder, port: int, main: str = "", http: str = "", location: str = "") -> str:
    return f"""
worker_processes 2;
{main}
events {{ worker_connections 128; }}
http {{
    {http}
    upstream up {{ zone up 64k; least_conn; server {upstream.address}; }}
    server {{
        listen 127.0.0.1:{port};
        location / {{ proxy_pass http://up; {location} }}
        location /dead {{ proxy_pass http://127.0.0.1:1; }}
        location /status {{ access_log off; wsgi_proxy_status json; }}
    }}
}}
"""


def reload(server: Running) -> str:
    """Send HUP and wait for its end; the last line about it."""

    def told() -> list[str]:
        ends = ("serve the new configuration", "the old one stays in use")
        return [line for path in (server.log_path, server.folder / "logs" / "e.log") if path.exists()
                for line in path.read_text(errors="replace").splitlines() if line.endswith(ends)]  # fmt: skip

    before = len(told())
    server.signal(signal.SIGHUP)
    wait_until(lambda: len(told()) > before, "the end of a reload")
    return told()[-1]


@pytest.mark.ours_alone("the command's signals")
def test_a_log_folder_that_vanishes_breaks_nothing(tmp_path: Path) -> None:
    logs = tmp_path / "proxy" / "own"
    logs.mkdir(parents=True)
    text = "error_log stderr notice; error_log own/e.log info;"
    with (
        Recorder() as upstream,
        run_proxy(configuration(upstream, free_port(), text, "access_log own/a.log;"), tmp_path) as server,
    ):
        assert [fetch(server.port, target).status for target in ("/", "/dead")] == [200, 502]
        workers = server.children()
        shutil.rmtree(logs)
        assert [fetch(server.port, target).status for target in ("/", "/dead")] == [200, 502]
        server.signal(signal.SIGUSR1)
        wait_until(lambda: server.log().count(f'open() "{logs}/e.log" failed (2') == 3, "all processes to say so")
        assert [fetch(server.port, target).status for target in ("/", "/dead")] == [200, 502]
        assert "the old one stays in use" in reload(server)
        assert server.children() == workers
        logs.mkdir()
        server.signal(signal.SIGUSR1)
        wait_until(lambda: (logs / "e.log").exists() and (logs / "a.log").exists(), "new files")
        assert [fetch(server.port, target).status for target in ("/", "/dead")] == [200, 502]
        wait_until(lambda: '"GET /dead HTTP/1.1" 502' in (logs / "a.log").read_text(), "a line in the new access log")
        assert "serve the new" in reload(server)


def test_folders_that_vanish_are_made_again(tmp_path: Path) -> None:
    def response(request: Recorded, wire: Wire) -> bytes:
        return reply(str(len(request.body)).encode(), headers=[("Cache-Control", "max-age=100")])

    text = "proxy_cache_path cache keys_zone=c:1m; add_header X-C $upstream_cache_status; "
    text += "client_body_temp_path body; client_body_buffer_size 1k;"
    with (
        Recorder(response) as upstream,
        run_proxy(configuration(upstream, free_port(), "", text, "proxy_cache c;"), tmp_path) as server,
    ):
        assert fetch(server.port, "/up", "POST", body=b"x" * 100_000).body == b"100000"
        assert [fetch(server.port, "/a").get("X-C") for _ in range(2)] == ["MISS", "HIT"]
        for name in ("cache", "body"):
            assert (server.folder / name).is_dir()
        for name in ("cache", "body"):
            shutil.rmtree(server.folder / name)
        assert fetch(server.port, "/up", "POST", body=b"x" * 100_000).body == b"100000"
        fetch(server.port, "/b")
        wait_until(lambda: fetch(server.port, "/b").get("X-C") == "HIT", "a hit in a new folder")
        assert "Traceback" not in server.log()


def test_no_room_for_a_body_is_not_the_clients_fault(tmp_path: Path) -> None:
    text = "client_body_temp_path body; client_body_buffer_size 1k;"
    with Recorder() as upstream, run_proxy(configuration(upstream, free_port(), "", text), tmp_path) as server:
        assert fetch(server.port, "/", "POST", body=b"x" * 100_000).status == 200
        (server.folder / "body").rmdir()
        (server.folder / "body").write_text("no folder")
        with Client(server.port) as client:
            client.send(request_bytes("/", "POST", body=b"x" * 100_000))
            assert client.read_response().status == 500
        assert f'open() in "{server.folder}/body" failed (20: Not a directory)' in server.log()
        assert fetch(server.port).status == 200


def test_ended_connections_leave_no_cycles_to_the_collector() -> None:
    def application(environ: Any, start_response: Any) -> list[bytes]:
        assert environ["gunicorn.socket"] is not None
        start_response("200 OK", [("Content-Length", "2")])
        return [b"ok"]

    with serving(application) as service:
        fetch(service.port)
        gc.collect()
        gc.disable()
        try:
            # Objects that other tests of this process still hold are not counted.
            before = sum(isinstance(each, Connection) for each in gc.get_objects())
            for _ in range(5):
                fetch(service.port)
            wait_until(lambda: not service.service.connections, "the connections to end")
            # The one that a greenlet served last may still be in its hands.
            assert sum(isinstance(each, Connection) for each in gc.get_objects()) - before <= 1
        finally:
            gc.enable()


def test_failed_exchanges_leave_no_cycles_to_the_collector(tmp_path: Path) -> None:
    def response(request: Recorded, wire: Wire) -> bytes | None:
        if request.target == "/garbage":
            return b"no head\r\n\r\n"
        wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\ncut")
        wire.reset()
        return None

    with Recorder(response) as upstream:
        text = f"access_log off; error_log {tmp_path}/e.log;"
        application = ProxyApp(nginx.loads(configuration(upstream, 80, "", text), prefix=str(tmp_path)))
        with serving(application) as service:

            def ask(target: str) -> None:
                with Client(service.port) as client:
                    client.send(request_bytes(target, close=True))
                    client.read_all()

            for target in ("/dead", "/garbage", "/cut"):
                ask(target)
                gc.collect()
                gc.disable()
                try:
                    # Objects that other tests of this process still hold are not counted.
                    before = sum(isinstance(each, Exchange | Forwarded) for each in gc.get_objects())
                    for _ in range(5):
                        ask(target)
                    wait_until(lambda: not service.service.connections, "the connections to end")
                    after = sum(isinstance(each, Exchange | Forwarded) for each in gc.get_objects())
                    assert after - before <= 2, target
                finally:
                    gc.enable()
        application.close()
