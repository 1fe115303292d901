"""`post_action`: the request that follows a response."""

from __future__ import annotations

from pathlib import Path

from tests.support import Recorded, Recorder, Wire, fetch, free_port, reply, run_proxy, wait_until


def upstream(request: Recorded, wire: Wire) -> bytes:
    return reply(b"HIDDEN", "200 OK")


def test_each_response_is_followed_by_a_request(tmp_path: Path) -> None:
    port = free_port()
    (tmp_path / "index.html").write_text("SEE-THIS")
    with Recorder(upstream) as up:
        conf = f"""events {{}} http {{ log_format short '$status $uri $body_bytes_sent'; access_log {tmp_path}/log short;
            server {{ listen {port}; root {tmp_path};
            location / {{ post_action /done; }}
            location /named {{ set $kind n; post_action @done; return 200 "whole response"; }}
            location /missing {{ post_action /done; }}
            location /wrong {{ post_action @none; return 200 a; }}
            location = /done {{ internal; proxy_set_header X-Sent "$request_completion $status $body_bytes_sent $request_uri";
                proxy_pass {up.url}/count?$args; }}
            location @done {{ proxy_set_header X-Sent "$kind $status"; proxy_pass {up.url}; }} }} }}"""
        with run_proxy(conf, tmp_path) as server:
            assert fetch(port, "/index.html?a=b", headers=[("Cookie", "c")]).body == b"SEE-THIS"
            assert fetch(port, "/named?x", "POST", body=b"data").body == b"whole response"
            assert fetch(port, "/missing").status == 404
            assert fetch(port, "/wrong").body == b"a"
            assert fetch(port, "/index.html", "HEAD").status == 200
            wait_until(lambda: len(up.requests) == 4, "four requests", 30)
            assert 'could not find named location "@none"' in server.log()
        # The client's next request does not wait for the action of its last one on another connection.
        seen = sorted((each.method, each.target, each.get("x-sent"), each.get("cookie")) for each in up.requests)
        assert seen[0] == ("GET", "/count?", "OK 200 8 /index.html?a=b", "c")
        assert seen[1][:2] == ("GET", "/count?") and (seen[1][2] or "").endswith(" /missing")
        assert (seen[1][2] or "").startswith("OK 404 ")
        assert seen[2:] == [("HEAD", "/count?", "OK 200 0 /index.html", None), ("POST", "/named?x", "n 200", None)]
        assert {"200 /index.html 8", "200 /named 14"} <= set((tmp_path / "log").read_text().splitlines())
