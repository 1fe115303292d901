"""The status page in its three forms, and nginx's stub_status."""

from __future__ import annotations

import json
import re
from pathlib import Path

from tests.support import Recorder, fetch, free_port, run_proxy

CONFIGURATION = """
worker_processes 2;
events {{}}
http {{
    upstream echo {{ server {address}; server 127.0.0.1:{dead} max_fails=1;
        server 127.0.0.1:{dead} backup; server 127.0.0.1:{dead} down; }}
    server {{
        listen 127.0.0.1:{port};
        location / {{ proxy_pass http://echo; }}
        location = /stub {{ stub_status; }}
        location = /page {{ wsgi_proxy_status; }}
        location = /json {{ wsgi_proxy_status json; }}
        location = /metrics {{ wsgi_proxy_status metrics; }}
    }}
}}
"""


def test_all_workers_tell_the_same_state(tmp_path: Path) -> None:
    with Recorder() as upstream:
        dead = free_port()
        text = CONFIGURATION.format(address=upstream.address, dead=dead, port=free_port())
        with run_proxy(text, tmp_path) as server:
            for _ in range(20):
                assert fetch(server.port).status == 200
            state = json.loads(fetch(server.port, "/json").body)
            assert state["requests"] == 20 and state["responses"]["2xx"] == 20 and state["retries"] == 1
            good, bad, _, _ = state["upstreams"]["echo"]
            assert (good["server"], good["available"], good["connections"]) == (upstream.address, True, 0)
            assert (bad["server"], bad["available"], bad["failures"]) == (f"127.0.0.1:{dead}", False, 1)
            text = fetch(server.port, "/metrics").body.decode()
            assert re.search(r"^wsgi_proxy_requests_total 20$", text, re.M)
            assert f'wsgi_proxy_upstream_failures_total{{upstream="echo",server="127.0.0.1:{dead}"}} 1' in text
            page = fetch(server.port, "/page")
            assert page.get("Content-Type") == "text/html; charset=utf-8" and upstream.address.encode() in page.body
            shown = re.findall(r"<td>([^<]*)</td></tr>", page.body.decode())
            assert shown[-4:] == ["available", "not available", "down", "available, backup"]
            stub = fetch(server.port, "/stub").body.decode()
            assert re.fullmatch(
                r"Active connections: \d+ \nserver accepts handled requests\n \d+ \d+ 2\d \n"
                r"Reading: 0 Writing: 1 Waiting: \d+ \n",
                stub,
            )
            assert fetch(server.port, "/json", "POST").status == 405
