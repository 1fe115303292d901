"""The actions of `wsgi_proxy_status page write`: only with the token, from an allowed address, and for all workers."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support import ROOT, Recorder, fetch, free_port, run_proxy, wait_until
from tests.support.directive import faults
from tests.support.directive import server as read_server
from tests.support.processes import Running, environment

CONFIGURATION = """
worker_processes 2;
error_log stderr notice;
events {{}}
http {{
    proxy_cache_path store keys_zone=shop:1m;
    keyval_zone zone=blocked:32k;
    upstream echo {{ server {one}; server {two}; }}
    server {{
        listen 127.0.0.1:{port};
        location / {{ proxy_pass http://echo; }}
        location /cached {{
            proxy_pass http://echo; proxy_cache shop; proxy_cache_valid 200 1h;
            add_header X-Cache $upstream_cache_status;
        }}
        location = /status {{ wsgi_proxy_status page write; allow 127.0.0.1; deny all; }}
        location = /denied {{ wsgi_proxy_status page write; deny all; }}
        location /api/ {{ wsgi_proxy_status page write; allow 127.0.0.1; deny all; }}
        location = /read {{ wsgi_proxy_status page; allow 127.0.0.1; deny all; }}
    }}
}}
"""


def post(server: Running, fields: list[tuple[str, str]], path: str = "/status", /, **form: str) -> tuple[int, str]:
    body = "&".join(f"{key}={value}" for key, value in form.items()).encode()
    response = fetch(server.port, path, "POST", headers=[*fields, ("Content-Length", str(len(body)))], body=body)
    return response.status, response.body.decode().strip()


def upstreams(server: Running) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(fetch(server.port, "/status?format=json").body)["upstreams"]["echo"]
    return found


def test_drain_down_up_and_purge(tmp_path: Path) -> None:
    with Recorder() as one, Recorder() as two:
        text = CONFIGURATION.format(one=one.address, two=two.address, port=free_port())
        with run_proxy(text, tmp_path) as server:
            page = fetch(server.port, "/status").body.decode()
            (token,) = re.findall(r'<meta name="token" content="(\w{64})">', page)
            right = [("X-CSRF-Token", token), ("Sec-Fetch-Site", "same-origin")]
            target = {"upstream": "echo", "server": one.address}
            for word, state in (("drain", "draining"), ("down", "down")):
                assert post(server, right, action=word, **target)[0] == 200
                before = len(one.requests)
                for _ in range(10):
                    assert fetch(server.port).status == 200
                assert len(one.requests) == before
                first, second = upstreams(server)
                assert (first["state"], first["reason"], first["available"]) == (state, "by an operator", False)
                assert second["state"] == "up"
            assert post(server, right, action="up", **target)[0] == 200
            before = len(one.requests)
            for _ in range(10):
                assert fetch(server.port).status == 200
            assert len(one.requests) > before and upstreams(server)[0]["state"] == "up"
            # The other server is taken out, and nothing is left to choose.
            assert post(server, right, action="down", upstream="echo", server=two.address)[0] == 200
            assert post(server, right, action="down", **target)[0] == 200
            assert fetch(server.port).status == 502
            assert post(server, right, action="up", **target)[0] == 200
            assert fetch(server.port).status == 200
            assert f"server {one.address} of upstream" in server.log() and "client: 127.0.0.1" in server.log()
            for expected in ("MISS", "HIT"):
                assert fetch(server.port, "/cached").get("X-Cache") == expected
            assert post(server, right, action="purge", zone="shop") == (200, 'cache zone "shop": 1 entries removed')
            assert fetch(server.port, "/cached").get("X-Cache") == "MISS"


def test_what_is_refused(tmp_path: Path) -> None:
    with Recorder() as one, Recorder() as two:
        text = CONFIGURATION.format(one=one.address, two=two.address, port=free_port())
        with run_proxy(text, tmp_path) as server:
            (token,) = re.findall(r'<meta name="token" content="(\w+)">', fetch(server.port, "/status").body.decode())
            form = {"action": "down", "upstream": "echo", "server": one.address}
            right = [("X-CSRF-Token", token)]
            assert post(server, [], **form)[0] == 403
            assert post(server, [("X-CSRF-Token", "0" * 64)], **form)[0] == 403
            assert post(server, [*right, ("Sec-Fetch-Site", "cross-site")], **form)[0] == 403
            assert post(server, right, "/denied", **form)[0] == 403
            assert post(server, right, "/read", **form)[0] == 405
            assert post(server, right, action="down", upstream="echo", server="127.0.0.1:1")[0] == 404
            assert post(server, right, action="down", upstream="other", server=one.address)[0] == 404
            assert post(server, right, action="purge", zone="other")[0] == 404
            assert post(server, right, action="format")[0] == 400
            assert post(server, right, action="down" * 2000)[0] == 413
            assert [row["state"] for row in upstreams(server)] == ["up", "up"]
            # The page that only reads has no token, and a form of another site cannot send the field.
            assert '<meta name="token" content="">' in fetch(server.port, "/read").body.decode()


@pytest.mark.parametrize("rules", ["", "allow all;", "allow 10.0.0.0/8;"])
def test_a_page_with_actions_needs_access_rules(rules: str) -> None:
    (fault,) = faults(f"server {{ location / {{ wsgi_proxy_status page write; {rules} }} }}")
    assert 'needs "allow" and "deny"' in fault


def test_rules_of_the_server_count_and_other_words_do_not() -> None:
    read_server("allow 10.0.0.0/8; deny all; location / { wsgi_proxy_status page write; }")
    assert "invalid value" in faults("server { location / { wsgi_proxy_status json write; } }")[0]
    assert "invalid value" in faults("server { location / { wsgi_proxy_status page read; } }")[0]


def test_the_document_s_commands(tmp_path: Path) -> None:
    drain, pair, slowest = re.findall(r"```sh\n(.*?)```", (ROOT / "docs" / "monitoring.md").read_text(), re.S)
    with Recorder() as one, Recorder() as two:
        text = CONFIGURATION.format(one=one.address, two=two.address, port=free_port())
        with run_proxy(text, tmp_path) as server:
            fetch(server.port, "/")
            wait_until(lambda: json.loads(fetch(server.port, "/read?format=json").body)["requests"] == 1, "the request")
            drain = drain.replace("127.0.0.1:8081", f"127.0.0.1:{server.port}").replace("10.0.0.1:80", one.address)
            done = subprocess.run(["bash", "-c", drain], capture_output=True, text=True, timeout=60)
            assert done.stdout == f'server {one.address} of upstream "echo" is set to drain\n', done.stderr
            assert upstreams(server)[0]["state"] == "draining"
            pair = pair.replace("127.0.0.1:8081", f"127.0.0.1:{server.port}")
            done = subprocess.run(["bash", "-c", pair], capture_output=True, text=True, timeout=60)
            assert (done.stdout, done.returncode) == ("", 0), done.stderr
            pairs = json.loads(fetch(server.port, "/api/9/http/keyvals/blocked").body)
            assert pairs == {"10.0.0.7": "1"}
            program = f"{sys.executable} -m wsgi_proxy"
            slowest = slowest.replace("wsgi-proxy", program).replace("nginx.conf", str(server.folder / "nginx.conf"))
            done = subprocess.run(["bash", "-c", slowest], capture_output=True, text=True, timeout=60, env=environment())
            assert re.fullmatch(r"\(0\.\d+, '/'\)\n", done.stdout), done.stderr
