"""What an operator's machine does to a running server: folders that vanish, memory and descriptors that run out, odd files."""

from __future__ import annotations

import shutil
import signal
from pathlib import Path

from .support import Recorder, Running, fetch, free_port, run_proxy, wait_until


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
        ends = ("serve the new configuration", "the old one goes on")
        return [line for path in (server.log_path, server.folder / "logs" / "e.log") if path.exists()
                for line in path.read_text(errors="replace").splitlines() if line.endswith(ends)]  # fmt: skip

    before = len(told())
    server.signal(signal.SIGHUP)
    wait_until(lambda: len(told()) > before, "the end of a reload", 20)
    return told()[-1]


def test_a_log_folder_that_vanishes_breaks_nothing(tmp_path: Path) -> None:
    logs = tmp_path / "proxy" / "own"
    logs.mkdir(parents=True)
    text = "error_log stderr notice; error_log own/e.log info;"
    with Recorder() as upstream, run_proxy(
        configuration(upstream, free_port(), text, "access_log own/a.log;"), tmp_path
    ) as server:
        assert [fetch(server.port, target).status for target in ("/", "/dead")] == [200, 502]
        workers = server.children()
        shutil.rmtree(logs)
        assert [fetch(server.port, target).status for target in ("/", "/dead")] == [200, 502]
        server.signal(signal.SIGUSR1)
        wait_until(lambda: server.log().count(f'open() "{logs}/e.log" failed (2') == 3, "all processes to say so")
        assert [fetch(server.port, target).status for target in ("/", "/dead")] == [200, 502]
        assert "the old one goes on" in reload(server)
        assert server.children() == workers
        logs.mkdir()
        server.signal(signal.SIGUSR1)
        wait_until(lambda: (logs / "e.log").exists() and (logs / "a.log").exists(), "new files")
        assert [fetch(server.port, target).status for target in ("/", "/dead")] == [200, 502]
        wait_until(lambda: '"GET /dead HTTP/1.1" 502' in (logs / "a.log").read_text(), "a line in the new access log")
        assert "serve the new" in reload(server)
