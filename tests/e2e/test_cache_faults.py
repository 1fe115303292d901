"""The cache beside the other parts of a proxy: a location's error log, rates of stored responses, subrequests, and HEAD."""

from __future__ import annotations

import hashlib
import re
import time
from pathlib import Path

from tests.support import Recorder, fetch, free_port, reply, run_proxy, wait_until

CONF = """
worker_processes 1;
error_log main.log;
events {{}}
http {{
    access_log off;
    proxy_cache_path cache keys_zone=z:10m;
    proxy_cache_key $uri;
    server {{
        listen 127.0.0.1:{port};
        location / {{ proxy_pass {upstream}; proxy_cache z; }}
        {places}
    }}
}}
"""
FRESH = ("Cache-Control", "max-age=600")


def key_file(directory: Path, uri: str) -> Path:
    return directory / "cache" / hashlib.md5(uri.encode()).hexdigest()


def test_a_failing_store_is_told_in_the_locations_own_error_log(tmp_path):
    port = free_port()
    with Recorder(lambda request, wire: reply(b"body", 200, [FRESH])) as origin:
        places = f"location /own/ {{ error_log own.log; proxy_pass {origin.url}; proxy_cache z; }}"
        with run_proxy(CONF.format(port=port, upstream=origin.url, places=places), tmp_path) as proxy:
            for uri in ("/own/x", "/other"):
                # A directory in the entry's place: the store can neither read nor replace it.
                key_file(proxy.folder, uri).mkdir(parents=True)
                assert fetch(port, uri).text == fetch(port, uri).text == "body"
            own, main = proxy.folder / "own.log", proxy.folder / "main.log"
            for log, uri in ((own, "/own/x"), (main, "/other")):
                for what in ("read", "store"):
                    line = (
                        rf'\[error\].* cache zone "z" cannot {what}: .*, client: 127\.0\.0\.1, .*request: "GET {uri} HTTP/1\.1"'
                    )
                    wait_until(lambda log=log, line=line: re.search(line, log.read_text()), f"the line of a failing {what}")
            assert "/own/" not in main.read_text() and "/other" not in own.read_text()


def test_a_stored_response_is_sent_at_the_rate_that_it_names(tmp_path):
    port = free_port()
    with Recorder(lambda request, wire: reply(bytes(3000), 200, [FRESH, ("X-Accel-Limit-Rate", "1000")])) as origin:
        places = f"location /free/ {{ proxy_pass {origin.url}; proxy_cache z; proxy_ignore_headers X-Accel-Limit-Rate; }}"
        with run_proxy(CONF.format(port=port, upstream=origin.url, places=places), tmp_path) as proxy:
            for uri, least in (("/a", 1.8), ("/free/a", 0.0)):
                fetch(port, uri)
                wait_until(key_file(proxy.folder, uri).exists, "the entry")
                begun = time.monotonic()
                found = fetch(port, uri)
                # 1000 bytes go at once, and 1000 more each second.
                assert time.monotonic() - begun >= least and len(found.body) == 3000
                assert "hit" in found.get("Cache-Status") and found.get("X-Accel-Limit-Rate") is None
        assert len(origin.requests) == 2


def test_the_response_to_an_auth_request_is_stored(tmp_path):
    port = free_port()
    with Recorder(lambda request, wire: reply(b"body " * 50_000, 200, [FRESH, ("ETag", '"a"')])) as origin:
        places = f"""
        location /private/ {{ auth_request /auth; proxy_pass {origin.url}; }}
        location = /auth {{ internal; proxy_pass {origin.url}; proxy_cache z; }}"""
        with run_proxy(CONF.format(port=port, upstream=origin.url, places=places), tmp_path) as proxy:
            assert fetch(port, "/private/a").status == 200
            wait_until(key_file(proxy.folder, "/auth").exists, "the entry of /auth")
            # The client's condition is about the page that it asks for.
            for uri in ("/private/b", "/private/c"):
                assert fetch(port, uri, headers=[("If-None-Match", '"a"'), ("Range", "bytes=0-3")]).status == 200
        assert [request.target for request in origin.requests] == ["/auth", "/private/a", "/private/b", "/private/c"]


def test_a_head_of_a_response_that_is_not_stored_does_not_read_its_body(tmp_path):
    port, length, sent = free_port(), 1 << 28, []

    def serve(request, wire):
        sent.append(0)
        wire.send(reply(b"", 200, [("Cache-Control", "no-store")], length=length))
        try:
            for _ in range(length >> 16):
                wire.send(bytes(1 << 16))
                sent[-1] += 1 << 16
        except OSError:
            pass
        sent.append(-1)

    with Recorder(serve) as origin, run_proxy(CONF.format(port=port, upstream=origin.url, places=""), tmp_path):
        found = fetch(port, "/large", method="HEAD")
        assert (found.status, found.get("Content-Length"), found.body) == (200, str(length), b"")
        wait_until(lambda: sent[-1:] == [-1], "the end of the origin's response")
        assert [request.method for request in origin.requests] == ["GET"] and sent[0] < length
