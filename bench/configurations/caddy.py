"""Caddy: one process, GOMAXPROCS 2. It has no cache without a plugin.

Rules:
- `least_conn` is Caddy's, over all its connections.
"""

from __future__ import annotations

from .. import machine
from .setup import GZIP_LEVEL, WORKERS, Launch, Setup


def launch(setup: Setup) -> Launch:
    path = setup.folder / "Caddyfile"
    path.write_text(configuration(setup))
    binary = machine.program("caddy") or "caddy"
    home = str(setup.folder)
    env = {"GOMAXPROCS": str(WORKERS), "HOME": home, "XDG_DATA_HOME": home, "XDG_CONFIG_HOME": home}
    return Launch([binary, "run", "--config", str(path), "--adapter", "caddyfile"], env)


def configuration(setup: Setup) -> str:
    upstreams = setup.upstreams
    proxy = f"""reverse_proxy {" ".join(setup.addresses)} {{
      lb_policy least_conn
      transport http {{
        keepalive_idle_conns_per_host {setup.kept}
      }}
    }}"""
    routes = f"""log {{
    output file {setup.access_log} {{
      roll_disabled
    }}
  }}
  handle /hello {{
    respond "hello"
  }}
  handle /ws {{
    reverse_proxy 127.0.0.1:{upstreams.websocket}
  }}
  handle /text {{
    encode {{
      gzip {GZIP_LEVEL}
    }}
    {proxy}
  }}
  handle {{
    {proxy}
  }}"""
    return f"""
{{
  admin off
  auto_https off
  persist_config off
  default_sni 127.0.0.1
  log {{
    level ERROR
  }}
  servers {{
    timeouts {{
      idle 300s
    }}
  }}
}}
http://:{setup.port} {{
  bind 127.0.0.1
  {routes}
}}
https://:{setup.tls_port} {{
  bind 127.0.0.1
  tls {upstreams.certificate} {upstreams.key} {{
    protocols tls1.3
  }}
  {routes}
}}
"""
