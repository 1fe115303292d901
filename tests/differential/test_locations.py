"""The Location field of redirects that an upstream sends, beside nginx: `proxy_redirect` and `absolute_redirect`."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import unquote

import pytest

from tests.support import Recorded, Recorder, Wire, reply
from tests.support.comparison import Comparison, compare_with_nginx

CONF = """
worker_processes 1; error_log stderr crit; events {}
http {
    access_log off;
    map $arg_none $path { default /mapped; }
    server {
        listen 127.0.0.1:@PORT@; server_name named.test;
        location /default/ { proxy_pass http://127.0.0.1:UP/; }
        location /off/ { proxy_redirect off; proxy_pass http://127.0.0.1:UP/; }
        location /relative/ { absolute_redirect off; proxy_pass http://127.0.0.1:UP/; }
        location /portless/ { port_in_redirect off; proxy_pass http://127.0.0.1:UP/; }
        location /named/ { server_name_in_redirect on; proxy_pass http://127.0.0.1:UP/; }
        location /path/ { proxy_redirect / /front/; proxy_pass http://127.0.0.1:UP/; }
        location /away/ { proxy_redirect http://a.test/ /a/; proxy_redirect ~^/re(.*)$ $path$1; proxy_pass http://127.0.0.1:UP/; }
        location /variable/ { proxy_redirect http://a.test/ $path/; proxy_pass http://127.0.0.1:UP/; }
        location /word/ { proxy_redirect http://a.test/ word/; proxy_pass http://127.0.0.1:UP/; }
    }
}
"""
PLACES = "default off relative portless named path away variable word".split()
VALUES = ["http://127.0.0.1:UP/x", "/x", "/re/y", "http://a.test/z", "x", "//b.test/x", "https://127.0.0.1:UP/x"]


def respond(request: Recorded, wire: Wire) -> bytes:
    """Redirect to the query."""
    return reply(b"", 302, [(request.get("x-field") or "Location", unquote(request.target.partition("?")[2]))])


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Comparison]:
    with (
        Recorder(respond) as up,
        compare_with_nginx(CONF.replace("UP", str(up.port)), tmp_path_factory.mktemp("locations")) as both,
    ):
        both.up = up.port
        yield both


@pytest.mark.parametrize("value", VALUES)
@pytest.mark.parametrize("place", PLACES)
def test_location(both: Comparison, place: str, value: str) -> None:
    both.compare(f"/{place}/?{value.replace('UP', str(both.up))}")


@pytest.mark.parametrize("value", VALUES)
def test_refresh(both: Comparison, value: str) -> None:
    both.compare(f"/away/?5;url={value.replace('UP', str(both.up))}", fields=[("X-Field", "Refresh")])
