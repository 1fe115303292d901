"""Every figure equals the counts of the client and of the upstreams: over four workers, a killed one, and a reload."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import ssl
import threading
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.support import ROOT, Recorder, fetch, free_port, reply, run_proxy, wait_until
from tests.support.matrix_http2 import Http2Client
from tests.support.processes import Running
from tests.support.recorder import Recorded, Wire
from tests.support.tls import DAY, NOW, Files
from wsgi_proxy.status.snapshot import snapshot
from wsgi_proxy.wsgi import ProxyApp

CONFIGURATION = """
worker_processes 4;
events {{}}
http {{
    proxy_cache_path store keys_zone=shop:1m;
    limit_req_zone $arg_key zone=slow:1m rate=1r/m;
    limit_conn_zone $arg_key zone=few:1m;
    upstream echo {{ server {one} max_fails=0; server {two} max_fails=0; }}
    upstream lone {{ server 127.0.0.1:{dead}; }}
    upstream mixed {{ server 127.0.0.1:{dead} max_fails=0; server {one} backup; }}
    server {{
        listen 127.0.0.1:{port};
        server_name main.test;
        location / {{ proxy_pass http://echo; }}
        location /missing {{ proxy_pass http://echo; }}
        location /failed {{ proxy_pass http://echo; }}
        location /retried {{ proxy_pass http://echo; proxy_next_upstream http_500; }}
        location /away {{ return 503; }}
        http2 on;
        location /lone {{ proxy_pass http://lone; }}
        location /mixed {{ proxy_pass http://mixed; }}
        location /cached {{ proxy_pass http://echo; proxy_cache shop; proxy_cache_valid 200 1h; }}
        location /limited {{ limit_req zone=slow; limit_conn few 5; proxy_pass http://echo; }}
        location /mirrored {{ mirror /mirror; proxy_pass http://echo; }}
        location = /mirror {{ internal; proxy_pass http://lone; }}
        location /moved {{ return 302 /; }}
        location /file {{ try_files /none @other; }}
        location @other {{ return 200 "other"; }}
        location = /json {{ wsgi_proxy_status json; }}
        location = /stub {{ stub_status; }}
        {more}
    }}
    server {{
        listen 127.0.0.1:{port};
        server_name second.test;
        location / {{ return 200 "second"; }}
    }}
}}
"""


def status_of(target: str) -> int:
    """Return the status of the upstreams' response."""
    return {"/missing": 404, "/failed": 500, "/retried": 500}.get(target.partition("?")[0], 200)


def answer(request: Recorded, wire: Wire | None) -> bytes:
    status = status_of(request.target)
    return reply({404: b"not here", 500: b"broken"}.get(status, b"x" * 100), status)


class CountingClient:
    """Sends requests from several threads and counts the responses."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.statuses: Counter[tuple[str, int]] = Counter()
        self.bytes: Counter[str] = Counter()
        self.sent: Counter[str] = Counter()
        self._lock = threading.Lock()

    def get(self, path: str, host: str = "main.test", body: bytes = b"") -> None:
        response = fetch(self.port, path, "POST" if body else "GET", headers=[("Host", host)], body=body)
        key = path.partition("?")[0] if host == "main.test" else host
        self._count(key, response.status, len(response.body), len(body))

    def _count(self, key: str, status: int, received: int, sent: int) -> None:
        with self._lock:
            self.statuses[key, status] += 1
            self.bytes[key] += received
            self.sent[key] += sent

    def http2(self, paths: list[str], body: bytes | None = None) -> None:
        """Send requests to the default server as concurrent streams of one connection."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=60) as sock:
            results = Http2Client(sock).together([(path, "a", body, "length", None) for path in paths])
        for path, result in zip(paths, results, strict=True):
            assert result.complete, result
            self._count(path.partition("?")[0], result.status, result.length, len(body or b""))

    def send(self, paths: list[str], host: str = "main.test") -> None:
        shares = [paths[start::4] for start in range(4)]
        threads = [threading.Thread(target=lambda share=share: [self.get(path, host) for path in share]) for share in shares]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def classes(self, key: str = "") -> dict[str, int]:
        found = {f"{kind}xx": 0 for kind in range(1, 6)} | {"none": 0}
        for (path, status), count in self.statuses.items():
            if key in ("", path):
                found[f"{status // 100}xx"] += count
        return found


def state(port: int) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(fetch(port, "/json", headers=[("Host", "main.test")]).body)
    return found


def settled(port: int, client: CountingClient) -> dict[str, Any]:
    """Return the figures once the last request of the client is counted; its response may arrive a moment before that."""
    wait_until(lambda: state(port)["requests"] >= sum(client.statuses.values()), "the last request to be counted")
    return state(port)


def assert_equal(found: dict[str, Any], client: CountingClient, upstreams: list[Recorder]) -> None:
    """Compare every figure with the client's and the upstreams' counts."""
    assert found["requests"] == sum(client.statuses.values()) and found["responses"] == client.classes()
    assert found["body_bytes"] == sum(client.bytes.values()) and found["latency"]["count"] == found["requests"]
    by_path = {row["location"].removeprefix("= "): row for row in found["locations"] if row["server"].startswith("main.test")}
    for path in (
        "/",
        "/missing",
        "/lone",
        "/mixed",
        "/cached",
        "/limited",
        "/mirrored",
        "/moved",
        "/failed",
        "/retried",
        "/away",
    ):
        key = "/" if path == "/" else path
        assert by_path[path]["request_body_bytes"] == client.sent[key], path
        assert by_path[path]["responses"] == client.classes(key), path
        assert by_path[path]["body_bytes"] == client.bytes[key], path
        assert by_path[path]["latency"]["count"] == sum(client.classes(key).values())
    assert by_path["@other"]["responses"] == client.classes("/file")
    servers = {row["server"].partition(":")[0]: row for row in found["servers"]}
    assert servers["second.test"]["responses"] == client.classes("second.test")
    assert servers["main.test"]["requests"] == found["requests"] - servers["second.test"]["requests"]
    tried: Counter[str] = Counter()
    for name in ("echo", "mixed"):
        for row in found["upstreams"][name]:
            tried[row["server"]] += row["tries"]
    for upstream in upstreams:
        assert tried[upstream.address] == len(upstream.requests)
        rows = [row for rows in found["upstreams"].values() for row in rows if row["server"] == upstream.address]
        assert sum(row["bytes_sent"] for row in rows) == sum(len(each.raw) for each in upstream.requests)
        assert sum(row["bytes_received"] for row in rows) == sum(len(answer(each, None)) for each in upstream.requests)
        for kind in (2, 4, 5):
            answered = sum(status_of(each.target) // 100 == kind for each in upstream.requests)
            assert sum(row["responses"][f"{kind}xx"] for row in rows) == answered, kind
        assert (
            sum(row["header"]["count"] for row in rows)
            == sum(row["response"]["count"] for row in rows)
            == tried[upstream.address]
        )
    assert found["request_body_bytes"] == sum(client.sent.values())
    states = found["caches"]["shop"]["states"]
    asked = [each.target for upstream in upstreams for each in upstream.requests]
    assert states["MISS"] == asked.count("/cached")
    assert states["HIT"] == found["cache_hits"] == client.statuses["/cached", 200] - states["MISS"]
    limit = found["limits"]["limit_req"]["slow"]
    assert (limit["passed"], limit["rejected"]) == (client.statuses["/limited", 200], client.statuses["/limited", 503])
    assert found["retry_reasons"]["mixed"]["error"] == client.statuses["/mixed", 200]
    assert found["retry_reasons"]["echo"]["http_500"] == client.statuses["/retried", 500] == asked.count("/retried") / 2
    assert found["retries"] == client.statuses["/mixed", 200] + client.statuses["/retried", 500]


def drive(client: CountingClient) -> None:
    client.send(["/"] * 24 + ["/missing"] * 8 + ["/moved"] * 5 + ["/file"] * 3)
    client.send(["/lone"] * 6 + ["/mixed"] * 6 + ["/failed"] * 4 + ["/retried"] * 3 + ["/away"] * 2)
    for size in (1, 5000, 100_000):
        client.get("/", body=b"y" * size)
    client.http2(["/", "/missing", "/failed", "/retried", "/away", "/moved", "/cached"] * 2)
    client.http2(["/"] * 3, b"z" * 20_000)
    client.send(["/mirrored"] * 4)
    client.send(["/"] * 7, "second.test")
    for _ in range(5):
        client.get("/cached")
    for _ in range(3):
        client.get("/limited?key=a")


@pytest.mark.ours_alone("kills a worker and reloads")
def test_every_figure_is_exact(tmp_path: Path) -> None:
    with Recorder(answer) as one, Recorder(answer) as two:
        values = {"one": one.address, "two": two.address, "dead": free_port(), "port": free_port()}
        with run_proxy(CONFIGURATION.format(**values, more=""), tmp_path) as server:
            wait_until(lambda: len(state(server.port)["workers"]) == 4, "all workers to serve")
            client = CountingClient(server.port)
            drive(client)
            found = settled(server.port, client)
            assert_equal(found, client, [one, two])
            # A single server is never out, but its failures are counted: also those of the mirrored requests.
            wait_until(lambda: state(server.port)["upstreams"]["lone"][0]["failures"] == 10, "the mirrored requests")
            (lone,) = state(server.port)["upstreams"]["lone"]
            assert lone["tries"] == lone["failures"] == lone["responses"]["none"] == 10 and lone["state"] == "up"
            assert "Connection refused" in lone["last_failure"]["reason"]
            states = found["caches"]["shop"]["states"]
            assert states["MISS"] and found["caches"]["shop"]["ratio"] == round(
                states["HIT"] / (states["HIT"] + states["MISS"]), 4
            )
            assert found["limits"]["limit_conn"]["few"]["passed"] == 1
            assert len(found["workers"]) == 4 and found["worker_deaths"] == 0
            assert {row["pid"] for row in found["workers"]} == set(server.children())
            _after_a_kill(server, client, [one, two])
            _after_a_reload(server, client, [one, two], CONFIGURATION.format(**values, more="location /new { return 204; }"))
            _after_a_bad_reload(server, client)


def _after_a_kill(server: Running, client: CountingClient, upstreams: list[Recorder]) -> None:
    killed = server.children()[0]
    os.kill(killed, signal.SIGKILL)

    def replaced() -> bool:
        pids = {row["pid"] for row in state(server.port)["workers"]}
        return len(pids) == 4 and killed not in pids

    wait_until(replaced, "another worker")
    assert_equal(settled(server.port, client), client, upstreams)
    drive(client)
    found = settled(server.port, client)
    assert_equal(found, client, upstreams)
    assert found["worker_deaths"] == 1 and found["workers_started"] == 5 and found["reloads"]["last_reload_ok"] is None


def _after_a_reload(server: Running, client: CountingClient, upstreams: list[Recorder], text: str) -> None:
    before = set(server.children())
    (server.folder / "nginx.conf").write_text(text)
    server.signal(signal.SIGHUP)
    wait_until(lambda: not before & set(server.children()), "the old workers to end")
    drive(client)
    found = settled(server.port, client)
    assert_equal(found, client, upstreams)
    assert found["reloads"]["reloads"] == 1 and found["reloads"]["last_reload_ok"] is True and found["worker_deaths"] == 1
    assert {row["pid"] for row in found["workers"]} == set(server.children())


def _after_a_bad_reload(server: Running, client: CountingClient) -> None:
    (server.folder / "nginx.conf").write_text("events {} http { nonsense; }")
    server.signal(signal.SIGHUP)
    wait_until(lambda: state(server.port)["reloads"]["last_reload_ok"] is False, "the failed reload")
    found = state(server.port)
    assert "nonsense" in found["reloads"]["last_reload_error"] and found["requests"] == sum(client.statuses.values())


@pytest.mark.ours_alone("kills the only worker")
def test_figures_outlive_the_only_worker(tmp_path: Path) -> None:
    text = "worker_processes 1; events {{}} http {{ server {{ listen 127.0.0.1:{port}; location / {{ return 204; }} {json} }} }}"
    text = text.format(port=free_port(), json="location = /json { wsgi_proxy_status json; }")
    with run_proxy(text, tmp_path) as server:
        for _ in range(5):
            fetch(server.port)
        wait_until(lambda: state(server.port)["requests"] == 5, "the requests to be counted")
        (pid,) = server.children()
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: server.children() not in ([pid], []), "another worker")
        assert state(server.port)["requests"] == 5


def test_the_document_lists_every_name(tmp_path: Path) -> None:
    listed = set(re.findall(r"`([a-z0-9_]+)`", (ROOT / "docs" / "monitoring.md").read_text()))
    text = "events {} http { upstream u { server 127.0.0.1:9; } server { location / { proxy_pass http://u; } } }"
    (tmp_path / "nginx.conf").write_text(text)
    app = ProxyApp.from_nginx(tmp_path / "nginx.conf")
    found = snapshot(app.status)
    app.close()
    for part in (found, found["servers"][0], found["locations"][0], found["upstreams"]["u"][0], found["latency"], found["tls"]):
        unlisted = set(part) - listed - {"server", "location", "handler"}
        assert not unlisted


@pytest.mark.parametrize("verify", ["", "ssl_verify_client optional_no_ca;"], ids=["ssl", "pyOpenSSL"])
def test_tls_handshakes_and_certificates(tmp_path: Path, verify: str) -> None:
    files = Files(tmp_path)
    certificate, key = files.pair("localhost", not_after=NOW + 10 * DAY)
    port, plain = free_port(), free_port()
    text = f"""worker_processes 1; events {{}} http {{
        server {{ listen 127.0.0.1:{port} ssl; ssl_certificate {certificate}; ssl_certificate_key {key}; {verify}
            ssl_session_cache shared:a:1m; ssl_protocols TLSv1.2; location / {{ return 204; }} }}
        server {{ listen 127.0.0.1:{plain}; location = /json {{ wsgi_proxy_status json; }} }}
    }}"""
    with run_proxy(text, tmp_path) as server:
        context, session = files.client(), None
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        reused = 0
        for _ in range(4):
            with socket.create_connection(("127.0.0.1", port), 30) as sock:
                with context.wrap_socket(sock, server_hostname="localhost", session=session) as secure:
                    secure.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
                    assert secure.recv(100).startswith(b"HTTP/1.1 204")
                    reused += bool(secure.session_reused)
                    session = secure.session
        for _ in range(2):
            socket.create_connection(("127.0.0.1", port), 30).close()  # no handshake begins
        distrusting = ssl.create_default_context()
        with socket.create_connection(("127.0.0.1", port), 30) as sock, pytest.raises(ssl.SSLError):
            distrusting.wrap_socket(sock, server_hostname="localhost")

        def tls() -> dict[str, Any]:
            found: dict[str, Any] = json.loads(fetch(plain, "/json").body)["tls"]
            return found

        wait_until(lambda: tls()["failed"] == 1, "the failed handshake to be counted")
        found = tls()
        assert found["handshakes"] == 4
        if not verify:  # pyOpenSSL does not tell whether a session was resumed
            assert found["resumed"] == reused == 3
        (row,) = found["certificates"]
        assert row["path"] == certificate and 9.5 < row["days"] <= 10
        assert server.process.poll() is None
