"""`wsgi-proxy status`: the figures of a running proxy over TCP and a unix socket, and its messages without them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support import Recorder, fetch, free_port, run_proxy, wait_until
from tests.support.directive import http
from tests.support.processes import Running, environment
from wsgi_proxy.cli import status
from wsgi_proxy.cli.status import Place, StatusError, place_of, place_of_url

CONFIGURATION = """
worker_processes 2;
events {{}}
http {{
    upstream echo {{ server {up}; server 127.0.0.1:{dead} max_fails=1 fail_timeout=1h; }}
    server {{ listen 127.0.0.1:{port}; server_name main.test; location / {{ proxy_pass http://echo; }} }}
    server {{ listen unix:status.sock; location / {{ wsgi_proxy_status json; }} }}
}}
"""


def command(server: Running, *words: str) -> subprocess.CompletedProcess[str]:
    """Run the command line beside a running proxy."""
    arguments = [sys.executable, "-m", "wsgi_proxy", *words, "-c", str(server.folder / "nginx.conf")]
    return subprocess.run(arguments, capture_output=True, text=True, env=environment(), timeout=60)


def test_over_a_status_socket(tmp_path: Path) -> None:
    with Recorder() as up:
        text = CONFIGURATION.format(up=up.address, dead=free_port(), port=free_port())
        with run_proxy(text, tmp_path) as server:
            for _ in range(10):
                assert fetch(server.port, headers=[("Host", "main.test")]).status == 200

            def state() -> dict[str, Any]:
                done = command(server, "status", "--json")
                assert done.returncode == 0, done.stderr
                found: dict[str, Any] = json.loads(done.stdout)
                return found

            wait_until(lambda: state()["requests"] == 10, "the last request to be counted")
            done = command(server, "status")
            assert (done.returncode, done.stderr) == (0, "")
            assert "10 requests, 1 retries" in done.stdout and "responses: 2xx 10" in done.stdout
            assert f"{up.address}: up, 10 tries, 0 failures, response" in done.stdout
            assert "unavail (connect() failed (111: Connection refused)" in done.stdout
            assert f"location main.test:{server.port} /: 10 requests" in done.stdout
            done = command(server, "status", "--url", f"unix:{server.folder}/status.sock", "--json")
            assert json.loads(done.stdout)["requests"] == 10
            done = command(server, "status", "--url", f"http://127.0.0.1:{server.port}/x")
            assert done.returncode == 1 and "is no status location" in done.stderr
        done = command(server, "status")
        assert done.returncode == 1 and "is the proxy running?" in done.stderr


@pytest.mark.ours_alone("the pid file is the command's")
def test_the_health_with_a_status_location_and_without_one(tmp_path: Path) -> None:
    port = free_port()
    text = f"""worker_processes 2; events {{}} http {{ server {{ listen 127.0.0.1:{port}; location / {{ return 204; }}
        location = /status {{ wsgi_proxy_status; deny all; }} }} }}"""
    for name, conf in (("with", text), ("without", text.replace("wsgi_proxy_status", "return 200"))):
        log = tmp_path / name / "proxy" / "logs" / "access.log"
        with run_proxy(conf, tmp_path / name) as server:
            wait_until((server.folder / "logs" / "nginx.pid").exists)
            done = command(server, "status", "--health")
            assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
            fetch(server.port)
            wait_until(lambda log=log: '"GET / HTTP/1.1" 204' in log.read_text())
            if name == "without":
                assert log.read_text().count("\n") == 1, "the check is no request"
        done = command(server, "status", "--health")
        assert (done.returncode, done.stdout) == (1, "") and done.stderr.startswith("wsgi-proxy: no "), done.stderr


@pytest.mark.ours_alone("the pid file is the command's")
def test_a_refused_handshake_is_an_answer(tmp_path: Path) -> None:
    text = f"events {{}} http {{ server {{ listen 127.0.0.1:{free_port()} ssl; ssl_reject_handshake on; return 204; }} }}"
    with run_proxy(text, tmp_path) as server:
        wait_until((server.folder / "logs" / "nginx.pid").exists)
        done = command(server, "status", "--health")
        assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.ours_alone("the pid file is the command's")
def test_a_main_process_without_workers_is_not_healthy(tmp_path: Path) -> None:
    port = free_port()
    with run_proxy(f"events {{}} http {{ server {{ listen 127.0.0.1:{port}; return 204; }} }}", tmp_path) as server:
        path = server.folder / "logs" / "nginx.pid"
        wait_until(path.exists)
        (worker,) = server.children()
        # A child of the test without children takes the place of a main process whose workers are gone.
        path.write_text(f"{worker}\n")
        done = command(server, "status", "--health")
        assert done.returncode == 1 and f'no worker: the main process "{worker}" of {path} has no child' in done.stderr
        path.write_text(f"{server.pid}\n")


def test_the_place_in_a_configuration() -> None:
    def found(text: str) -> Place:
        return place_of(http(text))

    assert found("server { listen 8081; location = /s { wsgi_proxy_status; } }")[:5] == ("", "127.0.0.1", 8081, "/s", "localhost")
    place = found("server { listen 80; listen unix:/run/x; server_name a.test; location /s { wsgi_proxy_status json; } }")
    assert place[:5] == ("/run/x", "*", 80, "/s", "a.test") or place.unix == "/run/x"
    # Metrics have another form, and the path of a regular expression is not known.
    text = """server { location = /m { wsgi_proxy_status metrics; } location ~ s$ { wsgi_proxy_status json; }
        location /outer { location /outer/s { wsgi_proxy_status json; } } }"""
    assert found(text).path == "/outer/s"
    with pytest.raises(StatusError, match="no status location; add one and reload"):
        found("server { location / { } }")


def test_the_place_of_a_url() -> None:
    assert place_of_url("http://a.test:81/s")[:5] == ("", "a.test", 81, "/s", "a.test:81")
    assert place_of_url("unix:/run/x:/s")[:5] == ("/run/x", "", 0, "/s", "localhost")
    secure = place_of_url("https://a.test")
    assert (secure.port, secure.path) == (443, "/") and secure.context is not None and secure.context.check_hostname
    for text in ("a.test", "ftp://a.test/", "http:///x"):
        with pytest.raises(StatusError, match="is no URL"):
            place_of_url(text)


def test_the_words() -> None:
    assert status.parse(["--json", "--url", "http://a/"]) == ("http://a/", ["--json"])
    with pytest.raises(StatusError, match="requires a URL"):
        status.parse(["--url"])
    assert [status.time(each) for each in (None, 2.0, 0.5, 0.0004)] == ["-", "2.00 s", "500 ms", "0.40 ms"]
    assert [status.span(each) for each in (5, 150, 7200, 200_000)] == ["5 s", "2 min", "2 h", "2 d"]
    assert status.plain("a\x1b[31m\n") == "a?[31m?"


def test_unknown_words_and_help(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    from wsgi_proxy.cli.command import main

    assert main(["status", "--help"]) == 0 and "Usage: wsgi-proxy status" in capsys.readouterr().out
    path = tmp_path / "nginx.conf"
    path.write_text("events {} http { server { location / { wsgi_proxy_status; } } }")
    assert main(["status", "--jason", "-c", str(path)]) == 1 and 'invalid option: "--jason"' in capsys.readouterr().err
    path.write_text("events {} http { server { } }")
    assert main(["status", "-c", str(path)]) == 1 and "wsgi_proxy_status json;" in capsys.readouterr().err
