"""No request imports a module: a worker has everything before it accepts."""

from __future__ import annotations

import ssl
import subprocess
import sys
from pathlib import Path
from signal import SIGHUP

import pytest

from tests.support import ROOT, Recorder, fetch, free_port, reply, run_gunicorn, run_proxy, wait_until
from tests.support.tls import Files
from wsgi_proxy.config import Config, Location, ProxyPass, ProxySettings, ServerBlock, UpstreamTLS
from wsgi_proxy.errors import ConfigError
from wsgi_proxy.tls import client as tls_upstream
from wsgi_proxy.wsgi.warmup import warm_up

#: The interpreter names each module on standard error as it is imported.
TOLD = {"PYTHONPROFILEIMPORTTIME": "1"}
MARK = "the first request begins"
APP = f"""
import os, sys
from wsgi_proxy import Pool, Proxy

proxy = Proxy(Pool([os.environ["UPSTREAM"]], verify=False))

def app(environ, start_response):
    print({MARK!r}, file=sys.stderr, flush=True)
    return proxy(environ, start_response)
"""
PASSWORD = "alice:$2b$04$abcdefghijklmnopqrstuuF5A0mpKhnXq61vS0RDXoE1aLFvMKWnC\n"


def imported(log: str) -> list[str]:
    return [line.rpartition("|")[2].strip() for line in log.splitlines() if line.startswith("import time:")]


def upstream_of(files: Files) -> Recorder:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*files.pair("upstream"))
    return Recorder(lambda request, wire: reply(b"ok"), tls=context)


def test_requests_after_a_reload_import_nothing(tmp_path: Path) -> None:
    files = Files(tmp_path)
    certificate, key = files.pair("localhost")
    (tmp_path / "users").write_text(PASSWORD)
    plain, secure = free_port(), free_port()
    with upstream_of(files) as upstream:
        conf = f"""
            worker_processes 1; error_log stderr notice; events {{}}
            http {{ access_log off; proxy_cache_path {tmp_path}/cache keys_zone=z:1m;
              server {{ listen 127.0.0.1:{plain}; listen 127.0.0.1:{secure} ssl; http2 on;
                ssl_certificate {certificate}; ssl_certificate_key {key};
                location / {{ proxy_pass {upstream.url}; }}
                location /cached {{ proxy_pass {upstream.url}; proxy_cache z; proxy_cache_valid 1m; }}
                location /secret {{ auth_basic x; auth_basic_user_file {tmp_path}/users; proxy_pass {upstream.url}; }}
                location /file {{ root {tmp_path}; }}
            }} }}"""
        with run_proxy(conf, tmp_path, env=TOLD) as server:
            # No request before: the first ones arrive at a worker that reports itself as serving.
            server.signal(SIGHUP)
            wait_until(lambda: "serve the new configuration" in server.log(), "the new worker to serve", 60)
            # The first worker may still have been loading its modules.
            wait_until(lambda: len(server.children()) == 1, "the first worker to end", 60)
            before = len(server.log())
            assert "wsgi_proxy.wsgi.warmup" in imported(server.log())
            for target in ("/", "/cached", "/file/none", "/nowhere/../x"):
                fetch(plain, target)
            fetch(plain, "/", "POST", body=b"x" * 100_000)
            assert fetch(plain, "/secret", headers=[("Authorization", "Basic YWxpY2U6cGFzc3dvcmQ=")]).status in (200, 401)
            command = ["curl", "-sS", "--cacert", files.ca_path, "-m", "20", "--resolve", f"localhost:{secure}:127.0.0.1"]
            for version in ("--http1.1", "--http2"):
                done = subprocess.run([*command, version, f"https://localhost:{secure}/"], capture_output=True, timeout=120)
                assert done.stdout == b"ok", done.stderr
            assert not imported(server.log()[before:]), server.log()[before:]


@pytest.mark.parametrize("worker", ["wsgi_proxy.worker.ProxyWorker", "gthread", "gevent"])
def test_the_first_request_of_a_worker_imports_nothing_of_ours(tmp_path: Path, worker: str) -> None:
    (tmp_path / "gunicorn").mkdir()
    (tmp_path / "gunicorn" / "first.py").write_text(APP)
    with upstream_of(Files(tmp_path)) as upstream:
        env = {**TOLD, "UPSTREAM": upstream.url}
        with run_gunicorn("first:app", tmp_path, worker, env=env) as server:
            assert fetch(server.port).text == "ok"
            before, mark, after = server.log().partition(MARK)
            assert mark and "wsgi_proxy.wsgi.warmup" in imported(before)
            assert imported(after) == []


def test_only_what_is_used_is_loaded() -> None:
    code = "import sys; from wsgi_proxy import Pool, Proxy; Proxy(Pool(['http://127.0.0.1:1'])).close(); print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT).stdout.split()
    assert "wsgi_proxy.net.tls_stream" in loaded
    assert not {"bcrypt", "gevent", "h2", "wsgi_proxy.net.gevent_stream"} & set(loaded)


def test_contexts_towards_upstreams_are_made_at_the_start(tmp_path: Path) -> None:
    tls = UpstreamTLS(verify=True, server_name=True)
    pass_ = ProxyPass("https://a", "https", "a", host="a")
    location = Location(pattern="/", proxy=ProxySettings(pass_=pass_, tls=tls), handler="proxy_pass")
    tls_upstream.forget()
    warm_up(Config(servers=(ServerBlock(locations=(location,)),)))
    assert tls in tls_upstream._contexts
    broken = Location(pattern="/", proxy=ProxySettings(pass_=pass_, tls=UpstreamTLS(trusted_certificate=str(tmp_path / "none"))))
    with pytest.raises(ConfigError, match="none"):
        warm_up(Config(servers=(ServerBlock(locations=(broken,)),)))
