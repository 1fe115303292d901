"""`wsgi-proxy explain`: the decisions about a request."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import ROOT, Recorder, environment, fetch, free_port, run_proxy
from wsgi_proxy.cli.explain import environ_of, explain
from wsgi_proxy.cli.flags import UsageError
from wsgi_proxy.nginx import reader as nginx

CONFIGURATION = """
events {{}}
http {{
    upstream echo {{ server 127.0.0.1:{dead}; server {address}; }}
    server {{
        server_name example.org;
        location /a/ {{ proxy_pass http://echo; }}
        location = /old {{ return 301 /a/; }}
        location /no/ {{ deny all; }}
    }}
}}
"""


def test_each_decision_is_a_line() -> None:
    with Recorder() as upstream:
        dead = free_port()
        config = nginx.loads(CONFIGURATION.format(address=upstream.address, dead=dead))
        lines = explain(config, "GET", "http://example.org/a/b?c=d", [("Cookie", "x=1")])
        text = "\n".join(lines)
        assert "request: GET /a/b?c=d from 127.0.0.1, Host example.org" in text
        assert "server: example.org (" in text
        assert "nginx.conf:7) → proxy_pass, URI /a/b, arguments c=d" in text
        assert f"try 1: 127.0.0.1:{dead} of echo: connect() failed (111: Connection refused)" in text
        assert f"try 2: {upstream.address} of echo: status 200" in text
        assert lines[-1] == "response: 200, 2 bytes"
        assert upstream.requests[0].get("Cookie") == "x=1"


def test_answers_without_an_upstream() -> None:
    config = nginx.loads(CONFIGURATION.format(address="127.0.0.1:1", dead=2))
    lines = explain(config, "GET", "http://example.org/old")
    assert lines[-1].startswith("response: 301")
    assert lines[2].startswith("location: = /old (") and lines[2].endswith(") → return, URI /old, the exact match")
    assert "return: 301 in = /old" in lines
    files = explain(config, "GET", "http://example.org/file")
    assert files[2] == "location: none, the server's own settings, URI /file"
    assert explain(config, "GET", "http://example.org/no/")[-1].startswith("response: 403")


def test_the_environ_of_a_path() -> None:
    environ = environ_of("GET", "/a", [("Host", "h"), ("X-A", "1"), ("X-A", "2")], "1.2.3.4")
    assert (environ["RAW_URI"], environ["HTTP_HOST"], environ["HTTP_X_A"]) == ("/a", "h", "1,2")
    assert environ_of("GET", "/a", [], "1.2.3.4")["HTTP_HOST"] == "localhost"


@pytest.mark.parametrize("url", ["nonsense://x", "x", "http:///a", "http://a:b/", "ftp://a/", ""])
def test_a_url_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(UsageError, match="invalid URL"):
        environ_of("GET", url, [], "127.0.0.1")


def test_each_step_says_why(tmp_path: Path) -> None:
    text = """events {} http { limit_req_zone $uri zone=z:1m rate=2r/s; server { listen 8080; server_name a.test;
        location /x/ { deny 127.0.0.1; root /no/such; }
        location ~ [.]php$ { allow 10.0.0.0/8; limit_req zone=z burst=5; rewrite ^/a(.*) /b$1 last;
            proxy_pass http://unix:/no/such; }
        location /b { limit_req zone=z burst=5 nodelay; proxy_pass http://unix:/no/such; }
        location /if { if ($request_method = GET) { return 402; } } }
        server { listen 8080; server_name *.b.test ~^c; location / { return 204; } } }"""
    config = nginx.loads(text, path=str(tmp_path / "nginx.conf"))
    said = "\n".join(explain(config, "GET", "http://a.test/a.php"))
    assert "server: a.test (" in said and ', by its name "a.test"' in said
    assert "rewrite: /a.php to /b.php in ~ [.]php$, last" in said
    assert 'limit_req: zone "z", 2 requests/s, key /b.php: excess 0.000 of burst 5' in said
    assert "warning: no server listens on port 80, only on 8080" in said
    assert "candidate: unix:/no/such: weight 1, 0 connections, may be used" in said
    assert "try 1: unix:/no/such: " in said and "of unix" not in said
    assert "head: HTTP/1.1 502 Bad Gateway" in said and "head: Content-Type: text/html" in said
    assert "access: 127.0.0.1: deny 127.0.0.1" in "\n".join(explain(config, "GET", "http://a.test:8080/x/"))
    assert f"if: {tmp_path}/nginx.conf:6 holds" in "\n".join(explain(config, "GET", "http://a.test:8080/if"))
    assert 'by its name "*.b.test"' in explain(config, "GET", "http://x.b.test:8080/")[1]
    assert 'by its regular expression "~^c"' in explain(config, "GET", "http://c.d:8080/")[1]
    assert "the first server, because no name matches" in explain(config, "GET", "http://other:8080/")[1]
    for line in said.splitlines():
        assert not any(mark in line for mark in ("(name=", "object at 0x", "Freshness", "None")), line


def run(folder: Path, *words: str) -> str:
    command = [sys.executable, "-m", "wsgi_proxy", "explain", "-p", f"{folder}/", "-c", "nginx.conf", *words]
    done = subprocess.run(command, cwd=ROOT, env=environment(), capture_output=True, text=True, timeout=120)
    return done.stdout + done.stderr


@pytest.mark.ours_alone("the pid file is that of the command")
def test_the_state_is_that_of_the_running_proxy(tmp_path: Path) -> None:
    port, dead = free_port(), free_port()
    with Recorder() as upstream:
        text = f"""worker_processes 2; events {{}} http {{ limit_req_zone $uri zone=z:1m rate=1r/m;
            upstream u {{ server 127.0.0.1:{dead} fail_timeout=300s; server {upstream.address}; }}
            server {{ listen 127.0.0.1:{port}; limit_req_status 503; location / {{ proxy_pass http://u; }}
            location /limited {{ limit_req zone=z; proxy_pass http://u; }} }} }}"""
        with run_proxy(text, tmp_path) as proxy:
            url = f"http://127.0.0.1:{port}"
            said = run(proxy.folder, f"{url}/limited")
            assert f"state: the running proxy, process {proxy.pid}" in said
            assert "response: 200" in said, said
            # The question did not count, so it may be asked again, and the client has its request.
            assert "response: 200" in run(proxy.folder, f"{url}/limited")
            assert fetch(port, "/limited").status == 200
            assert fetch(port, "/limited").status == 503
            said = run(proxy.folder, f"{url}/limited")
            assert "response: 503" in said
            assert "limits: limiting requests, excess: " in said and 'by zone "z"' in said
            for _ in range(4):
                fetch(port)
            said = run(proxy.folder, f"{url}/")
            assert f"candidate: 127.0.0.1:{dead}: weight 1, 0 connections, out for " in said
            assert "s after 1 failures" in said
            document = json.loads(run(proxy.folder, "--json", "-d", "body", f"{url}/"))
            assert document["steps"][0] == {"kind": "request", "text": f"POST / from 127.0.0.1, Host 127.0.0.1:{port}"}
            assert upstream.requests[-1].body == b"body"
            assert "response: 200" in run(proxy.folder, "--count", f"{url}/limited/once")
            assert fetch(port, "/limited/once").status == 503
        assert "no proxy runs with the pid file" in run(proxy.folder, f"{url}/limited")
