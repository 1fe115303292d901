"""HAProxy: one process with two threads.

Rules:
- The access log goes to standard output, a file; HAProxy itself writes only there or to a syslog server.
- Debian's build compresses by libslz, which has no levels: it takes less CPU time than zlib's level 1 and its output is larger.
- Its cache holds small objects in memory.
"""

from __future__ import annotations

from .. import machine
from .setup import WORKERS, Launch, Setup


def launch(setup: Setup) -> Launch:
    path = setup.folder / "haproxy.cfg"
    path.write_text(configuration(setup))
    binary = machine.program("haproxy") or "haproxy"
    # A shell, so that the log is a file apart from the messages on standard error; exec leaves no shell behind.
    return Launch(["/bin/sh", "-c", 'exec "$0" -db -f "$1" >"$2"', binary, str(path), str(setup.access_log)])


def configuration(setup: Setup) -> str:
    upstreams = setup.upstreams
    servers = "\n".join(f"  server s{number} {address} weight 10" for number, address in enumerate(setup.addresses))
    return f"""
global
  nbthread {WORKERS}
  maxconn 12000
  no strict-limits
  log stdout format raw local0
  ssl-default-bind-options ssl-min-ver TLSv1.3
  tune.comp.maxlevel 1
cache small
  total-max-size 16
  max-object-size 2000000
  max-age 3600
defaults
  mode http
  log global
  option httplog
  http-reuse always
  timeout connect 5s
  timeout client 300s
  timeout server 300s
  timeout http-keep-alive 300s
  timeout tunnel 300s
frontend all
  bind 127.0.0.1:{setup.port} backlog 4096
  bind 127.0.0.1:{setup.tls_port} ssl crt {upstreams.both} alpn h2,http/1.1 backlog 4096
  http-request return status 200 content-type text/plain string hello if {{ path /hello }}
  use_backend cached if {{ path_beg /cached/ }}
  use_backend text if {{ path /text }}
  use_backend websocket if {{ path /ws }}
  default_backend echo
backend echo
  balance leastconn
{servers}
backend cached
  http-request cache-use small
  http-response cache-store small
  balance leastconn
{servers}
backend text
  compression algo gzip
  compression type text/plain
  balance leastconn
{servers}
backend websocket
  server w 127.0.0.1:{upstreams.websocket}
"""
