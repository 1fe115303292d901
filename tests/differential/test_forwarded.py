"""The client's fields about itself: under an nginx.conf the upstream gets those that it gets from nginx."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.support import Recorder, fetch, free_port, run_nginx, run_proxy

CONF = """
events {{}}
http {{
  access_log off;
  underscores_in_headers off;
  proxy_http_version 1.1;
  proxy_set_header Connection "";
  server {{
    listen {port};
    location /plain {{ proxy_pass {url}; }}
    location /sets {{
      proxy_set_header Host $host;
      proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
      proxy_set_header X-Forwarded-Proto "";
      proxy_set_header X-Real-IP $remote_addr;
      proxy_set_header Connection "";
      proxy_pass {url};
    }}
    location /trusts {{ set_real_ip_from 127.0.0.1; real_ip_header X-Forwarded-For; proxy_pass {url}; }}
    location /none {{ proxy_pass_request_headers off; proxy_pass {url}; }}
  }}
}}
"""
FIELDS = [
    ("X-Forwarded-For", "192.0.2.1"),
    ("x-forwarded-for", "192.0.2.2"),
    ("X-Forwarded-Proto", "https"),
    ("X-Forwarded-Host", "a.test"),
    ("X-Forwarded-Anything", "x"),
    ("X-Real-IP", "192.0.2.3"),
    ("Forwarded", "for=192.0.2.4"),
    ("X_Forwarded_For", "192.0.2.5"),
    ("X-Forwarded", "y"),
]


def seen(run: Any, folder: Path) -> list[dict[str, str]]:
    """The fields of each request by name. Repeated ones are joined, as gunicorn's own workers do (RFC 9110, section 5.3)."""
    port = free_port()
    with Recorder() as upstream:
        with run(CONF.format(port=port, url=upstream.url), folder):
            for target in ("/plain", "/sets", "/trusts", "/none"):
                assert fetch(port, target, headers=[("Host", "h.test"), *FIELDS]).status == 200
    found: list[dict[str, str]] = []
    for each in upstream.requests:
        fields: dict[str, str] = {}
        for name, value in each.headers:
            if name.lower() != "host":
                fields[name.lower()] = ",".join([*filter(None, [fields.get(name.lower())]), value.replace(", ", ",")])
        found.append(fields)
    return found


def test_the_upstream_gets_what_nginx_sends(tmp_path: Path) -> None:
    ours = seen(run_proxy, tmp_path)
    assert ours == seen(run_nginx, tmp_path)
    assert (ours[0]["x-forwarded-proto"], ours[0]["forwarded"]) == ("https", "for=192.0.2.4")


@pytest.mark.parametrize("name", ["X-Forwarded-For", "X-Real-IP", "Forwarded"])
def test_connection_cannot_remove_them(name: str, tmp_path: Path) -> None:
    port = free_port()
    with Recorder() as upstream, run_proxy(CONF.format(port=port, url=upstream.url), tmp_path):
        assert fetch(port, "/plain", headers=[("Host", "h"), (name, "x"), ("Connection", f"close, {name}")]).status == 200
    assert upstream.requests[0].get(name) == "x"
