"""`wsgi-proxy explain`: the decisions about a request."""

from __future__ import annotations

from tests.support import Recorder, free_port
from wsgi_proxy.cli.explain import environ_of, explain
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
    assert lines[2].startswith("location: = /old (") and lines[2].endswith(") → return, URI /old")
    assert "return: 301 in = /old" in lines
    files = explain(config, "GET", "http://example.org/file")
    assert files[2] == "location: none, the server's own settings, URI /file"
    assert explain(config, "GET", "http://example.org/no/")[-1].startswith("response: 403")


def test_the_environ_of_a_path() -> None:
    environ = environ_of("GET", "/a", [("Host", "h"), ("X-A", "1"), ("X-A", "2")], "1.2.3.4")
    assert (environ["RAW_URI"], environ["HTTP_HOST"], environ["HTTP_X_A"]) == ("/a", "h", "1,2")
    assert environ_of("GET", "/a", [], "1.2.3.4")["HTTP_HOST"] == "localhost"
